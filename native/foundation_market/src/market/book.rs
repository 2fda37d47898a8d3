//! An order book with price-time priority.

use super::order::{Kind, Order, Placed, Report, SelfTrade, Side, Trade};
use super::side::{Levels, NONE, Slab};
use crate::{Error, Money, Result};
use hashbrown::HashMap;

/// The rules of a book.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BookRules {
    /// What happens when an owner meets itself.
    pub self_trade: SelfTrade,
    /// Prices are multiples of it.
    pub tick: Money,
    /// Orders that may wait at once.
    pub max_orders: usize,
}

impl Default for BookRules {
    /// Owners do not trade with themselves (the incoming order stops), any price, a million orders.
    fn default() -> Self {
        Self {
            self_trade: SelfTrade::CancelIncoming,
            tick: Money::from_micros(1),
            max_orders: 1_000_000,
        }
    }
}

/// A price level, as others may see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// The price.
    pub price: Money,
    /// How many are offered at it.
    pub quantity: u128,
    /// By how many orders.
    pub orders: u32,
}

/// An order that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resting {
    /// Its number.
    pub id: u64,
    /// Who.
    pub owner: u32,
    /// Which side.
    pub side: Side,
    /// The price.
    pub price: Money,
    /// How many are left.
    pub quantity: u64,
}

/// Orders of one thing: the best price first, and at one price the oldest first.
///
/// A call costs O(log levels), and O(1) for each order it meets.
#[derive(Debug)]
pub struct Book {
    rules: BookRules,
    slab: Slab,
    bids: Levels,
    asks: Levels,
    open: HashMap<u64, u32, ahash::RandomState>,
    last_id: u64,
}

/// The largest quantity of an order.
const MAX_QUANTITY: u64 = 1 << 58;

impl Book {
    /// An empty book.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a tick that is not above 0 or for more orders than 2^31.
    pub fn new(rules: BookRules) -> Result<Self> {
        if rules.tick <= Money::ZERO {
            return Err(Error::Invalid("tick"));
        }
        if rules.max_orders > 1 << 31 {
            return Err(Error::Invalid("max_orders"));
        }
        Ok(Self {
            rules,
            slab: Slab::default(),
            bids: Levels::new(Side::Buy),
            asks: Levels::new(Side::Sell),
            // The hash decides no order that anyone sees.
            open: HashMap::default(),
            last_id: 0,
        })
    }

    fn levels(&mut self, side: Side) -> (&mut Levels, &mut Slab) {
        match side {
            Side::Buy => (&mut self.bids, &mut self.slab),
            Side::Sell => (&mut self.asks, &mut self.slab),
        }
    }

    fn check(&self, order: &Order) -> Result<()> {
        if order.quantity == 0 || order.quantity > MAX_QUANTITY {
            return Err(Error::Invalid("quantity"));
        }
        let priced = order.kind != Kind::Market;
        if priced && (order.price <= Money::ZERO || order.price.micros() % self.rules.tick.micros() != 0) {
            return Err(Error::Invalid("price"));
        }
        Ok(())
    }

    /// Places an order. What it trades is added to the report, in order.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a quantity of 0 or above 2^58 or a price that is not above 0 or no multiple of the tick;
    /// [`Error::WouldTrade`] for a post-only order, [`Error::Unfillable`] for fill-or-kill, [`Error::Full`] for an order
    /// that might have to wait while as many as may are waiting. The book is as it was after each of them.
    pub fn place(&mut self, order: Order, report: &mut Report) -> Result<Placed> {
        self.check(&order)?;
        let waits = matches!(order.kind, Kind::Limit | Kind::PostOnly);
        if waits && self.open.len() >= self.rules.max_orders {
            return Err(Error::Full);
        }
        let limit = match (order.kind, order.side) {
            (Kind::Market, _) => i64::MAX,
            (_, Side::Buy) => order.price.micros(),
            (_, Side::Sell) => -order.price.micros(),
        };
        match order.kind {
            Kind::PostOnly if self.crosses(order.side, limit) => return Err(Error::WouldTrade),
            Kind::FillOrKill if !self.fills(&order, limit) => return Err(Error::Unfillable),
            _ => {}
        }
        self.last_id += 1;
        let id = self.last_id;
        let (left, stopped) = self.take(id, &order, limit, report);
        let (mut resting, mut dropped) = (0, 0);
        if left > 0 && waits && !stopped {
            resting = left;
            let (levels, slab) = self.levels(order.side);
            let at = levels.push(slab, id, order.owner, order.price.micros(), left);
            self.open.insert(id, at);
        } else {
            dropped = left;
        }
        Ok(Placed {
            id,
            filled: order.quantity - resting - dropped,
            resting,
            dropped,
        })
    }

    fn crosses(&mut self, side: Side, limit: i64) -> bool {
        let (levels, _) = self.levels(side.other());
        levels.best().is_some_and(|(key, _)| key <= limit)
    }

    /// Whether an order would meet more than so many others. O(`most`).
    #[must_use]
    pub fn meets_more_than(&self, order: &Order, most: u32) -> bool {
        let (levels, limit) = match (order.side, order.kind) {
            (Side::Buy, Kind::Market) => (&self.asks, i64::MAX),
            (Side::Buy, _) => (&self.asks, order.price.micros()),
            (Side::Sell, Kind::Market) => (&self.bids, i64::MAX),
            (Side::Sell, _) => (&self.bids, order.price.micros().saturating_neg()),
        };
        let (mut met, mut left) = (0, order.quantity);
        for (price, level) in levels.iter() {
            if levels.key(price) > limit {
                return false;
            }
            let mut at = level.first;
            while at != NONE {
                met += 1;
                if met > most {
                    return true;
                }
                let slot = self.slab.get(at);
                if slot.owner != order.owner {
                    left = left.saturating_sub(slot.quantity);
                }
                if left == 0 {
                    return false;
                }
                at = self.slab.next(at);
            }
        }
        false
    }

