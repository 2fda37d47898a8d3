//! Reading and searching.

use super::codec::{binary, event_term, symbol};
use super::{EventStore, SMALL, Terms, list_of, names, reason};
use crate::atoms;
use foundation_events::query::{Basic, Hits, Query};
use foundation_events::{Event, Store};
use rustler::{Atom, Binary, Encoder, Env, Error, NifResult, ResourceArc, Term};

/// Collects events as terms; the first failure is kept.
struct Collect<'a> {
    env: Env<'a>,
    terms: Terms<'a>,
    failed: Option<Error>,
}

impl<'a> Collect<'a> {
    fn new(env: Env<'a>) -> Self {
        Collect {
            env,
            terms: Terms::new(),
            failed: None,
        }
    }

    fn add(&mut self, event: &Event<'_>) {
        match event_term(self.env, event) {
            Ok(term) => self.terms.push(term),
            Err(error) => self.failed = Some(error),
        }
    }

    fn list(self) -> NifResult<Term<'a>> {
        match self.failed {
            Some(error) => Err(error),
            None => Ok(list_of(self.env, self.terms)),
        }
    }
}

fn read_hits<'a>(env: Env<'a>, store: &Store, hits: &Hits) -> NifResult<Term<'a>> {
    let mut collect = Collect::new(env);
    store.read(hits, &mut |event| collect.add(event));
    collect.list()
}

/// The event of an id, nil, or `:dirty` when it is large.
#[rustler::nif]
fn events_get<'a>(env: Env<'a>, handle: ResourceArc<EventStore>, id: i64) -> NifResult<Term<'a>> {
    let store = handle.running()?;
    let id = u64::try_from(id).map_err(|_| Error::BadArg)?;
    match store.record_size(id) {
        Some(bytes) if bytes > SMALL => Ok(names::dirty().encode(env)),
        _ => get(env, store, id),
    }
}

/// The event of an id, or nil, whatever its size.
#[rustler::nif(schedule = "DirtyCpu")]
fn events_get_large<'a>(env: Env<'a>, handle: ResourceArc<EventStore>, id: i64) -> NifResult<Term<'a>> {
    get(
        env,
        handle.running()?,
        u64::try_from(id).map_err(|_| Error::BadArg)?,
    )
}

fn get<'a>(env: Env<'a>, store: &Store, id: u64) -> NifResult<Term<'a>> {
    store
        .get(id, |event| event_term(env, event))
        .unwrap_or_else(|| Ok(atoms::nil().encode(env)))
}

/// The events of a correlation id, by timestamp.
#[rustler::nif(schedule = "DirtyCpu")]
fn events_by_correlation<'a>(
    env: Env<'a>,
    handle: ResourceArc<EventStore>,
    correlation: Binary<'a>,
) -> NifResult<Term<'a>> {
    let store = handle.running()?;
    read_hits(env, store, &store.by_correlation(correlation.as_slice()))
}

/// The events that followed from one, by timestamp.
#[rustler::nif(schedule = "DirtyCpu")]
fn events_by_parent<'a>(env: Env<'a>, handle: ResourceArc<EventStore>, parent: i64) -> NifResult<Term<'a>> {
    let store = handle.running()?;
    let parent = u64::try_from(parent).map_err(|_| Error::BadArg)?;
    read_hits(env, store, &store.by_parent(parent))
}

/// The newest events, in ascending order.
#[rustler::nif(schedule = "DirtyCpu")]
fn events_recent<'a>(env: Env<'a>, handle: ResourceArc<EventStore>, limit: usize) -> NifResult<Term<'a>> {
    let store = handle.running()?;
    read_hits(env, store, &store.recent(limit))
}

/// A 1.x query: `{type or nil, {from, to} or nil, sorted by time, offset, limit or nil}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn events_query<'a>(env: Env<'a>, handle: ResourceArc<EventStore>, query: Term<'a>) -> NifResult<Term<'a>> {
    let store = handle.running()?;
    let (kind, range, by_time, offset, limit): (Term<'a>, Option<(i64, i64)>, bool, usize, Option<usize>) =
        query.decode()?;
    let kind = if atoms::nil() == kind {
        None
    } else {
        Some(symbol(kind)?)
    };
    read_hits(
        env,
        store,
        &store.basic(&Basic {
            kind,
            range,
            by_time,
            offset,
            limit,
        }),
    )
}

/// Runs a query, given as the external term of `{where, order, limit, cursor, max_scanned}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn events_search<'a>(
    env: Env<'a>,
    handle: ResourceArc<EventStore>,
    query: Binary<'a>,
) -> NifResult<(Atom, Term<'a>, Term<'a>, u64, &'static str)> {
    let store = handle.running()?;
    let query = Query::parse(query.as_slice()).map_err(|e| reason(&e))?;
    let mut collect = Collect::new(env);
    let page = store
        .search(&query, &mut |event| collect.add(event))
        .map_err(|e| reason(&e))?;
    let cursor = page
        .cursor
        .map_or(atoms::nil().encode(env), |bytes| binary(env, &bytes));
    Ok((atoms::ok(), collect.list()?, cursor, page.scanned, page.plan))
}
