//! Machines whose state is a binary: an event comes in, the next state goes out. A cluster can replicate them.

use super::answer::{answer, failure, map, maybe, money, moneys};
use super::auctions::sale;
use super::{names, read};
use crate::{atoms, term};
use foundation_market::auction::{Bid, Dutch, DutchRules, English, EnglishRules, Rule, Sealed};
use foundation_market::game::ShapleySampler;
use foundation_market::market::Lmsr;
use foundation_market::negotiation::{AlternatingOffers, Turn};
use foundation_market::{Error as Refused, Money, Result, State};
use rustler::{Atom, Binary, Encoder, Env, Error, NewBinary, NifResult, Term};

/// Bytes of a state.
const MAX_STATE: usize = 64 << 20;

fn binary<'a>(env: Env<'a>, state: &impl State) -> Term<'a> {
    let bytes = state.to_bytes();
    let mut binary = NewBinary::new(env, bytes.len());
    binary.as_mut_slice().copy_from_slice(&bytes);
    binary.into()
}

fn state<S: State>(bytes: &Binary<'_>) -> Result<S> {
    if bytes.len() > MAX_STATE {
        return Err(Refused::TooLarge("state"));
    }
    S::from_bytes(bytes.as_slice())
}

/// The parts of a tuple that begins with a word.
fn parts<'a>(tuple: Term<'a>) -> NifResult<(Atom, Vec<Term<'a>>)> {
    let mut items: Vec<Term<'a>> = term::elements(tuple)?.take(8).collect();
    if items.is_empty() {
        return Err(Error::BadArg);
    }
    Ok((items.remove(0).decode()?, items))
}

/// A description of a machine: `{:ok, state}`.
///
/// `{:sealed, :first_price | :vickrey, reserve, closes_at | nil}`, `{:english, start, reserve, increment, closes_at,
/// extend_ms}`, `{:dutch, start, reserve, decrement, interval_ms, opens_at}`, `{:lmsr, outcomes, liquidity}`,
/// `{:alternating_offers, amount, rounds}`, `{:shapley, players, low, high, seed}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_open<'a>(env: Env<'a>, description: Term<'a>) -> NifResult<Term<'a>> {
    let (kind, args) = parts(description)?;
    let opened = match args.as_slice() {
        [rule, reserve, closes_at] if kind == names::sealed() => {
            let rules = [
                (names::first_price(), Rule::FirstPrice),
                (names::vickrey(), Rule::Vickrey),
            ];
            let closes_at = read::maybe(*closes_at, |term| term.decode())?;
            Sealed::open(read::word(*rule, &rules)?, read::money(*reserve)?, closes_at)
                .map(|it| binary(env, &it))
        }
        [start, reserve, increment, closes_at, extend_ms] if kind == names::english() => {
            let rules = EnglishRules {
                start: read::money(*start)?,
                reserve: read::money(*reserve)?,
                increment: read::money(*increment)?,
                closes_at: closes_at.decode()?,
                extend_ms: extend_ms.decode()?,
            };
            English::open(rules).map(|it| binary(env, &it))
        }
        [start, reserve, decrement, interval_ms, opens_at] if kind == names::dutch() => {
            let rules = DutchRules {
                start: read::money(*start)?,
                reserve: read::money(*reserve)?,
                decrement: read::money(*decrement)?,
                interval_ms: interval_ms.decode()?,
                opens_at: opens_at.decode()?,
            };
            Dutch::open(rules).map(|it| binary(env, &it))
        }
        [outcomes, liquidity] if kind == names::lmsr() => {
            Lmsr::new(outcomes.decode()?, read::money(*liquidity)?).map(|it| binary(env, &it))
        }
        [amount, rounds] if kind == names::alternating_offers() => {
            AlternatingOffers::new(read::money(*amount)?, rounds.decode()?).map(|it| binary(env, &it))
        }
        [players, low, high, seed] if kind == names::shapley() => {
            let (low, high) = (term::number(*low)?, term::number(*high)?);
            ShapleySampler::new(players.decode()?, low, high, seed.decode()?).map(|it| binary(env, &it))
        }
        _ => return Err(Error::BadArg),
    };
    answer(env, opened, Ok)
}

