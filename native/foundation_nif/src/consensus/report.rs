//! How a group is doing, as a map.

use super::group::Member;
use crate::handle::get;
use foundation_consensus::{Role, Status};
use rustler::{Atom, Encoder, Env, NifResult, Term};

mod atoms {
    rustler::atoms! {
        group, me, role, leader, term, last_index, committed, applied, snapshot, voters, learners, joint, replication,
        quorum_ms, in_flight, sessions, log_bytes, error, follower, candidate, learner, stopped,
    }
}

/// How the group is doing, seen from this node.
#[rustler::nif(schedule = "DirtyCpu")]
fn consensus_status<'a>(env: Env<'a>, member: Term<'a>) -> NifResult<Term<'a>> {
    let group = get::<Member>(member)?.0.group();
    Ok(match group {
        Some(group) => report(env, &group.status()),
        None => crate::atoms::nil().encode(env),
    })
}

fn role(role: Role) -> Atom {
    match role {
        Role::Leader => atoms::leader(),
        Role::Follower => atoms::follower(),
        Role::Candidate => atoms::candidate(),
        Role::Learner => atoms::learner(),
        Role::Stopped => atoms::stopped(),
    }
}

fn report<'a>(env: Env<'a>, status: &Status) -> Term<'a> {
    let pairs: Vec<(Term<'a>, Term<'a>)> = vec![
        (atoms::group().encode(env), status.group.encode(env)),
        (atoms::me().encode(env), status.me.encode(env)),
        (atoms::role().encode(env), role(status.role).encode(env)),
        (atoms::leader().encode(env), status.leader.encode(env)),
        (atoms::term().encode(env), status.term.encode(env)),
        (atoms::last_index().encode(env), status.last_index.encode(env)),
        (atoms::committed().encode(env), status.committed.encode(env)),
        (atoms::applied().encode(env), status.applied.encode(env)),
        (atoms::snapshot().encode(env), status.snapshot.encode(env)),
        (atoms::voters().encode(env), status.voters.encode(env)),
        (atoms::learners().encode(env), status.learners.encode(env)),
        (atoms::joint().encode(env), status.joint.encode(env)),
        (atoms::replication().encode(env), status.replication.encode(env)),
        (atoms::quorum_ms().encode(env), status.quorum_ms.encode(env)),
        (atoms::in_flight().encode(env), status.in_flight.encode(env)),
        (atoms::sessions().encode(env), status.sessions.encode(env)),
        (atoms::log_bytes().encode(env), status.log_bytes.encode(env)),
        (atoms::error().encode(env), status.error.encode(env)),
    ];
    // The keys are distinct atoms.
    Term::map_from_pairs(env, &pairs).unwrap_or_else(|_| crate::atoms::nil().encode(env))
}
