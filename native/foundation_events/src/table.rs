//! Hash tables from a key's hash to a slot, cut into shards so that growing one never takes long.

use crate::slots::Slot;
use hashbrown::HashTable;

const SHARDS: usize = 512;

#[derive(Clone, Copy)]
struct Entry {
    hash: u32,
    slot: Slot,
}

/// Slots by hash; the caller compares keys.
pub(crate) struct Table {
    shards: Box<[HashTable<Entry>]>,
}

impl Default for Table {
    fn default() -> Self {
        Table {
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
        }
    }
}

// The upper half picks the shard, the lower half is kept; hashbrown wants its seven control bits at the top.
fn shard(hash: u64) -> usize {
    (hash >> 32) as usize % SHARDS
}

fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Table {
    pub(crate) fn find(&self, hash: u64, mut eq: impl FnMut(Slot) -> bool) -> Option<Slot> {
        let low = hash as u32;
        self.shards[shard(hash)]
            .find(spread(low), |e| e.hash == low && eq(e.slot))
            .map(|e| e.slot)
    }

    /// Reads where the hash belongs.
    pub(crate) fn touch(&self, hash: u64) {
        std::hint::black_box(self.shards[shard(hash)].find(spread(hash as u32), |_| false));
    }

    pub(crate) fn insert(&mut self, hash: u64, slot: Slot) {
        let low = hash as u32;
        self.shards[shard(hash)].insert_unique(spread(low), Entry { hash: low, slot }, |e| spread(e.hash));
    }

    /// Puts `new` where `old` is.
    pub(crate) fn replace(&mut self, hash: u64, old: Slot, new: Slot) {
        let low = hash as u32;
        if let Some(entry) = self.shards[shard(hash)].find_mut(spread(low), |e| e.slot == old) {
            entry.slot = new;
        }
    }

    pub(crate) fn remove(&mut self, hash: u64, slot: Slot) {
        let low = hash as u32;
        let table = &mut self.shards[shard(hash)];
        if let Ok(entry) = table.find_entry(spread(low), |e| e.slot == slot) {
            entry.remove();
        }
        if table.capacity() > 64 && table.len() * 8 < table.capacity() {
            table.shrink_to_fit(|e| spread(e.hash));
        }
    }

    /// Bytes taken.
    pub(crate) fn held(&self) -> usize {
        let entries: usize = self
            .shards
            .iter()
            .map(|s| s.capacity() * 8 / 7 * (size_of::<Entry>() + 1))
            .sum();
        entries + SHARDS * size_of::<HashTable<Entry>>()
    }
}
