//! Glue for the `federation` domain: calls to and from other clusters.

use crate::handle::{self, held};
use crate::runtime::runtime;
use crate::{atoms as common, term};
use bytes::Bytes;
use foundation_fabric::federation::{
    CallError, Calling, ClusterSettings, Federation, FederationError, Handler, Membership, Quota, Request,
    Responder, Settings,
};
use foundation_overlay::PeerName;
use parking_lot::Mutex;
use rustler::{Atom, Binary, Encoder, Env, Error, LocalPid, NewBinary, NifMap, NifResult, OwnedEnv, Term};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

mod atoms {
    rustler::atoms! {
        foundation_federation, foundation_federation_cancel, unknown_cluster, unreachable, broken, timeout, too_large, system_limit,
        identity, gateway, not_member, twice, quota, member, foreign,
    }
}

const MAX_CLUSTERS: usize = 256;
const MAX_ADDRESSES: usize = 64;

/// The federation of this node; stopped when Erlang holds no reference to it.
pub(crate) struct Running(Federation);

held!(Running, c"foundation_federation");

/// A request that waits for its answer; lost when Erlang holds no reference to it.
pub(crate) struct Waiting(Mutex<Option<Responder>>);

held!(Waiting, c"foundation_federation_request");

// What is behind them changes under its own locks, and each change is complete when its lock is released.
impl std::panic::RefUnwindSafe for Running {}
impl std::panic::RefUnwindSafe for Waiting {}

/// A call of ours under way. It is cancelled when Erlang holds no reference to it: when the caller that holds the only
/// one is gone.
pub(crate) struct Under(Mutex<Option<Calling>>);

held!(Under, c"foundation_federation_call");

impl std::panic::RefUnwindSafe for Under {}

/// Registers the resources; called while the library is being loaded.
pub(crate) fn load(env: Env<'_>) -> bool {
    handle::open::<Running>(env) && handle::open::<Waiting>(env) && handle::open::<Under>(env)
}

/// Sends requests to a process.
struct ToProcess(LocalPid);

impl Handler for ToProcess {
    fn cancel(&self, number: u64) {
        let _ = OwnedEnv::new().send_and_clear(&self.0, |env| {
            (atoms::foundation_federation_cancel(), number).encode(env)
        });
    }

    fn request(&self, request: Request, responder: Responder) {
        let within = u64::try_from(request.within.as_millis()).unwrap_or(u64::MAX);
        // A process that is gone: the responder is dropped with the message and says so to the caller.
        let _ = OwnedEnv::new().send_and_clear(&self.0, |env| {
            let waiting = handle::make(env, Waiting(Mutex::new(Some(responder))));
            let (cluster, node) = (request.cluster.as_str(), request.node.name.as_str());
            (
                atoms::foundation_federation(),
                waiting,
                cluster,
                node,
                within,
                binary(env, &request.payload),
                request.number,
            )
                .encode(env)
        });
    }
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut binary = NewBinary::new(env, bytes.len());
    binary.copy_from_slice(bytes);
    binary.into()
}

#[derive(NifMap)]
struct Options<'a> {
    node: &'a str,
    boot: u64,
    max_payload: u32,
    clusters: Term<'a>,
}

type Cluster<'a> = (&'a str, Term<'a>, Term<'a>, (u32, u32, u32));

fn settings(options: &Options<'_>) -> NifResult<Settings> {
    let clusters = term::list(options.clusters, MAX_CLUSTERS)?;
    Ok(Settings {
        node: PeerName::new(options.node).map_err(|_| Error::BadArg)?,
        boot: options.boot,
        clusters: clusters.into_iter().map(cluster).collect::<NifResult<_>>()?,
        max_payload: options.max_payload as usize,
    })
}

fn cluster(term: Term<'_>) -> NifResult<ClusterSettings> {
    let (name, membership, gateways, (calls, bytes, at_a_time)): Cluster<'_> = term.decode()?;
    let gateways = term::list(gateways, MAX_ADDRESSES)?;
    Ok(ClusterSettings {
        name: name.to_owned(),
        membership: self::membership(membership)?,
        gateways: gateways.into_iter().map(address).collect::<NifResult<_>>()?,
        quota: Quota {
            calls,
            bytes,
            at_a_time,
        },
    })
}

fn membership(term: Term<'_>) -> NifResult<Membership> {
    let (kind, first, second): (Atom, Term<'_>, Term<'_>) = term.decode()?;
    if kind == atoms::member() {
        let mut secrets = crate::fabric::secrets(first)?.into_iter();
        let secret = secrets.next().ok_or(Error::BadArg)?;
        let accepted = secrets.collect();
        let gateway = if common::nil() == second {
            None
        } else {
            Some(address(second)?)
        };
        return Ok(Membership::Member {
            secret,
            accepted,
            gateway,
        });
    }
    if kind != atoms::foreign() {
        return Err(Error::BadArg);
    }
    let der = |term: Term<'_>| Ok(term.decode::<Binary<'_>>()?.to_vec().into());
    let authorities = term::list(second, MAX_ADDRESSES)?
        .into_iter()
        .map(der)
        .collect::<NifResult<_>>()?;
    Ok(Membership::Foreign {
        of: first.decode()?,
        authorities,
    })
}

