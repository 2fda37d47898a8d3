//! Who owns a subscription, and waking them.

use super::codec::event_term;
use super::{EventStore, Terms, list_of, names, reason};
use crate::{atoms, key};
use foundation_events::hub::{MAX_QUEUE, Policy};
use foundation_events::query::Filter;
use parking_lot::Mutex;
use rustler::{Atom, Binary, Encoder, Env, Error, LocalPid, Monitor, NifResult, ResourceArc, Term};
use std::collections::HashMap;

mod words {
    rustler::atoms! {
        foundation_events,
        foundation_events_room,
        ready,
        room,
        drop_oldest,
        drop_newest,
        block,
    }
}

/// Most events of one take.
const MAX_TAKE: usize = 10_000;
/// Most processes that wait for room in one subscription.
const MAX_WAITERS: usize = 100_000;

struct Owner {
    pid: LocalPid,
    monitor: Monitor,
    reference: key::KeyBuf,
    block_ms: u64,
    waiters: Vec<(LocalPid, key::KeyBuf)>,
}

/// The owners of the subscriptions of a store.
#[derive(Default)]
pub(crate) struct Owners(Mutex<HashMap<u64, Owner>>);

impl Owners {
    /// Tells an owner that events wait.
    pub(super) fn wake(&self, env: Env<'_>, id: u64) {
        let target = self.0.lock().get(&id).map(|o| (o.pid, o.reference.clone()));
        if let Some((pid, reference)) = target
            && let Ok(reference) = key::to_term(env, &reference)
        {
            // An owner that is gone is being removed.
            let _ = env.send(&pid, (words::foundation_events(), reference, words::ready()));
        }
    }

    /// Tells those who wait for room.
    pub(super) fn room(&self, env: Env<'_>, id: u64) {
        let waiters = match self.0.lock().get_mut(&id) {
            Some(owner) => std::mem::take(&mut owner.waiters),
            None => return,
        };
        Self::release(env, waiters);
    }

    fn release(env: Env<'_>, waiters: Vec<(LocalPid, key::KeyBuf)>) {
        for (pid, reference) in waiters {
            if let Ok(reference) = key::to_term(env, &reference) {
                let _ = env.send(&pid, (words::foundation_events_room(), reference));
            }
        }
    }

    /// How long a store waits for room in a subscription, in milliseconds.
    pub(super) fn block_ms(&self, id: u64) -> u64 {
        self.0.lock().get(&id).map_or(0, |o| o.block_ms)
    }

    /// Forgets an owner.
    pub(super) fn forget(&self, id: u64) {
        self.0.lock().remove(&id);
    }

    /// The subscriptions whose owner this was.
    pub(super) fn died(&self, pid: &LocalPid, monitor: &Monitor) -> Vec<u64> {
        let owners = self.0.lock();
        owners
            .iter()
            .filter(|(_, o)| o.pid == *pid && o.monitor == *monitor)
            .map(|(id, _)| *id)
            .collect()
    }
}

/// Subscribes `pid` to what the filter matches; the subscription's number.
#[rustler::nif(schedule = "DirtyCpu")]
fn events_subscribe<'a>(
    env: Env<'a>,
    handle: ResourceArc<EventStore>,
    filter: Binary<'a>,
    options: (Atom, usize, u64),
    pid: LocalPid,
    reference: Term<'a>,
) -> NifResult<u64> {
    let store = handle.running()?;
    let (policy, capacity, block_ms) = options;
    let policy = match policy {
        p if p == words::drop_oldest() => Policy::DropOldest,
        p if p == words::drop_newest() => Policy::DropNewest,
        p if p == words::block() => Policy::Block,
        _ => return Err(Error::BadArg),
    };
    if !(1..=MAX_QUEUE).contains(&capacity) || !reference.is_ref() {
        return Err(Error::BadArg);
    }
    let reference = key::key(reference)?;
    let filter = Filter::parse(filter.as_slice()).map_err(|e| reason(&e))?;
    let id = store
        .hub()
        .subscribe(filter, policy, capacity)
        .map_err(|e| reason(&e))?;
    let Some(monitor) = handle.monitor(Some(env), &pid) else {
        store.hub().unsubscribe(id);
        return Err(Error::BadArg);
    };
    let owner = Owner {
        pid,
        monitor,
        reference,
        block_ms,
        waiters: Vec::new(),
    };
    handle.subscribers.0.lock().insert(id, owner);
    // What matched between the two has found nobody to wake.
    if store.hub().waiting(id) > 0 {
        handle.subscribers.wake(env, id);
    }
    Ok(id)
}

/// Ends a subscription; false when there is none.
#[rustler::nif]
fn events_unsubscribe(env: Env<'_>, handle: ResourceArc<EventStore>, id: u64) -> bool {
    let known = handle.store.hub().unsubscribe(id);
    let owner = handle.subscribers.0.lock().remove(&id);
    if let Some(owner) = owner {
        handle.demonitor(Some(env), &owner.monitor);
        Owners::release(env, owner.waiters);
    }
    known
}

/// Takes up to `max` events from a subscription: `{:ok, events, dropped}`, or nil when there is none.
#[rustler::nif(schedule = "DirtyCpu")]
fn events_take<'a>(
    env: Env<'a>,
    handle: ResourceArc<EventStore>,
    id: u64,
    max: usize,
) -> NifResult<Term<'a>> {
    let Some(taken) = handle.store.hub().take(id, max.min(MAX_TAKE)) else {
        return Ok(atoms::nil().encode(env));
    };
    if !taken.is_empty() {
        handle.subscribers.room(env, id);
    }
    if taken.again {
        handle.subscribers.wake(env, id);
    }
    let (mut terms, mut failed) = (Terms::new(), None);
    taken.read(&mut |event| match event_term(env, event) {
        Ok(term) => terms.push(term),
        Err(error) => failed = Some(error),
    });
    match failed {
        Some(error) => Err(error),
        None => Ok((atoms::ok(), list_of(env, terms), taken.dropped).encode(env)),
    }
}

/// Has `pid` told when a subscription has room: `:ok`, or `:room` when there is some already.
#[rustler::nif]
fn events_await_room<'a>(
    handle: ResourceArc<EventStore>,
    id: u64,
    pid: LocalPid,
    reference: Term<'a>,
) -> NifResult<Atom> {
    let store = handle.running()?;
    let reference = key::key(reference)?;
    let mut owners = handle.subscribers.0.lock();
    let Some(owner) = owners.get_mut(&id) else {
        return Ok(words::room());
    };
    if store.hub().has_room(id) {
        return Ok(words::room());
    }
    if owner.waiters.len() >= MAX_WAITERS {
        return Err(Error::Term(Box::new(names::full())));
    }
    owner.waiters.push((pid, reference));
    Ok(atoms::ok())
}

/// Forgets who waits for room under this reference.
#[rustler::nif]
fn events_cancel_room<'a>(handle: ResourceArc<EventStore>, id: u64, reference: Term<'a>) -> NifResult<Atom> {
    let reference = key::key(reference)?;
    if let Some(owner) = handle.subscribers.0.lock().get_mut(&id) {
        owner.waiters.retain(|(_, r)| *r != reference);
    }
    Ok(atoms::ok())
}
