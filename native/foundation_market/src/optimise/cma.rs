//! CMA-ES, an evolution strategy that learns the shape of the hill (Hansen and Ostermeier 2001; names and constants as
//! in Hansen's tutorial, 2016).

use super::eigen;
use super::space::{self, Dimension};
use crate::{Error, Result, Rng};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A search by generations: suggestions are drawn around a mean, and the better half moves it and bends the
/// distribution. It works in the unit cube of the space; a draw outside is drawn again, then cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CmaEs {
    space: Vec<Dimension>,
    mean: Vec<f64>,
    sigma: f64,
    covariance: Vec<f64>,
    /// Root eigenvalues and eigenvectors of the covariance.
    scales: Vec<f64>,
    axes: Vec<f64>,
    path_sigma: Vec<f64>,
    path_c: Vec<f64>,
    generation: u64,
    /// Of this generation: drawn, by their numbers, and scored.
    drawn: BTreeMap<u64, Vec<f64>>,
    scored: Vec<(Vec<f64>, f64)>,
}

/// What follows from the number of dimensions.
struct Constants {
    population: usize,
    weights: Vec<f64>,
    mu_eff: f64,
    c_sigma: f64,
    d_sigma: f64,
    c_c: f64,
    c_1: f64,
    c_mu: f64,
    chi: f64,
}

impl Constants {
    fn new(n: usize) -> Self {
        let dim = n as f64;
        let population = 4 + (3.0 * dim.ln()).floor() as usize;
        let parents = population / 2;
        let raw: Vec<f64> = (1..=parents)
            .map(|rank| ((population as f64 + 1.0) / 2.0).ln() - (rank as f64).ln())
            .collect();
        let sum: f64 = raw.iter().sum();
        let weights: Vec<f64> = raw.iter().map(|weight| weight / sum).collect();
        let mu_eff = 1.0 / weights.iter().map(|weight| weight * weight).sum::<f64>();
        let c_sigma = (mu_eff + 2.0) / (dim + mu_eff + 5.0);
        let c_1 = 2.0 / ((dim + 1.3).powi(2) + mu_eff);
        let c_mu = (2.0 * (mu_eff - 2.0 + 1.0 / mu_eff) / ((dim + 2.0).powi(2) + mu_eff)).min(1.0 - c_1);
        Self {
            population,
            weights,
            mu_eff,
            c_sigma,
            d_sigma: 1.0 + 2.0 * (((mu_eff - 1.0) / (dim + 1.0)).sqrt() - 1.0).max(0.0) + c_sigma,
            c_c: (4.0 + mu_eff / dim) / (dim + 4.0 + 2.0 * mu_eff / dim),
            c_1,
            c_mu,
            chi: dim.sqrt() * (1.0 - 1.0 / (4.0 * dim) + 1.0 / (21.0 * dim * dim)),
        }
    }
}

fn identity(n: usize) -> Vec<f64> {
    (0..n * n)
        .map(|at| if at / n == at % n { 1.0 } else { 0.0 })
        .collect()
}

impl CmaEs {
    /// A search that begins in the middle of the space.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a space of no or more than 100 dimensions, with a choice, or with a dimension without two
    /// values.
    pub fn new(space: Vec<Dimension>) -> Result<Self> {
        space::check(&space)?;
        if space
            .iter()
            .any(|dimension| matches!(dimension, Dimension::Choice(_)))
        {
            return Err(Error::Invalid("space"));
        }
        let n = space.len();
        Ok(Self {
            space,
            mean: vec![0.5; n],
            sigma: 0.3,
            covariance: identity(n),
            scales: vec![1.0; n],
            axes: identity(n),
            path_sigma: vec![0.0; n],
            path_c: vec![0.0; n],
            generation: 0,
            drawn: BTreeMap::new(),
            scored: Vec::new(),
        })
    }

    /// What to try, under a number of the caller's. O(dimensions²).
    pub fn suggest(&mut self, id: u64, rng: &mut Rng) -> Vec<f64> {
        let mut place = self.draw(rng);
        for _ in 0..20 {
            if place.iter().all(|unit| (0.0..=1.0).contains(unit)) {
                break;
            }
            place = self.draw(rng);
        }
        place.iter_mut().for_each(|unit| *unit = unit.clamp(0.0, 1.0));
        let values = self
            .space
            .iter()
            .zip(&place)
            .map(|(dimension, unit)| dimension.value(*unit))
            .collect();
        // More are waited for than a generation needs when many ask at once; the oldest ones are given up.
        if self.drawn.len() >= MAX_DRAWN {
            self.drawn.pop_first();
        }
        self.drawn.insert(id, place);
        values
    }

    fn draw(&self, rng: &mut Rng) -> Vec<f64> {
        let n = self.mean.len();
        let steps: Vec<f64> = self.scales.iter().map(|scale| scale * rng.normal()).collect();
        (0..n)
            .map(|row| {
                let along: f64 = (0..n).map(|col| self.axes[row * n + col] * steps[col]).sum();
                self.mean[row] + self.sigma * along
            })
            .collect()
    }

