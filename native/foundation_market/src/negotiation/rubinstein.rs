//! What patience is worth when offers alternate (Rubinstein 1982; with an end: Ståhl 1972).

use crate::{Error, Result};

fn check(first: f64, second: f64) -> Result<()> {
    let fits = |delta: f64| (0.0..1.0).contains(&delta);
    if fits(first) && fits(second) {
        Ok(())
    } else {
        Err(Error::Invalid("discount"))
    }
}

/// The share of the one who offers first, in the one equilibrium without an end: (1 - δ2) / (1 - δ1·δ2). It is accepted
/// at once; the other one has the rest.
///
/// # Errors
/// [`Error::Invalid`] for a discount factor outside [0, 1).
pub fn rubinstein(first: f64, second: f64) -> Result<f64> {
    check(first, second)?;
    Ok((1.0 - second) / (1.0 - first * second))
}

/// The share of the one who offers first when there are so many rounds and nothing for anyone after the last, by backward
/// induction. The one who offers in the last round would have it all. O(rounds).
///
/// # Errors
/// [`Error::Invalid`] for a discount factor outside [0, 1), no rounds or more than a million.
pub fn rubinstein_finite(first: f64, second: f64, rounds: u32) -> Result<f64> {
    check(first, second)?;
    if !(1..=1_000_000).contains(&rounds) {
        return Err(Error::Invalid("rounds"));
    }
    // The share of the one who offers in a round; the other one must get what it would have in the next.
    let mut share = 1.0;
    for round in (1..rounds).rev() {
        let patience = if round % 2 == 1 { second } else { first };
        share = 1.0 - patience * share;
    }
    Ok(share)
}
