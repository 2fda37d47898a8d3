//! Shares of what a coalition earns (Shapley 1953).

use crate::{Error, Limits, Money, Result, Rng, State};
use serde::{Deserialize, Serialize};

/// Players of an exact division.
const MAX_EXACT: usize = 20;

/// Each player's share, exactly: the mean of what it adds over all orders of arrival. `worth` has one amount for each
/// coalition, the players' bits being its place: 2^players of them, the first for nobody. What the rounding to
/// millionths leaves goes to those who lost most by it, so that the shares sum up to what all earn. O(players · 2^players);
/// a step is a thousand coalitions.
///
/// # Errors
/// [`Error::Invalid`] when the number of amounts is no power of two or the first is not 0; [`Error::TooLarge`] for more
/// than 20 players; [`Error::Stopped`]; [`Error::Overflow`].
pub fn shapley(worth: &[Money], limits: &Limits<'_>) -> Result<Vec<Money>> {
    if !worth.len().is_power_of_two() || worth[0] != Money::ZERO {
        return Err(Error::Invalid("worth"));
    }
    let n = worth.len().trailing_zeros() as usize;
    if n > MAX_EXACT {
        return Err(Error::TooLarge("players"));
    }
    let factorial: Vec<i128> = (0..=n as i128)
        .scan(1, |f, k| {
            *f *= k.max(1);
            Some(*f)
        })
        .collect();
    // Sums in units of 1 / n! of a millionth: n! · 2^64 is below 2^127 for n = 20.
    let mut sums = vec![0_i128; n];
    for (coalition, value) in worth.iter().enumerate() {
        if coalition % 1_024 == 0 && !limits.go_on(1) {
            return Err(Error::Stopped);
        }
        let size = coalition.count_ones() as usize;
        let value = i128::from(value.micros());
        for (player, sum) in sums.iter_mut().enumerate() {
            if coalition >> player & 1 == 1 {
                *sum += factorial[size - 1] * factorial[n - size] * value;
            } else {
                *sum -= factorial[size] * factorial[n - size - 1] * value;
            }
        }
    }
    let mut shares: Vec<i128> = sums.iter().map(|sum| sum.div_euclid(factorial[n])).collect();
    let all = i128::from(worth[worth.len() - 1].micros());
    let rest = (all - shares.iter().sum::<i128>()) as usize;
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|&player| (std::cmp::Reverse(sums[player].rem_euclid(factorial[n])), player));
    for &player in order.iter().take(rest) {
        shares[player] += 1;
    }
    shares.into_iter().map(Money::from_wide).collect()
}

/// An estimate of one share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// The mean of what the player added.
    pub share: f64,
    /// The true share lies within this much of it, except with the probability asked for.
    pub within: f64,
}

/// Shares by sampling orders of arrival (Castro, Gómez, Tejada 2009), for any number of players. The caller says what
/// the coalitions are worth: it takes an order, adds its players one by one, and reports what each one added.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShapleySampler {
    rng: Rng,
    low: f64,
    high: f64,
    orders: u64,
    sums: Vec<f64>,
    squares: Vec<f64>,
}

impl ShapleySampler {
    /// A sampler for players who each add no less than `low` and no more than `high`, whoever is there.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no or more than 1,000,000 players or bounds that are not finite or not in order.
    pub fn new(players: u32, low: f64, high: f64, seed: u64) -> Result<Self> {
        if !(1..=1_000_000).contains(&players) {
            return Err(Error::Invalid("players"));
        }
        if !(low.is_finite() && high.is_finite() && low <= high) {
            return Err(Error::Invalid("bounds"));
        }
        Ok(Self {
            rng: Rng::new(seed),
            low,
            high,
            orders: 0,
            sums: vec![0.0; players as usize],
            squares: vec![0.0; players as usize],
        })
    }

    /// An order of arrival, each as likely as any other. O(players).
    pub fn order(&mut self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.sums.len() as u32).collect();
        self.rng.shuffle(&mut order);
        order
    }

    /// What each player of an order added, in that order. O(players).
    ///
    /// # Errors
    /// [`Error::Invalid`] for an order that has not every player once, or amounts outside the bounds; nothing has
    /// changed then.
    pub fn report(&mut self, order: &[u32], added: &[f64]) -> Result<()> {
        let mut seen = vec![false; self.sums.len()];
        let new = |player: &u32| match seen.get_mut(*player as usize) {
            Some(seen) => !std::mem::replace(seen, true),
            None => false,
        };
        if order.len() != self.sums.len() || !order.iter().all(new) {
            return Err(Error::Invalid("order"));
        }
        // What is computed as a difference may pass a bound by a rounding.
        let slack = 1e-9 * (self.high.abs().max(self.low.abs()));
        let inside = |amount: &f64| *amount >= self.low - slack && *amount <= self.high + slack;
        if added.len() != order.len() || !added.iter().all(inside) {
            return Err(Error::Invalid("added"));
        }
        for (player, amount) in order.iter().zip(added) {
            self.sums[*player as usize] += amount;
            self.squares[*player as usize] += amount * amount;
        }
        self.orders += 1;
        Ok(())
    }

    /// The shares; each interval misses with a probability of at most `delta`: the smaller of Hoeffding's (1963) and the
    /// empirical Bernstein bound (Maurer and Pontil 2009), each at half of it. They sum up to what all earn.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a delta outside (0, 1); [`Error::NotFound`] before the first report.
    pub fn estimate(&self, delta: f64) -> Result<Vec<Sampled>> {
        if !(delta > 0.0 && delta < 1.0) {
            return Err(Error::Invalid("delta"));
        }
        if self.orders == 0 {
            return Err(Error::NotFound);
        }
        let n = self.orders as f64;
        let range = self.high - self.low;
        let hoeffding = range * ((4.0 / delta).ln() / (2.0 * n)).sqrt();
        let sampled = |(sum, square): (&f64, &f64)| {
            let share = sum / n;
            let within = if self.orders < 2 {
                hoeffding
            } else {
                let variance = ((square - n * share * share) / (n - 1.0)).max(0.0);
                let log = (8.0 / delta).ln();
                let bernstein = (2.0 * variance * log / n).sqrt() + 7.0 * range * log / (3.0 * (n - 1.0));
                hoeffding.min(bernstein)
            };
            Sampled {
                share,
                within: within.min(range),
            }
        };
        Ok(self.sums.iter().zip(&self.squares).map(sampled).collect())
    }

    /// How many orders were reported.
    #[must_use]
    pub fn orders(&self) -> u64 {
        self.orders
    }
}

impl State for ShapleySampler {
    const TAG: u8 = 7;

    fn sound(&self) -> bool {
        let players = u32::try_from(self.sums.len()).unwrap_or(u32::MAX);
        let finite = |list: &[f64]| list.iter().all(|sum| sum.is_finite());
        Self::new(players, self.low, self.high, 0).is_ok()
            && self.squares.len() == self.sums.len()
            && finite(&self.sums)
            && finite(&self.squares)
    }
}
