//! Proposals and reads: handed to the runtime, answered by message.

use super::atoms;
use super::caller::{Caller, answering};
use super::group::{Member, Running};
use super::{command, reply};
use crate::atoms as common;
use crate::handle::get;
use bytes::Bytes;
use foundation_consensus::coordination::{Answer, Query, Reply, encode};
use foundation_consensus::{Consistency, Instant, ProposeError, ReadError, Session};
use parking_lot::Mutex;
use rustler::{Atom, Binary, Encoder, Env, Error, NifResult, OwnedBinary, Term};
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

mod names {
    rustler::atoms! { linearizable, lease, local, quorum, now, nil }
}

/// The largest command or query on a normal scheduler, in bytes.
const MAX_SMALL: usize = 64 * 1024;

/// How far the number of a new proposal may be ahead of one that is on its way; the group remembers 256 of a client.
const AHEAD: u64 = 200;

/// Numbers for proposals, so that one that is sent again counts once.
#[derive(Default)]
pub(crate) struct Clients(Mutex<Vec<Client>>);

struct Client {
    id: u128,
    next: u64,
    on_their_way: BTreeSet<u64>,
}

impl Client {
    fn may_go_on(&self) -> bool {
        self.on_their_way
            .first()
            .is_none_or(|first| self.next - first < AHEAD)
    }
}

impl Clients {
    fn take(&self) -> Session {
        let mut clients = self.0.lock();
        if !clients.iter().any(Client::may_go_on) {
            clients.push(Client {
                id: random(),
                next: 0,
                on_their_way: BTreeSet::new(),
            });
        }
        let mut session = Session { client: 0, seq: 0 };
        if let Some(client) = clients.iter_mut().find(|client| client.may_go_on()) {
            session = Session {
                client: client.id,
                seq: client.next,
            };
            client.on_their_way.insert(client.next);
            client.next += 1;
        }
        session
    }

    /// The outcome is known.
    fn settled(&self, session: Session) {
        let mut clients = self.0.lock();
        if let Some(client) = clients.iter_mut().find(|client| client.id == session.client) {
            client.on_their_way.remove(&session.seq);
        }
    }

    /// The outcome is not known: what may still be on its way is not to hold up the client, which is not used again.
    fn lost(&self, session: Session) {
        self.0.lock().retain(|client| client.id != session.client);
    }
}

/// 128 bits of the keys that the standard library draws for its hash tables.
fn random() -> u128 {
    let word = |n: u8| u128::from(RandomState::new().hash_one(n));
    word(0) << 64 | word(1)
}

/// Hands a command to the group; the caller gets `{reference, what is shown of the outcome}`, also of a refusal.
fn submit<'a>(
    env: Env<'a>,
    running: &Arc<Running>,
    caller: Caller,
    given: Option<Session>,
    command: Bytes,
    until: Instant,
    show: for<'b> fn(Env<'b>, &[u8]) -> Term<'b>,
) {
    let Some(group) = running.group() else {
        return refuse(env, caller, ProposeError::Stopped);
    };
    let turn = match group.turn(command.len()) {
        Ok(turn) => turn,
        Err(refused) => return refuse(env, caller, refused),
    };
    let session = given.unwrap_or_else(|| running.clients.take());
    let owner = given.is_none().then(|| Arc::clone(running));
    let done = Box::new(move |outcome| {
        settled(owner.as_deref(), session, &outcome);
        caller.answer(|env| match outcome {
            Ok(bytes) => show(env, &bytes),
            Err(error) => (common::error(), propose_reason(error)).encode(env),
        });
    });
    turn.propose(Some(session), command, until, done);
}

fn refuse(env: Env<'_>, caller: Caller, refused: ProposeError) {
    let answer = (common::error(), propose_reason(refused)).encode(env);
    caller.answer_now(env, answer);
}

