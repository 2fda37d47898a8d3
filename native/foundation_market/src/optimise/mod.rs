//! Search for the best choice or the best numbers, one suggestion at a time: bandits, successive halving, a
//! tree-structured Parzen estimator, CMA-ES. Scores are to be made large.

mod bandit;
mod cma;
mod eigen;
mod halving;
mod space;
mod tpe;

pub use bandit::{Arm, Bandit, Strategy};
pub use cma::CmaEs;
pub use halving::Halving;
pub use space::Dimension;
pub use tpe::Tpe;

use crate::{Error, Result, Rng, State};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A way to search.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum Method {
    Bandit(Bandit),
    Halving(Halving),
    Tpe(Tpe),
    CmaEs(CmaEs),
}

/// What to try next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Suggestion {
    /// The number to tell the score under.
    pub id: u64,
    /// The arm of a bandit, the configuration of successive halving, or a value for each dimension: a choice is its
    /// number.
    pub values: Vec<f64>,
    /// What may be spent on the trial, in the unit of the first rung's; 1 where that has no meaning.
    pub budget: u64,
    /// How likely this suggestion was, for EXP3; 1 where that has no meaning.
    pub probability: f64,
}

/// A search, its random numbers included: the same seed and the same scores give the same suggestions, also after it
/// was stored and read again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Optimiser {
    method: Method,
    rng: Rng,
    next_id: u64,
    told: u64,
    pending: BTreeMap<u64, Suggestion>,
    best: Option<(Vec<f64>, f64)>,
}

/// Suggestions that may wait for a score at once; beyond, the oldest is forgotten.
const MAX_PENDING: usize = 10_000;

impl Optimiser {
    fn with(method: Method, seed: u64) -> Self {
        Self {
            method,
            rng: Rng::new(seed),
            next_id: 1,
            told: 0,
            pending: BTreeMap::new(),
            best: None,
        }
    }

    /// A multi-armed bandit; scores are rewards within [0, 1].
    ///
    /// # Errors
    /// As [`Bandit::new`].
    pub fn bandit(strategy: Strategy, arms: u32, seed: u64) -> Result<Self> {
        Ok(Self::with(Method::Bandit(Bandit::new(strategy, arms)?), seed))
    }

    /// Successive halving over `configurations` numbered configurations.
    ///
    /// # Errors
    /// As [`Halving::new`].
    pub fn halving(configurations: u32, eta: u32, budget: u64, seed: u64) -> Result<Self> {
        Ok(Self::with(
            Method::Halving(Halving::new(configurations, eta, budget)?),
            seed,
        ))
    }

    /// A tree-structured Parzen estimator over numbers and choices.
    ///
    /// # Errors
    /// As [`Tpe::new`].
    pub fn tpe(space: Vec<Dimension>, seed: u64) -> Result<Self> {
        Ok(Self::with(Method::Tpe(Tpe::new(space)?), seed))
    }

    /// CMA-ES over numbers.
    ///
    /// # Errors
    /// As [`CmaEs::new`].
    pub fn cma_es(space: Vec<Dimension>, seed: u64) -> Result<Self> {
        Ok(Self::with(Method::CmaEs(CmaEs::new(space)?), seed))
    }

    /// What to try next; none while successive halving waits for scores, or is done.
    pub fn ask(&mut self) -> Option<Suggestion> {
        let id = self.next_id;
        let plain = |values: Vec<f64>| Suggestion {
            id,
            values,
            budget: 1,
            probability: 1.0,
        };
        let suggestion = match &mut self.method {
            Method::Bandit(bandit) => {
                let (arm, probability) = bandit.select(&mut self.rng);
                Suggestion {
                    probability,
                    ..plain(vec![f64::from(arm)])
                }
            }
            Method::Halving(halving) => {
                let (configuration, budget) = halving.next()?;
                Suggestion {
                    budget,
                    ..plain(vec![f64::from(configuration)])
                }
            }
            Method::Tpe(tpe) => plain(tpe.suggest(&mut self.rng)),
            Method::CmaEs(cma) => plain(cma.suggest(id, &mut self.rng)),
        };
        self.next_id += 1;
        self.pending.insert(id, suggestion.clone());
        if self.pending.len() > MAX_PENDING
            && let Some((_, old)) = self.pending.pop_first()
        {
            self.forget(&old);
        }
        Some(suggestion)
    }

