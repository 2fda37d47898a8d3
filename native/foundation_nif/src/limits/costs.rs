//! Amounts as terms: integers, floats, decimal strings and `Decimal` structs.

use super::atoms;
use crate::key;
use foundation_limits::{MAX_COSTS, amount};
use rustler::{Binary, Encoder, Env, Error, MapIterator, NifResult, Term, TermType};
use smallvec::SmallVec;

/// Costs by dimension, in billionths.
pub(super) type Costs = SmallVec<[(u64, i128); 4]>;

/// A map of costs, or the first name of it that is wrong.
pub(super) enum Decoded<'a> {
    Costs(Costs),
    Unknown(Term<'a>),
    Invalid(Term<'a>),
}

#[inline]
pub(super) fn costs(term: Term<'_>) -> NifResult<Decoded<'_>> {
    let mut costs = Costs::new();
    for (name, cost) in MapIterator::new(term).ok_or(Error::BadArg)? {
        let Ok(word) = key::atom_word(name) else {
            return Ok(Decoded::Unknown(name));
        };
        let Some(cost) = amount(cost).filter(|cost| *cost >= 0) else {
            return Ok(Decoded::Invalid(name));
        };
        if costs.len() == MAX_COSTS {
            return Err(Error::BadArg);
        }
        costs.push((word, cost));
    }
    Ok(Decoded::Costs(costs))
}

/// Billionths, or `None` when the term is no amount.
#[inline]
pub(super) fn amount(term: Term<'_>) -> Option<i128> {
    match term.get_type() {
        TermType::Integer => amount::from_integer(term.decode().ok()?),
        TermType::Float => amount::from_float(term.decode().ok()?),
        TermType::Binary if term.is_binary() => {
            amount::from_decimal(std::str::from_utf8(Binary::from_term(term).ok()?.as_slice()).ok()?)
        }
        TermType::Map => {
            let sign: i64 = term.map_get(atoms::sign()).ok()?.decode().ok()?;
            let coefficient: i64 = term.map_get(atoms::coef()).ok()?.decode().ok()?;
            let exponent: i32 = term.map_get(atoms::exp()).ok()?.decode().ok()?;
            amount::from_scaled(sign.signum().checked_mul(coefficient)?, exponent)
        }
        _ => None,
    }
}

/// An amount or nil.
pub(super) fn optional(term: Term<'_>) -> NifResult<Option<i128>> {
    if atoms::nil() == term {
        Ok(None)
    } else {
        amount(term).map(Some).ok_or(Error::BadArg)
    }
}

/// An integer when it is whole, the nearest float otherwise.
pub(super) fn encode(env: Env<'_>, amount: i128) -> Term<'_> {
    match i64::try_from(amount / amount::UNIT) {
        Ok(whole) if amount % amount::UNIT == 0 => whole.encode(env),
        _ => (amount as f64 / amount::UNIT as f64).encode(env),
    }
}
