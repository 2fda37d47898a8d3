//! Circuit breakers: closed, open, half-open, and back by a ramp.
//!
//! A breaker is a state machine without a clock: every call is given the present time in nanoseconds, on any clock
//! that does not run backwards. State and generation share one atomic word, so that a closed breaker admits a call
//! with one load and no lock; all else happens under the breaker's own lock.
//!
//! A permit carries the generation it was given in. An outcome of an older generation (a call admitted before the
//! breaker opened, say) changes nothing.

mod settings;
mod window;

#[cfg(test)]
#[path = "breaker/breaker_tests.rs"]
mod tests;

pub use settings::{Settings, SettingsError};
pub use window::Counts;

use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicU64, Ordering};
use window::Window;

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Admits every call and counts the outcomes.
    Closed = 0,
    /// Refuses every call until its time is over.
    Open = 1,
    /// Admits a few probes.
    HalfOpen = 2,
    /// Admits a growing share of the calls and counts the outcomes.
    Restoring = 3,
    /// Refuses every call until told otherwise.
    ForcedOpen = 4,
    /// Admits every call and counts nothing until told otherwise.
    ForcedClosed = 5,
    /// Another one has taken its place: refuses every call, counts nothing, and stays so.
    Retired = 6,
}

const STATES: [State; 8] = [
    State::Closed,
    State::Open,
    State::HalfOpen,
    State::Restoring,
    State::ForcedOpen,
    State::ForcedClosed,
    State::Retired,
    State::Retired,
];

/// How a call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It worked; it may have been slow.
    Success,
    /// It failed.
    Failure,
    /// It says nothing about the health of what was called.
    Ignored,
}

/// The right to make one call; give it back with [`Breaker::record`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    generation: u64,
    probe: u32,
}

impl Permit {
    /// The permit of a plain call as a number, to be turned back by [`Permit::plain`].
    pub fn number(self) -> u64 {
        self.generation
    }

    /// A permit of a plain call admitted in `generation`.
    pub fn plain(generation: u64) -> Self {
        Self { generation, probe: 0 }
    }
}

/// The answer to a call that asks to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Go ahead.
    Admitted(Permit),
    /// Go ahead; the outcome decides about the breaker.
    Probe(Permit),
    /// Not now. The time is when asking again may help, `u64::MAX` when only a person can help.
    Refused {
        /// Nanoseconds from now.
        retry_after: u64,
    },
}

/// A change of state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
}

/// What a breaker looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Snapshot {
    /// The state, with what time alone has changed taken into account.
    pub state: State,
    /// Calls, failures and slow calls in the window.
    pub counts: Counts,
    /// Calls refused since it was made.
    pub refused: u64,
    /// How often it opened since it was made.
    pub opened: u64,
    /// Probes under way.
    pub probing: u32,
    /// The share of calls admitted at present.
    pub share: f64,
    /// Nanoseconds until an open breaker lets a probe through.
    pub retry_after: u64,
}

#[derive(Debug, Default)]
struct Inner {
    window: Window,
    /// When the present state began.
    since: u64,
    /// Probes under way: number and when their slot falls back.
    probing: SmallVec<[(u32, u64); 2]>,
    probed: u32,
    next_probe: u32,
    /// What the ramp owes the next caller; a call is admitted for each whole one.
    credit: f64,
    refused: u64,
    opened: u64,
}

/// One circuit breaker.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    word: AtomicU64,
    inner: Mutex<Inner>,
}

const STATE_BITS: u32 = 3;

/// Generations are unique over all breakers, so that a permit of a breaker that was replaced means nothing to the new one.
static GENERATION: AtomicU64 = AtomicU64::new(1);

fn fresh_generation() -> u64 {
    GENERATION.fetch_add(1, Ordering::Relaxed)
}

impl Breaker {
    /// A closed breaker.
    pub fn new(settings: Settings) -> Result<Self, SettingsError> {
        Ok(Self {
            settings: settings.check()?,
            word: AtomicU64::new(fresh_generation() << STATE_BITS),
            inner: Mutex::default(),
        })
    }

