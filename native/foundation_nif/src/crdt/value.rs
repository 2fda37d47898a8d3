//! Values of the core as terms: sets as lists, maps as lists of pairs, for the caller to make what it likes of them.

use super::{name, names};
use crate::atoms;
use foundation_crdt::Value;
use rustler::{Encoder, Env, Error, NifResult, Term};

/// `{:ok, value}`, or `:none`.
pub(super) fn found<'a>(env: Env<'a>, value: Option<&Value>) -> NifResult<Term<'a>> {
    match value {
        None => Ok(names::none().to_term(env)),
        Some(value) => Ok((atoms::ok(), term(env, value)?).encode(env)),
    }
}

/// Bytes of it, about.
pub(super) fn size(value: &Value) -> usize {
    match value {
        Value::Integer(_) | Value::Flag(_) => 8,
        Value::One(bytes) => bytes.len(),
        Value::Many(all) | Value::Set(all) => all.iter().map(Vec::len).sum(),
        Value::Map(pairs) => pairs.iter().map(|(name, value)| name.len() + size(value)).sum(),
    }
}

fn term<'a>(env: Env<'a>, value: &Value) -> NifResult<Term<'a>> {
    match value {
        Value::Integer(n) => integer(env, *n),
        Value::Flag(on) => Ok(on.encode(env)),
        Value::One(bytes) => read(env, bytes),
        Value::Many(all) | Value::Set(all) => {
            let terms: NifResult<Vec<Term<'a>>> = all.iter().map(|bytes| read(env, bytes)).collect();
            Ok(terms?.encode(env))
        }
        Value::Map(pairs) => {
            let pairs: NifResult<Vec<(Term<'a>, Term<'a>)>> = pairs
                .iter()
                .map(|(name, value)| Ok((read(env, name)?, term(env, value)?)))
                .collect();
            Ok(pairs?.encode(env))
        }
    }
}

fn read<'a>(env: Env<'a>, bytes: &[u8]) -> NifResult<Term<'a>> {
    name::read(env, bytes).ok_or(Error::BadArg)
}

/// An integer of any size: beyond 64 bits by its external form.
fn integer(env: Env<'_>, n: i128) -> NifResult<Term<'_>> {
    if let Ok(n) = i64::try_from(n) {
        return Ok(n.encode(env));
    }
    let digits = n.unsigned_abs().to_le_bytes();
    let len = 16 - n.unsigned_abs().leading_zeros() as usize / 8;
    let mut bytes = vec![110, len as u8, u8::from(n < 0)];
    bytes.extend_from_slice(&digits[..len]);
    read(env, &bytes)
}
