//! Prices at which an exchange economy clears: tâtonnement (Walras; converges under gross substitutes: Arrow, Block,
//! Hurwicz 1959; in multiplicative form: Cole and Fleischer 2008).

use crate::{Error, Limits, Result};

/// Someone who brings goods and wants goods, with a constant elasticity of substitution.
#[derive(Debug, Clone, PartialEq)]
pub struct Trader {
    /// What the trader brings, one number for each good.
    pub endowment: Vec<f64>,
    /// How much the trader likes each good.
    pub weights: Vec<f64>,
    /// How readily one good replaces another: 1 is Cobb-Douglas, more is readier. Above 0, at most 100.
    pub elasticity: f64,
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// The largest excess demand or supply of a good, as a part of its supply, that counts as cleared.
    pub tolerance: f64,
    /// Rounds at most.
    pub max_rounds: u32,
}

/// Prices, and how well they clear.
#[derive(Debug, Clone, PartialEq)]
pub struct Equilibrium {
    /// Whether the tolerance was reached. Where goods are complements it need not be.
    pub cleared: bool,
    /// One for each good; the sum is 1. Only ratios mean something.
    pub prices: Vec<f64>,
    /// What each trader takes, in the order of the traders.
    pub demand: Vec<Vec<f64>>,
    /// The largest excess as a part of a good's supply, at these prices.
    pub residual: f64,
    /// Rounds that it took.
    pub rounds: u32,
}

fn check(traders: &[Trader]) -> Result<Vec<f64>> {
    let goods = traders.first().map_or(0, |trader| trader.endowment.len());
    let fits = |list: &[f64]| list.len() == goods && list.iter().all(|n| n.is_finite() && *n >= 0.0);
    let mut supply = vec![0.0; goods];
    for trader in traders {
        if !fits(&trader.endowment) {
            return Err(Error::Invalid("endowment"));
        }
        if !fits(&trader.weights) || trader.weights.iter().sum::<f64>() <= 0.0 {
            return Err(Error::Invalid("weights"));
        }
        if !(trader.elasticity > 0.0 && trader.elasticity <= 100.0) {
            return Err(Error::Invalid("elasticity"));
        }
        for (supply, brought) in supply.iter_mut().zip(&trader.endowment) {
            *supply += brought;
        }
    }
    let wanted = |good: usize| traders.iter().any(|trader| trader.weights[good] > 0.0);
    let cleared = |good: usize| supply[good] > 0.0 && supply[good].is_finite() && wanted(good);
    if goods == 0 || !(0..goods).all(cleared) {
        return Err(Error::Invalid("supply"));
    }
    Ok(supply)
}

fn demand(trader: &Trader, prices: &[f64]) -> Vec<f64> {
    let worth = |list: &[f64]| list.iter().zip(prices).map(|(n, price)| n * price).sum::<f64>();
    let income = worth(&trader.endowment);
    let sigma = trader.elasticity;
    // x_g = income · a_g^s · p_g^-s / Σ a_h^s · p_h^(1-s), in logarithms.
    let logs: Vec<f64> = trader
        .weights
        .iter()
        .zip(prices)
        .map(|(weight, price)| sigma * weight.ln() - sigma * price.ln())
        .collect();
    let top = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weights: Vec<f64> = logs.iter().map(|log| (log - top).exp()).collect();
    let spent = worth(&weights);
    weights
        .into_iter()
        .map(|weight| income * weight / spent)
        .collect()
}

fn excess(traders: &[Trader], supply: &[f64], prices: &[f64]) -> (Vec<f64>, f64) {
    let mut total = vec![0.0; supply.len()];
    for trader in traders {
        for (total, part) in total.iter_mut().zip(demand(trader, prices)) {
            *total += part;
        }
    }
    let relative: Vec<f64> = total
        .iter()
        .zip(supply)
        .map(|(total, supply)| total / supply - 1.0)
        .collect();
    let worst = relative.iter().fold(0.0, |worst: f64, z| worst.max(z.abs()));
    (relative, worst)
}

/// Raises the prices of what is short and lowers those of what is left over, until every good clears to the tolerance.
/// A step that makes the worst excess larger is halved. O(traders · goods) a round, which is a step of the limits.
///
/// # Errors
/// [`Error::Invalid`] for lists of different lengths, numbers that are not finite or below 0, an elasticity outside
/// (0, 100], a trader who likes nothing, a good that nobody brings or nobody likes, or a tolerance that is not above 0.
pub fn equilibrium(traders: &[Trader], search: Search, limits: &Limits<'_>) -> Result<Equilibrium> {
    let supply = check(traders)?;
    if search.tolerance.is_nan() || search.tolerance <= 0.0 {
        return Err(Error::Invalid("tolerance"));
    }
    let goods = supply.len();
    let mut prices = vec![1.0 / goods as f64; goods];
    let (mut short, mut residual) = excess(traders, &supply, &prices);
    let (mut pace, mut rounds) = (0.5, 0);
    while residual > search.tolerance && rounds < search.max_rounds && limits.go_on(1) {
        rounds += 1;
        let raised: Vec<f64> = prices
            .iter()
            .zip(&short)
            .map(|(price, z)| (price * (pace * z.clamp(-1.0, 1.0)).exp()).max(1e-300))
            .collect();
        let sum: f64 = raised.iter().sum();
        let next: Vec<f64> = raised.into_iter().map(|price| price / sum).collect();
        let (after, worst) = excess(traders, &supply, &next);
        if worst < residual {
            (prices, short, residual) = (next, after, worst);
            pace = (pace * 1.1_f64).min(1.0);
        } else if pace > 1e-6 {
            pace *= 0.5;
        } else {
            break;
        }
    }
    Ok(Equilibrium {
        cleared: residual <= search.tolerance,
        demand: traders.iter().map(|trader| demand(trader, &prices)).collect(),
        prices,
        residual,
        rounds,
    })
}
