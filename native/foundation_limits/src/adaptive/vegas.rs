//! Vegas: L. Brakmo and L. Peterson, "TCP Vegas: End to End Congestion Avoidance on a Global Internet" (IEEE JSAC,
//! 1995), with the thresholds for request concurrency of Netflix's concurrency-limits.
//!
//! The queue at the other side is estimated from the least round-trip time ever seen: `limit * (1 - least / rtt)`.
//! The limit grows while that queue is short and shrinks when it is long. The least time is measured afresh now and
//! then, or a lucky early sample would hold the limit down for ever.

use super::{Sample, Settings};

const REMEASURE_AFTER: f64 = 30.0;

#[derive(Debug, Clone, Default)]
pub(super) struct Vegas {
    least: u64,
    since: f64,
}

impl Vegas {
    pub(super) fn next(&mut self, settings: &Settings, limit: f64, sample: Sample) -> f64 {
        let rtt = sample.rtt.max(1);
        self.since += 1.0;
        if self.least == 0 || self.since > REMEASURE_AFTER * limit {
            self.since = 0.0;
            self.least = rtt;
            return limit;
        }
        if rtt < self.least {
            self.least = rtt;
        }
        let step = limit.log10().max(1.0);
        let queue = (limit * (1.0 - self.least as f64 / rtt as f64)).ceil();
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
        self.least as f64
    }
}