fn address(term: Term<'_>) -> NifResult<SocketAddr> {
    term.decode::<&str>()?.parse().map_err(|_| Error::BadArg)
}

/// Starts with `options`; requests of others are sent to `pid`.
#[rustler::nif(schedule = "DirtyIo")]
fn federation_start<'a>(env: Env<'a>, options: Term<'a>, pid: LocalPid) -> NifResult<Term<'a>> {
    let settings = settings(&options.decode()?)?;
    let Ok(runtime) = runtime() else {
        return Ok(env.error_tuple(atoms::system_limit()));
    };
    match runtime.block_on(Federation::start(settings, Arc::new(ToProcess(pid)))) {
        Ok(federation) => Ok((common::ok(), handle::make(env, Running(federation))).encode(env)),
        Err(error) => Ok(env.error_tuple(refusal(env, &error))),
    }
}

fn refusal<'a>(env: Env<'a>, error: &FederationError) -> Term<'a> {
    match error {
        FederationError::Identity(error) => (atoms::identity(), error.to_string()).encode(env),
        FederationError::Transport(error) => (atoms::gateway(), error.to_string()).encode(env),
        FederationError::NotMember(name) => (atoms::not_member(), name).encode(env),
        FederationError::Twice(name) => (atoms::twice(), name).encode(env),
        FederationError::Quota(_) => atoms::quota().encode(env),
    }
}

fn call_error(error: CallError) -> Atom {
    match error {
        CallError::UnknownCluster => atoms::unknown_cluster(),
        CallError::Unreachable => atoms::unreachable(),
        CallError::Broken => atoms::broken(),
        CallError::Timeout => atoms::timeout(),
        CallError::Busy => common::busy(),
        CallError::TooLarge => atoms::too_large(),
    }
}

/// Sends a request: `{:ok, call}`. `{reference, {:ok, status, payload}}` or `{reference, {:error, reason}}` comes to the
/// caller, who keeps `call` until then.
#[rustler::nif(schedule = "DirtyCpu")]
fn federation_call<'a>(
    env: Env<'a>,
    running: &'a Running,
    cluster: &'a str,
    payload: Binary<'a>,
    within_ms: u32,
    reference: Term<'a>,
) -> NifResult<Term<'a>> {
    if !reference.is_ref() {
        return Err(Error::BadArg);
    }
    let Ok(runtime) = runtime() else {
        return Ok(env.error_tuple(common::busy()));
    };
    let (caller, reply) = (env.pid(), OwnedEnv::new());
    let reference = reply.save(reference);
    let done = move |answer: Result<(u32, Bytes), CallError>| {
        let mut reply = reply;
        // A caller that is gone waits for nothing.
        let _ = reply.send_and_clear(&caller, |env| {
            let answer = match answer {
                Ok((status, payload)) => (common::ok(), status, binary(env, &payload)).encode(env),
                Err(error) => (common::error(), call_error(error)).encode(env),
            };
            (reference.load(env), answer).encode(env)
        });
    };
    let _inside = runtime.enter();
    let payload = Bytes::copy_from_slice(payload.as_slice());
    match running
        .0
        .call(cluster, payload, Duration::from_millis(within_ms.into()), done)
    {
        Ok(calling) => {
            let under = handle::make(env, Under(Mutex::new(Some(calling))));
            Ok((common::ok(), under).encode(env))
        }
        Err(error) => Ok(env.error_tuple(call_error(error))),
    }
}

/// Cancels a call; false when that was done before. One that was answered is over, and nothing happens.
#[rustler::nif]
fn federation_cancel(under: &Under) -> bool {
    under.0.lock().take().is_some()
}

/// Answers a request; false when it was answered before.
#[rustler::nif(schedule = "DirtyCpu")]
fn federation_answer(waiting: &Waiting, status: u32, payload: Binary<'_>) -> bool {
    let responder = waiting.0.lock().take();
    let Some(responder) = responder else { return false };
    responder.answer(status, Bytes::copy_from_slice(payload.as_slice()));
    true
}

/// `{gateway, authorities, linked}` of a cluster: the address its gateway here accepts links at, the certificates that
/// others pin, and the gateway that calls go to now; nil for what there is not.
#[rustler::nif(schedule = "DirtyCpu")]
fn federation_cluster<'a>(env: Env<'a>, running: &'a Running, cluster: &'a str) -> Term<'a> {
    let federation = &running.0;
    let gateway = federation.gateway(cluster).map(|address| address.to_string());
    let authorities = federation.authorities(cluster).map(|authorities| {
        let terms: Vec<Term<'_>> = authorities.iter().map(|der| binary(env, der)).collect();
        terms
    });
    let linked = federation.linked(cluster).map(|node| node.name.to_string());
    (gateway, authorities, linked).encode(env)
}

/// Links that gateways here refused: `{reason, count}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn federation_refused<'a>(env: Env<'a>, running: &'a Running) -> Term<'a> {
    let refused = running.0.refused();
    let pairs = refused
        .iter()
        .filter_map(|(reason, count)| Some((Atom::from_str(env, reason.name()).ok()?, count)));
    pairs.collect::<Vec<_>>().encode(env)
}

/// Stops the gateways and closes the links to others; also what happens when the reference is dropped.
#[rustler::nif(schedule = "DirtyCpu")]
fn federation_stop(running: &Running) -> Atom {
    running.0.stop();
    common::ok()
}
