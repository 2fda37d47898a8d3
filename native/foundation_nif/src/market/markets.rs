//! Call auctions and equilibrium prices.

use super::answer::{all, answer, map, maybe};
use super::{names, read};
use crate::term;
use foundation_market::Money;
use foundation_market::market::{self, CallOrder, Search, Side, Trader};
use rustler::{Encoder, Env, NifResult, Term};

/// `orders, reference | nil`: `{:ok, clearing}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_call<'a>(env: Env<'a>, orders: Term<'a>, reference: Term<'a>) -> NifResult<Term<'a>> {
    let sides = [(names::buy(), Side::Buy), (names::sell(), Side::Sell)];
    let orders = read::list(orders, |item| {
        let (owner, side, price, quantity): (u32, Term<'a>, i64, u64) = item.decode()?;
        Ok(CallOrder {
            owner,
            side: read::word(side, &sides)?,
            price: Money::from_micros(price),
            quantity,
        })
    })?;
    let cleared = market::clear(&orders, read::maybe(reference, read::money)?);
    answer(env, cleared, |cleared| {
        let fills: Vec<(usize, u32, u64)> = cleared
            .fills
            .iter()
            .map(|fill| (fill.order, fill.owner, fill.quantity))
            .collect();
        // A million orders of at most 2^58 differ by less than 2^78; what 64 bits cannot hold is cut.
        let imbalance = cleared.imbalance.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        map(
            env,
            &[
                (names::price(), maybe(env, cleared.price.map(Money::micros))),
                (names::volume(), cleared.volume.encode(env)),
                (names::imbalance(), imbalance.encode(env)),
                (names::fills(), fills.encode(env)),
            ],
        )
    })
}

/// `traders, tolerance, max_rounds, limits`: `{:ok, equilibrium}`; a trader is `{endowment, weights, elasticity}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_equilibrium<'a>(
    env: Env<'a>,
    traders: Term<'a>,
    tolerance: Term<'a>,
    max_rounds: u32,
    limits: Term<'a>,
) -> NifResult<Term<'a>> {
    let traders = read::list(traders, |item| {
        let (endowment, weights, elasticity): (Term<'a>, Term<'a>, Term<'a>) = item.decode()?;
        Ok(Trader {
            endowment: read::numbers(endowment)?,
            weights: read::numbers(weights)?,
            elasticity: term::number(elasticity)?,
        })
    })?;
    let search = Search {
        tolerance: term::number(tolerance)?,
        max_rounds,
    };
    let found = read::limited(limits, |limits| market::equilibrium(&traders, search, limits))?;
    answer(env, found, |found| {
        let demand = all(env, &found.demand, |taken| Ok(taken.encode(env)))?;
        map(
            env,
            &[
                (names::cleared(), found.cleared.encode(env)),
                (names::prices(), found.prices.encode(env)),
                (names::demand(), demand),
                (names::residual(), found.residual.encode(env)),
                (names::rounds(), found.rounds.encode(env)),
            ],
        )
    })
}
