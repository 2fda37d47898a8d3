//! Glue for the `discovery` domain: a node's presence on the local network.

use crate::handle::{self, held};
use crate::term;
use foundation_discovery::discovery::MAX_INTERFACES;
use foundation_discovery::{Config, Counts, Discovery, Error as Refusal, Event, Facts};
use rustler::{Atom, Binary, Encoder, Env, LocalPid, NifMap, NifResult, OwnedEnv, Term};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

mod atoms {
    rustler::atoms! { ok, error, busy, node, name, interface, secret, daemon, foundation_discovery, found, lost }
}

/// Each holds two threads and four descriptors.
const MAX_SESSIONS: usize = 64;
const GOODBYE: Duration = Duration::from_millis(500);

static SESSIONS: AtomicUsize = AtomicUsize::new(0);

/// One of the [`MAX_SESSIONS`] places; given back when the session's thread ends.
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let free = |taken| (taken < MAX_SESSIONS).then_some(taken + 1);
        SESSIONS
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, free)
            .is_ok()
            .then_some(Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        SESSIONS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// A running announcement and search; says goodbye when Erlang holds no reference to it.
pub(crate) struct Session(Discovery);

held!(Session, c"foundation_discovery");

// What is behind it changes under its own locks, and each change is complete when its lock is released.
impl std::panic::RefUnwindSafe for Session {}

/// Registers the resource; called while the library is being loaded.
pub(crate) fn load(env: Env<'_>) -> bool {
    handle::open::<Session>(env)
}

/// Starts to announce `{node, app, cluster}` and to look for others, which are sent to `pid`.
#[rustler::nif(schedule = "DirtyIo")]
fn discovery_start<'a>(
    env: Env<'a>,
    pid: LocalPid,
    names: (&'a str, &'a str, &'a str),
    numbers: (u64, u16, u16),
    secret: Binary<'a>,
    options: (bool, Term<'a>),
) -> NifResult<Term<'a>> {
    let ((node, app, cluster), (boot, port, udp)) = (names, numbers);
    let interfaces = term::list(options.1, MAX_INTERFACES)?;
    let config = Config {
        facts: Facts {
            node: node.to_owned(),
            app: app.to_owned(),
            cluster: cluster.to_owned(),
            boot,
            port,
        },
        announce: options.0,
        port: udp,
        interfaces: interfaces
            .into_iter()
            .map(Term::decode)
            .collect::<NifResult<_>>()?,
    };
    let Some(place) = Place::take() else {
        return Ok((atoms::error(), atoms::busy()).encode(env));
    };
    let sink = move |event| {
        let _held = &place;
        tell(&pid, &event);
    };
    Ok(match Discovery::start(config, secret.as_slice(), sink) {
        Ok(discovery) => (atoms::ok(), handle::make(env, Session(discovery))).encode(env),
        Err(refusal) => (atoms::error(), reason(env, refusal)).encode(env),
    })
}

/// Takes the announcement back, or makes it again.
#[rustler::nif(schedule = "DirtyIo")]
fn discovery_announce<'a>(env: Env<'a>, session: &'a Session, announce: bool) -> Term<'a> {
    match session.0.announce(announce) {
        Ok(()) => atoms::ok().encode(env),
        Err(refusal) => (atoms::error(), reason(env, refusal)).encode(env),
    }
}

/// Says goodbye, waiting at most 500 ms for it to be sent; whether it was.
#[rustler::nif(schedule = "DirtyIo")]
fn discovery_stop(session: &Session) -> bool {
    session.0.stop(GOODBYE)
}

#[derive(NifMap)]
struct StatsView {
    nodes: Vec<String>,
    strangers: Vec<(String, String)>,
    counts: CountsView,
    restarts: u64,
    running: bool,
}

#[derive(NifMap)]
struct CountsView {
    found: u64,
    repeats: u64,
    own: u64,
    other_cluster: u64,
    wrong_proof: u64,
    malformed: u64,
    stale: u64,
    refused: u64,
    lost: u64,
}

impl From<Counts> for CountsView {
    fn from(counts: Counts) -> Self {
        Self {
            found: counts.found,
            repeats: counts.repeats,
            own: counts.own,
            other_cluster: counts.other_cluster,
            wrong_proof: counts.wrong_proof,
            malformed: counts.malformed,
            stale: counts.stale,
            refused: counts.refused,
            lost: counts.lost,
        }
    }
}

/// What is known and what happened so far.
#[rustler::nif(schedule = "DirtyCpu")]
fn discovery_stats(session: &Session) -> StatsView {
    let stats = session.0.stats();
    StatsView {
        nodes: stats.nodes,
        strangers: stats
            .strangers
            .into_iter()
            .map(|stranger| (stranger.node, stranger.cluster))
            .collect(),
        counts: stats.counts.into(),
        restarts: stats.restarts,
        running: stats.running,
    }
}

// Called from the session's own thread. A process that is gone has no use for it.
fn tell(pid: &LocalPid, event: &Event) {
    let mut env = OwnedEnv::new();
    let _ = env.send_and_clear(pid, |env| {
        let news = match event {
            Event::Found(peer) => {
                let addresses: Vec<String> = peer.addresses.iter().map(ToString::to_string).collect();
                (atoms::found(), facts(&peer.facts), addresses, peer.facts.port).encode(env)
            }
            Event::Lost(lost) => (atoms::lost(), facts(lost)).encode(env),
        };
        (atoms::foundation_discovery(), news).encode(env)
    });
}

fn facts(facts: &Facts) -> (&str, &str, u64) {
    (&facts.node, &facts.app, facts.boot)
}

fn reason<'a>(env: Env<'a>, refusal: Refusal) -> Term<'a> {
    let simple = |atom: Atom| atom.encode(env);
    match refusal {
        Refusal::Node => simple(atoms::node()),
        Refusal::Name => simple(atoms::name()),
        Refusal::Interface => simple(atoms::interface()),
        Refusal::Secret => simple(atoms::secret()),
        Refusal::Daemon(text) => (atoms::daemon(), text).encode(env),
    }
}
