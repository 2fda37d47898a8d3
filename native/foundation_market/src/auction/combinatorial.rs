//! Winner determination for bids on bundles.

use super::instance::Instance;
use super::search::{Found, Solver};
use crate::{Limits, Money, Result};
use serde::{Deserialize, Serialize};

/// An offer for a bundle, all or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleBid {
    /// Who.
    pub bidder: u32,
    /// The items, each below the number of items; one named twice counts once.
    pub items: Vec<u32>,
    /// For how much.
    pub price: Money,
}

/// How many of a bidder's bids may win.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bidding {
    /// Any number that share no item.
    Or,
    /// At most one.
    Xor,
}

/// Which bids win.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// The winning bids, as places in the list, ascending.
    pub winners: Vec<usize>,
    /// The sum of their prices.
    pub value: Money,
    /// No allocation is worth more than this. Proved in integers, whatever the rounding of the linear programmes.
    pub bound: Money,
    /// How many nodes of the search tree were looked at.
    pub nodes: u64,
}

impl Allocation {
    /// Whether no other allocation is worth more.
    #[must_use]
    pub fn optimal(&self) -> bool {
        self.bound <= self.value
    }

    /// By how much another allocation might at most be worth more.
    #[must_use]
    pub fn gap(&self) -> Money {
        Money::from_micros(self.bound.micros().saturating_sub(self.value.micros()).max(0))
    }

    pub(super) fn of(instance: &Instance, found: Found) -> Result<Self> {
        let mut winners: Vec<usize> = found.bids.iter().map(|&bid| instance.bids[bid].place).collect();
        winners.sort_unstable();
        Ok(Self {
            winners,
            value: Money::from_wide(found.value)?,
            bound: Money::from_wide(found.bound)?,
            nodes: found.nodes,
        })
    }
}

/// The allocation of `items` items, one unit each, that is worth most. Bids at or below 0 never win.
///
/// Branch and bound over the linear relaxation with clique cuts, depth first, warm from the parent's basis; a bound is the value of the
/// relaxation's dual prices, worked out in integers, so that a proof of optimality is exact. When the limits end the
/// search, or the instance is too large for a dense tableau, the best allocation found comes with its gap. A step is
/// one node, or one pivot of the first relaxation. The same input gives the same allocation.
///
/// # Errors
/// [`crate::Error::Invalid`] for an item out of range or a bid without items, [`crate::Error::Overflow`] when the sum of
/// all prices leaves 64 bits.
pub fn determine_winners(
    items: u32,
    bids: &[BundleBid],
    bidding: Bidding,
    limits: &Limits<'_>,
) -> Result<Allocation> {
    let mut instance = Instance::new(items, bids, bidding)?;
    let found = Solver::new(&mut instance, limits).solve(&[], &[], None, limits);
    Allocation::of(&instance, found)
}