/// `kind, state, event`: `{:ok, state, answer}` or `{:error, reason}`.
#[rustler::nif(schedule = "DirtyCpu")]
fn market_event<'a>(env: Env<'a>, kind: Atom, bytes: Binary<'a>, event: Term<'a>) -> NifResult<Term<'a>> {
    let (name, args) = parts(event)?;
    let run: Run<'a> = Run { env, name, args };
    let done = if kind == names::sealed() {
        run.on(&bytes, Run::sealed)?
    } else if kind == names::english() {
        run.on(&bytes, Run::english)?
    } else if kind == names::dutch() {
        run.on(&bytes, Run::dutch)?
    } else if kind == names::lmsr() {
        run.on(&bytes, Run::lmsr)?
    } else if kind == names::alternating_offers() {
        run.on(&bytes, Run::offers)?
    } else if kind == names::shapley() {
        run.on(&bytes, Run::shapley)?
    } else {
        return Err(Error::BadArg);
    };
    match done {
        Ok((state, value)) => Ok((atoms::ok(), state, value).encode(env)),
        Err(refused) => failure(env, refused),
    }
}

/// An event on its way into a machine.
struct Run<'a> {
    env: Env<'a>,
    name: Atom,
    args: Vec<Term<'a>>,
}

/// What a machine answers, or why it does not.
type Done<'a> = NifResult<Result<Term<'a>>>;

impl<'a> Run<'a> {
    fn on<S: State>(
        &self,
        bytes: &Binary<'a>,
        apply: fn(&Self, &mut S) -> Done<'a>,
    ) -> NifResult<Result<(Term<'a>, Term<'a>)>> {
        let mut machine = match state::<S>(bytes) {
            Ok(machine) => machine,
            Err(refused) => return Ok(Err(refused)),
        };
        let answer = apply(self, &mut machine)?;
        Ok(answer.map(|answer| (binary(self.env, &machine), answer)))
    }

