//! Glue for breakers, found by key.

use crate::clock::now;
use crate::handle::{self, fast_nif, held};
use crate::key;
use foundation_limits::breaker::{self, Admission, Breaker, Change, Outcome, Permit, State};
use foundation_limits::keyed::Keyed;
use rustler::{Atom, Encoder, Env, Error, NifMap, NifResult, Resource, ResourceArc, Term};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod atoms {
    rustler::atoms! {
        missing, refused, probe, infinity,
        success, failure, ignored,
        closed, open, half_open, restoring, forced_open, forced_closed,
    }
}

const MS: u64 = 1_000_000;

/// Every breaker, by key.
pub(crate) struct Breakers {
    by_key: Keyed<Arc<Breaker>>,
}

held!(Breakers, c"foundation_breakers");

// Every step leaves a breaker valid: a panic cannot leave a broken one.
impl std::panic::RefUnwindSafe for Breakers {}

/// Registers the handle; called while the library is being loaded.
pub(crate) fn load(env: Env<'_>) -> bool {
    handle::open::<Breakers>(env)
}

/// A probe under way. Its slot falls back when it is recorded, or when nobody holds it any more.
pub(crate) struct Probe {
    breaker: Arc<Breaker>,
    permit: Permit,
    done: AtomicBool,
}

#[rustler::resource_impl]
impl Resource for Probe {}

impl Drop for Probe {
    fn drop(&mut self) {
        if !*self.done.get_mut() {
            self.breaker.record(self.permit, Outcome::Ignored, 0, now);
        }
    }
}

#[derive(NifMap)]
struct BreakerSettings {
    tolerance: Option<u32>,
    failure_rate: Option<f64>,
    slow_rate: Option<f64>,
    slow_after_ms: u64,
    minimum_calls: u32,
    window_ms: u64,
    open_ms: u64,
    probes: u32,
    probe_timeout_ms: u64,
    ramp_ms: u64,
    ramp_start: f64,
}

impl From<BreakerSettings> for breaker::Settings {
    fn from(s: BreakerSettings) -> Self {
        Self {
            tolerance: s.tolerance,
            failure_rate: s.failure_rate,
            slow_rate: s.slow_rate,
            slow_after: s.slow_after_ms.saturating_mul(MS),
            minimum_calls: s.minimum_calls,
            window: s.window_ms.saturating_mul(MS),
            open_for: s.open_ms.saturating_mul(MS),
            probes: s.probes,
            probe_timeout: s.probe_timeout_ms.saturating_mul(MS),
            ramp: s.ramp_ms.saturating_mul(MS),
            ramp_start: s.ramp_start,
        }
    }
}

fn state_atom(state: State) -> Atom {
    match state {
        State::Closed => atoms::closed(),
        State::Open => atoms::open(),
        State::HalfOpen => atoms::half_open(),
        State::Restoring => atoms::restoring(),
        State::ForcedOpen => atoms::forced_open(),
        State::ForcedClosed => atoms::forced_closed(),
        State::Retired => atoms::missing(),
    }
}

