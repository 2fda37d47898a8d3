//! The order book's handle.

use super::answer::{all, answer, failure, map, money};
use super::{names, read};
use crate::atoms;
use crate::handle::{self, fast_nif, held};
use foundation_market::Money;
use foundation_market::market::{Book, BookRules, Kind, Order, Placed, Report, SelfTrade, Side};
use parking_lot::Mutex;
use rustler::{Atom, Encoder, Env, NifResult, Term};
use std::time::Duration;

/// A book, and a buffer for what an order does.
pub(super) struct OrderBook(Mutex<(Book, Report)>);

held!(OrderBook, c"foundation_market_book");

impl std::panic::RefUnwindSafe for OrderBook {}

/// How long a call on a normal scheduler waits for the book.
const PATIENCE: Duration = Duration::from_micros(20);
/// Orders that an order on a normal scheduler may meet.
const MAX_MET: u32 = 256;
/// Levels of one answer.
const MAX_LEVELS: usize = 100;

/// `self_trade, tick, max_orders`: `{:ok, book}`.
#[rustler::nif]
fn market_book_new<'a>(env: Env<'a>, rule: Term<'a>, tick: i64, max_orders: usize) -> NifResult<Term<'a>> {
    let words = [
        (names::allow(), SelfTrade::Allow),
        (names::cancel_incoming(), SelfTrade::CancelIncoming),
        (names::cancel_resting(), SelfTrade::CancelResting),
        (names::cancel_both(), SelfTrade::CancelBoth),
    ];
    let rules = BookRules {
        self_trade: read::word(rule, &words)?,
        tick: Money::from_micros(tick),
        max_orders,
    };
    answer(env, Book::new(rules), |book| {
        Ok(handle::make(
            env,
            OrderBook(Mutex::new((book, Report::default()))),
        ))
    })
}

fn side(term: Term<'_>) -> NifResult<Side> {
    read::word(term, &[(names::buy(), Side::Buy), (names::sell(), Side::Sell)])
}

fn order(
    owner: Term<'_>,
    sided: Term<'_>,
    kind: Term<'_>,
    price: Term<'_>,
    quantity: Term<'_>,
) -> NifResult<Order> {
    let kinds = [
        (names::limit(), Kind::Limit),
        (names::market(), Kind::Market),
        (names::ioc(), Kind::ImmediateOrCancel),
        (names::fok(), Kind::FillOrKill),
        (names::post_only(), Kind::PostOnly),
    ];
    Ok(Order {
        owner: owner.decode()?,
        side: side(sided)?,
        kind: read::word(kind, &kinds)?,
        price: read::money(price)?,
        quantity: quantity.decode()?,
    })
}

/// `{id, filled, resting, dropped, trades, cancelled}`.
fn placed<'a>(env: Env<'a>, placed: Placed, report: &Report) -> Term<'a> {
    let trades: Vec<(u64, u32, i64, u64, bool)> = report
        .trades
        .iter()
        .map(|trade| {
            (
                trade.maker,
                trade.maker_owner,
                trade.price.micros(),
                trade.quantity,
                trade.maker_done,
            )
        })
        .collect();
    let Placed {
        id,
        filled,
        resting,
        dropped,
    } = placed;
    (id, filled, resting, dropped, trades, &report.cancelled).encode(env)
}

fast_nif!("market_book_place", 6, place_brief, large: "market_book_place_large", place_large);

/// `book, owner, side, kind, price, quantity`: `{:ok, {id, filled, resting, dropped, trades, cancelled}}`; `:dirty` when
/// the order may meet too many others for a normal scheduler, or someone else holds the book: nothing was done.
fn place_brief<'a>(
    env: Env<'a>,
    [book, owner, side, kind, price, quantity]: [Term<'a>; 6],
) -> NifResult<Term<'a>> {
    let order = order(owner, side, kind, price, quantity)?;
    let Some(mut held) = handle::get::<OrderBook>(book)?.0.try_lock_for(PATIENCE) else {
        return Ok(names::dirty().to_term(env));
    };
    if held.0.meets_more_than(&order, MAX_MET) {
        return Ok(names::dirty().to_term(env));
    }
    place(env, &mut held, order)
}

/// The same, of any size.
fn place_large<'a>(
    env: Env<'a>,
    [book, owner, side, kind, price, quantity]: [Term<'a>; 6],
) -> NifResult<Term<'a>> {
    let order = order(owner, side, kind, price, quantity)?;
    place(env, &mut handle::get::<OrderBook>(book)?.0.lock(), order)
}

