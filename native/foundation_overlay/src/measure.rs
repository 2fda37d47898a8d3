//! Measured values that follow the present.

/// An exponentially weighted mean and mean deviation, as TCP keeps for round trips.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Ewma {
    mean: f64,
    deviation: f64,
    samples: u32,
}

impl Ewma {
    pub(crate) fn add(&mut self, sample: f64) {
        if self.samples == 0 {
            (self.mean, self.deviation) = (sample, sample / 2.0);
        } else {
            self.deviation += ((sample - self.mean).abs() - self.deviation) / 4.0;
            self.mean += (sample - self.mean) / 8.0;
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// The mean, once something was measured.
    pub(crate) fn mean(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.mean)
    }

    pub(crate) fn deviation(&self) -> Option<f64> {
        (self.samples > 0).then_some(self.deviation)
    }
}
