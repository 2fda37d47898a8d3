//! Amounts as terms: integers, floats, decimal strings and `Decimal` structs.

use super::atoms;
use crate::{key, term, word};
use foundation_limits::{MAX_COSTS, amount};
use rustler::{Binary, Encoder, Env, Error, NifResult, Term, TermType};
use smallvec::SmallVec;

/// Costs by dimension, in billionths.
pub(super) type Costs = SmallVec<[(u64, i128); 4]>;

/// The first name of a map of costs that is wrong.
pub(super) enum Wrong<'a> {
    Unknown(Term<'a>),
    Invalid(Term<'a>),
}

/// Appends the costs of a map to `costs`; `badarg` when it is none or has too many.
#[inline]
pub(super) fn costs<'a>(term: Term<'a>, costs: &mut Costs) -> NifResult<Option<Wrong<'a>>> {
    let mut wrong = None;
    term::pairs(term, |name, cost| {
        match (key::atom_word(name), amount(cost).filter(|cost| *cost >= 0)) {
            (Ok(word), Some(cost)) => costs.push((word, cost)),
            (Ok(_), None) => wrong = Some(Wrong::Invalid(name)),
            (Err(_), _) => wrong = Some(Wrong::Unknown(name)),
        }
        wrong.is_none() && costs.len() <= MAX_COSTS
    })?;
    if costs.len() > MAX_COSTS {
        return Err(Error::BadArg);
    }
    Ok(wrong)
}

/// The cost of a map that has just one, a whole number of units; `None` for any other map or term.
#[inline]
pub(super) fn only(map: Term<'_>) -> Option<(u64, i128)> {
    let (name, cost) = term::only_pair(map)?;
    let units = word::integer(cost).filter(|units| *units >= 0)?;
    Some((key::atom_word(name).ok()?, amount::from_integer(units)?))
}

/// Billionths, or `None` when the term is no amount.
#[inline]
pub(super) fn amount(term: Term<'_>) -> Option<i128> {
    if let Some(units) = word::integer(term) {
        return amount::from_integer(units);
    }
    match term.get_type() {
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
