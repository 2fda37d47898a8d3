//! Glue for consensus: the engine, its groups, machines that are processes, and the coordination machine.

mod caller;
mod clock;
mod command;
mod events;
mod group;
mod process_machine;
mod propose;
mod reply;
mod report;
mod settings;
mod tickets;
mod wire;

use crate::handle::{self, Held, Slot, get};
use crate::runtime::runtime;
use crate::atoms as common;
use clock::SharedClock;
use foundation_consensus::{Engine, Error as Refused};
use rustler::{Binary, Encoder, Env, LocalPid, NifResult, Term};
use std::ffi::CStr;
use std::ptr;
use std::sync::Arc;

pub(crate) mod atoms {
    rustler::atoms! {
        io, log, settings, running, stopped, machine, group, snapshot, busy, no_leader, unknown, too_large, stale,
        timeout, in_progress, invalid, no_group,
    }
}

/// An engine.
pub(crate) struct Node {
    engine: Arc<Engine>,
    clock: Arc<SharedClock>,
    me: String,
}

static NODE: Slot = Slot::new(ptr::null_mut());

impl Held for Node {
    const NAME: &'static CStr = c"foundation_consensus";

    fn slot() -> &'static Slot {
        &NODE
    }
}

// Engine and clock change under locks of their own.
impl std::panic::RefUnwindSafe for Node {}

impl Drop for Node {
    fn drop(&mut self) {
        let engine = Arc::clone(&self.engine);
        if let Ok(runtime) = runtime() {
            runtime.spawn(async move { engine.stop().await });
        }
    }
}

/// Registers the resources; only while the library is being loaded.
pub(crate) fn load(env: Env<'_>) -> bool {
    handle::open::<Node>(env) && handle::open::<group::Member>(env) && handle::open::<tickets::Ticket>(env)
}

/// The reason of a refusal.
pub(crate) fn reason<'a>(env: Env<'a>, refused: &Refused) -> Term<'a> {
    let text = |atom: rustler::Atom| (atom, refused.to_string()).encode(env);
    match refused {
        Refused::Log(_) | Refused::Record { .. } => text(atoms::log()),
        Refused::Snapshot { .. } => text(atoms::snapshot()),
        Refused::Machine(_) => text(atoms::machine()),
        Refused::Running(_) => atoms::running().encode(env),
        Refused::Config(_) => text(atoms::settings()),
        Refused::Group { .. } => text(atoms::group()),
        Refused::Stopped => atoms::stopped().encode(env),
    }
}

/// Starts an engine; its frames for other nodes go to `wire`.
#[rustler::nif(schedule = "DirtyIo")]
fn consensus_start<'a>(env: Env<'a>, options: Term<'a>, wire: LocalPid) -> NifResult<Term<'a>> {
    let clock = Arc::new(SharedClock::new());
    let config = settings::engine(options, &clock)?;
    let me = config.me.clone();
    let Ok(runtime) = runtime() else {
        return Ok((common::error(), atoms::io()).encode(env));
    };
    let network = Arc::new(wire::ToProcess::new(wire, &me));
    Ok(match Engine::start(config, runtime.handle().clone(), network) {
        Ok(engine) => {
            let engine = Arc::new(engine);
            (common::ok(), handle::make(env, Node { engine, clock, me })).encode(env)
        }
        Err(refused) => (common::error(), reason(env, &refused)).encode(env),
    })
}

/// Stops the engine with its groups; what waits is answered.
#[rustler::nif(schedule = "DirtyIo")]
fn consensus_stop(node: Term<'_>) -> NifResult<rustler::Atom> {
    let node = get::<Node>(node)?;
    runtime()
        .map_err(|_| rustler::Error::BadArg)?
        .block_on(node.engine.stop());
    Ok(common::ok())
}

/// Frames of another node's engine, in their order.
fn receive(node: Term<'_>, from: &str, frames: Term<'_>) -> NifResult<rustler::Atom> {
    let node = get::<Node>(node)?;
    for frame in crate::term::list(frames, wire::MAX_BATCH)? {
        let frame: Binary<'_> = frame.decode()?;
        node.engine
            .receive(from, bytes::Bytes::copy_from_slice(frame.as_slice()));
    }
    Ok(common::ok())
}

/// The names of the groups that the log knows, running or not.
#[rustler::nif(schedule = "DirtyCpu")]
fn consensus_stored(node: Term<'_>) -> NifResult<Vec<String>> {
    Ok(get::<Node>(node)?.engine.stored_groups())
}

/// Frames of another node's engine, in their order; at most 64 KB together.
#[rustler::nif]
fn consensus_receive(node: Term<'_>, from: &str, frames: Term<'_>) -> NifResult<rustler::Atom> {
    receive(node, from, frames)
}

/// As `consensus_receive`, of any size.
#[rustler::nif(schedule = "DirtyCpu")]
fn consensus_receive_large(node: Term<'_>, from: &str, frames: Term<'_>) -> NifResult<rustler::Atom> {
    receive(node, from, frames)
}