    /// Whether the whole order would trade.
    fn fills(&mut self, order: &Order, limit: i64) -> bool {
        let rule = self.rules.self_trade;
        let (levels, slab) = self.levels(order.side.other());
        let mut left = u128::from(order.quantity);
        for (price, level) in levels.iter() {
            if levels.key(price) > limit {
                return false;
            }
            if rule == SelfTrade::Allow && level.quantity < left {
                left -= level.quantity;
                continue;
            }
            let mut at = level.first;
            while at != NONE {
                let slot = slab.get(at);
                let own = slot.owner == order.owner && rule != SelfTrade::Allow;
                if own && rule != SelfTrade::CancelResting {
                    return false;
                }
                if !own {
                    left = left.saturating_sub(u128::from(slot.quantity));
                }
                if left == 0 {
                    return true;
                }
                at = slab.next(at);
            }
        }
        false
    }

    /// Trades as much as it may. Answers what is left, and whether the rule on self-trades has ended the order.
    fn take(&mut self, id: u64, order: &Order, limit: i64, report: &mut Report) -> (u64, bool) {
        let rule = self.rules.self_trade;
        let mut left = order.quantity;
        while left > 0 {
            let (levels, slab) = match order.side {
                Side::Buy => (&mut self.asks, &mut self.slab),
                Side::Sell => (&mut self.bids, &mut self.slab),
            };
            let Some((_, level)) = levels.best().filter(|(key, _)| *key <= limit) else {
                break;
            };
            let maker = *slab.get(level.first);
            if maker.owner == order.owner && rule != SelfTrade::Allow {
                if rule != SelfTrade::CancelIncoming {
                    levels.reduce(slab, level.first, maker.quantity);
                    self.open.remove(&maker.id);
                    report.cancelled.push(maker.id);
                }
                if rule != SelfTrade::CancelResting {
                    return (left, true);
                }
                continue;
            }
            let quantity = left.min(maker.quantity);
            let maker_done = levels.reduce(slab, level.first, quantity);
            if maker_done {
                self.open.remove(&maker.id);
            }
            left -= quantity;
            report.trades.push(Trade {
                maker: maker.id,
                maker_owner: maker.owner,
                taker: id,
                taker_owner: order.owner,
                price: Money::from_micros(maker.price),
                quantity,
                maker_done,
            });
        }
        (left, false)
    }

    /// Takes a waiting order out of the book; answers it. Only its owner may.
    ///
    /// # Errors
    /// [`Error::NotFound`] for an order that does not wait or is another owner's.
    pub fn cancel(&mut self, id: u64, owner: u32) -> Result<Resting> {
        let order = self.order(id).filter(|order| order.owner == owner);
        let order = order.ok_or(Error::NotFound)?;
        let Some(at) = self.open.remove(&id) else {
            return Err(Error::NotFound);
        };
        let (levels, slab) = self.levels(order.side);
        levels.reduce(slab, at, order.quantity);
        Ok(order)
    }

    /// Changes a waiting order's price and quantity. Less at the same price keeps its number and its place; anything
    /// else is a new limit order, which may trade at once.
    ///
    /// # Errors
    /// [`Error::NotFound`] as [`Self::cancel`]; [`Error::Invalid`] as [`Self::place`]. The order is as it was after
    /// each of them.
    pub fn replace(
        &mut self,
        id: u64,
        owner: u32,
        price: Money,
        quantity: u64,
        report: &mut Report,
    ) -> Result<Placed> {
        let old = self.order(id).filter(|order| order.owner == owner);
        let old = old.ok_or(Error::NotFound)?;
        let order = Order {
            owner,
            side: old.side,
            kind: Kind::Limit,
            price,
            quantity,
        };
        self.check(&order)?;
        if price == old.price && quantity <= old.quantity {
            if let Some(&at) = self.open.get(&id) {
                let (levels, slab) = self.levels(old.side);
                if quantity < old.quantity {
                    levels.reduce(slab, at, old.quantity - quantity);
                }
            }
            return Ok(Placed {
                id,
                filled: 0,
                resting: quantity,
                dropped: 0,
            });
        }
        self.cancel(id, owner)?;
        self.place(order, report)
    }

    /// A waiting order.
    #[must_use]
    pub fn order(&self, id: u64) -> Option<Resting> {
        let slot = self.slab.get(*self.open.get(&id)?);
        Some(Resting {
            id,
            owner: slot.owner,
            side: slot.side,
            price: Money::from_micros(slot.price),
            quantity: slot.quantity,
        })
    }

    /// The best levels of a side, the best first.
    #[must_use]
    pub fn depth(&self, side: Side, levels: usize) -> Vec<Depth> {
        let all = match side {
            Side::Buy => &self.bids,
            Side::Sell => &self.asks,
        };
        let seen = all.iter().take(levels).map(|(price, level)| Depth {
            price: Money::from_micros(price),
            quantity: level.quantity,
            orders: level.orders,
        });
        seen.collect()
    }

    /// The best price of a side.
    #[must_use]
    pub fn best(&self, side: Side) -> Option<Money> {
        self.depth(side, 1).first().map(|level| level.price)
    }

    /// How many orders wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no order waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}
