//! Glue for the `events` domain.

mod codec;
mod etf;
mod query;
mod subscribe;

use crate::{atoms, log_error, term};
use codec::{Row, Rows};
use foundation_events::{Bounds, Durability, Error as StoreError, Opened, Refused, Store, Syncing};
use parking_lot::Mutex;
use rustler::{Atom, Binary, Encoder, Env, Error, LocalPid, Monitor, NifResult, Resource, ResourceArc, Term};
use smallvec::SmallVec;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use subscribe::Owners;

mod names {
    rustler::atoms! {
        not_running,
        dirty,
        full,
        always,
        os,
        interval,
        corrupt,
        invalid_query,
        cost_limit,
        too_many_subscriptions,
        events,
        records,
        unreadable,
        segments,
        bytes,
        torn_bytes,
        damage,
        lost,
        took_ms,
        stored,
        pruned,
        next_id,
        record_bytes,
        memory_bytes,
        disk_bytes,
        durable,
        memory,
        subscriptions,
    }
}

/// Largest record that a call on a normal scheduler writes or reads.
const SMALL: usize = 16 * 1024;
/// Most subscriptions whose filters run on a normal scheduler.
const FEW_FILTERS: usize = 4;
/// Most events of one batch.
const MAX_BATCH: usize = 1_000_000;

/// A store and who runs it.
pub(crate) struct EventStore {
    store: Store,
    active: AtomicBool,
    owner: Mutex<Option<(LocalPid, Monitor)>>,
    subscribers: Owners,
}

// The locks are parking_lot's, which a panic opens again; each store is changed record by record, so that what a panic
// leaves behind is a whole number of events.
impl std::panic::RefUnwindSafe for EventStore {}

#[rustler::resource_impl]
impl Resource for EventStore {
    fn down<'a>(&'a self, env: Env<'a>, pid: LocalPid, monitor: Monitor) {
        let mut owner = self.owner.lock();
        if owner.as_ref().is_some_and(|(_, m)| *m == monitor) {
            *owner = None;
            self.active.store(false, Ordering::Release);
        }
        drop(owner);
        for id in self.subscribers.died(&pid, &monitor) {
            self.store.hub().unsubscribe(id);
            self.subscribers.room(env, id);
            self.subscribers.forget(id);
        }
    }
}

impl EventStore {
    fn running(&self) -> Result<&Store, Error> {
        if self.active.load(Ordering::Acquire) && !self.store.is_closed() {
            Ok(&self.store)
        } else {
            Err(Error::Term(Box::new(names::not_running())))
        }
    }
}

/// The reason atom of a store's error, and what it says.
fn reason(error: &StoreError) -> Error {
    use foundation_storage::Error as Log;
    let atom = match error {
        StoreError::Closed | StoreError::Log(Log::Closed) => {
            return Error::Term(Box::new(names::not_running()));
        }
        StoreError::Log(log) => log_error::reason(log),
        StoreError::InvalidQuery(text) => {
            return Error::Term(Box::new((names::invalid_query(), text.clone())));
        }
        StoreError::CostLimit { scanned, max } => {
            return Error::Term(Box::new((names::cost_limit(), (*scanned, *max))));
        }
        StoreError::TooManySubscriptions(max) => {
            return Error::Term(Box::new((names::too_many_subscriptions(), *max)));
        }
        StoreError::Corrupt => names::corrupt(),
    };
    Error::Term(Box::new((atom, error.to_string())))
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis() as u64)
}

/// An empty store in memory, not yet running.
#[rustler::nif]
fn events_new() -> ResourceArc<EventStore> {
    ResourceArc::new(EventStore {
        store: Store::new(),
        active: AtomicBool::new(false),
        owner: Mutex::new(None),
        subscribers: Owners::default(),
    })
}

/// Opens the store's log in a directory; nil when it is open already.
#[rustler::nif(schedule = "DirtyIo")]
fn events_open<'a>(
    env: Env<'a>,
    handle: ResourceArc<EventStore>,
    path: Binary<'a>,
    sync: Term<'a>,
    segment_bytes: u64,
) -> NifResult<Term<'a>> {
    let path = std::str::from_utf8(path.as_slice()).map_err(|_| Error::BadArg)?;
    if path.is_empty() || !(4096..=1 << 32).contains(&segment_bytes) {
        return Err(Error::BadArg);
    }
    let durability = Durability {
        dir: PathBuf::from(path),
        sync: decode_sync(sync)?,
        segment_bytes,
    };
    if handle.store.is_durable() && !handle.store.is_closed() {
        return Ok(atoms::nil().encode(env));
    }
    match handle.store.open(&durability) {
        Ok(opened) => opened_map(env, &opened),
        Err(error) => Err(reason(&error)),
    }
}

