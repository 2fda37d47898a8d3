//! Adaptive concurrency limits: how many calls may be under way is learnt from how long they take.
//!
//! No clock inside: a sample carries its own round-trip time. The present limit and the calls under way are atomics,
//! so taking a permit takes no lock; a sample takes the limiter's own lock for some arithmetic.

mod gradient;
mod vegas;

#[cfg(test)]
#[path = "adaptive/adaptive_tests.rs"]
mod tests;

use gradient::Gradient;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use thiserror::Error;
use vegas::Vegas;

/// Why settings are refused; nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SettingsError {
    /// Not `1 <= min <= initial <= max`.
    #[error("1 <= min <= initial <= max does not hold")]
    Bounds,
}

/// How the limit is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// By the ratio of the usual to the newest round-trip time (Gradient2).
    Gradient2,
    /// By the estimated queue at the other side (Vegas).
    Vegas,
}

/// Bounds of the limit, and how it is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// How the limit is learnt.
    pub algorithm: Algorithm,
    /// The limit before the first sample.
    pub initial: u32,
    /// It never goes below.
    pub min: u32,
    /// It never goes above.
    pub max: u32,
}

impl Settings {
    fn check(self) -> Result<Self, SettingsError> {
        if self.min >= 1 && self.min <= self.initial && self.initial <= self.max {
            Ok(self)
        } else {
            Err(SettingsError::Bounds)
        }
    }
}

/// One finished call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// How long it took, in nanoseconds.
    pub rtt: u64,
    /// How many calls were under way when it was admitted, itself included.
    pub in_flight: u32,
    /// It was refused or timed out at the other side: a sign of overload whatever its time.
    pub dropped: bool,
}

#[derive(Debug)]
enum Learner {
    Gradient(Gradient),
    Vegas(Vegas),
}

#[derive(Debug)]
struct Inner {
    learner: Learner,
    limit: f64,
    samples: u64,
}

/// What a limiter looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Snapshot {
    /// Calls that may be under way.
    pub limit: u32,
    /// Calls under way.
    pub in_flight: u32,
    /// Calls refused since it was made.
    pub refused: u64,
    /// Samples learnt from.
    pub samples: u64,
    /// The usual round-trip time (Gradient2) or the least one (Vegas), in nanoseconds.
    pub usual: f64,
}

/// One adaptive limiter.
#[derive(Debug)]
pub struct Adaptive {
    settings: Settings,
    in_flight: AtomicU32,
    limit: AtomicU32,
    refused: AtomicU64,
    inner: Mutex<Inner>,
}

impl Adaptive {
    /// A limiter at its initial limit.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        let settings = settings.check()?;
        let learner = match settings.algorithm {
            Algorithm::Gradient2 => Learner::Gradient(Gradient::default()),
            Algorithm::Vegas => Learner::Vegas(Vegas::default()),
        };
        Ok(Self {
            settings,
            in_flight: AtomicU32::new(0),
            limit: AtomicU32::new(settings.initial),
            refused: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                learner,
                limit: f64::from(settings.initial),
                samples: 0,
            }),
        })
    }

    /// Takes one permit; gives the calls under way, this one included, or `None` when the limit is reached.
    pub fn acquire(&self) -> Option<u32> {
        let limit = self.limit.load(Ordering::Relaxed);
        let taken = self
            .in_flight
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |n| {
                (n < limit).then_some(n + 1)
            });
        match taken {
            Ok(before) => Some(before + 1),
            Err(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Gives a permit back and learns nothing from it.
    pub fn release(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
    }

    /// Gives a permit back and learns from the call; answers the limit that follows.
    pub fn release_with(&self, sample: Sample) -> u32 {
        self.release();
        let inner = &mut *self.inner.lock();
        let next = match &mut inner.learner {
            Learner::Gradient(g) => g.next(&self.settings, inner.limit, sample),
            Learner::Vegas(v) => v.next(&self.settings, inner.limit, sample),
        };
        inner.limit = next;
        inner.samples += 1;
        let limit = next as u32;
        self.limit.store(limit, Ordering::Relaxed);
        limit
    }

    /// What it looks like now.
    pub fn snapshot(&self) -> Snapshot {
        let inner = self.inner.lock();
        Snapshot {
            limit: self.limit.load(Ordering::Relaxed),
            in_flight: self.in_flight.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            samples: inner.samples,
            usual: match &inner.learner {
                Learner::Gradient(g) => g.usual(),
                Learner::Vegas(v) => v.usual(),
            },
        }
    }
}
