//! Glue for worker pools, found by name.
//!
//! A lease is a resource that only its holder has: when the holder dies, the lease goes with its heap, and its
//! destructor gives the place in the queue back or tells the pool's keeper which worker was left behind. The keeper
//! holds a resource too: when the keeper is gone, the pool closes and whoever waits is told so.

use crate::clock::now;
use crate::key::{self, KeyBuf};
use foundation_limits::keyed::Keyed;
use foundation_limits::pool::{
    Abandoned, Checkout, Effects, Lease as LeaseNumber, Pool, Settings, Span, Wait,
};
use parking_lot::Mutex;
use rustler::env::SavedTerm;
use rustler::{
    Atom, Encoder, Env, Error, LocalPid, NifMap, NifResult, OwnedEnv, Resource, ResourceArc, Term, TermType,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

mod atoms {
    rustler::atoms! {
        missing, empty, full, closed, ready, queued,
        foundation_pool, wake, grow, retire, drained, lost,
    }
}

const MS: u64 = 1_000_000;

/// Who waits: a process, and the reference it expects the answer under.
#[derive(Clone)]
pub(crate) struct Client {
    pid: LocalPid,
    tag: Arc<Mutex<(OwnedEnv, SavedTerm)>>,
}

impl Client {
    fn new(env: Env<'_>, tag: Term<'_>) -> Self {
        let owned = OwnedEnv::new();
        let tag = owned.save(tag);
        Self {
            pid: env.pid(),
            tag: Arc::new(Mutex::new((owned, tag))),
        }
    }

    /// A process that is gone needs no answer: its lease goes with it.
    fn answer(&self, env: Env<'_>, answer: impl Encoder) {
        let tag = {
            let (owned, tag) = &*self.tag.lock();
            owned.run(|own| tag.load(own).in_env(env))
        };
        let _ = env.send(&self.pid, (tag, answer));
    }
}

struct Named {
    core: Pool<LocalPid, Client>,
    keeper: LocalPid,
}

impl Named {
    fn tell(&self, env: Env<'_>, what: impl Encoder) {
        let _ = env.send(&self.keeper, (atoms::foundation_pool(), what));
    }

    fn carry_out(&self, env: Env<'_>, effects: Effects<LocalPid, Client>) {
        for (client, worker) in &effects.grants {
            client.answer(env, worker);
        }
        for client in &effects.wakes {
            client.answer(env, atoms::wake());
        }
        if effects.grow {
            self.tell(env, atoms::grow());
        }
        if let Some(worker) = effects.retire {
            self.tell(env, (atoms::retire(), worker));
        }
        if effects.drained {
            self.tell(env, atoms::drained());
        }
    }
}

/// Every pool, by name.
pub(crate) struct Pools {
    by_name: Keyed<Arc<Named>>,
}

#[rustler::resource_impl]
impl Resource for Pools {}

// Every update of a pool is complete when its lock is released.
impl std::panic::RefUnwindSafe for Pools {}

/// The keeper's hold on its pool.
pub(crate) struct Keeper {
    pools: ResourceArc<Pools>,
    name: KeyBuf,
    pool: Arc<Named>,
}

impl std::panic::RefUnwindSafe for Keeper {}

impl Keeper {
    fn close(&self, env: Env<'_>) {
        self.pools
            .by_name
            .remove_if(&self.name, |there| Arc::ptr_eq(there, &self.pool));
        for client in self.pool.core.close() {
            client.answer(env, atoms::closed());
        }
    }
}

#[rustler::resource_impl]
impl Resource for Keeper {
    const IMPLEMENTS_DESTRUCTOR: bool = true;

    fn destructor(self, env: Env<'_>) {
        self.close(env);
    }
}

/// A client's right to a worker, or its place in the queue.
pub(crate) struct Lease {
    pool: Arc<Named>,
    number: LeaseNumber,
    done: AtomicBool,
}

impl std::panic::RefUnwindSafe for Lease {}

impl Lease {
    fn new(pool: &Arc<Named>, number: LeaseNumber) -> ResourceArc<Self> {
        ResourceArc::new(Self {
            pool: Arc::clone(pool),
            number,
            done: AtomicBool::new(false),
        })
    }
}

#[rustler::resource_impl]
impl Resource for Lease {
    const IMPLEMENTS_DESTRUCTOR: bool = true;

    fn destructor(self, env: Env<'_>) {
        if self.done.load(Ordering::Acquire) {
            return;
        }
        match self.pool.core.abandon(self.number) {
            Abandoned::Worker(worker) => self.pool.tell(env, (atoms::lost(), worker)),
            Abandoned::Waiter(effects) => self.pool.carry_out(env, effects),
            Abandoned::Nothing => {}
        }
    }
}

#[derive(NifMap)]
struct PoolSettings {
    min: u32,
    max: u32,
    max_waiting: u32,
    linger_ms: u64,
    lifo: bool,
}

#[rustler::nif]
fn pool_new() -> ResourceArc<Pools> {
    ResourceArc::new(Pools {
        by_name: Keyed::new(),
    })
}

/// Opens the pool `name`, kept by the caller; false when there is one of that name.
#[rustler::nif]
fn pool_open<'a>(
    env: Env<'a>,
    pools: ResourceArc<Pools>,
    name: Term<'a>,
    settings: PoolSettings,
) -> NifResult<Term<'a>> {
    let key = key::key(name)?;
    if settings.min > settings.max {
        return Err(Error::BadArg);
    }
    let pool = Arc::new(Named {
        keeper: env.pid(),
        core: Pool::new(Settings {
            min: settings.min as usize,
            max: settings.max as usize,
            max_waiting: settings.max_waiting as usize,
            linger: settings.linger_ms.saturating_mul(MS),
            lifo: settings.lifo,
        }),
    });
    while !pools.by_name.insert_new(&key, || Arc::clone(&pool)) {
        // The keeper of that one may be dead, and its last words not yet spoken.
        let dead = |there: &Arc<Named>| !there.keeper.is_alive(env);
        let Some(old) = pools.by_name.remove_if(&key, dead) else {
            if pools.by_name.with(&key, |_| ()).is_some() {
                return Ok(false.encode(env));
            }
            continue;
        };
        for client in old.core.close() {
            client.answer(env, atoms::closed());
        }
    }
    let keeper = Keeper {
        pools,
        name: key,
        pool,
    };
    Ok(ResourceArc::new(keeper).encode(env))
}

