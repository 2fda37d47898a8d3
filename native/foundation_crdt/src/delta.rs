//! Deltas: what one replica tells another of a shard, and how it is joined.
//!
//! A delta holds entries, each with all the dots that its sender has for that path, and two contexts. `covered` are dots
//! about which it says everything: one that the receiver has and no entry lists is gone. `known` is all that the sender
//! had seen, and says the same for the paths of the entries alone. Any delta may be lost, repeated or come late.

use crate::Error;
use crate::context::Context;
use crate::hlc::Hlc;
use crate::kind::At;
use crate::leaf;
use crate::message::{self, Message, Writer};
use crate::shard::Shard;
use crate::tree::{DIRTY, Dot};
use crate::wire::{self, Reader};
use std::collections::HashSet;

/// Longest path, key and value that is taken.
pub(crate) const MAX_PATH: usize = 16;
pub(crate) const MAX_NAME: usize = 64 << 10;
/// Most dots of one entry: concurrent writes, or shares of a counter.
const MAX_DOTS: usize = 65_536;
pub(crate) const MAX_VALUE: usize = 8 << 20;

/// A delta that is being written: the entries come last, as they come.
#[derive(Default)]
struct DeltaOut {
    runs: Context,
    dots: Vec<(u64, u64)>,
    entries: Vec<u8>,
    count: u64,
    time: u64,
}

impl DeltaOut {
    /// What it covers: in order, so that each dot goes behind the last.
    fn covered(&mut self) -> Context {
        let mut covered = std::mem::take(&mut self.runs);
        self.dots.sort_unstable();
        for (id, counter) in self.dots.drain(..) {
            covered.insert(id, counter);
        }
        covered
    }
}

impl Shard {
    fn id(&self, dot: Dot) -> u64 {
        self.replicas[dot.replica as usize].id
    }

    fn put_entry(&self, out: &mut DeltaOut, message: &mut Writer, at: u32) {
        let path = self.tree.path(at);
        let node = self.tree.node(at);
        let timed = crate::shard::leaf_at(&self.kind, &path).is_some_and(|leaf| leaf.is_timed());
        out.count += 1;
        wire::put_u64(&mut out.entries, path.len() as u64);
        path.iter()
            .for_each(|name| wire::put_bytes(&mut out.entries, name));
        wire::put_u64(&mut out.entries, node.dot_count() as u64);
        for (dot, payload) in node.dots() {
            let id = self.id(dot);
            out.dots.push((id, dot.counter));
            wire::put_u64(&mut out.entries, message.place(id));
            wire::put_u64(&mut out.entries, dot.counter);
            wire::put_bytes(&mut out.entries, payload);
            if timed {
                out.time = out.time.max(leaf::timed(payload).map_or(0, |(time, _)| time));
            }
        }
    }

    fn put_delta(&self, out: &mut DeltaOut, message: &mut Writer, shard: usize, known: &Context) -> Context {
        let covered = out.covered();
        message.item(message::DELTA, shard);
        message.number(out.time);
        message.context(&covered);
        message.context(known);
        message.number(out.count);
        message.bytes(&out.entries);
        covered
    }

    /// Writes what changed since the last push, of about `budget` bytes at most. True when there is more.
    pub(crate) fn push(&mut self, message: &mut Writer, shard: usize, budget: usize) -> bool {
        if self.dirty.is_empty() && self.gone.is_empty() {
            return false;
        }
        let mut out = DeltaOut::default();
        for dot in std::mem::take(&mut self.gone) {
            out.dots.push((self.id(dot), dot.counter));
        }
        let mut taken = 0;
        for i in 0..self.dirty.len() {
            taken = i + 1;
            let at = self.dirty[i];
            let node = self.tree.node_mut(at);
            if node.flags & DIRTY == 0 {
                continue;
            }
            node.flags &= !DIRTY;
            if self.tree.node(at).has_dots() {
                self.put_entry(&mut out, message, at);
            }
            if out.entries.len() > budget {
                break;
            }
        }
        self.dirty.drain(..taken);
        self.put_delta(&mut out, message, shard, &self.context());
        !self.dirty.is_empty()
    }

    /// Writes what one change did.
    pub(crate) fn put_change(&self, message: &mut Writer, shard: usize, written: Option<u32>, gone: &[Dot]) {
        let mut out = DeltaOut::default();
        out.dots
            .extend(gone.iter().map(|dot| (self.id(*dot), dot.counter)));
        if let Some(at) = written {
            self.put_entry(&mut out, message, at);
        }
        self.put_delta(&mut out, message, shard, &Context::default());
    }

