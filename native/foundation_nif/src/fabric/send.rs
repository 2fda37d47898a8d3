//! Messages from processes to the network.

use super::deliver::Shared;
use super::encode::{Encoder as Etf, Stop};
use super::message::{self, CALL, CANCEL, REPLY};
use super::{Fabric, atoms as names, reason};
use crate::handle::{self, fast_nif, get, held};
use crate::{atoms, key};
use foundation_fabric::channel::outbox::MAX_SMALL;
use foundation_fabric::{Error as Refused, Outlet};
use rustler::{Atom, Encoder, Env, LocalPid, NifResult, Term};
use std::cell::RefCell;
use std::sync::Arc;

/// Messages up to this size are gathered in batches.
const INLINE: usize = 16 << 10;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// How a message is to be sent.
struct Way {
    flow: u64,
    token: Option<u64>,
    key: Option<u128>,
}

/// A number of its own for each process, while it lives.
fn flow_of(pid: &LocalPid) -> u64 {
    // SAFETY: a pid of this node is one machine word.
    unsafe { std::mem::transmute_copy::<_, usize>(pid.as_c_arg()) as u64 }
}

impl Way {
    fn plain(env: Env<'_>) -> Self {
        Self {
            flow: flow_of(&env.pid()),
            token: None,
            key: None,
        }
    }
}

enum Put {
    Queued,
    Dirty,
    Refused(Refused),
}

/// Encodes and queues.
fn put(
    outlet: &Outlet,
    way: &Way,
    normal: bool,
    head: impl FnOnce(&mut Vec<u8>) -> NifResult<()>,
    term: Option<Term<'_>>,
) -> NifResult<Put> {
    if let Err(refused) = outlet.check(way.flow) {
        let merging = matches!(refused, Refused::Busy) && way.key.is_some();
        if !merging {
            return Ok(Put::Refused(refused));
        }
    }
    SCRATCH.with_borrow_mut(|scratch| {
        scratch.clear();
        head(scratch)?;
        let max = usize::try_from(outlet.channel().settings.max_message).unwrap_or(usize::MAX);
        let mut encoder = Etf::new(scratch, normal, max);
        if let Some(term) = term {
            match encoder.message(term) {
                Ok(()) => {}
                Err(Stop::Dirty) => return Ok(Put::Dirty),
                Err(Stop::TooLarge) => return Ok(Put::Refused(Refused::TooLarge)),
            }
        }
        let longest = if way.key.is_some() { MAX_SMALL } else { INLINE };
        let put = match (encoder.finish(longest), way.key) {
            (Some(_), Some(_)) => Err(Refused::TooLarge),
            (Some(parts), None) => outlet.push_large(way.flow, parts, way.token),
            (None, Some(key)) => outlet.push_monotonic(way.flow, key, scratch),
            (None, None) => outlet.push(way.flow, scratch, way.token),
        };
        if scratch.capacity() > 1 << 20 {
            *scratch = Vec::new();
        }
        Ok(put.map_or_else(Put::Refused, |()| Put::Queued))
    })
}

fn answer<'a>(env: Env<'a>, put: Put) -> Term<'a> {
    match put {
        Put::Queued => atoms::ok().to_term(env),
        Put::Dirty => names::dirty().to_term(env),
        Put::Refused(refused) => (atoms::error(), reason(env, &refused)).encode(env),
    }
}

