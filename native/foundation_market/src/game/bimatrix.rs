//! Games of two players in normal form.

use crate::{Error, Result};

/// What each player gets for each pair of strategies, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Bimatrix {
    rows: usize,
    cols: usize,
    row: Vec<f64>,
    column: Vec<f64>,
}

/// How often each player plays each strategy.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The row player's mix.
    pub row: Vec<f64>,
    /// The column player's mix.
    pub column: Vec<f64>,
}

/// Strategies of one player.
pub(super) const MAX_STRATEGIES: usize = 200;

impl Bimatrix {
    /// A game of `rows` by `cols` strategies with the payoffs of the row and the column player.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no strategies, another number of payoffs, or payoffs that are not finite or beyond 10^12;
    /// [`Error::TooLarge`] for more than 200 strategies.
    pub fn new(rows: usize, cols: usize, row: Vec<f64>, column: Vec<f64>) -> Result<Self> {
        if rows > MAX_STRATEGIES || cols > MAX_STRATEGIES {
            return Err(Error::TooLarge("strategies"));
        }
        let size = rows * cols;
        let finite = |list: &[f64]| list.iter().all(|payoff| payoff.abs() <= 1e12);
        if size == 0 || row.len() != size || column.len() != size || !finite(&row) || !finite(&column) {
            return Err(Error::Invalid("payoffs"));
        }
        Ok(Self {
            rows,
            cols,
            row,
            column,
        })
    }

    /// The row player's strategies.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The column player's strategies.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// What the two get for a pair of strategies.
    pub(super) fn at(&self, row: usize, col: usize) -> (f64, f64) {
        let at = row * self.cols + col;
        (self.row[at], self.column[at])
    }

    /// What the row player gets for each strategy against a mix.
    pub(super) fn row_payoffs(&self, column: &[f64]) -> Vec<f64> {
        (0..self.rows)
            .map(|row| (0..self.cols).map(|col| self.at(row, col).0 * column[col]).sum())
            .collect()
    }

    /// What the column player gets for each strategy against a mix.
    pub(super) fn column_payoffs(&self, row: &[f64]) -> Vec<f64> {
        (0..self.cols)
            .map(|col| (0..self.rows).map(|at| self.at(at, col).1 * row[at]).sum())
            .collect()
    }

    /// What each player can expect.
    #[must_use]
    pub fn payoffs(&self, profile: &Profile) -> (f64, f64) {
        let dot = |mix: &[f64], payoffs: Vec<f64>| mix.iter().zip(payoffs).map(|(p, u)| p * u).sum();
        (
            dot(&profile.row, self.row_payoffs(&profile.column)),
            dot(&profile.column, self.column_payoffs(&profile.row)),
        )
    }

    /// How much the one who gains more would gain by playing otherwise: 0 at an equilibrium, above it elsewhere.
    #[must_use]
    pub fn regret(&self, profile: &Profile) -> f64 {
        let best = |payoffs: Vec<f64>| payoffs.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let (row, column) = self.payoffs(profile);
        let rows = best(self.row_payoffs(&profile.column)) - row;
        let columns = best(self.column_payoffs(&profile.row)) - column;
        rows.max(columns).max(0.0)
    }

    /// The payoffs of both, each brought to [1, 2]: strategically the same game.
    pub(super) fn positive(&self) -> (Vec<f64>, Vec<f64>) {
        let bring = |list: &[f64]| {
            let least = list.iter().copied().fold(f64::INFINITY, f64::min);
            let range = list.iter().copied().fold(f64::NEG_INFINITY, f64::max) - least;
            let range = if range > 0.0 { range } else { 1.0 };
            list.iter()
                .map(|payoff| 1.0 + (payoff - least) / range)
                .collect::<Vec<f64>>()
        };
        (bring(&self.row), bring(&self.column))
    }
}

impl Profile {
    /// Weights that are not below 0 become parts of 1.
    pub(super) fn normal(row: Vec<f64>, column: Vec<f64>) -> Self {
        let part = |mix: Vec<f64>| {
            let mix: Vec<f64> = mix.into_iter().map(|weight| weight.max(0.0)).collect();
            let sum: f64 = mix.iter().sum();
            mix.iter().map(|weight| weight / sum).collect()
        };
        Self {
            row: part(row),
            column: part(column),
        }
    }
}
