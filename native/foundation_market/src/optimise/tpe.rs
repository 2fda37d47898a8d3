//! The tree-structured Parzen estimator (Bergstra, Bardenet, Bengio, Kégl 2011).

use super::space::{self, Dimension};
use crate::{Result, Rng};
use serde::{Deserialize, Serialize};

/// A search that models what good and what other suggestions look like, each dimension by itself, and suggests what is
/// likelier among the good ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tpe {
    space: Vec<Dimension>,
    /// Values and scores, the best first.
    seen: Vec<(Vec<f64>, f64)>,
}

/// Suggestions by chance to begin with.
const START: usize = 10;
/// The best quarter of the scores counts as good, 25 of them at most.
const GOOD: f64 = 0.25;
const MAX_GOOD: usize = 25;
/// Candidates for one suggestion.
const CANDIDATES: usize = 24;
/// Scores that are remembered: the best ones.
const MAX_SEEN: usize = 1_000;

impl Tpe {
    /// A search that knows nothing.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for a space of no or more than 100 dimensions, or a dimension without two values.
    pub fn new(space: Vec<Dimension>) -> Result<Self> {
        space::check(&space)?;
        Ok(Self {
            space,
            seen: Vec::new(),
        })
    }

    /// What to try. O(dimensions · scores remembered).
    pub fn suggest(&self, rng: &mut Rng) -> Vec<f64> {
        if self.seen.len() < START {
            return self
                .space
                .iter()
                .map(|dimension| dimension.value(rng.unit()))
                .collect();
        }
        let count = (GOOD * self.seen.len() as f64).ceil() as usize;
        let (good, rest) = self.seen.split_at(count.min(MAX_GOOD));
        self.space
            .iter()
            .enumerate()
            .map(|(at, dimension)| match dimension {
                Dimension::Choice(count) => choice(*count as usize, at, good, rest, rng),
                _ => {
                    let column = |list: &[(Vec<f64>, f64)]| {
                        Parzen::new(
                            list.iter()
                                .map(|(values, _)| dimension.unit(values[at]))
                                .collect(),
                        )
                    };
                    dimension.value(better(&column(good), &column(rest), rng))
                }
            })
            .collect()
    }

    /// The score of a suggestion.
    pub fn report(&mut self, values: &[f64], score: f64) {
        let place = self.seen.partition_point(|(_, other)| *other >= score);
        self.seen.insert(place, (values.to_vec(), score));
        self.seen.truncate(MAX_SEEN);
    }

    pub(super) fn has(&self, values: &[f64]) -> bool {
        space::has(&self.space, values)
    }

    pub(super) fn sound(&self) -> bool {
        space::check(&self.space).is_ok()
            && self.seen.len() <= MAX_SEEN
            && self
                .seen
                .iter()
                .all(|(values, score)| self.has(values) && score.is_finite())
            && self.seen.is_sorted_by(|a, b| a.1 >= b.1)
    }
}

/// The candidate whose likelihood among the good ones is largest against that among the others.
fn better(good: &Parzen, rest: &Parzen, rng: &mut Rng) -> f64 {
    let mut best = (f64::NEG_INFINITY, 0.5);
    for _ in 0..CANDIDATES {
        let at = good.draw(rng);
        let ratio = good.density(at).ln() - rest.density(at).ln();
        if ratio > best.0 {
            best = (ratio, at);
        }
    }
    best.1
}

fn choice(count: usize, at: usize, good: &[(Vec<f64>, f64)], rest: &[(Vec<f64>, f64)], rng: &mut Rng) -> f64 {
    let chances = |list: &[(Vec<f64>, f64)]| {
        // One prior observation, spread over all choices.
        let mut counts = vec![1.0 / count as f64; count];
        for (values, _) in list {
            counts[values[at] as usize] += 1.0;
        }
        let total = list.len() as f64 + 1.0;
        counts.iter_mut().for_each(|chance| *chance /= total);
        counts
    };
    let (good, rest) = (chances(good), chances(rest));
    let mut best = (f64::NEG_INFINITY, 0);
    for _ in 0..CANDIDATES {
        let pick = rng.weighted(&good);
        let ratio = good[pick] / rest[pick];
        if ratio > best.0 {
            best = (ratio, pick);
        }
    }
    best.1 as f64
}

/// A mixture of normal distributions, cut off at 0 and 1: one at each point, as wide as the distance to the farther
/// neighbour, and one over all as a prior.
struct Parzen {
    parts: Vec<(f64, f64)>,
}

impl Parzen {
    fn new(mut points: Vec<f64>) -> Self {
        points.push(0.5);
        points.sort_by(f64::total_cmp);
        let narrowest = 1.0 / (1.0 + points.len() as f64).min(100.0);
        let parts = (0..points.len())
            .map(|at| {
                let left = if at == 0 {
                    points[0]
                } else {
                    points[at] - points[at - 1]
                };
                let right = points
                    .get(at + 1)
                    .map_or(1.0 - points[at], |next| next - points[at]);
                (points[at], left.max(right).clamp(narrowest, 1.0))
            })
            .chain(std::iter::once((0.5, 1.0)))
            .collect();
        Self { parts }
    }

    fn draw(&self, rng: &mut Rng) -> f64 {
        let (centre, width) = self.parts[rng.index(self.parts.len())];
        // The centre lies within [0, 1]: at least a third of the draws do.
        for _ in 0..100 {
            let at = centre + width * rng.normal();
            if (0.0..=1.0).contains(&at) {
                return at;
            }
        }
        centre
    }

    fn density(&self, at: f64) -> f64 {
        let parts = self.parts.iter().map(|(centre, width)| {
            let inside = below((1.0 - centre) / width) - below(-centre / width);
            (-0.5 * ((at - centre) / width).powi(2)).exp() / (width * inside)
        });
        parts.sum::<f64>() / self.parts.len() as f64 + 1e-300
    }
}

/// The normal distribution function, to 10^-7 (Abramowitz and Stegun 26.2.17).
fn below(x: f64) -> f64 {
    let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
    let poly = t
        * (0.319_381_530
            + t * (-0.356_563_782 + t * (1.781_477_937 + t * (-1.821_255_978 + t * 1.330_274_429))));
    let tail = (-0.5 * x * x).exp() / (std::f64::consts::TAU).sqrt() * poly;
    if x >= 0.0 { 1.0 - tail } else { tail }
}
