//! Glue for the text formats: names and tags become text here, where atoms can be read.

use super::{Metrics, atoms, clock, quantiles};
use crate::key;
use foundation_metrics::aggregate::{Snapshot, Value};
use foundation_metrics::exposition::{Format, Metric, Row, Sample, Shape, write};
use foundation_metrics::layout::Number;
use foundation_metrics::registry::{Data, Exemplar, Kind, Series};
use foundation_metrics::window::Window;
use rustler::{Atom, Env, Error, MapIterator, NifResult, Term, TermType};
use std::collections::HashMap;

/// All metrics as text, histograms as buckets or, when quantiles are given, as summaries.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_scrape<'a>(env: Env<'a>, metrics: &Metrics, format: Atom, at: Term<'a>) -> NifResult<Term<'a>> {
    let (format, shape) = (text_format(format)?, shape(at)?);
    let mut all = families(env, metrics)?;
    all.extend(events(env, metrics)?);
    all.extend(own(env, metrics, &all)?);
    Ok(super::binary(env, write(&all, format, &shape).as_bytes()))
}

pub(super) fn text_format(format: Atom) -> NifResult<Format> {
    if format == atoms::prometheus() {
        Ok(Format::Prometheus)
    } else if format == atoms::openmetrics() {
        Ok(Format::OpenMetrics)
    } else {
        Err(Error::BadArg)
    }
}

/// Buckets, or when there are quantiles a summary.
pub(super) fn shape(at: Term<'_>) -> NifResult<Shape> {
    let at = quantiles(at)?;
    Ok(if at.is_empty() {
        Shape::Buckets
    } else {
        Shape::Summary(at)
    })
}

/// One series to be written.
pub(super) struct Reading<'k> {
    pub(super) name: &'k [u8],
    pub(super) tags: &'k [u8],
    pub(super) kind: Kind,
    pub(super) help: &'k str,
    pub(super) unit: &'k str,
    pub(super) bounds: &'k [f64],
    pub(super) sample: Sample,
    pub(super) exemplars: Vec<Exemplar>,
}

/// The names with their series, in the order of their text.
fn families(env: Env<'_>, metrics: &Metrics) -> NifResult<Vec<Metric>> {
    let now = clock::now_ms();
    let mut series = metrics.registry.all();
    series.sort_by(|a, b| a.0.cmp(&b.0));
    let readings = series.iter().filter_map(|(bytes, series)| {
        let (family, config) = (&series.family, &series.family.config);
        Some(Reading {
            name: &family.name,
            tags: bytes.get(family.name.len()..)?,
            kind: config.kind,
            help: &config.help,
            unit: &config.unit,
            bounds: &config.bounds,
            sample: sample(series, Window::All, now)?,
            exemplars: series.exemplars(),
        })
    });
    grouped(env, readings)
}

