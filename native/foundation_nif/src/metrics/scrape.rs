//! Glue for the text formats: names and tags become text here, where atoms can be read.

use super::{Metrics, atoms, clock, quantiles};
use crate::key;
use foundation_metrics::aggregate::{Snapshot, Value};
use foundation_metrics::exposition::{Format, Metric, Row, Sample, Shape, write};
use foundation_metrics::layout::Number;
use foundation_metrics::registry::{Data, Family, Kind, Series};
use foundation_metrics::window::Window;
use rustler::{Atom, Env, Error, MapIterator, NewBinary, NifResult, Term, TermType};
use std::collections::HashMap;
use std::sync::Arc;

/// All metrics as text, histograms as buckets or, when quantiles are given, as summaries.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_scrape<'a>(env: Env<'a>, metrics: &Metrics, format: Atom, at: Term<'a>) -> NifResult<Term<'a>> {
    let format = if format == atoms::prometheus() {
        Format::Prometheus
    } else if format == atoms::openmetrics() {
        Format::OpenMetrics
    } else {
        return Err(Error::BadArg);
    };
    let at = quantiles(at)?;
    let shape = if at.is_empty() {
        Shape::Buckets
    } else {
        Shape::Summary(at)
    };
    let mut all = families(env, metrics)?;
    all.extend(events(env, metrics)?);
    all.extend(own(env, metrics, &all)?);
    let text = write(&all, format, &shape);
    let mut binary = NewBinary::new(env, text.len());
    binary.as_mut_slice().copy_from_slice(text.as_bytes());
    Ok(binary.into())
}

/// The names with their series, in the order of their text.
fn families(env: Env<'_>, metrics: &Metrics) -> NifResult<Vec<Metric>> {
    let now = clock::now_ms();
    let mut by_name: HashMap<Box<[u8]>, Metric> = HashMap::new();
    let mut series = metrics.registry.all();
    series.sort_by(|a, b| a.0.cmp(&b.0));
    for (bytes, series) in &series {
        let family = &series.family;
        let Some(sample) = sample(series, now) else {
            continue;
        };
        let tags = bytes.get(family.name.len()..).ok_or(Error::BadArg)?;
        let row = Row {
            labels: labels(key::to_term(env, tags)?)?,
            sample,
            exemplars: series.exemplars(),
        };
        match by_name.get_mut(&family.name) {
            Some(metric) => metric.rows.push(row),
            None => {
                by_name.insert(family.name.clone(), metric(env, family, row)?);
            }
        }
    }
    let mut all: Vec<Metric> = by_name.into_values().collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn sample(series: &Arc<Series>, now: u64) -> Option<Sample> {
    Some(match &series.data {
        Data::Counter(counter) => Sample::Number(counter.value()),
        Data::Gauge(gauge) => Sample::Number(gauge.value()?),
        Data::Histogram(recorder) => Sample::Distribution(Box::new(recorder.read(Window::All, now))),
    })
}

fn metric(env: Env<'_>, family: &Family, row: Row) -> NifResult<Metric> {
    let config = &family.config;
    Ok(Metric {
        name: name_text(key::to_term(env, &family.name)?, "_")?,
        kind: config.kind,
        help: config.help.clone(),
        unit: config.unit.clone(),
        bounds: config.bounds.clone(),
        rows: vec![row],
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
                all.push(plain(&name, kind, vec![row(Vec::new(), number)]));
            }
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
