//! Glue for reading: distributions, encodings, baselines, lists. All of it grows with what is stored, hence dirty.

use super::{Metrics, atoms, clock, kind_atom, quantiles, refused, series_key, window};
use crate::{key, term};
use foundation_metrics::Error as Refusal;
use foundation_metrics::compare::{Comparison, compare};
use foundation_metrics::distribution::Distribution;
use foundation_metrics::encoding;
use foundation_metrics::registry::{Baseline, Data, Series};
use foundation_metrics::window::Window;
use rustler::{Atom, Binary, Encoder, Env, NifResult, Term};
use std::sync::Arc;

/// Most histograms that one call merges.
const MAX_MERGE: usize = 65_536;

/// The distribution of one series, or with `all` for tags of all series of the name.
fn distribution(
    metrics: &Metrics,
    name: Term<'_>,
    tags: Term<'_>,
    window: Window,
) -> NifResult<Result<Distribution, Refusal>> {
    let now = clock::now_ms();
    if atoms::all() != tags {
        return Ok(series(metrics, name, tags)?.and_then(|series| read(&series, window, now)));
    }
    let name = key::key(name)?;
    let Some(family) = metrics.registry.find_family(&name) else {
        return Ok(Err(Refusal::Unknown));
    };
    let mut merged = Distribution::new(family.config.layout);
    for (_, series) in metrics.registry.of_name(&name) {
        match read(&series, window, now) {
            Ok(one) => merged.merge(&one),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    Ok(Ok(merged))
}

fn series(metrics: &Metrics, name: Term<'_>, tags: Term<'_>) -> NifResult<Result<Arc<Series>, Refusal>> {
    let mut key = key::KeyBuf::new();
    series_key(name, tags, &mut key)?;
    Ok(metrics.registry.find(&key).ok_or(Refusal::Unknown))
}

fn read(series: &Series, window: Window, now: u64) -> Result<Distribution, Refusal> {
    match &series.data {
        Data::Histogram(recorder) => Ok(recorder.read(window, now)),
        _ => Err(Refusal::Kind),
    }
}

/// `{:ok, …}` with what `tell` makes of the value, or why there is none.
fn answer<'a, T>(
    env: Env<'a>,
    found: Result<T, Refusal>,
    tell: impl FnOnce(T) -> NifResult<Term<'a>>,
) -> NifResult<Term<'a>> {
    match found {
        Ok(value) => Ok((atoms::ok(), tell(value)?).encode(env)),
        Err(refusal) => Ok(refused(env, refusal)),
    }
}

/// `{count, sum, min, max, mean, stddev, clamped, resolution, digits, sum_units, [quantile value]}`.
pub(super) fn describe<'a>(env: Env<'a>, d: &Distribution, quantiles: &[f64]) -> NifResult<Term<'a>> {
    let layout = d.layout();
    let items = [
        d.count().encode(env),
        d.sum().encode(env),
        d.min().encode(env),
        d.max().encode(env),
        d.mean().encode(env),
        d.stddev().encode(env),
        d.clamped().encode(env),
        layout.resolution().encode(env),
        layout.digits().encode(env),
        super::aggregate::integer(env, i128::try_from(d.sum_units()).unwrap_or(i128::MAX))?,
        d.quantiles(quantiles).encode(env),
    ];
    Ok(rustler::types::tuple::make_tuple(env, &items))
}

/// Describes what a name has recorded in a window.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_read<'a>(
    env: Env<'a>,
    metrics: &Metrics,
    name: Term<'a>,
    tags: Term<'a>,
    over: Atom,
    at: Term<'a>,
) -> NifResult<Term<'a>> {
    let at = quantiles(at)?;
    let found = distribution(metrics, name, tags, window(over)?)?;
    answer(env, found, |d| describe(env, &d, &at))
}

/// What a name has recorded in a window, as HdrHistogram V2, compressed or not.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_encode<'a>(
    env: Env<'a>,
    metrics: &Metrics,
    name: Term<'a>,
    tags: Term<'a>,
    over: Atom,
    compressed: bool,
) -> NifResult<Term<'a>> {
    let found = distribution(metrics, name, tags, window(over)?)?;
    answer(env, found, |d| Ok(encoded(env, &d, compressed)))
}

fn encoded<'a>(env: Env<'a>, d: &Distribution, compressed: bool) -> Term<'a> {
    let bytes = if compressed {
        encoding::encode_compressed(d)
    } else {
        encoding::encode(d)
    };
    super::binary(env, &bytes)
}

