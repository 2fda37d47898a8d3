//! Glue for the `crdt` domain: paths and operations in, values and messages out.

mod arguments;
mod name;
mod value;

use crate::handle::{self, fast_nif, held};
use crate::{atoms, log_error, term};
use arguments::{BRIEF_BYTES, Path, brief, kind, operation, sync, whole};
use foundation_crdt::{Bounds, Error as StateError, State};
use name::Stop;
use rustler::{Atom, Binary, Encoder, Env, Error, NewBinary, NifResult, Term};
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

mod names {
    rustler::atoms! {
        wake, dirty, none, assign, add, remove, increment, decrement, enable, disable,
        g_counter, pn_counter, g_set, or_set, rw_set, lww_register, mv_register, ew_flag, dw_flag, lww_map, or_map, record,
        wrong_operation, wrong_path, grow_only, overflow, full, too_large, malformed, mismatch, clock_drift, invalid_type,
        damaged, always, os, interval,
        keys, bytes, marks, waiting, replicas, gaps, changes, joined, redundant, journal_bytes,
        records, unreadable, torn_bytes, lost,
    }
}

/// How long a call on a normal scheduler waits for a shard.
const PATIENCE: Duration = Duration::from_micros(20);
/// Operations of one call.
const MAX_BATCH: usize = 1_000_000;

/// A replica in the hands of Erlang.
pub(crate) struct Crdt(State);

// The locks are parking_lot's; what a panic leaves behind is joined again by the next exchange.
impl std::panic::RefUnwindSafe for Crdt {}

held!(Crdt, c"foundation_crdt");

/// Registers the handle; called while the library is being loaded.
pub(crate) fn load(env: Env<'_>) -> bool {
    handle::open::<Crdt>(env)
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

/// `{:error, reason}` for what the core refuses.
fn failure<'a>(env: Env<'a>, error: &StateError) -> Term<'a> {
    let reason = match error {
        StateError::WrongOperation => names::wrong_operation(),
        StateError::WrongPath => names::wrong_path(),
        StateError::GrowOnly => names::grow_only(),
        StateError::Overflow => names::overflow(),
        StateError::Full => names::full(),
        StateError::Busy => atoms::busy(),
        StateError::TooLarge => names::too_large(),
        StateError::Malformed => names::malformed(),
        StateError::Mismatch => names::mismatch(),
        StateError::InvalidKind => names::invalid_type(),
        StateError::Drift(ahead) => return env.error_tuple((names::clock_drift(), ahead)),
        StateError::Journal(log) => {
            return env.error_tuple((log_error::reason(log), log.to_string()));
        }
    };
    env.error_tuple(reason)
}

fn woken(env: Env<'_>, wake: bool) -> Term<'_> {
    if wake {
        names::wake().to_term(env)
    } else {
        atoms::ok().to_term(env)
    }
}

#[rustler::nif(schedule = "DirtyCpu")]
fn crdt_new<'a>(
    env: Env<'a>,
    described: Term<'a>,
    id: u64,
    shards: usize,
    bounds: (u64, u64, u64),
) -> NifResult<Term<'a>> {
    let (max_keys, max_bytes, max_drift_ms) = bounds;
    let bounds = Bounds {
        max_keys,
        max_bytes,
        max_drift_ms,
    };
    match State::new(kind(described, 0)?, id, shards, bounds) {
        Ok(state) => Ok(env_ok(env, handle::make(env, Crdt(state)))),
        Err(error) => Ok(failure(env, &error)),
    }
}

fn env_ok<'a>(env: Env<'a>, value: Term<'a>) -> Term<'a> {
    (atoms::ok(), value).encode(env)
}

fast_nif!("crdt_mutate", 3, mutate);

