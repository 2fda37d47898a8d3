//! A value that many watch. tokio's own wakes its watchers in an order of chance; this one wakes them in the order in
//! which they came, so that a simulation repeats.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};

use openraft_rt::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use openraft_rt::{OptionalSend, OptionalSync};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

/// The kind of channel, for Raft.
#[derive(Debug)]
pub(crate) struct InOrder;

#[derive(Default)]
struct Watchers {
    version: u64,
    senders: usize,
    receivers: usize,
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

struct Channel<T> {
    value: RwLock<T>,
    watchers: Mutex<Watchers>,
}

/// Changes the value.
pub(crate) struct Sender<T>(Arc<Channel<T>>);

/// Watches the value.
pub(crate) struct Receiver<T> {
    channel: Arc<Channel<T>>,
    id: u64,
    seen: u64,
}

/// A channel with its first value.
pub(crate) fn channel<T>(first: T) -> (Sender<T>, Receiver<T>) {
    let channel = Arc::new(Channel {
        value: RwLock::new(first),
        watchers: Mutex::new(Watchers {
            senders: 1,
            ..Watchers::default()
        }),
    });
    let receiver = Receiver::new(channel.clone(), 0);
    (Sender(channel), receiver)
}

impl<T> Channel<T> {
    fn change(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let waiting = {
            let mut value = self.value.write();
            if !modify(&mut value) {
                return false;
            }
            let mut watchers = self.watchers.lock();
            watchers.version += 1;
            std::mem::take(&mut watchers.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
        true
    }

    fn version(&self) -> u64 {
        self.watchers.lock().version
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.watchers.lock().senders += 1;
        Sender(self.0.clone())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let waiting = {
            let mut watchers = self.0.watchers.lock();
            watchers.senders -= 1;
            if watchers.senders > 0 {
                return;
            }
            std::mem::take(&mut watchers.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }
}

impl<T> Receiver<T> {
    fn new(channel: Arc<Channel<T>>, seen: u64) -> Self {
        let id = {
            let mut watchers = channel.watchers.lock();
            watchers.receivers += 1;
            watchers.next += 1;
            watchers.next
        };
        Receiver { channel, id, seen }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver::new(self.channel.clone(), self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut watchers = self.channel.watchers.lock();
        watchers.receivers -= 1;
        watchers.waiting.remove(&self.id);
    }
}

impl Watch for InOrder {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Self::Sender<T>, Self::Receiver<T>) {
        channel(init)
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<InOrder, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.watchers.lock().receivers == 0 {
            return Err(SendError(value));
        }
        self.0.change(|current| {
            *current = value;
            true
        });
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        self.0.change(modify)
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.value.read_recursive()
    }

    fn subscribe(&self) -> Receiver<T> {
        let seen = self.0.version();
        Receiver::new(self.0.clone(), seen)
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<InOrder, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        poll_fn(|context| {
            let mut watchers = self.channel.watchers.lock();
            if watchers.version != self.seen {
                self.seen = watchers.version;
                return Poll::Ready(Ok(()));
            }
            if watchers.senders == 0 {
                return Poll::Ready(Err(RecvError(())));
            }
            watchers.waiting.insert(self.id, context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.channel.value.read_recursive()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        let value = self.channel.value.read_recursive();
        // It cannot change while the value is read.
        self.seen = self.channel.watchers.lock().version;
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_change_is_seen_once_and_the_end_after_it() {
        let (sender, mut receiver) = channel(1);
        assert!(receiver.changed().now_or_never().is_none());
        assert!(sender.send(2).is_ok());
        assert!(!sender.send_if_modified(|_| false));
        let mut late = sender.subscribe();
        assert_eq!(receiver.clone().changed().now_or_never(), Some(Ok(())));
        assert_eq!(receiver.changed().now_or_never(), Some(Ok(())));
        assert!(receiver.changed().now_or_never().is_none());
        assert!(late.changed().now_or_never().is_none());
        sender.send_if_modified(|value| {
            *value += 1;
            true
        });
        assert_eq!(*late.borrow_and_update(), 3);
        assert!(late.changed().now_or_never().is_none());
        drop(sender.clone());
        drop(sender);
        assert_eq!(receiver.changed().now_or_never(), Some(Ok(())));
        assert_eq!(receiver.changed().now_or_never(), Some(Err(RecvError(()))));
    }

    #[test]
    fn without_watchers_nothing_is_sent() {
        let (sender, receiver) = channel(1);
        drop(receiver);
        assert_eq!(sender.send(2), Err(SendError(2)));
        assert_eq!(*sender.borrow_watched(), 1);
    }

    #[tokio::test]
    async fn those_who_wait_are_woken() {
        let (sender, receiver) = channel(0);
        let waiting = (0..10).map(|i| {
            let mut receiver = receiver.clone();
            tokio::spawn(async move { receiver.wait_until(|value| *value == i).await })
        });
        let waiting: Vec<_> = waiting.collect();
        for (i, task) in waiting.into_iter().enumerate() {
            assert!(sender.send(i).is_ok());
            assert_eq!(task.await.expect("it ends"), Ok(i));
        }
    }
}
