//! The keys: found by hash in one of many shards, made, changed and dropped.
//!
//! A key is there in one of two forms: plain ([`crate::plain`]), or a node behind a pointer, which others can hold. Two
//! keys of one hash in one shard are nodes, both of them.
//! Readers on different threads take different locks (`crossbeam_utils::sync::ShardedLock`), so that two schedulers on the
//! same key meet at that key and nowhere before. A key changes its form under the write lock, that is while nobody
//! looks at it.

use crate::definition::Definition;
use crate::error::LimitError;
use crate::flat::Flat;
use crate::hot::Hot;
use crate::node::{KeyBytes, Node, State};
use crate::plain::{self, Plain};
use ahash::RandomState;
use crossbeam_utils::sync::{ShardedLock, ShardedLockReadGuard, ShardedLockWriteGuard};
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

const SHARDS: usize = 64;
/// Most hot keys.
const MAX_HOT: usize = 1_024;

#[derive(Default)]
struct Shard {
    plain: Flat,
    nodes: HashTable<Arc<Node>>,
}

pub(crate) struct Table {
    shards: Box<[ShardedLock<Shard>]>,
    hasher: RandomState,
    len: AtomicUsize,
    max_keys: usize,
    /// How many keys are hot, or a few less or more; counted anew now and then.
    heated: AtomicUsize,
    definitions: Mutex<HashSet<Arc<Definition>>>,
}

/// A key in the form it has.
pub(crate) enum Form<'a> {
    Plain(Plain<'a>),
    Node(&'a Arc<Node>),
}

impl Shard {
    #[inline]
    fn find(&self, hash: u64, key: &[u8]) -> Option<Form<'_>> {
        if let Some(plain) = self.plain.find(hash, key) {
            return Some(Form::Plain(plain));
        }
        self.nodes
            .find(hash, |node| node.key.as_slice() == key)
            .map(Form::Node)
    }

    fn insert_node(&mut self, hash: u64, node: Arc<Node>, hasher: &RandomState) {
        let rehash = |other: &Arc<Node>| hash_of(hasher, &other.key);
        self.nodes.insert_unique(hash, node, rehash);
    }

    /// Puts a new key in the form it may have.
    fn insert(&mut self, hash: u64, key: &[u8], state: State, hasher: &RandomState, now: u64) {
        let same_hash = |node: &Arc<Node>| hash_of(hasher, &node.key) == hash;
        let alone = self.loosen(hash, hasher).is_none() && self.nodes.find(hash, same_hash).is_none();
        if alone
            && let Some(loose) = plain::pack(key, &state, now)
            && self.plain.insert(hash, key, &loose)
        {
            return;
        }
        self.insert_node(hash, Arc::new(Node::new(key, state)), hasher);
    }

    /// Makes the plain key of that hash a node, if there is one.
    fn loosen(&mut self, hash: u64, hasher: &RandomState) -> Option<Arc<Node>> {
        let key = KeyBytes::from_slice(self.plain.of_hash(hash)?.key());
        let node = Arc::new(Node::new(&key, plain::unpack(self.plain.remove(hash)?)));
        self.insert_node(hash, node.clone(), hasher);
        Some(node)
    }
}

// 0 stands for no key.
#[inline]
fn hash_of(hasher: &RandomState, key: &[u8]) -> u64 {
    hasher.hash_one(key).max(1)
}

impl Node {
    fn new(key: &[u8], state: State) -> Self {
        Self {
            key: KeyBytes::from_slice(key),
            state: Mutex::new(state),
        }
    }
}

impl Table {
    pub(crate) fn new(max_keys: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| ShardedLock::new(Shard::default())).collect(),
            hasher: RandomState::new(),
            len: AtomicUsize::new(0),
            max_keys,
            heated: AtomicUsize::new(0),
            definitions: Mutex::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    // Bits that the tables inside look at last.
    #[inline]
    fn place(&self, key: &[u8]) -> (u64, usize) {
        let hash = hash_of(&self.hasher, key);
        (hash, (hash >> 48) as usize % SHARDS)
    }

