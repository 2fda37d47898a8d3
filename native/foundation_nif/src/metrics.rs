//! Glue for the `metrics` domain.

mod aggregate;
mod clock;
mod cluster;
mod read;
mod record;
mod scrape;
mod usual;

use crate::handle::{self, held};
use crate::key::{self, KeyBuf};
use crate::word;
use foundation_metrics::Error as Refusal;
use foundation_metrics::aggregate::Aggregates;
use foundation_metrics::layout::Number;
use foundation_metrics::registry::{Bounds, Kind, Registry, Series};
use foundation_metrics::window::Window;
use rustler::{Atom, Encoder, Env, Error, NewBinary, NifResult, Term, TermType};
use std::sync::Arc;

mod atoms {
    rustler::atoms! {
        ok, error, new, gone, badarg, nil,
        counter, gauge, sum, histogram, duration,
        all, minute, five_minutes, hour, since_baseline,
        digits, resolution, range, encoding, kind, declared, full, unknown, negative, empty,
        overflow, prometheus, openmetrics, not_running, node,
    }
}

/// One set of metrics.
pub(crate) struct Metrics {
    aggregates: Aggregates,
    registry: Registry,
    max_series: usize,
    no_tags: Box<[u8]>,
}

held!(Metrics, c"foundation_metrics");

// Updates finish under their locks and leave every field valid at each step, so a panic cannot leave a broken set.
impl std::panic::RefUnwindSafe for Metrics {}

/// A series that is recorded into without looking it up.
pub(crate) struct Prepared(Arc<Series>);

held!(Prepared, c"foundation_series");

// As for `Metrics`.
impl std::panic::RefUnwindSafe for Prepared {}

/// Registers the resources; called while the library is being loaded.
pub(crate) fn load(env: Env<'_>) -> bool {
    clock::start();
    handle::open::<Metrics>(env) && handle::open::<Prepared>(env)
}

/// An empty set: at most `max_names` event names and as many metric names, at most `max_series` series, and at most
/// `max_per_name` of one name unless its declaration says otherwise.
#[rustler::nif]
fn metrics_new(env: Env<'_>, max_names: u32, max_series: u32, max_per_name: u32) -> NifResult<Term<'_>> {
    let overflow = Term::map_new(env).map_put(atoms::overflow(), true)?;
    let (mut overflow_tags, mut no_tags) = (KeyBuf::new(), KeyBuf::new());
    key::write_small_map(overflow, &mut overflow_tags)?;
    key::write_small_map(Term::map_new(env), &mut no_tags)?;
    let bounds = Bounds {
        names: max_names as usize,
        series: max_series as usize,
    };
    let metrics = Metrics {
        aggregates: Aggregates::new(max_names as usize),
        registry: Registry::new(bounds, &overflow_tags),
        max_series: max_per_name as usize,
        no_tags: no_tags.as_slice().into(),
    };
    Ok(handle::make(env, metrics))
}

/// Forgets everything.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_clear(metrics: &Metrics) -> Atom {
    metrics.aggregates.clear();
    metrics.registry.clear();
    atoms::ok()
}

/// Writes the key of a series, and says how much of it is the name's.
#[inline]
fn series_key(name: Term<'_>, tags: Term<'_>, buf: &mut KeyBuf) -> NifResult<usize> {
    key::write_key(name, buf)?;
    let name_len = buf.len();
    key::write_small_map(tags, buf)?;
    Ok(name_len)
}

fn kind(term: Atom) -> NifResult<Kind> {
    known_kind(|kind| kind == term)
}

#[inline]
fn known_kind(is: impl Fn(Atom) -> bool) -> NifResult<Kind> {
    if is(atoms::histogram()) {
        Ok(Kind::Histogram)
    } else if is(atoms::counter()) {
        Ok(Kind::Counter)
    } else if is(atoms::gauge()) {
        Ok(Kind::Gauge)
    } else if is(atoms::sum()) {
        Ok(Kind::Sum)
    } else {
        Err(Error::BadArg)
    }
}

fn kind_atom(kind: Kind) -> Atom {
    match kind {
        Kind::Counter => atoms::counter(),
        Kind::Gauge => atoms::gauge(),
        Kind::Sum => atoms::sum(),
        Kind::Histogram => atoms::histogram(),
    }
}

fn window(term: Atom) -> NifResult<Window> {
    if term == atoms::all() {
        Ok(Window::All)
    } else if term == atoms::minute() {
        Ok(Window::Minute)
    } else if term == atoms::five_minutes() {
        Ok(Window::FiveMinutes)
    } else if term == atoms::hour() {
        Ok(Window::Hour)
    } else {
        Err(Error::BadArg)
    }
}

/// A number as the caller has it; integers beyond 64 bits are refused.
#[inline]
fn number(term: Term<'_>) -> NifResult<Number> {
    if let Some(n) = word::integer(term) {
        Ok(Number::Int(n))
    } else if term.get_type() == TermType::Float {
        Ok(Number::Float(term.decode()?))
    } else {
        Err(Error::BadArg)
    }
}

fn encode_number<'a>(env: Env<'a>, number: Number) -> Term<'a> {
    match number {
        Number::Int(n) => n.encode(env),
        Number::Float(x) => x.encode(env),
    }
}

/// These bytes, for Erlang.
fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}

/// `{:error, reason}` of a refusal.
fn refused<'a>(env: Env<'a>, refusal: Refusal) -> Term<'a> {
    let reason = match refusal {
        Refusal::Digits => atoms::digits(),
        Refusal::Resolution => atoms::resolution(),
        Refusal::Range => atoms::range(),
        Refusal::Encoding => atoms::encoding(),
        Refusal::Kind => atoms::kind(),
        Refusal::Declared => atoms::declared(),
        Refusal::Full => atoms::full(),
        Refusal::Unknown => atoms::unknown(),
        Refusal::Negative => atoms::negative(),
        Refusal::Empty => atoms::empty(),
    };
    (atoms::error(), reason).encode(env)
}

/// Quantiles as the caller gives them: a list of at most 1000 numbers from 0 to 1, ascending.
fn quantiles(term: Term<'_>) -> NifResult<Vec<f64>> {
    let list = crate::term::list(term, 1000)?;
    let all = list
        .into_iter()
        .map(crate::term::number)
        .collect::<NifResult<Vec<_>>>()?;
    let valid = all.iter().all(|q| (0.0..=1.0).contains(q)) && all.is_sorted();
    if valid { Ok(all) } else { Err(Error::BadArg) }
}
