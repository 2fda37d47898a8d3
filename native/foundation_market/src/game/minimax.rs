//! The value of a zero-sum game (von Neumann 1928), by linear programming (Dantzig 1951).

use crate::{Error, Limits, Result, lp};

/// The value of a game and how to get it.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// What the row player can be sure of, and the column player need not pay more than.
    pub value: f64,
    /// The row player's mix.
    pub row: Vec<f64>,
    /// The column player's mix.
    pub column: Vec<f64>,
}

/// The value of the game in which the column player pays the row player `payoffs`, row by row. A step is a pivot.
///
/// # Errors
/// [`Error::Invalid`] for no rows or columns, another number of payoffs, or payoffs that are not finite or beyond 10^12;
/// [`Error::Stopped`].
pub fn minimax(rows: usize, cols: usize, payoffs: &[f64], limits: &Limits<'_>) -> Result<Value> {
    let finite = payoffs.iter().all(|payoff| payoff.abs() <= 1e12);
    if rows == 0 || cols == 0 || rows.checked_mul(cols) != Some(payoffs.len()) || !finite {
        return Err(Error::Invalid("payoffs"));
    }
    // Payoffs within [1, 2]; then max Σ y with P·y ≤ 1 is 1 / value, and its duals are the row player's mix.
    let least = payoffs.iter().copied().fold(f64::INFINITY, f64::min);
    let most = payoffs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let range = if most > least { most - least } else { 1.0 };
    let table: Vec<(Vec<f64>, f64)> = payoffs
        .chunks_exact(cols)
        .map(|row| {
            (
                row.iter().map(|payoff| 1.0 + (payoff - least) / range).collect(),
                1.0,
            )
        })
        .collect();
    let best = lp::maximise(&table, &vec![1.0; cols], limits)?;
    let part = |mix: Vec<f64>| {
        let mix: Vec<f64> = mix.into_iter().map(|weight| weight.max(0.0)).collect();
        let sum: f64 = mix.iter().sum();
        mix.into_iter().map(|weight| weight / sum).collect::<Vec<f64>>()
    };
    Ok(Value {
        value: (1.0 / best.value - 1.0) * range + least,
        row: part(best.duals),
        column: part(best.x),
    })
}
