//! Keys that are asked for again and again: what such a key counts stands in an object of its own, so that a thread that
//! keeps it finds it without the table and its lock.
//!
//! The table still knows the key. It takes the count back under its write lock, when the key is to change or was not
//! asked for in a while; the object says [`MOVED`] from then on and for ever, and whoever still has it goes to the table
//! again. So whatever was granted was granted either by the object before that, or by the table after it.

use crate::definition::Definition;
use crate::flat::Key;
use crate::plain::{Plain, Said};
use crossbeam_utils::CachePadded;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Stands for a count that is elsewhere. No bucket is full again that late.
pub(crate) const MOVED: u64 = u64::MAX;

/// A plain key that threads may keep. See [`crate::Limits::heat`].
pub struct Hot {
    full_at: CachePadded<AtomicU64>,
    definition: Arc<Definition>,
    key: Key,
    /// What `full_at` was when it was looked at last.
    seen: AtomicU64,
}

/// What a hot key says to a demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Taken.
    Granted,
    /// Nothing was taken; [`crate::Limits::acquire`] knows why.
    Refused,
    /// Nothing was taken; the key is not here any more.
    Gone,
}

impl Hot {
    pub(crate) fn new(full_at: u64, definition: Arc<Definition>, key: Key) -> Self {
        Self {
            full_at: CachePadded::new(AtomicU64::new(full_at)),
            definition,
            key,
            seen: AtomicU64::new(MOVED),
        }
    }

    pub(crate) fn full_at(&self) -> &AtomicU64 {
        &self.full_at
    }

    /// The key's bytes.
    #[inline]
    pub fn key(&self) -> &[u8] {
        self.key.bytes()
    }

    /// Where the count stands, for who wants the processor to fetch it.
    #[inline]
    pub fn place(&self) -> *const u8 {
        self.full_at.as_ptr().cast()
    }

    /// Takes `cost` billionths of the dimension `name`, or nothing. Lock-free. O(1).
    #[inline]
    pub fn acquire(&self, name: u64, cost: i128, now: u64) -> Asked {
        let plain = Plain {
            full_at: &self.full_at,
            definition: &self.definition,
            key: self.key.parts(),
            patterned: self.key.patterned(),
        };
        match plain.acquire(&[(name, cost)], now) {
            Said::Granted => Asked::Granted,
            Said::Moved => Asked::Gone,
            Said::Denied(_) | Said::Unsuited => Asked::Refused,
        }
    }

    /// Whether the count is elsewhere now.
    pub fn gone(&self) -> bool {
        self.full_at.load(Ordering::Relaxed) == MOVED
    }

    /// Whether nobody has taken anything since this was asked last.
    pub(crate) fn rested(&self) -> bool {
        let full_at = self.full_at.load(Ordering::Relaxed);
        self.seen.swap(full_at, Ordering::Relaxed) == full_at
    }

    /// Takes the count away from here.
    pub(crate) fn end(&self) -> u64 {
        self.full_at.swap(MOVED, Ordering::AcqRel)
    }
}