/// `state, path, op`: `:ok`; `:wake` when the next push is to be prepared; `:dirty` when this is no work for a normal
/// scheduler, and nothing was done; `{:error, reason}`.
fn mutate<'a>(env: Env<'a>, [state, path, op]: [Term<'a>; 3]) -> NifResult<Term<'a>> {
    let state = &handle::get::<Crdt>(state)?.0;
    let mut room = brief();
    let dirty = || Ok(names::dirty().to_term(env));
    let path = match Path::read(path, &mut room)? {
        Ok(path) => path,
        Err(Stop::Bound) => return dirty(),
        Err(Stop::Invalid) => return Err(Error::BadArg),
    };
    let mut value = Vec::new();
    let op = match operation(op, &mut value, &mut room)? {
        Ok(op) => op,
        Err(Stop::Bound) => return dirty(),
        Err(Stop::Invalid) => return Err(Error::BadArg),
    };
    let path = path.parts();
    if !state.is_brief(&path, op) {
        return dirty();
    }
    match state.mutate_within(&path, op, now_ms(), Some(PATIENCE)) {
        Ok(wake) => Ok(woken(env, wake)),
        Err(StateError::Busy) => dirty(),
        Err(error) => Ok(failure(env, &error)),
    }
}

fn mutate_one(state: &State, path: Term<'_>, op: Term<'_>) -> NifResult<Result<bool, StateError>> {
    let stopped = |stop| match stop {
        Stop::Bound => Ok(Err(StateError::TooLarge)),
        Stop::Invalid => Err(Error::BadArg),
    };
    let path = match Path::read(path, &mut whole())? {
        Ok(path) => path,
        Err(stop) => return stopped(stop),
    };
    let mut value = Vec::new();
    let op = match operation(op, &mut value, &mut whole())? {
        Ok(op) => op,
        Err(stop) => return stopped(stop),
    };
    Ok(state.mutate(&path.parts(), op, now_ms()))
}

// As `crdt_mutate`, whatever it takes; on dirty IO for a state with a journal.
fast_nif!(@DirtyCpu, "crdt_mutate_large", 3, mutated);
fast_nif!(@DirtyIo, "crdt_mutate_durable", 3, mutated);

fn mutated<'a>(env: Env<'a>, [state, path, op]: [Term<'a>; 3]) -> NifResult<Term<'a>> {
    let state = &handle::get::<Crdt>(state)?.0;
    Ok(match mutate_one(state, path, op)? {
        Ok(wake) => woken(env, wake),
        Err(error) => failure(env, &error),
    })
}

/// Carries out a list of `{path, op}` until one is refused: `:ok`, `:wake`, or `{:error, {done, reason}}`.
#[rustler::nif(schedule = "DirtyIo")]
fn crdt_mutate_all<'a>(env: Env<'a>, state: Term<'a>, changes: Term<'a>) -> NifResult<Term<'a>> {
    let state = &handle::get::<Crdt>(state)?.0;
    let mut wake = false;
    for (done, change) in term::list(changes, MAX_BATCH)?.into_iter().enumerate() {
        let (path, op): (Term<'_>, Term<'_>) = change.decode()?;
        match mutate_one(state, path, op)? {
            Ok(first) => wake |= first,
            Err(error) => {
                let (_, reason): (Atom, Term<'_>) = failure(env, &error).decode()?;
                return Ok(env.error_tuple((done, reason)));
            }
        }
    }
    Ok(woken(env, wake))
}

fast_nif!("crdt_read_leaf", 2, read_leaf);

/// What is at a path without parts: `{:ok, value}`, `:none`, `:dirty`, `{:error, reason}`.
fn read_leaf<'a>(env: Env<'a>, [state, path]: [Term<'a>; 2]) -> NifResult<Term<'a>> {
    let state = &handle::get::<Crdt>(state)?.0;
    let mut room = brief();
    let path = match Path::read(path, &mut room)? {
        Ok(path) => path,
        Err(Stop::Bound) => return Ok(names::dirty().to_term(env)),
        Err(Stop::Invalid) => return Err(Error::BadArg),
    };
    match state.read_leaf(&path.parts(), PATIENCE) {
        Ok(Some(found)) if value::size(&found) > BRIEF_BYTES => Ok(names::dirty().to_term(env)),
        Ok(found) => value::found(env, found.as_ref()),
        Err(StateError::Busy) => Ok(names::dirty().to_term(env)),
        Err(error) => Ok(failure(env, &error)),
    }
}

/// What one shard has at a path, `shard` 0 for a path that lies in one: `{:ok, value}`, `:none`, `{:error, reason}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn crdt_read<'a>(env: Env<'a>, state: Term<'a>, path: Term<'a>, shard: usize) -> NifResult<Term<'a>> {
    let state = &handle::get::<Crdt>(state)?.0;
    let Ok(path) = Path::read(path, &mut whole())? else {
        return Err(Error::BadArg);
    };
    let path = path.parts();
    match state.read_shard(&path, state.shard_of(&path).unwrap_or(shard)) {
        Ok(found) => value::found(env, found.as_ref()),
        Err(error) => Ok(failure(env, &error)),
    }
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}

/// What changed since the last push: `{message | nil, more, complete}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn crdt_push<'a>(env: Env<'a>, state: Term<'a>, budget: usize) -> NifResult<Term<'a>> {
    let push = handle::get::<Crdt>(state)?.0.push(budget);
    let message = push.message.map(|bytes| binary(env, &bytes));
    Ok((message, push.more, push.complete).encode(env))
}

/// A message with a hash of each shard.
#[rustler::nif(schedule = "DirtyCpu")]
fn crdt_roots<'a>(env: Env<'a>, state: Term<'a>) -> NifResult<Term<'a>> {
    let roots = handle::get::<Crdt>(state)?.0.roots();
    Ok(binary(env, &roots))
}

// On dirty IO for a state with a journal.
fast_nif!(@DirtyCpu, "crdt_handle", 4, handled);
fast_nif!(@DirtyIo, "crdt_handle_durable", 4, handled);

