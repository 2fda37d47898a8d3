//! Arguments that more than one file reads.

use crate::{atoms, term};
use foundation_market::{Limits, Money};
use rustler::{Atom, Error, NifResult, Term};
use std::time::{Duration, Instant};

/// Entries of one list.
pub(super) const MAX_LIST: usize = 1_000_000;
/// The longest time that a solver may take.
const MAX_TIMEOUT_MS: u64 = 600_000;

/// A list, each element read.
pub(super) fn list<'a, T>(list: Term<'a>, read: impl Fn(Term<'a>) -> NifResult<T>) -> NifResult<Vec<T>> {
    term::list(list, MAX_LIST)?.into_iter().map(read).collect()
}

/// An amount in millionths.
pub(super) fn money(term: Term<'_>) -> NifResult<Money> {
    Ok(Money::from_micros(term.decode()?))
}

/// A list of amounts.
pub(super) fn moneys(term: Term<'_>) -> NifResult<Vec<Money>> {
    list(term, money)
}

/// A list of small numbers.
pub(super) fn indices(term: Term<'_>) -> NifResult<Vec<u32>> {
    list(term, |item| item.decode())
}

/// A list of numbers.
pub(super) fn numbers(term: Term<'_>) -> NifResult<Vec<f64>> {
    list(term, term::number)
}

/// A list of lists.
pub(super) fn table<'a, T>(
    rows: Term<'a>,
    read: impl Fn(Term<'a>) -> NifResult<Vec<T>>,
) -> NifResult<Vec<Vec<T>>> {
    list(rows, read)
}

/// A value, or nil.
pub(super) fn maybe<'a, T>(term: Term<'a>, read: impl Fn(Term<'a>) -> NifResult<T>) -> NifResult<Option<T>> {
    if atoms::nil() == term {
        Ok(None)
    } else {
        read(term).map(Some)
    }
}

/// One of the words, and what it stands for.
pub(super) fn word<T: Copy>(term: Term<'_>, words: &[(Atom, T)]) -> NifResult<T> {
    let atom: Atom = term.decode()?;
    let found = words.iter().find(|(word, _)| *word == atom);
    found.map(|(_, meaning)| *meaning).ok_or(Error::BadArg)
}

/// Runs a solver with the limits that `{max_steps, timeout_ms}` says, 10 minutes at most.
pub(super) fn limited<T>(limits: Term<'_>, solve: impl FnOnce(&Limits<'_>) -> T) -> NifResult<T> {
    let (steps, timeout_ms): (u64, u64) = limits.decode()?;
    let end = Instant::now() + Duration::from_millis(timeout_ms.min(MAX_TIMEOUT_MS));
    let stop = || Instant::now() >= end;
    Ok(solve(&Limits::until(steps, &stop)))
}