/// `{worker, lease}`, or `empty`, `full`, `closed`, `missing`.
#[rustler::nif]
fn pool_checkout<'a>(env: Env<'a>, pools: &'a Pools, name: Term<'a>) -> NifResult<Term<'a>> {
    let key = key::key(name)?;
    let answer = pools.by_name.with(&key, |pool| match pool.core.checkout(now()) {
        Checkout::Ready(number, worker) => (worker, Lease::new(pool, number)).encode(env),
        Checkout::Empty => atoms::empty().encode(env),
        Checkout::Full => atoms::full().encode(env),
        Checkout::Closed => atoms::closed().encode(env),
    });
    Ok(answer.unwrap_or_else(|| atoms::missing().encode(env)))
}

/// As checkout, but queues the caller: `{queued, lease}`, and `{tag, worker | closed}` is sent to it later.
#[rustler::nif]
fn pool_wait<'a>(env: Env<'a>, pools: &'a Pools, name: Term<'a>, tag: Term<'a>) -> NifResult<Term<'a>> {
    if tag.get_type() != TermType::Ref {
        return Err(Error::BadArg);
    }
    let key = key::key(name)?;
    let Some(pool) = pools.by_name.with(&key, Arc::clone) else {
        return Ok(atoms::missing().encode(env));
    };
    Ok(match pool.core.wait(now(), Client::new(env, tag)) {
        Wait::Ready(number, worker) => (worker, Lease::new(&pool, number)).encode(env),
        Wait::Queued(number, effects) => {
            let lease = Lease::new(&pool, number);
            pool.carry_out(env, effects);
            (atoms::queued(), lease).encode(env)
        }
        Wait::Full => atoms::full().encode(env),
        Wait::Closed => atoms::closed().encode(env),
    })
}

/// A waiter that was told `wake` asks again: the worker, or nil when it is to wait on.
#[rustler::nif]
fn pool_retry(lease: &Lease) -> Option<LocalPid> {
    lease.pool.core.retry(lease.number, now())
}

/// Stops waiting; false when an answer is on its way or here.
#[rustler::nif]
fn pool_cancel<'a>(env: Env<'a>, lease: &'a Lease) -> bool {
    match lease.pool.core.cancel(lease.number) {
        Some(effects) => {
            lease.done.store(true, Ordering::Release);
            lease.pool.carry_out(env, effects);
            true
        }
        None => false,
    }
}

