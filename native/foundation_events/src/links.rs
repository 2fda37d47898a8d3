//! Doubly linked lists threaded through the slots: an index posting costs eight bytes and leaves in O(1).

use crate::slots::{Chain, NONE, Slot, Slots};

/// A slot's neighbours in one list. The first one's `prev` is the last, so that a list is known by its first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub(crate) prev: Slot,
    pub(crate) next: Slot,
}

impl Default for Link {
    fn default() -> Self {
        Link {
            prev: NONE,
            next: NONE,
        }
    }
}

/// Adds `slot` at the end of the list that starts at `first` (`NONE`: an empty one). Answers the first.
pub(crate) fn append(slots: &mut Slots, chain: Chain, first: Slot, slot: Slot) -> Slot {
    let c = chain as usize;
    if first == NONE {
        slots.get_mut(slot).links[c] = Link {
            prev: slot,
            next: NONE,
        };
        return slot;
    }
    let last = slots.get(first).links[c].prev;
    slots.get_mut(slot).links[c] = Link {
        prev: last,
        next: NONE,
    };
    slots.get_mut(last).links[c].next = slot;
    slots.get_mut(first).links[c].prev = slot;
    first
}

/// Adds `slot` behind `prev`, which is in the list that starts at `first`.
pub(crate) fn insert_after(slots: &mut Slots, chain: Chain, first: Slot, prev: Slot, slot: Slot) {
    let c = chain as usize;
    let next = slots.get(prev).links[c].next;
    slots.get_mut(slot).links[c] = Link { prev, next };
    slots.get_mut(prev).links[c].next = slot;
    let follower = if next == NONE { first } else { next };
    slots.get_mut(follower).links[c].prev = slot;
}

/// Adds `slot` before the first. Answers the new first, which is `slot`.
pub(crate) fn prepend(slots: &mut Slots, chain: Chain, first: Slot, slot: Slot) -> Slot {
    let c = chain as usize;
    let last = slots.get(first).links[c].prev;
    slots.get_mut(slot).links[c] = Link {
        prev: last,
        next: first,
    };
    slots.get_mut(first).links[c].prev = slot;
    slot
}

/// Takes `slot` out of the list that starts at `first`. Answers the first of what is left, or `NONE`.
pub(crate) fn remove(slots: &mut Slots, chain: Chain, first: Slot, slot: Slot) -> Slot {
    let c = chain as usize;
    let Link { prev, next } = slots.get(slot).links[c];
    if slot == first {
        if next != NONE {
            slots.get_mut(next).links[c].prev = prev;
        }
        return next;
    }
    slots.get_mut(prev).links[c].next = next;
    let follower = if next == NONE { first } else { next };
    slots.get_mut(follower).links[c].prev = prev;
    first
}
