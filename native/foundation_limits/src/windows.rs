//! Counters in fixed windows aligned to the epoch, as Foundation 1.x and Hammer count.
//!
//! Every hit counts, those that are denied too. A key keeps one counter for each window length it is used with; it
//! goes when the cleanup finds all of its windows over.

use ahash::RandomState;
use crossbeam_utils::CachePadded;
use hashbrown::HashTable;
use parking_lot::Mutex;
use smallvec::SmallVec;

const SHARDS: usize = 64;

/// Counters by key and window length. Times are milliseconds of the wall clock.
pub struct FixedWindows {
    shards: Box<[CachePadded<Mutex<HashTable<Entry>>>]>,
    hasher: RandomState,
}

struct Entry {
    key: Box<[u8]>,
    /// The latest used comes first.
    counters: SmallVec<[Counter; 1]>,
}

/// One window of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counter {
    /// Length of the window in milliseconds.
    pub scale: u64,
    /// Which window since the epoch is counted.
    pub window: u64,
    /// Hits in it.
    pub count: u64,
    /// The limit of the latest hit; 0 when the counter was only set or incremented.
    pub limit: u64,
}

/// What a hit counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Hits in the window, this one included.
    pub count: u64,
    /// Milliseconds until the window ends.
    pub left_ms: u64,
}

impl Default for FixedWindows {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| CachePadded::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl FixedWindows {
    /// Adds `by` to the counter of the present window; `limit`, if given, is kept for [`Self::latest`].
    /// `scale` must not be 0. O(1).
    pub fn hit(&self, key: &[u8], scale: u64, by: u64, limit: Option<u64>, now: u64) -> Hit {
        let count = self.update(key, scale, now, |counter| {
            counter.count = counter.count.saturating_add(by);
            if let Some(limit) = limit {
                counter.limit = limit;
            }
        });
        Hit {
            count,
            left_ms: (now / scale + 1).saturating_mul(scale).saturating_sub(now),
        }
    }

    /// Makes the counter of the present window `count`. O(1).
    pub fn set(&self, key: &[u8], scale: u64, count: u64, now: u64) {
        self.update(key, scale, now, |counter| counter.count = count);
    }

    /// The count of the present window; 0 when there is none. O(1).
    pub fn get(&self, key: &[u8], scale: u64, now: u64) -> u64 {
        let (hash, shard) = self.place(key);
        let shard = shard.lock();
        let entry = shard.find(hash, |e| *e.key == *key);
        let same = |c: &&Counter| c.scale == scale && c.window == now / scale;
        entry
            .and_then(|e| e.counters.iter().find(same))
            .map_or(0, |c| c.count)
    }

    /// The counter that the latest hit of `key` counted in, if its window is not over. O(window lengths of the key).
    pub fn latest(&self, key: &[u8], now: u64) -> Option<Counter> {
        let (hash, shard) = self.place(key);
        let shard = shard.lock();
        let entry = shard.find(hash, |e| *e.key == *key)?;
        entry
            .counters
            .first()
            .copied()
            .filter(|c| c.window == now / c.scale)
    }

    /// Forgets all counters of `key`. Answers whether there was one.
    pub fn clear(&self, key: &[u8]) -> bool {
        let (hash, shard) = self.place(key);
        let mut shard = shard.lock();
        shard
            .find_entry(hash, |e| *e.key == *key)
            .map(|e| drop(e.remove()))
            .is_ok()
    }

    /// Forgets the counters whose window is over. Answers how many keys went. O(keys).
    pub fn clean(&self, now: u64) -> usize {
        let mut gone = 0;
        for shard in &self.shards {
            let mut shard = shard.lock();
            let before = shard.len();
            shard.retain(|e| {
                e.counters.retain(|c| c.window == now / c.scale);
                !e.counters.is_empty()
            });
            gone += before - shard.len();
            if shard.capacity() > 4 * shard.len() + 64 {
                shard.shrink_to_fit(|e| self.hasher.hash_one(&*e.key));
            }
        }
        gone
    }

    /// How many keys have a counter.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// Whether no key has a counter.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn place(&self, key: &[u8]) -> (u64, &Mutex<HashTable<Entry>>) {
        let hash = self.hasher.hash_one(key);
        (hash, &self.shards[(hash >> 48) as usize % SHARDS])
    }

    fn update(&self, key: &[u8], scale: u64, now: u64, change: impl FnOnce(&mut Counter)) -> u64 {
        let window = now / scale;
        let (hash, shard) = self.place(key);
        let mut shard = shard.lock();
        let entry = shard.entry(hash, |e| *e.key == *key, |e| self.hasher.hash_one(&*e.key));
        let mut entry = entry.or_insert_with(|| Entry {
            key: key.into(),
            counters: SmallVec::new(),
        });
        let counters = &mut entry.get_mut().counters;
        match counters.iter().position(|c| c.scale == scale) {
            Some(0) => {}
            Some(at) => counters.swap(0, at),
            None => {
                counters.retain(|c| c.window == now / c.scale);
                counters.insert(
                    0,
                    Counter {
                        scale,
                        window,
                        count: 0,
                        limit: 0,
                    },
                );
            }
        }
        let counter = &mut counters[0];
        if counter.window != window {
            *counter = Counter {
                scale,
                window,
                count: 0,
                limit: counter.limit,
            };
        }
        change(counter);
        counter.count
    }
}