/// Gives a lease back; false when it was back already.
#[rustler::nif]
fn pool_checkin<'a>(env: Env<'a>, lease: &'a Lease) -> bool {
    if lease.done.swap(true, Ordering::AcqRel) {
        return false;
    }
    match lease.pool.core.checkin(lease.number, now()) {
        Some(effects) => {
            lease.pool.carry_out(env, effects);
            true
        }
        None => false,
    }
}

/// How many workers to start now.
#[rustler::nif]
fn pool_demand(keeper: ResourceArc<Keeper>) -> usize {
    keeper.pool.core.demand()
}

#[rustler::nif]
fn pool_start_failed(keeper: ResourceArc<Keeper>) -> Atom {
    keeper.pool.core.start_failed();
    crate::atoms::ok()
}

#[rustler::nif]
fn pool_add(env: Env<'_>, keeper: ResourceArc<Keeper>, worker: LocalPid) -> Atom {
    let effects = keeper.pool.core.add(worker, now());
    keeper.pool.carry_out(env, effects);
    crate::atoms::ok()
}

/// Takes a worker out for good; false when it is not one of this pool. O(idle workers).
#[rustler::nif]
fn pool_remove(env: Env<'_>, keeper: ResourceArc<Keeper>, worker: LocalPid) -> bool {
    let (known, effects) = keeper.pool.core.remove(worker);
    keeper.pool.carry_out(env, effects);
    known
}

/// Sets an idle worker aside; false when it is not idle. O(idle workers).
#[rustler::nif]
fn pool_set_aside(keeper: ResourceArc<Keeper>, worker: LocalPid) -> bool {
    keeper.pool.core.set_aside(worker)
}

#[rustler::nif]
fn pool_restore(env: Env<'_>, keeper: ResourceArc<Keeper>, worker: LocalPid) -> Atom {
    let effects = keeper.pool.core.restore(worker, now());
    keeper.pool.carry_out(env, effects);
    crate::atoms::ok()
}

/// Takes out the workers that have been idle too long.
#[rustler::nif]
fn pool_expire(keeper: ResourceArc<Keeper>) -> Vec<LocalPid> {
    keeper.pool.core.expire(now())
}

#[rustler::nif]
fn pool_idle(keeper: ResourceArc<Keeper>) -> Vec<LocalPid> {
    keeper.pool.core.idle()
}

#[rustler::nif]
fn pool_resize(keeper: ResourceArc<Keeper>, min: u32, max: u32) -> NifResult<Atom> {
    if min > max {
        return Err(Error::BadArg);
    }
    keeper.pool.core.resize(min as usize, max as usize);
    Ok(crate::atoms::ok())
}

/// Hands out nothing more; true when nobody holds or awaits a worker.
#[rustler::nif]
fn pool_drain(keeper: ResourceArc<Keeper>) -> bool {
    keeper.pool.core.drain()
}

/// Closes the pool and answers those who wait. O(waiters).
#[rustler::nif]
fn pool_close(env: Env<'_>, keeper: ResourceArc<Keeper>) -> Atom {
    keeper.close(env);
    crate::atoms::ok()
}

#[derive(NifMap)]
struct SpanView {
    count: u64,
    mean_us: f64,
    max_us: f64,
}

impl From<Span> for SpanView {
    fn from(span: Span) -> Self {
        Self {
            count: span.count,
            mean_us: span.total as f64 / 1_000.0 / span.count.max(1) as f64,
            max_us: span.longest as f64 / 1_000.0,
        }
    }
}

#[derive(NifMap)]
struct PoolView {
    min: usize,
    max: usize,
    workers: usize,
    idle: usize,
    busy: usize,
    aside: usize,
    starting: usize,
    waiting: usize,
    wait: SpanView,
    hold: SpanView,
    draining: bool,
}

/// Counts and times of a pool, or `missing`.
#[rustler::nif]
fn pool_view<'a>(env: Env<'a>, pools: &'a Pools, name: Term<'a>) -> NifResult<Term<'a>> {
    let key = key::key(name)?;
    Ok(match pools.by_name.with(&key, |pool| pool.core.snapshot()) {
        None => atoms::missing().encode(env),
        Some(s) => PoolView {
            min: s.settings.min,
            max: s.settings.max,
            workers: s.workers,
            idle: s.idle,
            busy: s.busy,
            aside: s.aside,
            starting: s.starting,
            waiting: s.waiting,
            wait: s.waited.into(),
            hold: s.held.into(),
            draining: s.closed,
        }
        .encode(env),
    })
}
