//! Subscriptions: each with a filter, a bounded queue and a rule for when it is full.
//!
//! What is stored is offered to every filter; a match goes into that subscription's queue. Its owner is woken once,
//! and again only after it has taken something: however slow it is, one message waits for it.

use crate::Error;
use crate::event::Event;
use crate::query::Filter;
use crate::record::{Names, unpack};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Most subscriptions of one store.
pub const MAX_SUBSCRIPTIONS: usize = 256;
/// Most events that may wait in one subscription.
pub const MAX_QUEUE: usize = 1_000_000;

/// What happens to an event that matches when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// The event that waited longest goes.
    DropOldest,
    /// The new event goes.
    DropNewest,
    /// The store refuses the event until there is room, or is told to go on without.
    Block,
}

/// The subscription that has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full(pub u64);

/// Room that was found for events about to be stored: the subscription and the event's place in the batch.
#[derive(Debug, Default)]
pub struct Tickets(SmallVec<[(u64, u32); 4]>);

/// Events taken from a queue.
#[derive(Debug, Default)]
pub struct Taken {
    records: Vec<Arc<[u8]>>,
    /// Events dropped since the last time.
    pub dropped: u64,
    /// Events are left, and the owner is to be woken again.
    pub again: bool,
}

impl Taken {
    /// How many.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Gives each event to `f`, in order of arrival.
    pub fn read(&self, f: &mut dyn FnMut(&Event<'_>)) {
        for record in &self.records {
            if let Ok(view) = unpack(record, Names::Interned) {
                f(&view.event(&mut [0; 36]));
            }
        }
    }
}

struct Subscription {
    id: u64,
    filter: Filter,
    policy: Policy,
    capacity: usize,
    queue: VecDeque<Arc<[u8]>>,
    reserved: usize,
    dropped: u64,
    woken: bool,
}

/// The subscriptions of a store.
#[derive(Default)]
pub struct Hub {
    subscriptions: Mutex<Vec<Subscription>>,
    count: AtomicUsize,
    next: AtomicU64,
}

impl Hub {
    /// How many subscriptions there are. O(1), no lock.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds a subscription with room for `capacity` events.
    ///
    /// # Errors
    /// `TooManySubscriptions`.
    pub fn subscribe(&self, filter: Filter, policy: Policy, capacity: usize) -> Result<u64, Error> {
        let mut all = self.subscriptions.lock();
        if all.len() >= MAX_SUBSCRIPTIONS {
            return Err(Error::TooManySubscriptions(MAX_SUBSCRIPTIONS));
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        all.push(Subscription {
            id,
            filter,
            policy,
            capacity: capacity.clamp(1, MAX_QUEUE),
            queue: VecDeque::new(),
            reserved: 0,
            dropped: 0,
            woken: false,
        });
        self.count.store(all.len(), Ordering::Release);
        Ok(id)
    }

    /// Removes a subscription and what waits in it; false when there is none.
    pub fn unsubscribe(&self, id: u64) -> bool {
        let mut all = self.subscriptions.lock();
        let before = all.len();
        all.retain(|s| s.id != id);
        self.count.store(all.len(), Ordering::Release);
        all.len() < before
    }

    /// Takes up to `max` events; None when there is no such subscription. O(max).
    pub fn take(&self, id: u64, max: usize) -> Option<Taken> {
        let mut all = self.subscriptions.lock();
        let s = all.iter_mut().find(|s| s.id == id)?;
        let n = max.min(s.queue.len());
        let records = s.queue.drain(..n).collect();
        s.woken = !s.queue.is_empty();
        Some(Taken {
            records,
            dropped: std::mem::take(&mut s.dropped),
            again: s.woken,
        })
    }

    /// How many events wait in a subscription. O(subscriptions).
    pub fn waiting(&self, id: u64) -> usize {
        self.subscriptions
            .lock()
            .iter()
            .find(|s| s.id == id)
            .map_or(0, |s| s.queue.len())
    }

    /// True when a subscription could take another event, and when there is no such subscription. O(subscriptions).
    pub fn has_room(&self, id: u64) -> bool {
        let all = self.subscriptions.lock();
        all.iter()
            .find(|s| s.id == id)
            .is_none_or(|s| s.queue.len() + s.reserved < s.capacity)
    }

    /// Looks which subscriptions the packed records match, and reserves room in those that block.
    pub(crate) fn admit(&self, packed: &[u8], ends: &[usize], force: bool) -> Result<Tickets, Full> {
        let mut tickets = Tickets::default();
        if self.is_empty() {
            return Ok(tickets);
        }
        let mut all = self.subscriptions.lock();
        let mut start = 0;
        for (i, &end) in ends.iter().enumerate() {
            if let Ok(view) = unpack(&packed[start..end], Names::Interned) {
                for s in all.iter().filter(|s| s.filter.matches(&view)) {
                    tickets.0.push((s.id, i as u32));
                }
            }
            start = end;
        }
        for s in all.iter().filter(|s| s.policy == Policy::Block && !force) {
            let wanted = tickets.0.iter().filter(|(id, _)| *id == s.id).count();
            let taken = s.queue.len() + s.reserved;
            // A batch larger than the queue is let in when the queue is empty; it never fits better.
            if wanted > 0 && taken > 0 && taken + wanted > s.capacity {
                return Err(Full(s.id));
            }
        }
        for s in all.iter_mut().filter(|s| s.policy == Policy::Block) {
            s.reserved += tickets.0.iter().filter(|(id, _)| *id == s.id).count();
        }
        Ok(tickets)
    }

    /// Gives up the room.
    pub(crate) fn cancel(&self, tickets: Tickets) {
        if tickets.0.is_empty() {
            return;
        }
        for s in self.subscriptions.lock().iter_mut() {
            let held = tickets.0.iter().filter(|(id, _)| *id == s.id).count();
            s.reserved = s.reserved.saturating_sub(held);
        }
    }

    /// Queues what was stored. Answers the subscriptions whose owner is to be woken.
    pub(crate) fn publish(&self, tickets: Tickets, packed: &[u8], ends: &[usize]) -> Vec<u64> {
        let mut wake = Vec::new();
        if tickets.0.is_empty() {
            return wake;
        }
        let mut shared: Option<(u32, Arc<[u8]>)> = None;
        let mut all = self.subscriptions.lock();
        for (id, i) in tickets.0 {
            let Some(s) = all.iter_mut().find(|s| s.id == id) else {
                continue;
            };
            let record = match &shared {
                Some((at, record)) if *at == i => record.clone(),
                _ => {
                    let at = i as usize;
                    let start = if at == 0 { 0 } else { ends[at - 1] };
                    let record: Arc<[u8]> = packed[start..ends[at]].into();
                    shared = Some((i, record.clone()));
                    record
                }
            };
            s.push(record);
            if !s.woken && !s.queue.is_empty() {
                s.woken = true;
                wake.push(id);
            }
        }
        wake
    }
}

impl Subscription {
    fn push(&mut self, record: Arc<[u8]>) {
        if self.policy == Policy::Block {
            self.reserved = self.reserved.saturating_sub(1);
        }
        if self.queue.len() < self.capacity {
            self.queue.push_back(record);
            return;
        }
        self.dropped += 1;
        if self.policy == Policy::DropOldest {
            self.queue.pop_front();
            self.queue.push_back(record);
        }
    }
}
