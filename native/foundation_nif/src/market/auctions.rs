//! Auctions of sealed bids, and of bundles.

use super::answer::{all, answer, map, money};
use super::{names, read};
use crate::atoms;
use foundation_market::Money;
use foundation_market::auction::{
    self, Allocation, Bid, Bidding, BundleBid, Pricing, Sale, UnitBid, UnitOutcome,
};
use rustler::{Atom, Encoder, Env, NifResult, Term};

fn bids(term: Term<'_>) -> NifResult<Vec<Bid>> {
    read::list(term, |item| {
        let (bidder, amount): (u32, i64) = item.decode()?;
        Ok(Bid {
            bidder,
            amount: Money::from_micros(amount),
        })
    })
}

pub(super) fn sale<'a>(env: Env<'a>, sale: Option<Sale>) -> NifResult<Term<'a>> {
    let Some(sale) = sale else {
        return Ok(atoms::nil().to_term(env));
    };
    map(
        env,
        &[
            (names::bid(), sale.bid.encode(env)),
            (names::bidder(), sale.bidder.encode(env)),
            (names::price(), money(env, sale.price)),
        ],
    )
}

/// `rule, reserve, bids`: `{:ok, sale | nil}` for one item, `{:ok, outcome}` for `{:uniform, units}` and
/// `{:discriminatory, units}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_sealed<'a>(env: Env<'a>, rule: Term<'a>, reserve: i64, offers: Term<'a>) -> NifResult<Term<'a>> {
    let reserve = Money::from_micros(reserve);
    if let Ok((tag, units)) = rule.decode::<(Atom, u64)>() {
        let words = [
            (names::uniform(), Pricing::Uniform),
            (names::discriminatory(), Pricing::Discriminatory),
        ];
        let pricing = read::word(tag.to_term(env), &words)?;
        let offers = read::list(offers, |item| {
            let (bidder, units, price): (u32, u64, i64) = item.decode()?;
            Ok(UnitBid {
                bidder,
                units,
                price: Money::from_micros(price),
            })
        })?;
        return answer(
            env,
            auction::multi_unit(&offers, units, reserve, pricing),
            |outcome| unit_outcome(env, &outcome),
        );
    }
    let words: [(Atom, fn(&[Bid], Money) -> Option<Sale>); 2] = [
        (names::first_price(), auction::first_price),
        (names::vickrey(), auction::vickrey),
    ];
    let rule = read::word(rule, &words)?;
    answer(env, Ok(rule(&bids(offers)?, reserve)), |found| sale(env, found))
}

fn unit_outcome<'a>(env: Env<'a>, outcome: &UnitOutcome) -> NifResult<Term<'a>> {
    let wins = all(env, &outcome.wins, |win| {
        map(
            env,
            &[
                (names::bid(), win.bid.encode(env)),
                (names::bidder(), win.bidder.encode(env)),
                (names::units(), win.units.encode(env)),
                (names::unit_price(), money(env, win.unit_price)),
                (names::total(), money(env, win.total)),
            ],
        )
    })?;
    map(
        env,
        &[
            (names::wins(), wins),
            (names::unsold(), outcome.unsold.encode(env)),
            (names::revenue(), money(env, outcome.revenue)),
        ],
    )
}

/// `bids, asks`: `{:ok, outcome}` of McAfee's double auction.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_double<'a>(env: Env<'a>, buying: Term<'a>, selling: Term<'a>) -> NifResult<Term<'a>> {
    answer(env, auction::mcafee(&bids(buying)?, &bids(selling)?), |outcome| {
        map(
            env,
            &[
                (names::buyers(), outcome.buyers.encode(env)),
                (names::sellers(), outcome.sellers.encode(env)),
                (names::buy_price(), money(env, outcome.buy_price)),
                (names::sell_price(), money(env, outcome.sell_price)),
                (names::surplus(), money(env, outcome.surplus)),
            ],
        )
    })
}

fn allocation<'a>(env: Env<'a>, found: &Allocation) -> [(Atom, Term<'a>); 6] {
    [
        (names::winners(), found.winners.encode(env)),
        (names::value(), money(env, found.value)),
        (names::bound(), money(env, found.bound)),
        (names::gap(), money(env, found.gap())),
        (names::optimal(), found.optimal().encode(env)),
        (names::nodes(), found.nodes.encode(env)),
    ]
}

/// `items, bids, :or | :xor, :first_price | :vcg, limits`: `{:ok, allocation}`, with payments for `:vcg`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_combinatorial<'a>(
    env: Env<'a>,
    items: u32,
    offers: Term<'a>,
    bidding: Term<'a>,
    rule: Term<'a>,
    limits: Term<'a>,
) -> NifResult<Term<'a>> {
    let offers = read::list(offers, |item| {
        let (bidder, items, price): (u32, Term<'a>, i64) = item.decode()?;
        Ok(BundleBid {
            bidder,
            items: read::indices(items)?,
            price: Money::from_micros(price),
        })
    })?;
    let bidding = read::word(
        bidding,
        &[(names::or(), Bidding::Or), (names::xor(), Bidding::Xor)],
    )?;
    let with_payments = read::word(rule, &[(names::first_price(), false), (names::vcg(), true)])?;
    if !with_payments {
        let found = read::limited(limits, |limits| {
            auction::determine_winners(items, &offers, bidding, limits)
        })?;
        return answer(env, found, |found| map(env, &allocation(env, &found)));
    }
    let outcome = read::limited(limits, |limits| auction::vcg(items, &offers, bidding, limits))?;
    answer(env, outcome, |outcome| {
        let payments = all(env, &outcome.payments, |payment| {
            map(
                env,
                &[
                    (names::bidder(), payment.bidder.encode(env)),
                    (names::bids(), payment.bids.encode(env)),
                    (names::offered(), money(env, payment.offered)),
                    (names::amount(), money(env, payment.amount)),
                    (names::gap(), money(env, payment.gap)),
                ],
            )
        })?;
        let mut pairs = allocation(env, &outcome.allocation).to_vec();
        pairs.push((names::payments(), payments));
        pairs.push((names::revenue(), money(env, outcome.revenue)));
        pairs.push((names::exact(), outcome.exact().encode(env)));
        map(env, &pairs)
    })
}
