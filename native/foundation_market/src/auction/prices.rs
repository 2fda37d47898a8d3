//! Prices of resources: what no allocation can exceed, and good allocations to begin with.
//!
//! For any prices that are not below 0, no allocation is worth more than the prices of all resources together and what
//! each bid offers above the prices of what it takes (weak duality). In integers this is a proof, wherever the prices
//! come from.

use super::instance::Instance;
use crate::Limits;

/// Prices are integers of 2^-20 millionths, so that rounding them costs no millionth.
pub(super) const SHIFT: u32 = 20;

/// Where a bid stands in a part of the search.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Open,
    In,
    Out,
}

/// Prices from millionths as doubles.
pub(super) fn scaled(prices: &[f64]) -> Vec<i128> {
    let unit = (1_u64 << SHIFT) as f64;
    prices
        .iter()
        .map(|price| (price.max(0.0) * unit).round() as i128)
        .collect()
}

/// By how much a bid exceeds the prices of what it takes.
pub(super) fn excess(instance: &Instance, prices: &[i128], bid: usize) -> i128 {
    let packed = &instance.bids[bid];
    let cost: i128 = packed.takes.iter().map(|&at| prices[at as usize]).sum();
    (i128::from(packed.value) << SHIFT) - cost
}

/// What no allocation with these fates can exceed, in scaled units.
pub(super) fn bound(instance: &Instance, prices: &[i128], fates: &[Fate]) -> i128 {
    let mut total: i128 = prices.iter().sum();
    for (bid, fate) in fates.iter().enumerate() {
        let above = excess(instance, prices, bid);
        match fate {
            Fate::In => total += above,
            Fate::Open => total += above.max(0),
            Fate::Out => {}
        }
    }
    total
}

/// Takes the open bids in that order, those that still fit, after the ones that are in.
pub(super) fn greedy(instance: &Instance, fates: &[Fate], order: &[usize]) -> Vec<usize> {
    let mut taken = vec![false; instance.resources];
    let mut won: Vec<usize> = (0..fates.len()).filter(|&bid| fates[bid] == Fate::In).collect();
    for &bid in &won {
        for &at in &instance.bids[bid].takes {
            taken[at as usize] = true;
        }
    }
    for &bid in order {
        let takes = &instance.bids[bid].takes;
        if fates[bid] == Fate::Open && takes.iter().all(|&at| !taken[at as usize]) {
            for &at in takes {
                taken[at as usize] = true;
            }
            won.push(bid);
        }
    }
    won
}

/// The bids by what they offer for the root of the number of resources they take (Lehmann, O'Callaghan, Shoham 2002).
pub(super) fn by_density(instance: &Instance) -> Vec<usize> {
    let density = |bid: usize| {
        let packed = &instance.bids[bid];
        packed.value as f64 / (packed.takes.len() as f64).sqrt()
    };
    let mut order: Vec<usize> = (0..instance.bids.len()).collect();
    order.sort_by(|&a, &b| density(b).total_cmp(&density(a)).then(a.cmp(&b)));
    order
}

/// What a walk along subgradients found.
pub(super) struct Priced {
    /// In scaled units.
    pub(super) bound: i128,
    pub(super) bids: Vec<usize>,
}

/// Bounds an instance that is too large for a tableau: the subgradient method of Held and Karp (1971), with an
/// allocation by the bids' excess at each step. O(size of all bids · log) a step.
pub(super) fn descend(instance: &Instance, fates: &[Fate], start: Vec<usize>, limits: &Limits<'_>) -> Priced {
    let mut prices = vec![0.0; instance.resources];
    for (bid, packed) in instance.bids.iter().enumerate() {
        if fates[bid] != Fate::Out {
            let each = packed.value as f64 / packed.takes.len() as f64;
            for &at in &packed.takes {
                prices[at as usize] = each.max(prices[at as usize]);
            }
        }
    }
    let mut best = Priced {
        bound: bound(instance, &scaled(&prices), fates),
        bids: start,
    };
    let (mut pace, mut idle) = (1.0, 0);
    for _ in 0..STEPS {
        if !limits.go_on(1 + instance.bids.len() as u64 / 100) {
            break;
        }
        let integral = scaled(&prices);
        let here = bound(instance, &integral, fates);
        idle = if here < best.bound { 0 } else { idle + 1 };
        best.bound = best.bound.min(here);
        let above: Vec<i128> = (0..fates.len())
            .map(|bid| excess(instance, &integral, bid))
            .collect();
        let mut order: Vec<usize> = (0..fates.len()).collect();
        order.sort_by_key(|&bid| (std::cmp::Reverse(above[bid]), bid));
        let won = greedy(instance, fates, &order);
        if instance.worth(&won) > instance.worth(&best.bids) {
            best.bids = won;
        }
        let mut slope = vec![1.0; instance.resources];
        for (bid, packed) in instance.bids.iter().enumerate() {
            if fates[bid] == Fate::In || (fates[bid] == Fate::Open && above[bid] > 0) {
                for &at in &packed.takes {
                    slope[at as usize] -= 1.0;
                }
            }
        }
        let norm: f64 = slope.iter().map(|g| g * g).sum();
        let gap = ((here >> SHIFT) - instance.worth(&best.bids)) as f64;
        if norm == 0.0 || gap <= 0.0 {
            break;
        }
        if idle > 10 {
            (pace, idle) = (pace * 0.5, 0);
        }
        let step = pace * gap / norm;
        for (price, slope) in prices.iter_mut().zip(&slope) {
            *price = (*price - step * slope).max(0.0);
        }
    }
    best
}

/// Steps of the subgradient method.
const STEPS: usize = 300;
