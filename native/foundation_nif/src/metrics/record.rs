//! Glue for recording: by name and tags, through a prepared series, with an exemplar.

use super::usual::Usual;
use super::{Metrics, Prepared, atoms, clock, encode_number, kind, known_kind, number, refused, series_key};
use crate::handle::{self, fast_nif};
use crate::key::KeyBuf;
use crate::{term, word};
use foundation_metrics::Error as Refusal;
use foundation_metrics::layout::{Layout, Number};
use foundation_metrics::registry::{Config, Data, Exemplar, Kind, Series};
use rustler::{Atom, Encoder, Env, Error, NifResult, Term};
use std::sync::Arc;

/// Most bytes of help, unit and exemplar texts.
const MAX_TEXT: usize = 1024;
/// Most characters of an exemplar's labels, as OpenMetrics has it.
const MAX_EXEMPLAR: usize = 128;
/// Most bucket bounds of a name.
const MAX_BOUNDS: usize = 256;
/// Digits of a histogram that was not declared.
const DIGITS: u8 = 3;

fast_nif!("metrics_record", 5, record_by_name);

/// `metrics_record(metrics, kind, name, tags, number)`: adds, sets or counts a number in the series of that name and
/// tags, which is made when there is none; `badarg` (as a value) when one of the last four is not what it should be,
/// `{:error, :not_running}` for nil in the place of the metrics.
fn record_by_name<'a>(
    env: Env<'a>,
    [metrics, kind_of, name, tags, value]: [Term<'a>; 5],
) -> NifResult<Term<'a>> {
    let metrics: &Metrics = match handle::get(metrics) {
        Ok(metrics) => metrics,
        Err(_) if atoms::nil() == metrics => return Ok((atoms::error(), atoms::not_running()).encode(env)),
        Err(error) => return Err(error),
    };
    let kind = known_kind(|kind| kind == kind_of)?;
    let mut usual = Usual::new();
    if usual.write(name, tags).is_some() {
        // A flag is what the usual case gives back: anything larger would go through memory on its way here.
        let mut slowly = None;
        let found = metrics.registry.with(usual.bytes(), usual.hash(), |series| {
            let done = record_at_once(series, kind, value);
            if !done {
                slowly = Some(record_slowly(env, series, kind, value));
            }
            done
        });
        return match (found, slowly) {
            (Some(true), _) => Ok(atoms::ok().encode(env)),
            (Some(false), Some(done)) => done,
            _ => record_under(env, metrics, usual.bytes(), usual.name_len(), kind, value),
        };
    }
    let mut key = KeyBuf::new();
    match series_key(name, tags, &mut key) {
        Ok(name_len) => record_under(env, metrics, &key, name_len, kind, value),
        Err(_) => Ok(atoms::badarg().encode(env)),
    }
}

/// Counts what takes a few instructions only; false, with nothing changed, for anything else.
#[inline]
fn record_at_once(series: &Series, kind: Kind, value: Term<'_>) -> bool {
    match (&series.data, word::small(value)) {
        (_, Some(_)) if series.kind != kind => false,
        (Data::Histogram(recorder), Some(n)) => recorder.record_at_once(n, clock::now_ms()),
        (Data::Counter(counter), Some(n)) if n >= 0 => {
            counter.add(Number::Int(n));
            true
        }
        _ => false,
    }
}

#[inline(never)]
fn record_slowly<'a>(env: Env<'a>, series: &Series, kind: Kind, value: Term<'a>) -> NifResult<Term<'a>> {
    Ok(match number(value) {
        Ok(number) => answer(env, record(series, kind, number, clock::now_ms())),
        Err(_) => atoms::badarg().encode(env),
    })
}

#[inline(never)]
fn record_under<'a>(
    env: Env<'a>,
    metrics: &Metrics,
    key: &[u8],
    name_len: usize,
    kind: Kind,
    value: Term<'a>,
) -> NifResult<Term<'a>> {
    let Ok(number) = number(value) else {
        return Ok(atoms::badarg().encode(env));
    };
    let now = clock::now_ms();
    let registry = &metrics.registry;
    let done = registry.with(key, registry.hash(key), |series| {
        record(series, kind, number, now)
    });
    Ok(match done {
        Some(done) => answer(env, done),
        None => answer(env, record_first(metrics, key, name_len, kind, number, now)),
    })
}

#[cold]
fn record_first(
    metrics: &Metrics,
    key: &[u8],
    name_len: usize,
    kind: Kind,
    number: Number,
    now: u64,
) -> Result<(), Refusal> {
    if kind == Kind::Counter && number.to_f64() < 0.0 {
        return Err(Refusal::Negative);
    }
    let series = find(metrics, key, name_len, kind, Some(number))?;
    record(&series, kind, number, now)
}

#[inline]
fn record(series: &Series, kind: Kind, number: Number, now: u64) -> Result<(), Refusal> {
    if series.kind == kind {
        series.record(number, now)
    } else {
        Err(Refusal::Kind)
    }
}

#[inline]
fn answer(env: Env<'_>, done: Result<(), Refusal>) -> Term<'_> {
    match done {
        Ok(()) => atoms::ok().encode(env),
        Err(refusal) => refused(env, refusal),
    }
}

pub(super) fn find(
    metrics: &Metrics,
    key: &[u8],
    name_len: usize,
    kind: Kind,
    first: Option<Number>,
) -> Result<Arc<Series>, Refusal> {
    let resolution = match first {
        Some(Number::Float(x)) if x.fract() != 0.0 => 1e-6,
        _ => 1.0,
    };
    let layout = Layout::new(DIGITS, resolution, None)?;
    metrics.registry.find_or_insert(key, name_len, kind, || Config {
        kind,
        help: String::new(),
        unit: String::new(),
        layout,
        adapts: true,
        bounds: Vec::new(),
        max_series: metrics.max_series,
    })
}

/// The series of that name and tags as a resource to record into.
#[rustler::nif]
fn metrics_prepare<'a>(
    env: Env<'a>,
    metrics: &Metrics,
    kind_of: Atom,
    name: Term<'a>,
    tags: Term<'a>,
) -> NifResult<Term<'a>> {
    let mut key = KeyBuf::new();
    let name_len = series_key(name, tags, &mut key)?;
    Ok(match find(metrics, &key, name_len, kind(kind_of)?, None) {
        Ok(series) => (atoms::ok(), handle::make(env, Prepared(series))).encode(env),
        Err(refusal) => refused(env, refusal),
    })
}