    #[inline]
    fn read(&self, shard: usize) -> ShardedLockReadGuard<'_, Shard> {
        self.shards[shard % SHARDS]
            .read()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, shard: usize) -> ShardedLockWriteGuard<'_, Shard> {
        self.shards[shard % SHARDS]
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `f` with `key` while it can neither be dropped nor change its form.
    #[inline]
    pub(crate) fn with<R>(&self, key: &[u8], f: impl FnOnce(Form<'_>) -> R) -> Option<R> {
        let (hash, shard) = self.place(key);
        self.read(shard).find(hash, key).map(f)
    }

    /// As [`Self::with`], for a plain key only, which is told by its hash ([`Flat::quick`]). `ahead` is given the place
    /// where the key most likely is, and that of what is only read of it, before anything there is looked at.
    #[inline]
    pub(crate) fn with_plain<R>(
        &self,
        key: &[u8],
        ahead: impl FnOnce(*const u8, *const u8),
        f: impl FnOnce(Plain<'_>) -> R,
    ) -> Option<R> {
        let (hash, shard) = self.place(key);
        let shard = self.read(shard);
        let (place, beside) = shard.plain.likely(hash);
        ahead(place, beside);
        shard.plain.quick(hash, key).map(f)
    }

    /// Calls `f` with the node of `key`, if it is one. `ahead` is given where a node that may be the key's is, before
    /// anything there is looked at; more than once when there are several.
    #[inline]
    pub(crate) fn with_node<R>(
        &self,
        key: &[u8],
        mut ahead: impl FnMut(*const u8),
        f: impl FnOnce(&Arc<Node>) -> R,
    ) -> Option<R> {
        let (hash, shard) = self.place(key);
        let shard = self.read(shard);
        let same = |node: &Arc<Node>| {
            ahead(Arc::as_ptr(node).cast());
            node.key.as_slice() == key
        };
        shard.nodes.find(hash, same).map(f)
    }

    /// The node of `key`, which is no plain key from then on. The flag says whether it was one.
    pub(crate) fn get(&self, key: &[u8]) -> Option<(Arc<Node>, bool)> {
        let node = |form: Form<'_>| match form {
            Form::Node(node) => Some(node.clone()),
            Form::Plain(_) => None,
        };
        match self.with(key, node)? {
            Some(node) => Some((node, false)),
            None => self.unpack(key),
        }
    }

    fn unpack(&self, key: &[u8]) -> Option<(Arc<Node>, bool)> {
        let (hash, at) = self.place(key);
        let mut guard = self.write(at);
        let shard = &mut *guard;
        if let Some(node) = shard.nodes.find(hash, |node| node.key.as_slice() == key) {
            return Some((node.clone(), false));
        }
        shard.plain.find(hash, key)?;
        let node = shard.loosen(hash, &self.hasher)?;
        Some((node, true))
    }

    /// Makes `key` plain if it can be and nobody holds its node.
    pub(crate) fn pack(&self, key: &[u8], now: u64) {
        let (hash, at) = self.place(key);
        let mut guard = self.write(at);
        let shard = &mut *guard;
        let Ok(entry) = shard.nodes.find_entry(hash, |node| node.key.as_slice() == key) else {
            return;
        };
        if !packs(entry.get()) {
            return;
        }
        let (node, _) = entry.remove();
        match Arc::try_unwrap(node) {
            Ok(node) => shard.insert(hash, key, node.state.into_inner(), &self.hasher, now),
            Err(node) => shard.insert_node(hash, node, &self.hasher),
        }
    }

    /// Makes `key` with `state`; false when it is there already.
    pub(crate) fn insert(
        &self,
        key: &[u8],
        now: u64,
        state: impl FnOnce() -> State,
    ) -> Result<bool, LimitError> {
        let (hash, at) = self.place(key);
        let mut shard = self.write(at);
        if shard.find(hash, key).is_some() {
            return Ok(false);
        }
        if self.len.fetch_add(1, Ordering::Relaxed) >= self.max_keys {
            self.len.fetch_sub(1, Ordering::Relaxed);
            return Err(LimitError::TooManyKeys);
        }
        shard.insert(hash, key, state(), &self.hasher, now);
        Ok(true)
    }

    /// Drops `node` from the table if the table and the caller are the only ones that hold it and `really` agrees.
    pub(crate) fn remove(&self, node: &Arc<Node>, really: impl FnOnce(&mut State) -> bool) -> bool {
        let (hash, at) = self.place(&node.key);
        let mut shard = self.write(at);
        let Ok(entry) = shard.nodes.find_entry(hash, |other| Arc::ptr_eq(other, node)) else {
            return false;
        };
        if Arc::strong_count(node) > 2 || !really(&mut node.state.lock()) {
            return false;
        }
        entry.remove();
        self.len.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Drops `key` if it is plain and `really` agrees; answers whether it was made from a pattern.
    pub(crate) fn remove_plain(&self, key: &[u8], really: impl FnOnce(Plain<'_>) -> bool) -> Option<bool> {
        let (hash, at) = self.place(key);
        let mut shard = self.write(at);
        // So that what `really` sees is all there is.
        shard.plain.cool(hash);
        if !really(shard.plain.find(hash, key)?) {
            return None;
        }
        let loose = shard.plain.remove(hash)?;
        self.len.fetch_sub(1, Ordering::Relaxed);
        Some(loose.patterned)
    }

    /// Whether any key is hot.
    #[inline]
    pub(crate) fn heated(&self) -> bool {
        self.heated.load(Ordering::Relaxed) > 0
    }

    /// Makes `key` a hot one, if it is plain. The flag says whether it is the first.
    pub(crate) fn heat(&self, key: &[u8]) -> Option<(Arc<Hot>, bool)> {
        let (hash, at) = self.place(key);
        if let Some(hot) = self.read(at).plain.hot(hash, key) {
            return Some((hot, false));
        }
        if self.heated.load(Ordering::Relaxed) >= MAX_HOT {
            return None;
        }
        let hot = self.write(at).plain.heat(hash, key)?;
        Some((hot, self.heated.fetch_add(1, Ordering::Relaxed) == 0))
    }

    /// Makes the hot keys of which nobody took anything since the last time as all others are.
    pub(crate) fn cool(&self) {
        let before = self.heated.load(Ordering::Relaxed);
        if before == 0 {
            return;
        }
        let mut left = 0;
        for shard in 0..SHARDS {
            if self.read(shard).plain.heated() > 0 {
                let mut shard = self.write(shard);
                shard.plain.cool_rested();
                left += shard.plain.heated();
            }
        }
        // Fails when another became hot meanwhile, which the next count will find.
        let _ = self
            .heated
            .compare_exchange(before, left, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// One object for all equal definitions.
    pub(crate) fn intern(&self, definition: Definition) -> Arc<Definition> {
        let mut known = self.definitions.lock();
        if let Some(found) = known.get(&definition) {
            return found.clone();
        }
        let definition = Arc::new(definition);
        if known.len() >= 64 && known.len().is_power_of_two() {
            known.retain(|d| Arc::strong_count(d) > 1);
        }
        known.insert(definition.clone());
        definition
    }

    /// The nodes of shard number `index` (modulo their number) for which `wanted` holds.
    pub(crate) fn scan(&self, index: usize, mut wanted: impl FnMut(&Arc<Node>) -> bool) -> Vec<Arc<Node>> {
        let shard = self.read(index);
        shard.nodes.iter().filter(|node| wanted(node)).cloned().collect()
    }

    /// The plain keys of shard number `index` for which `wanted` holds.
    pub(crate) fn scan_plain(
        &self,
        index: usize,
        mut wanted: impl FnMut(&Plain<'_>) -> bool,
    ) -> Vec<KeyBytes> {
        let shard = self.read(index);
        let wanted = shard.plain.iter().filter(|plain| wanted(plain));
        wanted.map(|plain| KeyBytes::from_slice(plain.key())).collect()
    }

    /// The keys of shard number `index` that are nodes and could be plain.
    pub(crate) fn loose(&self, index: usize) -> Vec<KeyBytes> {
        let shard = self.read(index);
        let loose = shard.nodes.iter().filter(|node| packs(node));
        loose.map(|node| node.key.clone()).collect()
    }

    pub(crate) fn shards(&self) -> usize {
        SHARDS
    }
}

/// Whether a node that only the table holds may well be plain.
fn packs(node: &Arc<Node>) -> bool {
    Arc::strong_count(node) == 1
        && node.state.try_lock().is_some_and(|state| {
            state.definition.rate.is_some() && state.parent.is_none() && state.extra.is_none()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{Algorithm, Dimension};

    #[test]
    fn two_keys_of_one_hash_are_both_nodes() {
        let bucket = Dimension::new(1, Algorithm::Bucket, 1_000, 1_000_000, None).unwrap();
        let definition = Arc::new(Definition::new(vec![bucket], 0, 0).unwrap());
        let hasher = RandomState::new();
        let hash = hash_of(&hasher, b"second");
        let mut shard = Shard::default();
        // So that nothing is hashed anew: two of the keys do not have that hash.
        shard.nodes.reserve(8, |_| 0);
        let state = || State::new(definition.clone(), None, false, 0);
        shard.insert(hash, b"first", state(), &hasher, 0);
        assert!(matches!(shard.find(hash, b"first"), Some(Form::Plain(_))));
        assert!(shard.find(hash, b"second").is_none());

        shard.insert(hash, b"second", state(), &hasher, 0);
        for key in [&b"first"[..], b"second"] {
            assert!(matches!(shard.find(hash, key), Some(Form::Node(node)) if node.key.as_slice() == key));
        }
        assert!(shard.plain.of_hash(hash).is_none());

        // The third sees the second, whose hash it has.
        shard.insert(hash, b"third", state(), &hasher, 0);
        assert!(matches!(shard.find(hash, b"third"), Some(Form::Node(_))));
    }
}
