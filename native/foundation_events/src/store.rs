//! The store: an index behind a lock that is never held for long, and a log in front of it when it is durable.

mod durable;
pub(crate) mod scan;

pub use durable::{Durability, Opened, Syncing};

use crate::Error;
use crate::arena::prefix_len;
use crate::event::{Event, Keys};
use crate::hub::{Full, Hub};
use crate::index::Index;
use crate::record::{Names, pack_with, unpack};
use crate::slots::NONE;
use crate::uuid;
use foundation_storage::Log;
use parking_lot::RwLock;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Events that are put in or taken out under one hold of the lock.
const STEP: usize = 64;
/// Events of a store in memory that are looked at for removal under one hold of the lock.
const LOOK: u64 = 256;

/// What the store may keep; the events that arrived first go first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Events.
    pub max_events: Option<u64>,
    /// Milliseconds since an event arrived.
    pub max_age_ms: Option<u64>,
    /// Bytes of packed records.
    pub max_bytes: Option<u64>,
}

/// Counts of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Events stored since the store was made or reset.
    pub stored: u64,
    /// Events pruned since then, by call or by bounds.
    pub pruned: u64,
    /// Events in the store.
    pub events: u64,
    /// The id an event without one would get.
    pub next_id: u64,
    /// Bytes of packed records.
    pub record_bytes: u64,
    /// Bytes taken in memory, all indexes included.
    pub memory_bytes: u64,
    /// Bytes on disk; 0 in memory.
    pub disk_bytes: u64,
    /// Segments on disk; 0 in memory.
    pub segments: u64,
}

struct State {
    index: Index,
    next_id: u64,
    next_seq: u64,
}

impl Default for State {
    fn default() -> Self {
        State {
            index: Index::default(),
            next_id: 1,
            next_seq: 1,
        }
    }
}

/// Events, indexed, in memory and, when opened with a directory, on disk.
#[derive(Default)]
pub struct Store {
    state: Arc<RwLock<State>>,
    stored: AtomicU64,
    pruned: AtomicU64,
    log: RwLock<Option<Log>>,
    durable: AtomicBool,
    closed: AtomicBool,
    // Held for reading while something is stored durably, for writing by what removes: a removal then comes, in the
    // log as in memory, before or after each store and never between its two halves.
    gate: RwLock<()>,
    hub: Hub,
}

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why an event was not stored.
#[derive(Debug)]
pub enum Refused {
    /// A blocking subscription has no room. Nothing changed.
    Full(Full),
    /// The log refused it, or the store is closed. Nothing changed.
    Error(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Refused::Error(error)
    }
}

impl Store {
    /// An empty store in memory.
    pub fn new() -> Self {
        Self::default()
    }

    /// True when events go to disk first.
    pub fn is_durable(&self) -> bool {
        self.durable.load(Ordering::Acquire)
    }

    /// True after `close`.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The subscriptions.
    pub fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Stores events; one whose id is there already takes its place. Answers the subscriptions to wake. With `force`
    /// a blocking subscription without room loses the event instead of refusing it.
    ///
    /// In memory: O(1) each. Durable: returns when the log has acknowledged them, all or none.
    ///
    /// # Errors
    /// `Full`, `Closed`, and those of the log. Nothing is stored then.
    pub fn store(&self, events: &[Event<'_>], now_ms: u64, force: bool) -> Result<Vec<u64>, Refused> {
        if self.is_closed() {
            return Err(Error::Closed.into());
        }
        if self.is_durable() {
            return self.store_durable(events, now_ms, force);
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            let mut ends = SmallVec::<[usize; 4]>::with_capacity(events.len());
            let mut keys = SmallVec::<[Keys<'_>; 4]>::with_capacity(events.len());
            for event in events {
                let uuid = event.correlation.and_then(uuid::parse);
                pack_with(event, uuid, now_ms, Names::Interned, scratch);
                ends.push(scratch.len());
                keys.push(Keys::of_event(event, uuid));
            }
            let tickets = self.hub.admit(scratch, &ends, force).map_err(Refused::Full)?;
            self.insert(&keys, scratch, &ends, None);
            let wake = self.hub.publish(tickets, scratch, &ends);
            if scratch.capacity() > 1 << 20 {
                *scratch = Vec::new();
            }
            Ok(wake)
        })
    }

    /// Puts packed records in, under sequences from `first` on, or under the store's own.
    fn insert(&self, keys: &[Keys<'_>], packed: &[u8], ends: &[usize], first: Option<u64>) {
        let mut start = 0;
        let mut done = 0;
        for (keys, ends) in keys.chunks(STEP).zip(ends.chunks(STEP)) {
            let mut state = self.state.write();
            if keys.len() > 1 {
                state.index.touch(keys);
            }
            for (keys, &end) in keys.iter().zip(ends) {
                let seq = first.map_or(state.next_seq, |first| first + done);
                state.put(keys, &packed[start..end], seq);
                start = end;
                done += 1;
            }
        }
        self.stored.fetch_add(done, Ordering::Relaxed);
    }

    /// The record of an id, unpacked; None when there is none. O(1).
    pub fn get<R>(&self, id: u64, f: impl FnOnce(&Event<'_>) -> R) -> Option<R> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            {
                let state = self.state.read();
                let slot = state.index.find(id)?;
                scratch.extend_from_slice(state.index.record(slot));
            }
            let view = unpack(scratch, Names::Interned).ok()?;
            Some(f(&view.event(&mut [0; 36])))
        })
    }

