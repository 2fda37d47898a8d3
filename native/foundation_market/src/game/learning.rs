//! What players come to play when they play again and again.

use super::bimatrix::{Bimatrix, Profile};
use crate::{Error, Limits, Result};

/// What was come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// The mixes in the end.
    pub profile: Profile,
    /// How much someone would still gain by playing otherwise.
    pub regret: f64,
    /// Rounds that it took.
    pub rounds: u64,
}

fn best(payoffs: &[f64]) -> usize {
    let mut best = 0;
    for (at, payoff) in payoffs.iter().enumerate() {
        if *payoff > payoffs[best] {
            best = at;
        }
    }
    best
}

/// Fictitious play (Brown 1951): each plays the best answer to how often the other has played what, the lowest of equal
/// ones, beginning with the first strategies. The frequencies are the mixes. It ends after `rounds`, or at a round in
/// which no one would gain more than `tolerance`; it need not come to an end by itself (Shapley 1964). O(strategies) a
/// round, which is a step.
///
/// # Errors
/// [`Error::Invalid`] for no rounds or a tolerance below 0.
pub fn fictitious_play(game: &Bimatrix, rounds: u64, tolerance: f64, limits: &Limits<'_>) -> Result<Learned> {
    if rounds == 0 {
        return Err(Error::Invalid("rounds"));
    }
    if tolerance.is_nan() || tolerance < 0.0 {
        return Err(Error::Invalid("tolerance"));
    }
    let (m, n) = (game.rows(), game.cols());
    let (mut row_counts, mut column_counts) = (vec![0.0; m], vec![0.0; n]);
    // What each strategy would have got in all rounds so far.
    let (mut row_sums, mut column_sums) = (vec![0.0; m], vec![0.0; n]);
    let mut played = 0;
    loop {
        let (i, j) = (best(&row_sums), best(&column_sums));
        row_counts[i] += 1.0;
        column_counts[j] += 1.0;
        for (k, sum) in row_sums.iter_mut().enumerate() {
            *sum += game.at(k, j).0;
        }
        for (k, sum) in column_sums.iter_mut().enumerate() {
            *sum += game.at(i, k).1;
        }
        played += 1;
        let last = played == rounds || !limits.go_on(1);
        if last || played % 16 == 0 {
            let profile = Profile::normal(row_counts.clone(), column_counts.clone());
            let regret = game.regret(&profile);
            if last || regret <= tolerance {
                return Ok(Learned {
                    profile,
                    regret,
                    rounds: played,
                });
            }
        }
    }
}

/// The replicator dynamics (Taylor and Jonker 1978) of two populations, by Runge and Kutta's fourth-order steps of
/// `step`: what does better than the average of its population grows. It ends after `rounds`, or when no share moves by
/// more than `tolerance` in a unit of time. A share that is 0 stays 0. O(rows · columns) a round, which is a step of the
/// limits.
///
/// # Errors
/// [`Error::Invalid`] for mixes that do not fit the game, are below 0 or sum up to 0, or a step outside (0, 1].
pub fn replicator(
    game: &Bimatrix,
    start: &Profile,
    step: f64,
    rounds: u64,
    tolerance: f64,
    limits: &Limits<'_>,
) -> Result<Learned> {
    let mix = |mix: &[f64], len: usize| {
        let sum: f64 = mix.iter().sum();
        mix.len() == len && mix.iter().all(|share| *share >= 0.0) && sum > 0.0 && sum.is_finite()
    };
    if !mix(&start.row, game.rows()) || !mix(&start.column, game.cols()) {
        return Err(Error::Invalid("start"));
    }
    if !(step > 0.0 && step <= 1.0) {
        return Err(Error::Invalid("step"));
    }
    let mut at = Profile::normal(start.row.clone(), start.column.clone());
    let mut played = 0;
    while played < rounds && limits.go_on(1) {
        played += 1;
        let k1 = slope(game, &at);
        let k2 = slope(game, &moved(&at, &k1, step / 2.0));
        let k3 = slope(game, &moved(&at, &k2, step / 2.0));
        let k4 = slope(game, &moved(&at, &k3, step));
        let blend = |part: fn(&Profile) -> &Vec<f64>| {
            let sum = |at: usize| part(&k1)[at] + 2.0 * part(&k2)[at] + 2.0 * part(&k3)[at] + part(&k4)[at];
            (0..part(&k1).len()).map(|at| sum(at) / 6.0).collect::<Vec<f64>>()
        };
        let by = Profile {
            row: blend(|p| &p.row),
            column: blend(|p| &p.column),
        };
        at = moved(&at, &by, step);
        at = Profile::normal(at.row, at.column);
        if by
            .row
            .iter()
            .chain(&by.column)
            .all(|change| change.abs() <= tolerance)
        {
            break;
        }
    }
    Ok(Learned {
        regret: game.regret(&at),
        profile: at,
        rounds: played,
    })
}

fn moved(at: &Profile, by: &Profile, step: f64) -> Profile {
    let add = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a + step * b).max(0.0)).collect();
    Profile {
        row: add(&at.row, &by.row),
        column: add(&at.column, &by.column),
    }
}

/// Each share grows with what it gets above the average, in units of the game's range of payoffs.
fn slope(game: &Bimatrix, at: &Profile) -> Profile {
    let grow = |mix: &[f64], payoffs: &[f64]| {
        let mean: f64 = mix
            .iter()
            .zip(payoffs)
            .map(|(share, payoff)| share * payoff)
            .sum();
        mix.iter()
            .zip(payoffs)
            .map(|(share, payoff)| share * (payoff - mean))
            .collect::<Vec<f64>>()
    };
    Profile {
        row: grow(&at.row, &game.row_payoffs(&at.column)),
        column: grow(&at.column, &game.column_payoffs(&at.row)),
    }
}
