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
    let gains: Vec<[f64; 2]> = first
        .iter()
        .zip(second)
        .map(|(a, b)| [a - conflict.0, b - conflict.1])
        .collect();
    let deals: Vec<usize> = (0..gains.len()).filter(|&deal| sensible(&gains, deal)).collect();
    let favourite = |party: usize| {
        let better = |a: &&usize, b: &&usize| {
            gains[**a][party]
                .total_cmp(&gains[**b][party])
                .then(gains[**a][1 - party].total_cmp(&gains[**b][1 - party]))
        };
        deals.iter().max_by(better).copied()
    };
    let (Some(mine), Some(theirs)) = (favourite(0), favourite(1)) else {
        return Ok(Concession {
            deal: None,
            path: Vec::new(),
        });
    };
    let mut proposals = [mine, theirs];
    let mut path = vec![(mine as u32, theirs as u32)];
    loop {
        // Who likes the other's proposal as much as the own one agrees to it.
        let content =
            (0..2).find(|&party| gains[proposals[1 - party]][party] >= gains[proposals[party]][party]);
        if let Some(party) = content {
            let deal = Some(proposals[1 - party] as u32);
            return Ok(Concession { deal, path });
        }
        // The risk of one is below that of the other exactly when the product of its proposal is.
        let product = |deal: usize| gains[deal][0] * gains[deal][1];
        let party = usize::from(product(proposals[1]) < product(proposals[0]));
        let (own, other) = (proposals[party], proposals[1 - party]);
        let concessions = || {
            deals
                .iter()
                .copied()
                .filter(|&deal| gains[deal][1 - party] > gains[own][1 - party])
        };
        let least = |deals: &mut dyn Iterator<Item = usize>| {
            deals.max_by(|&a, &b| gains[a][party].total_cmp(&gains[b][party]))
        };
        let enough = least(&mut concessions().filter(|&deal| {
            product(deal) > product(other)
                || (deal == other)
                || (product(deal) == product(other) && party == 1)
        }));
        // The other's own proposal is always a concession, and the last one.
        proposals[party] = enough.unwrap_or(other);
        path.push((proposals[0] as u32, proposals[1] as u32));
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
