//! Correlated equilibria (Aumann 1974), by linear programming.

use super::bimatrix::Bimatrix;
use crate::{Limits, Result, lp};

/// A mediator's plan: nobody gains by not doing as told.
#[derive(Debug, Clone, PartialEq)]
pub struct Correlated {
    /// How likely each pair of strategies is told, row by row.
    pub probabilities: Vec<Vec<f64>>,
    /// What the two can expect.
    pub payoffs: (f64, f64),
}

/// The correlated equilibrium with the largest weighted sum of payoffs; `weights` of 1 and 1 give the sum. A step is a
/// pivot.
///
/// # Errors
/// [`crate::Error::Invalid`] for weights that are below 0, not finite or beyond 1,000; [`crate::Error::TooLarge`] for
/// more than 1,000 pairs of strategies; [`crate::Error::Stopped`].
pub fn correlated(game: &Bimatrix, weights: (f64, f64), limits: &Limits<'_>) -> Result<Correlated> {
    let fits = |weight: f64| (0.0..=1e3).contains(&weight);
    if !fits(weights.0) || !fits(weights.1) {
        return Err(crate::Error::Invalid("weights"));
    }
    let (m, n) = (game.rows(), game.cols());
    if m * n > 1_000 {
        return Err(crate::Error::TooLarge("strategies"));
    }
    let (row, column) = game.positive();
    let mut rows = vec![(vec![1.0; m * n], 1.0)];
    // Told i, playing k instead gains Σ_j p(i, j)·(u(k, j) - u(i, j)), which must not be above 0.
    for (told, instead) in pairs(m) {
        let mut gains = vec![0.0; m * n];
        for j in 0..n {
            gains[told * n + j] = row[instead * n + j] - row[told * n + j];
        }
        rows.push((gains, 0.0));
    }
    for (told, instead) in pairs(n) {
        let mut gains = vec![0.0; m * n];
        for i in 0..m {
            gains[i * n + told] = column[i * n + instead] - column[i * n + told];
        }
        rows.push((gains, 0.0));
    }
    // Every plan is worth more than no plan, so that the probabilities of the best one sum up to 1.
    let worth: Vec<f64> = (0..m * n)
        .map(|at| game.at(at / n, at % n))
        .map(|(a, b)| weights.0 * a + weights.1 * b)
        .collect();
    let least = worth.iter().copied().fold(f64::INFINITY, f64::min);
    let range = worth.iter().copied().fold(f64::NEG_INFINITY, f64::max) - least;
    let range = if range > 0.0 { range } else { 1.0 };
    let goal: Vec<f64> = worth.iter().map(|worth| 1.0 + (worth - least) / range).collect();
    let best = lp::maximise(&rows, &goal, limits)?;
    let parts: Vec<f64> = best.x.iter().map(|p| p.max(0.0)).collect();
    let sum: f64 = parts.iter().sum();
    let probabilities: Vec<Vec<f64>> = parts
        .chunks_exact(n)
        .map(|row| row.iter().map(|p| p / sum).collect())
        .collect();
    let mut payoffs = (0.0, 0.0);
    for (i, row) in probabilities.iter().enumerate() {
        for (j, p) in row.iter().enumerate() {
            let (a, b) = game.at(i, j);
            payoffs = (payoffs.0 + p * a, payoffs.1 + p * b);
        }
    }
    Ok(Correlated {
        probabilities,
        payoffs,
    })
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |a| (0..n).filter(move |b| a != *b).map(move |b| (a, b)))
}
