//! The monotonic concession protocol with Zeuthen's strategy (Zeuthen 1930; Harsanyi 1956; Rosenschein and Zlotkin 1994).

use crate::{Error, Result};

/// How a negotiation went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Concession {
    /// The deal agreed on; none when no deal is at least as good as conflict for both.
    pub deal: Option<u32>,
    /// What the two proposed, round by round.
    pub path: Vec<(u32, u32)>,
}

/// Negotiates between two over a list of deals, with what each deal is worth to each, and what conflict is worth. Both
/// begin with the deal they like best. In each round the one who risks less, by what it would lose of its gain, makes the
/// least concession that leaves the other one to concede; of equals the first one concedes. It ends with a deal of the
/// largest product of gains. O(deals²).
///
/// # Errors
/// [`Error::Invalid`] for lists of different lengths, no deals, or numbers that are not finite;
/// [`Error::TooLarge`] for more than 10,000 deals.
pub fn zeuthen(first: &[f64], second: &[f64], conflict: (f64, f64)) -> Result<Concession> {
    let finite = |list: &[f64]| list.iter().all(|worth| worth.abs() <= 1e100);
    if first.is_empty() || first.len() != second.len() || !finite(first) || !finite(second) {
        return Err(Error::Invalid("deals"));
    }
    if !conflict.0.is_finite() || !conflict.1.is_finite() {
        return Err(Error::Invalid("conflict"));
    }
    if first.len() > 10_000 {
        return Err(Error::TooLarge("deals"));
    }
    let gains = first
        .iter()
        .zip(second)
        .map(|(a, b)| [a - conflict.0, b - conflict.1])
        .collect();
    Ok(Table::new(gains).negotiate())
}

/// What each deal gains each party over conflict, and the deals that make sense.
struct Table {
    gains: Vec<[f64; 2]>,
    deals: Vec<usize>,
}

impl Table {
    fn new(gains: Vec<[f64; 2]>) -> Self {
        let deals = (0..gains.len()).filter(|&deal| sensible(&gains, deal)).collect();
        Self { gains, deals }
    }

    /// The deal that a party likes best; of equal ones the one that the other likes best.
    fn favourite(&self, party: usize) -> Option<usize> {
        let by = |deal: usize| self.gains[deal][party];
        let other = |deal: usize| self.gains[deal][1 - party];
        let better = |a: &usize, b: &usize| by(*a).total_cmp(&by(*b)).then(other(*a).total_cmp(&other(*b)));
        self.deals.iter().copied().max_by(better)
    }

    fn product(&self, deal: usize) -> f64 {
        self.gains[deal][0] * self.gains[deal][1]
    }

    fn negotiate(&self) -> Concession {
        let (Some(mine), Some(theirs)) = (self.favourite(0), self.favourite(1)) else {
            return Concession {
                deal: None,
                path: Vec::new(),
            };
        };
        let mut proposals = [mine, theirs];
        let mut path = vec![(mine as u32, theirs as u32)];
        loop {
            // Who likes the other's proposal as much as the own one agrees to it.
            let likes =
                |party: usize| self.gains[proposals[1 - party]][party] >= self.gains[proposals[party]][party];
            if let Some(party) = (0..2).find(|&party| likes(party)) {
                let deal = Some(proposals[1 - party] as u32);
                return Concession { deal, path };
            }
            // The risk of one is below that of the other exactly when the product of its proposal is.
            let party = usize::from(self.product(proposals[1]) < self.product(proposals[0]));
            proposals[party] = self.concession(party, proposals[party], proposals[1 - party]);
            path.push((proposals[0] as u32, proposals[1] as u32));
        }
    }

    /// The least concession that leaves the other one to concede; the other's own proposal when there is no less.
    fn concession(&self, party: usize, own: usize, other: usize) -> usize {
        let goal = self.product(other);
        let enough = |deal: usize| {
            let here = self.product(deal);
            deal == other || here > goal || (here == goal && party == 1)
        };
        let concedes = |deal: usize| self.gains[deal][1 - party] > self.gains[own][1 - party];
        let candidates = self
            .deals
            .iter()
            .copied()
            .filter(|&deal| concedes(deal) && enough(deal));
        let least = candidates.max_by(|&a, &b| self.gains[a][party].total_cmp(&self.gains[b][party]));
        least.unwrap_or(other)
    }
}

/// Whether no deal is better for one and as good for the other, and both gain by it rather than by conflict.
fn sensible(gains: &[[f64; 2]], deal: usize) -> bool {
    let [a, b] = gains[deal];
    a >= 0.0
        && b >= 0.0
        && !gains
            .iter()
            .any(|[c, d]| c >= &a && d >= &b && (c > &a || d > &b))
}