/// `fabric, channel, node, target, message`: queues a message; `:ok`, `:dirty` or `{:error, reason}`.
fn send<'a>(env: Env<'a>, [handle, channel, node, target, term]: [Term<'a>; 5]) -> NifResult<Term<'a>> {
    let fabric = get::<Fabric>(handle)?;
    let head = |out: &mut Vec<u8>| message::write_target(target, out);
    let words = (key::atom_word(channel)?, key::atom_word(node)?);
    // The usual case takes no share in the queue, which all schedulers would count.
    if let Some(outlet) = fabric.outlets.load().get(&words) {
        return put(outlet, &Way::plain(env), true, head, Some(term)).map(|put| answer(env, put));
    }
    let outlet = match fabric.outlet(channel, node)? {
        Ok(outlet) => outlet,
        Err(refused) => return Ok(answer(env, Put::Refused(refused))),
    };
    put(&outlet, &Way::plain(env), true, head, Some(term)).map(|put| answer(env, put))
}

fast_nif!("fabric_send", 5, send);

/// `…, {flow, reference, key}`: as `fabric_send`, on the lane of the process `flow`; with a reference,
/// `{:ok, number}` and `{reference, :ok | {:error, reason}}` when the message was delivered; with a key, in the place
/// of a message with the same key that was not sent yet.
fn send_with<'a>(env: Env<'a>, args: [Term<'a>; 6]) -> NifResult<Term<'a>> {
    with_options(env, args, true)
}

/// As `fabric_send_with`, without a bound on the work.
fn send_large<'a>(env: Env<'a>, args: [Term<'a>; 6]) -> NifResult<Term<'a>> {
    with_options(env, args, false)
}

fast_nif!("fabric_send_with", 6, send_with, large: "fabric_send_large", send_large);

fn with_options<'a>(
    env: Env<'a>,
    [handle, channel, node, target, term, options]: [Term<'a>; 6],
    normal: bool,
) -> NifResult<Term<'a>> {
    let fabric = get::<Fabric>(handle)?;
    let (flow, reference, by): (LocalPid, Term<'a>, Term<'a>) = options.decode()?;
    let key = if by.is_atom() {
        None
    } else {
        Some(key_of(target, by)?)
    };
    let outlet = match fabric.outlet(channel, node)? {
        Ok(outlet) => outlet,
        Err(refused) => return Ok(answer(env, Put::Refused(refused))),
    };
    let token = waiter(fabric, env, reference, node)?;
    let way = Way {
        flow: flow_of(&flow),
        token,
        key,
    };
    let head = |out: &mut Vec<u8>| message::write_target(target, out);
    let put = put(&outlet, &way, normal, head, Some(term));
    finish(env, fabric, token, put)
}

/// Enters the caller when it gave a reference.
fn waiter(fabric: &Fabric, env: Env<'_>, reference: Term<'_>, node: Term<'_>) -> NifResult<Option<u64>> {
    if reference.is_atom() {
        return Ok(None);
    }
    if !reference.is_ref() {
        return Err(rustler::Error::BadArg);
    }
    let peer = node.atom_to_string()?;
    Ok(Some(fabric.shared.pending.enter(env, reference, &peer)))
}

/// The answer of a call that may have entered a waiter, who stays only when the message is queued.
fn finish<'a>(env: Env<'a>, fabric: &Fabric, token: Option<u64>, put: NifResult<Put>) -> NifResult<Term<'a>> {
    match (put, token) {
        (Ok(Put::Queued), Some(token)) => Ok((atoms::ok(), token).encode(env)),
        (put, token) => {
            if let Some(token) = token {
                fabric.shared.pending.cancel(token);
            }
            put.map(|put| answer(env, put))
        }
    }
}

fn key_of(target: Term<'_>, key: Term<'_>) -> NifResult<u128> {
    let mut bytes = key::key(target)?;
    key::write_key(key, &mut bytes)?;
    let half = |seed: u64| ahash::RandomState::with_seeds(seed, 2, 3, 4).hash_one(&bytes);
    Ok(u128::from(half(1)) << 64 | u128::from(half(5)))
}

/// A call whose caller may still wait. When Erlang holds no reference to it and there was no answer, the caller is gone,
/// and the other node is told that nobody waits.
pub(crate) struct Calling {
    shared: Arc<Shared>,
    outlet: Arc<Outlet>,
    flow: u64,
    number: u64,
}

held!(Calling, c"foundation_fabric_call");

impl Drop for Calling {
    fn drop(&mut self) {
        if self.shared.pending.cancel(self.number) {
            let mut cancel = vec![CANCEL];
            cancel.extend_from_slice(&self.number.to_le_bytes());
            // A full queue: the other side answers nobody then.
            let _ = self.outlet.push(self.flow, &cancel, None);
        }
    }
}

