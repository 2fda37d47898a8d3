//! A replicated state: its shards, their bounds, and the conversation with other replicas.

use crate::context::Context;
use crate::delta::{self, MAX_NAME, MAX_PATH, MAX_VALUE};
use crate::hlc::Hlc;
use crate::journal::Journal;
use crate::kind::{At, Kind, Place};
use crate::leaf::Value;
use crate::message::{self, Writer};
use crate::ops::{Done, Op};
use crate::shard::{Changes, Shard};
use crate::{Error, dots, read};
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Most shards of a state.
pub const MAX_SHARDS: usize = 1024;

/// Bytes written under one lock, about.
pub(crate) const PORTION: usize = 32 << 10;

/// What a state is bounded by.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Entries: keys, elements, or what else has a value of its own.
    pub max_keys: u64,
    /// Bytes of keys and values.
    pub max_bytes: u64,
    /// How far another machine's clock may be ahead, in milliseconds.
    pub max_drift_ms: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            max_keys: 10_000_000,
            max_bytes: 4 << 30,
            max_drift_ms: 60_000,
        }
    }
}

/// What is to be sent to every other replica.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Push {
    /// The message; none when nothing changed.
    pub message: Option<Vec<u8>>,
    /// Whether there is more to push.
    pub more: bool,
    /// False when more had changed than is kept for a push: the others find the rest by its digests.
    pub complete: bool,
}

/// How large a state is and what it has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status {
    /// Entries.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Entries that may hold the mark of a removal.
    pub marks: u64,
    /// Entries that wait for the next push.
    pub waiting: u64,
    /// Replicas, past lives included, that have written something.
    pub replicas: u64,
    /// Runs of dots beyond one for each replica and shard: writes that came before others they follow.
    pub gaps: u64,
    /// Local changes.
    pub changes: u64,
    /// Deltas joined, and those of them that brought nothing new.
    pub joined: u64,
    /// Deltas that brought nothing new.
    pub redundant: u64,
    /// Bytes in the journal.
    pub journal_bytes: u64,
}

/// One replica of a state. Shared between threads; each shard has a lock of its own.
pub struct State {
    pub(crate) kind: Arc<Kind>,
    pub(crate) schema: u64,
    pub(crate) shards: Box<[Mutex<Shard>]>,
    id: u64,
    clock: Hlc,
    bounds: Bounds,
    keys: AtomicI64,
    bytes: AtomicI64,
    armed: AtomicBool,
    changes: AtomicU64,
    pub(crate) joined: AtomicU64,
    pub(crate) redundant: AtomicU64,
    /// By peer and shard: what both of us had seen of each other.
    pub(crate) confirmed: Mutex<HashMap<u64, HashMap<usize, Context>>>,
    pub(crate) journal: OnceLock<Journal>,
    /// One message is joined at a time: between the parts of a delta no other may bring what it says is gone.
    pub(crate) joining: Mutex<()>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// The shard of a path that lies in one.
pub(crate) fn shard_of(kind: &Kind, path: &[&[u8]], shards: usize) -> Option<usize> {
    let parts = kind.shard_parts(path)?;
    let hash = path[..parts].iter().fold(0, |hash, name| name_hash(hash, name));
    // The number of shards is a power of two.
    Some(hash as usize & (shards - 1))
}

/// The same on every machine.
fn name_hash(seed: u64, name: &[u8]) -> u64 {
    let mut words = name.chunks_exact(8);
    let mut hash = seed ^ name.len() as u64;
    for word in &mut words {
        hash = dots::mix(hash ^ u64::from_le_bytes(word.try_into().unwrap_or_default()));
    }
    let rest = words.remainder();
    let last = rest.iter().fold(0u64, |n, byte| n << 8 | u64::from(*byte));
    dots::mix(hash ^ last)
}

impl State {
    /// A new replica. `id` must be one that no replica of this state has ever had, past lives of this one included.
    ///
    /// # Errors
    /// `InvalidKind`, also for a number of shards that is no power of two or above [`MAX_SHARDS`].
    pub fn new(kind: Kind, id: u64, shards: usize, bounds: Bounds) -> Result<Self, Error> {
        kind.check()?;
        if !shards.is_power_of_two() || shards > MAX_SHARDS {
            return Err(Error::InvalidKind);
        }
        let mut schema = Vec::new();
        kind.encode(&mut schema);
        let kind = Arc::new(kind);
        Ok(State {
            schema: name_hash(shards as u64, &schema),
            shards: (0..shards)
                .map(|_| Mutex::new(Shard::new(Arc::clone(&kind), id)))
                .collect(),
            kind,
            id,
            clock: Hlc::default(),
            bounds,
            keys: AtomicI64::new(0),
            bytes: AtomicI64::new(0),
            armed: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            redundant: AtomicU64::new(0),
            confirmed: Mutex::default(),
            journal: OnceLock::new(),
            joining: Mutex::new(()),
        })
    }

