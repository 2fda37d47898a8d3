//! Loading, logging and self-checks of the native library.

use crate::{atoms, key, logging};
use rustler::{Atom, Env, Error, LocalPid, NifResult, Term};

/// Runs when the VM loads the library.
pub(crate) fn load(env: Env<'_>, _info: Term<'_>) -> bool {
    logging::install();
    crate::word::load(env);
    crate::clock::load();
    crate::metrics::load(env)
        && crate::limits::load(env)
        && crate::breaker::load(env)
        && crate::discovery::load(env)
        && crate::fabric::load(env)
        && crate::topology::load(env)
        && crate::federation::load(env)
        && crate::crdt::load(env)
        && crate::consensus::load(env)
        && crate::market::load(env)
}

/// The version of the library.
#[rustler::nif]
fn engine_version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Sends native log lines at `level` (0 off, 1 debug … 4 error) and above to `pid`.
#[rustler::nif]
fn engine_log_attach(pid: LocalPid, level: u8) -> NifResult<Atom> {
    logging::attach(pid, checked_level(level)?);
    Ok(atoms::ok())
}

/// Changes the least level that is forwarded.
#[rustler::nif]
fn engine_log_level(level: u8) -> NifResult<Atom> {
    logging::set_level(checked_level(level)?);
    Ok(atoms::ok())
}

/// Writes one line through the whole way from Rust to Logger; a check of the path, and nothing else.
#[rustler::nif]
fn engine_log_write(level: u8, text: &str) -> NifResult<Atom> {
    match checked_level(level)? {
        1 => tracing::debug!("{text}"),
        2 => tracing::info!("{text}"),
        3 => tracing::warn!("{text}"),
        4 => tracing::error!("{text}"),
        _ => return Err(Error::BadArg),
    }
    Ok(atoms::ok())
}

/// How many native log lines were dropped because their queue was full.
#[rustler::nif]
fn engine_log_dropped() -> u64 {
    logging::dropped()
}

/// Panics, to check that a panic reaches the caller as an error and the VM stays up.
#[rustler::nif]
fn engine_panic() -> Atom {
    panic!("asked to panic by Foundation.Native.engine_panic/0")
}

/// The canonical key of a term and back: what every keyed structure here does with a key.
#[rustler::nif]
fn engine_key_roundtrip<'a>(env: Env<'a>, term: Term<'a>) -> NifResult<Term<'a>> {
    let bytes = key::key(term)?;
    key::to_term(env, &bytes)
}

/// Every function of this library: `{name, arity, :normal | :dirty_cpu | :dirty_io}`, as it was registered with the VM.
#[rustler::nif]
fn engine_nifs(env: Env<'_>) -> NifResult<Vec<(Atom, u32, Atom)>> {
    rustler::codegen_runtime::inventory::iter::<rustler::Nif>()
        .map(|nif| {
            // SAFETY: the macro that registers a function stores a NUL-terminated literal here.
            let name = unsafe { std::ffi::CStr::from_ptr(nif.name) };
            let scheduler = match nif.flags {
                0 => atoms::normal(),
                1 => atoms::dirty_cpu(),
                _ => atoms::dirty_io(),
            };
            Ok((Atom::from_bytes(env, name.to_bytes())?, nif.arity, scheduler))
        })
        .collect()
}

fn checked_level(level: u8) -> NifResult<u8> {
    if level <= 4 { Ok(level) } else { Err(Error::BadArg) }
}
