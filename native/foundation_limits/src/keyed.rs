//! A map from key bytes to values that is read far more often than it is changed.
//!
//! Readers on different threads take different locks (`crossbeam_utils::sync::ShardedLock`), so that two schedulers
//! which look up the same key do not touch the same cache line. A change takes all the locks of its shard.

use ahash::RandomState;
use crossbeam_utils::sync::ShardedLock;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::sync::PoisonError;

const SHARDS: usize = 16;

type Pair<V> = (Box<[u8]>, V);

/// Values by key bytes. Lookup O(key length), change O(key length) and a handful of locks.
pub struct Keyed<V> {
    hasher: RandomState,
    shards: Vec<ShardedLock<HashTable<Pair<V>>>>,
}

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Keyed<V> {
    /// An empty map.
    pub fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| ShardedLock::new(HashTable::new())).collect(),
        }
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    // Bits that the table inside does not look at.
    #[inline]
    fn shard(&self, hash: u64) -> &ShardedLock<HashTable<Pair<V>>> {
        &self.shards[(hash >> 48) as usize % SHARDS]
    }

    /// Calls `f` with the value of `key`, while readers of other keys and of the same key go on.
    #[inline]
    pub fn with<R>(&self, key: &[u8], f: impl FnOnce(&V) -> R) -> Option<R> {
        let hash = self.hash(key);
        let table = self.shard(hash).read().unwrap_or_else(PoisonError::into_inner);
        table.find(hash, |pair| *pair.0 == *key).map(|pair| f(&pair.1))
    }

    /// Puts `value` under `key` and returns what was there.
    pub fn insert(&self, key: &[u8], value: V) -> Option<V> {
        let hash = self.hash(key);
        let mut table = self.shard(hash).write().unwrap_or_else(PoisonError::into_inner);
        match table.entry(hash, |p| *p.0 == *key, |p| self.hasher.hash_one(&*p.0)) {
            Entry::Occupied(mut there) => Some(std::mem::replace(&mut there.get_mut().1, value)),
            Entry::Vacant(free) => {
                free.insert((key.into(), value));
                None
            }
        }
    }

    /// Puts a value under `key` unless there is one; true when it was put.
    pub fn insert_new(&self, key: &[u8], make: impl FnOnce() -> V) -> bool {
        let hash = self.hash(key);
        let mut table = self.shard(hash).write().unwrap_or_else(PoisonError::into_inner);
        match table.entry(hash, |p| *p.0 == *key, |p| self.hasher.hash_one(&*p.0)) {
            Entry::Occupied(_) => false,
            Entry::Vacant(free) => {
                free.insert((key.into(), make()));
                true
            }
        }
    }

    /// Takes the value of `key` out.
    pub fn remove(&self, key: &[u8]) -> Option<V> {
        self.remove_if(key, |_| true)
    }

    /// Takes the value of `key` out if `wanted` says so.
    pub fn remove_if(&self, key: &[u8], wanted: impl FnOnce(&V) -> bool) -> Option<V> {
        let hash = self.hash(key);
        let mut table = self.shard(hash).write().unwrap_or_else(PoisonError::into_inner);
        match table.find_entry(hash, |p| *p.0 == *key) {
            Ok(there) if wanted(&there.get().1) => Some(there.remove().0.1),
            _ => None,
        }
    }

    /// Drops every value that `keep` refuses; returns how many. O(values), one shard locked at a time.
    pub fn retain(&self, mut keep: impl FnMut(&V) -> bool) -> usize {
        let mut dropped = 0;
        for shard in &self.shards {
            let mut table = shard.write().unwrap_or_else(PoisonError::into_inner);
            let before = table.len();
            table.retain(|pair| keep(&pair.1));
            dropped += before - table.len();
            if table.capacity() > 4 * table.len() + 64 {
                table.shrink_to_fit(|p| self.hasher.hash_one(&*p.0));
            }
        }
        dropped
    }

    /// How many keys there are. O(1).
    pub fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|s| s.read().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `max` keys, in no order.
    pub fn keys(&self, max: usize) -> Vec<Box<[u8]>> {
        let mut keys = Vec::new();
        for shard in &self.shards {
            let table = shard.read().unwrap_or_else(PoisonError::into_inner);
            keys.extend(table.iter().take(max - keys.len()).map(|p| p.0.clone()));
        }
        keys
    }
}