    /// The id of this replica.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The type.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }

    /// Runs `f` on a shard, and counts what it does to the size.
    pub(crate) fn within<R>(&self, shard: usize, f: impl FnOnce(&mut Shard) -> R) -> R {
        self.guarded(self.shards[shard].lock(), f)
    }

    fn guarded<R>(&self, mut shard: MutexGuard<'_, Shard>, f: impl FnOnce(&mut Shard) -> R) -> R {
        let before = (shard.keys, shard.bytes);
        let result = f(&mut shard);
        self.resized(before, &shard);
        result
    }

    fn resized(&self, (keys, bytes): (usize, usize), shard: &MutexGuard<'_, Shard>) {
        if keys != shard.keys {
            self.keys
                .fetch_add(shard.keys as i64 - keys as i64, Ordering::Relaxed);
        }
        if bytes != shard.bytes {
            self.bytes
                .fetch_add(shard.bytes as i64 - bytes as i64, Ordering::Relaxed);
        }
    }

    /// Whether a change of `grow` bytes fits; what takes away always does.
    fn fits(&self, op: Op<'_>, grow: usize, new: impl FnOnce() -> bool) -> Result<(), Error> {
        if matches!(op, Op::Remove | Op::Disable) {
            return Ok(());
        }
        let keys = self.keys.load(Ordering::Relaxed).max(0) as u64;
        let bytes = self.bytes.load(Ordering::Relaxed).max(0) as u64;
        if bytes + grow as u64 > self.bounds.max_bytes || (keys >= self.bounds.max_keys && new()) {
            return Err(Error::Full);
        }
        Ok(())
    }

    /// Changes the state here. `wall_ms` is the machine's time since 1970. True when the next push is to be prepared, and
    /// nobody was told so yet. With a journal the change is in it when this returns. O(1) but for the removal of a key with
    /// parts.
    ///
    /// # Errors
    /// `WrongPath`, `WrongOperation`, `GrowOnly`, `Overflow`, `Full`, `TooLarge`; `Journal`: the change is made all the same.
    pub fn mutate(&self, path: &[&[u8]], op: Op<'_>, wall_ms: u64) -> Result<bool, Error> {
        self.mutate_within(path, op, wall_ms, None)
    }

    /// As [`State::mutate`], waiting for the shard no longer than `patience`.
    ///
    /// # Errors
    /// As `mutate`, and `Busy`.
    pub fn mutate_within(
        &self,
        path: &[&[u8]],
        op: Op<'_>,
        wall_ms: u64,
        patience: Option<Duration>,
    ) -> Result<bool, Error> {
        let value = if let Op::Assign(value) = op {
            value.len()
        } else {
            0
        };
        let grow = value + path.iter().map(|name| name.len()).sum::<usize>();
        if path.len() > MAX_PATH || path.iter().any(|name| name.len() > MAX_NAME) || value > MAX_VALUE {
            return Err(Error::TooLarge);
        }
        let at = self.shard_of(path).ok_or(Error::WrongPath)?;
        let shard = match patience {
            None => self.shards[at].lock(),
            Some(patience) => self.shards[at].try_lock_for(patience).ok_or(Error::Busy)?,
        };
        let record = self.guarded(shard, |shard| {
            self.fits(op, grow, || shard.find(path).is_none())?;
            let done = shard.apply(path, op, || self.clock.tick(wall_ms))?;
            Ok::<_, Error>(self.record(shard, at, &done))
        })?;
        self.changes.fetch_add(1, Ordering::Relaxed);
        if let (Some(journal), Some(record)) = (self.journal.get(), record) {
            journal.append(&record)?;
        }
        Ok(self.wake())
    }

