//! The handle of a search.

use super::answer::{all, answer, map, maybe};
use super::{names, read};
use crate::handle::{self, held};
use crate::{atoms, term};
use foundation_market::optimise::{Dimension, Optimiser, Strategy};
use foundation_market::{Error as Refused, State};
use parking_lot::Mutex;
use rustler::{Atom, Binary, Encoder, Env, Error, NewBinary, NifResult, Term};

/// A search in the hands of Erlang; boxed, for its generator asks for a wider alignment than the VM promises.
pub(super) struct Search(Box<Mutex<Optimiser>>);

held!(Search, c"foundation_market_search");

impl std::panic::RefUnwindSafe for Search {}

/// Bytes of a stored search.
const MAX_STATE: usize = 64 << 20;

fn strategy(term: Term<'_>) -> NifResult<Strategy> {
    if let Ok((tag, gamma)) = term.decode::<(Atom, Term<'_>)>() {
        return match tag == names::exp3() {
            true => Ok(Strategy::Exp3 {
                gamma: term::number(gamma)?,
            }),
            false => Err(Error::BadArg),
        };
    }
    read::word(
        term,
        &[
            (names::thompson(), Strategy::Thompson),
            (names::ucb1(), Strategy::Ucb1),
        ],
    )
}

/// `{:real, low, high}`, `{:log, low, high}`, `{:integer, low, high}`, `{:choice, count}`.
fn dimension(term: Term<'_>) -> NifResult<Dimension> {
    if let Ok((tag, count)) = term.decode::<(Atom, u32)>() {
        return if tag == names::choice() {
            Ok(Dimension::Choice(count))
        } else {
            Err(Error::BadArg)
        };
    }
    let (tag, low, high): (Atom, Term<'_>, Term<'_>) = term.decode()?;
    if tag == names::integer() {
        return Ok(Dimension::Integer {
            low: low.decode()?,
            high: high.decode()?,
        });
    }
    let log = read::word(
        tag.to_term(term.get_env()),
        &[(names::real(), false), (names::log(), true)],
    )?;
    Ok(Dimension::Real {
        low: term::number(low)?,
        high: term::number(high)?,
        log,
    })
}

/// `method, seed`: `{:ok, search}`. Methods: `{:bandit, strategy, arms}`, `{:halving, configurations, eta, budget}`,
/// `{:tpe, space}`, `{:cma_es, space}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_search_new<'a>(env: Env<'a>, method: Term<'a>, seed: u64) -> NifResult<Term<'a>> {
    let parts: Vec<Term<'a>> = term::elements(method)?.take(8).collect();
    let (name, args) = parts.split_first().ok_or(Error::BadArg)?;
    let name: Atom = name.decode()?;
    let search = match args {
        [how, arms] if name == names::bandit() => Optimiser::bandit(strategy(*how)?, arms.decode()?, seed),
        [configurations, eta, budget] if name == names::halving() => {
            Optimiser::halving(configurations.decode()?, eta.decode()?, budget.decode()?, seed)
        }
        [space] if name == names::tpe() => Optimiser::tpe(read::list(*space, dimension)?, seed),
        [space] if name == names::cma_es() => Optimiser::cma_es(read::list(*space, dimension)?, seed),
        _ => return Err(Error::BadArg),
    };
    made(env, search)
}

fn made<'a>(env: Env<'a>, search: foundation_market::Result<Optimiser>) -> NifResult<Term<'a>> {
    answer(env, search, |search| {
        Ok(handle::make(env, Search(Box::new(Mutex::new(search)))))
    })
}

fn of<'a>(search: Term<'a>) -> NifResult<&'a Mutex<Optimiser>> {
    Ok(&handle::get::<Search>(search)?.0)
}

/// `search`: `{:ok, %{id:, values:, budget:, probability:}}`, or `:none` while successive halving waits or is done.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_search_ask<'a>(env: Env<'a>, search: Term<'a>) -> NifResult<Term<'a>> {
    let Some(next) = of(search)?.lock().ask() else {
        return Ok(names::none().to_term(env));
    };
    answer(env, Ok(next), |next| {
        map(
            env,
            &[
                (names::id(), next.id.encode(env)),
                (names::values(), next.values.encode(env)),
                (names::budget(), next.budget.encode(env)),
                (names::probability(), next.probability.encode(env)),
            ],
        )
    })
}

/// `search, id, score`; a score of nil gives the suggestion up: `:ok` or `{:error, reason}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_search_tell<'a>(env: Env<'a>, search: Term<'a>, id: u64, score: Term<'a>) -> NifResult<Term<'a>> {
    let score = read::maybe(score, term::number)?;
    let mut search = of(search)?.lock();
    let told = match score {
        Some(score) => search.tell(id, score),
        None => search.abandon(id),
    };
    match told {
        Ok(()) => Ok(atoms::ok().to_term(env)),
        Err(refused) => super::answer::failure(env, refused),
    }
}

/// `search`: `{:ok, %{best: {values, score} | nil, told:, done:, arms: [{pulls, total, waiting}] | nil}}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_search_status<'a>(env: Env<'a>, search: Term<'a>) -> NifResult<Term<'a>> {
    let search = of(search)?.lock();
    let arms = match search.arms() {
        Some(arms) => all(env, arms, |arm| {
            Ok((arm.pulls, arm.total, arm.waiting).encode(env))
        })?,
        None => atoms::nil().to_term(env),
    };
    answer(env, Ok(()), |()| {
        map(
            env,
            &[
                (names::best(), maybe(env, search.best())),
                (names::told(), search.told().encode(env)),
                (names::done(), search.done().encode(env)),
                (names::arms(), arms),
            ],
        )
    })
}

/// `search`: the state as a binary.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_search_dump<'a>(env: Env<'a>, search: Term<'a>) -> NifResult<Term<'a>> {
    let bytes = of(search)?.lock().to_bytes();
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(&bytes);
    Ok(binary.into())
}

/// `state`: `{:ok, search}` or `{:error, :malformed}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_search_load<'a>(env: Env<'a>, state: Binary<'a>) -> NifResult<Term<'a>> {
    let search = if state.len() > MAX_STATE {
        Err(Refused::TooLarge("state"))
    } else {
        Optimiser::from_bytes(state.as_slice())
    };
    made(env, search)
}
