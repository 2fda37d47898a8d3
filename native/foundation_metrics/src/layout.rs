//! Where a value is counted: the bucket layout of HdrHistogram.
//!
//! Values are whole numbers of the *resolution* (the smallest difference that counts). Below `2 · 10^digits` each has
//! a bucket of its own; above, each doubling of the value has the same number of buckets, so the width of a bucket is
//! never more than `value / 10^digits`.

use crate::Error;

/// Largest value a bucket exists for, in units of the resolution.
pub const HIGHEST: u64 = i64::MAX as u64;

/// A number as it comes from the caller.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// An integer.
    Int(i64),
    /// A finite float.
    Float(f64),
}

impl Number {
    /// The nearest double.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        match self {
            Number::Int(n) => n as f64,
            Number::Float(x) => x,
        }
    }
}

/// A value in units of the resolution, and whether it had to be moved into the range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaled {
    /// The value that is counted.
    pub units: u64,
    /// Whether that is not the value that came.
    pub clamped: bool,
}

/// Which bucket a value falls into; the same for all layouts of as many digits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buckets {
    half_bits: u8,
}

impl Buckets {
    /// The bucket of a value.
    #[inline]
    pub(crate) fn index(self, units: u64) -> usize {
        let bits = u32::from(self.half_bits);
        let mask = (2_u64 << bits) - 1;
        let doubling = 63 - (units | mask).leading_zeros() - bits;
        ((doubling as usize) << bits) + (units >> doubling) as usize
    }
}

/// A bucket layout: significant digits, resolution, range.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    resolution: f64,
    highest: u64,
    digits: u8,
    half_bits: u8,
}

impl Layout {
    /// A layout of 2 to 4 significant digits (1 to 5 when it comes from elsewhere) that counts in steps of
    /// `resolution` up to `highest`, both in the user's unit.
    ///
    /// # Errors
    /// When a number is out of these bounds.
    pub fn new(digits: u8, resolution: f64, highest: Option<f64>) -> Result<Self, Error> {
        let units = match highest {
            None => HIGHEST,
            Some(highest) => {
                let units = (highest / resolution).ceil();
                if units.is_nan() || units < 2.0 {
                    return Err(Error::Range);
                }
                if units >= HIGHEST as f64 {
                    HIGHEST
                } else {
                    units as u64
                }
            }
        };
        Self::of_units(digits, resolution, units)
    }

    /// A layout whose range is given in units of the resolution.
    ///
    /// # Errors
    /// As [`Layout::new`].
    pub fn of_units(digits: u8, resolution: f64, highest: u64) -> Result<Self, Error> {
        if !(1..=5).contains(&digits) {
            return Err(Error::Digits);
        }
        if !(resolution.is_finite() && (1e-18..=1e18).contains(&resolution)) {
            return Err(Error::Resolution);
        }
        if !(2..=HIGHEST).contains(&highest) {
            return Err(Error::Range);
        }
        let singles = 2 * 10_u64.pow(digits.into());
        Ok(Self {
            resolution,
            highest,
            digits,
            half_bits: (singles.next_power_of_two().trailing_zeros() - 1) as u8,
        })
    }

    /// The significant digits kept.
    #[must_use]
    pub fn digits(&self) -> u8 {
        self.digits
    }

    /// The smallest difference that counts, in the user's unit.
    #[must_use]
    pub fn resolution(&self) -> f64 {
        self.resolution
    }

    /// The largest value that is not clamped, in units of the resolution.
    #[must_use]
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// How many buckets the range takes.
    #[must_use]
    pub fn buckets(&self) -> usize {
        self.index(self.highest) + 1
    }

    /// The value in units of the resolution; O(1).
    #[must_use]
    #[inline]
    pub fn scale(&self, number: Number) -> Scaled {
        match number {
            Number::Int(n) if self.resolution == 1.0 => match u64::try_from(n) {
                Ok(units) => self.clamp(units),
                Err(_) => Scaled {
                    units: 0,
                    clamped: true,
                },
            },
            number => self.scale_float(number.to_f64()),
        }
    }

