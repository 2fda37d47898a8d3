//! Spaces to search in.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What one value of a suggestion may be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Dimension {
    /// A number.
    Real {
        /// The least.
        low: f64,
        /// The most.
        high: f64,
        /// Whether its logarithm is searched.
        log: bool,
    },
    /// An integer.
    Integer {
        /// The least.
        low: i64,
        /// The most.
        high: i64,
    },
    /// One of so many things that have no order.
    Choice(u32),
}

/// Dimensions of one space.
pub(super) const MAX_DIMENSIONS: usize = 100;
/// Integers beyond this are not exact as doubles.
const MAX_INTEGER: i64 = 1 << 53;

impl Dimension {
    pub(super) fn check(&self) -> Result<()> {
        let fits = match *self {
            Self::Real { low, high, log } => {
                low.is_finite()
                    && high.is_finite()
                    && low < high
                    && (high - low).is_finite()
                    && (!log || low > 0.0)
            }
            Self::Integer { low, high } => low < high && low >= -MAX_INTEGER && high <= MAX_INTEGER,
            Self::Choice(count) => (2..=10_000).contains(&count),
        };
        if fits {
            Ok(())
        } else {
            Err(Error::Invalid("space"))
        }
    }

    /// A value from a place in [0, 1]; not for choices.
    pub(super) fn value(&self, unit: f64) -> f64 {
        let unit = unit.clamp(0.0, 1.0);
        match *self {
            Self::Real {
                low,
                high,
                log: false,
            } => (low + unit * (high - low)).clamp(low, high),
            Self::Real { low, high, log: true } => {
                (low.ln() + unit * (high.ln() - low.ln())).exp().clamp(low, high)
            }
            Self::Integer { low, high } => {
                // Each integer has an equal part of the interval.
                let count = (high - low) as f64 + 1.0;
                (low as f64 + (unit * count).floor()).min(high as f64)
            }
            Self::Choice(count) => (unit * f64::from(count)).floor().min(f64::from(count - 1)),
        }
    }

    /// The place of a value in [0, 1].
    pub(super) fn unit(&self, value: f64) -> f64 {
        match *self {
            Self::Real {
                low,
                high,
                log: false,
            } => (value - low) / (high - low),
            Self::Real { low, high, log: true } => (value.ln() - low.ln()) / (high.ln() - low.ln()),
            Self::Integer { low, high } => (value - low as f64 + 0.5) / ((high - low) as f64 + 1.0),
            Self::Choice(count) => (value + 0.5) / f64::from(count),
        }
    }

    pub(super) fn has(&self, value: f64) -> bool {
        match *self {
            Self::Real { low, high, .. } => (low..=high).contains(&value),
            Self::Integer { low, high } => {
                value.fract() == 0.0 && (low as f64..=high as f64).contains(&value)
            }
            Self::Choice(count) => value.fract() == 0.0 && value >= 0.0 && value < f64::from(count),
        }
    }
}

/// Checks a space: 1 to 100 dimensions, each with more than one value.
pub(super) fn check(space: &[Dimension]) -> Result<()> {
    if space.is_empty() || space.len() > MAX_DIMENSIONS {
        return Err(Error::Invalid("space"));
    }
    space.iter().try_for_each(Dimension::check)
}

pub(super) fn has(space: &[Dimension], values: &[f64]) -> bool {
    space.len() == values.len()
        && space
            .iter()
            .zip(values)
            .all(|(dimension, value)| dimension.has(*value))
}
