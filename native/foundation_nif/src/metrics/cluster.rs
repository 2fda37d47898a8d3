//! Glue for the metrics of many nodes: what a node hands out, and what several have handed out put together.
//!
//! An export is `{families, series}`: `[{name, kind, help, unit, bounds}]` and `[{number of the family, tags, value}]`,
//! where a value is a number or the bytes of a distribution. Keys hold atoms as this VM knows them, hence terms go out.

use super::read::describe;
use super::scrape::{Reading, grouped, levels, shape, text_format};
use super::{
    Metrics, atoms, binary, clock, encode_number, kind, kind_atom, number, quantiles, series_key, window,
};
use crate::key::{self, KeyBuf};
use crate::term;
use foundation_metrics::exposition::{Sample, write};
use foundation_metrics::gather::{Family, Gathered, Held, Room};
use foundation_metrics::registry::{Data, Kind};
use foundation_metrics::window::Window;
use rustler::{Atom, Binary, Encoder, Env, Error, NifResult, Term};

/// Most nodes, or names or series of a node.
const MAX_ITEMS: usize = 1 << 20;
/// Most bytes of a name's help and unit.
const MAX_TEXT: usize = 1024;
/// Most bucket bounds of a name.
const MAX_BOUNDS: usize = 256;

/// What this node has: `{families, series}`, histograms as of that window.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_export<'a>(env: Env<'a>, metrics: &Metrics, over: Atom) -> NifResult<Term<'a>> {
    let gathered = readings(env, metrics, window(over)?)?;
    let (mut families, mut series) = (Vec::new(), Vec::new());
    let mut last: Option<&[u8]> = None;
    for (name, tags, family, held) in gathered.series() {
        if last != Some(name) {
            last = Some(name);
            let said = (
                key::to_term(env, name)?,
                kind_atom(family.kind),
                &family.help,
                &family.unit,
                &family.bounds,
            );
            families.push(said.encode(env));
        }
        let value = match held {
            Held::Number(number) => encode_number(env, *number),
            Held::Packed(bytes) => binary(env, bytes.first().map_or(&[][..], |bytes| bytes)),
        };
        series.push((families.len() - 1, key::to_term(env, tags)?, value).encode(env));
    }
    Ok((families, series).encode(env))
}

/// All series of this node, what 1.x counts among them where the name is not taken.
fn readings(env: Env<'_>, metrics: &Metrics, over: Window) -> NifResult<Gathered<'static>> {
    let now = clock::now_ms();
    let mut all = Gathered::default();
    for (key, series) in metrics.registry.all() {
        let config = &series.family.config;
        let family = Family {
            kind: config.kind,
            help: config.help.clone(),
            unit: config.unit.clone(),
            bounds: config.bounds.clone(),
        };
        let held = match &series.data {
            Data::Histogram(recorder) => Some(Held::Packed(vec![recorder.pack(over, now).into()])),
            Data::Counter(counter) => Some(Held::Number(counter.value())),
            Data::Gauge(gauge) => gauge.value().map(Held::Number),
        };
        if let Some(held) = held {
            let name = &series.family.name;
            // A name has one kind in a registry, and the series is of that kind.
            let _ = all.declare(name, family);
            let _ = all.add(&key, name.len(), held);
        }
    }
    for snapshot in metrics.aggregates.collect() {
        for (kind, number) in levels(env, &snapshot)? {
            let key = [&*snapshot.name, &metrics.no_tags].concat();
            if metrics.registry.find_family(&snapshot.name).is_none()
                && all.declare(&snapshot.name, plain(kind)).is_ok()
            {
                let _ = all.add(&key, snapshot.name.len(), Held::Number(number));
            }
        }
    }
    Ok(all)
}

fn plain(kind: Kind) -> Family {
    Family {
        kind,
        help: String::new(),
        unit: String::new(),
        bounds: Vec::new(),
    }
}

/// What `[{node, export}]` come to: `{[{name, tags, kind, number or description}], [name of two kinds]}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_gather<'a>(env: Env<'a>, exports: Term<'a>, at: Term<'a>) -> NifResult<Term<'a>> {
    let at = quantiles(at)?;
    let (gathered, disputed) = gather(exports)?;
    let mut room = Room::default();
    let series = gathered
        .series()
        .map(|(name, tags, family, held)| {
            let value = match held.sample_in(&mut room).map_err(|_| Error::BadArg)? {
                Sample::Number(number) => encode_number(env, number),
                Sample::Distribution(d) => {
                    let described = describe(env, &d, &at)?;
                    room.take(*d);
                    described
                }
            };
            let (name, tags) = (key::to_term(env, name)?, key::to_term(env, tags)?);
            Ok((name, tags, kind_atom(family.kind), value).encode(env))
        })
        .collect::<NifResult<Vec<Term<'a>>>>()?;
    Ok((series, disputed).encode(env))
}