/// The number was one of ours.
fn settled(owner: Option<&Running>, session: Session, outcome: &Result<Bytes, ProposeError>) {
    match (owner, outcome) {
        (None, _) => {}
        (Some(owner), Err(ProposeError::Unknown)) => owner.clients.lost(session),
        (Some(owner), _) => owner.clients.settled(session),
    }
}

/// Asks the group; the caller gets `{reference, what is shown of the outcome}`.
fn read<'a>(
    env: Env<'a>,
    running: &Running,
    caller: Caller,
    (query, level, until): (Bytes, Consistency, Instant),
    show: for<'b> fn(Env<'b>, &[u8]) -> Term<'b>,
) {
    let place = running.group().ok_or(ReadError::Stopped);
    let place = match place.and_then(|group| group.place()) {
        Ok(place) => place,
        Err(refused) => {
            let answer = (common::error(), read_reason(refused)).encode(env);
            return caller.answer_now(env, answer);
        }
    };
    let told = Box::new(move |outcome: Result<Bytes, ReadError>| {
        caller.answer_anywhere(move |env| match outcome {
            Ok(bytes) => show(env, &bytes),
            Err(error) => (common::error(), read_reason(error)).encode(env),
        });
    });
    answering(env, || place.ask(query, level, until, told));
}

fn succeeded<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    (common::ok(), binary(env, bytes)).encode(env)
}

/// Of the coordination machine.
fn replied<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    match postcard::from_bytes::<Reply>(bytes) {
        Ok(given) => reply::reply(env, given),
        Err(_) => (common::error(), atoms::machine()).encode(env),
    }
}

/// Of the coordination machine.
fn answered<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    match postcard::from_bytes::<Answer>(bytes) {
        Ok(found) => reply::answer(env, found),
        Err(_) => (common::error(), atoms::machine()).encode(env),
    }
}

fn propose_reason(error: ProposeError) -> Atom {
    match error {
        ProposeError::Busy => atoms::busy(),
        ProposeError::NoLeader => atoms::no_leader(),
        ProposeError::Unknown => atoms::unknown(),
        ProposeError::TooLarge => atoms::too_large(),
        ProposeError::Stale => atoms::stale(),
        ProposeError::Stopped => atoms::stopped(),
    }
}

fn read_reason(error: ReadError) -> Atom {
    match error {
        ReadError::Busy => atoms::busy(),
        ReadError::NoLeader => atoms::no_leader(),
        ReadError::Timeout => atoms::timeout(),
        ReadError::Stopped => atoms::stopped(),
    }
}

fn deadline(timeout_ms: u32) -> Instant {
    Instant::now() + Duration::from_millis(timeout_ms.into())
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    OwnedBinary::from_slice(bytes).release(env).to_term(env)
}

/// `nil`, or the client as 16 bytes and its number.
fn session(term: Term<'_>) -> NifResult<Option<Session>> {
    if term.is_atom() {
        return if names::nil() == term {
            Ok(None)
        } else {
            Err(Error::BadArg)
        };
    }
    let (client, seq): (Binary<'_>, u64) = term.decode()?;
    let client: [u8; 16] = client.as_slice().try_into().map_err(|_| Error::BadArg)?;
    let client = u128::from_be_bytes(client);
    Ok(Some(Session { client, seq }))
}

fn consistency(term: Atom) -> NifResult<Consistency> {
    if term == names::linearizable() {
        Ok(Consistency::Linearizable)
    } else if term == names::lease() {
        Ok(Consistency::Lease)
    } else if term == names::local() {
        Ok(Consistency::Local)
    } else if term == names::quorum() {
        Ok(Consistency::Quorum)
    } else {
        Err(Error::BadArg)
    }
}

/// `{reference, {:ok, reply} | {:error, reason}}` comes within the time, with the reply of the group's machine; at most
/// 64 KB, or `:dirty`.
#[rustler::nif]
fn consensus_propose<'a>(
    env: Env<'a>,
    member: Term<'a>,
    reference: Term<'a>,
    command: Binary<'a>,
    timeout_ms: u32,
    id: Term<'a>,
) -> NifResult<Term<'a>> {
    if command.len() > MAX_SMALL {
        return Ok(crate::fabric::atoms::dirty().encode(env));
    }
    start_proposal(env, member, reference, command, timeout_ms, id)
}

