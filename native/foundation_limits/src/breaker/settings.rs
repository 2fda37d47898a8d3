//! What a breaker is told when it is made.

use thiserror::Error;

/// Why settings are refused; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// A rate is not above 0 and at most 1.
    #[error("a rate must be above 0 and at most 1")]
    Rate,
    /// The ramp's first share is not above 0 and at most 1.
    #[error("the first share of the ramp must be above 0 and at most 1")]
    RampStart,
    /// No probe would ever be let through.
    #[error("probes must be at least 1")]
    Probes,
    /// Neither a count nor a rate can open the breaker.
    #[error("a tolerance, a failure rate or a slow rate is needed")]
    NoThreshold,
}

/// When a breaker opens, for how long, and how it comes back. Times in nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// This many failures within `window` are tolerated; one more opens the breaker.
    pub tolerance: Option<u32>,
    /// The share of failures in `window` that opens it, above 0 and at most 1.
    pub failure_rate: Option<f64>,
    /// The share of slow calls in `window` that opens it.
    pub slow_rate: Option<f64>,
    /// A call that takes at least this long is slow.
    pub slow_after: u64,
    /// Rates are looked at from this many calls in the window on.
    pub minimum_calls: u32,
    /// How far back failures and rates are looked at.
    pub window: u64,
    /// How long it stays open before it lets probes through.
    pub open_for: u64,
    /// So many probes are let through half-open; when all succeed the breaker closes.
    pub probes: u32,
    /// A probe that has not reported after this long gives its slot back.
    pub probe_timeout: u64,
    /// How long the admitted share takes to grow to 1 after the probes; 0 closes at once.
    pub ramp: u64,
    /// The admitted share at the start of the ramp.
    pub ramp_start: f64,
}

const MS: u64 = 1_000_000;

impl Default for Settings {
    fn default() -> Self {
        Self {
            tolerance: Some(5),
            failure_rate: None,
            slow_rate: None,
            slow_after: u64::MAX,
            minimum_calls: 10,
            window: 60_000 * MS,
            open_for: 60_000 * MS,
            probes: 1,
            probe_timeout: 60_000 * MS,
            ramp: 0,
            ramp_start: 0.1,
        }
    }
}

impl Settings {
    /// Checks what the types do not.
    pub fn check(self) -> Result<Self, SettingsError> {
        let rate_ok = |r: Option<f64>| r.is_none_or(|r| r > 0.0 && r <= 1.0);
        if !rate_ok(self.failure_rate) || !rate_ok(self.slow_rate) {
            return Err(SettingsError::Rate);
        }
        if !rate_ok(Some(self.ramp_start)) {
            return Err(SettingsError::RampStart);
        }
        if self.probes == 0 {
            return Err(SettingsError::Probes);
        }
        if self.tolerance.is_none() && self.failure_rate.is_none() && self.slow_rate.is_none() {
            return Err(SettingsError::NoThreshold);
        }
        Ok(self)
    }

    /// Whether a success changes anything in a closed breaker.
    pub(crate) fn counts_calls(&self) -> bool {
        self.failure_rate.is_some() || self.slow_rate.is_some()
    }
}
