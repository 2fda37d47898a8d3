//! The text formats that Prometheus reads: its own (0.0.4) and OpenMetrics 1.0.

use crate::distribution::Distribution;
use crate::layout::Number;
use crate::registry::{Exemplar, Kind};
use std::collections::HashSet;
use std::fmt::Write as _;

/// Which text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus text, version 0.0.4.
    Prometheus,
    /// OpenMetrics text, version 1.0.0.
    OpenMetrics,
}

/// How histograms are written.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// As cumulative buckets.
    Buckets,
    /// As these quantiles.
    Summary(Vec<f64>),
}

/// The value of one sample.
#[derive(Clone, Debug)]
pub enum Sample {
    /// Of a counter, gauge or sum.
    Number(Number),
    /// Of a histogram.
    Distribution(Box<Distribution>),
}

/// One series to write.
pub struct Row {
    /// Label names and values, in any text.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub sample: Sample,
    /// Observations shown beside it.
    pub exemplars: Vec<Exemplar>,
}

/// One name to write.
pub struct Metric {
    /// The name, in any text.
    pub name: String,
    /// The kind.
    pub kind: Kind,
    /// What it measures.
    pub help: String,
    /// The unit of its values.
    pub unit: String,
    /// Upper bounds of its buckets; none for a choice by the values.
    pub bounds: Vec<f64>,
    /// Its series.
    pub rows: Vec<Row>,
}

/// Writes all metrics. A name that another one has already taken is left out, and mentioned in a comment where the
/// format allows one.
#[must_use]
pub fn write(metrics: &[Metric], format: Format, shape: &Shape) -> String {
    let mut writer = Writer {
        out: String::new(),
        format,
        taken: HashSet::new(),
    };
    for metric in metrics {
        writer.metric(metric, shape);
    }
    if format == Format::OpenMetrics {
        writer.out.push_str("# EOF\n");
    }
    writer.out
}

struct Writer {
    out: String,
    format: Format,
    taken: HashSet<String>,
}

impl Writer {
    fn metric(&mut self, metric: &Metric, shape: &Shape) {
        let name = family_name(metric);
        if !self.take(&name) {
            return;
        }
        let kind = match (metric.kind, shape) {
            (Kind::Counter, _) => "counter",
            (Kind::Gauge | Kind::Sum, _) => "gauge",
            (Kind::Histogram, Shape::Buckets) => "histogram",
            (Kind::Histogram, Shape::Summary(_)) => "summary",
        };
        self.head(&name, kind, metric);
        let bounds = bounds(metric);
        for row in &metric.rows {
            let labels = labels(&row.labels);
            match &row.sample {
                Sample::Number(number) => self.number(&name, kind, &labels, *number, row),
                Sample::Distribution(d) => match shape {
                    Shape::Buckets => self.buckets(&name, &labels, d, &bounds, row),
                    Shape::Summary(quantiles) => self.summary(&name, &labels, d, quantiles),
                },
            }
        }
    }

    /// Takes the name together with those its samples may have, unless one of them is in use.
    fn take(&mut self, name: &str) -> bool {
        let all = ["", "_total", "_created", "_bucket", "_sum", "_count", "_info"]
            .map(|end| format!("{name}{end}"));
        if all.iter().any(|name| self.taken.contains(name)) {
            return false;
        }
        self.taken.extend(all);
        true
    }

    fn head(&mut self, name: &str, kind: &str, metric: &Metric) {
        // Prometheus text names the sample, OpenMetrics the family.
        let shown = match (self.format, kind) {
            (Format::Prometheus, "counter") => format!("{name}_total"),
            _ => name.to_owned(),
        };
        if !metric.help.is_empty() {
            let help = escape(&metric.help, self.format == Format::OpenMetrics);
            let _ = writeln!(self.out, "# HELP {shown} {help}");
        }
        let _ = writeln!(self.out, "# TYPE {shown} {kind}");
        let unit = sanitize(&metric.unit);
        if self.format == Format::OpenMetrics && !metric.unit.is_empty() {
            let _ = writeln!(self.out, "# UNIT {shown} {unit}");
        }
    }

    fn number(&mut self, name: &str, kind: &str, labels: &str, number: Number, row: &Row) {
        let end = if kind == "counter" { "_total" } else { "" };
        let _ = write!(self.out, "{name}{end}{} ", braces(labels, ""));
        match number {
            Number::Int(n) => {
                let _ = write!(self.out, "{n}");
            }
            Number::Float(x) => self.out.push_str(&float(x)),
        }
        if kind == "counter" {
            self.exemplar(row.exemplars.iter().max_by_key(|e| e.unix_ms));
        }
        self.out.push('\n');
    }

