//! Successive halving (Karnin, Koren, Somekh 2013; Jamieson and Talwalkar 2016): all configurations get a little, the
//! better part gets more.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// A race of configurations in rungs. Of n configurations the best ⌈n / η⌉ go on, with η times the budget, until one is
/// left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Halving {
    eta: u32,
    budget: u64,
    /// Of this rung, still to be asked for.
    ahead: Vec<u32>,
    /// Asked for.
    running: BTreeSet<u32>,
    /// Scores of this rung.
    scores: Vec<(u32, f64)>,
    /// The best of the last complete rung.
    best: Option<(u32, f64)>,
    done: bool,
    configurations: u32,
}

impl Halving {
    /// A race that has not begun; `budget` is that of the first rung.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no or more than 100,000 configurations, an eta below 2 or above 100, a budget of 0 or more
    /// than 2^32.
    pub fn new(configurations: u32, eta: u32, budget: u64) -> Result<Self> {
        if !(1..=100_000).contains(&configurations) {
            return Err(Error::Invalid("configurations"));
        }
        if !(2..=100).contains(&eta) {
            return Err(Error::Invalid("eta"));
        }
        if budget == 0 || budget > 1 << 32 {
            return Err(Error::Invalid("budget"));
        }
        Ok(Self {
            eta,
            budget,
            ahead: (0..configurations).rev().collect(),
            running: BTreeSet::new(),
            scores: Vec::new(),
            best: None,
            done: false,
            configurations,
        })
    }

    /// A configuration and what may be spent on it; none while the rung is not complete, and when all is done.
    #[expect(
        clippy::should_implement_trait,
        reason = "it is no iterator: after none there may be more"
    )]
    pub fn next(&mut self) -> Option<(u32, u64)> {
        let configuration = self.ahead.pop()?;
        self.running.insert(configuration);
        Some((configuration, self.budget))
    }

    /// The score of a configuration that was asked for. The last one of a rung starts the next rung.
    pub fn report(&mut self, configuration: u32, score: f64) {
        if self.running.remove(&configuration) {
            self.scores.push((configuration, score));
            self.advance();
        }
    }

    /// A configuration that will have no score is out of the race.
    pub fn forget(&mut self, configuration: u32) {
        if self.running.remove(&configuration) {
            self.advance();
        }
    }

    fn advance(&mut self) {
        if !self.ahead.is_empty() || !self.running.is_empty() {
            return;
        }
        let mut scores = std::mem::take(&mut self.scores);
        scores.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        self.best = scores.first().copied().or(self.best);
        if scores.len() <= 1 {
            self.done = true;
            return;
        }
        let keep = scores.len().div_ceil(self.eta as usize);
        scores.truncate(keep);
        self.ahead = scores.iter().rev().map(|(at, _)| *at).collect();
        self.budget = self.budget.saturating_mul(u64::from(self.eta));
    }

    /// Whether one configuration is left, with its score.
    #[must_use]
    pub fn done(&self) -> bool {
        self.done
    }

    /// The best of the last complete rung, and its score there.
    #[must_use]
    pub fn best(&self) -> Option<(u32, f64)> {
        self.best
    }

    pub(super) fn has(&self, configuration: f64) -> bool {
        configuration >= 0.0 && configuration < f64::from(self.configurations) && configuration.fract() == 0.0
    }

    pub(super) fn sound(&self) -> bool {
        (2..=100).contains(&self.eta)
            && self.ahead.len() + self.running.len() + self.scores.len() <= self.configurations as usize
            && self
                .ahead
                .iter()
                .chain(&self.running)
                .all(|at| *at < self.configurations)
            && self
                .scores
                .iter()
                .all(|(at, score)| *at < self.configurations && score.is_finite())
    }
}