/// `fabric, channel, node, target, request, {flow, reference, timeout ms}`: calls a process of another node.
/// `{:ok, number, call}`, and `{reference, {:ok, reply} | {:error, reason}}` when there is an answer. The caller keeps
/// `call` until then.
fn call_process<'a>(env: Env<'a>, args: [Term<'a>; 6]) -> NifResult<Term<'a>> {
    calls(env, args, true)
}

/// As `fabric_call`, without a bound on the work.
fn call_large<'a>(env: Env<'a>, args: [Term<'a>; 6]) -> NifResult<Term<'a>> {
    calls(env, args, false)
}

fast_nif!("fabric_call", 6, call_process, large: "fabric_call_large", call_large);

fn calls<'a>(
    env: Env<'a>,
    [handle, channel, node, target, request, options]: [Term<'a>; 6],
    normal: bool,
) -> NifResult<Term<'a>> {
    let fabric = get::<Fabric>(handle)?;
    let (flow, reference, timeout): (LocalPid, Term<'a>, u32) = options.decode()?;
    if !(target.is_atom() || target.is_pid()) || !reference.is_ref() {
        return Err(rustler::Error::BadArg);
    }
    let outlet = match fabric.outlet(channel, node)? {
        Ok(outlet) => outlet,
        Err(refused) => return Ok(answer(env, Put::Refused(refused))),
    };
    let number = fabric
        .shared
        .pending
        .enter(env, reference, &node.atom_to_string()?);
    let way = Way {
        flow: flow_of(&flow),
        token: None,
        key: None,
    };
    let head = |out: &mut Vec<u8>| {
        out.push(CALL);
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&timeout.to_le_bytes());
        message::write_target(target, out)
    };
    match put(&outlet, &way, normal, head, Some(request)) {
        Ok(Put::Queued) => {
            let shared = Arc::clone(&fabric.shared);
            let flow = way.flow;
            let call = handle::make(
                env,
                Calling {
                    shared,
                    outlet,
                    flow,
                    number,
                },
            );
            Ok((atoms::ok(), number, call).encode(env))
        }
        put => finish(env, fabric, Some(number), put),
    }
}

/// `fabric, channel, node, number, failed, term`: answers a call that came from that node.
fn reply_to<'a>(env: Env<'a>, args: [Term<'a>; 6]) -> NifResult<Term<'a>> {
    replies(env, args, true)
}

/// As `fabric_reply`, without a bound on the work.
fn reply_large<'a>(env: Env<'a>, args: [Term<'a>; 6]) -> NifResult<Term<'a>> {
    replies(env, args, false)
}

fast_nif!("fabric_reply", 6, reply_to, large: "fabric_reply_large", reply_large);

fn replies<'a>(
    env: Env<'a>,
    [handle, channel, node, number, failed, term]: [Term<'a>; 6],
    normal: bool,
) -> NifResult<Term<'a>> {
    let fabric = get::<Fabric>(handle)?;
    let (number, failed): (u64, bool) = (number.decode()?, failed.decode()?);
    let outlet = match fabric.outlet(channel, node)? {
        Ok(outlet) => outlet,
        Err(refused) => return Ok(answer(env, Put::Refused(refused))),
    };
    let head = |out: &mut Vec<u8>| {
        out.push(REPLY);
        out.extend_from_slice(&number.to_le_bytes());
        out.push(u8::from(failed));
        Ok(())
    };
    put(&outlet, &Way::plain(env), normal, head, Some(term)).map(|put| answer(env, put))
}

/// Tells a node that nobody waits for the answer of a call any more.
#[rustler::nif]
fn fabric_cancel_call<'a>(
    env: Env<'a>,
    handle: Term<'a>,
    channel: Term<'a>,
    node: Term<'a>,
    number: u64,
) -> NifResult<Term<'a>> {
    let fabric = get::<Fabric>(handle)?;
    let outlet = match fabric.outlet(channel, node)? {
        Ok(outlet) => outlet,
        Err(refused) => return Ok(answer(env, Put::Refused(refused))),
    };
    let head = |out: &mut Vec<u8>| {
        out.push(CANCEL);
        out.extend_from_slice(&number.to_le_bytes());
        Ok(())
    };
    put(&outlet, &Way::plain(env), true, head, None).map(|put| answer(env, put))
}

/// Forgets someone who waits; false when the answer is in the mailbox, or on its way there.
#[rustler::nif]
fn fabric_forget(handle: Term<'_>, number: u64) -> NifResult<bool> {
    Ok(get::<Fabric>(handle)?.shared.pending.cancel(number))
}

/// `{:ok, number}`, and `{reference, :room}` when half of the queue is free; `:room` when there is room now.
#[rustler::nif]
fn fabric_await_room<'a>(
    env: Env<'a>,
    handle: Term<'a>,
    channel: Term<'a>,
    node: Term<'a>,
    flow: LocalPid,
    reference: Term<'a>,
) -> NifResult<Term<'a>> {
    let fabric = get::<Fabric>(handle)?;
    if !reference.is_ref() {
        return Err(rustler::Error::BadArg);
    }
    let outlet = match fabric.outlet(channel, node)? {
        Ok(outlet) => outlet,
        Err(refused) => return Ok(answer(env, Put::Refused(refused))),
    };
    let number = fabric
        .shared
        .pending
        .enter(env, reference, &node.atom_to_string()?);
    if outlet.wait_room(flow_of(&flow), number) {
        fabric.shared.pending.cancel(number);
        return Ok(names::room().to_term(env));
    }
    Ok((atoms::ok(), number).encode(env))
}

/// Adds the process to the subscribers of a channel, or takes it away: `how` is false (away), true, or `context` (with
/// the context of each message).
#[rustler::nif]
fn fabric_subscribe(handle: Term<'_>, channel: Term<'_>, pid: LocalPid, how: Atom) -> NifResult<Atom> {
    let context = how == names::context();
    if !context && how != names::yes() && how != names::no() {
        return Err(rustler::Error::BadArg);
    }
    let fabric = get::<Fabric>(handle)?;
    let mut subscribers = fabric.shared.subscribers.write();
    let pids = subscribers.entry(key::atom_word(channel)?).or_default();
    pids.retain(|(there, _)| *there != pid);
    if how != names::no() {
        pids.push((pid, context));
    }
    Ok(atoms::ok())
}

/// The subscribers of a channel here.
#[rustler::nif]
fn fabric_subscribers<'a>(env: Env<'a>, handle: Term<'a>, channel: Term<'a>) -> NifResult<Term<'a>> {
    let fabric = get::<Fabric>(handle)?;
    let subscribers = fabric.shared.subscribers.read();
    let pids = subscribers
        .get(&key::atom_word(channel)?)
        .map_or(&[][..], Vec::as_slice);
    Ok(pids.encode(env))
}

/// The queue, when there is one.
pub(super) type Found = Result<Arc<Outlet>, Refused>;
