//! Who waits for a key, in which order.

use crate::error::LimitError;
use crate::hold::Reservation;
use crate::node::Node;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a waiter is told: granted (with the reservation if it asked for one), or why not. `Ok` at most once.
pub type Answer = Result<Option<Arc<Reservation>>, WaitError>;

/// Called once, on the thread that calls [`crate::Limits::tick`], with the answer.
pub type Reply = Box<dyn FnOnce(Answer) + Send>;

/// Why a waiter was not granted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// The deadline came first. Nothing was taken.
    #[error("timeout")]
    Timeout,
    /// The limits are no longer served. Nothing was taken.
    #[error("closed")]
    Closed,
    /// The limits changed so that the demand can no longer be met. Nothing was taken.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// One waiting caller.
pub struct Ticket {
    pub(crate) node: Arc<Node>,
    pub(crate) order: (i64, u64),
    pub(crate) reply: Mutex<Option<Reply>>,
    pub(crate) deadline: (u64, u64),
}

/// How to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitOptions {
    /// Higher goes first; equal ones in the order they came.
    pub priority: i32,
    /// When to give up, in microseconds of the table's clock.
    pub deadline: u64,
    /// Makes a reservation of so many microseconds instead of spending.
    pub reserve_us: Option<u64>,
}

pub(crate) struct Waiter {
    pub(crate) ticket: Arc<Ticket>,
    pub(crate) costs: Arc<[(u64, i128)]>,
    pub(crate) reserve_us: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Queue {
    waiters: BTreeMap<(i64, u64), Waiter>,
    next: u64,
    /// When the first one is expected to be served.
    pub(crate) due: u64,
}

impl Queue {
    pub(crate) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(crate) fn place(&mut self, priority: i32) -> (i64, u64) {
        self.next += 1;
        (-i64::from(priority), self.next)
    }

    pub(crate) fn push(&mut self, waiter: Waiter) {
        self.waiters.insert(waiter.ticket.order, waiter);
    }

    pub(crate) fn first(&self) -> Option<&Waiter> {
        self.waiters.first_key_value().map(|(_, waiter)| waiter)
    }

    pub(crate) fn remove(&mut self, order: (i64, u64)) -> bool {
        self.waiters.remove(&order).is_some()
    }
}