    fn load(&self) -> (State, u64) {
        let word = self.word.load(Ordering::Acquire);
        (STATES[(word & 7) as usize], word >> STATE_BITS)
    }

    fn store(&self, state: State, generation: u64) {
        self.word
            .store(generation << STATE_BITS | state as u64, Ordering::Release);
    }

    fn enter(&self, inner: &mut Inner, to: State, now: u64) -> Change {
        let (from, _) = self.load();
        inner.since = now;
        inner.probing.clear();
        inner.probed = 0;
        inner.credit = 0.0;
        if to == State::Open {
            inner.opened += 1;
        }
        if to != State::Open {
            inner.window.clear();
        }
        self.store(to, fresh_generation());
        Change { from, to }
    }

    /// Asks for a permit. One atomic load when closed.
    pub fn admit(&self, now: impl FnOnce() -> u64) -> (Admission, Option<Change>) {
        match self.load() {
            (State::Closed | State::ForcedClosed, generation) => {
                (Admission::Admitted(Permit::plain(generation)), None)
            }
            _ => self.admit_slowly(now()),
        }
    }

    fn admit_slowly(&self, now: u64) -> (Admission, Option<Change>) {
        let inner = &mut *self.inner.lock();
        let mut change = None;
        loop {
            let (state, generation) = self.load();
            let admission = match state {
                State::Closed | State::ForcedClosed => Admission::Admitted(Permit::plain(generation)),
                State::ForcedOpen | State::Retired => Admission::Refused {
                    retry_after: u64::MAX,
                },
                State::Open => {
                    let end = inner.since.saturating_add(self.settings.open_for);
                    if now < end {
                        Admission::Refused {
                            retry_after: end - now,
                        }
                    } else {
                        change = Some(self.enter(inner, State::HalfOpen, now));
                        continue;
                    }
                }
                State::HalfOpen => self.probe(inner, generation, now),
                State::Restoring => {
                    let share = self.share(inner, now);
                    if share >= 1.0 {
                        self.store(State::Closed, generation);
                        change = Some(Change {
                            from: change.map_or(State::Restoring, |c| c.from),
                            to: State::Closed,
                        });
                        continue;
                    }
                    ramp(inner, generation, share, self.settings.ramp)
                }
            };
            if matches!(admission, Admission::Refused { .. }) {
                inner.refused += 1;
            }
            return (admission, change);
        }
    }

    fn probe(&self, inner: &mut Inner, generation: u64, now: u64) -> Admission {
        inner.probing.retain(|(_, until)| *until > now);
        let taken = inner.probing.len() as u64 + u64::from(inner.probed);
        if taken >= u64::from(self.settings.probes) {
            let soonest = inner.probing.iter().map(|(_, until)| until - now).min();
            return Admission::Refused {
                retry_after: soonest.unwrap_or(0),
            };
        }
        inner.next_probe = inner.next_probe.wrapping_add(1).max(1);
        let until = now.saturating_add(self.settings.probe_timeout);
        inner.probing.push((inner.next_probe, until));
        Admission::Probe(Permit {
            generation,
            probe: inner.next_probe,
        })
    }

    fn share(&self, inner: &Inner, now: u64) -> f64 {
        if self.settings.ramp == 0 {
            return 1.0;
        }
        let part = now.saturating_sub(inner.since) as f64 / self.settings.ramp as f64;
        (self.settings.ramp_start + (1.0 - self.settings.ramp_start) * part).min(1.0)
    }

    /// Reports how a call went that `permit` was given for; `took` in nanoseconds.
    pub fn record(
        &self,
        permit: Permit,
        outcome: Outcome,
        took: u64,
        now: impl FnOnce() -> u64,
    ) -> Option<Change> {
        let (state, generation) = self.load();
        if generation != permit.generation {
            return None;
        }
        let slow = self.settings.slow_rate.is_some() && took >= self.settings.slow_after;
        match (state, outcome) {
            (State::ForcedClosed | State::ForcedOpen | State::Open | State::Retired, _) => None,
            (State::Closed | State::Restoring, Outcome::Ignored) => None,
            (State::Closed, Outcome::Success) if !self.settings.counts_calls() => None,
            _ => self.record_slowly(permit, outcome, slow, now()),
        }
    }

