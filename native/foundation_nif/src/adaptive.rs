//! Glue for adaptive concurrency limits, found by key.

use crate::clock::now;
use crate::key;
use foundation_limits::adaptive::{self, Adaptive};
use foundation_limits::keyed::Keyed;
use rustler::{Atom, Encoder, Env, Error, NifMap, NifResult, Resource, ResourceArc, Term};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod atoms {
    rustler::atoms! { missing, refused, gradient2, vegas, success, ignored, dropped }
}

/// Every adaptive limiter, by key.
pub(crate) struct Limiters {
    by_key: Keyed<Arc<Adaptive>>,
}

#[rustler::resource_impl]
impl Resource for Limiters {}

/// One call under way. It counts until it is released, or until nobody holds it any more.
pub(crate) struct Slot {
    limiter: Arc<Adaptive>,
    in_flight: u32,
    since: u64,
    done: AtomicBool,
}

#[rustler::resource_impl]
impl Resource for Slot {}

impl Drop for Slot {
    fn drop(&mut self) {
        if !*self.done.get_mut() {
            self.limiter.release();
        }
    }
}

#[derive(NifMap)]
struct AdaptiveSettings {
    algorithm: Atom,
    initial: u32,
    min: u32,
    max: u32,
}

#[rustler::nif]
fn adaptive_new() -> ResourceArc<Limiters> {
    ResourceArc::new(Limiters { by_key: Keyed::new() })
}

/// Makes the limiter of `key`; an existing one is replaced or left, as told. True when made.
#[rustler::nif]
fn adaptive_put(
    limiters: ResourceArc<Limiters>,
    key: Term<'_>,
    settings: AdaptiveSettings,
    replace: bool,
) -> NifResult<bool> {
    let algorithm = if settings.algorithm == atoms::gradient2() {
        adaptive::Algorithm::Gradient2
    } else if settings.algorithm == atoms::vegas() {
        adaptive::Algorithm::Vegas
    } else {
        return Err(Error::BadArg);
    };
    let key = key::key(key)?;
    let limiter = Adaptive::new(adaptive::Settings {
        algorithm,
        initial: settings.initial,
        min: settings.min,
        max: settings.max,
    })
    .map_err(|_| Error::BadArg)?;
    Ok(if replace {
        limiters.by_key.insert(&key, Arc::new(limiter));
        true
    } else {
        limiters.by_key.insert_new(&key, || Arc::new(limiter))
    })
}

/// Takes a slot: the slot, `refused` or `missing`.
#[rustler::nif]
fn adaptive_acquire<'a>(env: Env<'a>, limiters: &'a Limiters, key: Term<'a>) -> NifResult<Term<'a>> {
    let key = key::key(key)?;
    let answer = limiters.by_key.with(&key, |limiter| match limiter.acquire() {
        None => atoms::refused().encode(env),
        Some(in_flight) => ResourceArc::new(Slot {
            limiter: Arc::clone(limiter),
            in_flight,
            since: now(),
            done: AtomicBool::new(false),
        })
        .encode(env),
    });
    Ok(answer.unwrap_or_else(|| atoms::missing().encode(env)))
}

/// Gives a slot back; `took_us` nil: the time since it was taken. The limit that follows, or nil when it was back.
#[rustler::nif]
fn adaptive_release(slot: &Slot, how: Atom, took_us: Option<u64>) -> NifResult<Option<u32>> {
    let known = [atoms::success(), atoms::dropped(), atoms::ignored()];
    if !known.contains(&how) {
        return Err(Error::BadArg);
    }
    if slot.done.swap(true, Ordering::AcqRel) {
        return Ok(None);
    }
    if how == atoms::ignored() {
        slot.limiter.release();
        return Ok(Some(slot.limiter.snapshot().limit));
    }
    let rtt = match took_us {
        Some(us) => us.saturating_mul(1_000),
        None => now().saturating_sub(slot.since),
    };
    Ok(Some(slot.limiter.release_with(adaptive::Sample {
        rtt,
        in_flight: slot.in_flight,
        dropped: how == atoms::dropped(),
    })))
}

#[derive(NifMap)]
struct AdaptiveView {
    limit: u32,
    in_flight: u32,
    refused: u64,
    samples: u64,
    usual_us: f64,
}

/// What a limiter looks like, or `missing`.
#[rustler::nif]
fn adaptive_view<'a>(env: Env<'a>, limiters: &'a Limiters, key: Term<'a>) -> NifResult<Term<'a>> {
    let key = key::key(key)?;
    let seen = limiters.by_key.with(&key, |limiter| limiter.snapshot());
    Ok(match seen {
        None => atoms::missing().encode(env),
        Some(s) => AdaptiveView {
            limit: s.limit,
            in_flight: s.in_flight,
            refused: s.refused,
            samples: s.samples,
            usual_us: s.usual / 1_000.0,
        }
        .encode(env),
    })
}

#[rustler::nif]
fn adaptive_remove(limiters: ResourceArc<Limiters>, key: Term<'_>) -> NifResult<bool> {
    let key = key::key(key)?;
    Ok(limiters.by_key.remove(&key).is_some())
}