    fn forget(&mut self, old: &Suggestion) {
        match &mut self.method {
            Method::Bandit(bandit) => bandit.forget(old.values[0] as u32),
            Method::Halving(halving) => halving.forget(old.values[0] as u32),
            Method::Tpe(_) | Method::CmaEs(_) => {}
        }
    }

    /// The score of a suggestion, once.
    ///
    /// # Errors
    /// [`Error::NotFound`] for a number that is not open; [`Error::Invalid`] for a score that is not finite, or for a
    /// bandit not within [0, 1]. The suggestion stays open then.
    pub fn tell(&mut self, id: u64, score: f64) -> Result<()> {
        let unit = matches!(self.method, Method::Bandit(_));
        if !score.is_finite() || (unit && !(0.0..=1.0).contains(&score)) {
            return Err(Error::Invalid("score"));
        }
        let suggestion = self.pending.remove(&id).ok_or(Error::NotFound)?;
        match &mut self.method {
            Method::Bandit(bandit) => {
                let arm = suggestion.values[0] as u32;
                bandit.reward(arm, suggestion.probability, score, &mut self.rng);
            }
            Method::Halving(halving) => halving.report(suggestion.values[0] as u32, score),
            Method::Tpe(tpe) => tpe.report(&suggestion.values, score),
            Method::CmaEs(cma) => cma.report(id, score),
        }
        self.told += 1;
        if self.best.as_ref().is_none_or(|(_, best)| score > *best) {
            self.best = Some((suggestion.values, score));
        }
        Ok(())
    }

    /// Gives a suggestion up, because nobody will ever score it.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub fn abandon(&mut self, id: u64) -> Result<()> {
        let suggestion = self.pending.remove(&id).ok_or(Error::NotFound)?;
        self.forget(&suggestion);
        Ok(())
    }

    /// What search considers best. For a bandit the arm with the best mean, and that mean; for successive halving the
    /// best of the highest rung; else the suggestion with the best score, and that score.
    #[must_use]
    pub fn best(&self) -> Option<(Vec<f64>, f64)> {
        match &self.method {
            Method::Bandit(bandit) => bandit.best().map(|(arm, mean)| (vec![f64::from(arm)], mean)),
            Method::Halving(halving) => halving.best().map(|(at, score)| (vec![f64::from(at)], score)),
            Method::Tpe(_) | Method::CmaEs(_) => self.best.clone(),
        }
    }

    /// How often each arm of a bandit was rewarded, and its mean; none for other methods.
    #[must_use]
    pub fn arms(&self) -> Option<&[Arm]> {
        match &self.method {
            Method::Bandit(bandit) => Some(bandit.arms()),
            _ => None,
        }
    }

    /// How many scores were told.
    #[must_use]
    pub fn told(&self) -> u64 {
        self.told
    }

    /// Whether nothing is left to ask: successive halving has its one configuration.
    #[must_use]
    pub fn done(&self) -> bool {
        matches!(&self.method, Method::Halving(halving) if halving.done())
    }
}

impl State for Optimiser {
    const TAG: u8 = 1;

    fn sound(&self) -> bool {
        let fits: &dyn Fn(&[f64]) -> bool = match &self.method {
            Method::Bandit(bandit) => &|values: &[f64]| values.len() == 1 && bandit.has(values[0]),
            Method::Halving(halving) => &|values: &[f64]| values.len() == 1 && halving.has(values[0]),
            Method::Tpe(tpe) => &|values: &[f64]| tpe.has(values),
            Method::CmaEs(cma) => &|values: &[f64]| cma.has(values),
        };
        let sound = match &self.method {
            Method::Bandit(bandit) => bandit.sound(),
            Method::Halving(halving) => halving.sound(),
            Method::Tpe(tpe) => tpe.sound(),
            Method::CmaEs(cma) => cma.sound(),
        };
        sound
            && self.next_id < 1 << 62
            && self.pending.iter().all(|(id, open)| {
                *id < self.next_id && open.id == *id && fits(&open.values) && open.probability > 0.0
            })
            && self
                .best
                .as_ref()
                .is_none_or(|(values, score)| fits(values) && score.is_finite())
    }
}
