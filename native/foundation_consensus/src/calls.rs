//! Requests to other nodes that wait for their answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rand::Rng;
use tokio::sync::oneshot;

use crate::message::Response;
use crate::runtime::Dice;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallError {
    /// The request did not leave this node.
    NotSent,
    /// It may have arrived.
    NoAnswer,
}

type Waiting = oneshot::Sender<Result<Response, CallError>>;

/// See the module.
pub(crate) struct Calls {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiting>>,
}

/// A request under way; dropping it forgets it.
pub(crate) struct Call {
    pub(crate) number: u64,
    calls: Arc<Calls>,
    answer: oneshot::Receiver<Result<Response, CallError>>,
}

impl Calls {
    /// Numbers begin at random: an answer to an earlier life of this node fits no request of this one.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Calls {
            next: AtomicU64::new(Dice.next_u64()),
            waiting: Mutex::default(),
        })
    }

    pub(crate) fn start(self: &Arc<Self>) -> Call {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.waiting.lock().insert(number, sender);
        Call {
            number,
            calls: self.clone(),
            answer,
        }
    }

    pub(crate) fn answered(&self, number: u64, response: Response) {
        let waiting = self.waiting.lock().remove(&number);
        if let Some(waiting) = waiting {
            // Nobody waits any more when the deadline has passed meanwhile.
            let _ = waiting.send(Ok(response));
        }
    }

    pub(crate) fn not_sent(&self, numbers: &[u64]) {
        for number in numbers {
            let waiting = self.waiting.lock().remove(number);
            if let Some(waiting) = waiting {
                let _ = waiting.send(Err(CallError::NotSent));
            }
        }
    }
}

impl Call {
    pub(crate) async fn wait(mut self, ttl: Duration) -> Result<Response, CallError> {
        match tokio::time::timeout(ttl, &mut self.answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(CallError::NoAnswer),
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.waiting.lock().remove(&self.number);
    }
}
