//! Sealed bids for several units of the same thing.

use crate::{Error, Money, Result};
use serde::{Deserialize, Serialize};

/// An offer for up to so many units, at so much each. A bidder with a falling demand places several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitBid {
    /// Who.
    pub bidder: u32,
    /// At most how many; fewer are taken too.
    pub units: u64,
    /// For how much each.
    pub price: Money,
}

/// What winners pay for a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Pricing {
    /// All the same: the highest rejected price, at least the reserve price. Truthful for who wants one unit.
    Uniform,
    /// Each the own price.
    Discriminatory,
}

/// What a bid won.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Win {
    /// The bid's place in the list.
    pub bid: usize,
    /// Who.
    pub bidder: u32,
    /// How many.
    pub units: u64,
    /// For how much each.
    pub unit_price: Money,
    /// For how much in all.
    pub total: Money,
}

/// The result of a multi-unit auction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitOutcome {
    /// The winning bids, best price first.
    pub wins: Vec<Win>,
    /// How many units nobody wanted at the reserve price.
    pub unsold: u64,
    /// The sum of the totals.
    pub revenue: Money,
}

/// Gives the units to the highest prices. The last winner may get only a part. O(bids · log bids).
///
/// # Errors
/// [`Error::Overflow`] when a total leaves 64 bits.
pub fn multi_unit(bids: &[UnitBid], units: u64, reserve: Money, pricing: Pricing) -> Result<UnitOutcome> {
    let mut order: Vec<usize> = (0..bids.len())
        .filter(|&at| bids[at].price >= reserve && bids[at].units > 0)
        .collect();
    order.sort_by_key(|&at| (std::cmp::Reverse(bids[at].price), at));
    let mut left = units;
    let mut taken = Vec::new();
    let mut rejected = reserve;
    for at in order {
        let got = bids[at].units.min(left);
        left -= got;
        if got > 0 {
            taken.push((at, got));
        }
        if got < bids[at].units {
            rejected = bids[at].price;
            break;
        }
    }
    let mut wins = Vec::with_capacity(taken.len());
    for (at, got) in taken {
        let unit_price = match pricing {
            Pricing::Uniform => rejected,
            Pricing::Discriminatory => bids[at].price,
        };
        let count = i64::try_from(got).map_err(|_| Error::Overflow)?;
        wins.push(Win {
            bid: at,
            bidder: bids[at].bidder,
            units: got,
            unit_price,
            total: unit_price.times(count)?,
        });
    }
    Ok(UnitOutcome {
        revenue: Money::sum(wins.iter().map(|win| win.total))?,
        wins,
        unsold: left,
    })
}
