//! Broadcasts that were announced and have not come: whom to ask, and when.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use smallvec::SmallVec;

use super::message::MessageId;
use crate::types::NodeId;

/// How long to wait for what was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    /// Least wait from the announcement to the first request; lengthened by what is measured.
    pub first: Duration,
    /// Wait from one request to the next, of another neighbour.
    pub next: Duration,
    /// Requests for one broadcast before it is given up.
    pub tries: u8,
    /// Most broadcasts waited for.
    pub most: usize,
}

impl Default for Waits {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            next: Duration::from_millis(250),
            tries: 12,
            most: 16_384,
        }
    }
}

#[derive(Debug)]
struct Entry {
    sources: SmallVec<[NodeId; 4]>,
    announced: Duration,
    due: Duration,
    tries: u8,
}

/// Most neighbours remembered for one broadcast.
const MAX_SOURCES: usize = 8;

#[derive(Debug)]
pub(crate) struct Missing {
    waits: Waits,
    entries: BTreeMap<MessageId, Entry>,
    due: BTreeSet<(Duration, MessageId)>,
    lag: Lag,
}

/// What became of an announcement.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// Someone is waited for.
    Waiting,
    /// There is no room; the announcement is dropped.
    Full,
}

impl Missing {
    pub(crate) fn new(waits: Waits) -> Self {
        Self {
            waits,
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            lag: Lag::default(),
        }
    }

    /// Remembers that `from` has it.
    pub(crate) fn announce(&mut self, now: Duration, id: &MessageId, from: &NodeId) -> Noted {
        if let Some(entry) = self.entries.get_mut(id) {
            if entry.sources.len() < MAX_SOURCES && !entry.sources.contains(from) {
                entry.sources.push(from.clone());
            }
            return Noted::Waiting;
        }
        if self.entries.len() >= self.waits.most {
            return Noted::Full;
        }
        let due = now + self.lag.wait(self.waits.first);
        let sources = SmallVec::from_iter([from.clone()]);
        self.entries.insert(
            id.clone(),
            Entry {
                sources,
                announced: now,
                due,
                tries: 0,
            },
        );
        self.due.insert((due, id.clone()));
        Noted::Waiting
    }

    /// The payload came: nothing is waited for any more, and the wait is measured.
    pub(crate) fn arrived(&mut self, now: Duration, id: &MessageId) {
        if let Some(entry) = self.entries.remove(id) {
            self.due.remove(&(entry.due, id.clone()));
            if entry.tries == 0 {
                self.lag.sample(now.saturating_sub(entry.announced));
            }
        }
    }

    /// Takes the next request that is due: which broadcast, of whom. `None` for whom: given up.
    pub(crate) fn next_request(&mut self, now: Duration) -> Option<(MessageId, Option<NodeId>)> {
        let first = self.due.first().filter(|(due, _)| *due <= now)?.clone();
        self.due.remove(&first);
        let id = first.1;
        let entry = self.entries.get_mut(&id)?;
        if entry.sources.is_empty() || entry.tries >= self.waits.tries {
            self.entries.remove(&id);
            return Some((id, None));
        }
        let source = entry.sources.remove(0);
        entry.sources.push(source.clone());
        entry.tries += 1;
        entry.due = now + self.waits.next;
        self.due.insert((entry.due, id.clone()));
        Some((id, Some(source)))
    }

    /// A neighbour is gone: what only it had is asked of nobody.
    pub(crate) fn forget(&mut self, peer: &NodeId) {
        for entry in self.entries.values_mut() {
            entry.sources.retain(|source| source != peer);
        }
    }

    pub(crate) fn due(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// How far payloads lag behind announcements, smoothed as TCP smooths round trips (RFC 6298).
#[derive(Debug, Default)]
struct Lag {
    mean: Duration,
    deviation: Duration,
    sampled: bool,
}

impl Lag {
    fn sample(&mut self, lag: Duration) {
        if !self.sampled {
            (self.mean, self.deviation, self.sampled) = (lag, lag / 2, true);
            return;
        }
        self.deviation = (self.deviation * 3 + self.mean.abs_diff(lag)) / 4;
        self.mean = (self.mean * 7 + lag) / 8;
    }

    /// Between `least` and twice as much. Not more: a lag is also what others waited before they asked, and waits that
    /// grow by the waits of others would add up to many seconds across a broken tree.
    fn wait(&self, least: Duration) -> Duration {
        (self.mean + self.deviation * 4).clamp(least, least * 2)
    }
}
