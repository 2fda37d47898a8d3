//! All extreme Nash equilibria, by support enumeration.
//!
//! A vertex of a player's best-response polytope is a mix with as many tied best responses of the other player as it has
//! strategies in its support. Every pair of vertices that together have each strategy either unplayed or a best response
//! is an equilibrium, and all equilibria are mixtures of such pairs, in degenerate games too (Mangasarian 1964; Avis,
//! Rosenberg, Savani, von Stengel 2010).

use super::bimatrix::{Bimatrix, Profile};
use crate::{Error, Limits, Result};

/// The equilibria of a game.
#[derive(Debug, Clone, PartialEq)]
pub struct Equilibria {
    /// The extreme ones, pure ones first as the enumeration meets them.
    pub profiles: Vec<Profile>,
    /// Whether all supports were looked at.
    pub complete: bool,
    /// Whether some mix has more best responses than strategies: then there may be infinitely many equilibria, mixtures
    /// of the ones that are given.
    pub degenerate: bool,
}

/// A mix, and which strategies of both players it labels: own ones that it does not play, and the other's best responses.
struct Vertex {
    mix: Vec<f64>,
    labels: u64,
    labelled: u32,
}

/// What differs by less is taken for equal.
const TOLERANCE: f64 = 1e-9;
/// Strategies of both players together.
const MAX_TOGETHER: usize = 30;

/// Finds them all. The number of supports grows with 4^strategies: up to 10 by 10 takes about a second. A step is one
/// pair of supports.
///
/// # Errors
/// [`Error::TooLarge`] for more than 30 strategies of both players together.
pub fn equilibria(game: &Bimatrix, limits: &Limits<'_>) -> Result<Equilibria> {
    let (m, n) = (game.rows(), game.cols());
    if m + n > MAX_TOGETHER {
        return Err(Error::TooLarge("strategies"));
    }
    let (row, column) = game.positive();
    // The other player's payoff for its strategy k against the own strategy i.
    let against_row = |i: usize, k: usize| column[i * n + k];
    let against_column = |j: usize, k: usize| row[k * n + j];
    let mut complete = true;
    let rows = vertices(m, n, &against_row, (0, m), &mut complete, limits);
    let columns = vertices(n, m, &against_column, (m, 0), &mut complete, limits);
    let all = (1_u64 << (m + n)) - 1;
    let mut profiles = Vec::new();
    for x in &rows {
        for y in &columns {
            if x.labels | y.labels == all {
                profiles.push(Profile::normal(x.mix.clone(), y.mix.clone()));
            }
        }
    }
    let degenerate =
        rows.iter().any(|x| x.labelled as usize > m) || columns.iter().any(|y| y.labelled as usize > n);
    Ok(Equilibria {
        profiles,
        complete,
        degenerate,
    })
}

/// The vertices of the polytope of a player with `own` strategies: Σ payoff(i, k) · x_i ≤ 1 for all k, without the origin.
/// `shift` says where the labels of the own and of the other's strategies begin.
fn vertices(
    own: usize,
    other: usize,
    payoff: &dyn Fn(usize, usize) -> f64,
    shift: (usize, usize),
    complete: &mut bool,
    limits: &Limits<'_>,
) -> Vec<Vertex> {
    let mut found: Vec<Vertex> = Vec::new();
    for size in 1..=own.min(other) {
        for support in Subsets::new(own, size) {
            for ties in Subsets::new(other, size) {
                if !limits.go_on(1) {
                    *complete = false;
                    return found;
                }
                let Some(vertex) = vertex(own, other, payoff, shift, &support, &ties) else {
                    continue;
                };
                let near = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-7);
                if !found
                    .iter()
                    .any(|old| old.labels == vertex.labels && near(&old.mix, &vertex.mix))
                {
                    found.push(vertex);
                }
            }
        }
    }
    found
}

/// The mix over a support that makes some of the other's strategies tie as best responses, if there is exactly one.
fn vertex(
    own: usize,
    other: usize,
    payoff: &dyn Fn(usize, usize) -> f64,
    shift: (usize, usize),
    support: &[usize],
    ties: &[usize],
) -> Option<Vertex> {
    let size = support.len();
    let mut system = Vec::with_capacity(size * (size + 1));
    for &k in ties {
        system.extend(support.iter().map(|&i| payoff(i, k)));
        system.push(1.0);
    }
    let weights = solve(&mut system, size)?;
    if weights.iter().any(|weight| *weight < TOLERANCE) {
        return None;
    }
    let mut mix = vec![0.0; own];
    for (&i, weight) in support.iter().zip(&weights) {
        mix[i] = *weight;
    }
    let (mut labels, mut labelled) = (0_u64, 0);
    for k in 0..other {
        let value: f64 = support.iter().map(|&i| mix[i] * payoff(i, k)).sum();
        if value > 1.0 + TOLERANCE {
            return None;
        }
        if value > 1.0 - TOLERANCE {
            labels |= 1 << (shift.1 + k);
            labelled += 1;
        }
    }
    for (i, weight) in mix.iter().enumerate() {
        if *weight == 0.0 {
            labels |= 1 << (shift.0 + i);
            labelled += 1;
        }
    }
    Some(Vertex {
        mix,
        labels,
        labelled,
    })
}

/// Gauss's elimination with partial pivoting; none for a singular system. Row by row, the right-hand side last.
fn solve(system: &mut [f64], n: usize) -> Option<Vec<f64>> {
    let width = n + 1;
    for col in 0..n {
        let pivot = (col..n).max_by(|&a, &b| {
            system[a * width + col]
                .abs()
                .total_cmp(&system[b * width + col].abs())
        })?;
        if system[pivot * width + col].abs() < 1e-11 {
            return None;
        }
        for k in 0..width {
            system.swap(pivot * width + k, col * width + k);
        }
        for row in 0..n {
            let factor = system[row * width + col] / system[col * width + col];
            if row != col && factor != 0.0 {
                for k in col..width {
                    system[row * width + k] -= factor * system[col * width + k];
                }
            }
        }
    }
    Some(
        (0..n)
            .map(|row| system[row * width + n] / system[row * width + row])
            .collect(),
    )
}

/// All subsets of a size, as ascending lists.
struct Subsets {
    n: usize,
    next: Option<Vec<usize>>,
}

impl Subsets {
    fn new(n: usize, size: usize) -> Self {
        Self {
            n,
            next: (size <= n).then(|| (0..size).collect()),
        }
    }
}

impl Iterator for Subsets {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let current = self.next.take()?;
        let size = current.len();
        if let Some(at) = (0..size).rev().find(|&at| current[at] < self.n - size + at) {
            let mut following = current.clone();
            following[at] += 1;
            for later in at + 1..size {
                following[later] = following[later - 1] + 1;
            }
            self.next = Some(following);
        }
        Some(current)
    }
}
