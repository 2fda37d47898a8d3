//! The events and everything that finds them, without a lock and without a log.

use crate::arena::{Arena, prefix_len};
use crate::event::{Correlation, Keys, View};
use crate::links;
use crate::record::{Names, unpack};
use crate::slots::{Chain, Meta, NONE, Slot, Slots};
use crate::symbols::Symbol;
use crate::table::Table;
use crate::time_index::{Key, TimeIndex};
use hashbrown::HashMap;

/// An event that was found, and the proof that the slot still holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) slot: Slot,
    pub(crate) seq: u64,
    pub(crate) timestamp: i64,
    pub(crate) id: u64,
}

impl Found {
    pub(crate) fn key(&self) -> Key {
        (self.timestamp, self.id)
    }
}

/// A list to walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List<'a> {
    Kind(Symbol),
    Node(Symbol),
    Correlation(Correlation<'a>),
    Parent(u64),
}

#[derive(Clone, Copy)]
struct Head {
    first: Slot,
    count: usize,
}

impl Default for Head {
    fn default() -> Self {
        Head {
            first: NONE,
            count: 0,
        }
    }
}

impl Head {
    fn leave(&mut self, slots: &mut Slots, chain: Chain, slot: Slot, stays: bool) {
        self.first = leave(slots, chain, self.first, slot, stays);
        self.count -= usize::from(!stays);
    }
}

/// Takes a slot out of a list or, when it stays, puts it at its end. Answers the first.
fn leave(slots: &mut Slots, chain: Chain, first: Slot, slot: Slot, stays: bool) -> Slot {
    if stays && slots.get(first).links[chain as usize].prev == slot {
        return first;
    }
    let left = links::remove(slots, chain, first, slot);
    if stays {
        links::append(slots, chain, left, slot);
    }
    left
}

/// The lists that an event stays in when another takes its place.
#[derive(Clone, Copy, Default)]
struct Kept {
    kind: bool,
    node: bool,
    correlation: bool,
    parent: bool,
}

