//! Slots in order of (timestamp, id): sorted blocks that appends in order fill to the brim.

use crate::slots::{Slot, Slots};

const BLOCK: usize = 512;

/// A position in the order.
pub(crate) type Key = (i64, u64);

#[derive(Default)]
pub(crate) struct TimeIndex {
    blocks: Vec<Vec<Slot>>,
    /// The first key of each block: finding a block touches no slot.
    firsts: Vec<Key>,
}

fn key(slots: &Slots, slot: Slot) -> Key {
    let meta = slots.get(slot);
    (meta.timestamp, meta.id)
}

impl TimeIndex {
    pub(crate) fn insert(&mut self, slots: &Slots, slot: Slot) {
        let wanted = key(slots, slot);
        let after_last = self
            .blocks
            .last()
            .and_then(|b| b.last())
            .is_none_or(|&s| key(slots, s) < wanted);
        if after_last {
            match self.blocks.last_mut() {
                Some(block) if block.len() < BLOCK => block.push(slot),
                _ => {
                    let mut block = Vec::with_capacity(if self.blocks.is_empty() { 8 } else { BLOCK });
                    block.push(slot);
                    self.blocks.push(block);
                    self.firsts.push(wanted);
                }
            }
            return;
        }
        let at = self.block_of(wanted);
        let block = &mut self.blocks[at];
        let pos = block.partition_point(|&s| key(slots, s) < wanted);
        block.insert(pos, slot);
        if pos == 0 {
            self.firsts[at] = wanted;
        }
        if block.len() > BLOCK {
            let tail = block.split_off(BLOCK / 2);
            self.firsts.insert(at + 1, key(slots, tail[0]));
            self.blocks.insert(at + 1, tail);
        }
    }

    pub(crate) fn remove(&mut self, slots: &Slots, slot: Slot) {
        if self.blocks.is_empty() {
            return;
        }
        let wanted = key(slots, slot);
        let at = self.block_of(wanted);
        let block = &mut self.blocks[at];
        let pos = block.partition_point(|&s| key(slots, s) < wanted);
        if block.get(pos) == Some(&slot) {
            block.remove(pos);
        }
        match block.first() {
            Some(&first) if pos == 0 => self.firsts[at] = key(slots, first),
            Some(_) => {}
            None => {
                self.blocks.remove(at);
                self.firsts.remove(at);
            }
        }
    }

    /// The block that holds or would hold `wanted`: the last one that starts at or before it.
    fn block_of(&self, wanted: Key) -> usize {
        self.firsts
            .partition_point(|&first| first <= wanted)
            .saturating_sub(1)
    }

    /// Up to `max` slots from `from` on (inclusive) in ascending order.
    pub(crate) fn ascending(&self, slots: &Slots, from: Key, max: usize) -> impl Iterator<Item = Slot> {
        let at = if self.blocks.is_empty() {
            0
        } else {
            self.block_of(from)
        };
        let skip = self
            .blocks
            .get(at)
            .map_or(0, |b| b.partition_point(|&s| key(slots, s) < from));
        self.blocks[at.min(self.blocks.len())..]
            .iter()
            .flatten()
            .copied()
            .skip(skip)
            .take(max)
    }

    /// Up to `max` slots from `from` on (inclusive) in descending order.
    pub(crate) fn descending(&self, slots: &Slots, from: Key, max: usize) -> impl Iterator<Item = Slot> {
        let end = self.firsts.partition_point(|&first| first <= from);
        let skip = end.checked_sub(1).map_or(0, |last| {
            let block = &self.blocks[last];
            block.len() - block.partition_point(|&s| key(slots, s) <= from)
        });
        self.blocks[..end]
            .iter()
            .rev()
            .flat_map(|b| b.iter().rev())
            .copied()
            .skip(skip)
            .take(max)
    }

    /// Bytes taken.
    pub(crate) fn held(&self) -> usize {
        let blocks: usize = self
            .blocks
            .iter()
            .map(|b| b.capacity() * size_of::<Slot>() + size_of::<Vec<Slot>>())
            .sum();
        blocks + self.firsts.capacity() * size_of::<Key>()
    }
}
