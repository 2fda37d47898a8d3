//! What traders say, and what the book answers.

use crate::Money;
use serde::{Deserialize, Serialize};

/// Which side of the market.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Side {
    /// Bids.
    Buy,
    /// Asks.
    Sell,
}

impl Side {
    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

/// How an order is to be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// At the price or better; the rest waits in the book.
    Limit,
    /// At any price; the rest is dropped. The order's price is not looked at.
    Market,
    /// At the price or better; the rest is dropped.
    ImmediateOrCancel,
    /// All of it at the price or better, or nothing.
    FillOrKill,
    /// Waits in the book; refused when it would trade at once.
    PostOnly,
}

/// What happens when an order meets one of the same owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelfTrade {
    /// They trade.
    Allow,
    /// The rest of the incoming order is dropped.
    CancelIncoming,
    /// The waiting order is dropped, and the incoming one goes on.
    CancelResting,
    /// Both are dropped.
    CancelBoth,
}

/// An order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Who.
    pub owner: u32,
    /// Buys or sells.
    pub side: Side,
    /// How.
    pub kind: Kind,
    /// The worst price that is accepted.
    pub price: Money,
    /// How many; at least 1.
    pub quantity: u64,
}

/// Two orders met, at the price of the one that waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trade {
    /// The order that waited.
    pub maker: u64,
    /// Its owner.
    pub maker_owner: u32,
    /// The order that came.
    pub taker: u64,
    /// Its owner.
    pub taker_owner: u32,
    /// The price of each.
    pub price: Money,
    /// How many.
    pub quantity: u64,
    /// Whether the waiting order is used up.
    pub maker_done: bool,
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The order's number: 1, 2, 3, in the order of arrival.
    pub id: u64,
    /// How many were traded at once.
    pub filled: u64,
    /// How many wait in the book.
    pub resting: u64,
    /// How many were dropped.
    pub dropped: u64,
}

/// What an order has done to others; a buffer that can be used again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The trades, in order.
    pub trades: Vec<Trade>,
    /// The waiting orders that the rule on self-trades has dropped.
    pub cancelled: Vec<u64>,
}

impl Report {
    /// Empties it.
    pub fn clear(&mut self) {
        self.trades.clear();
        self.cancelled.clear();
    }
}