fn decode_sync(sync: Term<'_>) -> NifResult<Syncing> {
    if let Ok((name, ms)) = sync.decode::<(Atom, u64)>() {
        return if name == names::interval() && (1..=3_600_000).contains(&ms) {
            Ok(Syncing::Interval(Duration::from_millis(ms)))
        } else {
            Err(Error::BadArg)
        };
    }
    match sync.decode::<Atom>()? {
        name if name == names::always() => Ok(Syncing::Always),
        name if name == names::os() => Ok(Syncing::Os),
        _ => Err(Error::BadArg),
    }
}

fn opened_map<'a>(env: Env<'a>, opened: &Opened) -> NifResult<Term<'a>> {
    Term::map_from_pairs(
        env,
        &[
            (names::events(), opened.events.encode(env)),
            (names::records(), opened.records.encode(env)),
            (names::unreadable(), opened.unreadable.encode(env)),
            (names::segments(), opened.segments.encode(env)),
            (names::bytes(), opened.bytes.encode(env)),
            (names::torn_bytes(), opened.torn_bytes.encode(env)),
            (names::damage(), opened.damage.encode(env)),
            (names::lost(), opened.lost.encode(env)),
            (names::took_ms(), opened.took_ms.encode(env)),
        ],
    )
}

/// Closes the log; every later call answers `not_running`.
#[rustler::nif(schedule = "DirtyIo")]
fn events_close(handle: ResourceArc<EventStore>) -> NifResult<Atom> {
    handle.active.store(false, Ordering::Release);
    handle.store.close().map(|()| atoms::ok()).map_err(|e| reason(&e))
}

/// The store runs for as long as `pid` lives.
#[rustler::nif]
fn events_attach(env: Env<'_>, handle: ResourceArc<EventStore>, pid: LocalPid) -> NifResult<Atom> {
    if handle.store.is_closed() {
        return Err(Error::Term(Box::new(names::not_running())));
    }
    let monitor = handle.monitor(Some(env), &pid).ok_or(Error::BadArg)?;
    let before = handle.owner.lock().replace((pid, monitor));
    handle.active.store(true, Ordering::Release);
    if let Some((_, old)) = before {
        handle.demonitor(Some(env), &old);
    }
    Ok(atoms::ok())
}

/// The store stops running; what it holds stays.
#[rustler::nif]
fn events_detach(env: Env<'_>, handle: ResourceArc<EventStore>) -> Atom {
    handle.active.store(false, Ordering::Release);
    if let Some((_, old)) = handle.owner.lock().take() {
        handle.demonitor(Some(env), &old);
    }
    atoms::ok()
}

/// `:memory` or `:durable` while the store runs, else nil.
#[rustler::nif]
fn events_running(handle: ResourceArc<EventStore>) -> Atom {
    match handle.running() {
        Ok(store) if store.is_durable() => names::durable(),
        Ok(_) => names::memory(),
        Err(_) => atoms::nil(),
    }
}

/// Stores one event: `:ok`, `:dirty` when that is work for a dirty scheduler, `{:full, subscription}`.
#[rustler::nif]
fn events_store<'a>(env: Env<'a>, handle: ResourceArc<EventStore>, row: Term<'a>) -> NifResult<Term<'a>> {
    let store = handle.running()?;
    if store.is_durable() || store.hub().len() > FEW_FILTERS {
        return Ok(names::dirty().encode(env));
    }
    let row = Row::decode(row)?;
    let event = row.alone();
    if event.data.len() > SMALL {
        return Ok(names::dirty().encode(env));
    }
    let outcome = store.store(&[event], now_ms(), false);
    stored(env, &handle, outcome)
}

/// Stores a list of events in memory.
#[rustler::nif(schedule = "DirtyCpu")]
fn events_store_batch<'a>(
    env: Env<'a>,
    handle: ResourceArc<EventStore>,
    rows: Term<'a>,
    force: bool,
) -> NifResult<Term<'a>> {
    if handle.running()?.is_durable() {
        return Ok(names::dirty().encode(env));
    }
    store_rows(env, &handle, rows, force)
}