    /// Whether a change takes a short and bounded time: none that goes to a disk, or takes away what has parts.
    pub fn is_brief(&self, path: &[&[u8]], op: Op<'_>) -> bool {
        let leaf = || {
            matches!(
                self.kind.place(path.iter().copied()),
                Ok(Place { at: At::Leaf(_), .. })
            )
        };
        !self.is_durable() && (op != Op::Remove || leaf())
    }

    /// True for the first who asks since the last push.
    fn wake(&self) -> bool {
        !self.armed.load(Ordering::Acquire) && !self.armed.swap(true, Ordering::AcqRel)
    }

    fn record(&self, shard: &Shard, at: usize, done: &Done) -> Option<Vec<u8>> {
        self.journal.get()?;
        if done.written.is_none() && done.gone.is_empty() {
            return None;
        }
        let mut message = Writer::new(self.schema);
        shard.put_change(&mut message, at, done.written, &done.gone);
        Some(message.finish())
    }

    /// What changed here since the last push, as a message of about `budget` bytes at most; none when nothing did.
    pub fn push(&self, budget: usize) -> Push {
        self.armed.store(false, Ordering::Release);
        let mut message = Writer::new(self.schema);
        let (mut more, mut complete) = (false, true);
        for (i, shard) in self.shards.iter().enumerate() {
            loop {
                let left = budget.saturating_sub(message.len());
                if left == 0 {
                    more = true;
                    break;
                }
                let mut shard = shard.lock();
                complete &= !std::mem::take(&mut shard.overflow);
                if !shard.push(&mut message, i, left.min(PORTION)) {
                    break;
                }
            }
        }
        if more {
            self.armed.store(true, Ordering::Release);
        }
        Push {
            message: (!message.is_empty()).then(|| message.finish()),
            more,
            complete,
        }
    }

    /// What is at a path; none where there is nothing. O(what is read), one shard at a time.
    ///
    /// # Errors
    /// `WrongPath`.
    pub fn read(&self, path: &[&[u8]]) -> Result<Option<Value>, Error> {
        if let Some(at) = self.shard_of(path) {
            return self.read_shard(path, at);
        }
        let place = self.kind.place(path.iter().copied())?;
        let mut whole: Option<Value> = None;
        for at in 0..self.shards.len() {
            whole = read::merged(place.at, whole, self.read_shard(path, at)?);
        }
        Ok(whole)
    }

    /// The shard in which a path lies; none where it leads to what lies in several.
    pub fn shard_of(&self, path: &[&[u8]]) -> Option<usize> {
        shard_of(&self.kind, path, self.shards.len())
    }

    /// The part of what is at a path that one shard holds.
    ///
    /// # Errors
    /// `WrongPath`, also for a shard that does not exist.
    pub fn read_shard(&self, path: &[&[u8]], shard: usize) -> Result<Option<Value>, Error> {
        let shard = self.shards.get(shard).ok_or(Error::WrongPath)?;
        shard.lock().read(path)
    }

    /// What is at a path that has no parts, waiting for the shard no longer than `patience`.
    ///
    /// # Errors
    /// `WrongPath`; `Busy`, also when there are parts.
    pub fn read_leaf(&self, path: &[&[u8]], patience: Duration) -> Result<Option<Value>, Error> {
        let place = self.kind.place(path.iter().copied())?;
        let (At::Leaf(_), Some(at)) = (place.at, self.shard_of(path)) else {
            return Err(Error::Busy);
        };
        self.shards[at]
            .try_lock_for(patience)
            .ok_or(Error::Busy)?
            .read(path)
    }

    /// Begins or ends to keep which paths change, for [`State::take_changes`].
    pub fn watch(&self, on: bool) {
        for shard in &self.shards {
            let changes = &mut shard.lock().changes;
            if on != changes.is_some() {
                *changes = on.then(Changes::default);
            }
        }
    }

