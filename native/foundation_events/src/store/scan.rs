//! Finding events without keeping the lock: in steps, each picking up where the last one ended.

use super::Store;
use crate::event::{Correlation, Event, View};
use crate::index::{Found, List};
use crate::record::{Names, unpack};
use crate::symbols::Symbol;
use crate::time_index::Key;
use std::ops::ControlFlow;

/// Entries looked at under one hold of the lock.
const STEP: usize = 1024;
/// Records copied under one hold of the lock.
const COPY_RECORDS: usize = 256;
const COPY_BYTES: usize = 64 * 1024;

/// A 1.x query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Basic {
    /// Events of this type only.
    pub kind: Option<Symbol>,
    /// Events between these timestamps, both included.
    pub range: Option<(i64, i64)>,
    /// Sorted by timestamp (and id), else by id.
    pub by_time: bool,
    /// Events left out at the start.
    pub offset: usize,
    /// Events at most.
    pub limit: Option<usize>,
}

/// Events that were found; they are looked up again when they are read.
#[derive(Debug, Clone, Default)]
pub struct Hits(pub(crate) Vec<Found>);

impl Hits {
    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Store {
    /// The events of a correlation id, by timestamp. O(events found).
    pub fn by_correlation(&self, correlation: &[u8]) -> Hits {
        self.sorted(List::Correlation(Correlation::of(correlation)))
    }

    /// The events that followed from one, by timestamp. O(events found).
    pub fn by_parent(&self, parent: u64) -> Hits {
        self.sorted(List::Parent(parent))
    }

    fn sorted(&self, list: List<'_>) -> Hits {
        let mut found = self.collect(list);
        found.sort_unstable_by_key(Found::key);
        Hits(found)
    }

    /// The newest `limit` events by timestamp, in ascending order. O(limit).
    pub fn recent(&self, limit: usize) -> Hits {
        let mut found = Vec::new();
        self.scan((i64::MAX, u64::MAX), (i64::MIN, 0), true, &mut |f, _| {
            if found.len() == limit {
                return ControlFlow::Break(());
            }
            found.push(*f);
            ControlFlow::Continue(())
        });
        found.reverse();
        Hits(found)
    }

    /// Answers a 1.x query. O(events in the range, or of the type).
    pub fn basic(&self, query: &Basic) -> Hits {
        let (low, high) = query.range.unwrap_or((i64::MIN, i64::MAX));
        let mut found = Vec::new();
        let enough = match query.limit {
            Some(limit) if query.by_time => query.offset.saturating_add(limit),
            _ => usize::MAX,
        };
        let listed = query.kind.filter(|kind| !query.by_time || self.few(*kind));
        if let Some(kind) = listed {
            found = self.collect(List::Kind(kind));
            found.retain(|f| low <= f.timestamp && f.timestamp <= high);
        } else {
            self.scan((low, 0), (high, u64::MAX), false, &mut |f, kind| {
                if found.len() >= enough {
                    return ControlFlow::Break(());
                }
                if query.kind.is_none_or(|k| k == kind) {
                    found.push(*f);
                }
                ControlFlow::Continue(())
            });
        }
        if query.by_time {
            found.sort_unstable_by_key(Found::key);
        } else {
            found.sort_unstable_by_key(|f| f.id);
        }
        let start = query.offset.min(found.len());
        found.drain(..start);
        found.truncate(query.limit.unwrap_or(usize::MAX));
        Hits(found)
    }

    fn few(&self, kind: Symbol) -> bool {
        let state = self.state.read();
        state.index.count(List::Kind(kind), usize::MAX) * 4 < state.index.len()
    }

    /// Every event of a list, in order of arrival.
    pub(crate) fn collect(&self, list: List<'_>) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::new();
        loop {
            let state = self.state.read();
            let index = &state.index;
            let after = found.last().copied();
            // The event where the last step ended may be gone: then there is no way on, and the walk starts again.
            if after.is_some_and(|f| index.seq_of(f.slot) != f.seq) {
                found.clear();
            }
            let after = found.last().map(|f| f.slot);
            let before = found.len();
            found.extend(index.walk(list, after).take(STEP).map(|slot| index.found(slot)));
            if found.len() - before < STEP {
                return found;
            }
        }
    }

    /// Walks the time index between two keys, both included, from the first to the last.
    pub(crate) fn scan(
        &self,
        from: Key,
        to: Key,
        descending: bool,
        f: &mut dyn FnMut(&Found, Symbol) -> ControlFlow<()>,
    ) {
        let mut from = from;
        let mut step: Vec<(Found, Symbol)> = Vec::with_capacity(STEP);
        loop {
            step.clear();
            {
                let state = self.state.read();
                let index = &state.index;
                let entry = |slot| (index.found(slot), index.kind_of(slot));
                if descending {
                    step.extend(index.descending(from, STEP).map(entry));
                } else {
                    step.extend(index.ascending(from, STEP).map(entry));
                }
            }
            for (found, kind) in &step {
                let past = if descending {
                    found.key() < to
                } else {
                    found.key() > to
                };
                if past || f(found, *kind).is_break() {
                    return;
                }
            }
            let Some((last, _)) = step.last().filter(|_| step.len() == STEP) else {
                return;
            };
            let next = if descending {
                before(last.key())
            } else {
                after(last.key())
            };
            match next {
                Some(key) => from = key,
                None => return,
            }
        }
    }

    /// Reads found events in order; those that are gone by now are left out.
    pub(crate) fn visit(
        &self,
        found: &[Found],
        f: &mut dyn FnMut(&Found, &View<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut bytes: Vec<u8> = Vec::new();
        let mut cuts: Vec<(usize, usize)> = Vec::new();
        let mut at = 0;
        while at < found.len() {
            bytes.clear();
            cuts.clear();
            {
                let state = self.state.read();
                while at < found.len() && cuts.len() < COPY_RECORDS && bytes.len() < COPY_BYTES {
                    if let Some(record) = state.index.record_of(&found[at]) {
                        bytes.extend_from_slice(record);
                        cuts.push((at, bytes.len()));
                    }
                    at += 1;
                }
            }
            let mut start = 0;
            for (i, end) in &cuts {
                if let Ok(view) = unpack(&bytes[start..*end], Names::Interned) {
                    f(&found[*i], &view)?;
                }
                start = *end;
            }
        }
        ControlFlow::Continue(())
    }

    /// Gives each hit that is still there to `f`, in order. O(hits).
    pub fn read(&self, hits: &Hits, f: &mut dyn FnMut(&Event<'_>)) {
        let _ = self.visit(&hits.0, &mut |_, view| {
            f(&view.event(&mut [0; 36]));
            ControlFlow::Continue(())
        });
    }
}

/// The key just after one.
pub(crate) fn after(key: Key) -> Option<Key> {
    match key {
        (t, u64::MAX) => t.checked_add(1).map(|t| (t, 0)),
        (t, id) => Some((t, id + 1)),
    }
}

/// The key just before one.
pub(crate) fn before(key: Key) -> Option<Key> {
    match key {
        (t, 0) => t.checked_sub(1).map(|t| (t, u64::MAX)),
        (t, id) => Some((t, id - 1)),
    }
}