/// Describes an encoded histogram.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_decode<'a>(env: Env<'a>, bytes: Binary<'a>, at: Term<'a>) -> NifResult<Term<'a>> {
    let at = quantiles(at)?;
    answer(env, encoding::decode(&bytes), |d| describe(env, &d, &at))
}

/// The merger of encoded histograms, encoded.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_merge<'a>(env: Env<'a>, encodings: Term<'a>, compressed: bool) -> NifResult<Term<'a>> {
    let mut merged: Option<Distribution> = None;
    for item in term::list(encodings, MAX_MERGE)? {
        match encoding::decode(&Binary::from_term(item)?) {
            Ok(d) => match &mut merged {
                Some(merged) => merged.merge(&d),
                None => merged = Some(d),
            },
            Err(refusal) => return Ok(refused(env, refusal)),
        }
    }
    answer(env, merged.ok_or(Refusal::Empty), |d| {
        Ok(encoded(env, &d, compressed))
    })
}

/// Keeps all that a series has recorded so far as its baseline; says how many values that is.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_baseline_set<'a>(
    env: Env<'a>,
    metrics: &Metrics,
    name: Term<'a>,
    tags: Term<'a>,
    unix_ms: i64,
) -> NifResult<Term<'a>> {
    let series = series(metrics, name, tags)?;
    let done = series.and_then(|series| {
        let all = read(&series, Window::All, clock::now_ms())?;
        let count = all.count();
        series.set_baseline(Baseline { all, unix_ms });
        Ok(count)
    });
    answer(env, done, |count| Ok(count.encode(env)))
}

/// How far a series has moved from its baseline, over a window or since the baseline was set:
/// `{ks, p_value, [{quantile, before, now}], {count, mean}, {count, mean}, unix_ms}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_baseline_compare<'a>(
    env: Env<'a>,
    metrics: &Metrics,
    name: Term<'a>,
    tags: Term<'a>,
    over: Atom,
    at: Term<'a>,
) -> NifResult<Term<'a>> {
    let at = quantiles(at)?;
    let since = over == atoms::since_baseline();
    let over = if since { Window::All } else { window(over)? };
    let found = series(metrics, name, tags)?.and_then(|series| {
        let now = read(&series, over, clock::now_ms())?;
        let baseline = series.baseline().ok_or(Refusal::Unknown)?;
        let now = if since { now.since(&baseline.all) } else { now };
        let compared = compare(&baseline.all, &now, &at).ok_or(Refusal::Empty)?;
        Ok((baseline, now, compared))
    });
    answer(env, found, |(baseline, now, compared)| {
        let of = |d: &Distribution| (d.count(), d.mean());
        let Comparison {
            statistic,
            p_value,
            quantiles,
        } = compared;
        let (before, now) = (of(&baseline.all), of(&now));
        Ok((statistic, p_value, quantiles, before, now, baseline.unix_ms).encode(env))
    })
}

/// `[{name, tags, kind}]`: every series.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_series<'a>(env: Env<'a>, metrics: &Metrics) -> NifResult<Vec<Term<'a>>> {
    metrics
        .registry
        .all()
        .iter()
        .map(|(bytes, series)| {
            let (name, tags) = bytes.split_at(series.family.name.len().min(bytes.len()));
            let kind = kind_atom(series.family.config.kind);
            Ok((key::to_term(env, name)?, key::to_term(env, tags)?, kind).encode(env))
        })
        .collect()
}

/// `{names, series, refused names, dropped events, bytes, [{name, kind, series, overflowed}]}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_cardinality<'a>(env: Env<'a>, metrics: &Metrics) -> NifResult<Term<'a>> {
    let registry = &metrics.registry;
    let families = registry
        .families()
        .iter()
        .map(|family| {
            let name = key::to_term(env, &family.name)?;
            Ok((
                name,
                kind_atom(family.config.kind),
                family.series(),
                family.overflowed(),
            )
                .encode(env))
        })
        .collect::<NifResult<Vec<Term<'a>>>>()?;
    let dropped = metrics.aggregates.dropped();
    let totals = (
        registry.names(),
        registry.len(),
        registry.refused(),
        dropped,
        registry.bytes(),
        families,
    );
    Ok(totals.encode(env))
}

/// Forgets a name and its series; says how many series that were.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_forget<'a>(metrics: &Metrics, name: Term<'a>) -> NifResult<usize> {
    Ok(metrics.registry.forget(&key::key(name)?))
}