    /// The changes of one shard since they were last taken; none when there were more than are kept. An empty list when
    /// nobody watches.
    pub fn take_changes(&self, shard: usize) -> Option<Vec<read::Change>> {
        let Some(shard) = self.shards.get(shard) else {
            return Some(Vec::new());
        };
        let paths: Vec<_> = shard.lock().take_changes()?.into_iter().collect();
        // Not all under one lock: others wait for it on normal schedulers.
        let told = paths.chunks(128).flat_map(|some| {
            let shard = shard.lock();
            some.iter()
                .filter_map(|(key, before)| shard.change(key, *before))
                .collect::<Vec<_>>()
        });
        Some(told.collect())
    }

    /// Takes away the marks of removals that each of `peers` has confirmed, and what they removed. Looks at `most` of them
    /// in each shard; answers how many went.
    pub fn collect(&self, peers: &[u64], most: usize) -> usize {
        let confirmed = self.confirmed.lock();
        let mut collected = 0;
        for at in 0..self.shards.len() {
            let known: Option<Vec<&Context>> = peers
                .iter()
                .map(|peer| confirmed.get(peer).and_then(|shards| shards.get(&at)))
                .collect();
            if let Some(known) = known {
                let stable = |id, counter| known.iter().all(|context| context.contains(id, counter));
                collected += self.within(at, |shard| shard.collect(most, stable));
            }
        }
        collected
    }

    /// Forgets what a peer has confirmed.
    pub fn forget_peer(&self, peer: u64) {
        self.confirmed.lock().remove(&peer);
    }

    /// Size and counts. O(shards × replicas).
    pub fn status(&self) -> Status {
        let mut status = Status {
            changes: self.changes.load(Ordering::Relaxed),
            joined: self.joined.load(Ordering::Relaxed),
            redundant: self.redundant.load(Ordering::Relaxed),
            journal_bytes: self.journal.get().map_or(0, Journal::bytes),
            ..Status::default()
        };
        let mut ids = std::collections::BTreeSet::new();
        for shard in &self.shards {
            let shard = shard.lock();
            status.keys += shard.keys as u64;
            status.bytes += shard.bytes as u64;
            status.marks += shard.marks.len() as u64;
            status.waiting += shard.dirty.len() as u64;
            for replica in shard.replicas.iter().filter(|replica| !replica.seen.is_empty()) {
                ids.insert(replica.id);
                status.gaps += replica.seen.len() as u64 - 1;
            }
        }
        status.replicas = ids.len() as u64;
        status
    }

    /// A hash of everything; equal on replicas that are in the same state.
    pub fn root(&self) -> u64 {
        let roots = self.shards.iter().map(|shard| shard.lock().root());
        roots.fold(0, |sum, root| dots::mix(sum ^ root))
    }

    /// Joins the deltas of a message. True when something changed.
    pub(crate) fn join(&self, delta: &delta::Delta<'_>, message: &message::Message<'_>) -> bool {
        self.clock.observe(delta.time);
        let joined = self.within(delta.shard, |shard| shard.join(delta, message));
        self.joined.fetch_add(1, Ordering::Relaxed);
        if !joined.changed {
            self.redundant.fetch_add(1, Ordering::Relaxed);
        }
        joined.changed
    }

    /// Whether a delta may be joined now.
    pub(crate) fn admit_delta(&self, delta: &delta::Delta<'_>, wall_ms: u64) -> Result<(), Error> {
        let bytes = self.bytes.load(Ordering::Relaxed).max(0) as u64;
        let most = self.bounds.max_bytes.saturating_mul(2);
        if bytes.saturating_add(delta.size as u64) > most {
            return Err(Error::Full);
        }
        // Writes of ours that we have not made: someone else has our id.
        if let Some(mine) = delta.covered.of(self.id)
            && !mine.within(&self.shards[delta.shard].lock().replicas[0].seen)
        {
            return Err(Error::Malformed);
        }
        delta.admit(wall_ms, self.bounds.max_drift_ms)
    }
}
