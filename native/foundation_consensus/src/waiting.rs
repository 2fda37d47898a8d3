//! Proposals and queries of which the outcome is awaited, until their deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::message::Refusal;
use crate::types::{Outcome, Types};

/// How long nobody looks whether a deadline has passed, at most.
const LOOK: Duration = Duration::from_secs(1);

/// What is done with an outcome, once; on any thread.
pub(crate) type Then = Box<dyn FnOnce(Result<Bytes, Refusal>) + Send>;

type Key = (Instant, u64);

#[derive(Default)]
struct Book {
    waiting: BTreeMap<Key, Then>,
    next: u64,
    /// When it is looked at next.
    look: Option<Instant>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Waiting {
    book: Mutex<Book>,
    sooner: Notify,
    over: std::sync::atomic::AtomicBool,
}

/// One that waits. When it is dropped, nothing will be heard of it.
pub(crate) struct Waiter {
    key: Option<Key>,
    all: Arc<Waiting>,
    runtime: Handle,
}

impl Waiting {
    pub(crate) fn enter(self: &Arc<Self>, deadline: Instant, runtime: Handle, then: Then) -> Waiter {
        let mut book = self.book.lock();
        let key = (deadline, book.next);
        book.next += 1;
        book.waiting.insert(key, then);
        let sooner = book.look.is_some_and(|look| deadline < look);
        drop(book);
        if sooner {
            self.sooner.notify_one();
        }
        Waiter {
            key: Some(key),
            all: self.clone(),
            runtime,
        }
    }

    fn take(&self, key: Key) -> Option<Then> {
        self.book.lock().waiting.remove(&key)
    }

    /// Those whose deadline has passed; sets when to look again.
    fn late(&self, now: Instant) -> (BTreeMap<Key, Then>, Instant) {
        let mut book = self.book.lock();
        let rest = book.waiting.split_off(&(now, u64::MAX));
        let late = std::mem::replace(&mut book.waiting, rest);
        let first = book.waiting.first_key_value().map(|(key, _)| key.0);
        let look = first.unwrap_or(now + LOOK).min(now + LOOK);
        book.look = Some(look);
        (late, look)
    }

    /// Nobody enters any more.
    pub(crate) fn end(&self) {
        self.over.store(true, std::sync::atomic::Ordering::Release);
        self.sooner.notify_one();
    }

    /// Ends the waiting of those whose deadline has passed, for as long as there may be any.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            let (late, look) = self.late(Instant::now());
            for then in late.into_values() {
                then(Err(Refusal::Unknown));
            }
            if self.over.load(std::sync::atomic::Ordering::Acquire) && self.book.lock().waiting.is_empty() {
                return;
            }
            tokio::select! {
                biased;
                () = self.sooner.notified() => {}
                () = tokio::time::sleep_until(look) => {}
            }
        }
    }
}

impl Waiter {
    /// The outcome is known.
    pub(crate) fn answer(mut self, outcome: Result<Bytes, Refusal>) {
        if let Some(then) = self.key.take().and_then(|key| self.all.take(key)) {
            then(outcome);
        }
    }

    /// Raft has answered.
    pub(crate) fn settle(self, result: ClientWriteResult<Types>) {
        self.answer(match result {
            Ok(response) => match response.data {
                Outcome::Reply(reply) => Ok(reply),
                Outcome::Stale => Err(Refusal::Stale),
                Outcome::Nothing => Err(Refusal::Unknown),
            },
            Err(ClientWriteError::ForwardToLeader(forward)) => Err(Refusal::NotLeader(forward.leader_id)),
            Err(_) => Err(Refusal::Unknown),
        });
    }
}

impl Drop for Waiter {
    /// Raft has stopped, or could not take it: on whatever thread that was found out.
    fn drop(&mut self) {
        if let Some(then) = self.key.take().and_then(|key| self.all.take(key)) {
            self.runtime.spawn(async move { then(Err(Refusal::Unknown)) });
        }
    }
}