fn change_term(env: Env<'_>, change: Option<Change>) -> Term<'_> {
    match change {
        Some(c) => (state_atom(c.from), state_atom(c.to)).encode(env),
        None => crate::atoms::nil().encode(env),
    }
}

/// Milliseconds, rounded up; `infinity` when only a person can help.
fn ms_term(env: Env<'_>, nanoseconds: u64) -> Term<'_> {
    if nanoseconds == u64::MAX {
        atoms::infinity().encode(env)
    } else {
        nanoseconds.div_ceil(MS).encode(env)
    }
}

#[rustler::nif]
fn breaker_new(env: Env<'_>) -> Term<'_> {
    handle::make(env, Breakers { by_key: Keyed::new() })
}

/// Makes the breaker of `key`; an existing one is replaced or left, as told. True when made.
#[rustler::nif]
fn breaker_put(
    breakers: &Breakers,
    key: Term<'_>,
    settings: BreakerSettings,
    replace: bool,
) -> NifResult<bool> {
    let key = key::key(key)?;
    let breaker = Breaker::new(settings.into()).map_err(|_| Error::BadArg)?;
    Ok(if replace {
        if let Some(old) = breakers.by_key.insert(&key, Arc::new(breaker)) {
            old.force(State::Retired, now());
        }
        true
    } else {
        breakers.by_key.insert_new(&key, || Arc::new(breaker))
    })
}

fast_nif!("breaker_admit", 2, breaker_admit);

/// Asks for a permit: a number (closed), `missing`, or `{number | probe | {refused, ms}, change}`.
fn breaker_admit<'a>(env: Env<'a>, [breakers, key]: [Term<'a>; 2]) -> NifResult<Term<'a>> {
    let breakers: &Breakers = breakers.decode()?;
    let key = key::key(key)?;
    let answer = breakers.by_key.with(&key, |breaker| admit(env, breaker));
    Ok(answer.unwrap_or_else(|| atoms::missing().encode(env)))
}

/// One breaker, found once and for all.
pub(crate) struct Prepared {
    breaker: Arc<Breaker>,
}

#[rustler::resource_impl]
impl Resource for Prepared {}

/// The breaker of `key` by itself, or `missing`.
#[rustler::nif]
fn breaker_prepare<'a>(env: Env<'a>, breakers: &'a Breakers, key: Term<'a>) -> NifResult<Term<'a>> {
    let key = key::key(key)?;
    let prepared = breakers.by_key.with(&key, |breaker| {
        ResourceArc::new(Prepared {
            breaker: Arc::clone(breaker),
        })
        .encode(env)
    });
    Ok(prepared.unwrap_or_else(|| atoms::missing().encode(env)))
}

/// As `breaker_admit`, without a lookup; `missing` when another breaker has its key now, or none.
#[rustler::nif]
fn breaker_admit_prepared<'a>(env: Env<'a>, prepared: &'a Prepared) -> Term<'a> {
    if prepared.breaker.is_retired() {
        atoms::missing().encode(env)
    } else {
        admit(env, &prepared.breaker)
    }
}

fn admit<'a>(env: Env<'a>, breaker: &Arc<Breaker>) -> Term<'a> {
    let (admission, change) = breaker.admit(now);
    let admission = match admission {
        Admission::Admitted(permit) if change.is_none() => return permit.number().encode(env),
        Admission::Admitted(permit) => permit.number().encode(env),
        Admission::Probe(permit) => ResourceArc::new(Probe {
            breaker: Arc::clone(breaker),
            permit,
            done: AtomicBool::new(false),
        })
        .encode(env),
        Admission::Refused { retry_after } => (atoms::refused(), ms_term(env, retry_after)).encode(env),
    };
    (admission, change_term(env, change)).encode(env)
}

fn outcome(term: Atom) -> NifResult<Outcome> {
    if term == atoms::success() {
        Ok(Outcome::Success)
    } else if term == atoms::failure() {
        Ok(Outcome::Failure)
    } else if term == atoms::ignored() {
        Ok(Outcome::Ignored)
    } else {
        Err(Error::BadArg)
    }
}

/// Reports how a call went that took `took_us`: nil, a change of state, or `missing`.
#[rustler::nif]
fn breaker_record<'a>(
    env: Env<'a>,
    breakers: &'a Breakers,
    key: Term<'a>,
    permit: Term<'a>,
    how: Atom,
    took_us: u64,
) -> NifResult<Term<'a>> {
    let outcome = outcome(how)?;
    let took = took_us.saturating_mul(1_000);
    if let Ok(probe) = permit.decode::<ResourceArc<Probe>>() {
        let change = if probe.done.swap(true, Ordering::AcqRel) {
            None
        } else {
            probe.breaker.record(probe.permit, outcome, took, now)
        };
        return Ok(change_term(env, change));
    }
    let permit = Permit::plain(permit.decode::<u64>()?);
    let key = key::key(key)?;
    let change = breakers
        .by_key
        .with(&key, |breaker| breaker.record(permit, outcome, took, now));
    Ok(match change {
        Some(change) => change_term(env, change),
        None => atoms::missing().encode(env),
    })
}

