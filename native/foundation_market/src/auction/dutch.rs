//! The open descending auction.

use super::sealed::Sale;
use crate::{Error, Money, Result, State};
use serde::{Deserialize, Serialize};

/// The rules of a descending auction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DutchRules {
    /// The first price.
    pub start: Money,
    /// The last price; after it, nothing is sold.
    pub reserve: Money,
    /// What is taken off each time; the last step may be a smaller one.
    pub decrement: Money,
    /// How long each price stands, in milliseconds.
    pub interval_ms: u64,
    /// When the first price is called, in the caller's milliseconds.
    pub opens_at: u64,
}

/// A descending auction: the first to accept buys, at the price that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dutch {
    rules: DutchRules,
    sale: Option<Sale>,
    closed: bool,
}

impl Dutch {
    /// An open auction.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a reserve below 0 or above the start, or a decrement or interval that is not above 0.
    pub fn open(rules: DutchRules) -> Result<Self> {
        if rules.reserve < Money::ZERO || rules.reserve > rules.start {
            return Err(Error::Invalid("reserve"));
        }
        if rules.decrement <= Money::ZERO {
            return Err(Error::Invalid("decrement"));
        }
        if rules.interval_ms == 0 {
            return Err(Error::Invalid("interval_ms"));
        }
        Ok(Self {
            rules,
            sale: None,
            closed: false,
        })
    }

    /// The price that stands at a time; none before the start and after the last price's interval.
    #[must_use]
    pub fn price_at(&self, now: u64) -> Option<Money> {
        let since = now.checked_sub(self.rules.opens_at)?;
        let steps = i128::from(since / self.rules.interval_ms);
        let (start, reserve) = (self.rules.start.micros(), self.rules.reserve.micros());
        let decrement = i128::from(self.rules.decrement.micros());
        let range = i128::from(start) - i128::from(reserve);
        let last = (range + decrement - 1) / decrement;
        if steps > last {
            return None;
        }
        let off = (steps * decrement).min(range);
        Money::from_wide(i128::from(start) - off).ok()
    }

    /// Buys at the price that stands.
    ///
    /// # Errors
    /// [`Error::Closed`], also before it has opened.
    pub fn accept(&mut self, now: u64, bidder: u32) -> Result<Sale> {
        if self.tick(now) {
            return Err(Error::Closed);
        }
        let price = self.price_at(now).ok_or(Error::Closed)?;
        let sale = Sale {
            bid: 0,
            bidder,
            price,
        };
        self.sale = Some(sale);
        self.closed = true;
        Ok(sale)
    }

    /// Lets time pass; true once it is closed.
    pub fn tick(&mut self, now: u64) -> bool {
        self.closed |= now >= self.rules.opens_at && self.price_at(now).is_none();
        self.closed
    }

    /// Ends it; the sale, when there was one.
    pub fn close(&mut self) -> Option<Sale> {
        self.closed = true;
        self.sale
    }
}

impl State for Dutch {
    const TAG: u8 = 4;

    fn sound(&self) -> bool {
        Self::open(self.rules).is_ok() && (self.sale.is_none() || self.closed)
    }
}
