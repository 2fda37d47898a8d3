//! Glue for the `limits` domain: keys, costs and answers; the timer thread and the fixed windows are in the files below.

mod answers;
mod costs;
mod hot;
mod quota;
mod timer;
mod windows;

use crate::brief::Brief;
use crate::handle::{self, fast_nif};
use crate::key;
use answers::{done, failure, peeked};
use costs::Wrong;
use foundation_limits::{
    Algorithm, Definition, Dimension, Learned, LimitError, MAX_PLAIN_KEY, Reservation, Ticket, WaitError,
    WaitOptions, Waiting,
};
use parking_lot::Mutex;
use rustler::sys::ErlNifTerm;
use rustler::types::tuple::{get_tuple, make_tuple};
use rustler::{Encoder, Env, Error, LocalPid, Monitor, NifResult, OwnedEnv, Resource, ResourceArc, Term};
use std::sync::Arc;
use timer::{Core, LimitsRef};

mod atoms {
    rustler::atoms! {
        ok, error, nil, any = "_", limited, never, unknown_dimension, invalid_cost, reserve_only, unknown_key,
        unknown_parent, parent_cycle, too_many_ancestors, too_many_keys, settled, queue_full, invalid_limit, in_use,
        timeout, noproc, not_running, dimension, key, retry_after_ms, paused, queue, waiting, parent, reservations, paused_ms,
        dimensions, limit, per, capacity, used, remaining, full_in_ms, algorithm, bucket, sliding_window, concurrency, leased,
        sign, coef, exp, burst, sub_windows, twice, too_many_dimensions,
    }
}

/// Reads the costs of a map into `$costs`, or answers early what is wrong with them.
macro_rules! decode {
    ($env:expr, $term:expr, $costs:ident) => {
        let term = $term;
        let mut $costs = costs::Costs::new();
        match costs::costs(term, &mut $costs)? {
            None => {}
            Some(Wrong::Unknown(name)) => return Ok($env.error_tuple((atoms::unknown_dimension(), name))),
            Some(Wrong::Invalid(name)) => return Ok($env.error_tuple((atoms::invalid_cost(), name))),
        }
    };
}

/// A reservation in the hands of a process; given back when that process ends.
pub(crate) struct ReservationRef {
    core: Arc<Core>,
    reservation: Arc<Reservation>,
    monitor: Mutex<Option<Monitor>>,
}

#[rustler::resource_impl]
impl Resource for ReservationRef {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        let _ = self.core.limits.refund(&self.reservation, self.core.now());
    }
}

/// A place in a queue; left when the waiting process ends.
pub(crate) struct TicketRef {
    core: Arc<Core>,
    ticket: Arc<Ticket>,
}

#[rustler::resource_impl]
impl Resource for TicketRef {
    const IMPLEMENTS_DOWN: bool = true;

    fn down<'a>(&'a self, _env: Env<'a>, _pid: LocalPid, _monitor: Monitor) {
        self.core.limits.cancel(&self.ticket, self.core.now());
    }
}

/// Registers the handle; called while the library is being loaded.
pub(crate) fn load(env: Env<'_>) -> bool {
    handle::open::<LimitsRef>(env)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn limits_new(env: Env<'_>, max_keys: u64) -> NifResult<Term<'_>> {
    let limits = timer::start(usize::try_from(max_keys).map_err(|_| Error::BadArg)?)?;
    Ok(handle::make(env, limits))
}

/// `dimensions` is a list of `{name, kind, limit, per_ms, burst}`, kind 0 for a bucket, 1 for a gate, 1000 for what is
/// leased, n for a sliding window of n parts; `parent` an empty list or a list of one key; `options` is `{idle_ms, max_waiters}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn limits_define<'a>(
    env: Env<'a>,
    handle: &'a LimitsRef,
    key: Term<'a>,
    dimensions: Term<'a>,
    parent: Term<'a>,
    options: (u64, u32),
) -> NifResult<Term<'a>> {
    let bytes = key::key(key)?;
    let parent = match crate::term::list(parent, 1)?.first() {
        Some(parent) => Some(key::key(*parent)?),
        None => None,
    };
    let pattern = get_tuple(key).is_ok_and(|items| items.last().is_some_and(|t| atoms::any() == *t));
    let mut list = Vec::new();
    for item in crate::term::list(dimensions, 64)? {
        match dimension(item)? {
            Ok(d) => list.push(d),
            Err(error) => return failure(env, &error),
        }
    }
    let core = &handle.core;
    let result = Definition::new(list, options.0.saturating_mul(1000), options.1).and_then(|d| {
        core.limits
            .define(&bytes, d, parent.as_deref(), pattern, core.now())
    });
    done(env, result)
}

