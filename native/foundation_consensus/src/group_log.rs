//! The log of one group in memory: votes and entries that are not yet purged. The journal holds the same on the disk.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::OnceLock;

use openraft::{EntryPayload, LogIdOptionExt};
use parking_lot::Mutex;

use crate::codec::entry_size;
use crate::types::{Entry, LogId, Name, Vote};

/// Where the records of a group lie in the journal, for what may be removed from it.
#[derive(Debug, Default)]
struct Places {
    /// The last index and the first sequence of each append, oldest first. Truncated ones stay until they are purged.
    appends: VecDeque<(u64, u64)>,
    name: u64,
    vote: Option<u64>,
    purge: Option<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    entries: VecDeque<Entry>,
    /// Those of them that change the members.
    memberships: Vec<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    bytes: u64,
    places: Places,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct GroupLog {
    pub(crate) id: u32,
    /// Not yet known while the journal is read: the record of the name may come after others of the group.
    name: OnceLock<Name>,
    /// Held while a vote or a purge is set and handed to the journal, so that they follow each other there as here.
    pub(crate) order: Mutex<()>,
    kept: Mutex<Kept>,
}

/// A record that is not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fact {
    Name,
    Vote,
    Purge,
}

/// What records of a group say about it besides its entries.
pub(crate) struct Facts {
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
}