    fn buckets(&mut self, name: &str, labels: &str, d: &Distribution, bounds: &[f64], row: &Row) {
        let mut below = f64::NEG_INFINITY;
        let counts = d.cumulative(bounds);
        let all = bounds.iter().copied().zip(counts);
        for (bound, n) in all.chain([(f64::INFINITY, d.count())]) {
            let le = format!("le=\"{}\"", float(bound));
            let _ = write!(self.out, "{name}_bucket{} {n}", braces(labels, &le));
            let within = |e: &&Exemplar| e.value > below && e.value <= bound;
            self.exemplar(row.exemplars.iter().filter(within).max_by_key(|e| e.unix_ms));
            self.out.push('\n');
            below = bound;
        }
        self.sum_and_count(name, labels, d);
    }

    fn summary(&mut self, name: &str, labels: &str, d: &Distribution, quantiles: &[f64]) {
        for (q, value) in quantiles.iter().zip(d.quantiles(quantiles)) {
            let quantile = format!("quantile=\"{}\"", float(*q));
            let _ = writeln!(self.out, "{name}{} {}", braces(labels, &quantile), float(value));
        }
        self.sum_and_count(name, labels, d);
    }

    fn sum_and_count(&mut self, name: &str, labels: &str, d: &Distribution) {
        let labels = braces(labels, "");
        let _ = writeln!(self.out, "{name}_sum{labels} {}", float(d.sum()));
        let _ = writeln!(self.out, "{name}_count{labels} {}", d.count());
    }

    fn exemplar(&mut self, exemplar: Option<&Exemplar>) {
        if self.format == Format::OpenMetrics
            && let Some(e) = exemplar
        {
            let labels = labels(&e.labels);
            let seconds = e.unix_ms as f64 / 1000.0;
            let _ = write!(self.out, " # {{{labels}}} {} {seconds:.3}", float(e.value));
        }
    }
}

/// The family's name: sanitized, its unit at the end, a counter without `_total`.
fn family_name(metric: &Metric) -> String {
    let mut name = sanitize(&metric.name);
    if metric.kind == Kind::Counter
        && let Some(short) = name.strip_suffix("_total")
    {
        name = short.to_owned();
    }
    let unit = sanitize(&metric.unit);
    if !metric.unit.is_empty() && name != unit && !name.ends_with(&format!("_{unit}")) {
        name = format!("{name}_{unit}");
    }
    name
}

/// A name of letters, digits and underscores that does not begin with a digit.
#[must_use]
pub fn sanitize(text: &str) -> String {
    let mut name: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// `a="x",b="y"`, ascending; of several names that are written the same, the first is kept.
fn labels(pairs: &[(String, String)]) -> String {
    let mut named: Vec<(String, &str)> = pairs.iter().map(|(k, v)| (label_name(k), v.as_str())).collect();
    named.sort();
    named.dedup_by(|a, b| a.0 == b.0);
    let all: Vec<String> = named
        .iter()
        .map(|(k, v)| format!("{k}=\"{}\"", escape(v, true)))
        .collect();
    all.join(",")
}

// Names that begin with two underscores, and those of the formats themselves, are reserved.
fn label_name(text: &str) -> String {
    let name = sanitize(text);
    if name.starts_with("__") || name == "le" || name == "quantile" {
        format!("tag_{}", name.trim_start_matches('_'))
    } else {
        name
    }
}

fn braces(labels: &str, extra: &str) -> String {
    match (labels.is_empty(), extra.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!("{{{labels}}}"),
        (true, false) => format!("{{{extra}}}"),
        (false, false) => format!("{{{labels},{extra}}}"),
    }
}

fn escape(text: &str, quotes: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    out
}

fn float(x: f64) -> String {
    if x == f64::INFINITY {
        "+Inf".to_owned()
    } else {
        // The shortest text that reads back as the same number, always with a point or an exponent.
        format!("{x:?}")
    }
}

/// The declared bounds, or 1, 2 and 5 of each decade from the least to the largest value of all series.
fn bounds(metric: &Metric) -> Vec<f64> {
    if !metric.bounds.is_empty() {
        return metric.bounds.clone();
    }
    let distributions = || {
        metric.rows.iter().filter_map(|row| match &row.sample {
            Sample::Distribution(d) => Some(d),
            Sample::Number(_) => None,
        })
    };
    let positive = |x: Option<f64>, d: &Distribution| x.map(|x| x.max(d.layout().resolution()));
    let low = distributions()
        .filter_map(|d| positive(d.min(), d))
        .fold(f64::INFINITY, f64::min);
    let high = distributions()
        .filter_map(|d| positive(d.max(), d))
        .fold(0.0, f64::max);
    if low > high {
        return Vec::new();
    }
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let mut all: Vec<f64> = (first..=last)
        .flat_map(|exponent| [1, 2, 5].map(|m| (m, exponent)))
        // Read from text, so that 2e-3 is the double nearest to 0.002.
        .filter_map(|(m, exponent)| format!("{m}e{exponent}").parse().ok())
        .collect();
    let used = all.partition_point(|&bound| bound < high);
    all.truncate(used + 1);
    all
}
