//! The keys: found by hash in one of many shards, made, changed and dropped.
//!
//! Readers on different threads take different locks (`crossbeam_utils::sync::ShardedLock`), so that two schedulers on the
//! same key meet at that key and nowhere before.

use crate::definition::Definition;
use crate::error::LimitError;
use crate::node::{KeyBytes, Node, State};
use ahash::RandomState;
use crossbeam_utils::sync::ShardedLock;
use hashbrown::HashTable;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

const SHARDS: usize = 64;

type Shard = ShardedLock<HashTable<Arc<Node>>>;

pub(crate) struct Table {
    shards: Box<[Shard]>,
    hasher: RandomState,
    len: AtomicUsize,
    max_keys: usize,
    definitions: Mutex<HashSet<Arc<Definition>>>,
}

impl Table {
    pub(crate) fn new(max_keys: usize) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| ShardedLock::new(HashTable::new())).collect(),
            hasher: RandomState::new(),
            len: AtomicUsize::new(0),
            max_keys,
            definitions: Mutex::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    #[inline]
    fn place(&self, key: &[u8]) -> (u64, &Shard) {
        let hash = self.hasher.hash_one(key);
        (hash, &self.shards[(hash >> 48) as usize % SHARDS])
    }

    /// Calls `f` with the node of `key` while it cannot be dropped.
    #[inline]
    pub(crate) fn with<R>(&self, key: &[u8], f: impl FnOnce(&Arc<Node>) -> R) -> Option<R> {
        let (hash, shard) = self.place(key);
        let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
        shard.find(hash, |node| node.key.as_slice() == key).map(f)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Arc<Node>> {
        self.with(key, Arc::clone)
    }

    /// The node of `key`, made with `state` when there is none. The flag says whether it was made.
    pub(crate) fn get_or_insert(
        &self,
        key: &[u8],
        state: impl FnOnce() -> State,
    ) -> Result<(Arc<Node>, bool), LimitError> {
        let (hash, shard) = self.place(key);
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(node) = shard.find(hash, |node| node.key.as_slice() == key) {
            return Ok((node.clone(), false));
        }
        if self.len.fetch_add(1, Ordering::Relaxed) >= self.max_keys {
            self.len.fetch_sub(1, Ordering::Relaxed);
            return Err(LimitError::TooManyKeys);
        }
        let node = Arc::new(Node {
            key: KeyBytes::from_slice(key),
            state: Mutex::new(state()),
        });
        shard.insert_unique(hash, node.clone(), |other| {
            self.hasher.hash_one(other.key.as_slice())
        });
        Ok((node, true))
    }

    /// Drops `node` from the table if the table and the caller are the only ones that hold it and `really` agrees.
    pub(crate) fn remove(&self, node: &Arc<Node>, really: impl FnOnce(&mut State) -> bool) -> bool {
        let (hash, shard) = self.place(&node.key);
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        let Ok(entry) = shard.find_entry(hash, |other| Arc::ptr_eq(other, node)) else {
            return false;
        };
        if Arc::strong_count(node) > 2 || !really(&mut node.state.lock()) {
            return false;
        }
        entry.remove();
        self.len.fetch_sub(1, Ordering::Relaxed);
        true
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
        let shard = self.shards[index % SHARDS]
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        shard.iter().filter(|node| wanted(node)).cloned().collect()
    }

    pub(crate) fn shards(&self) -> usize {
        SHARDS
    }
}
