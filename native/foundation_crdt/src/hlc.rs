//! A hybrid logical clock (Kulkarni, Demirbas, Madappa, Avva and Leone, 2014): close to wall time, never going back, and
//! after everything it has been told of.
//!
//! A time is 48 bits of milliseconds and 16 bits of a counter. Times further ahead of this machine's clock than the
//! bound are refused, so that one wrong clock cannot take the others along.

use crate::Error;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bits of the counter.
const LOGICAL: u32 = 16;

/// The clock of one replica. The wall time comes in with each call.
#[derive(Debug, Default)]
pub struct Hlc(AtomicU64);

impl Hlc {
    /// A time after every other this clock has given or been told of.
    pub fn tick(&self, wall_ms: u64) -> u64 {
        let wall = wall_ms << LOGICAL;
        let next = |last: u64| Some((last + 1).max(wall));
        match self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(last) | Err(last) => (last + 1).max(wall),
        }
    }

    /// Whether a time may be taken over.
    ///
    /// # Errors
    /// `Drift` with how far it is ahead of the wall time, when that is more than `drift_ms`.
    pub fn admit(time: u64, wall_ms: u64, drift_ms: u64) -> Result<(), Error> {
        let ahead = (time >> LOGICAL).saturating_sub(wall_ms);
        if ahead > drift_ms {
            Err(Error::Drift(ahead))
        } else {
            Ok(())
        }
    }

    /// Takes over a time that came from elsewhere.
    pub fn observe(&self, time: u64) {
        self.0.fetch_max(time, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_while_the_wall_stands_still_or_goes_back() {
        let clock = Hlc::default();
        let times: Vec<u64> = [5, 5, 5, 3, 9, 8].map(|wall| clock.tick(wall)).to_vec();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(times[4], 9 << LOGICAL);
    }

    #[test]
    fn what_was_seen_comes_before_what_follows() {
        let clock = Hlc::default();
        clock.observe(77 << LOGICAL);
        assert!(clock.tick(10) > 77 << LOGICAL);
        clock.observe(1);
        assert!(clock.tick(10) > 77 << LOGICAL);
    }

    #[test]
    fn a_clock_that_is_ahead_is_refused() {
        assert!(Hlc::admit(1_500 << LOGICAL, 1_000, 500).is_ok());
        assert!(matches!(
            Hlc::admit(1_501 << LOGICAL, 1_000, 500),
            Err(Error::Drift(501))
        ));
        assert!(Hlc::admit(3 << LOGICAL, 1_000, 0).is_ok());
    }
}
