//! What each event name has measured so far: the aggregates of Foundation 1.x.
//!
//! One entry a name, found by its key in a concurrent map and changed under a lock of its own, so that names do not
//! wait for each other and no reader waits for more than one update. Bounded: at most `max_names` names are kept;
//! events of further names are counted in [`Aggregates::dropped`].

use crate::layout::Number;
use crate::registry::Series;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A measured value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An integer.
    Int(i128),
    /// A finite float.
    Float(f64),
    /// Anything else, kept as the bytes the caller gave.
    Opaque(Box<[u8]>),
}

/// How a new value joins the one already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The sum of both.
    Add,
    /// The new one.
    Last,
    /// Half of the sum of both, as a float.
    Mean,
}

impl Value {
    /// Joins `new` to this value by `rule`; values that are not both numbers leave the new one.
    fn join(&mut self, new: Value, rule: Rule) {
        let joined = match (rule, &*self, &new) {
            (Rule::Add, Value::Int(a), Value::Int(b)) => Some(Value::Int(a.saturating_add(*b))),
            (Rule::Add, a, b) => float_pair(a, b).map(|(a, b)| Value::Float(finite(a + b))),
            (Rule::Mean, Value::Int(a), Value::Int(b)) => {
                Some(Value::Float(a.saturating_add(*b) as f64 / 2.0))
            }
            (Rule::Mean, a, b) => float_pair(a, b).map(|(a, b)| Value::Float(finite(a + b) / 2.0)),
            (Rule::Last, _, _) => None,
        };
        *self = joined.unwrap_or(new);
    }

    fn float(&self) -> Option<f64> {
        match self {
            Value::Int(n) => Some(*n as f64),
            Value::Float(x) => Some(*x),
            Value::Opaque(_) => None,
        }
    }
}

fn float_pair(a: &Value, b: &Value) -> Option<(f64, f64)> {
    Some((a.float()?, b.float()?))
}

/// The nearest number that a term can hold.
fn finite(x: f64) -> f64 {
    x.clamp(f64::MIN, f64::MAX)
}

/// One measurement of an event.
#[derive(Clone, Debug)]
pub struct Measurement<'k> {
    /// The key of the measurement's name.
    pub key: &'k [u8],
    /// How it joins what is there.
    pub rule: Rule,
    /// The value.
    pub value: Value,
}

/// What one name has measured.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The name's key.
    pub name: Box<[u8]>,
    /// Events so far.
    pub count: u64,
    /// When the last one came, in the caller's unit.
    pub timestamp: i64,
    /// The key and the joined value of each measurement.
    pub measurements: Vec<(Box<[u8]>, Value)>,
    /// The metadata of the first event, as given.
    pub metadata: Arc<[u8]>,
}

struct State {
    count: u64,
    timestamp: i64,
    measurements: Vec<(Box<[u8]>, Value)>,
    histogram: Option<Arc<Series>>,
}

/// One event name.
pub struct Event {
    state: Mutex<State>,
    metadata: Arc<[u8]>,
}

impl Event {
    /// Joins one event to what is there. O(measurements), at most 64 of them kept apart.
    pub fn update<'k>(&self, timestamp: i64, measurements: impl IntoIterator<Item = Measurement<'k>>) {
        let mut state = self.state.lock();
        state.count += 1;
        state.timestamp = timestamp;
        for m in measurements {
            let known = &mut state.measurements;
            match known.iter().position(|(key, _)| &**key == m.key) {
                Some(at) => known[at].1.join(m.value, m.rule),
                None if known.len() < MAX_MEASUREMENTS => known.push((m.key.into(), m.value)),
                None => {}
            }
        }
    }
}

impl Event {
    /// Records a value into the histogram of this name, which `find` looks up when it is not known yet or was
    /// forgotten by its registry.
    pub fn feed(&self, number: Number, now_ms: u64, find: impl FnOnce() -> Option<Arc<Series>>) {
        let mut state = self.state.lock();
        if state.histogram.as_ref().is_none_or(|series| series.is_gone()) {
            state.histogram = find();
        }
        if let Some(series) = &state.histogram {
            // A histogram takes every number.
            let _ = series.record(number, now_ms);
        }
    }
}

/// Most measurements of one name that are kept.
pub const MAX_MEASUREMENTS: usize = 64;

/// All names.
pub struct Aggregates {
    events: DashMap<Box<[u8]>, Arc<Event>, ahash::RandomState>,
    max_names: usize,
    dropped: AtomicU64,
}

impl Aggregates {
    /// An empty set that takes at most `max_names` names.
    #[must_use]
    pub fn new(max_names: usize) -> Self {
        Self {
            events: DashMap::default(),
            max_names,
            dropped: AtomicU64::new(0),
        }
    }

    /// The entry of that name. O(key).
    #[must_use]
    pub fn find(&self, name: &[u8]) -> Option<Arc<Event>> {
        self.events.get(name).map(|entry| Arc::clone(entry.value()))
    }

    /// Calls `f` with the entry of that name if it exists; `f` must not come back to this set.
    pub fn with<R>(&self, name: &[u8], f: impl FnOnce(&Event) -> R) -> Option<R> {
        self.events.get(name).map(|entry| f(entry.value()))
    }

    /// The entry of that name, made with `metadata` when there is none; `None`, and counted, when the set is full.
    pub fn find_or_insert(&self, name: &[u8], metadata: &[u8]) -> Option<Arc<Event>> {
        if let Some(event) = self.find(name) {
            return Some(event);
        }
        if self.events.len() >= self.max_names {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        match self.events.entry(name.into()) {
            Entry::Occupied(entry) => Some(Arc::clone(entry.get())),
            Entry::Vacant(entry) => {
                let event = Arc::new(Event {
                    state: Mutex::new(State {
                        count: 0,
                        timestamp: i64::MIN,
                        measurements: Vec::new(),
                        histogram: None,
                    }),
                    metadata: metadata.into(),
                });
                entry.insert(Arc::clone(&event));
                Some(event)
            }
        }
    }

    /// What every name has measured, in no order. O(names).
    #[must_use]
    pub fn collect(&self) -> Vec<Snapshot> {
        self.events
            .iter()
            .map(|entry| {
                let event = entry.value();
                let state = event.state.lock();
                Snapshot {
                    name: entry.key().clone(),
                    count: state.count,
                    timestamp: state.timestamp,
                    measurements: state.measurements.clone(),
                    metadata: Arc::clone(&event.metadata),
                }
            })
            .filter(|snapshot| snapshot.count > 0)
            .collect()
    }

    /// Forgets the names whose last event is older than `oldest`; says how many. O(names).
    pub fn sweep(&self, oldest: i64) -> usize {
        let mut removed = 0;
        self.events.retain(|_, event| {
            let keep = event.state.lock().timestamp >= oldest;
            removed += usize::from(!keep);
            keep
        });
        removed
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.events.clear();
        self.dropped.store(0, Ordering::Relaxed);
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there is no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// How many events were left out because the set was full.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
