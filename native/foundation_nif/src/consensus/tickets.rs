//! What a machine's process answers by.

use super::caller::answering;
use crate::atoms as common;
use crate::handle::{get, held};
use bytes::Bytes;
use foundation_consensus::Answering;
use parking_lot::Mutex;
use rustler::{Atom, Binary, Encoder, Env, NifResult, Term};
use tokio::sync::oneshot;

/// An answer that is awaited.
pub(crate) enum Awaited {
    /// A reply for each command.
    Replies(oneshot::Sender<Vec<Bytes>>, usize),
    /// An answer to a query.
    Answer(Answering),
    Snapshot(oneshot::Sender<Bytes>),
    /// Whether the state was taken from a snapshot.
    Restored(oneshot::Sender<Result<(), String>>),
}

/// Good for one answer. When it is gone unused, nobody waits any more.
pub(crate) struct Ticket(Mutex<Option<Awaited>>);

held!(Ticket, c"foundation_consensus_ticket");

impl std::panic::RefUnwindSafe for Ticket {}

impl Ticket {
    pub(crate) fn new(awaited: Awaited) -> Self {
        Self(Mutex::new(Some(awaited)))
    }
}

fn copied(term: Term<'_>) -> NifResult<Bytes> {
    let binary: Binary<'_> = term.decode()?;
    Ok(Bytes::copy_from_slice(binary.as_slice()))
}

/// The most bytes and replies that are taken on a normal scheduler.
const MAX_SMALL: usize = 64 * 1024;
const MAX_FEW: usize = 1_024;

/// Whether the replies are few and short.
fn is_small(answer: Term<'_>) -> bool {
    if let Ok(binary) = answer.decode::<Binary<'_>>() {
        return binary.len() <= MAX_SMALL;
    }
    let (mut rest, mut bytes) = (answer, 0);
    for _ in 0..MAX_FEW {
        let Ok((head, tail)) = rest.list_get_cell() else {
            return true;
        };
        bytes += head.decode::<Binary<'_>>().map_or(0, |binary| binary.len());
        if bytes > MAX_SMALL {
            return false;
        }
        rest = tail;
    }
    rest.is_empty_list()
}

/// Answers what a machine was asked: a list of replies, a binary, or `:ok` or an error's text. False when that was done
/// before, or the answer is not of the kind that was asked for; `:dirty` when it is large.
#[rustler::nif]
fn consensus_answer<'a>(env: Env<'a>, ticket: Term<'a>, answer: Term<'a>) -> NifResult<Term<'a>> {
    if !is_small(answer) {
        return Ok(crate::fabric::atoms::dirty().encode(env));
    }
    answering(env, || give(ticket, answer)).map(|given| given.encode(env))
}

/// As `consensus_answer`, of any size.
#[rustler::nif(schedule = "DirtyCpu")]
fn consensus_answer_large<'a>(env: Env<'a>, ticket: Term<'a>, answer: Term<'a>) -> NifResult<bool> {
    answering(env, || give(ticket, answer))
}

fn give<'a>(ticket: Term<'a>, answer: Term<'a>) -> NifResult<bool> {
    let mut awaited = get::<Ticket>(ticket)?.0.lock();
    let sent = match awaited.take() {
        None => false,
        Some(Awaited::Replies(to, wanted)) => match replies(answer, wanted) {
            Ok(replies) => to.send(replies).is_ok(),
            Err(error) => {
                *awaited = Some(Awaited::Replies(to, wanted));
                return Err(error);
            }
        },
        Some(Awaited::Snapshot(to)) => match copied(answer) {
            Ok(bytes) => to.send(bytes).is_ok(),
            Err(error) => {
                *awaited = Some(Awaited::Snapshot(to));
                return Err(error);
            }
        },
        Some(Awaited::Answer(to)) => match copied(answer) {
            Ok(bytes) => {
                drop(awaited);
                to(bytes);
                true
            }
            Err(error) => {
                *awaited = Some(Awaited::Answer(to));
                return Err(error);
            }
        },
        Some(Awaited::Restored(to)) if answer.is_atom() => {
            let is_ok = answer.decode::<Atom>().is_ok_and(|atom| atom == common::ok());
            to.send(if is_ok { Ok(()) } else { Err("refused".into()) })
                .is_ok()
        }
        Some(Awaited::Restored(to)) => {
            let text = answer.decode::<&str>().unwrap_or("refused");
            to.send(Err(text.to_owned())).is_ok()
        }
    };
    Ok(sent)
}

fn replies(answer: Term<'_>, wanted: usize) -> NifResult<Vec<Bytes>> {
    let replies = crate::term::list(answer, wanted)?;
    if replies.len() != wanted {
        return Err(rustler::Error::BadArg);
    }
    replies.into_iter().map(copied).collect()
}