/// As `consensus_propose`, of any size.
#[rustler::nif(schedule = "DirtyCpu")]
fn consensus_propose_large<'a>(
    env: Env<'a>,
    member: Term<'a>,
    reference: Term<'a>,
    command: Binary<'a>,
    timeout_ms: u32,
    id: Term<'a>,
) -> NifResult<Term<'a>> {
    start_proposal(env, member, reference, command, timeout_ms, id)
}

fn start_proposal<'a>(
    env: Env<'a>,
    member: Term<'a>,
    reference: Term<'a>,
    command: Binary<'a>,
    timeout_ms: u32,
    id: Term<'a>,
) -> NifResult<Term<'a>> {
    let running = Arc::clone(&get::<Member>(member)?.0);
    let given = session(id)?;
    let command = Bytes::copy_from_slice(command.as_slice());
    let caller = Caller::new(env, reference);
    submit(
        env,
        &running,
        caller,
        given,
        command,
        deadline(timeout_ms),
        succeeded,
    );
    Ok(common::ok().encode(env))
}

/// `{reference, {:ok, answer} | {:error, reason}}` comes within the time, with the answer of the group's machine.
#[rustler::nif]
fn consensus_read<'a>(
    env: Env<'a>,
    member: Term<'a>,
    reference: Term<'a>,
    query: Binary<'a>,
    level: Atom,
    timeout_ms: u32,
) -> NifResult<Term<'a>> {
    if query.len() > MAX_SMALL {
        return Ok((common::error(), atoms::too_large()).encode(env));
    }
    let running = Arc::clone(&get::<Member>(member)?.0);
    let level = consistency(level)?;
    let query = Bytes::copy_from_slice(query.as_slice());
    let caller = Caller::new(env, reference);
    read(
        env,
        &running,
        caller,
        (query, level, deadline(timeout_ms)),
        succeeded,
    );
    Ok(common::ok().encode(env))
}

/// A command of the coordination machine; `{reference, reply}` comes within the time, with `{:error, reason}` for what
/// was refused.
#[rustler::nif]
fn consensus_coordinate<'a>(
    env: Env<'a>,
    member: Term<'a>,
    reference: Term<'a>,
    term: Term<'a>,
    timeout_ms: u32,
    id: Term<'a>,
) -> NifResult<Term<'a>> {
    let running = Arc::clone(&get::<Member>(member)?.0);
    let given = session(id)?;
    let command = match command::command(term)? {
        Some(command) => encode(&command),
        None => return Ok((common::error(), atoms::too_large()).encode(env)),
    };
    let caller = Caller::new(env, reference);
    submit(
        env,
        &running,
        caller,
        given,
        command,
        deadline(timeout_ms),
        replied,
    );
    Ok(common::ok().encode(env))
}

/// A question to the coordination machine: `{:now, answer}`, or `{reference, answer}` comes within the time.
#[rustler::nif]
fn consensus_ask<'a>(
    env: Env<'a>,
    member: Term<'a>,
    reference: Term<'a>,
    term: Term<'a>,
    level: Atom,
    timeout_ms: u32,
) -> NifResult<Term<'a>> {
    let running = Arc::clone(&get::<Member>(member)?.0);
    let query: Query = command::query(term)?;
    let (level, query) = (consistency(level)?, encode(&query));
    let group = running.group();
    let now = || group.filter(|_| level == Consistency::Local)?.read_now(&query);
    if let Some(found) = now() {
        return Ok((names::now(), answered(env, &found)).encode(env));
    }
    let caller = Caller::new(env, reference);
    read(
        env,
        &running,
        caller,
        (query, level, deadline(timeout_ms)),
        answered,
    );
    Ok(common::ok().encode(env))
}
