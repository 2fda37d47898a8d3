//! Gradient2, after Netflix's concurrency-limits library (`Gradient2Limit`, Apache-2.0; written anew here).
//!
//! The limit follows the ratio of a long exponential average of the round-trip time to the newest sample: as long as
//! calls take no longer than usual the limit grows by a fixed allowance for queueing, and shrinks in proportion when
//! they do.

use super::{Sample, Settings};

const LONG_WINDOW: f64 = 600.0;
const WARMUP: u32 = 10;
const QUEUE: f64 = 4.0;
const TOLERANCE: f64 = 1.5;
const SMOOTHING: f64 = 0.2;

#[derive(Debug, Clone, Default)]
pub(super) struct Gradient {
    long: f64,
    seen: u32,
}

impl Gradient {
    pub(super) fn next(&mut self, settings: &Settings, limit: f64, sample: Sample) -> f64 {
        let short = (sample.rtt as f64).max(1.0);
        let long = self.add(short);
        if long / short > 2.0 {
            self.long *= 0.95;
        }
        let gradient = if sample.dropped {
            0.5
        } else if f64::from(sample.in_flight) < limit / 2.0 {
            return limit;
        } else {
            (TOLERANCE * long / short).clamp(0.5, 1.0)
        };
        let queue = if sample.dropped { 0.0 } else { QUEUE };
        let aimed = limit * gradient + queue;
        (limit * (1.0 - SMOOTHING) + aimed * SMOOTHING)
            .clamp(f64::from(settings.min), f64::from(settings.max))
    }

    fn add(&mut self, rtt: f64) -> f64 {
        if self.seen < WARMUP {
            self.seen += 1;
            self.long += (rtt - self.long) / f64::from(self.seen);
        } else {
            self.long += (rtt - self.long) * 2.0 / (LONG_WINDOW + 1.0);
        }
        self.long
    }

    pub(super) fn usual(&self) -> f64 {
        self.long
    }
}
