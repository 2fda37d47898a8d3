//! The hot keys that each thread keeps: those it asks for again and again are found without the table of limits.

use super::costs;
use super::timer::Core;
use crate::brief::Brief;
use crate::handle;
use foundation_limits::{Asked, Hot, MAX_PLAIN_KEY};
use rustler::Term;
use std::cell::RefCell;
use std::sync::Arc;

const SLOTS: usize = 16;
/// A call is counted when the microsecond it is made in has none of these bits.
const SAMPLED: u64 = 15;
/// Calls counted until a key is hot, more than of all others that share its slot.
const ENOUGH: u32 = 8;

/// What a thread knows of one key: the majority's, of those that fall here.
struct Slot {
    /// The address of the table's core, which says whose key it is.
    core: usize,
    hash: u64,
    votes: u32,
    hot: Option<Arc<Hot>>,
}

impl Slot {
    const FREE: Self = Self {
        core: 0,
        hash: 0,
        votes: 0,
        hot: None,
    };

    fn is(&self, core: &Core, hash: u64) -> bool {
        self.hash == hash && self.core == std::ptr::from_ref(core).addr()
    }
}

thread_local! {
    static KEPT: RefCell<[Slot; SLOTS]> = const { RefCell::new([Slot::FREE; SLOTS]) };
}

// The upper bits are those that depend on everything.
fn slot(hash: u64) -> usize {
    (hash >> 60) as usize % SLOTS
}

/// Takes a whole number of one dimension from a key that this thread keeps; `None` when it keeps no such key, false when
/// nothing was taken and the table may know why.
#[inline(always)]
pub(super) fn acquire(core: &Core, key: &Brief<MAX_PLAIN_KEY>, costs: Term<'_>) -> Option<bool> {
    let ask = |kept: &RefCell<[Slot; SLOTS]>| {
        let kept = kept.try_borrow().ok()?;
        let slot = &kept[slot(key.hash())];
        let hot = slot.hot.as_ref().filter(|_| slot.is(core, key.hash()))?;
        handle::fetch(hot.place());
        if hot.key() != key.bytes() {
            return None;
        }
        let (name, cost) = costs::only(costs)?;
        match hot.acquire(name, cost, core.now()) {
            Asked::Granted => Some(true),
            Asked::Refused => Some(false),
            Asked::Gone => None,
        }
    };
    KEPT.try_with(ask).ok().flatten()
}

/// Counts a call at `now` for a key that this thread does not keep, and keeps it when there are enough.
#[inline(always)]
pub(super) fn count(core: &Core, key: &Brief<MAX_PLAIN_KEY>, now: u64) {
    if now & SAMPLED == 0 {
        counted(core, key);
    }
}

#[cold]
fn counted(core: &Core, key: &Brief<MAX_PLAIN_KEY>) {
    let vote = |kept: &RefCell<[Slot; SLOTS]>| {
        let Ok(mut kept) = kept.try_borrow_mut() else {
            return;
        };
        let slot = &mut kept[slot(key.hash())];
        if !slot.is(core, key.hash()) {
            if slot.votes > 0 {
                slot.votes -= 1;
                return;
            }
            *slot = Slot {
                core: std::ptr::from_ref(core).addr(),
                hash: key.hash(),
                ..Slot::FREE
            };
        } else if slot.hot.take().is_some() {
            slot.votes = 0;
        }
        slot.votes += 1;
        if slot.votes >= ENOUGH {
            slot.hot = core.limits.heat(key.bytes());
            slot.votes = ENOUGH;
        }
    };
    let _ = KEPT.try_with(vote);
}
