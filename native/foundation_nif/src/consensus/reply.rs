//! Replies and answers of the coordination machine, as terms.

use crate::atoms as common;
use foundation_consensus::coordination::{Answer, Hold, Refusal, Reply};
use rustler::{Encoder, Env, OwnedBinary, Term};

mod atoms {
    rustler::atoms! {
        granted, queued, taken, unexpected, item, empty, conflict,
        no_session, undefined, mismatch, not_held, hold_in_use, overflow, full, too_large, malformed, in_use, alive,
    }
}

pub(super) fn bytes<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    OwnedBinary::from_slice(bytes).release(env).to_term(env)
}

pub(super) fn hold(env: Env<'_>, hold: Hold) -> Term<'_> {
    (hold.session, hold.number).encode(env)
}

pub(super) fn reply(env: Env<'_>, reply: Reply) -> Term<'_> {
    match reply {
        Reply::Done => common::ok().encode(env),
        Reply::Granted { token, wanted } => (atoms::granted(), token, wanted).encode(env),
        Reply::Queued { ahead } => (atoms::queued(), ahead).encode(env),
        Reply::Taken => atoms::taken().encode(env),
        Reply::Number(number) => (common::ok(), number).encode(env),
        Reply::Unexpected(number) => (atoms::unexpected(), number).encode(env),
        Reply::Range { first, count } => (common::ok(), first, count).encode(env),
        Reply::Item { token, value } => (atoms::item(), token, bytes(env, &value)).encode(env),
        Reply::Empty => atoms::empty().encode(env),
        Reply::Version(version) => (common::ok(), version).encode(env),
        Reply::Conflict { version, value } => {
            let value = value.map(|value| bytes(env, &value));
            (atoms::conflict(), version, value).encode(env)
        }
        Reply::Refused(refusal) => (common::error(), refused(env, refusal)).encode(env),
    }
}

fn refused(env: Env<'_>, refusal: Refusal) -> Term<'_> {
    match refusal {
        Refusal::NoSession => atoms::no_session().encode(env),
        Refusal::Undefined => atoms::undefined().encode(env),
        Refusal::Mismatch(size) => (atoms::mismatch(), size).encode(env),
        Refusal::NotHeld => atoms::not_held().encode(env),
        Refusal::HoldInUse => atoms::hold_in_use().encode(env),
        Refusal::Overflow => atoms::overflow().encode(env),
        Refusal::Full => atoms::full().encode(env),
        Refusal::TooLarge => atoms::too_large().encode(env),
        Refusal::Malformed => atoms::malformed().encode(env),
        Refusal::InUse => atoms::in_use().encode(env),
    }
}

/// `nil` for nothing.
pub(super) fn answer(env: Env<'_>, answer: Answer) -> Term<'_> {
    let found = match answer {
        Answer::Nothing => common::nil().encode(env),
        Answer::Claim {
            size,
            holders,
            waiting,
        } => {
            let holders: Vec<Term<'_>> = holders
                .into_iter()
                .map(|(node, at, token, weight)| (node, hold(env, at), token, weight).encode(env))
                .collect();
            (size, holders, waiting).encode(env)
        }
        Answer::Leader {
            node,
            hold: at,
            token,
            metadata,
        } => (node, hold(env, at), token, bytes(env, &metadata)).encode(env),
        Answer::Candidates(candidates) => {
            let candidates: Vec<Term<'_>> = candidates
                .into_iter()
                .map(|(node, at, priority, metadata)| {
                    (node, hold(env, at), priority, bytes(env, &metadata)).encode(env)
                })
                .collect();
            candidates.encode(env)
        }
        Answer::Counts(size, first, second, third) => (size, first, second, third).encode(env),
        Answer::Number(number) => number.encode(env),
        Answer::Last(number) => number.encode(env),
        Answer::Value { version, value } => (version, bytes(env, &value)).encode(env),
        Answer::Alive => atoms::alive().encode(env),
    };
    (common::ok(), found).encode(env)
}