#[derive(Default)]
pub(crate) struct Index {
    arena: Arena,
    slots: Slots,
    ids: Table,
    correlations: Table,
    parents: Table,
    kinds: HashMap<Symbol, Head, ahash::RandomState>,
    nodes: HashMap<Symbol, Head, ahash::RandomState>,
    time: TimeIndex,
    arrivals: Head,
    hasher: ahash::RandomState,
    /// The correlation that was linked last and the first of its list: the next event is likely to be of the same.
    /// Forgotten whenever something leaves a list.
    story: Option<([u8; 16], Slot)>,
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        self.arrivals.count
    }

    /// Bytes of the records.
    pub(crate) fn record_bytes(&self) -> usize {
        self.arena.live()
    }

    /// Bytes taken, all indexes included.
    pub(crate) fn held(&self) -> usize {
        self.arena.held()
            + self.slots.held()
            + self.ids.held()
            + self.correlations.held()
            + self.parents.held()
            + self.time.held()
    }

    /// Looks where these keys will go, one after the other without using what is found: the processor then waits for
    /// several places in memory at a time, and not for each of them as they are put in.
    pub(crate) fn touch(&self, keys: &[Keys<'_>]) {
        for keys in keys {
            self.ids.touch(self.hasher.hash_one(keys.id));
            if let Some(parent) = keys.parent {
                self.parents.touch(self.hasher.hash_one(parent));
            }
        }
    }

    /// How many chunks and blocks are missing for so many records and bytes more.
    pub(crate) fn missing(&self, records: usize, bytes: usize) -> (usize, usize) {
        let prefixes = records * prefix_len(bytes / records.max(1));
        (self.arena.missing(bytes + prefixes), self.slots.missing(records))
    }

    /// Takes memory for later.
    pub(crate) fn supply(&mut self, chunks: Vec<Vec<u8>>, blocks: Vec<Box<[Meta]>>) {
        chunks.into_iter().for_each(|chunk| self.arena.supply(chunk));
        blocks.into_iter().for_each(|block| self.slots.supply(block));
    }

    /// Stores a packed record, whose keys these are. An event of the same id and an earlier sequence goes; one of a later
    /// sequence stays and the record is dropped. True when an event went.
    pub(crate) fn insert(&mut self, keys: &Keys<'_>, record: &[u8], seq: u64) -> bool {
        let old = self.find(keys.id);
        if let Some(old) = old {
            let meta = self.slots.get(old);
            if meta.seq > seq {
                return false;
            }
            if meta.timestamp == keys.timestamp {
                self.replace(old, keys, record, seq);
                return true;
            }
            self.remove(old);
        }
        let place = self.arena.put(record);
        let slot = self
            .slots
            .insert(Meta::new(keys.id, keys.timestamp, seq, place, keys.kind));
        self.ids.insert(self.hasher.hash_one(keys.id), slot);
        self.time.insert(&self.slots, slot);
        self.link(keys, slot);
        old.is_some()
    }

    // The id and the timestamp stay, and with them the slot and its places in both; in the lists it becomes the last.
    fn replace(&mut self, slot: Slot, keys: &Keys<'_>, record: &[u8], seq: u64) {
        let kept = self.unlink_changed(keys, slot);
        let place = self.slots.get(slot).place;
        let (place, sparse) = if self.arena.overwrite(place, record) {
            (place, None)
        } else {
            (self.arena.put(record), self.arena.free(place))
        };
        let meta = self.slots.get_mut(slot);
        (meta.place, meta.seq, meta.kind) = (place, seq, keys.kind);
        self.arrive(slot);
        self.link_where(keys, slot, kept);
        if let Some(sparse) = sparse {
            self.rewrite(sparse);
        }
    }

    // The last of a list that it stays in is where it belongs.
    fn leaves(&self, chain: Chain, slot: Slot, stays: bool) -> bool {
        !stays || self.slots.get(slot).links[chain as usize].next != NONE
    }

    // The first one's `prev` is the last, which has nothing behind it.
    fn is_first(&self, chain: Chain, slot: Slot) -> bool {
        let prev = self.slots.get(slot).links[chain as usize].prev;
        self.slots.get(prev).links[chain as usize].next != slot
    }

    // Leaves the lists that the new event is not in, and goes to the end of the others.
    fn unlink_changed(&mut self, new: &Keys<'_>, slot: Slot) -> Kept {
        self.story = None;
        self.arrivals.first = links::remove(&mut self.slots, Chain::Arrival, self.arrivals.first, slot);
        self.arrivals.count -= 1;
        let Ok(old) = unpack(self.record(slot), Names::Interned) else {
            return Kept::default();
        };
        let kept = Kept {
            kind: old.kind == new.kind,
            node: old.node == new.node,
            correlation: old.correlation == new.correlation,
            parent: old.parent == new.parent,
        };
        let (kind, node, parent) = (old.kind, old.node, old.parent);
        let correlation = old
            .correlation
            .filter(|_| self.leaves(Chain::Correlation, slot, kept.correlation))
            .and_then(|c| {
                let hash = self.hasher.hash_one(c.bytes());
                let first = self.is_first(Chain::Correlation, slot).then_some(slot);
                Some((hash, first.or_else(|| self.first_of_correlation(c, hash))?))
            });
        let parent = parent
            .filter(|_| self.leaves(Chain::Parent, slot, kept.parent))
            .and_then(|p| {
                let hash = self.hasher.hash_one(p);
                let first = self.is_first(Chain::Parent, slot).then_some(slot);
                Some((hash, first.or_else(|| self.first_of_parent(p, hash))?))
            });
        if let Some(head) = self.kinds.get_mut(&kind) {
            head.leave(&mut self.slots, Chain::Kind, slot, kept.kind);
        }
        if let Some(head) = node.and_then(|node| self.nodes.get_mut(&node)) {
            head.leave(&mut self.slots, Chain::Node, slot, kept.node);
        }
        if let Some((hash, first)) = correlation {
            let left = leave(&mut self.slots, Chain::Correlation, first, slot, kept.correlation);
            Self::rehead(&mut self.correlations, hash, first, left);
        }
        if let Some((hash, first)) = parent {
            let left = leave(&mut self.slots, Chain::Parent, first, slot, kept.parent);
            Self::rehead(&mut self.parents, hash, first, left);
        }
        kept
    }

    // Writers that were acknowledged together may get here out of order; arrivals are in order of sequence all the same.
    fn arrive(&mut self, slot: Slot) {
        let slots = &mut self.slots;
        let first = self.arrivals.first;
        self.arrivals.count += 1;
        if first == NONE {
            self.arrivals.first = links::append(slots, Chain::Arrival, NONE, slot);
            return;
        }
        let seq = slots.get(slot).seq;
        if slots.get(first).seq > seq {
            self.arrivals.first = links::prepend(slots, Chain::Arrival, first, slot);
            return;
        }
        let mut prev = slots.get(first).links[Chain::Arrival as usize].prev;
        while slots.get(prev).seq > seq {
            prev = slots.get(prev).links[Chain::Arrival as usize].prev;
        }
        links::insert_after(slots, Chain::Arrival, first, prev, slot);
    }

    fn link(&mut self, keys: &Keys<'_>, slot: Slot) {
        self.arrive(slot);
        self.link_where(keys, slot, Kept::default());
    }

    fn link_where(&mut self, keys: &Keys<'_>, slot: Slot, kept: Kept) {
        let slots = &mut self.slots;
        if !kept.kind {
            let head = self.kinds.entry(keys.kind).or_default();
            head.first = links::append(slots, Chain::Kind, head.first, slot);
            head.count += 1;
        }
        if let Some(node) = keys.node.filter(|_| !kept.node) {
            let head = self.nodes.entry(node).or_default();
            head.first = links::append(slots, Chain::Node, head.first, slot);
            head.count += 1;
        }
        if let Some(correlation) = keys.correlation.filter(|_| !kept.correlation) {
            self.link_correlation(correlation, slot);
        }
        if let Some(parent) = keys.parent.filter(|_| !kept.parent) {
            let hash = self.hasher.hash_one(parent);
            match self.first_of_parent(parent, hash) {
                None => {
                    links::append(&mut self.slots, Chain::Parent, NONE, slot);
                    self.parents.insert(hash, slot);
                }
                Some(first) => {
                    links::append(&mut self.slots, Chain::Parent, first, slot);
                }
            }
        }
    }

    fn link_correlation(&mut self, correlation: Correlation<'_>, slot: Slot) {
        let known = self
            .story
            .filter(|(uuid, _)| correlation == Correlation::Uuid(*uuid));
        let first = match known {
            Some((_, first)) => links::append(&mut self.slots, Chain::Correlation, first, slot),
            None => {
                let hash = self.hasher.hash_one(correlation.bytes());
                let first = self.first_of_correlation(correlation, hash).unwrap_or(NONE);
                if first == NONE {
                    self.correlations.insert(hash, slot);
                }
                links::append(&mut self.slots, Chain::Correlation, first, slot)
            }
        };
        if let Correlation::Uuid(uuid) = correlation {
            self.story = Some((uuid, first));
        }
    }

    /// Forgets an event.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.story = None;
        let place = self.slots.get(slot).place;
        let record = self.arena.get(place);
        if let Ok(view) = unpack(record, Names::Interned) {
            let (kind, node, parent) = (view.kind, view.node, view.parent);
            let correlation = view.correlation.map(|c| {
                let hash = self.hasher.hash_one(c.bytes());
                (hash, self.first_of_correlation(c, hash))
            });
            self.ids.remove(self.hasher.hash_one(view.id), slot);
            self.time.remove(&self.slots, slot);
            self.unlink_counted(kind, node, slot);
            if let Some((hash, Some(first))) = correlation {
                let left = links::remove(&mut self.slots, Chain::Correlation, first, slot);
                Self::rehead(&mut self.correlations, hash, first, left);
            }
            if let Some(parent) = parent {
                let hash = self.hasher.hash_one(parent);
                if let Some(first) = self.first_of_parent(parent, hash) {
                    let left = links::remove(&mut self.slots, Chain::Parent, first, slot);
                    Self::rehead(&mut self.parents, hash, first, left);
                }
            }
        }
        self.slots.remove(slot);
        if let Some(sparse) = self.arena.free(place) {
            self.rewrite(sparse);
        }
    }

    fn unlink_counted(&mut self, kind: Symbol, node: Option<Symbol>, slot: Slot) {
        let slots = &mut self.slots;
        self.arrivals.first = links::remove(slots, Chain::Arrival, self.arrivals.first, slot);
        self.arrivals.count -= 1;
        if let Some(head) = self.kinds.get_mut(&kind) {
            head.first = links::remove(slots, Chain::Kind, head.first, slot);
            head.count -= 1;
        }
        if let Some(head) = node.and_then(|node| self.nodes.get_mut(&node)) {
            head.first = links::remove(slots, Chain::Node, head.first, slot);
            head.count -= 1;
        }
    }

    fn rehead(table: &mut Table, hash: u64, first: Slot, left: Slot) {
        if left == NONE {
            table.remove(hash, first);
        } else if left != first {
            table.replace(hash, first, left);
        }
    }

    // At most one chunk's bytes are moved, and at most a quarter of them.
    fn rewrite(&mut self, chunk: u32) {
        let Some(mut sparse) = self.arena.take(chunk) else {
            return;
        };
        while let Some((place, record)) = sparse.next() {
            let Ok(view) = unpack(record, Names::Interned) else {
                continue;
            };
            let slot = self
                .find(view.id)
                .filter(|&slot| self.slots.get(slot).place == place);
            if let Some(slot) = slot {
                let moved = self.arena.put(record);
                self.slots.get_mut(slot).place = moved;
            }
        }
    }

    /// The slot of an id.
    pub(crate) fn find(&self, id: u64) -> Option<Slot> {
        self.ids
            .find(self.hasher.hash_one(id), |slot| self.slots.get(slot).id == id)
    }

    fn first_of_correlation(&self, correlation: Correlation<'_>, hash: u64) -> Option<Slot> {
        self.correlations.find(hash, |slot| {
            self.view(slot)
                .is_some_and(|v| v.correlation == Some(correlation))
        })
    }

    fn first_of_parent(&self, parent: u64, hash: u64) -> Option<Slot> {
        self.parents.find(hash, |slot| {
            self.view(slot).is_some_and(|v| v.parent == Some(parent))
        })
    }

    fn view(&self, slot: Slot) -> Option<View<'_>> {
        unpack(self.record(slot), Names::Interned).ok()
    }

    pub(crate) fn record(&self, slot: Slot) -> &[u8] {
        self.arena.get(self.slots.get(slot).place)
    }

    /// The record, if the slot still holds the event that was found.
    pub(crate) fn record_of(&self, found: &Found) -> Option<&[u8]> {
        (self.slots.get(found.slot).seq == found.seq).then(|| self.record(found.slot))
    }

    pub(crate) fn found(&self, slot: Slot) -> Found {
        let meta = self.slots.get(slot);
        Found {
            slot,
            seq: meta.seq,
            timestamp: meta.timestamp,
            id: meta.id,
        }
    }

    pub(crate) fn kind_of(&self, slot: Slot) -> Symbol {
        self.slots.get(slot).kind
    }

    pub(crate) fn seq_of(&self, slot: Slot) -> u64 {
        self.slots.get(slot).seq
    }

    /// The event that arrived first.
    pub(crate) fn oldest(&self) -> Option<Slot> {
        (self.arrivals.first != NONE).then_some(self.arrivals.first)
    }

    /// All events in order of arrival.
    pub(crate) fn arrivals(&self) -> impl Iterator<Item = Slot> + '_ {
        std::iter::successors(self.oldest(), |&slot| {
            let next = self.slots.get(slot).links[Chain::Arrival as usize].next;
            (next != NONE).then_some(next)
        })
    }

    /// How many events a list has: exact for types and nodes, counted up to `limit` otherwise.
    pub(crate) fn count(&self, list: List<'_>, limit: usize) -> usize {
        match list {
            List::Kind(kind) => self.kinds.get(&kind).map_or(0, |h| h.count),
            List::Node(node) => self.nodes.get(&node).map_or(0, |h| h.count),
            List::Correlation(_) | List::Parent(_) => self.walk(list, None).take(limit).count(),
        }
    }

    /// The events of a list in order of arrival, after `after` when given.
    pub(crate) fn walk(&self, list: List<'_>, after: Option<Slot>) -> impl Iterator<Item = Slot> + '_ {
        let (chain, first) = match list {
            List::Kind(kind) => (Chain::Kind, self.kinds.get(&kind).map(|h| h.first)),
            List::Node(node) => (Chain::Node, self.nodes.get(&node).map(|h| h.first)),
            List::Correlation(c) => {
                let hash = self.hasher.hash_one(c.bytes());
                (Chain::Correlation, self.first_of_correlation(c, hash))
            }
            List::Parent(p) => (Chain::Parent, self.first_of_parent(p, self.hasher.hash_one(p))),
        };
        let start = match after {
            Some(slot) => self.slots.get(slot).links[chain as usize].next,
            None => first.unwrap_or(NONE),
        };
        std::iter::successors((start != NONE).then_some(start), move |&slot| {
            let next = self.slots.get(slot).links[chain as usize].next;
            (next != NONE).then_some(next)
        })
    }

    pub(crate) fn ascending(&self, from: Key, max: usize) -> impl Iterator<Item = Slot> {
        self.time.ascending(&self.slots, from, max)
    }

    pub(crate) fn descending(&self, from: Key, max: usize) -> impl Iterator<Item = Slot> {
        self.time.descending(&self.slots, from, max)
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
