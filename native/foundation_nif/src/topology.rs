//! Glue for the overlay: membership, topologies, routes and broadcast trees beside an endpoint of the fabric.

mod report;
mod settings;

use crate::atoms as common;
use crate::fabric::{Fabric, Processes, send_message, with_env};
use crate::handle::{self, get, held};
use crate::runtime::runtime;
use bytes::Bytes;
use foundation_fabric::Endpoint;
use foundation_fabric::overlay_driver::{self, Driver, StartError, Watcher};
use foundation_overlay::{
    DownReason, Error as Refused, MemberEvent, NodeId, Peer, Topology, Urgency, Workload,
};
use rustler::{Atom, Binary, Encoder, Env, Error, LocalPid, NewBinary, NifResult, Term};
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) mod atoms {
    rustler::atoms! {
        foundation_overlay, member, topology, deliver,
        up, suspect, alive, meta, down, left, silent, replaced,
        full_mesh, hyparview, client_server, pub_sub,
        peer, server, client, lan, wan, urgent, normal, background,
        low_latency, high_throughput, broadcast, scale, measured,
        closed, config, too_large, too_many_topics, meta_too_long, bad_name, io, not_running,
        direct, via, dial, unknown,
    }
}

/// Most addresses in one call.
const MAX_ADDRESSES: usize = 1_024;

/// A node's place in the overlay.
pub(crate) struct Overlay {
    driver: Arc<Driver>,
    /// The endpoint outlives its overlay.
    _endpoint: Arc<Endpoint<Processes>>,
}

held!(Overlay, c"foundation_overlay");

impl std::panic::RefUnwindSafe for Overlay {}

/// Registers the resource; only while the library is being loaded.
pub(crate) fn load(env: Env<'_>) -> bool {
    handle::open::<Overlay>(env)
}

fn topology_atom(topology: Topology) -> Atom {
    match topology {
        Topology::FullMesh => atoms::full_mesh(),
        Topology::HyParView => atoms::hyparview(),
        Topology::ClientServer => atoms::client_server(),
        Topology::PubSub => atoms::pub_sub(),
    }
}

fn topology_of(atom: Atom) -> NifResult<Topology> {
    let found = Topology::ALL
        .into_iter()
        .find(|topology| topology_atom(*topology) == atom);
    found.ok_or(Error::BadArg)
}

fn workload_atom(workload: Workload) -> Atom {
    match workload {
        Workload::LowLatency => atoms::low_latency(),
        Workload::HighThroughput => atoms::high_throughput(),
        Workload::Broadcast => atoms::broadcast(),
        Workload::PubSub => atoms::pub_sub(),
        Workload::ClientServer => atoms::client_server(),
        Workload::Scale => atoms::scale(),
        Workload::Measured => atoms::measured(),
    }
}

fn workload_of(atom: Atom) -> NifResult<Workload> {
    let found = Workload::ALL
        .into_iter()
        .find(|workload| workload_atom(*workload) == atom);
    found.ok_or(Error::BadArg)
}

fn refusal<'a>(env: Env<'a>, refused: &Refused) -> Term<'a> {
    let reason = match refused {
        Refused::Left => atoms::closed().encode(env),
        Refused::Config(what) => (atoms::config(), *what).encode(env),
        Refused::TooLarge { max, .. } => (atoms::too_large(), *max).encode(env),
        Refused::TooManyTopics(max) => (atoms::too_many_topics(), *max).encode(env),
        Refused::MetaTooLong(size) => (atoms::meta_too_long(), *size).encode(env),
        Refused::BadName | Refused::Malformed(_) | Refused::Version(_) => atoms::bad_name().encode(env),
    };
    (common::error(), reason).encode(env)
}

fn answer<'a>(env: Env<'a>, result: &Result<(), Refused>) -> Term<'a> {
    result
        .as_ref()
        .map_or_else(|refused| refusal(env, refused), |()| common::ok().encode(env))
}

/// Sends the overlay's news to the process that owns it.
struct ToOwner(LocalPid);

impl ToOwner {
    fn tell(&self, make: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
        with_env(|env| {
            let message = make(env);
            send_message(env, &self.0, message);
        });
    }
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(bytes);
    binary.into()
}

impl Watcher for ToOwner {
    fn member(&self, event: MemberEvent, peer: &Peer) {
        let what = match event {
            MemberEvent::Up => (atoms::up(), common::nil()),
            MemberEvent::Suspect => (atoms::suspect(), common::nil()),
            MemberEvent::Alive => (atoms::alive(), common::nil()),
            MemberEvent::Meta => (atoms::meta(), common::nil()),
            MemberEvent::Down {
                reason: DownReason::Silent,
            } => (atoms::down(), atoms::silent()),
            MemberEvent::Down {
                reason: DownReason::Replaced,
            } => (atoms::down(), atoms::replaced()),
            MemberEvent::Left => (atoms::left(), common::nil()),
        };
        self.tell(|env| {
            let name = binary(env, peer.id.name.as_str().as_bytes());
            (
                atoms::foundation_overlay(),
                atoms::member(),
                what.0,
                what.1,
                name,
                peer.id.boot,
            )
                .encode(env)
        });
    }

    fn deliver(&self, from: &NodeId, topic: u32, payload: Bytes) {
        self.tell(|env| {
            let (name, payload) = (binary(env, from.name.as_str().as_bytes()), binary(env, &payload));
            (
                atoms::foundation_overlay(),
                atoms::deliver(),
                name,
                topic,
                payload,
            )
                .encode(env)
        });
    }

    fn topology(&self, current: Topology, epoch: u64, settled: bool) {
        let current = topology_atom(current);
        self.tell(|env| {
            (
                atoms::foundation_overlay(),
                atoms::topology(),
                current,
                epoch,
                settled,
            )
                .encode(env)
        });
    }
}

