//! Assignment.

use super::answer::{all, answer, failure, map, maybe, money};
use super::{names, read};
use crate::atoms;
use foundation_market::assignment::{self, Assignment, Costs, Task, Worker};
use foundation_market::{Error as Refused, Money};
use rustler::{Atom, Encoder, Env, Error, NifResult, Term};

/// The matrix out of a list of rows, each a list of amounts, nil where it cannot be.
fn matrix(rows: Term<'_>) -> NifResult<Result<Costs, Refused>> {
    let nil = atoms::nil();
    let cell = |item: Term<'_>| if nil == item { Ok(i64::MAX) } else { item.decode() };
    let rows = read::table(rows, |row| read::list(row, cell))?;
    let cols = rows.first().map_or(0, Vec::len);
    if rows.iter().any(|row| row.len() != cols) {
        return Err(Error::BadArg);
    }
    Ok(Costs::from_micros(rows.len(), cols, rows.concat()))
}

fn columns<'a>(env: Env<'a>, found: &Assignment) -> NifResult<[(Atom, Term<'a>); 2]> {
    let columns = all(env, &found.columns, |column| Ok(maybe(env, *column)))?;
    Ok([
        (names::columns(), columns),
        (names::cost(), money(env, found.cost)),
    ])
}

fn solve<'a>(env: Env<'a>, method: Atom, costs: &Costs, limits: Term<'a>) -> NifResult<Term<'a>> {
    if method == names::hungarian() {
        let found = read::limited(limits, |limits| assignment::hungarian(costs, limits))?;
        return answer(env, found, |found| {
            let mut pairs = columns(env, &found)?.to_vec();
            pairs.push((names::gap(), money(env, Money::ZERO)));
            map(env, &pairs)
        });
    }
    if method != names::auction() {
        return Err(Error::BadArg);
    }
    let found = read::limited(limits, |limits| assignment::auction(costs, limits))?;
    answer(env, found, |found| {
        let mut pairs = columns(env, &found.assignment)?.to_vec();
        pairs.push((names::gap(), money(env, found.gap)));
        pairs.push((names::prices(), found.prices.encode(env)));
        pairs.push((names::bids(), found.bids.encode(env)));
        map(env, &pairs)
    })
}

/// `:hungarian | :auction, costs, limits`: `{:ok, %{columns:, cost:, gap:}}`; costs are rows of amounts, nil where it
/// cannot be.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_assign<'a>(env: Env<'a>, method: Atom, costs: Term<'a>, limits: Term<'a>) -> NifResult<Term<'a>> {
    match matrix(costs)? {
        Ok(costs) => solve(env, method, &costs, limits),
        Err(refused) => failure(env, refused),
    }
}

/// A list of small numbers as bits.
fn bits(term: Term<'_>) -> NifResult<u128> {
    let mut bits = 0;
    for index in read::indices(term)? {
        bits |= 1_u128.checked_shl(index).ok_or(Error::BadArg)?;
    }
    Ok(bits)
}

/// `method, tasks, workers, limits`: `{:ok, %{columns:, …}}` where a column is a worker's place in the list. A task is
/// `{needs, work}`, a worker `{can, rate, slots}`; capabilities are lists of numbers below 128.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_assign_tasks<'a>(
    env: Env<'a>,
    method: Atom,
    tasks: Term<'a>,
    workers: Term<'a>,
    limits: Term<'a>,
) -> NifResult<Term<'a>> {
    let tasks = read::list(tasks, |item| {
        let (needs, work): (Term<'a>, i64) = item.decode()?;
        Ok(Task {
            needs: bits(needs)?,
            work,
        })
    })?;
    let workers = read::list(workers, |item| {
        let (can, rate, slots): (Term<'a>, i64, u32) = item.decode()?;
        Ok(Worker {
            can: bits(can)?,
            rate: Money::from_micros(rate),
            slots,
        })
    })?;
    let (costs, owners) = match assignment::costs(&tasks, &workers) {
        Ok(built) => built,
        Err(refused) => return failure(env, refused),
    };
    let auction = method == names::auction();
    if !auction && method != names::hungarian() {
        return Err(Error::BadArg);
    }
    let found = read::limited(limits, |limits| {
        if auction {
            assignment::auction(&costs, limits).map(|found| (found.assignment, found.gap))
        } else {
            assignment::hungarian(&costs, limits).map(|found| (found, Money::ZERO))
        }
    })?;
    answer(env, found, |(found, gap)| {
        let workers: Vec<Option<u32>> = found
            .columns
            .iter()
            .map(|column| column.map(|column| owners[column as usize]))
            .collect();
        let workers = all(env, workers, |worker| Ok(maybe(env, worker)))?;
        map(
            env,
            &[
                (names::columns(), workers),
                (names::cost(), money(env, found.cost)),
                (names::gap(), money(env, gap)),
            ],
        )
    })
}