/// Counts a failure without a permit: nil, a change of state, or `missing`.
#[rustler::nif]
fn breaker_melt<'a>(env: Env<'a>, breakers: &'a Breakers, key: Term<'a>) -> NifResult<Term<'a>> {
    let key = key::key(key)?;
    let change = breakers.by_key.with(&key, |breaker| breaker.melt(now()));
    Ok(match change {
        Some(change) => change_term(env, change),
        None => atoms::missing().encode(env),
    })
}

/// Puts a breaker into the named state: nil, a change of state, or `missing`.
#[rustler::nif]
fn breaker_force<'a>(
    env: Env<'a>,
    breakers: &'a Breakers,
    key: Term<'a>,
    state: Atom,
) -> NifResult<Term<'a>> {
    let to = [State::Closed, State::ForcedOpen, State::ForcedClosed]
        .into_iter()
        .find(|s| state_atom(*s) == state)
        .ok_or(Error::BadArg)?;
    let key = key::key(key)?;
    let change = breakers.by_key.with(&key, |b| b.force(to, now()));
    Ok(match change {
        Some(change) => change_term(env, change),
        None => atoms::missing().encode(env),
    })
}

#[derive(NifMap)]
struct BreakerView<'a> {
    state: Atom,
    calls: u32,
    failures: u32,
    slow: u32,
    refused: u64,
    opened: u64,
    probing: u32,
    share: f64,
    retry_after_ms: Term<'a>,
}

/// What a breaker looks like, or `missing`. O(failures within its tolerance).
#[rustler::nif]
fn breaker_view<'a>(env: Env<'a>, breakers: &'a Breakers, key: Term<'a>) -> NifResult<Term<'a>> {
    let key = key::key(key)?;
    let seen = breakers.by_key.with(&key, |b| b.snapshot(now()));
    Ok(match seen {
        None => atoms::missing().encode(env),
        Some(s) => BreakerView {
            state: state_atom(s.state),
            calls: s.counts.calls,
            failures: s.counts.failures,
            slow: s.counts.slow,
            refused: s.refused,
            opened: s.opened,
            probing: s.probing,
            share: s.share,
            retry_after_ms: ms_term(env, s.retry_after),
        }
        .encode(env),
    })
}

#[rustler::nif]
fn breaker_remove(breakers: &Breakers, key: Term<'_>) -> NifResult<bool> {
    let key = key::key(key)?;
    let removed = breakers.by_key.remove(&key);
    if let Some(breaker) = &removed {
        breaker.force(State::Retired, now());
    }
    Ok(removed.is_some())
}

/// Drops the breakers that are closed and have nothing in their window; returns how many. O(breakers).
#[rustler::nif(schedule = "DirtyCpu")]
fn breaker_sweep(breakers: &Breakers) -> usize {
    let now = now();
    breakers.by_key.retain(|breaker| {
        let seen = breaker.snapshot(now);
        let keep = seen.state != State::Closed || seen.counts != breaker::Counts::default();
        if !keep {
            breaker.force(State::Retired, now);
        }
        keep
    })
}

#[rustler::nif]
fn breaker_count(breakers: &Breakers) -> usize {
    breakers.by_key.len()
}

/// Up to `max` keys, in no order. O(max).
#[rustler::nif(schedule = "DirtyCpu")]
fn breaker_keys<'a>(env: Env<'a>, breakers: &Breakers, max: u32) -> NifResult<Vec<Term<'a>>> {
    let keys = breakers.by_key.keys(max as usize);
    keys.iter().map(|k| key::to_term(env, k)).collect()
}