fn place<'a>(env: Env<'a>, held: &mut (Book, Report), order: Order) -> NifResult<Term<'a>> {
    let (book, report) = held;
    report.clear();
    match book.place(order, report) {
        Ok(done) => Ok((atoms::ok(), placed(env, done, report)).encode(env)),
        Err(refused) => failure(env, refused),
    }
}

/// `book, orders`: `{:ok, answers}`, one for each order, in order.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_book_place_all<'a>(env: Env<'a>, book: Term<'a>, orders: Term<'a>) -> NifResult<Term<'a>> {
    let orders = read::list(orders, |item| {
        let (owner, side, kind, price, quantity) = item.decode()?;
        order(owner, side, kind, price, quantity)
    })?;
    let book = handle::get::<OrderBook>(book)?;
    let answers = all(env, orders, |order| place(env, &mut book.0.lock(), order))?;
    Ok((atoms::ok(), answers).encode(env))
}

fn resting<'a>(env: Env<'a>, order: &foundation_market::market::Resting) -> Term<'a> {
    let side: Atom = if order.side == Side::Buy {
        names::buy()
    } else {
        names::sell()
    };
    (order.id, order.owner, side, order.price.micros(), order.quantity).encode(env)
}

fast_nif!("market_book_cancel", 3, cancel);

/// `book, id, owner`: `{:ok, {id, owner, side, price, quantity}}`; `{:error, :busy}`.
fn cancel<'a>(env: Env<'a>, [book, id, owner]: [Term<'a>; 3]) -> NifResult<Term<'a>> {
    let (id, owner) = (id.decode()?, owner.decode()?);
    let Some(mut held) = handle::get::<OrderBook>(book)?.0.try_lock_for(PATIENCE) else {
        return Ok((atoms::error(), atoms::busy()).encode(env));
    };
    answer(env, held.0.cancel(id, owner), |order| Ok(resting(env, &order)))
}

/// `book, id, owner, price, quantity`: as `market_book_place_large`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_book_replace<'a>(
    env: Env<'a>,
    book: Term<'a>,
    id: u64,
    owner: u32,
    price: i64,
    quantity: u64,
) -> NifResult<Term<'a>> {
    let mut held = handle::get::<OrderBook>(book)?.0.lock();
    let (book, report) = &mut *held;
    report.clear();
    let done = book.replace(id, owner, Money::from_micros(price), quantity, report);
    answer(env, done, |done| Ok(placed(env, done, report)))
}

fast_nif!("market_book_order", 2, one);

/// `book, id`: `{:ok, {id, owner, side, price, quantity}}`; `{:error, :not_found | :busy}`.
fn one<'a>(env: Env<'a>, [book, id]: [Term<'a>; 2]) -> NifResult<Term<'a>> {
    let id = id.decode()?;
    let Some(held) = handle::get::<OrderBook>(book)?.0.try_lock_for(PATIENCE) else {
        return Ok((atoms::error(), atoms::busy()).encode(env));
    };
    let found = held.0.order(id).ok_or(foundation_market::Error::NotFound);
    answer(env, found, |order| Ok(resting(env, &order)))
}

fast_nif!("market_book_depth", 2, depth);

/// `book, levels` (at most 100): `{:ok, %{bids: [{price, quantity, orders}], asks: …, orders: n}}`; `{:error, :busy}`.
fn depth<'a>(env: Env<'a>, [book, levels]: [Term<'a>; 2]) -> NifResult<Term<'a>> {
    let levels: usize = levels.decode()?;
    let Some(held) = handle::get::<OrderBook>(book)?.0.try_lock_for(PATIENCE) else {
        return Ok((atoms::error(), atoms::busy()).encode(env));
    };
    let of = |side| {
        all(env, held.0.depth(side, levels.min(MAX_LEVELS)), |level| {
            let quantity = u64::try_from(level.quantity).unwrap_or(u64::MAX);
            Ok((money(env, level.price), quantity, level.orders).encode(env))
        })
    };
    let pairs = [
        (names::bids(), of(Side::Buy)?),
        (names::asks(), of(Side::Sell)?),
        (names::orders(), held.0.len().encode(env)),
    ];
    answer(env, Ok(()), |()| map(env, &pairs))
}