fast_nif!("metrics_record_at", 2, record_at);

/// `metrics_record_at(prepared, number)`: adds, sets or counts a number in a prepared series; `gone` when the set has
/// forgotten that series, `badarg` (as a value) when this is no number.
fn record_at<'a>(env: Env<'a>, [prepared, value]: [Term<'a>; 2]) -> NifResult<Term<'a>> {
    let series = &*handle::get::<Prepared>(prepared)?.0;
    if series.is_gone() {
        Ok(atoms::gone().encode(env))
    } else if record_at_once(series, series.kind, value) {
        Ok(atoms::ok().encode(env))
    } else {
        record_slowly(env, series, series.kind, value)
    }
}

/// As `metrics_record`, and keeps the value as an exemplar with these labels.
#[rustler::nif]
#[allow(clippy::too_many_arguments)]
fn metrics_record_exemplar<'a>(
    env: Env<'a>,
    metrics: &Metrics,
    kind_of: Atom,
    name: Term<'a>,
    tags: Term<'a>,
    value: Term<'a>,
    labels: Term<'a>,
    unix_ms: i64,
) -> NifResult<Term<'a>> {
    let (kind, number) = (kind(kind_of)?, number(value)?);
    let labels = exemplar_labels(labels)?;
    let mut key = KeyBuf::new();
    let name_len = series_key(name, tags, &mut key)?;
    let done = find(metrics, &key, name_len, kind, Some(number)).and_then(|series| {
        series.record(number, clock::now_ms())?;
        series.exemplify(Exemplar {
            labels,
            value: number.to_f64(),
            unix_ms,
        });
        Ok(())
    });
    Ok(answer(env, done))
}

fn exemplar_labels(term: Term<'_>) -> NifResult<Vec<(String, String)>> {
    let labels = term::list(term, MAX_EXEMPLAR)?
        .into_iter()
        .map(|pair| {
            let (k, v): (&str, &str) = pair.decode()?;
            if k.len() + v.len() > MAX_TEXT {
                return Err(Error::BadArg);
            }
            Ok((k.to_owned(), v.to_owned()))
        })
        .collect::<NifResult<Vec<_>>>()?;
    let characters: usize = labels
        .iter()
        .map(|(k, v)| k.chars().count() + v.chars().count())
        .sum();
    if characters > MAX_EXEMPLAR {
        Err(Error::BadArg)
    } else {
        Ok(labels)
    }
}

/// Sets the configuration of a name: `{help, unit, digits, resolution, highest | nil, bounds, max_series | nil}`.
#[rustler::nif]
fn metrics_declare<'a>(
    env: Env<'a>,
    metrics: &Metrics,
    kind_of: Atom,
    name: Term<'a>,
    config: Term<'a>,
) -> NifResult<Term<'a>> {
    let kind = kind(kind_of)?;
    let name = crate::key::key(name)?;
    let (help, unit, digits, resolution, highest, bounds, max): (&str, &str, u8, Term, Term, Term, Term) =
        config.decode()?;
    if help.len() > MAX_TEXT || unit.len() > MAX_TEXT || !(2..=4).contains(&digits) {
        return Err(Error::BadArg);
    }
    let highest = optional(highest, term::number)?;
    let bounds = term::list(bounds, MAX_BOUNDS)?
        .into_iter()
        .map(term::number)
        .collect::<NifResult<Vec<_>>>()?;
    let max_series = optional(max, |t| t.decode::<u32>())?.map_or(metrics.max_series, |n| n as usize);
    let done = Layout::new(digits, term::number(resolution)?, highest).and_then(|layout| {
        let config = Config {
            kind,
            help: help.to_owned(),
            unit: unit.to_owned(),
            layout,
            adapts: false,
            bounds,
            max_series,
        };
        metrics.registry.declare(&name, config)
    });
    Ok(answer(env, done))
}

fn optional<'a, T>(term: Term<'a>, decode: impl Fn(Term<'a>) -> NifResult<T>) -> NifResult<Option<T>> {
    if atoms::nil() == term {
        Ok(None)
    } else {
        decode(term).map(Some)
    }
}

/// The number a counter, sum or gauge stands at; nil for a gauge never set.
#[rustler::nif]
fn metrics_value<'a>(env: Env<'a>, metrics: &Metrics, name: Term<'a>, tags: Term<'a>) -> NifResult<Term<'a>> {
    let mut key = KeyBuf::new();
    series_key(name, tags, &mut key)?;
    let registry = &metrics.registry;
    let value = registry.with(&key, registry.hash(&key), |series| match &series.data {
        Data::Counter(counter) => Ok(Some(counter.value())),
        Data::Gauge(gauge) => Ok(gauge.value()),
        Data::Histogram(_) => Err(Refusal::Kind),
    });
    Ok(match value.unwrap_or(Err(Refusal::Unknown)) {
        Ok(Some(number)) => (atoms::ok(), encode_number(env, number)).encode(env),
        Ok(None) => (atoms::ok(), atoms::nil()).encode(env),
        Err(refusal) => refused(env, refusal),
    })
}
