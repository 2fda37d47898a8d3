//! Vegas: L. Brakmo and L. Peterson, "TCP Vegas: End to End Congestion Avoidance on a Global Internet" (IEEE JSAC,
//! 1995), with the thresholds for request concurrency of Netflix's concurrency-limits.
//!
//! The queue at the other side is estimated from the least round-trip time ever seen: `limit * (1 - least / rtt)`.
//! The limit grows while that queue is short and shrinks when it is long. The least time is that of the last 1,000 to
//! 2,000 samples, or a lucky early one would hold the limit down for ever.

use super::{Sample, Settings};

const WINDOW: u32 = 1_000;

#[derive(Debug, Clone)]
pub(super) struct Vegas {
    /// The least time of the window before this one.
    before: u64,
    /// The least time of this window.
    present: u64,
    samples: u32,
}

impl Default for Vegas {
    fn default() -> Self {
        Self {
            before: u64::MAX,
            present: u64::MAX,
            samples: 0,
        }
    }
}

impl Vegas {
    fn least(&self) -> u64 {
        self.before.min(self.present)
    }

    pub(super) fn next(&mut self, settings: &Settings, limit: f64, sample: Sample) -> f64 {
        let rtt = sample.rtt.max(1);
        if self.samples == WINDOW {
            self.before = self.present;
            self.present = u64::MAX;
            self.samples = 0;
        }
        self.samples += 1;
        self.present = self.present.min(rtt);
        let step = limit.log10().max(1.0);
        let queue = (limit * (1.0 - self.least() as f64 / rtt as f64)).ceil();
        let next = if sample.dropped {
            limit - step
        } else if f64::from(sample.in_flight) * 2.0 < limit {
            limit
        } else if queue <= step {
            limit + 6.0 * step
        } else if queue < 3.0 * step {
            limit + step
        } else if queue > 6.0 * step {
            limit - step
        } else {
            limit
        };
        next.clamp(f64::from(settings.min), f64::from(settings.max))
    }

    pub(super) fn usual(&self) -> f64 {
        match self.least() {
            u64::MAX => 0.0,
            least => least as f64,
        }
    }
}
