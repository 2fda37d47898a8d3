//! One side of the book: price levels, each a queue of orders linked through one slab.

use super::order::Side;
use std::collections::BTreeMap;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// An order that waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) id: u64,
    pub(super) price: i64,
    pub(super) quantity: u64,
    pub(super) owner: u32,
    pub(super) side: Side,
    prev: u32,
    next: u32,
}

/// Where the orders lie.
#[derive(Debug, Default)]
pub(super) struct Slab {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Slab {
    pub(super) fn get(&self, at: u32) -> &Slot {
        &self.slots[at as usize]
    }

    fn get_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.slots[at as usize]
    }

    pub(super) fn next(&self, at: u32) -> u32 {
        self.get(at).next
    }

    fn insert(&mut self, slot: Slot) -> u32 {
        if let Some(at) = self.free.pop() {
            self.slots[at as usize] = slot;
            return at;
        }
        self.slots.push(slot);
        self.slots.len() as u32 - 1
    }
}

/// The orders of one price, the oldest first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Level {
    pub(super) first: u32,
    last: u32,
    pub(super) quantity: u128,
    pub(super) orders: u32,
}

/// The levels of one side. The key is the price, negated for bids: the best level comes first on both sides.
#[derive(Debug)]
pub(super) struct Levels {
    side: Side,
    levels: BTreeMap<i64, Level>,
}

impl Levels {
    pub(super) fn new(side: Side) -> Self {
        Self {
            side,
            levels: BTreeMap::new(),
        }
    }

    pub(super) fn key(&self, price: i64) -> i64 {
        match self.side {
            Side::Sell => price,
            Side::Buy => -price,
        }
    }

    pub(super) fn best(&self) -> Option<(i64, Level)> {
        self.levels.first_key_value().map(|(key, level)| (*key, *level))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Level)> {
        self.levels.iter().map(|(key, level)| (self.key(*key), level))
    }

    /// Puts an order at the end of its price's queue.
    pub(super) fn push(&mut self, slab: &mut Slab, id: u64, owner: u32, price: i64, quantity: u64) -> u32 {
        let at = slab.insert(Slot {
            id,
            price,
            quantity,
            owner,
            side: self.side,
            prev: NONE,
            next: NONE,
        });
        let level = self.levels.entry(self.key(price)).or_insert(Level {
            first: at,
            last: NONE,
            quantity: 0,
            orders: 0,
        });
        if level.last != NONE {
            slab.get_mut(at).prev = level.last;
            slab.get_mut(level.last).next = at;
        }
        level.last = at;
        level.quantity += u128::from(quantity);
        level.orders += 1;
        at
    }

    /// Takes some of an order's quantity, and the order out when nothing is left. Says whether it is out.
    pub(super) fn reduce(&mut self, slab: &mut Slab, at: u32, by: u64) -> bool {
        let slot = *slab.get(at);
        let key = self.key(slot.price);
        let Some(level) = self.levels.get_mut(&key) else {
            return false;
        };
        level.quantity -= u128::from(by);
        if by < slot.quantity {
            slab.get_mut(at).quantity -= by;
            return false;
        }
        level.orders -= 1;
        if level.orders == 0 {
            self.levels.remove(&key);
        } else {
            if slot.prev == NONE {
                level.first = slot.next;
            } else {
                slab.get_mut(slot.prev).next = slot.next;
            }
            if slot.next == NONE {
                level.last = slot.prev;
            } else {
                slab.get_mut(slot.next).prev = slot.prev;
            }
        }
        slab.free.push(at);
        true
    }
}
