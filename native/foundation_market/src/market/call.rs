//! The call auction: orders are collected and cleared at one price.

use super::order::Side;
use crate::{Error, Money, Result};
use serde::{Deserialize, Serialize};

/// A limit order of a call auction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallOrder {
    /// Who.
    pub owner: u32,
    /// Buys or sells.
    pub side: Side,
    /// The worst price that is accepted.
    pub price: Money,
    /// How many.
    pub quantity: u64,
}

/// How much of an order was filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// The order's place in the list.
    pub order: usize,
    /// Who.
    pub owner: u32,
    /// How many.
    pub quantity: u64,
}

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clearing {
    /// The one price of all trades; none without a trade.
    pub price: Option<Money>,
    /// How many change hands.
    pub volume: u64,
    /// What is bid at that price beyond what is asked; below 0 when more is asked.
    pub imbalance: i128,
    /// The filled orders, in the order of the list.
    pub fills: Vec<Fill>,
}

/// Clears at the price with the largest volume; among these the smallest imbalance; among these the one nearest to the
/// reference price, or, without one, the middle of their range. Only prices of orders are considered, and that middle.
/// At one price, earlier orders are filled first, and better-priced ones before them. O(n · log n).
///
/// # Errors
/// [`Error::Invalid`] for a quantity above 2^58 or a price that is not above 0.
pub fn clear(orders: &[CallOrder], reference: Option<Money>) -> Result<Clearing> {
    for order in orders {
        if order.quantity > 1 << 58 {
            return Err(Error::Invalid("quantity"));
        }
        if order.price <= Money::ZERO {
            return Err(Error::Invalid("price"));
        }
    }
    let Some((price, bought, sold)) = best_price(orders, reference) else {
        return Ok(Clearing {
            price: None,
            volume: 0,
            imbalance: 0,
            fills: Vec::new(),
        });
    };
    let volume = bought.min(sold);
    let mut fills = fill(orders, Side::Buy, price, volume);
    fills.extend(fill(orders, Side::Sell, price, volume));
    fills.sort_by_key(|fill| fill.order);
    Ok(Clearing {
        price: Some(price),
        volume: u64::try_from(volume).map_err(|_| Error::Overflow)?,
        imbalance: bought as i128 - sold as i128,
        fills,
    })
}

/// The price, and what is bid and asked at it.
fn best_price(orders: &[CallOrder], reference: Option<Money>) -> Option<(Money, u128, u128)> {
    let mut prices: Vec<Money> = orders.iter().map(|order| order.price).collect();
    prices.sort_unstable();
    prices.dedup();
    let at = |side: Side| {
        let mut sums = vec![0_u128; prices.len()];
        for order in orders.iter().filter(|order| order.side == side) {
            let place = prices.partition_point(|price| *price < order.price);
            sums[place] += u128::from(order.quantity);
        }
        sums
    };
    let (mut bids, mut asks) = (at(Side::Buy), at(Side::Sell));
    for place in (0..prices.len().saturating_sub(1)).rev() {
        bids[place] += bids[place + 1];
    }
    for place in 1..prices.len() {
        asks[place] += asks[place - 1];
    }
    let rank = |place: usize| {
        let (bid, ask) = (bids[place], asks[place]);
        (std::cmp::Reverse(bid.min(ask)), bid.abs_diff(ask))
    };
    let top = (0..prices.len()).map(rank).min()?;
    let tied: Vec<usize> = (0..prices.len()).filter(|&place| rank(place) == top).collect();
    let (first, last) = (*tied.first()?, *tied.last()?);
    if top.0.0 == 0 {
        return None;
    }
    let (low, high) = (prices[first], prices[last]);
    let wanted = reference.unwrap_or_else(|| low.midpoint(high)).clamp(low, high);
    // Between two tied neighbours bid and ask change nowhere for the better; a price inside has the lower one's asks and
    // the upper one's bids.
    let below = prices.partition_point(|price| *price <= wanted) - 1;
    if prices[below] == wanted {
        let nearest = tied
            .iter()
            .copied()
            .min_by_key(|&place| (prices[place].micros().abs_diff(wanted.micros()), place))?;
        return Some((prices[nearest], bids[nearest], asks[nearest]));
    }
    let (bid, ask) = (bids[below + 1], asks[below]);
    if (std::cmp::Reverse(bid.min(ask)), bid.abs_diff(ask)) <= top {
        return Some((wanted, bid, ask));
    }
    let nearest = tied
        .iter()
        .copied()
        .min_by_key(|&place| (prices[place].micros().abs_diff(wanted.micros()), place))?;
    Some((prices[nearest], bids[nearest], asks[nearest]))
}

fn fill(orders: &[CallOrder], side: Side, price: Money, volume: u128) -> Vec<Fill> {
    let accepts = |order: &CallOrder| match side {
        Side::Buy => order.price >= price,
        Side::Sell => order.price <= price,
    };
    let mut queue: Vec<usize> = (0..orders.len())
        .filter(|&at| orders[at].side == side && accepts(&orders[at]))
        .collect();
    queue.sort_by_key(|&at| {
        let price = orders[at].price.micros();
        (if side == Side::Buy { -price } else { price }, at)
    });
    let mut left = volume;
    let mut fills = Vec::new();
    for order in queue {
        let quantity = orders[order]
            .quantity
            .min(u64::try_from(left).unwrap_or(u64::MAX));
        left -= u128::from(quantity);
        if quantity > 0 {
            fills.push(Fill {
                order,
                owner: orders[order].owner,
                quantity,
            });
        }
    }
    fills
}
