//! Amounts: an integer number of millionths.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// An amount, exact to a millionth, between ± 9,223,372,036,854.775807. Every operation is checked; none rounds unless
/// its name says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// One whole unit.
    pub const ONE: Self = Self(Self::SCALE);
    /// The largest amount.
    pub const MAX: Self = Self(i64::MAX);
    /// How many of the smallest amounts make a unit.
    pub const SCALE: i64 = 1_000_000;

    /// So many millionths.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// So many whole units.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn from_units(units: i64) -> Result<Self> {
        units.checked_mul(Self::SCALE).map(Self).ok_or(Error::Overflow)
    }

    /// The amount in millionths.
    #[must_use]
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// From a wider number of millionths.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn from_wide(micros: i128) -> Result<Self> {
        i64::try_from(micros).map(Self).map_err(|_| Error::Overflow)
    }

    /// The sum.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn plus(self, other: Self) -> Result<Self> {
        self.0.checked_add(other.0).map(Self).ok_or(Error::Overflow)
    }

    /// The difference.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn minus(self, other: Self) -> Result<Self> {
        self.0.checked_sub(other.0).map(Self).ok_or(Error::Overflow)
    }

    /// The amount so many times.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn times(self, count: i64) -> Result<Self> {
        self.0.checked_mul(count).map(Self).ok_or(Error::Overflow)
    }

    /// Halfway between two amounts, rounded down to a millionth.
    #[must_use]
    pub fn midpoint(self, other: Self) -> Self {
        let sum = i128::from(self.0) + i128::from(other.0);
        // The mean of two values of 64 bits is one.
        Self(sum.div_euclid(2) as i64)
    }

    /// `self · numerator / denominator`, rounded half to even.
    ///
    /// # Errors
    /// [`Error::Overflow`]; [`Error::Invalid`] for a denominator that is not above 0.
    pub fn share(self, numerator: i64, denominator: i64) -> Result<Self> {
        if denominator <= 0 {
            return Err(Error::Invalid("denominator"));
        }
        let product = i128::from(self.0) * i128::from(numerator);
        let by = i128::from(denominator);
        let (floor, rest) = (product.div_euclid(by), product.rem_euclid(by));
        let up = match (2 * rest).cmp(&by) {
            std::cmp::Ordering::Less => 0,
            std::cmp::Ordering::Greater => 1,
            std::cmp::Ordering::Equal => floor & 1,
        };
        Self::from_wide(floor + up)
    }

    /// The sum of many.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self> {
        let total = amounts.into_iter().map(|amount| i128::from(amount.0)).sum();
        Self::from_wide(total)
    }

    /// The nearest double, in units; for estimates and solvers, never for a payment.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / Self::SCALE as f64
    }

    /// The smallest amount that is not below `units`; what a float says that someone owes is rounded up.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not finite, [`Error::Overflow`].
    pub fn ceil(units: f64) -> Result<Self> {
        Self::from_float((units * Self::SCALE as f64).ceil())
    }

    /// The largest amount that is not above `units`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is not finite, [`Error::Overflow`].
    pub fn floor(units: f64) -> Result<Self> {
        Self::from_float((units * Self::SCALE as f64).floor())
    }

    fn from_float(micros: f64) -> Result<Self> {
        if !micros.is_finite() {
            return Err(Error::Invalid("amount"));
        }
        if micros.abs() >= i64::MAX as f64 {
            return Err(Error::Overflow);
        }
        Ok(Self(micros as i64))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (whole, part) = (magnitude / 1_000_000, magnitude % 1_000_000);
        let sign = if self.0 < 0 { "-" } else { "" };
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{part:06}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl FromStr for Money {
    type Err = Error;

    /// Reads `-12.345678`: an optional sign, digits, and at most six more after a point. More digits are an error, not
    /// rounded.
    fn from_str(text: &str) -> Result<Self> {
        const BAD: Error = Error::Invalid("amount");
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !plain(whole) || !plain(part) || part.len() > 6 {
            return Err(BAD);
        }
        let whole: i128 = whole.parse().map_err(|_| Error::Overflow)?;
        let part: i128 = format!("{part:0<6}").parse().map_err(|_| BAD)?;
        let micros = whole
            .checked_mul(1_000_000)
            .and_then(|micros| micros.checked_add(part))
            .ok_or(Error::Overflow)?;
        Self::from_wide(if negative { -micros } else { micros })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_is_exact() {
        assert_eq!("12.50".parse(), Ok(Money(12_500_000)));
        assert_eq!("-0.000001".parse(), Ok(Money(-1)));
        assert_eq!("9223372036854.775807".parse(), Ok(Money::MAX));
        assert_eq!("9223372036854.775808".parse::<Money>(), Err(Error::Overflow));
        for bad in ["", "-", ".5", "1.", "1.0000001", "1e3", "NaN", "+1", "1 "] {
            assert_eq!(bad.parse::<Money>(), Err(Error::Invalid("amount")), "{bad}");
        }
        assert_eq!(Money(i64::MIN).to_string(), "-9223372036854.775808");
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        assert_eq!(Money(5).share(1, 2), Ok(Money(2)));
        assert_eq!(Money(7).share(1, 2), Ok(Money(4)));
        assert_eq!(Money(-5).share(1, 2), Ok(Money(-2)));
        assert_eq!(Money(10).share(1, 3), Ok(Money(3)));
        assert_eq!(Money(1).share(1, 0), Err(Error::Invalid("denominator")));
    }

    #[test]
    fn floats_are_fenced() {
        assert_eq!(Money::ceil(1.000_000_1), Ok(Money(1_000_001)));
        assert_eq!(Money::floor(-0.000_000_1), Ok(Money(-1)));
        assert_eq!(Money::ceil(f64::NAN), Err(Error::Invalid("amount")));
        assert_eq!(Money::ceil(1e300), Err(Error::Overflow));
    }

    proptest! {
        #[test]
        fn text_round_trips(micros: i64) {
            prop_assert_eq!(Money(micros).to_string().parse(), Ok(Money(micros)));
        }

        #[test]
        fn the_midpoint_lies_between(a: i64, b: i64) {
            let mid = Money(a).midpoint(Money(b)).0;
            prop_assert!(mid >= a.min(b) && mid <= a.max(b));
        }
    }
}