impl GroupLog {
    pub(crate) fn new(id: u32) -> Self {
        GroupLog {
            id,
            name: OnceLock::new(),
            order: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    pub(crate) fn name(&self) -> Option<&Name> {
        self.name.get()
    }

    /// Names the group; a name that it has stays.
    pub(crate) fn set_name(&self, name: Name) {
        self.name.get_or_init(|| name);
    }

    /// Adds entries at their places; what was there and behind it goes.
    pub(crate) fn append(&self, entries: impl IntoIterator<Item = Entry>) {
        let mut kept = self.kept.lock();
        entries.into_iter().for_each(|entry| kept.push(entry));
    }

    /// Adds an entry that was read from the journal. An entry behind a hole was never acknowledged: the append before
    /// it had failed, and Raft stops at that. It is left out; false.
    pub(crate) fn replay(&self, entry: Entry) -> bool {
        let mut kept = self.kept.lock();
        let last = kept.entries.back().map(|last| last.log_id.index());
        let fits = last.is_none_or(|last| entry.log_id.index() <= last + 1);
        if fits {
            kept.push(entry);
        }
        fits
    }

    /// Whether the entries go on where the purged ones end.
    pub(crate) fn is_whole(&self) -> bool {
        let kept = self.kept.lock();
        let first = kept.entries.front().map(|entry| entry.log_id.index());
        first.is_none_or(|first| first <= kept.purged.next_index())
    }

    /// Leaves out entries that were appended after all before them had been purged, and that do not go on there: the append
    /// before them had failed, as with `replay`. True when there were such.
    pub(crate) fn leave_out_orphans(&self) -> bool {
        let mut kept = self.kept.lock();
        let first = kept.entries.front().map(|entry| entry.log_id.index());
        let behind_a_hole =
            kept.purged.is_some() && first.is_some_and(|first| first > kept.purged.next_index());
        let appended = kept.places.appends.front().map(|(_, seq)| *seq);
        let orphans = behind_a_hole && appended > kept.places.purge && kept.places.purge.is_some();
        if orphans {
            kept.entries.clear();
            kept.memberships.clear();
            kept.places.appends.clear();
            kept.bytes = 0;
        }
        orphans
    }

    /// Removes the entries from this index on.
    pub(crate) fn truncate_from(&self, index: u64) {
        self.kept.lock().truncate_from(index);
    }

    /// Removes the entries up to this one.
    pub(crate) fn purge(&self, upto: &LogId) {
        let mut kept = self.kept.lock();
        if kept.purged.as_ref().is_some_and(|purged| purged >= upto) {
            return;
        }
        while kept
            .entries
            .front()
            .is_some_and(|entry| entry.log_id.index() <= upto.index())
        {
            if let Some(entry) = kept.entries.pop_front() {
                kept.bytes -= entry_size(&entry) as u64;
            }
        }
        kept.memberships.retain(|id| id.index() > upto.index());
        kept.purged = Some(*upto);
        while kept
            .places
            .appends
            .front()
            .is_some_and(|(last, _)| *last <= upto.index())
        {
            kept.places.appends.pop_front();
        }
    }

    pub(crate) fn set_vote(&self, vote: Vote) {
        self.kept.lock().vote = Some(vote);
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.kept.lock().vote.clone()
    }

    /// The latest term that this member has voted in or followed a leader of: it promised to have no part in earlier ones.
    pub(crate) fn promised(&self) -> u64 {
        let kept = self.kept.lock();
        kept.vote.as_ref().map_or(0, |vote| vote.leader_id.term)
    }

    /// The place of the last change of members among the entries.
    pub(crate) fn last_membership(&self) -> Option<LogId> {
        self.kept.lock().memberships.last().copied()
    }

    pub(crate) fn purged(&self) -> Option<LogId> {
        self.kept.lock().purged
    }

    pub(crate) fn last(&self) -> Option<LogId> {
        let kept = self.kept.lock();
        kept.entries.back().map(|entry| entry.log_id).or(kept.purged)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.kept.lock().bytes
    }

    /// True when neither vote nor entry was ever stored.
    pub(crate) fn is_new(&self) -> bool {
        let kept = self.kept.lock();
        kept.vote.is_none() && kept.entries.is_empty() && kept.purged.is_none()
    }

    /// Entries of the range that are here; ends after about `bytes`, with one entry at least.
    pub(crate) fn read(&self, range: Range<u64>, bytes: usize) -> Vec<Entry> {
        let kept = self.kept.lock();
        let Some(first) = kept.entries.front().map(|entry| entry.log_id.index()) else {
            return Vec::new();
        };
        let from = range.start.max(first) - first;
        let to = (range.end.max(first) - first).min(kept.entries.len() as u64);
        if from >= to {
            return Vec::new();
        }
        let mut left = bytes;
        let entries = kept.entries.range(from as usize..to as usize);
        let fitting = entries.take_while(|entry| {
            let fits = left > 0;
            left = left.saturating_sub(entry_size(entry));
            fits
        });
        fitting.cloned().collect()
    }

    /// Whether the entry is in the log: its record must stay.
    pub(crate) fn holds(&self, id: &LogId) -> bool {
        let kept = self.kept.lock();
        let Some(first) = kept.entries.front().map(|entry| entry.log_id.index()) else {
            return false;
        };
        let at = id.index().checked_sub(first);
        at.and_then(|at| kept.entries.get(at as usize))
            .is_some_and(|entry| entry.log_id == *id)
    }

    pub(crate) fn facts(&self) -> Facts {
        let kept = self.kept.lock();
        Facts {
            vote: kept.vote.clone(),
            purged: kept.purged,
        }
    }

    pub(crate) fn placed_append(&self, last: u64, seq: u64) {
        let mut kept = self.kept.lock();
        if kept.purged.index().is_none_or(|purged| last > purged) {
            kept.places.appends.push_back((last, seq));
        }
    }

    pub(crate) fn placed_name(&self, seq: u64) {
        self.kept.lock().places.name = seq;
    }

    pub(crate) fn placed_vote(&self, seq: u64) {
        self.kept.lock().places.vote = Some(seq);
    }

    pub(crate) fn placed_purge(&self, seq: u64) {
        self.kept.lock().places.purge = Some(seq);
    }

    /// The oldest record that holds an entry of the log.
    pub(crate) fn oldest_entry(&self) -> Option<u64> {
        self.kept.lock().places.appends.iter().map(|(_, seq)| *seq).min()
    }

    /// The oldest record of name, vote or purge.
    pub(crate) fn oldest_fact(&self) -> u64 {
        let kept = self.kept.lock();
        let places = [Some(kept.places.name), kept.places.vote, kept.places.purge];
        places.into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Whether the record is the last one of its kind that the disk is known to have, or later.
    pub(crate) fn is_fact(&self, kind: Fact, seq: u64) -> bool {
        let places = &self.kept.lock().places;
        let known = match kind {
            Fact::Name => Some(places.name),
            Fact::Vote => places.vote,
            Fact::Purge => places.purge,
        };
        known.is_none_or(|known| seq >= known)
    }
}

impl Kept {
    fn next(&self) -> u64 {
        match self.entries.back() {
            Some(last) => last.log_id.index() + 1,
            None => self.purged.next_index(),
        }
    }

    fn push(&mut self, entry: Entry) {
        if entry.log_id.index() < self.next() {
            self.truncate_from(entry.log_id.index());
        }
        self.bytes += entry_size(&entry) as u64;
        if matches!(entry.payload, EntryPayload::Membership(_)) {
            self.memberships.push(entry.log_id);
        }
        self.entries.push_back(entry);
    }

    fn truncate_from(&mut self, index: u64) {
        self.memberships.retain(|id| id.index() < index);
        while self
            .entries
            .back()
            .is_some_and(|entry| entry.log_id.index() >= index)
        {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= entry_size(&entry) as u64;
            }
        }
    }
}
