//! The logarithmic market scoring rule (Hanson 2003): a market maker for predictions, whose loss has a bound.

use crate::{Error, Money, Result, State};
use serde::{Deserialize, Serialize};

/// A market with one share for each outcome; a share of the outcome that comes true is worth one unit in the end.
///
/// Amounts of shares are [`Money`] too: exact to a millionth of a share. Costs are worked out in doubles, and rounded
/// against the trader, so that the maker never loses more than b · ln(outcomes) and the millionths never add up to a
/// gain for anyone else.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Lmsr {
    liquidity: Money,
    sold: Vec<Money>,
    collected: Money,
}

/// Shares may differ by so many times the liquidity: beyond, a price is 0 or 1 to a double.
const MAX_SPREAD: f64 = 500.0;

impl Lmsr {
    /// A market of `outcomes` outcomes, each as likely as any other to begin with.
    ///
    /// # Errors
    /// [`Error::Invalid`] for less than 2 or more than 10,000 outcomes, or a liquidity that is not above 0 or above a
    /// thousand million.
    pub fn new(outcomes: usize, liquidity: Money) -> Result<Self> {
        if !(2..=10_000).contains(&outcomes) {
            return Err(Error::Invalid("outcomes"));
        }
        if liquidity <= Money::ZERO || liquidity > Money::from_units(1_000_000_000)? {
            return Err(Error::Invalid("liquidity"));
        }
        Ok(Self {
            liquidity,
            sold: vec![Money::ZERO; outcomes],
            collected: Money::ZERO,
        })
    }

    /// The price of a share of each outcome, which is the market's probability. Their sum is 1.
    #[must_use]
    pub fn prices(&self) -> Vec<f64> {
        let b = self.liquidity.to_f64();
        let top = self.sold.iter().max().map_or(0.0, |most| most.to_f64());
        let weights: Vec<f64> = self
            .sold
            .iter()
            .map(|sold| ((sold.to_f64() - top) / b).exp())
            .collect();
        let sum: f64 = weights.iter().sum();
        weights.into_iter().map(|weight| weight / sum).collect()
    }

    /// What the trader pays for a change of holdings, one for each outcome; below 0 is paid out. Rounded up.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another number of outcomes, or shares that would differ by more than 500 times the
    /// liquidity; [`Error::Overflow`].
    pub fn quote(&self, change: &[Money]) -> Result<Money> {
        self.after(change)?;
        if change.iter().all(|change| *change == Money::ZERO) {
            return Ok(Money::ZERO);
        }
        // C(q + d) - C(q) = b · ln Σ p·exp(d/b), with the largest exponent taken out.
        let b = self.liquidity.to_f64();
        let top = change.iter().max().map_or(0.0, |most| most.to_f64());
        let prices = self.prices();
        let pairs = || {
            prices
                .iter()
                .zip(change)
                .map(|(price, change)| (price, (change.to_f64() - top) / b))
        };
        let small: f64 = pairs().map(|(price, by)| price * by.exp_m1()).sum();
        let cost = if small > -0.5 {
            top + b * small.ln_1p()
        } else {
            let exponents: Vec<f64> = pairs().map(|(price, by)| price.ln() + by).collect();
            let most = exponents.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = exponents.iter().map(|exponent| (exponent - most).exp()).sum();
            top + b * (most + sum.ln())
        };
        // The doubles are off by some hundred roundings of the largest amount at most.
        let slack = 1e-13 * (top.abs() + b + cost.abs());
        Money::ceil(cost + slack)
    }

    fn after(&self, change: &[Money]) -> Result<Vec<Money>> {
        if change.len() != self.sold.len() {
            return Err(Error::Invalid("change"));
        }
        let pairs = self.sold.iter().zip(change);
        let after: Vec<Money> = pairs
            .map(|(sold, change)| sold.plus(*change))
            .collect::<Result<_>>()?;
        let spread = match (after.iter().max(), after.iter().min()) {
            (Some(most), Some(least)) => most.minus(*least)?.to_f64(),
            _ => 0.0,
        };
        if spread > MAX_SPREAD * self.liquidity.to_f64() {
            return Err(Error::Invalid("change"));
        }
        Ok(after)
    }

    /// Trades: the holdings change and the trader pays what is answered. Whether the trader has the shares to sell is
    /// the caller's to know.
    ///
    /// # Errors
    /// As [`Self::quote`]; nothing has changed then.
    pub fn trade(&mut self, change: &[Money]) -> Result<Money> {
        let cost = self.quote(change)?;
        let after = self.after(change)?;
        let collected = self.collected.plus(cost)?;
        self.sold = after;
        self.collected = collected;
        Ok(cost)
    }

    /// Trades shares of one outcome; below 0 sells.
    ///
    /// # Errors
    /// As [`Self::quote`], and [`Error::Invalid`] for no such outcome.
    pub fn trade_one(&mut self, outcome: usize, shares: Money) -> Result<Money> {
        let change = self.only(outcome, shares)?;
        self.trade(&change)
    }

    /// The change of holdings that is of one outcome alone.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no such outcome.
    pub fn only(&self, outcome: usize, shares: Money) -> Result<Vec<Money>> {
        let mut change = vec![Money::ZERO; self.sold.len()];
        *change.get_mut(outcome).ok_or(Error::Invalid("outcome"))? = shares;
        Ok(change)
    }

    /// What the maker has lost, should that outcome come true; below 0 is a gain.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no such outcome, [`Error::Overflow`].
    pub fn loss(&self, outcome: usize) -> Result<Money> {
        let owed = self.sold.get(outcome).ok_or(Error::Invalid("outcome"))?;
        owed.minus(self.collected)
    }

    /// The most that the maker can ever lose: b · ln(outcomes), rounded up.
    ///
    /// # Errors
    /// [`Error::Overflow`].
    pub fn max_loss(&self) -> Result<Money> {
        Money::ceil(self.liquidity.to_f64() * (self.sold.len() as f64).ln())
    }

    /// How many shares of each outcome are out.
    #[must_use]
    pub fn sold(&self) -> &[Money] {
        &self.sold
    }

    /// What traders have paid in all.
    #[must_use]
    pub fn collected(&self) -> Money {
        self.collected
    }
}

impl State for Lmsr {
    const TAG: u8 = 5;

    fn sound(&self) -> bool {
        let nothing = vec![Money::ZERO; self.sold.len()];
        Self::new(self.sold.len(), self.liquidity).is_ok() && self.after(&nothing).is_ok()
    }
}