    fn record_slowly(&self, permit: Permit, outcome: Outcome, slow: bool, now: u64) -> Option<Change> {
        let inner = &mut *self.inner.lock();
        let (state, generation) = self.load();
        if generation != permit.generation {
            return None;
        }
        let failed = outcome == Outcome::Failure;
        match state {
            State::Closed | State::Restoring => inner
                .window
                .note(&self.settings, failed, slow, now)
                .then(|| self.enter(inner, State::Open, now)),
            State::HalfOpen => {
                let at = inner.probing.iter().position(|(n, _)| *n == permit.probe)?;
                inner.probing.swap_remove(at);
                match outcome {
                    Outcome::Ignored => None,
                    _ if failed || slow => Some(self.enter(inner, State::Open, now)),
                    _ => self.probe_succeeded(inner, now),
                }
            }
            _ => None,
        }
    }

    fn probe_succeeded(&self, inner: &mut Inner, now: u64) -> Option<Change> {
        inner.probed += 1;
        if inner.probed < self.settings.probes {
            return None;
        }
        let to = if self.settings.ramp == 0 {
            State::Closed
        } else {
            State::Restoring
        };
        Some(self.enter(inner, to, now))
    }

    /// Counts a failure that no permit was asked for.
    pub fn melt(&self, now: u64) -> Option<Change> {
        let (state, generation) = self.load();
        matches!(state, State::Closed | State::Restoring)
            .then(|| self.record_slowly(Permit::plain(generation), Outcome::Failure, false, now))
            .flatten()
    }

    /// Closes the breaker and forgets what it counted.
    pub fn reset(&self, now: u64) -> Option<Change> {
        self.force(State::Closed, now)
    }

    /// Whether another breaker has taken its place ([`State::Retired`]). One atomic load.
    pub fn is_retired(&self) -> bool {
        self.load().0 == State::Retired
    }

    /// Puts the breaker into `to`, whatever it is in, unless it is retired.
    pub fn force(&self, to: State, now: u64) -> Option<Change> {
        let inner = &mut *self.inner.lock();
        if self.is_retired() {
            return None;
        }
        let change = self.enter(inner, to, now);
        (change.from != change.to).then_some(change)
    }

    /// What it looks like at `now`. Changes nothing.
    pub fn snapshot(&self, now: u64) -> Snapshot {
        let inner = self.inner.lock();
        let (stored, _) = self.load();
        let end = inner.since.saturating_add(self.settings.open_for);
        let state = match stored {
            State::Open if now >= end => State::HalfOpen,
            State::Restoring if self.share(&inner, now) >= 1.0 => State::Closed,
            other => other,
        };
        let probing = inner.probing.iter().filter(|(_, until)| *until > now);
        Snapshot {
            state,
            counts: inner.window.counts(&self.settings, now),
            refused: inner.refused,
            opened: inner.opened,
            probing: probing.count() as u32,
            share: match state {
                State::Closed | State::ForcedClosed => 1.0,
                State::Restoring => self.share(&inner, now),
                _ => 0.0,
            },
            retry_after: match state {
                State::Open => end - now,
                State::ForcedOpen | State::Retired => u64::MAX,
                _ => 0,
            },
        }
    }
}

/// Lets through exactly `share` of the calls, spread evenly: no chance involved.
fn ramp(inner: &mut Inner, generation: u64, share: f64, ramp: u64) -> Admission {
    inner.credit += share;
    if inner.credit >= 1.0 {
        inner.credit -= 1.0;
        Admission::Admitted(Permit::plain(generation))
    } else {
        Admission::Refused {
            retry_after: ramp / 100,
        }
    }
}
