//! Answers: maps with atoms for keys, and errors.

use crate::atoms;
use foundation_market::{Error as Refused, Money, Result};
use rustler::{Atom, Encoder, Env, NifResult, Term};

use super::names;

/// A map; the keys are different atoms.
pub(super) fn map<'a>(env: Env<'a>, pairs: &[(Atom, Term<'a>)]) -> NifResult<Term<'a>> {
    let keys: Vec<Term<'a>> = pairs.iter().map(|(key, _)| key.to_term(env)).collect();
    let values: Vec<Term<'a>> = pairs.iter().map(|(_, value)| *value).collect();
    Term::map_from_term_arrays(env, &keys, &values)
}

/// `{:ok, value}`, or `{:error, reason}` for what the core refuses.
pub(super) fn answer<'a, T>(
    env: Env<'a>,
    result: Result<T>,
    encode: impl FnOnce(T) -> NifResult<Term<'a>>,
) -> NifResult<Term<'a>> {
    match result {
        Ok(value) => Ok((atoms::ok(), encode(value)?).encode(env)),
        Err(refused) => failure(env, refused),
    }
}

/// `{:error, reason}`; the reason of what was invalid or too large names it.
pub(super) fn failure<'a>(env: Env<'a>, refused: Refused) -> NifResult<Term<'a>> {
    let named = |kind: Atom, word: &str| -> NifResult<Term<'a>> {
        // The words are those of the core's source: there are few.
        Ok((kind, Atom::from_str(env, word)?).encode(env))
    };
    let reason = match refused {
        Refused::Invalid(word) => named(names::invalid(), word)?,
        Refused::TooLarge(word) => named(names::too_large(), word)?,
        Refused::Overflow => names::overflow().to_term(env),
        Refused::Stopped => names::stopped().to_term(env),
        Refused::Closed => atoms::closed().to_term(env),
        Refused::TooLow => names::too_low().to_term(env),
        Refused::NotFound => names::not_found().to_term(env),
        Refused::Full => names::full().to_term(env),
        Refused::Unfillable => names::unfillable().to_term(env),
        Refused::WouldTrade => names::would_trade().to_term(env),
        Refused::NotYourTurn => names::not_your_turn().to_term(env),
        Refused::Malformed => names::malformed().to_term(env),
    };
    Ok((atoms::error(), reason).encode(env))
}

/// The amount in millionths.
pub(super) fn money<'a>(env: Env<'a>, amount: Money) -> Term<'a> {
    amount.micros().encode(env)
}

/// Amounts in millionths.
pub(super) fn moneys<'a>(env: Env<'a>, amounts: &[Money]) -> Term<'a> {
    amounts
        .iter()
        .map(|amount| amount.micros())
        .collect::<Vec<i64>>()
        .encode(env)
}

/// What may be missing; nil then.
pub(super) fn maybe<'a, T: Encoder>(env: Env<'a>, value: Option<T>) -> Term<'a> {
    value.map_or_else(|| atoms::nil().to_term(env), |value| value.encode(env))
}

/// A list of what each item becomes.
pub(super) fn all<'a, T>(
    env: Env<'a>,
    items: impl IntoIterator<Item = T>,
    encode: impl FnMut(T) -> NifResult<Term<'a>>,
) -> NifResult<Term<'a>> {
    let terms: Vec<Term<'a>> = items.into_iter().map(encode).collect::<NifResult<_>>()?;
    Ok(terms.encode(env))
}
