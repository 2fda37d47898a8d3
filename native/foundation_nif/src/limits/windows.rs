//! Fixed windows for the 1.x rate limiter: the key is the text `foundation:ENTITY:OPERATION`, as 1.x gave it to Hammer.

use super::timer::LimitsRef;
use crate::key::{self, KeyBuf};
use rustler::{Atom, Binary, Encoder, Env, Error, NifResult, Term, TermType};
use std::time::{SystemTime, UNIX_EPOCH};

mod atoms {
    rustler::atoms! { ok, nil, allow, deny }
}

/// Milliseconds since the epoch.
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs() * 1000 + u64::from(since.subsec_millis())
}

/// The canonical key of the binary `foundation:ENTITY:OPERATION`.
fn rate_key(entity: Term<'_>, operation: Term<'_>) -> NifResult<KeyBuf> {
    let mut buf = key::open_binary();
    buf.extend_from_slice(b"foundation:");
    text(entity, &mut buf)?;
    buf.push(b':');
    text(operation, &mut buf)?;
    key::close_binary(&mut buf)?;
    Ok(buf)
}

fn text(term: Term<'_>, buf: &mut KeyBuf) -> NifResult<()> {
    match term.get_type() {
        TermType::Binary if term.is_binary() => {
            let bytes = Binary::from_term(term)?;
            if bytes.len() > key::MAX_BYTES {
                return Err(Error::BadArg);
            }
            buf.extend_from_slice(bytes.as_slice());
            Ok(())
        }
        TermType::Atom if atoms::nil() == term => Ok(()),
        TermType::Atom => {
            buf.extend_from_slice(term.atom_to_string()?.as_bytes());
            Ok(())
        }
        TermType::Integer => {
            buf.extend_from_slice(term.decode::<i64>()?.to_string().as_bytes());
            Ok(())
        }
        _ => Err(Error::BadArg),
    }
}

/// Counts a hit and answers the count. Entity and operation are binaries, atoms or integers.
#[rustler::nif]
fn limits_check_rate<'a>(
    handle: &'a LimitsRef,
    entity: Term<'a>,
    operation: Term<'a>,
    limit: u64,
    window_ms: u64,
) -> NifResult<u64> {
    let key = rate_key(entity, operation)?;
    let window = positive(window_ms)?;
    let hit = handle.core.windows.hit(&key, window, 1, Some(limit), wall());
    Ok(hit.count)
}

/// `{count, limit, window_ms}` of the latest hit, or nil when its window is over.
#[rustler::nif]
fn limits_rate_status<'a>(
    env: Env<'a>,
    handle: &'a LimitsRef,
    entity: Term<'a>,
    operation: Term<'a>,
) -> NifResult<Term<'a>> {
    let key = rate_key(entity, operation)?;
    Ok(match handle.core.windows.latest(&key, wall()) {
        Some(c) => (c.count, c.limit, c.scale).encode(env),
        None => atoms::nil().to_term(env),
    })
}

/// Forgets the counters of an entity and operation; false when there were none.
#[rustler::nif]
fn limits_rate_reset<'a>(handle: &'a LimitsRef, entity: Term<'a>, operation: Term<'a>) -> NifResult<bool> {
    Ok(handle.core.windows.clear(&rate_key(entity, operation)?))
}

#[rustler::nif]
fn limits_window_hit<'a>(
    env: Env<'a>,
    handle: &'a LimitsRef,
    key: Term<'a>,
    scale: u64,
    limit: u64,
    by: u64,
) -> NifResult<Term<'a>> {
    let key = key::key(key)?;
    let hit = handle
        .core
        .windows
        .hit(&key, positive(scale)?, by, Some(limit), wall());
    Ok(if hit.count <= limit {
        (atoms::allow(), hit.count).encode(env)
    } else {
        (atoms::deny(), hit.left_ms).encode(env)
    })
}

#[rustler::nif]
fn limits_window_inc<'a>(handle: &'a LimitsRef, key: Term<'a>, scale: u64, by: u64) -> NifResult<u64> {
    let key = key::key(key)?;
    Ok(handle
        .core
        .windows
        .hit(&key, positive(scale)?, by, None, wall())
        .count)
}

#[rustler::nif]
fn limits_window_set<'a>(handle: &'a LimitsRef, key: Term<'a>, scale: u64, count: u64) -> NifResult<Atom> {
    let key = key::key(key)?;
    handle.core.windows.set(&key, positive(scale)?, count, wall());
    Ok(atoms::ok())
}

#[rustler::nif]
fn limits_window_get<'a>(handle: &'a LimitsRef, key: Term<'a>, scale: u64) -> NifResult<u64> {
    let key = key::key(key)?;
    Ok(handle.core.windows.get(&key, positive(scale)?, wall()))
}

/// Forgets the counters whose windows are over; answers how many keys went.
#[rustler::nif(schedule = "DirtyCpu")]
fn limits_window_clean(handle: &LimitsRef) -> usize {
    handle.core.windows.clean(wall())
}

fn positive(scale: u64) -> NifResult<u64> {
    if scale == 0 { Err(Error::BadArg) } else { Ok(scale) }
}
