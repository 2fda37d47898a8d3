//! What has to happen when: a list in order of time, and a bell for whoever waits for the first of it.

use crate::hold::Reservation;
use crate::node::Node;
use crate::wait::Ticket;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

pub(crate) enum Event {
    /// A reservation that nobody settled.
    Expire(Arc<Reservation>),
    /// A key whose first waiter may be served.
    Try(Weak<Node>),
    /// A waiter whose time is up.
    Deadline(Arc<Ticket>),
}

pub(crate) struct Schedule {
    events: Mutex<BTreeMap<(u64, u64), Event>>,
    next: AtomicU64,
    bell: Box<dyn Fn() + Send + Sync>,
}

impl Schedule {
    pub(crate) fn new(bell: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            events: Mutex::default(),
            next: AtomicU64::new(0),
            bell,
        }
    }

    /// A place in the list that nobody else has.
    pub(crate) fn place(&self, due: u64) -> (u64, u64) {
        (due, self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn put(&self, place: (u64, u64), event: Event) {
        let first = {
            let mut events = self.events.lock();
            let first = events.first_key_value().is_none_or(|(first, _)| place < *first);
            events.insert(place, event);
            first
        };
        if first {
            (self.bell)();
        }
    }

    pub(crate) fn ring(&self) {
        (self.bell)();
    }

    pub(crate) fn remove(&self, place: (u64, u64)) {
        let removed = self.events.lock().remove(&place);
        drop(removed);
    }

    /// The first event that is due.
    pub(crate) fn pop(&self, now: u64) -> Option<Event> {
        let mut events = self.events.lock();
        let entry = events.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    pub(crate) fn next_due(&self) -> Option<u64> {
        self.events.lock().first_key_value().map(|((due, _), _)| *due)
    }
}