fn dimension(term: Term<'_>) -> NifResult<Result<Dimension, LimitError>> {
    let (name, kind, limit, per, burst): (Term, u16, Term, u64, Term) = term.decode()?;
    let name = key::atom_word(name)?;
    let Some(limit) = costs::amount(limit) else {
        return Ok(Err(LimitError::InvalidLimit(name, "limit")));
    };
    let burst = if atoms::nil() == burst {
        None
    } else {
        let Some(burst) = costs::amount(burst) else {
            return Ok(Err(LimitError::InvalidLimit(name, "burst")));
        };
        Some(burst)
    };
    let algorithm = match kind {
        0 => Algorithm::Bucket,
        1 => Algorithm::Gate,
        1000 => Algorithm::Quota,
        parts => Algorithm::Sliding(parts),
    };
    Ok(Dimension::new(
        name,
        algorithm,
        limit,
        per.saturating_mul(1000),
        burst,
    ))
}

fast_nif!("limits_acquire", 3, limits_acquire, first: acquire_plain);

/// Takes a whole number of one dimension from a plain key, as most calls do, or else what [`acquire_buckets`] takes.
/// False when it is anything else or when there is no room: nothing was taken then, and [`limits_acquire`] finds out
/// what there is to say. It is apart because a call of this length feels each value of more than a word that is handed on.
#[inline(always)]
fn acquire_plain(env: Env<'_>, [handle, key, costs]: [ErlNifTerm; 3]) -> bool {
    // SAFETY: the VM passed these terms with this environment.
    let (handle, key, costs) =
        unsafe { (Term::new(env, handle), Term::new(env, key), Term::new(env, costs)) };
    let mut brief = Brief::<MAX_PLAIN_KEY>::new();
    match handle::get::<LimitsRef>(handle) {
        Ok(limits) if brief.key(key).is_some() => {
            let core = &limits.core;
            if core.limits.any_hot()
                && let Some(granted) = hot::acquire(core, &brief, costs)
            {
                return granted;
            }
            let mut at = 0;
            let plain = core.limits.acquire_plain(brief.bytes(), |place, beside| {
                handle::fetch(place);
                handle::fetch_to_read(beside);
                let (name, cost) = costs::only(costs)?;
                at = core.now();
                Some((name, cost, at))
            });
            if plain {
                hot::count(core, &brief, at);
            }
            plain || acquire_buckets(core, brief.bytes(), costs)
        }
        _ => false,
    }
}

/// Takes any costs from a key that is no plain one, and from its ancestors, when there is room.
#[inline(never)]
fn acquire_buckets(core: &Core, key: &[u8], costs: Term<'_>) -> bool {
    core.limits.acquire_buckets(key, handle::fetch, || {
        let mut list = costs::Costs::new();
        match costs::costs(costs, &mut list) {
            Ok(None) => Some((list, core.now())),
            _ => None,
        }
    })
}

fn limits_acquire<'a>(env: Env<'a>, [handle, key, costs]: [Term<'a>; 3]) -> NifResult<Term<'a>> {
    let core = &handle::get::<LimitsRef>(handle)?.core;
    let mut bytes = key::KeyBuf::new();
    key::write_key(key, &mut bytes)?;
    decode!(env, costs, costs);
    match core.limits.acquire(&bytes, || pattern(key), &costs, core.now()) {
        Ok(()) => Ok(atoms::ok().to_term(env)),
        Err(error) => failure(env, &error),
    }
}

#[rustler::nif]
fn limits_reserve<'a>(
    env: Env<'a>,
    handle: &'a LimitsRef,
    key: Term<'a>,
    costs: Term<'a>,
    for_ms: u64,
    owner: LocalPid,
) -> NifResult<Term<'a>> {
    let bytes = key::key(key)?;
    decode!(env, costs, costs);
    let core = &handle.core;
    let for_us = for_ms.saturating_mul(1000);
    match core
        .limits
        .reserve(&bytes, || pattern(key), &costs, for_us, core.now())
    {
        Err(error) => failure(env, &error),
        Ok(reservation) => match hand_over(Some(env), core, reservation, &owner) {
            Some(resource) => Ok((atoms::ok(), resource).encode(env)),
            None => Ok(env.error_tuple(atoms::noproc())),
        },
    }
}