    /// Bytes of the record of an id. O(1).
    pub fn record_size(&self, id: u64) -> Option<usize> {
        let state = self.state.read();
        state.index.find(id).map(|slot| state.index.record(slot).len())
    }

    /// Removes the events whose timestamp is less than `timestamp`. O(events removed).
    ///
    /// # Errors
    /// `Closed`, and those of the log. Nothing is removed then.
    pub fn prune_before(&self, timestamp: i64) -> Result<u64, Error> {
        let _gate = self.gate.write();
        self.mark_pruned(timestamp)?;
        let count = self.remove_before(timestamp);
        self.pruned.fetch_add(count, Ordering::Relaxed);
        Ok(count)
    }

    fn remove_before(&self, timestamp: i64) -> u64 {
        let mut count = 0;
        loop {
            let mut state = self.state.write();
            let step = state.prune_step(timestamp);
            count += step;
            if step < STEP as u64 {
                return count;
            }
        }
    }

    /// Removes what arrived first until the bounds hold. O(events removed).
    ///
    /// # Errors
    /// `Closed`, and those of the log: some of the events may be gone.
    pub fn enforce(&self, bounds: &Bounds, now_ms: u64) -> Result<u64, Error> {
        let _gate = self.gate.write();
        // A durable store has its writers wait at the gate, and one marker says it all; in memory they wait for the
        // lock, and it is let go often.
        let step = if self.is_durable() { u64::MAX } else { LOOK };
        let mut count = 0;
        loop {
            let victims = self.victims(bounds, now_ms, step);
            if victims == 0 {
                break;
            }
            let keep_from = self.seq_after(victims);
            self.mark_retired(keep_from)?;
            count += self.remove_until(keep_from);
            self.retire_segments(keep_from)?;
            if victims < step {
                break;
            }
        }
        self.pruned.fetch_add(count, Ordering::Relaxed);
        Ok(count)
    }

    fn remove_until(&self, keep_from: u64) -> u64 {
        let mut count = 0;
        loop {
            let step = self.state.write().retire_step(keep_from);
            count += step;
            if step < STEP as u64 {
                return count;
            }
        }
    }

    /// How many events, in order of arrival, stand outside the bounds.
    fn victims(&self, bounds: &Bounds, now_ms: u64, most: u64) -> u64 {
        let state = self.state.read();
        let index = &state.index;
        let mut events = index.len() as u64;
        let mut bytes = index.record_bytes() as u64;
        let too_old = |arrival: u64| {
            bounds
                .max_age_ms
                .is_some_and(|age| arrival.saturating_add(age) < now_ms)
        };
        let mut victims = 0;
        for slot in index.arrivals() {
            let record = index.record(slot);
            let old = unpack(record, Names::Interned).is_ok_and(|v| too_old(v.arrival));
            let many = bounds.max_events.is_some_and(|max| events > max);
            let big = bounds.max_bytes.is_some_and(|max| bytes > max);
            if !(old || many || big) || victims == most {
                break;
            }
            victims += 1;
            events -= 1;
            bytes = bytes.saturating_sub((prefix_len(record.len()) + record.len()) as u64);
        }
        victims
    }

    fn seq_after(&self, victims: u64) -> u64 {
        let state = self.state.read();
        let mut arrivals = state.index.arrivals().skip(victims as usize);
        arrivals
            .next()
            .map_or(state.next_seq, |slot| state.index.seq_of(slot))
    }

    /// Forgets everything and starts again at id 1.
    ///
    /// # Errors
    /// `Closed`, and those of the log. Nothing changed then.
    pub fn reset(&self) -> Result<(), Error> {
        let _gate = self.gate.write();
        self.mark_reset()?;
        let old = {
            let mut state = self.state.write();
            state.next_id = 1;
            std::mem::take(&mut state.index)
        };
        drop(old);
        self.stored.store(0, Ordering::Relaxed);
        self.pruned.store(0, Ordering::Relaxed);
        self.retire_all()
    }

    /// Reads the index; `f` must not take long.
    pub(crate) fn with_index(&self, f: impl FnOnce(&Index)) {
        f(&self.state.read().index);
    }

    /// Counts of the store. O(segments).
    pub fn stats(&self) -> Stats {
        let disk = self.log.read().as_ref().map(Log::stats).unwrap_or_default();
        let state = self.state.read();
        Stats {
            stored: self.stored.load(Ordering::Relaxed),
            pruned: self.pruned.load(Ordering::Relaxed),
            events: state.index.len() as u64,
            next_id: state.next_id,
            record_bytes: state.index.record_bytes() as u64,
            memory_bytes: state.index.held() as u64,
            disk_bytes: disk.bytes,
            segments: disk.segments as u64,
        }
    }
}

impl State {
    fn put(&mut self, keys: &Keys<'_>, record: &[u8], seq: u64) {
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
        self.next_id = self.next_id.max(keys.id).saturating_add(1);
        self.index.insert(keys, record, seq);
    }

    fn prune_step(&mut self, timestamp: i64) -> u64 {
        let slots: Vec<_> = self.index.ascending((i64::MIN, 0), STEP).collect();
        let mut count = 0;
        for slot in slots {
            if self.index.found(slot).timestamp >= timestamp {
                break;
            }
            self.index.remove(slot);
            count += 1;
        }
        count
    }

    fn retire_step(&mut self, keep_from: u64) -> u64 {
        let mut count = 0;
        while count < STEP as u64 {
            match self.index.oldest() {
                Some(slot) if slot != NONE && self.index.seq_of(slot) < keep_from => self.index.remove(slot),
                _ => break,
            }
            count += 1;
        }
        count
    }
}
