//! Amounts: how much of a dimension a limit holds or a call costs, in billionths of the user's unit.
//!
//! Integers and decimals of up to nine fractional digits are held exactly. Nothing here rounds except
//! [`from_float`], which takes the nearest billionth.

/// One unit, in billionths.
pub const UNIT: i128 = 1_000_000_000;
/// The largest amount: 10¹² units.
pub const MAX: i128 = 1_000_000_000_000 * UNIT;

/// A whole number of units; `None` beyond [`MAX`].
pub fn from_integer(units: i64) -> Option<i128> {
    bounded(i128::from(units) * UNIT)
}

/// The billionth nearest to a finite double; `None` for anything else or beyond [`MAX`].
pub fn from_float(value: f64) -> Option<i128> {
    if !value.is_finite() || value.abs() > 1e12 {
        return None;
    }
    bounded(value.trunc() as i128 * UNIT + (value.fract() * 1e9).round() as i128)
}

/// `coefficient × 10^exponent`; `None` when it is not a whole number of billionths or beyond [`MAX`].
pub fn from_scaled(coefficient: i64, exponent: i32) -> Option<i128> {
    let coefficient = i128::from(coefficient);
    if coefficient == 0 {
        return Some(0);
    }
    let shift = exponent.checked_add(9)?;
    if shift >= 0 {
        let factor = 10_i128.checked_pow(u32::try_from(shift).ok()?)?;
        bounded(coefficient.checked_mul(factor)?)
    } else {
        let divisor = 10_i128.checked_pow(shift.unsigned_abs())?;
        (coefficient % divisor == 0).then_some(coefficient / divisor)
    }
}

/// A decimal such as `"0.015"`, `"-3"` or `"12e-4"`; `None` when malformed, finer than a billionth or too large.
pub fn from_decimal(text: &str) -> Option<i128> {
    if text.len() > 64 {
        return None;
    }
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.as_bytes().first()? {
        b'-' => (true, &mantissa[1..]),
        b'+' => (false, &mantissa[1..]),
        _ => (false, mantissa),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    if whole.is_empty() || digits.ends_with('.') {
        return None;
    }
    let mut coefficient = 0_i64;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = byte.is_ascii_digit().then(|| i64::from(byte - b'0'))?;
        coefficient = coefficient.checked_mul(10)?.checked_add(digit)?;
    }
    let places = i32::try_from(fraction.len()).ok()?;
    let value = from_scaled(coefficient, exponent.checked_sub(places)?)?;
    Some(if negative { -value } else { value })
}

fn bounded(amount: i128) -> Option<i128> {
    (amount.abs() <= MAX).then_some(amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        assert_eq!(from_decimal("0.015"), Some(15_000_000));
        assert_eq!(from_decimal("10.00"), Some(10 * UNIT));
        assert_eq!(from_decimal("-1.5"), Some(-1_500_000_000));
        assert_eq!(from_decimal("12e-4"), Some(1_200_000));
        assert_eq!(from_decimal("0.000000001"), Some(1));
        assert_eq!(from_decimal("0.0000000010"), Some(1));
        assert_eq!(from_decimal("0.0000000001"), None);
        for bad in [
            "",
            "-",
            "1.",
            ".5",
            "1e",
            "abc",
            "1,5",
            "--1",
            "é",
            "1e99999999999",
            "99999999999999",
        ] {
            assert_eq!(from_decimal(bad), None, "{bad}");
        }
    }

    #[test]
    fn floats_take_the_nearest_billionth() {
        assert_eq!(from_float(0.1), Some(100_000_000));
        assert_eq!(from_float(0.1 + 0.2), Some(300_000_000));
        assert_eq!(from_float(f64::NAN), None);
        assert_eq!(from_float(1e13), None);
    }
}
