//! The fixed part of every stored event, in blocks that never move.

use crate::arena::Place;
use crate::links::Link;
use crate::symbols::Symbol;

/// A stored event's number while it is stored; reused afterwards.
pub(crate) type Slot = u32;

/// No slot.
pub(crate) const NONE: Slot = u32::MAX;

const BLOCK: usize = 1024;

/// The lists a slot is in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Chain {
    /// All events, in order of arrival.
    Arrival = 0,
    /// Events of one type.
    Kind = 1,
    /// Events of one correlation.
    Correlation = 2,
    /// Events of one parent.
    Parent = 3,
    /// Events of one node.
    Node = 4,
}

/// What is known of an event without its record. Packed to four bytes, as all of it but three numbers is: 76, not 80.
#[derive(Clone, Copy)]
#[repr(C, packed(4))]
pub(crate) struct Meta {
    pub(crate) id: u64,
    pub(crate) timestamp: i64,
    pub(crate) seq: u64,
    pub(crate) place: Place,
    pub(crate) kind: Symbol,
    pub(crate) links: [Link; 5],
}

impl Meta {
    pub(crate) fn new(id: u64, timestamp: i64, seq: u64, place: Place, kind: Symbol) -> Self {
        Meta {
            id,
            timestamp,
            seq,
            place,
            kind,
            links: [Link::default(); 5],
        }
    }
}

#[derive(Default)]
pub(crate) struct Slots {
    blocks: Vec<Box<[Meta]>>,
    used: usize,
    free: Vec<Slot>,
}

/// A block of slots, every page of it touched.
pub(crate) fn touched() -> Box<[Meta]> {
    vec![Meta::new(0, 0, 0, Place::default(), 0); BLOCK].into_boxed_slice()
}

impl Slots {
    pub(crate) fn insert(&mut self, meta: Meta) -> Slot {
        if let Some(slot) = self.free.pop() {
            *self.get_mut(slot) = meta;
            return slot;
        }
        if self.used == self.blocks.len() * BLOCK {
            self.blocks.push(touched());
        }
        let slot = self.used as Slot;
        self.used += 1;
        *self.get_mut(slot) = meta;
        slot
    }

    /// How many blocks are missing for so many slots more.
    pub(crate) fn missing(&self, slots: usize) -> usize {
        let room = self.blocks.len() * BLOCK - self.used + self.free.len();
        slots.saturating_sub(room).div_ceil(BLOCK)
    }

    /// Takes an empty block for later.
    pub(crate) fn supply(&mut self, block: Box<[Meta]>) {
        self.blocks.push(block);
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        self.get_mut(slot).seq = 0;
        self.free.push(slot);
    }

    #[inline]
    pub(crate) fn get(&self, slot: Slot) -> &Meta {
        &self.blocks[slot as usize / BLOCK][slot as usize % BLOCK]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Meta {
        &mut self.blocks[slot as usize / BLOCK][slot as usize % BLOCK]
    }

    /// Bytes taken.
    pub(crate) fn held(&self) -> usize {
        self.blocks.len() * BLOCK * size_of::<Meta>() + self.free.capacity() * size_of::<Slot>()
    }
}
