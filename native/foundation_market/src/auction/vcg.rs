//! The payments of Vickrey (1961), Clarke (1971) and Groves (1973).

use super::combinatorial::{Allocation, Bidding, BundleBid};
use super::instance::Instance;
use super::search::Solver;
use crate::{Limits, Money, Result};
use serde::{Deserialize, Serialize};

/// What a winning bidder pays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// Who.
    pub bidder: u32,
    /// The bids that won, as places in the list.
    pub bids: Vec<usize>,
    /// What these bids offered.
    pub offered: Money,
    /// What the others lose by this bidder's presence: never below 0, never above what was offered.
    pub amount: Money,
    /// The true payment differs from it by no more than this; 0 when every search came to its end.
    pub gap: Money,
}

/// An allocation and what it costs its winners.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Who wins what.
    pub allocation: Allocation,
    /// One for each winning bidder, by the bidders' numbers.
    pub payments: Vec<Payment>,
    /// The sum of the payments.
    pub revenue: Money,
}

impl Outcome {
    /// Whether allocation and payments are exact; then no bidder gains by a lie.
    #[must_use]
    pub fn exact(&self) -> bool {
        self.allocation.optimal() && self.payments.iter().all(|payment| payment.gap == Money::ZERO)
    }
}

/// Winners and payments. Each winner's payment is the value of the best allocation without any bid of that winner, less
/// what the others get now; that allocation is searched from the same relaxation, and from the winner's absence on.
/// Steps are counted as by [`super::determine_winners`], over all searches together.
///
/// # Errors
/// As [`super::determine_winners`].
pub fn vcg(items: u32, bids: &[BundleBid], bidding: Bidding, limits: &Limits<'_>) -> Result<Outcome> {
    let mut problem = Instance::new(items, bids, bidding)?;
    let solver = Solver::new(&mut problem, limits);
    let instance = solver.instance();
    let best = solver.solve(&[], &[], None, limits);
    let mut winners: Vec<u32> = best.bids.iter().map(|&bid| instance.bids[bid].bidder).collect();
    winners.sort_unstable();
    winners.dedup();
    let mut payments = Vec::with_capacity(winners.len());
    for bidder in winners {
        let own = |bid: &usize| instance.bids[*bid].bidder == bidder;
        let (won, others): (Vec<usize>, Vec<usize>) = best.bids.iter().partition(|bid| own(bid));
        let out: Vec<usize> = (0..instance.bids.len()).filter(own).collect();
        let without = solver.solve(&out, &others, Some(best.bound), limits);
        let offered = instance.worth(&won);
        let rest = instance.worth(&others);
        let amount = (without.value - rest).clamp(0, offered);
        let gap = (without.bound - without.value).max(best.bound - best.value);
        let mut places: Vec<usize> = won.iter().map(|&bid| instance.bids[bid].place).collect();
        places.sort_unstable();
        payments.push(Payment {
            bidder,
            bids: places,
            offered: Money::from_wide(offered)?,
            amount: Money::from_wide(amount)?,
            gap: Money::from_wide(gap)?,
        });
    }
    Ok(Outcome {
        allocation: Allocation::of(instance, best)?,
        revenue: Money::sum(payments.iter().map(|payment| payment.amount))?,
        payments,
    })
}