/// Stores a list of events durably, all or none.
#[rustler::nif(schedule = "DirtyIo")]
fn events_store_durable<'a>(
    env: Env<'a>,
    handle: ResourceArc<EventStore>,
    rows: Term<'a>,
    force: bool,
) -> NifResult<Term<'a>> {
    store_rows(env, &handle, rows, force)
}

fn store_rows<'a>(
    env: Env<'a>,
    handle: &ResourceArc<EventStore>,
    rows: Term<'a>,
    force: bool,
) -> NifResult<Term<'a>> {
    let store = handle.running()?;
    let rows = term::list(rows, MAX_BATCH)?;
    let rows = Rows::decode(&rows)?;
    let outcome = store.store(&rows.events(), now_ms(), force);
    stored(env, handle, outcome)
}

fn stored<'a>(env: Env<'a>, handle: &EventStore, outcome: Result<Vec<u64>, Refused>) -> NifResult<Term<'a>> {
    match outcome {
        Ok(wake) => {
            for id in wake {
                handle.subscribers.wake(env, id);
            }
            Ok(atoms::ok().encode(env))
        }
        Err(Refused::Full(full)) => {
            let wait = handle.subscribers.block_ms(full.0);
            Ok((names::full(), full.0, wait).encode(env))
        }
        Err(Refused::Error(error)) => Err(reason(&error)),
    }
}

/// Removes the events before a timestamp; how many.
#[rustler::nif(schedule = "DirtyIo")]
fn events_prune(handle: ResourceArc<EventStore>, timestamp: i64) -> NifResult<u64> {
    handle.running()?.prune_before(timestamp).map_err(|e| reason(&e))
}

/// Removes what arrived first until the bounds hold; how many. -1 is no bound.
#[rustler::nif(schedule = "DirtyIo")]
fn events_enforce(
    handle: ResourceArc<EventStore>,
    max_events: i64,
    max_age_ms: i64,
    max_bytes: i64,
) -> NifResult<u64> {
    let bound = |n: i64| u64::try_from(n).ok();
    let bounds = Bounds {
        max_events: bound(max_events),
        max_age_ms: bound(max_age_ms),
        max_bytes: bound(max_bytes),
    };
    handle
        .running()?
        .enforce(&bounds, now_ms())
        .map_err(|e| reason(&e))
}

/// Forgets everything.
#[rustler::nif(schedule = "DirtyIo")]
fn events_reset(handle: ResourceArc<EventStore>) -> NifResult<Atom> {
    handle
        .running()?
        .reset()
        .map(|()| atoms::ok())
        .map_err(|e| reason(&e))
}

/// Rewrites the log without what is dead, when that pays or `force` is true; bytes freed.
#[rustler::nif(schedule = "DirtyIo")]
fn events_compact(handle: ResourceArc<EventStore>, force: bool) -> NifResult<u64> {
    let store = handle.running()?;
    let freed = if force {
        store.compact_now()
    } else {
        store.compact()
    };
    freed.map_err(|e| reason(&e))
}

/// Brings everything to the disk.
#[rustler::nif(schedule = "DirtyIo")]
fn events_sync(handle: ResourceArc<EventStore>) -> NifResult<Atom> {
    handle
        .running()?
        .sync()
        .map(|()| atoms::ok())
        .map_err(|e| reason(&e))
}

/// Counts of the store, running or not.
#[rustler::nif]
fn events_stats<'a>(env: Env<'a>, handle: ResourceArc<EventStore>) -> NifResult<Term<'a>> {
    let stats = handle.store.stats();
    Term::map_from_pairs(
        env,
        &[
            (names::stored(), stats.stored.encode(env)),
            (names::pruned(), stats.pruned.encode(env)),
            (names::events(), stats.events.encode(env)),
            (names::next_id(), stats.next_id.encode(env)),
            (names::record_bytes(), stats.record_bytes.encode(env)),
            (names::memory_bytes(), stats.memory_bytes.encode(env)),
            (names::disk_bytes(), stats.disk_bytes.encode(env)),
            (names::segments(), stats.segments.encode(env)),
            (names::durable(), handle.store.is_durable().encode(env)),
            (names::subscriptions(), handle.store.hub().len().encode(env)),
        ],
    )
}

/// Terms collected for a list, most of them few.
pub(crate) type Terms<'a> = SmallVec<[Term<'a>; 16]>;

/// A list of the terms, in order.
pub(crate) fn list_of<'a>(env: Env<'a>, terms: Terms<'a>) -> Term<'a> {
    terms
        .into_iter()
        .rev()
        .fold(Term::list_new_empty(env), |list, head| list.list_prepend(head))
}
