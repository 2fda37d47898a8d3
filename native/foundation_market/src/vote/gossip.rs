//! Averages by gossip: push-sum (Kempe, Dobra, Gehrke 2003).

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// One participant's share of a sum. Each round it keeps half and sends half to someone it picks at random; its estimate
/// comes near the true average in O(log n + log 1/ε) rounds. Nothing is lost as long as no message is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct PushSum {
    /// Mass of the sum.
    pub sum: f64,
    /// Mass of the weight.
    pub weight: f64,
}

impl PushSum {
    /// Begins with an own value. Weights of 1 everywhere give the average; a weight of 1 at one participant and 0 at all
    /// others gives the sum.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not finite or a weight below 0.
    pub fn new(value: f64, weight: f64) -> Result<Self> {
        if !value.is_finite() {
            return Err(Error::Invalid("value"));
        }
        if !weight.is_finite() || weight < 0.0 {
            return Err(Error::Invalid("weight"));
        }
        Ok(Self { sum: value, weight })
    }

    /// Takes half away, to be sent.
    #[must_use]
    pub fn split(&mut self) -> Self {
        self.sum /= 2.0;
        self.weight /= 2.0;
        *self
    }

    /// Takes in what another one sent.
    ///
    /// # Errors
    /// [`Error::Invalid`] as [`Self::new`]; nothing has changed then.
    pub fn receive(&mut self, share: Self) -> Result<()> {
        let share = Self::new(share.sum, share.weight)?;
        self.sum += share.sum;
        self.weight += share.weight;
        Ok(())
    }

    /// The estimate; none while it has no weight.
    #[must_use]
    pub fn estimate(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}