    /// Writes what the other has not seen, of about `budget` bytes at most. True when there is more. `covered` gets what
    /// was told of.
    pub(crate) fn give(
        &self,
        message: &mut Writer,
        shard: usize,
        theirs: &Context,
        budget: usize,
        covered: &mut Context,
    ) -> bool {
        let mut out = DeltaOut::default();
        let mut several = HashSet::new();
        let mut more = false;
        'all: for replica in &self.replicas {
            let missing = match theirs.of(replica.id) {
                Some(seen) => replica.seen.without(seen),
                None => replica.seen.clone(),
            };
            for (low, high) in missing.iter() {
                for (counter, at) in replica.live.range(low, high) {
                    if out.entries.len() >= budget {
                        if counter > low {
                            out.runs.insert_run(replica.id, low, counter - 1);
                        }
                        more = true;
                        break 'all;
                    }
                    // A node with several dots comes up once for each.
                    if self.tree.node(at).dot_count() == 1 || several.insert(at) {
                        self.put_entry(&mut out, message, at);
                    }
                }
                out.runs.insert_run(replica.id, low, high);
            }
        }
        if out.count > 0 || !out.runs.is_empty() {
            covered.merge(&self.put_delta(&mut out, message, shard, &self.context()));
        }
        more
    }

    /// Joins a delta that was checked.
    pub(crate) fn join(&mut self, delta: &Delta<'_>, message: &Message<'_>) -> Joined {
        let mut joined = Joined::default();
        let table: Vec<u32> = message.ids().iter().map(|id| self.intern(*id)).collect();
        self.drop_covered(delta, &table, &mut joined);
        for entry in delta.entries(message) {
            self.join_entry(&entry, delta, &table, &mut joined);
        }
        for (id, runs) in delta.covered.iter() {
            let at = self.intern(id);
            let seen = &mut self.replicas[at as usize].seen;
            if !runs.within(seen) {
                seen.merge(runs);
                joined.changed = true;
            }
        }
        joined
    }

    /// Takes away the dots that the delta covers and does not list.
    fn drop_covered(&mut self, delta: &Delta<'_>, table: &[u32], joined: &mut Joined) {
        let mut held: Vec<(Dot, u32)> = Vec::new();
        for (id, runs) in delta.covered.iter() {
            let replica = self.intern(id);
            let live = &self.replicas[replica as usize].live;
            for (low, high) in runs.iter() {
                let dots = live.range(low, high);
                held.extend(dots.map(|(counter, at)| (Dot { replica, counter }, at)));
            }
        }
        if held.is_empty() {
            return;
        }
        let listed: HashSet<Dot, ahash::RandomState> = delta
            .dots
            .iter()
            .map(|(place, counter)| Dot {
                replica: table[*place],
                counter: *counter,
            })
            .collect();
        for (dot, at) in held {
            if !listed.contains(&dot) {
                self.drop_dot(dot, at);
                joined.changed = true;
            }
        }
    }

    /// Takes one dot away that another replica has seen go.
    pub(crate) fn drop_dot(&mut self, dot: Dot, at: u32) {
        self.changing(at);
        self.forget(dot, false);
        self.tree.node_mut(at).retain(|other| other != dot);
        self.changed(at);
    }

    /// Of the dots of one replica at one path only the last counts: whoever writes has seen what it wrote there before.
    /// That holds even where nobody is left who could say that the earlier one is gone.
    fn join_entry(&mut self, entry: &Entry<'_>, delta: &Delta<'_>, table: &[u32], joined: &mut Joined) {
        let dots: Dots<'_> = entry
            .dots
            .iter()
            .map(|(place, counter, payload)| {
                let dot = Dot {
                    replica: table[*place],
                    counter: *counter,
                };
                (dot, *payload)
            })
            .collect();
        let there = self.find(&entry.path);
        let mine: smallvec::SmallVec<[Dot; 2]> = there
            .iter()
            .flat_map(|at| self.tree.node(*at).dots().map(|(dot, _)| dot))
            .collect();
        let later = |dot: Dot, other: Dot| other.replica == dot.replica && other.counter > dot.counter;
        let outdated = |dot: Dot| {
            mine.iter().any(|other| later(dot, *other)) || dots.iter().any(|(other, _)| later(dot, *other))
        };
        let new: Dots<'_> = dots
            .iter()
            .filter(|(dot, _)| !self.seen(*dot) && !outdated(*dot))
            .copied()
            .collect();
        let stale: smallvec::SmallVec<[Dot; 2]> = mine
            .iter()
            .copied()
            .filter(|dot| {
                let known = delta.knows(self.replicas[dot.replica as usize].id, dot.counter);
                outdated(*dot) || (known && !dots.iter().any(|(listed, _)| listed == dot))
            })
            .collect();
        let at = match there {
            None if new.is_empty() => return,
            None => self.tree.ensure(entry.path.iter().copied()),
            Some(at) => at,
        };
        if new.is_empty() && stale.is_empty() {
            return;
        }
        joined.changed = true;
        self.changing(at);
        let node = self.tree.node_mut(at);
        if !stale.is_empty() {
            node.retain(|dot| !stale.contains(&dot));
        }
        for (dot, payload) in &new {
            node.push(*dot, payload);
        }
        for dot in stale {
            self.forget(dot, false);
        }
        for (dot, _) in new {
            let replica = &mut self.replicas[dot.replica as usize];
            replica.seen.insert(dot.counter);
            replica.live.insert(dot.counter, at);
        }
        self.changed(at);
    }
}

