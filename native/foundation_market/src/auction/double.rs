//! The double auction of McAfee (1992): many buyers, many sellers, one unit each.

use super::sealed::Bid;
use crate::{Money, Result};
use serde::{Deserialize, Serialize};

/// Who trades, and at what prices. Truth is a dominant strategy, and the auctioneer never pays in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoubleAuction {
    /// The buyers that trade, as places in their list, highest bid first.
    pub buyers: Vec<usize>,
    /// The sellers that trade, as places in their list, lowest ask first.
    pub sellers: Vec<usize>,
    /// What each of these buyers pays.
    pub buy_price: Money,
    /// What each of these sellers receives.
    pub sell_price: Money,
    /// What is left with the auctioneer; never below 0.
    pub surplus: Money,
}

/// Clears the market. With k the number of efficient trades and p the mean of the first bid and ask left out, all k
/// trade at p when the k-th pair accepts it; else the k-th pair is left out and sets the prices. When one side has no
/// more than k, no p exists and the k-th pair is left out. Bids below 0 are passed over; equal ones keep their order.
/// O(n · log n).
///
/// # Errors
/// [`crate::Error::Overflow`].
pub fn mcafee(bids: &[Bid], asks: &[Bid]) -> Result<DoubleAuction> {
    let sorted = |list: &[Bid], high_first: bool| {
        let mut order: Vec<usize> = (0..list.len())
            .filter(|&at| list[at].amount >= Money::ZERO)
            .collect();
        order.sort_by_key(|&at| {
            let amount = list[at].amount.micros();
            (if high_first { -amount } else { amount }, at)
        });
        order
    };
    let mut buyers = sorted(bids, true);
    let mut sellers = sorted(asks, false);
    let bid = |rank: usize, buyers: &[usize]| buyers.get(rank).map(|&at| bids[at].amount);
    let ask = |rank: usize, sellers: &[usize]| sellers.get(rank).map(|&at| asks[at].amount);
    let trades = (0..buyers.len().min(sellers.len()))
        .take_while(|&rank| bid(rank, &buyers) >= ask(rank, &sellers))
        .count();
    let Some(last) = trades.checked_sub(1) else {
        return Ok(none());
    };
    let (Some(low_bid), Some(high_ask)) = (bid(last, &buyers), ask(last, &sellers)) else {
        return Ok(none());
    };
    let between = bid(trades, &buyers)
        .zip(ask(trades, &sellers))
        .map(|(bid, ask)| bid.midpoint(ask))
        .filter(|price| (high_ask..=low_bid).contains(price));
    let (count, buy_price, sell_price) = match between {
        Some(price) => (trades, price, price),
        None => (last, low_bid, high_ask),
    };
    if count == 0 {
        return Ok(none());
    }
    buyers.truncate(count);
    sellers.truncate(count);
    let each = buy_price.minus(sell_price)?;
    Ok(DoubleAuction {
        surplus: each.times(count as i64)?,
        buyers,
        sellers,
        buy_price,
        sell_price,
    })
}

fn none() -> DoubleAuction {
    DoubleAuction {
        buyers: Vec::new(),
        sellers: Vec::new(),
        buy_price: Money::ZERO,
        sell_price: Money::ZERO,
        surplus: Money::ZERO,
    }
}
