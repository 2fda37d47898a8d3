//! A map from key bytes to values that is read far more often than it is changed.
//!
//! Readers on different threads take different locks (`crossbeam_utils::sync::ShardedLock`), so that two schedulers
//! which look up the same key do not touch the same cache line. A change takes all the locks of its shard.

use ahash::RandomState;
use crossbeam_utils::sync::ShardedLock;
use std::collections::HashMap;
use std::sync::PoisonError;

const SHARDS: usize = 16;

type Table<V> = HashMap<Box<[u8]>, V, RandomState>;

/// Values by key bytes. Lookup O(key length), change O(key length) and a handful of locks.
pub struct Keyed<V> {
    hasher: RandomState,
    shards: Vec<ShardedLock<Table<V>>>,
}

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Keyed<V> {
    /// An empty map.
    pub fn new() -> Self {
        let hasher = RandomState::new();
        let shards = (0..SHARDS)
            .map(|_| ShardedLock::new(HashMap::with_hasher(hasher.clone())))
            .collect();
        Self { hasher, shards }
    }

    fn shard(&self, key: &[u8]) -> &ShardedLock<Table<V>> {
        // The high bits: the table inside uses the low ones.
        let hash = self.hasher.hash_one(key);
        &self.shards[(hash >> 48) as usize % SHARDS]
    }

    /// Calls `f` with the value of `key`, while readers of other keys and of the same key go on.
    pub fn with<R>(&self, key: &[u8], f: impl FnOnce(&V) -> R) -> Option<R> {
        let table = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        table.get(key).map(f)
    }

    /// Puts `value` under `key` and returns what was there.
    pub fn insert(&self, key: &[u8], value: V) -> Option<V> {
        let mut table = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        table.insert(key.into(), value)
    }

    /// Puts a value under `key` unless there is one; true when it was put.
    pub fn insert_new(&self, key: &[u8], make: impl FnOnce() -> V) -> bool {
        let mut table = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        if table.contains_key(key) {
            return false;
        }
        table.insert(key.into(), make());
        true
    }

    /// Takes the value of `key` out.
    pub fn remove(&self, key: &[u8]) -> Option<V> {
        self.remove_if(key, |_| true)
    }

    /// Takes the value of `key` out if `wanted` says so.
    pub fn remove_if(&self, key: &[u8], wanted: impl FnOnce(&V) -> bool) -> Option<V> {
        let mut table = self.shard(key).write().unwrap_or_else(PoisonError::into_inner);
        if table.get(key).is_some_and(wanted) {
            table.remove(key)
        } else {
            None
        }
    }

    /// Drops every value that `keep` refuses; returns how many. O(values), one shard locked at a time.
    pub fn retain(&self, mut keep: impl FnMut(&V) -> bool) -> usize {
        let mut dropped = 0;
        for shard in &self.shards {
            let mut table = shard.write().unwrap_or_else(PoisonError::into_inner);
            let before = table.len();
            table.retain(|_, value| keep(value));
            dropped += before - table.len();
            if table.capacity() > 4 * table.len() + 64 {
                table.shrink_to_fit();
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
            keys.extend(table.keys().take(max - keys.len()).cloned());
        }
        keys
    }
}
