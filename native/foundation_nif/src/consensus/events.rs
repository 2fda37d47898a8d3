//! Events of the coordination machine, as messages.

use super::reply::{bytes, hold};
use crate::fabric::{send_message, with_env};
use foundation_consensus::coordination::{Event, Loss, What};
use rustler::{Encoder, Env, LocalPid, Term};

mod atoms {
    rustler::atoms! {
        foundation_coordination, hold, holdings, leader, value, granted, item, wanted, lost, session, lease, deposed,
    }
}

/// Sends `{:foundation_coordination, event}`.
pub(super) fn send(pid: &LocalPid, event: &Event) {
    with_env(|env| {
        let message = (atoms::foundation_coordination(), term(env, event)).encode(env);
        send_message(env, pid, message);
    });
}

fn term<'a>(env: Env<'a>, event: &Event) -> Term<'a> {
    match event {
        Event::Hold { hold: at, what: it } => (atoms::hold(), hold(env, *at), what(env, it)).encode(env),
        Event::Holdings {
            session,
            held,
            waiting,
        } => (atoms::holdings(), *session, held, waiting).encode(env),
        Event::Leader {
            name,
            leader,
            node,
            token,
            metadata,
        } => {
            let leader =
                leader.map(|leader| (node.as_deref(), hold(env, leader), *token, bytes(env, metadata)));
            (atoms::leader(), bytes(env, name), leader).encode(env)
        }
        Event::Value { key, version, value } => {
            let value = value.as_ref().map(|value| bytes(env, value));
            (atoms::value(), bytes(env, key), *version, value).encode(env)
        }
    }
}

fn what<'a>(env: Env<'a>, what: &What) -> Term<'a> {
    match what {
        What::Granted { token, wanted } => (atoms::granted(), *token, *wanted).encode(env),
        What::Item { token, value } => (atoms::item(), *token, bytes(env, value)).encode(env),
        What::Wanted => atoms::wanted().encode(env),
        What::Lost(loss) => {
            let loss = match loss {
                Loss::Session => atoms::session(),
                Loss::Lease => atoms::lease(),
                Loss::Deposed => atoms::deposed(),
            };
            (atoms::lost(), loss).encode(env)
        }
    }
}
