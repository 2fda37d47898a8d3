//! Glue for the fabric: endpoints, their channels and peers.

mod decode;
mod deliver;
mod encode;
mod message;
mod names;
mod pending;
mod report;
mod send;
mod settings;

use crate::handle::{self, get, held};
use crate::runtime::{bulk, runtime};
use crate::{atoms as common, key};
use arc_swap::ArcSwap;
use deliver::{Shared, ToProcesses};
use foundation_fabric::{Error as Refused, Identity, Outlet};
use foundation_overlay::{NodeId, PeerName};
use parking_lot::RwLock;
use rustler::{Atom, Encoder, Env, Error, LocalPid, NifResult, Term};
use send::Found;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) mod atoms {
    rustler::atoms! {
        dirty, room, busy, unreachable, unknown_channel, settings, range, too_large, closed, malformed, transport, io,
        context, yes = "true", no = "false",
    }
}

pub(crate) use deliver::{Frames, ToProcesses as Processes, send as send_message, with_env};
pub(crate) use message::write_engine;
pub(crate) use settings::{io_reason, secret, secrets};

pub(crate) type Endpoint = foundation_fabric::Endpoint<ToProcesses>;

/// By the atoms of channel and node.
type Outlets = HashMap<(u64, u64), Arc<Outlet>, ahash::RandomState>;

/// An endpoint, and what its users need to find their queues.
pub(crate) struct Fabric {
    endpoint: Arc<Endpoint>,
    shared: Arc<Shared>,
    /// The queues that were asked for; read for every message, added to seldom.
    outlets: ArcSwap<Outlets>,
    identity: Arc<Identity>,
}

held!(Fabric, c"foundation_fabric");

impl std::panic::RefUnwindSafe for Fabric {}

impl Drop for Fabric {
    fn drop(&mut self) {
        // Those who wait are told by messages, which threads of the VM may not send.
        self.stop();
    }
}

impl Fabric {
    fn stop(&self) {
        let (endpoint, shared) = (Arc::clone(&self.endpoint), Arc::clone(&self.shared));
        if let Ok(runtime) = runtime() {
            runtime.spawn(async move {
                endpoint.stop();
                deliver::close(&shared);
            });
        }
    }

    pub(crate) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }

    /// What comes for an engine goes there from now on.
    pub(crate) fn frames_to(&self, engine: Arc<dyn Frames>) {
        *self.shared.engine.write() = Some(engine);
    }

    fn outlet(&self, channel: Term<'_>, node: Term<'_>) -> NifResult<Found> {
        let words = (key::atom_word(channel)?, key::atom_word(node)?);
        if let Some(outlet) = self.outlets.load().get(&words) {
            return Ok(Ok(Arc::clone(outlet)));
        }
        let (channel, node) = (channel.atom_to_string()?, node.atom_to_string()?);
        let Ok(peer) = PeerName::new(&node) else {
            return Ok(Err(Refused::Unreachable));
        };
        let found = self.endpoint.outlet(&peer, &channel);
        if let Ok(outlet) = &found {
            self.outlets.rcu(|outlets| {
                let mut outlets = Outlets::clone(outlets);
                outlets.insert(words, Arc::clone(outlet));
                outlets
            });
        }
        Ok(found)
    }
}

/// Registers the resource; only while the library is being loaded.
pub(crate) fn load(env: Env<'_>) -> bool {
    handle::open::<Fabric>(env) && handle::open::<deliver::Errand>(env) && handle::open::<send::Calling>(env)
}

/// The reason of a refusal.
fn reason<'a>(env: Env<'a>, refused: &Refused) -> Term<'a> {
    match refused {
        Refused::Busy => atoms::busy().to_term(env),
        Refused::Unreachable => atoms::unreachable().to_term(env),
        Refused::UnknownChannel => atoms::unknown_channel().to_term(env),
        Refused::Settings => atoms::settings().to_term(env),
        Refused::Range(name) => (atoms::range(), *name).encode(env),
        Refused::TooLarge => atoms::too_large().to_term(env),
        Refused::Closed => atoms::closed().to_term(env),
        Refused::Malformed => atoms::malformed().to_term(env),
        Refused::Transport(error) => (atoms::transport(), settings::transport_reason(env, error)).encode(env),
        Refused::Io(error) => (atoms::io(), settings::io_reason(error)).encode(env),
    }
}