/// What `[{node, export}]` come to, as text for a scraper.
#[rustler::nif(schedule = "DirtyCpu")]
fn metrics_gather_scrape<'a>(
    env: Env<'a>,
    exports: Term<'a>,
    format: Atom,
    at: Term<'a>,
) -> NifResult<Term<'a>> {
    let (format, shape) = (text_format(format)?, shape(at)?);
    let (gathered, _) = gather(exports)?;
    let readings = gathered.series().map(|(name, tags, family, held)| {
        Ok(Reading {
            name,
            tags,
            kind: family.kind,
            help: &family.help,
            unit: &family.unit,
            bounds: &family.bounds,
            sample: held.sample().map_err(|_| Error::BadArg)?,
            exemplars: Vec::new(),
        })
    });
    let readings: Vec<Reading<'_>> = readings.collect::<NifResult<_>>()?;
    let text = write(&grouped(env, readings.into_iter())?, format, &shape);
    Ok(binary(env, text.as_bytes()))
}

/// The exports put together, and the names that two nodes use for different kinds: those of the first are kept.
fn gather<'a>(exports: Term<'a>) -> NifResult<(Gathered<'a>, Vec<Term<'a>>)> {
    let mut all = Gathered::default();
    let mut disputed = Vec::new();
    for export in term::list(exports, MAX_ITEMS)? {
        let [node, export] = fields(export)?;
        let [families, series] = fields(export)?;
        let mut known = Vec::new();
        for said in term::list(families, MAX_ITEMS)? {
            let (name, key, family) = family(said)?;
            let kind = family.kind;
            let ours = all.declare(&key, family).is_ok();
            if !ours {
                disputed.push(name);
            }
            known.push((name, kind, ours));
        }
        for one in term::list(series, MAX_ITEMS)? {
            let [number, tags, value] = fields(one)?;
            let &(name, kind, ours) = known.get(number.decode::<usize>()?).ok_or(Error::BadArg)?;
            if ours {
                add(&mut all, name, kind, node, tags, value)?;
            }
        }
    }
    Ok((all, disputed))
}

fn add<'a>(
    all: &mut Gathered<'a>,
    name: Term<'a>,
    kind: Kind,
    node: Term<'a>,
    tags: Term<'a>,
    value: Term<'a>,
) -> NifResult<()> {
    let tags = match kind {
        Kind::Gauge => tags.map_put(atoms::node(), node)?,
        _ => tags,
    };
    let mut key = KeyBuf::new();
    let name_len = series_key(name, tags, &mut key)?;
    let held = match kind {
        Kind::Histogram => Held::Packed(vec![Binary::from_term(value)?.as_slice().into()]),
        _ => Held::Number(number(value)?),
    };
    all.add(&key, name_len, held).map_err(|_| Error::BadArg)
}

fn family<'a>(said: Term<'a>) -> NifResult<(Term<'a>, KeyBuf, Family)> {
    let [name, of, help, unit, bounds] = fields(said)?;
    let bounds = term::list(bounds, MAX_BOUNDS)?.into_iter().map(term::number);
    let family = Family {
        kind: kind(of.decode()?)?,
        help: text(help)?,
        unit: text(unit)?,
        bounds: bounds.collect::<NifResult<_>>()?,
    };
    Ok((name, key::key(name)?, family))
}

fn text(term: Term<'_>) -> NifResult<String> {
    let bytes = Binary::from_term(term)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.len() <= MAX_TEXT => Ok(text.to_owned()),
        _ => Err(Error::BadArg),
    }
}

/// The elements of a tuple of that many.
fn fields<'a, const N: usize>(tuple: Term<'a>) -> NifResult<[Term<'a>; N]> {
    let items: Vec<Term<'a>> = term::elements(tuple)?.collect();
    items.try_into().map_err(|_| Error::BadArg)
}
