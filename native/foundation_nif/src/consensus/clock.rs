//! The clock that commands get their time from.
//!
//! It runs evenly, and is set forward to the time of what was applied: a member that becomes leader is never behind the
//! log, so that time inside a machine does not stand still until it has caught up.

use foundation_consensus::Clock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

pub(crate) struct SharedClock {
    began: Instant,
    /// The time when it began, in ms since 1970.
    base: AtomicU64,
}

impl SharedClock {
    pub(crate) fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            began: Instant::now(),
            base: AtomicU64::new(since.map_or(0, |since| since.as_millis() as u64)),
        }
    }

    /// Time of a command that was applied.
    pub(crate) fn observe(&self, time_ms: u64) {
        let elapsed = self.began.elapsed().as_millis() as u64;
        self.base
            .fetch_max(time_ms.saturating_sub(elapsed), Ordering::AcqRel);
    }
}

impl Clock for SharedClock {
    fn now_ms(&self) -> u64 {
        self.base.load(Ordering::Acquire) + self.began.elapsed().as_millis() as u64
    }
}
