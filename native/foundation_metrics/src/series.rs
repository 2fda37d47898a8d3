//! One series: what it holds, its exemplars and its baseline.

use crate::Error;
use crate::distribution::Distribution;
use crate::layout::Number;
use crate::number::{Counter, Gauge};
use crate::recorder::Recorder;
use crate::registry::{Family, Kind};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// An observation that a scraper is shown beside a sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// Names and values, at most 128 characters together.
    pub labels: Vec<(String, String)>,
    /// The value observed.
    pub value: f64,
    /// When, in milliseconds since 1970.
    pub unix_ms: i64,
}

/// Most exemplars a series keeps, the newest of each decade of values.
const MAX_EXEMPLARS: usize = 24;

/// What a series holds. A histogram lies in its series, one load nearer than in a box of its own.
#[allow(clippy::large_enum_variant)]
pub enum Data {
    /// Of a counter or a sum.
    Counter(Counter),
    /// Of a gauge.
    Gauge(Gauge),
    /// Of a histogram.
    Histogram(Recorder),
}

/// One series.
pub struct Series {
    /// The name's kind.
    pub kind: Kind,
    /// The name's configuration and counts.
    pub family: Arc<Family>,
    /// What it holds.
    pub data: Data,
    exemplars: Mutex<Vec<Exemplar>>,
    baseline: Mutex<Option<Box<Baseline>>>,
    pub(crate) gone: AtomicBool,
}

/// A distribution kept to compare with.
#[derive(Clone, Debug)]
pub struct Baseline {
    /// All values so far at that moment.
    pub all: Distribution,
    /// When, in milliseconds since 1970.
    pub unix_ms: i64,
}

impl Series {
    pub(crate) fn new(family: Arc<Family>) -> Self {
        let config = &family.config;
        let data = match config.kind {
            Kind::Counter | Kind::Sum => Data::Counter(Counter::default()),
            Kind::Gauge => Data::Gauge(Gauge::default()),
            Kind::Histogram => Data::Histogram(Recorder::new(config.layout, config.adapts)),
        };
        Self {
            kind: config.kind,
            family,
            data,
            exemplars: Mutex::new(Vec::new()),
            baseline: Mutex::new(None),
            gone: AtomicBool::new(false),
        }
    }

    /// Takes a value: added, set or counted, as the kind wants it. O(1).
    ///
    /// # Errors
    /// [`Error::Negative`] for a counter.
    #[inline]
    pub fn record(&self, number: Number, now_ms: u64) -> Result<(), Error> {
        match &self.data {
            Data::Histogram(recorder) => recorder.record(number, now_ms),
            Data::Gauge(gauge) => gauge.set(number),
            Data::Counter(counter) => {
                if self.kind == Kind::Counter && number.to_f64() < 0.0 {
                    return Err(Error::Negative);
                }
                counter.add(number);
            }
        }
        Ok(())
    }

    /// Keeps an exemplar; the newest of each decade of values stays.
    pub fn exemplify(&self, exemplar: Exemplar) {
        let mut list = self.exemplars.lock();
        let decade = |e: &Exemplar| e.value.abs().max(f64::MIN_POSITIVE).log10().floor() as i32;
        match list.iter().position(|e| decade(e) == decade(&exemplar)) {
            Some(at) => list[at] = exemplar,
            None if list.len() < MAX_EXEMPLARS => list.push(exemplar),
            None => list[0] = exemplar,
        }
    }

    /// The exemplars kept.
    #[must_use]
    pub fn exemplars(&self) -> Vec<Exemplar> {
        self.exemplars.lock().clone()
    }

    /// Keeps a baseline in the place of the one before.
    pub fn set_baseline(&self, baseline: Baseline) {
        *self.baseline.lock() = Some(Box::new(baseline));
    }

    /// The baseline kept.
    #[must_use]
    pub fn baseline(&self) -> Option<Baseline> {
        self.baseline.lock().as_deref().cloned()
    }

    /// Whether the registry has forgotten this series: what is recorded here is seen by nobody.
    #[must_use]
    #[inline]
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}