/// Ties the reservation to the life of `owner`; gives it back when that process is gone already.
fn hand_over(
    env: Option<Env<'_>>,
    core: &Arc<Core>,
    reservation: Arc<Reservation>,
    owner: &LocalPid,
) -> Option<ResourceArc<ReservationRef>> {
    let resource = ResourceArc::new(ReservationRef {
        core: core.clone(),
        reservation,
        monitor: Mutex::new(None),
    });
    match resource.monitor(env, owner) {
        Some(monitor) => {
            *resource.monitor.lock() = Some(monitor);
            Some(resource)
        }
        None => {
            let _ = core.limits.refund(&resource.reservation, core.now());
            None
        }
    }
}

#[rustler::nif]
fn limits_commit<'a>(
    env: Env<'a>,
    reservation: ResourceArc<ReservationRef>,
    actual: Term<'a>,
) -> NifResult<Term<'a>> {
    decode!(env, actual, actual);
    let core = &reservation.core;
    let result = core.limits.commit(&reservation.reservation, &actual, core.now());
    settled(env, &reservation, result)
}

#[rustler::nif]
fn limits_refund<'a>(env: Env<'a>, reservation: ResourceArc<ReservationRef>) -> NifResult<Term<'a>> {
    let core = &reservation.core;
    let result = core.limits.refund(&reservation.reservation, core.now());
    settled(env, &reservation, result)
}

fn settled<'a>(
    env: Env<'a>,
    reservation: &ResourceArc<ReservationRef>,
    result: Result<(), LimitError>,
) -> NifResult<Term<'a>> {
    if result.is_ok() {
        let monitor = reservation.monitor.lock().take();
        if let Some(monitor) = monitor {
            reservation.demonitor(Some(env), &monitor);
        }
    }
    done(env, result)
}

/// `options` is `{priority, timeout_ms, reserve_ms}`, the last below 0 to spend and not to reserve. Answers `:ok`,
/// `{:ok, reservation}` or `{:waiting, ticket}`; then `{reference, answer}` is sent to the caller.
#[rustler::nif]
fn limits_wait<'a>(
    env: Env<'a>,
    handle: &'a LimitsRef,
    key: Term<'a>,
    costs: Term<'a>,
    reference: Term<'a>,
    options: (i32, u64, i64),
) -> NifResult<Term<'a>> {
    if !reference.is_ref() {
        return Err(Error::BadArg);
    }
    let bytes = key::key(key)?;
    decode!(env, costs, costs);
    let core = &handle.core;
    let now = core.now();
    let options = WaitOptions {
        priority: options.0,
        deadline: now.saturating_add(options.1.saturating_mul(1000)),
        reserve_us: u64::try_from(options.2).ok().map(|ms| ms.saturating_mul(1000)),
    };
    let pid = env.pid();
    let reply = reply(core, pid, reference);
    match core
        .limits
        .wait(&bytes, || pattern(key), &costs, options, reply, now)
    {
        Err(error) => failure(env, &error),
        Ok(Waiting::Granted(None)) => Ok(atoms::ok().to_term(env)),
        Ok(Waiting::Granted(Some(reservation))) => match hand_over(Some(env), core, reservation, &pid) {
            Some(resource) => Ok((atoms::ok(), resource).encode(env)),
            None => Ok(env.error_tuple(atoms::noproc())),
        },
        Ok(Waiting::Queued(ticket)) => {
            let resource = ResourceArc::new(TicketRef {
                core: core.clone(),
                ticket,
            });
            let _ = resource.monitor(Some(env), &pid);
            Ok((atoms::waiting(), resource).encode(env))
        }
    }
}