/// Dots of an entry, with their payloads.
type Dots<'a> = smallvec::SmallVec<[(Dot, &'a [u8]); 2]>;

/// What joining did.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Joined {
    pub(crate) changed: bool,
}

/// A delta that was read and checked.
pub(crate) struct Delta<'a> {
    pub(crate) shard: usize,
    /// The latest time in it.
    pub(crate) time: u64,
    pub(crate) covered: Context,
    pub(crate) known: Context,
    count: usize,
    entries: &'a [u8],
    /// All dots of the entries: place in the message's table, and counter.
    dots: Vec<(usize, u64)>,
    /// Bytes of the entries.
    pub(crate) size: usize,
}

pub(crate) struct Entry<'a> {
    path: smallvec::SmallVec<[&'a [u8]; 4]>,
    dots: smallvec::SmallVec<[(usize, u64, &'a [u8]); 2]>,
}

impl<'a> Delta<'a> {
    /// Reads a delta behind its tag, and checks it whole.
    pub(crate) fn read(message: &mut Message<'a>, kind: &crate::Kind, shards: usize) -> Result<Self, Error> {
        let shard = message.shard(shards)?;
        let time = message.number()?;
        let covered = message.context()?;
        let known = message.context()?;
        let count = message.number()?;
        let entries = message.items.bytes()?;
        let mut delta = Delta {
            shard,
            time,
            covered,
            known,
            count: usize::try_from(count).map_err(|_| Error::Malformed)?,
            entries,
            dots: Vec::new(),
            size: entries.len(),
        };
        let mut reader = Reader::new(entries);
        for _ in 0..delta.count {
            let entry = Entry::read(&mut reader, message)?;
            delta.check(&entry, message, kind, shards)?;
        }
        if !reader.is_empty() {
            return Err(Error::Malformed);
        }
        let mut dots = delta.dots.clone();
        dots.sort_unstable();
        if dots.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::Malformed);
        }
        Ok(delta)
    }

    fn check(
        &mut self,
        entry: &Entry<'_>,
        message: &Message<'_>,
        kind: &crate::Kind,
        shards: usize,
    ) -> Result<(), Error> {
        let At::Leaf(leaf) = kind.place(entry.path.iter().copied())?.at else {
            return Err(Error::Malformed);
        };
        if crate::state::shard_of(kind, &entry.path, shards) != Some(self.shard) {
            return Err(Error::Malformed);
        }
        for (place, counter, payload) in &entry.dots {
            let covered = self.covered.contains(message.ids()[*place], *counter);
            let timely = !leaf.is_timed() || leaf::timed(payload).is_some_and(|(time, _)| time <= self.time);
            if !covered || !timely || !leaf::valid(leaf, payload) {
                return Err(Error::Malformed);
            }
            self.dots.push((*place, *counter));
        }
        Ok(())
    }

    fn knows(&self, replica: u64, counter: u64) -> bool {
        self.known.contains(replica, counter) || self.covered.contains(replica, counter)
    }

    /// Whether its times may be taken over.
    pub(crate) fn admit(&self, wall_ms: u64, drift_ms: u64) -> Result<(), Error> {
        Hlc::admit(self.time, wall_ms, drift_ms)
    }

    /// The entries, which `read` has checked.
    fn entries(&self, message: &Message<'_>) -> impl Iterator<Item = Entry<'a>> {
        let mut reader = Reader::new(self.entries);
        (0..self.count).map_while(move |_| Entry::read(&mut reader, message).ok())
    }
}

impl<'a> Entry<'a> {
    fn read(reader: &mut Reader<'a>, message: &Message<'_>) -> Result<Self, Error> {
        let parts = reader.count(1)?;
        if parts > MAX_PATH {
            return Err(Error::Malformed);
        }
        let mut path = smallvec::SmallVec::new();
        for _ in 0..parts {
            path.push(reader.bytes()?);
        }
        let count = reader.count(3)?;
        if count > MAX_DOTS {
            return Err(Error::Malformed);
        }
        let mut dots = smallvec::SmallVec::new();
        for _ in 0..count {
            let dot = (message.place(reader)?, reader.u64()?, reader.bytes()?);
            dots.push(dot);
        }
        if dots.is_empty() || path.iter().any(|name: &&[u8]| name.len() > MAX_NAME) {
            return Err(Error::Malformed);
        }
        Ok(Entry { path, dots })
    }
}