    fn scale_float(&self, x: f64) -> Scaled {
        let units = (x / self.resolution).round();
        if units >= 0.0 && units < HIGHEST as f64 {
            self.clamp(units as u64)
        } else {
            Scaled {
                units: if units > 0.0 { self.highest } else { 0 },
                clamped: true,
            }
        }
    }

    #[inline]
    fn clamp(&self, units: u64) -> Scaled {
        Scaled {
            units: units.min(self.highest),
            clamped: units > self.highest,
        }
    }

    /// The value in the user's unit.
    #[must_use]
    pub fn unscale(&self, units: f64) -> f64 {
        units * self.resolution
    }

    /// What decides on the bucket of a value.
    #[inline]
    pub(crate) fn buckets_of(&self) -> Buckets {
        Buckets {
            half_bits: self.half_bits,
        }
    }

    /// Whole numbers below this are counted as they are; 0 when none is.
    pub(crate) fn whole_below(&self) -> u64 {
        if self.resolution == 1.0 {
            self.highest + 1
        } else {
            0
        }
    }

    /// The bucket of a value.
    #[must_use]
    #[inline]
    pub fn index(&self, units: u64) -> usize {
        self.buckets_of().index(units)
    }

    /// The least value of a bucket.
    #[must_use]
    pub fn lowest_of(&self, index: usize) -> u64 {
        let (base, doubling) = self.place(index);
        base << doubling
    }

    /// The largest value of a bucket.
    #[must_use]
    pub fn highest_of(&self, index: usize) -> u64 {
        let (base, doubling) = self.place(index);
        (base << doubling) + ((1 << doubling) - 1)
    }

    /// The value in the middle of a bucket.
    #[must_use]
    pub fn middle_of(&self, index: usize) -> u64 {
        let (base, doubling) = self.place(index);
        (base << doubling) + ((1_u64 << doubling) >> 1)
    }

    fn place(&self, index: usize) -> (u64, u32) {
        let bits = u32::from(self.half_bits);
        let half = 1_usize << bits;
        let doubling = (index >> bits).saturating_sub(1);
        ((index - doubling * half) as u64, doubling as u32)
    }

    /// Whether both put every value into the same bucket.
    #[must_use]
    pub fn same_buckets(&self, other: &Layout) -> bool {
        self.digits == other.digits && self.resolution == other.resolution
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_values_have_their_own_bucket() {
        let layout = Layout::new(3, 1.0, None).unwrap();
        for v in 0..2048 {
            assert_eq!(layout.index(v), v as usize);
            assert_eq!(layout.highest_of(v as usize), v);
        }
        assert_eq!(layout.index(2048), layout.index(2049));
    }

    proptest! {
            #[test]
            fn a_value_lies_in_its_bucket(v in 0..=HIGHEST, digits in 1_u8..=5) {
                let layout = Layout::new(digits, 1.0, None).unwrap();
                let index = layout.index(v);
                let (low, high) = (layout.lowest_of(index), layout.highest_of(index));
                prop_assert!(low <= v && v <= high);
                prop_assert!((high - low) as f64 <= low as f64 / 10_f64.powi(digits.into()));
                prop_assert!(index < layout.buckets());
                prop_assert!((low..=high).contains(&layout.middle_of(index)));
            }

            #[test]
            fn buckets_are_in_order(a in 0..=HIGHEST, b in 0..=HIGHEST) {
                let layout = Layout::new(2, 1.0, None).unwrap();
    prop_assert_eq!(layout.index(a.min(b)), layout.index(a).min(layout.index(b)));
            }

            #[test]
            fn any_number_is_counted_in_range(x in proptest::num::f64::ANY, n in any::<i64>()) {
                let layout = Layout::new(3, 0.001, Some(1.0e6)).unwrap();
                for number in [Number::Float(x), Number::Int(n)] {
                    let scaled = layout.scale(number);
                    prop_assert!(scaled.units <= layout.highest());
                    if !scaled.clamped {
                        prop_assert!((layout.unscale(scaled.units as f64) - number.to_f64()).abs() <= 0.000_51);
                    }
                }
            }
        }
}