/// What the timer thread does with the answer: sends `{reference, answer}` to `pid`.
fn reply(core: &Arc<Core>, pid: LocalPid, reference: Term<'_>) -> foundation_limits::Reply {
    let mut letter = OwnedEnv::new();
    let reference = letter.save(reference);
    let core = Arc::downgrade(core);
    Box::new(move |answer| {
        let resource = match (&answer, core.upgrade()) {
            (Ok(Some(reservation)), Some(core)) => match hand_over(None, &core, reservation.clone(), &pid) {
                Some(resource) => Some(resource),
                None => return,
            },
            _ => None,
        };
        let _ = letter.send_and_clear(&pid, |env| {
            let said = match (&answer, resource) {
                (Ok(_), Some(resource)) => (atoms::ok(), resource).encode(env),
                (Ok(_), None) => atoms::ok().to_term(env),
                (Err(WaitError::Timeout), _) => env.error_tuple(atoms::timeout()),
                (Err(WaitError::Closed), _) => env.error_tuple(atoms::not_running()),
                (Err(WaitError::Limit(error)), _) => {
                    failure(env, error).unwrap_or_else(|_| env.error_tuple(atoms::unknown_key()))
                }
            };
            (reference.load(env), said).encode(env)
        });
    })
}

#[rustler::nif]
fn limits_cancel(ticket: ResourceArc<TicketRef>) -> bool {
    ticket.core.limits.cancel(&ticket.ticket, ticket.core.now())
}

#[rustler::nif]
fn limits_peek<'a>(env: Env<'a>, handle: &'a LimitsRef, key: Term<'a>) -> NifResult<Term<'a>> {
    let bytes = key::key(key)?;
    let core = &handle.core;
    match core.limits.peek(&bytes, core.now()) {
        Ok(peek) => Ok((atoms::ok(), peeked(env, &peek)?).encode(env)),
        Err(error) => failure(env, &error),
    }
}

#[rustler::nif]
fn limits_reset<'a>(env: Env<'a>, handle: &'a LimitsRef, key: Term<'a>) -> NifResult<Term<'a>> {
    let bytes = key::key(key)?;
    done(env, handle.core.limits.reset(&bytes, handle.core.now()))
}

#[rustler::nif]
fn limits_delete<'a>(env: Env<'a>, handle: &'a LimitsRef, key: Term<'a>) -> NifResult<Term<'a>> {
    let bytes = key::key(key)?;
    done(env, handle.core.limits.delete(&bytes, handle.core.now()))
}

/// `said` is a list of `{name, limit | nil, remaining | nil}`; a `pause_ms` below 0 stands for none.
#[rustler::nif]
fn limits_learn<'a>(
    env: Env<'a>,
    handle: &'a LimitsRef,
    key: Term<'a>,
    said: Term<'a>,
    pause_ms: i64,
) -> NifResult<Term<'a>> {
    let bytes = key::key(key)?;
    let mut learned = Vec::new();
    for item in crate::term::list(said, 64)? {
        let (name, limit, remaining): (Term, Term, Term) = item.decode()?;
        let name = key::atom_word(name)?;
        learned.push(Learned {
            name,
            limit: costs::optional(limit)?,
            remaining: costs::optional(remaining)?,
        });
    }
    let pause = u64::try_from(pause_ms).ok().map(|ms| ms.saturating_mul(1000));
    let core = &handle.core;
    done(env, core.limits.learn(&bytes, &learned, pause, core.now()))
}

#[rustler::nif]
fn limits_count(handle: &LimitsRef) -> usize {
    handle.core.limits.len()
}

/// Looks through all keys for idle ones; answers how many were dropped.
#[rustler::nif(schedule = "DirtyCpu")]
fn limits_sweep(handle: &LimitsRef) -> usize {
    handle.core.limits.sweep_all(handle.core.now())
}

/// The key of the pattern that a tuple is made from when it has no limits of its own: its last element is `:_`.
fn pattern(term: Term<'_>) -> Option<key::KeyBuf> {
    let mut items = get_tuple(term).ok().filter(|items| items.len() >= 2)?;
    *items.last_mut()? = atoms::any().to_term(term.get_env());
    key::key(make_tuple(term.get_env(), &items)).ok()
}