/// The series under their names, in the order of the names' text.
pub(super) fn grouped<'k>(
    env: Env<'_>,
    readings: impl Iterator<Item = Reading<'k>>,
) -> NifResult<Vec<Metric>> {
    let mut by_name: HashMap<&[u8], Metric> = HashMap::new();
    for reading in readings {
        let row = Row {
            labels: labels(key::to_term(env, reading.tags)?)?,
            sample: reading.sample,
            exemplars: reading.exemplars,
        };
        match by_name.get_mut(reading.name) {
            Some(metric) => metric.rows.push(row),
            None => {
                let metric = Metric {
                    name: name_text(key::to_term(env, reading.name)?, "_")?,
                    kind: reading.kind,
                    help: reading.help.to_owned(),
                    unit: reading.unit.to_owned(),
                    bounds: reading.bounds.to_vec(),
                    rows: vec![row],
                };
                by_name.insert(reading.name, metric);
            }
        }
    }
    let mut all: Vec<Metric> = by_name.into_values().collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// Where a series stands; none for a gauge never set.
pub(super) fn sample(series: &Series, over: Window, now: u64) -> Option<Sample> {
    Some(match &series.data {
        Data::Counter(counter) => Sample::Number(counter.value()),
        Data::Gauge(gauge) => Sample::Number(gauge.value()?),
        Data::Histogram(recorder) => Sample::Distribution(Box::new(recorder.read(over, now))),
    })
}

/// The aggregates of 1.x: counters and gauges under their event's name, and how often each event came.
fn events(env: Env<'_>, metrics: &Metrics) -> NifResult<Vec<Metric>> {
    let mut snapshots: Vec<(String, String, Snapshot)> = Vec::new();
    for snapshot in metrics.aggregates.collect() {
        let name = key::to_term(env, &snapshot.name)?;
        snapshots.push((name_text(name, "_")?, name_text(name, ".")?, snapshot));
    }
    snapshots.sort_by(|a, b| a.0.cmp(&b.0));
    let mut all = Vec::new();
    let mut counts = Vec::new();
    for (name, dotted, snapshot) in snapshots {
        for (kind, number) in levels(env, &snapshot)? {
            all.push(plain(&name, kind, vec![row(Vec::new(), number)]));
        }
        let count = Number::Int(i64::try_from(snapshot.count).unwrap_or(i64::MAX));
        counts.push(row(vec![("event".to_owned(), dotted)], count));
    }
    if !counts.is_empty() {
        let mut metric = plain("foundation_events", Kind::Counter, counts);
        metric.help = "Telemetry events by name".to_owned();
        all.push(metric);
    }
    Ok(all)
}

/// What a name of 1.x counts and where it stands.
pub(super) fn levels(env: Env<'_>, snapshot: &Snapshot) -> NifResult<Vec<(Kind, Number)>> {
    let mut levels = Vec::new();
    for (bytes, value) in &snapshot.measurements {
        let measured = key::to_term(env, bytes)?;
        let kind = if atoms::counter() == measured {
            Kind::Counter
        } else if atoms::gauge() == measured {
            Kind::Gauge
        } else {
            continue;
        };
        if let Some(number) = value_number(value) {
            let kind = if number.to_f64() < 0.0 { Kind::Sum } else { kind };
            levels.push((kind, number));
        }
    }
    Ok(levels)
}

/// What the registry says about itself: values clamped, tags that went to an overflow series.
fn own(env: Env<'_>, metrics: &Metrics, shown: &[Metric]) -> NifResult<Vec<Metric>> {
    let mut clamped = Vec::new();
    for metric in shown {
        let n: u64 = metric
            .rows
            .iter()
            .map(|row| match &row.sample {
                Sample::Distribution(d) => d.clamped(),
                Sample::Number(_) => 0,
            })
            .sum();
        if n > 0 {
            clamped.push(by_metric(metric.name.clone(), n));
        }
    }
    let mut overflowed = Vec::new();
    for family in metrics.registry.families() {
        if family.overflowed() > 0 {
            let name = name_text(key::to_term(env, &family.name)?, "_")?;
            overflowed.push(by_metric(name, family.overflowed()));
        }
    }
    let sets = [
        ("foundation_metrics_clamped", clamped),
        ("foundation_metrics_overflowed", overflowed),
    ];
    Ok(sets
        .into_iter()
        .filter(|(_, rows)| !rows.is_empty())
        .map(|(name, rows)| plain(name, Kind::Counter, rows))
        .collect())
}

fn by_metric(name: String, n: u64) -> Row {
    let number = Number::Int(i64::try_from(n).unwrap_or(i64::MAX));
    row(vec![("metric".to_owned(), name)], number)
}

fn row(labels: Vec<(String, String)>, number: Number) -> Row {
    Row {
        labels,
        sample: Sample::Number(number),
        exemplars: Vec::new(),
    }
}

fn plain(name: &str, kind: Kind, rows: Vec<Row>) -> Metric {
    Metric {
        name: name.to_owned(),
        kind,
        help: String::new(),
        unit: String::new(),
        bounds: Vec::new(),
        rows,
    }
}

fn value_number(value: &Value) -> Option<Number> {
    match value {
        Value::Int(n) => Some(i64::try_from(*n).map_or(Number::Float(*n as f64), Number::Int)),
        Value::Float(x) => Some(Number::Float(*x)),
        Value::Opaque(_) => None,
    }
}

fn labels(tags: Term<'_>) -> NifResult<Vec<(String, String)>> {
    MapIterator::new(tags)
        .ok_or(Error::BadArg)?
        .map(|(k, v)| Ok((text(k)?, text(v)?)))
        .collect()
}

/// The parts of a list joined, or the text of anything else.
fn name_text(term: Term<'_>, joint: &str) -> NifResult<String> {
    if !term.is_list() {
        return text(term);
    }
    let mut parts = Vec::new();
    let mut rest = term;
    while !rest.is_empty_list() {
        let (head, tail) = rest.list_get_cell()?;
        parts.push(text(head)?);
        rest = tail;
    }
    Ok(parts.join(joint))
}

fn text(term: Term<'_>) -> NifResult<String> {
    match term.get_type() {
        TermType::Atom => term.atom_to_string(),
        TermType::Binary if term.is_binary() => {
            let bytes = rustler::Binary::from_term(term)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        }
        TermType::Float => Ok(format!("{:?}", term.decode::<f64>()?)),
        _ => Ok(format!("{term:?}")),
    }
}
