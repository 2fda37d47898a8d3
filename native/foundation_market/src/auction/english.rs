//! The open ascending auction.

use super::sealed::{Bid, Sale};
use crate::{Error, Money, Result, State};
use serde::{Deserialize, Serialize};

/// The rules of an ascending auction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnglishRules {
    /// The least that the first bid must offer.
    pub start: Money,
    /// What the last bid must have reached, or nothing is sold. Bidders are not told.
    pub reserve: Money,
    /// By how much a bid must exceed the one before.
    pub increment: Money,
    /// When it ends, in the caller's milliseconds.
    pub closes_at: u64,
    /// A bid in the last so many milliseconds moves the end to so long after it; 0 for never.
    pub extend_ms: u64,
}

/// An ascending auction. The last bid stands; nobody outbids themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct English {
    rules: EnglishRules,
    closes_at: u64,
    bids: Vec<Bid>,
    closed: bool,
}

impl English {
    /// An open auction.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a start or reserve below 0 or an increment that is not above 0.
    pub fn open(rules: EnglishRules) -> Result<Self> {
        if rules.start < Money::ZERO || rules.reserve < Money::ZERO {
            return Err(Error::Invalid("reserve"));
        }
        if rules.increment <= Money::ZERO {
            return Err(Error::Invalid("increment"));
        }
        Ok(Self {
            rules,
            closes_at: rules.closes_at,
            bids: Vec::new(),
            closed: false,
        })
    }

    /// The least that the next bid must offer.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn asking(&self) -> Result<Money> {
        match self.bids.last() {
            None => Ok(self.rules.start),
            Some(top) => top.amount.plus(self.rules.increment),
        }
    }

    /// Takes a bid; answers when the auction ends now.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::TooLow`]; [`Error::NotYourTurn`] for the one who leads already; [`Error::Overflow`].
    pub fn bid(&mut self, now: u64, bid: Bid) -> Result<u64> {
        if self.tick(now) {
            return Err(Error::Closed);
        }
        if self.bids.last().is_some_and(|top| top.bidder == bid.bidder) {
            return Err(Error::NotYourTurn);
        }
        if bid.amount < self.asking()? {
            return Err(Error::TooLow);
        }
        self.bids.push(bid);
        if self.rules.extend_ms > 0 && self.closes_at.saturating_sub(now) < self.rules.extend_ms {
            self.closes_at = now.saturating_add(self.rules.extend_ms);
        }
        Ok(self.closes_at)
    }

    /// Lets time pass; true once it is closed.
    pub fn tick(&mut self, now: u64) -> bool {
        self.closed |= now >= self.closes_at;
        self.closed
    }

    /// Ends it: the last bid buys at its amount, when that is the reserve price or more.
    pub fn close(&mut self) -> Option<Sale> {
        self.closed = true;
        let top = self.bids.last()?;
        (top.amount >= self.rules.reserve).then(|| Sale {
            bid: self.bids.len() - 1,
            bidder: top.bidder,
            price: top.amount,
        })
    }

    /// All bids, the first one first.
    #[must_use]
    pub fn bids(&self) -> &[Bid] {
        &self.bids
    }
}

impl State for English {
    const TAG: u8 = 3;

    fn sound(&self) -> bool {
        let rising = self.bids.windows(2).all(|pair| pair[0].amount < pair[1].amount);
        Self::open(self.rules).is_ok() && rising
    }
}
