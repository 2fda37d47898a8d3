//! What an overlay knows and measured, as maps.

use super::{Overlay, atoms, binary, topology_atom, workload_atom, workload_of};
use crate::atoms as common;
use crate::handle::get;
use foundation_overlay::{Estimate, PeerReport, Role, Route, Spread};
use rustler::{Atom, Encoder, Env, NifResult, Term};

mod names {
    rustler::atoms! {
        topology, epoch, settled, members, suspects, links, wanted, health, backlog, lost_datagrams,
        datagrams_sent, datagrams_received, datagram_bytes, frames_sent, frames_received, frame_bytes, malformed,
        name_conflicts, probes_failed, suspicions, refutations, renewals, members_up, members_down, links_up,
        links_down, broadcasts, delivered, duplicates,
        nodes, seconds, rtt_us, min, median, p90, max, loss, sent_per_second, received_per_second, lost_per_second,
        broadcasts_per_second, churn_per_minute, partners, peers, jitter_us, sent, received, lost, linked,
        workload, current, best, saving, estimates, messages, upkeep, total,
    }
}

/// Counters and state: `%{topology:, epoch:, settled:, members:, …}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_info<'a>(env: Env<'a>, overlay: Term<'a>) -> NifResult<Term<'a>> {
    let driver = &get::<Overlay>(overlay)?.driver;
    let (stats, tree) = (driver.stats(), driver.with(|overlay| overlay.tree_stats()));
    let counters = stats.counters;
    let numbers = [
        (names::epoch(), stats.epoch),
        (names::members(), stats.members as u64),
        (names::suspects(), stats.suspects as u64),
        (names::links(), stats.links as u64),
        (names::wanted(), stats.wanted as u64),
        (names::health(), stats.health.into()),
        (names::backlog(), stats.backlog as u64),
        (names::lost_datagrams(), driver.lost_datagrams()),
        (names::datagrams_sent(), counters.datagrams_sent),
        (names::datagrams_received(), counters.datagrams_received),
        (names::datagram_bytes(), counters.datagram_bytes),
        (names::frames_sent(), counters.frames_sent),
        (names::frames_received(), counters.frames_received),
        (names::frame_bytes(), counters.frame_bytes),
        (names::malformed(), counters.malformed),
        (names::name_conflicts(), counters.name_conflicts),
        (names::probes_failed(), counters.probes_failed),
        (names::suspicions(), counters.suspicions),
        (names::refutations(), counters.refutations),
        (names::renewals(), counters.renewals),
        (names::members_up(), counters.members_up),
        (names::members_down(), counters.members_down),
        (names::links_up(), counters.links_up),
        (names::links_down(), counters.links_down),
        (names::broadcasts(), tree.broadcast),
        (names::delivered(), tree.delivered),
        (names::duplicates(), tree.duplicates),
    ];
    let mut pairs: Vec<_> = numbers
        .iter()
        .map(|(name, value)| (*name, value.encode(env)))
        .collect();
    pairs.push((names::topology(), topology_atom(stats.topology).encode(env)));
    pairs.push((names::settled(), stats.settled.encode(env)));
    Term::map_from_pairs(env, &pairs)
}

/// `[{name, boot, address, role, meta}]`, in the order of the names.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_members<'a>(env: Env<'a>, overlay: Term<'a>) -> NifResult<Term<'a>> {
    let members = get::<Overlay>(overlay)?.driver.members();
    let role = |role| match role {
        Role::Peer => atoms::peer(),
        Role::Server => atoms::server(),
        Role::Client => atoms::client(),
    };
    let rows: Vec<_> = members
        .iter()
        .map(|peer| {
            let (name, meta) = (
                binary(env, peer.id.name.as_str().as_bytes()),
                binary(env, &peer.meta),
            );
            (name, peer.id.boot, peer.addr.to_string(), role(peer.role), meta)
        })
        .collect();
    Ok(rows.encode(env))
}

/// `[{name, open?}]`: the links the topology wants.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_links<'a>(env: Env<'a>, overlay: Term<'a>) -> NifResult<Term<'a>> {
    let links = get::<Overlay>(overlay)?.driver.links();
    let mut rows: Vec<_> = links.iter().map(|(id, up)| (id.name.as_str(), *up)).collect();
    rows.sort_unstable();
    Ok(rows.encode(env))
}

