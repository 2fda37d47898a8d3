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

use crate::atoms as common;
use crate::handle::{self, get, held};
use crate::runtime::runtime;
use clock::SharedClock;
use foundation_consensus::{Engine, Error as Refused};
use parking_lot::{Mutex, RwLock};
use rustler::{Binary, Encoder, Env, LocalPid, NifResult, Term};
use std::sync::{Arc, Weak};
use std::time::Duration;

pub(crate) mod atoms {
    rustler::atoms! {
        io, log, settings, running, stopped, machine, group, snapshot, busy, no_leader, unknown, too_large, stale,
        timeout, in_progress, invalid, no_group,
    }
}

/// How often, and after how long, a log that is in use is tried again.
const LOCKED_TRIES: u32 = 60;
const LOCKED_WAIT: Duration = Duration::from_millis(50);

/// An engine.
pub(crate) struct Node {
    /// None when it is stopped.
    engine: RwLock<Option<Arc<Engine>>>,
    /// What holds on to the log as well.
    groups: Mutex<Vec<Weak<group::Running>>>,
    clock: Arc<SharedClock>,
    wire: Arc<wire::Wire>,
    me: String,
}

/// What Erlang holds.
pub(crate) struct Handle(Arc<Node>);

held!(Handle, c"foundation_consensus");

// Engine and clock change under locks of their own.
impl std::panic::RefUnwindSafe for Handle {}

impl Drop for Node {
    fn drop(&mut self) {
        let Some(engine) = self.take() else { return };
        if let Ok(runtime) = runtime() {
            runtime.spawn(async move { engine.stop().await });
        }
    }
}

impl Node {
    fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.read().clone()
    }

    /// Lets go of the engine and of all its groups.
    fn take(&self) -> Option<Arc<Engine>> {
        for group in self.groups.lock().drain(..) {
            if let Some(group) = group.upgrade() {
                group.let_go();
            }
        }
        self.engine.write().take()
    }

    fn started(&self, group: &Arc<group::Running>) {
        let mut groups = self.groups.lock();
        groups.retain(|group| group.strong_count() > 0);
        groups.push(Arc::downgrade(group));
    }
}

/// Registers the resources; only while the library is being loaded.
pub(crate) fn load(env: Env<'_>) -> bool {
    handle::open::<Handle>(env) && handle::open::<group::Member>(env) && handle::open::<tickets::Ticket>(env)
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
    let network = Arc::new(wire::Wire::new(wire, &me));
    let start = || {
        Engine::start(
            config.clone(),
            runtime.handle().clone(),
            Arc::clone(&network) as _,
        )
    };
    Ok(match patiently(start) {
        Ok(engine) => {
            let node = Node {
                engine: RwLock::new(Some(Arc::new(engine))),
                groups: Mutex::default(),
                clock,
                wire: network,
                me,
            };
            (common::ok(), handle::make(env, Handle(Arc::new(node)))).encode(env)
        }
        Err(refused) => (common::error(), reason(env, &refused)).encode(env),
    })
}

/// Tries again while the log is in use, by an engine that is being stopped.
fn patiently(start: impl Fn() -> Result<Engine, Refused>) -> Result<Engine, Refused> {
    let mut tries = LOCKED_TRIES;
    loop {
        match start() {
            Err(Refused::Log(foundation_storage::Error::Locked { .. })) if tries > 0 => tries -= 1,
            other => return other,
        }
        std::thread::sleep(LOCKED_WAIT);
    }
}

/// Stops the engine with its groups; what waits is answered.
#[rustler::nif(schedule = "DirtyIo")]
fn consensus_stop(node: Term<'_>) -> NifResult<rustler::Atom> {
    if let Some(engine) = get::<Handle>(node)?.0.take() {
        runtime()
            .map_err(|_| rustler::Error::BadArg)?
            .block_on(engine.stop());
    }
    Ok(common::ok())
}

/// Frames of another node's engine, in their order.
fn receive(node: Term<'_>, from: &str, frames: Term<'_>) -> NifResult<rustler::Atom> {
    let engine = get::<Handle>(node)?.0.engine();
    for frame in crate::term::list(frames, wire::MAX_BATCH)? {
        let frame: Binary<'_> = frame.decode()?;
        if let Some(engine) = &engine {
            engine.receive(from, bytes::Bytes::copy_from_slice(frame.as_slice()));
        }
    }
    Ok(common::ok())
}

/// The names of the groups that the log knows, running or not.
#[rustler::nif(schedule = "DirtyCpu")]
fn consensus_stored(node: Term<'_>) -> NifResult<Vec<String>> {
    let engine = get::<Handle>(node)?.0.engine();
    Ok(engine.map_or_else(Vec::new, |engine| engine.stored_groups()))
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