/// Starts an endpoint; its news go to `owner`, calls from other nodes to `callees`, and messages that come thick and
/// fast are handed over by `deliverers`.
// Its runtime, transport and endpoint are left whole by a panic.
#[rustler::nif(schedule = "DirtyIo")]
fn fabric_start<'a>(
    env: Env<'a>,
    options: Term<'a>,
    owner: LocalPid,
    callees: Term<'a>,
    deliverers: Term<'a>,
) -> NifResult<Term<'a>> {
    let pids = |list| -> NifResult<Vec<LocalPid>> {
        let list = crate::term::list(list, 1024)?;
        list.iter().map(|pid| pid.decode()).collect()
    };
    let (callees, deliverers) = (pids(callees)?, pids(deliverers)?);
    let (runtime, bulk) = match runtime().and_then(|runtime| Ok((runtime, bulk()?))) {
        Ok(runtimes) => runtimes,
        Err(kind) => {
            return Ok((common::error(), (atoms::io(), settings::io_reason(&kind.into()))).encode(env));
        }
    };
    let mut options = settings::Options::decode(options, bulk.clone())?;
    let shared = Arc::new(Shared {
        pending: Default::default(),
        subscribers: Default::default(),
        callees,
        deliverers,
        owner,
        engine: RwLock::new(None),
        names: options.names(),
        lanes: Default::default(),
    });
    let (identity, transport) = match runtime.block_on(options.transport()) {
        Ok(transport) => transport,
        Err(error) => return Ok((common::error(), reason(env, &error.into())).encode(env)),
    };
    let sink = ToProcesses(Arc::clone(&shared));
    let endpoint = Endpoint::start(
        options.config(&*transport),
        transport,
        runtime.handle().clone(),
        sink,
    );
    let fabric = Fabric {
        endpoint: Arc::new(endpoint),
        shared,
        outlets: ArcSwap::default(),
        identity,
    };
    Ok((common::ok(), handle::make(env, fabric)).encode(env))
}

/// Closes every link; who waits is told. The handle answers `:closed` from then on.
#[rustler::nif]
fn fabric_stop(handle: Term<'_>) -> NifResult<Atom> {
    get::<Fabric>(handle)?.stop();
    Ok(common::ok())
}

/// Proves this node to others by `secret` from now on, and believes those that prove themselves by it or by one of
/// `accepted`.
#[rustler::nif(schedule = "DirtyCpu")]
fn fabric_secrets<'a>(
    env: Env<'a>,
    handle: Term<'a>,
    secret: Term<'a>,
    accepted: Term<'a>,
) -> NifResult<Term<'a>> {
    let fabric = get::<Fabric>(handle)?;
    let (secret, accepted) = (settings::secret(secret)?, settings::secrets(accepted)?);
    Ok(match fabric.identity.set_secrets(&secret, &accepted) {
        Ok(()) => common::ok().encode(env),
        Err(error) => (common::error(), settings::identity_reason(&error)).encode(env),
    })
}

/// Opens a channel.
#[rustler::nif]
fn fabric_open<'a>(env: Env<'a>, handle: Term<'a>, name: Term<'a>, options: Term<'a>) -> NifResult<Term<'a>> {
    let fabric = get::<Fabric>(handle)?;
    let settings = settings::channel(options)?;
    Ok(match fabric.endpoint.open(&name.atom_to_string()?, settings) {
        Ok(()) => common::ok().encode(env),
        Err(error) => (common::error(), reason(env, &error)).encode(env),
    })
}

/// Whether a channel is open: `:ok` or `{:error, :unknown_channel}`.
#[rustler::nif]
fn fabric_channel<'a>(env: Env<'a>, handle: Term<'a>, name: Term<'a>) -> NifResult<Term<'a>> {
    let fabric = get::<Fabric>(handle)?;
    Ok(if fabric.endpoint.is_open(&name.atom_to_string()?) {
        common::ok().encode(env)
    } else {
        (common::error(), atoms::unknown_channel()).encode(env)
    })
}

/// Tells where a node is (`addr` is set), or that it is gone.
#[rustler::nif]
fn fabric_peer(handle: Term<'_>, node: Term<'_>, boot: u64, addr: Term<'_>) -> NifResult<Atom> {
    let fabric = get::<Fabric>(handle)?;
    let id = NodeId::new(&node.atom_to_string()?, boot).map_err(|_| Error::BadArg)?;
    let addr: Option<SocketAddr> = if addr.is_atom() {
        None
    } else {
        Some(addr.decode::<&str>()?.parse().map_err(|_| Error::BadArg)?)
    };
    let endpoint = Arc::clone(&fabric.endpoint);
    let runtime = runtime().map_err(|_| Error::BadArg)?;
    runtime.spawn(async move {
        match addr {
            Some(addr) => endpoint.peer_up(&id, addr),
            None => endpoint.peer_down(&id),
        }
    });
    Ok(common::ok())
}

/// Stops granting credit to the senders of a channel, or begins again.
#[rustler::nif]
fn fabric_pause(handle: Term<'_>, channel: Term<'_>, paused: bool) -> NifResult<Atom> {
    let fabric = get::<Fabric>(handle)?;
    fabric.endpoint.pause(&channel.atom_to_string()?, paused);
    Ok(common::ok())
}
