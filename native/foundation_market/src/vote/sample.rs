//! Decisions from a sample, with a stated confidence (Hoeffding 1963; without replacement: Serfling 1974).

use crate::{Error, Result, Rng};
use serde::{Deserialize, Serialize};

/// A share of a population, from a sample of it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The sample's share.
    pub share: f64,
    /// The population's share lies within this, with the confidence asked for.
    pub low: f64,
    /// See `low`.
    pub high: f64,
    /// What follows for the threshold.
    pub verdict: Verdict,
}

/// Whether a population passes a threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It does, with the confidence asked for.
    Passes,
    /// It does not, with the confidence asked for.
    Fails,
    /// The sample does not tell.
    Open,
}

fn check(delta: f64) -> Result<()> {
    if delta > 0.0 && delta < 1.0 {
        Ok(())
    } else {
        Err(Error::Invalid("delta"))
    }
}

/// By how much the share of `n` drawn from `population` without replacement may be off, except with probability `delta`.
fn half_width(n: u64, population: u64, delta: f64) -> f64 {
    if n == 0 {
        return 1.0;
    }
    if n >= population {
        return 0.0;
    }
    let left = 1.0 - (n - 1) as f64 / population as f64;
    ((2.0 / delta).ln() * left / (2.0 * n as f64)).sqrt()
}

/// How many of `population` must be asked, drawn without replacement, so that their share is within `epsilon` of the
/// population's except with probability `delta`. O(log population).
///
/// # Errors
/// [`Error::Invalid`] for an epsilon or a delta outside (0, 1).
pub fn sample_size(population: u64, epsilon: f64, delta: f64) -> Result<u64> {
    check(delta)?;
    if !(epsilon > 0.0 && epsilon < 1.0) {
        return Err(Error::Invalid("epsilon"));
    }
    let (mut low, mut high) = (0, population);
    while low < high {
        let middle = low + (high - low) / 2;
        if half_width(middle, population, delta) <= epsilon {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

/// Whom to ask: `count` different ones of `0..population`, every set as likely as any other, ascending. O(count · log).
#[must_use]
pub fn choose(population: u64, count: u64, seed: u64) -> Vec<u64> {
    // Floyd's algorithm.
    let mut rng = Rng::new(seed);
    let mut chosen = std::collections::BTreeSet::new();
    let count = count.min(population);
    for top in population - count..population {
        let pick = rng.below(top + 1);
        if !chosen.insert(pick) {
            chosen.insert(top);
        }
    }
    chosen.into_iter().collect()
}

/// What `yes` of `asked` say about the whole population and a threshold: whether its share of yes is above it, and how
/// sure that is. The size of the sample must not have depended on the answers.
///
/// # Errors
/// [`Error::Invalid`] for counts that do not fit, a threshold outside [0, 1], or a delta outside (0, 1).
pub fn decide(yes: u64, asked: u64, population: u64, threshold: f64, delta: f64) -> Result<Estimate> {
    check(delta)?;
    if yes > asked || asked > population {
        return Err(Error::Invalid("asked"));
    }
    if !(0.0..=1.0).contains(&threshold) {
        return Err(Error::Invalid("threshold"));
    }
    let share = if asked == 0 {
        0.5
    } else {
        yes as f64 / asked as f64
    };
    let width = half_width(asked, population, delta);
    // Those who said yes or no are counted for certain.
    let sure = |n: u64| {
        if population == 0 {
            0.0
        } else {
            n as f64 / population as f64
        }
    };
    let low = (share - width).max(sure(yes));
    let high = (share + width).min(1.0 - sure(asked - yes));
    let verdict = if low > threshold {
        Verdict::Passes
    } else if high <= threshold {
        Verdict::Fails
    } else {
        Verdict::Open
    };
    Ok(Estimate {
        share,
        low,
        high,
        verdict,
    })
}
