//! Multi-armed bandits with rewards within [0, 1].

use crate::{Error, Result, Rng};
use serde::{Deserialize, Serialize};

/// How a bandit chooses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Strategy {
    /// Draws from each arm's beta posterior and takes the best draw; a reward between 0 and 1 counts as a success with
    /// that probability (Thompson 1933; Agrawal and Goyal 2012).
    Thompson,
    /// The best upper confidence bound, mean + √(2 ln n / n_arm) (Auer, Cesa-Bianchi, Fischer 2002).
    Ucb1,
    /// Exponential weights with exploration (Auer, Cesa-Bianchi, Freund, Schapire 2002): for rewards that an adversary
    /// may choose.
    Exp3 {
        /// The part of exploration, within (0, 1].
        gamma: f64,
    },
}

/// What is known of an arm.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Arm {
    /// How often it was rewarded.
    pub pulls: u64,
    /// The sum of its rewards.
    pub total: f64,
    /// Chosen, not yet rewarded.
    pub waiting: u64,
    /// Successes of Thompson's trials; of the others EXP3's logarithm of the weight.
    state: f64,
}

impl Arm {
    /// The mean reward; 0 before the first one.
    #[must_use]
    pub fn mean(&self) -> f64 {
        if self.pulls == 0 {
            0.0
        } else {
            self.total / self.pulls as f64
        }
    }
}

/// A bandit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bandit {
    strategy: Strategy,
    arms: Vec<Arm>,
}

/// Arms of one bandit.
const MAX_ARMS: u32 = 10_000;

impl Bandit {
    /// A bandit that knows nothing.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no arm, more than 10,000, or a gamma outside (0, 1].
    pub fn new(strategy: Strategy, arms: u32) -> Result<Self> {
        if !(1..=MAX_ARMS).contains(&arms) {
            return Err(Error::Invalid("arms"));
        }
        let bandit = Self {
            strategy,
            arms: vec![Arm::default(); arms as usize],
        };
        if bandit.sound() {
            Ok(bandit)
        } else {
            Err(Error::Invalid("gamma"))
        }
    }

    /// An arm, and how likely it was to be chosen (1 for strategies that do not need to know). O(arms).
    pub fn select(&mut self, rng: &mut Rng) -> (u32, f64) {
        let (arm, probability) = match self.strategy {
            Strategy::Thompson => (self.thompson(rng), 1.0),
            Strategy::Ucb1 => (self.upper_bound(), 1.0),
            Strategy::Exp3 { gamma } => {
                let chances = self.exponential(gamma);
                let arm = rng.weighted(&chances);
                (arm, chances[arm])
            }
        };
        self.arms[arm].waiting += 1;
        (arm as u32, probability)
    }

    fn thompson(&self, rng: &mut Rng) -> usize {
        let mut best = (f64::NEG_INFINITY, 0);
        for (at, arm) in self.arms.iter().enumerate() {
            let draw = rng.beta(1.0 + arm.state, 1.0 + arm.pulls as f64 - arm.state);
            if draw > best.0 {
                best = (draw, at);
            }
        }
        best.1
    }

    /// Arms that were never tried come first, those in hand the fewest times before the others.
    fn upper_bound(&self) -> usize {
        let tried = |arm: &Arm| arm.pulls + arm.waiting;
        let all: u64 = self.arms.iter().map(tried).sum();
        let bound = |arm: &Arm| match arm.pulls {
            0 => f64::INFINITY,
            _ => arm.mean() + (2.0 * (all as f64).ln() / tried(arm) as f64).sqrt(),
        };
        let mut best = 0;
        for (at, arm) in self.arms.iter().enumerate() {
            let (here, there) = (bound(arm), bound(&self.arms[best]));
            if here > there || (here == there && arm.waiting < self.arms[best].waiting) {
                best = at;
            }
        }
        best
    }

    fn exponential(&self, gamma: f64) -> Vec<f64> {
        let count = self.arms.len() as f64;
        let top = self
            .arms
            .iter()
            .map(|arm| arm.state)
            .fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = self.arms.iter().map(|arm| (arm.state - top).exp()).collect();
        let sum: f64 = weights.iter().sum();
        weights
            .into_iter()
            .map(|weight| (1.0 - gamma) * weight / sum + gamma / count)
            .collect()
    }

    /// The reward of a choice, within [0, 1], with the probability it was made with. O(1).
    pub fn reward(&mut self, arm: u32, probability: f64, reward: f64, rng: &mut Rng) {
        let count = self.arms.len() as f64;
        let Some(arm) = self.arms.get_mut(arm as usize) else {
            return;
        };
        arm.waiting = arm.waiting.saturating_sub(1);
        arm.pulls += 1;
        arm.total += reward;
        match self.strategy {
            Strategy::Thompson if rng.unit() < reward => arm.state += 1.0,
            Strategy::Exp3 { gamma } => arm.state += gamma * reward / (probability * count),
            Strategy::Thompson | Strategy::Ucb1 => {}
        }
    }

    /// A choice that will have no reward.
    pub fn forget(&mut self, arm: u32) {
        if let Some(arm) = self.arms.get_mut(arm as usize) {
            arm.waiting = arm.waiting.saturating_sub(1);
        }
    }

    /// The arm with the best mean, the lowest of equals; none before the first reward.
    #[must_use]
    pub fn best(&self) -> Option<(u32, f64)> {
        let mut best: Option<(u32, f64)> = None;
        for (at, arm) in (0_u32..).zip(&self.arms) {
            if arm.pulls > 0 && best.is_none_or(|(_, mean)| arm.mean() > mean) {
                best = Some((at, arm.mean()));
            }
        }
        best
    }

    /// What is known of each arm.
    #[must_use]
    pub fn arms(&self) -> &[Arm] {
        &self.arms
    }

    pub(super) fn has(&self, arm: f64) -> bool {
        arm >= 0.0 && arm < self.arms.len() as f64 && arm.fract() == 0.0
    }

    pub(super) fn sound(&self) -> bool {
        let gamma = match self.strategy {
            Strategy::Exp3 { gamma } => gamma > 0.0 && gamma <= 1.0,
            Strategy::Thompson | Strategy::Ucb1 => true,
        };
        let arm = |arm: &Arm| {
            let most = arm.pulls as f64;
            let thompson = self.strategy != Strategy::Thompson || arm.state <= most;
            (0.0..=most).contains(&arm.total) && arm.state.is_finite() && arm.state >= 0.0 && thompson
        };
        gamma && !self.arms.is_empty() && self.arms.len() <= MAX_ARMS as usize && self.arms.iter().all(arm)
    }
}