/// `state, peer, message, budget`: takes a message of a peer: `{reply | nil, changed, equal, gave}` or
/// `{:error, reason}`.
fn handled<'a>(env: Env<'a>, [state, peer, message, budget]: [Term<'a>; 4]) -> NifResult<Term<'a>> {
    let state = &handle::get::<Crdt>(state)?.0;
    let message = Binary::from_term(message)?;
    let (peer, budget) = (peer.decode()?, budget.decode()?);
    Ok(match state.handle(peer, message.as_slice(), now_ms(), budget) {
        Ok(handled) => {
            let reply = handled.reply.map(|bytes| binary(env, &bytes));
            (reply, handled.changed, handled.equal, handled.gave).encode(env)
        }
        Err(error) => failure(env, &error),
    })
}

/// Begins or ends to keep what changes.
#[rustler::nif(schedule = "DirtyCpu")]
fn crdt_watch(state: Term<'_>, on: bool) -> NifResult<Atom> {
    handle::get::<Crdt>(state)?.0.watch(on);
    Ok(atoms::ok())
}

/// Changes of a shard as `{path, element, before, {:ok, value} | :none}`, or `:lost`.
#[rustler::nif(schedule = "DirtyCpu")]
fn crdt_changes<'a>(env: Env<'a>, state: Term<'a>, shard: usize) -> NifResult<Term<'a>> {
    let Some(changes) = handle::get::<Crdt>(state)?.0.take_changes(shard) else {
        return Ok(names::lost().to_term(env));
    };
    let told: NifResult<Vec<Term<'a>>> = changes
        .iter()
        .map(|change| {
            let path: Option<Vec<Term<'a>>> = change.path.iter().map(|name| name::read(env, name)).collect();
            let now = value::found(env, change.now.as_ref())?;
            Ok((path.ok_or(Error::BadArg)?, change.element, change.before, now).encode(env))
        })
        .collect();
    Ok(told?.encode(env))
}

/// Takes away marks of removals that all of the peers have confirmed; how many went.
#[rustler::nif(schedule = "DirtyCpu")]
fn crdt_collect<'a>(state: Term<'a>, peers: Term<'a>, most: usize) -> NifResult<usize> {
    let peers: Vec<u64> = term::list(peers, 65_536)?
        .into_iter()
        .map(|peer| peer.decode())
        .collect::<NifResult<_>>()?;
    Ok(handle::get::<Crdt>(state)?.0.collect(&peers, most))
}

/// Forgets what a peer has confirmed.
#[rustler::nif(schedule = "DirtyCpu")]
fn crdt_forget(state: Term<'_>, peer: u64) -> NifResult<Atom> {
    handle::get::<Crdt>(state)?.0.forget_peer(peer);
    Ok(atoms::ok())
}

/// A hash of everything.
#[rustler::nif(schedule = "DirtyCpu")]
fn crdt_root(state: Term<'_>) -> NifResult<u64> {
    Ok(handle::get::<Crdt>(state)?.0.root())
}

/// Size and counts.
#[rustler::nif(schedule = "DirtyCpu")]
fn crdt_status<'a>(env: Env<'a>, state: Term<'a>) -> NifResult<Term<'a>> {
    let status = handle::get::<Crdt>(state)?.0.status();
    let pairs = [
        (names::keys(), status.keys),
        (names::bytes(), status.bytes),
        (names::marks(), status.marks),
        (names::waiting(), status.waiting),
        (names::replicas(), status.replicas),
        (names::gaps(), status.gaps),
        (names::changes(), status.changes),
        (names::joined(), status.joined),
        (names::redundant(), status.redundant),
        (names::journal_bytes(), status.journal_bytes),
    ];
    Term::map_from_pairs(env, &pairs)
}

/// Opens the journal in a directory: `{:ok, recovered}` or `{:error, reason}`.
#[rustler::nif(schedule = "DirtyIo")]
fn crdt_open_journal<'a>(
    env: Env<'a>,
    state: Term<'a>,
    dir: Binary<'a>,
    policy: Term<'a>,
) -> NifResult<Term<'a>> {
    let state = &handle::get::<Crdt>(state)?.0;
    let dir = std::str::from_utf8(dir.as_slice()).map_err(|_| Error::BadArg)?;
    if dir.is_empty() || dir.contains('\0') {
        return Err(Error::BadArg);
    }
    match state.open_journal(&PathBuf::from(dir), sync(policy)?) {
        Ok(recovered) => {
            let pairs = [
                (names::records(), recovered.records),
                (names::unreadable(), recovered.unreadable),
                (names::torn_bytes(), recovered.torn_bytes),
                (names::damaged(), recovered.damaged),
            ];
            Ok(env_ok(env, Term::map_from_pairs(env, &pairs)?))
        }
        Err(error) => Ok(failure(env, &error)),
    }
}

/// Writes the journal anew when most of it is out of date: whether it was.
#[rustler::nif(schedule = "DirtyIo")]
fn crdt_compact<'a>(env: Env<'a>, state: Term<'a>) -> NifResult<Term<'a>> {
    Ok(match handle::get::<Crdt>(state)?.0.compact() {
        Ok(done) => done.encode(env),
        Err(error) => failure(env, &error),
    })
}

/// Brings the journal to the disk and releases its directory.
#[rustler::nif(schedule = "DirtyIo")]
fn crdt_close<'a>(env: Env<'a>, state: Term<'a>) -> NifResult<Term<'a>> {
    Ok(match handle::get::<Crdt>(state)?.0.close() {
        Ok(()) => atoms::ok().to_term(env),
        Err(error) => failure(env, &error),
    })
}