    /// The score of a suggestion. The last one of a generation moves the distribution, O(dimensions³); scores of
    /// suggestions of an earlier generation are not used.
    pub fn report(&mut self, id: u64, score: f64) {
        let Some(place) = self.drawn.remove(&id) else {
            return;
        };
        self.scored.push((place, score));
        let constants = Constants::new(self.mean.len());
        if self.scored.len() >= constants.population {
            self.advance(&constants);
        }
    }

    fn advance(&mut self, k: &Constants) {
        let n = self.mean.len();
        let mut scored = std::mem::take(&mut self.scored);
        self.drawn.clear();
        scored.sort_by(|a, b| b.1.total_cmp(&a.1));
        // Steps of the parents from the old mean, in units of sigma.
        let steps: Vec<Vec<f64>> = scored[..k.weights.len()]
            .iter()
            .map(|(place, _)| {
                place
                    .iter()
                    .zip(&self.mean)
                    .map(|(x, m)| (x - m) / self.sigma)
                    .collect()
            })
            .collect();
        let step: Vec<f64> = (0..n)
            .map(|at| {
                k.weights
                    .iter()
                    .zip(&steps)
                    .map(|(weight, step)| weight * step[at])
                    .sum()
            })
            .collect();
        for (mean, step) in self.mean.iter_mut().zip(&step) {
            *mean = (*mean + self.sigma * step).clamp(0.0, 1.0);
        }
        let white = self.whiten(&step);
        let keep = (k.c_sigma * (2.0 - k.c_sigma) * k.mu_eff).sqrt();
        for (path, white) in self.path_sigma.iter_mut().zip(&white) {
            *path = (1.0 - k.c_sigma) * *path + keep * white;
        }
        self.generation += 1;
        let length = self.path_sigma.iter().map(|p| p * p).sum::<f64>().sqrt();
        let age = 1.0 - (1.0 - k.c_sigma).powf(2.0 * self.generation as f64);
        let moving = length / age.sqrt() < (1.4 + 2.0 / (n as f64 + 1.0)) * k.chi;
        let pull = if moving {
            (k.c_c * (2.0 - k.c_c) * k.mu_eff).sqrt()
        } else {
            0.0
        };
        for (path, step) in self.path_c.iter_mut().zip(&step) {
            *path = (1.0 - k.c_c) * *path + pull * step;
        }
        self.bend(k, &steps, moving);
        let growth = (k.c_sigma / k.d_sigma * (length / k.chi - 1.0)).min(1.0);
        self.sigma = (self.sigma * growth.exp()).clamp(1e-12, 1.0);
    }

    /// C^(-1/2) · step.
    fn whiten(&self, step: &[f64]) -> Vec<f64> {
        let n = step.len();
        let along: Vec<f64> = (0..n)
            .map(|col| {
                (0..n)
                    .map(|row| self.axes[row * n + col] * step[row])
                    .sum::<f64>()
                    / self.scales[col]
            })
            .collect();
        (0..n)
            .map(|row| (0..n).map(|col| self.axes[row * n + col] * along[col]).sum())
            .collect()
    }

    /// Moves the covariance to the path and the parents' steps.
    fn bend(&mut self, k: &Constants, steps: &[Vec<f64>], moving: bool) {
        let n = self.mean.len();
        let lost = if moving {
            0.0
        } else {
            k.c_1 * k.c_c * (2.0 - k.c_c)
        };
        for row in 0..n {
            for col in 0..=row {
                let parents: f64 = k
                    .weights
                    .iter()
                    .zip(steps)
                    .map(|(weight, step)| weight * step[row] * step[col])
                    .sum();
                let old = self.covariance[row * n + col];
                let new = (1.0 - k.c_1 - k.c_mu + lost) * old
                    + k.c_1 * self.path_c[row] * self.path_c[col]
                    + k.c_mu * parents;
                self.covariance[row * n + col] = new;
                self.covariance[col * n + row] = new;
            }
        }
        let (values, axes) = eigen::symmetric(&self.covariance, n);
        self.scales = values.iter().map(|value| value.max(1e-20).sqrt()).collect();
        self.axes = axes;
    }

    pub(super) fn has(&self, values: &[f64]) -> bool {
        space::has(&self.space, values)
    }

    pub(super) fn sound(&self) -> bool {
        let n = self.space.len();
        let finite = |list: &[f64], len: usize| list.len() == len && list.iter().all(|x| x.is_finite());
        let places = self
            .drawn
            .values()
            .chain(self.scored.iter().map(|(place, _)| place));
        space::check(&self.space).is_ok()
            && finite(&self.mean, n)
            && finite(&self.scales, n)
            && self.scales.iter().all(|scale| *scale > 0.0)
            && finite(&self.path_sigma, n)
            && finite(&self.path_c, n)
            && finite(&self.covariance, n * n)
            && finite(&self.axes, n * n)
            && self.sigma > 0.0
            && self.sigma <= 1.0
            && self.scored.len() < Constants::new(n).population
            && self.scored.iter().all(|(_, score)| score.is_finite())
            && places.into_iter().all(|place| finite(place, n))
    }
}

/// Suggestions of one generation that may be open at once.
const MAX_DRAWN: usize = 10_000;