/// Starts an overlay beside an endpoint; its news go to `owner`.
#[rustler::nif(schedule = "DirtyIo")]
fn topology_start<'a>(
    env: Env<'a>,
    fabric: Term<'a>,
    options: Term<'a>,
    owner: LocalPid,
) -> NifResult<Term<'a>> {
    let endpoint = Arc::clone(get::<Fabric>(fabric)?.endpoint());
    let options = settings::Options::decode(options)?;
    let failed = |reason: Term<'a>| (common::error(), reason).encode(env);
    let Ok(runtime) = runtime() else {
        return Ok(failed(atoms::not_running().encode(env)));
    };
    let config = match options.config(&endpoint) {
        Ok(config) => config,
        Err(refused) => return Ok(refusal(env, &refused)),
    };
    let starting = overlay_driver::beside(
        &endpoint,
        &options.secret,
        config,
        runtime.handle(),
        ToOwner(owner),
    );
    match runtime.block_on(starting) {
        Ok(driver) => {
            if let Err(error) = options.accept(&driver) {
                let why = crate::fabric::io_reason(&error);
                return Ok(failed((atoms::io(), why).encode(env)));
            }
            let overlay = Overlay {
                driver: Arc::new(driver),
                _endpoint: endpoint,
            };
            Ok((common::ok(), handle::make(env, overlay)).encode(env))
        }
        Err(StartError::Socket(error)) => {
            let why = crate::fabric::io_reason(&error);
            Ok(failed((atoms::io(), why).encode(env)))
        }
        Err(StartError::Overlay(refused)) => Ok(refusal(env, &refused)),
    }
}

/// Seals datagrams with `secret` from now on, and takes those sealed with it or with one of `accepted`.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_secrets<'a>(
    env: Env<'a>,
    overlay: Term<'a>,
    secret: Term<'a>,
    accepted: Term<'a>,
) -> NifResult<Term<'a>> {
    let overlay = get::<Overlay>(overlay)?;
    let (secret, accepted) = (crate::fabric::secret(secret)?, crate::fabric::secrets(accepted)?);
    Ok(match overlay.driver.set_secrets(&secret, &accepted) {
        Ok(()) => common::ok().encode(env),
        Err(error) => (common::error(), (atoms::io(), crate::fabric::io_reason(&error))).encode(env),
    })
}

/// Ends this node's part: after a good-bye, or without one, as if it had died.
#[rustler::nif(schedule = "DirtyIo")]
fn topology_stop(overlay: Term<'_>, goodbye: bool) -> NifResult<Atom> {
    let driver = Arc::clone(&get::<Overlay>(overlay)?.driver);
    match runtime() {
        Ok(runtime) if goodbye => runtime.block_on(driver.leave()),
        _ => driver.stop(),
    }
    Ok(common::ok())
}

/// Looks for the cluster at these addresses.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_join<'a>(env: Env<'a>, overlay: Term<'a>, addresses: Term<'a>) -> NifResult<Term<'a>> {
    let overlay = get::<Overlay>(overlay)?;
    let addresses = crate::term::list(addresses, MAX_ADDRESSES)?;
    let parse = |term: &Term<'a>| {
        term.decode::<&str>()?
            .parse::<SocketAddr>()
            .map_err(|_| Error::BadArg)
    };
    let addresses = addresses.iter().map(parse).collect::<NifResult<Vec<_>>>()?;
    Ok(answer(env, &overlay.driver.join(&addresses)))
}

/// Changes the topology of the whole cluster.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_switch<'a>(env: Env<'a>, overlay: Term<'a>, topology: Atom) -> NifResult<Term<'a>> {
    let overlay = get::<Overlay>(overlay)?;
    Ok(answer(env, &overlay.driver.switch(topology_of(topology)?)))
}

/// Chooses the topology by measurement from now on, or (`nil`) no more.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_automatic<'a>(env: Env<'a>, overlay: Term<'a>, workload: Atom) -> NifResult<Term<'a>> {
    let overlay = get::<Overlay>(overlay)?;
    let workload = if workload == common::nil() {
        None
    } else {
        Some(workload_of(workload)?)
    };
    Ok(answer(env, &overlay.driver.automatic(workload)))
}

/// Delivers a payload once on every node that subscribes to the topic; topic 0 is everyone's.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_broadcast<'a>(
    env: Env<'a>,
    overlay: Term<'a>,
    topic: u32,
    payload: Binary<'a>,
    urgency: Atom,
) -> NifResult<Term<'a>> {
    let overlay = get::<Overlay>(overlay)?;
    let urgency = if urgency == atoms::urgent() {
        Urgency::Urgent
    } else if urgency == atoms::normal() {
        Urgency::Normal
    } else if urgency == atoms::background() {
        Urgency::Background
    } else {
        return Err(Error::BadArg);
    };
    let payload = Bytes::copy_from_slice(payload.as_slice());
    Ok(answer(env, &overlay.driver.broadcast(topic, payload, urgency)))
}

/// Delivers broadcasts of a topic here, or no more.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_subscribe<'a>(env: Env<'a>, overlay: Term<'a>, topic: u32, on: bool) -> NifResult<Term<'a>> {
    let overlay = get::<Overlay>(overlay)?;
    let done = if on {
        overlay.driver.subscribe(topic)
    } else {
        overlay.driver.unsubscribe(topic)
    };
    Ok(answer(env, &done))
}

/// Says that this node is slow, or no more.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_slow<'a>(env: Env<'a>, overlay: Term<'a>, slow: bool) -> NifResult<Term<'a>> {
    let overlay = get::<Overlay>(overlay)?;
    Ok(answer(env, &overlay.driver.slow(slow)))
}
