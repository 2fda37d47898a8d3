//! Glue for the 1.x aggregates: one event in, all names out.

use super::{Metrics, atoms};
use crate::handle::fast_nif;
use crate::key::{self, KeyBuf};
use crate::term;
use foundation_metrics::aggregate::{Event, Measurement, Rule, Snapshot, Value};
use foundation_metrics::layout::Number;
use foundation_metrics::registry::{Kind, Series};
use rustler::{Atom, Encoder, Env, Error, NifResult, Term, TermType};
use smallvec::SmallVec;
use std::sync::Arc;

/// Most measurements that a call on a normal scheduler takes.
const MAX_MEASUREMENTS: usize = 64;
/// The longest integer whose arithmetic is exact, in bytes of magnitude.
const MAX_INTEGER: usize = 16;

fast_nif!("metrics_execute", 5, execute);

/// `metrics_execute(metrics, name, measurements, timestamp, timed)`: adds an event to a known name; `new` when the
/// name is unknown and nothing was done. The `:histogram` of an event, and its `:duration` when it is `timed`, also
/// go to the histogram of that name.
fn execute<'a>(
    env: Env<'a>,
    [metrics, name, measurements, timestamp, timed]: [Term<'a>; 5],
) -> NifResult<Term<'a>> {
    let metrics: &Metrics = metrics.decode()?;
    let name = key::key(name)?;
    if term::map_size(measurements).ok_or(Error::BadArg)? > MAX_MEASUREMENTS {
        return Ok(atoms::new().encode(env));
    }
    let (timestamp, timed) = (timestamp.decode()?, timed.decode()?);
    let done = metrics.aggregates.with(&name, |event| {
        update(metrics, event, &name, measurements, timestamp, timed)
    });
    Ok(done.unwrap_or(Ok(atoms::new()))?.encode(env))
}

/// Adds an event, its name with that metadata when the name is unknown.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_execute_new<'a>(
    metrics: &Metrics,
    name: Term<'a>,
    measurements: Term<'a>,
    metadata: Term<'a>,
    timestamp: i64,
    timed: bool,
) -> NifResult<Atom> {
    let name = key::key(name)?;
    let event = match metrics.aggregates.find(&name) {
        Some(event) => Some(event),
        None => metrics
            .aggregates
            .find_or_insert(&name, metadata.to_binary().as_slice()),
    };
    match event {
        Some(event) => update(metrics, &event, &name, measurements, timestamp, timed),
        None => Ok(atoms::ok()),
    }
}

fn update(
    metrics: &Metrics,
    event: &Event,
    name: &[u8],
    measurements: Term<'_>,
    timestamp: i64,
    timed: bool,
) -> NifResult<Atom> {
    let mut read: SmallVec<[(KeyBuf, Rule, Value); 2]> = SmallVec::new();
    let mut fed = None;
    let size = term::map_size(measurements).ok_or(Error::BadArg)?;
    term::pairs_of(measurements, size, |k, v| {
        if atoms::histogram() == k || (timed && atoms::duration() == k) {
            fed = super::number(v).ok();
        }
        read.push((key::key(k)?, rule(k), value(v)?));
        Ok(())
    })?;
    let measurements = read.iter_mut().map(|(key, rule, value)| Measurement {
        key,
        rule: *rule,
        value: std::mem::replace(value, Value::Int(0)),
    });
    event.update(timestamp, measurements);
    if let Some(number) = fed {
        event.feed(number, super::clock::now_ms(), || untagged(metrics, name, number));
    }
    Ok(atoms::ok())
}

/// The histogram of an event's name without tags; none when the name serves another kind or no more fit.
fn untagged(metrics: &Metrics, name: &[u8], first: Number) -> Option<Arc<Series>> {
    let key = [name, &metrics.no_tags].concat();
    super::record::find(metrics, &key, name.len(), Kind::Histogram, Some(first)).ok()
}

fn rule(key: Term<'_>) -> Rule {
    if atoms::counter() == key {
        Rule::Add
    } else if atoms::gauge() == key {
        Rule::Last
    } else {
        Rule::Mean
    }
}

fn value(term: Term<'_>) -> NifResult<Value> {
    Ok(match term.get_type() {
        TermType::Integer => match term.decode::<i64>() {
            Ok(n) => Value::Int(n.into()),
            Err(_) => big(term),
        },
        TermType::Float => Value::Float(term.decode()?),
        _ => Value::Opaque(term.to_binary().as_slice().into()),
    })
}

/// An integer beyond 64 bits, which the external format writes as its length, its sign and its bytes.
fn big(term: Term<'_>) -> Value {
    let external = term.to_binary();
    match external.as_slice() {
        [131, 110, len, sign, magnitude @ ..]
            if *len as usize == magnitude.len() && magnitude.len() < MAX_INTEGER =>
        {
            let mut bytes = [0; MAX_INTEGER];
            bytes[..magnitude.len()].copy_from_slice(magnitude);
            let n = i128::from_le_bytes(bytes);
            Value::Int(if *sign == 0 { n } else { -n })
        }
        bytes => Value::Opaque(bytes.into()),
    }
}

/// `[{name, timestamp, count, [{key, value}], metadata}]`: what every name has measured.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_collect<'a>(env: Env<'a>, metrics: &Metrics) -> NifResult<Vec<Term<'a>>> {
    metrics
        .aggregates
        .collect()
        .iter()
        .map(|snapshot| encode(env, snapshot))
        .collect()
}

fn encode<'a>(env: Env<'a>, snapshot: &Snapshot) -> NifResult<Term<'a>> {
    let measurements = snapshot
        .measurements
        .iter()
        .map(|(key, value)| Ok((key::to_term(env, key)?, encode_value(env, value)?)))
        .collect::<NifResult<Vec<_>>>()?;
    let name = key::to_term(env, &snapshot.name)?;
    let metadata = external(env, &snapshot.metadata)?;
    Ok((name, snapshot.timestamp, snapshot.count, measurements, metadata).encode(env))
}

fn encode_value<'a>(env: Env<'a>, value: &Value) -> NifResult<Term<'a>> {
    match value {
        Value::Int(n) => integer(env, *n),
        Value::Float(x) => Ok(x.encode(env)),
        Value::Opaque(bytes) => external(env, bytes),
    }
}

/// An integer of up to 128 bits.
pub(crate) fn integer<'a>(env: Env<'a>, n: i128) -> NifResult<Term<'a>> {
    if let Ok(n) = i64::try_from(n) {
        return Ok(n.encode(env));
    }
    let mut bytes = vec![131, 110, MAX_INTEGER as u8, u8::from(n < 0)];
    bytes.extend_from_slice(&n.unsigned_abs().to_le_bytes());
    external(env, &bytes)
}

fn external<'a>(env: Env<'a>, bytes: &[u8]) -> NifResult<Term<'a>> {
    env.binary_to_term(bytes)
        .map(|(term, _)| term)
        .ok_or(Error::BadArg)
}

/// Forgets the names whose last event is older than `oldest`; says how many.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_sweep(metrics: &Metrics, oldest: i64) -> usize {
    metrics.aggregates.sweep(oldest)
}

/// How many event names there are.
#[rustler::nif]
fn metrics_names(metrics: &Metrics) -> usize {
    metrics.aggregates.len()
}
