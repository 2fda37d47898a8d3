//! A clock made of a processor's tick counter and, now and then, of the system's clock.
//!
//! Reading the counter takes a third of the time that the system's clock takes, but only the system knows how fast it
//! runs and what happened to it while the machine slept or moved. So the counter is believed for some milliseconds
//! after the system was asked, and not at all until two intervals in a row have agreed on its rate. What this clock
//! says differs from the system's by what the rate changes in an interval: well below a microsecond; between two
//! threads it may step back by as much.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// How long the counter is believed, in nanoseconds.
const BELIEVED: u64 = 10_000_000;
/// The shortest interval a rate is taken from, in nanoseconds.
const SHORTEST: i64 = 5_000_000;
/// A rate is nanoseconds a tick times 2 to the power of this.
const SHIFT: u32 = 32;
/// Two rates that differ by more than one part in this many disagree.
const AGREE: u64 = 512;
/// No counter takes that long for a tick. With [`BELIEVED`] it keeps products within a word.
const SLOWEST: u64 = 64 << SHIFT;

/// Counts ticks into nanoseconds. One that has learnt nothing answers nothing.
#[derive(Debug)]
#[repr(align(64))]
pub struct Ticks {
    /// Odd while the rest is being changed.
    version: AtomicU64,
    base: AtomicU64,
    nanos: AtomicU64,
    rate: AtomicU64,
    /// Ticks after `base` from which on the system has to be asked; 0 while the rate is not known.
    until: AtomicU64,
    last: Mutex<Last>,
}

/// What was learnt last: the rate is that of the interval which ended there.
#[derive(Debug)]
struct Last {
    ticks: u64,
    nanos: u64,
    rate: u64,
}

impl Default for Ticks {
    fn default() -> Self {
        Self::new()
    }
}

impl Ticks {
    /// A clock that knows no rate yet.
    pub const fn new() -> Self {
        Self {
            version: AtomicU64::new(0),
            base: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            rate: AtomicU64::new(0),
            until: AtomicU64::new(0),
            last: Mutex::new(Last {
                ticks: 0,
                nanos: 0,
                rate: 0,
            }),
        }
    }

    /// The system's nanoseconds at `ticks`; `None` when the system has to be asked. Lock-free. O(1).
    #[inline]
    pub fn read(&self, ticks: u64) -> Option<u64> {
        let version = self.version.load(Ordering::Acquire);
        let base = self.base.load(Ordering::Relaxed);
        let nanos = self.nanos.load(Ordering::Relaxed);
        let rate = self.rate.load(Ordering::Relaxed);
        let until = self.until.load(Ordering::Relaxed);
        fence(Ordering::Acquire);
        let passed = ticks.wrapping_sub(base);
        if passed >= until || version & 1 == 1 || self.version.load(Ordering::Relaxed) != version {
            return None;
        }
        Some(nanos + ((passed * rate) >> SHIFT))
    }

    /// Takes over that the system's clock said `nanos` at `ticks`, unless another thread is at it. O(1).
    #[cold]
    pub fn learn(&self, ticks: u64, nanos: u64) {
        let Some(mut last) = self.last.try_lock() else {
            return;
        };
        let took = nanos.wrapping_sub(last.nanos);
        // Too early, or older than what is known.
        if (took as i64) < SHORTEST {
            return;
        }
        // A counter that went back makes the number of ticks enormous and the rate nothing.
        let ran = ticks.wrapping_sub(last.ticks).max(1);
        let rate = match last.nanos {
            0 => 0,
            _ => u64::try_from((u128::from(took) << SHIFT) / u128::from(ran)).unwrap_or(SLOWEST),
        };
        let known = (1..SLOWEST).contains(&rate) && rate.abs_diff(last.rate) <= rate / AGREE;
        *last = Last { ticks, nanos, rate };
        let until = if known { (BELIEVED << SHIFT) / rate } else { 0 };
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        self.base.store(ticks, Ordering::Relaxed);
        self.nanos.store(nanos, Ordering::Relaxed);
        self.rate.store(rate, Ordering::Relaxed);
        self.until.store(until, Ordering::Relaxed);
        self.version.store(version.wrapping_add(2), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    /// Asks the clock first and the system where that does not know, as its users do. Answers whether it knew.
    fn ask(clock: &Ticks, ticks: u64, system: u64) -> (u64, bool) {
        if let Some(nanos) = clock.read(ticks) {
            return (nanos, true);
        }
        clock.learn(ticks, system);
        (system, false)
    }

    #[test]
    fn two_intervals_must_agree_first() {
        let clock = Ticks::new();
        assert_eq!(clock.read(0), None);
        for (ms, knows) in [
            (1000, false),
            (1001, false),
            (1006, false),
            (1012, false),
            (1013, true),
            (1021, true),
        ] {
            let (nanos, knew) = ask(&clock, ms * 3 * MS, ms * MS);
            assert!(nanos.abs_diff(ms * MS) <= 1, "{ms} {nanos}");
            assert_eq!(knew, knows, "{ms}");
        }
        assert_eq!(clock.read(1023 * 3 * MS), None, "believed for too long");
        assert_eq!(clock.read(1011 * 3 * MS), None, "before what it knows");
    }

    #[test]
    fn a_counter_that_jumps_is_not_believed_until_it_runs_evenly() {
        for jumped in [0, 17, u64::MAX - 10 * MS, 1_000_000 * 3 * MS] {
            let clock = Ticks::new();
            for ms in 1000..1020 {
                ask(&clock, ms * 3 * MS, ms * MS);
            }
            let mut believed = 0;
            for ms in 0..100 {
                let ticks = (ms * 3 * MS).wrapping_add(jumped);
                let (nanos, knew) = ask(&clock, ticks, (1020 + ms) * MS);
                assert!(nanos.abs_diff((1020 + ms) * MS) <= 1, "{jumped} {ms} {nanos}");
                believed += u32::from(knew);
                assert!(ms > 9 || !knew, "believed too early: {jumped} {ms}");
            }
            assert!(believed > 50, "{jumped} {believed}");
        }
    }

    proptest! {
        /// Whatever the rate, and while it wanders as clocks that are being corrected do.
        #[test]
        fn it_says_what_the_system_says(
            picos in 100_u64..2_000,
            steps in prop::collection::vec((1_u64..4 * MS, -200_i64..200), 50..200),
        ) {
            let clock = Ticks::new();
            let (mut nanos, mut ticks, mut known) = (1_000_000_000_u64, 77_u64, 0);
            for (step, drift_ppm) in steps {
                nanos += step;
                let ideal = step * 1000 / picos;
                ticks += (ideal as i64 + ideal as i64 * drift_ppm / 1_000_000) as u64;
                let (said, knew) = ask(&clock, ticks, nanos);
                known += u32::from(knew);
                // 400 ppm of the ten milliseconds and as much again from the interval before.
                prop_assert!(said.abs_diff(nanos) <= 8_100, "{said} {nanos}");
            }
            prop_assert!(known > 5);
        }
    }
}