    fn ok(&self) -> Term<'a> {
        atoms::ok().to_term(self.env)
    }

    fn tick(&self, tick: impl FnOnce(u64) -> bool, now: Term<'a>) -> Done<'a> {
        Ok(Ok(tick(now.decode()?).encode(self.env)))
    }

    fn sold(&self, closed: Option<foundation_market::auction::Sale>) -> Done<'a> {
        Ok(Ok(sale(self.env, closed)?))
    }

    /// `{:bid, now, bidder, amount}`: `:ok`; `{:tick, now}`: closed or not; `{:close}`: sale or nil.
    fn sealed(&self, machine: &mut Sealed) -> Done<'a> {
        match self.args.as_slice() {
            [now, bidder, amount] if self.name == names::bid() => {
                let bid = Bid {
                    bidder: bidder.decode()?,
                    amount: read::money(*amount)?,
                };
                Ok(machine.bid(now.decode()?, bid).map(|()| self.ok()))
            }
            [now] if self.name == names::tick() => self.tick(|now| machine.tick(now), *now),
            [] if self.name == names::close() => self.sold(machine.close()),
            _ => Err(Error::BadArg),
        }
    }

    /// `{:bid, now, bidder, amount}`: when it ends now; `{:tick, now}`; `{:close}`; `{:status}`: the least next bid and
    /// all bids.
    fn english(&self, machine: &mut English) -> Done<'a> {
        let env = self.env;
        match self.args.as_slice() {
            [now, bidder, amount] if self.name == names::bid() => {
                let bid = Bid {
                    bidder: bidder.decode()?,
                    amount: read::money(*amount)?,
                };
                Ok(machine.bid(now.decode()?, bid).map(|ends| ends.encode(env)))
            }
            [now] if self.name == names::tick() => self.tick(|now| machine.tick(now), *now),
            [] if self.name == names::close() => self.sold(machine.close()),
            [] if self.name == names::status() => {
                let bids: Vec<(u32, i64)> = machine
                    .bids()
                    .iter()
                    .map(|bid| (bid.bidder, bid.amount.micros()))
                    .collect();
                let asking = match machine.asking() {
                    Ok(asking) => money(env, asking),
                    Err(refused) => return Ok(Err(refused)),
                };
                Ok(Ok(map(
                    env,
                    &[(names::asking(), asking), (names::bids(), bids.encode(env))],
                )?))
            }
            _ => Err(Error::BadArg),
        }
    }

    /// `{:price, now}`: the price or nil; `{:accept, now, bidder}`: the sale; `{:tick, now}`; `{:close}`.
    fn dutch(&self, machine: &mut Dutch) -> Done<'a> {
        match self.args.as_slice() {
            [now] if self.name == names::price() => Ok(Ok(maybe(
                self.env,
                machine.price_at(now.decode()?).map(Money::micros),
            ))),
            [now, bidder] if self.name == names::accept() => {
                match machine.accept(now.decode()?, bidder.decode()?) {
                    Ok(done) => self.sold(Some(done)),
                    Err(refused) => Ok(Err(refused)),
                }
            }
            [now] if self.name == names::tick() => self.tick(|now| machine.tick(now), *now),
            [] if self.name == names::close() => self.sold(machine.close()),
            _ => Err(Error::BadArg),
        }
    }

    /// `{:quote, change}` and `{:trade, change}`: the cost; `{:loss, outcome}`; `{:status}`.
    fn lmsr(&self, machine: &mut Lmsr) -> Done<'a> {
        let env = self.env;
        match self.args.as_slice() {
            [change] if self.name == names::quote() => Ok(machine
                .quote(&read::moneys(*change)?)
                .map(|cost| money(env, cost))),
            [change] if self.name == names::trade() => Ok(machine
                .trade(&read::moneys(*change)?)
                .map(|cost| money(env, cost))),
            [outcome] if self.name == names::loss() => {
                Ok(machine.loss(outcome.decode()?).map(|loss| money(env, loss)))
            }
            [] if self.name == names::status() => {
                let most = match machine.max_loss() {
                    Ok(most) => money(env, most),
                    Err(refused) => return Ok(Err(refused)),
                };
                let pairs = [
                    (names::prices(), machine.prices().encode(env)),
                    (names::sold(), moneys(env, machine.sold())),
                    (names::collected(), money(env, machine.collected())),
                    (names::max_loss(), most),
                ];
                Ok(Ok(map(env, &pairs)?))
            }
            _ => Err(Error::BadArg),
        }
    }

    fn turn(&self, turn: Turn) -> Term<'a> {
        match turn {
            Turn::Offer(party) => (names::offer(), party).encode(self.env),
            Turn::Answer(party) => (names::answer(), party).encode(self.env),
            Turn::Over => names::over().to_term(self.env),
        }
    }

    /// `{:offer, party, keep}`, `{:accept, party}`, `{:reject, party}`: whose turn it is; `{:status}`.
    fn offers(&self, machine: &mut AlternatingOffers) -> Done<'a> {
        let env = self.env;
        match self.args.as_slice() {
            [party, keep] if self.name == names::offer() => {
                let done = machine.offer(party.decode()?, read::money(*keep)?);
                Ok(done.map(|()| self.turn(machine.turn())))
            }
            [party] if self.name == names::accept() || self.name == names::reject() => {
                let accept = self.name == names::accept();
                Ok(machine
                    .answer(party.decode()?, accept)
                    .map(|turn| self.turn(turn)))
            }
            [] if self.name == names::status() => {
                let agreed = machine.agreement();
                let shares = agreed.map(|agreed| agreed.shares).or_else(|| machine.offered());
                let shares = shares.map(|[a, b]| (a.micros(), b.micros()));
                let pairs = [
                    (names::turn(), self.turn(machine.turn())),
                    (names::shares(), maybe(env, shares)),
                    (names::agreement(), agreed.is_some().encode(env)),
                    (names::round(), maybe(env, agreed.map(|agreed| agreed.round))),
                ];
                Ok(Ok(map(env, &pairs)?))
            }
            _ => Err(Error::BadArg),
        }
    }

    /// `{:order}`: an order of arrival; `{:report, order, added}`: how many were reported; `{:estimate, delta}`: of each
    /// player `{share, within}`.
    fn shapley(&self, machine: &mut ShapleySampler) -> Done<'a> {
        let env = self.env;
        match self.args.as_slice() {
            [] if self.name == names::order() => Ok(Ok(machine.order().encode(env))),
            [order, added] if self.name == names::report() => {
                let done = machine.report(&read::indices(*order)?, &read::numbers(*added)?);
                Ok(done.map(|()| machine.orders().encode(env)))
            }
            [delta] if self.name == names::estimate() => {
                let shares = machine.estimate(term::number(*delta)?);
                Ok(shares.map(|shares| {
                    let pairs: Vec<(f64, f64)> =
                        shares.iter().map(|share| (share.share, share.within)).collect();
                    pairs.encode(env)
                }))
            }
            _ => Err(Error::BadArg),
        }
    }
}
