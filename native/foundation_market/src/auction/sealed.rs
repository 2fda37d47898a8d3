//! Sealed bids for one item.

use crate::{Error, Money, Result, State};
use serde::{Deserialize, Serialize};

/// What a bidder offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bid {
    /// Who.
    pub bidder: u32,
    /// For how much.
    pub amount: Money,
}

/// Who gets the item, and for how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sale {
    /// The winning bid's place in the list.
    pub bid: usize,
    /// The winner.
    pub bidder: u32,
    /// What the winner pays.
    pub price: Money,
}

/// What the winner of sealed bids pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    /// The own bid.
    FirstPrice,
    /// The highest bid of anyone else, or the reserve price when that is more (Vickrey 1961): truth is a dominant
    /// strategy.
    Vickrey,
}

fn highest(bids: &[Bid], reserve: Money) -> Option<(usize, Bid)> {
    let mut best: Option<(usize, Bid)> = None;
    for (at, bid) in bids.iter().enumerate() {
        if bid.amount >= reserve && best.is_none_or(|(_, top)| bid.amount > top.amount) {
            best = Some((at, *bid));
        }
    }
    best
}

/// The highest bid wins and pays what it says; none when nobody bids the reserve price. O(bids).
#[must_use]
pub fn first_price(bids: &[Bid], reserve: Money) -> Option<Sale> {
    highest(bids, reserve).map(|(at, bid)| Sale {
        bid: at,
        bidder: bid.bidder,
        price: bid.amount,
    })
}

/// The highest bid wins and pays the highest bid of any other bidder, at least the reserve price; none when nobody bids
/// that much. O(bids).
#[must_use]
pub fn vickrey(bids: &[Bid], reserve: Money) -> Option<Sale> {
    let (at, winner) = highest(bids, reserve)?;
    let others = bids.iter().filter(|bid| bid.bidder != winner.bidder);
    let second = others.map(|bid| bid.amount).max().unwrap_or(reserve);
    Some(Sale {
        bid: at,
        bidder: winner.bidder,
        price: second.max(reserve),
    })
}

/// An auction that takes sealed bids until it is closed. A bidder's later bid replaces the earlier one and loses its
/// place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    rule: Rule,
    reserve: Money,
    /// When it closes by itself, in the caller's milliseconds.
    closes_at: Option<u64>,
    bids: Vec<Bid>,
    closed: bool,
}

impl Sealed {
    /// An open auction.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a reserve price below 0.
    pub fn open(rule: Rule, reserve: Money, closes_at: Option<u64>) -> Result<Self> {
        if reserve < Money::ZERO {
            return Err(Error::Invalid("reserve"));
        }
        Ok(Self {
            rule,
            reserve,
            closes_at,
            bids: Vec::new(),
            closed: false,
        })
    }

    /// Takes a bid.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::TooLow`] for less than the reserve price.
    pub fn bid(&mut self, now: u64, bid: Bid) -> Result<()> {
        self.tick(now);
        if self.closed {
            return Err(Error::Closed);
        }
        if bid.amount < self.reserve {
            return Err(Error::TooLow);
        }
        self.bids.retain(|old| old.bidder != bid.bidder);
        self.bids.push(bid);
        Ok(())
    }

    /// Lets time pass; true once it is closed.
    pub fn tick(&mut self, now: u64) -> bool {
        self.closed |= self.closes_at.is_some_and(|at| now >= at);
        self.closed
    }

    /// Ends the bidding and opens the bids. The same answer again when called again.
    pub fn close(&mut self) -> Option<Sale> {
        self.closed = true;
        match self.rule {
            Rule::FirstPrice => first_price(&self.bids, self.reserve),
            Rule::Vickrey => vickrey(&self.bids, self.reserve),
        }
    }

    /// How many bidders have a bid in.
    #[must_use]
    pub fn bidders(&self) -> usize {
        self.bids.len()
    }
}

impl State for Sealed {
    const TAG: u8 = 2;

    fn sound(&self) -> bool {
        self.reserve >= Money::ZERO && self.bids.iter().all(|bid| bid.amount >= self.reserve)
    }
}