/// `:direct`, `{:via, name}`, `{:dial, address}` or `:unknown`.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_route<'a>(env: Env<'a>, overlay: Term<'a>, node: &str) -> NifResult<Term<'a>> {
    let driver = &get::<Overlay>(overlay)?.driver;
    let id = foundation_overlay::PeerName::new(node)
        .ok()
        .and_then(|name| driver.member(&name));
    Ok(match id.map(|peer| driver.route(&peer.id)) {
        Some(Route::Direct) => atoms::direct().encode(env),
        Some(Route::Via(next)) => (atoms::via(), next.name.as_str()).encode(env),
        Some(Route::Dial(peer)) => (atoms::dial(), peer.addr.to_string()).encode(env),
        Some(Route::Unknown) | None => atoms::unknown().encode(env),
    })
}

/// What was measured over the last minute.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_analyze<'a>(env: Env<'a>, overlay: Term<'a>) -> NifResult<Term<'a>> {
    let analysis = get::<Overlay>(overlay)?.driver.with(|overlay| overlay.analyze());
    let peers = analysis
        .peers
        .iter()
        .map(|peer| peer_report(env, peer))
        .collect::<NifResult<Vec<_>>>()?;
    let pairs = [
        (names::topology(), topology_atom(analysis.topology).encode(env)),
        (names::nodes(), analysis.nodes.encode(env)),
        (names::links(), analysis.links.encode(env)),
        (names::seconds(), analysis.seconds.encode(env)),
        (names::rtt_us(), spread(env, analysis.rtt)?),
        (names::loss(), analysis.loss.encode(env)),
        (names::sent_per_second(), analysis.sent_per_second.encode(env)),
        (
            names::received_per_second(),
            analysis.received_per_second.encode(env),
        ),
        (names::lost_per_second(), analysis.lost_per_second.encode(env)),
        (
            names::broadcasts_per_second(),
            analysis.broadcasts_per_second.encode(env),
        ),
        (names::churn_per_minute(), analysis.churn_per_minute.encode(env)),
        (names::partners(), analysis.partners.encode(env)),
        (names::peers(), peers.encode(env)),
    ];
    Term::map_from_pairs(env, &pairs)
}

fn spread(env: Env<'_>, spread: Option<Spread>) -> NifResult<Term<'_>> {
    let Some(spread) = spread else {
        return Ok(common::nil().encode(env));
    };
    let pairs = [
        (names::min(), spread.min),
        (names::median(), spread.median),
        (names::p90(), spread.p90),
        (names::max(), spread.max),
    ];
    Term::map_from_pairs(env, &pairs)
}

/// `{name, %{rtt_us:, …}}`.
fn peer_report<'a>(env: Env<'a>, peer: &PeerReport) -> NifResult<(Term<'a>, Term<'a>)> {
    let pairs: [(Atom, Term<'a>); 6] = [
        (names::rtt_us(), peer.rtt.encode(env)),
        (names::jitter_us(), peer.jitter.encode(env)),
        (names::sent(), peer.sent.encode(env)),
        (names::received(), peer.received.encode(env)),
        (names::lost(), peer.lost.encode(env)),
        (names::linked(), peer.linked.encode(env)),
    ];
    Ok((
        peer.id.name.as_str().encode(env),
        Term::map_from_pairs(env, &pairs)?,
    ))
}

/// The topology that would serve a workload best, and what each would cost.
#[rustler::nif(schedule = "DirtyCpu")]
fn topology_recommend<'a>(env: Env<'a>, overlay: Term<'a>, workload: Atom) -> NifResult<Term<'a>> {
    let workload = workload_of(workload)?;
    let advice = get::<Overlay>(overlay)?
        .driver
        .with(|overlay| overlay.recommend(workload));
    let estimates = advice
        .estimates
        .iter()
        .map(|each| estimate(env, each))
        .collect::<NifResult<Vec<_>>>()?;
    let pairs = [
        (names::workload(), workload_atom(advice.workload).encode(env)),
        (names::current(), topology_atom(advice.current).encode(env)),
        (names::best(), topology_atom(advice.best).encode(env)),
        (names::saving(), advice.saving.encode(env)),
        (names::estimates(), estimates.encode(env)),
    ];
    Term::map_from_pairs(env, &pairs)
}

fn estimate<'a>(env: Env<'a>, estimate: &Estimate) -> NifResult<Term<'a>> {
    let pairs = [
        (names::topology(), topology_atom(estimate.topology).encode(env)),
        (names::links(), estimate.links.encode(env)),
        (names::messages(), estimate.messages.encode(env)),
        (names::broadcasts(), estimate.broadcasts.encode(env)),
        (names::upkeep(), estimate.upkeep.encode(env)),
        (names::total(), estimate.total().encode(env)),
    ];
    Term::map_from_pairs(env, &pairs)
}
