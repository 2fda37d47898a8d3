//! Several issues, each with options, and what each option is worth to each party.

use crate::{Error, Limits, Result};

/// A negotiation's issues. What a deal is worth to a party is the sum over its issues, in points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issues {
    options: Vec<usize>,
    /// Of each party, of each issue, of each option.
    points: Vec<Vec<Vec<i64>>>,
}

/// Where improvements ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Improved {
    /// The option of each issue.
    pub deal: Vec<u32>,
    /// What it is worth to each party.
    pub worth: Vec<i64>,
    /// How many changes were made.
    pub steps: u32,
    /// Whether no change of one or two issues makes anyone better off and nobody worse; false when the limits ended it.
    pub complete: bool,
}

/// Points of one option.
const MAX_POINTS: i64 = 1 << 40;

impl Issues {
    /// Points of each party, of each issue, of each option.
    ///
    /// # Errors
    /// [`Error::Invalid`] for no parties, no issues, an issue without options, parties with different issues, or points
    /// beyond 2^40; [`Error::TooLarge`] for more than 1,000 issues.
    pub fn new(points: Vec<Vec<Vec<i64>>>) -> Result<Self> {
        let first = points.first().ok_or(Error::Invalid("points"))?;
        let options: Vec<usize> = first.iter().map(Vec::len).collect();
        if options.len() > 1_000 {
            return Err(Error::TooLarge("issues"));
        }
        let fits = |party: &Vec<Vec<i64>>| {
            party.len() == options.len()
                && party.iter().zip(&options).all(|(issue, count)| {
                    issue.len() == *count
                        && issue
                            .iter()
                            .all(|points| points.unsigned_abs() <= MAX_POINTS as u64)
                })
        };
        if options.is_empty() || options.contains(&0) || !points.iter().all(fits) {
            return Err(Error::Invalid("points"));
        }
        Ok(Self { options, points })
    }

    fn check(&self, deal: &[u32]) -> Result<()> {
        let fits = deal.len() == self.options.len()
            && deal
                .iter()
                .zip(&self.options)
                .all(|(option, count)| (*option as usize) < *count);
        if fits { Ok(()) } else { Err(Error::Invalid("deal")) }
    }

    /// What a deal is worth to each party. O(parties · issues).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a deal that does not fit.
    pub fn worth(&self, deal: &[u32]) -> Result<Vec<i64>> {
        self.check(deal)?;
        let of = |party: &Vec<Vec<i64>>| {
            party
                .iter()
                .zip(deal)
                .map(|(issue, option)| issue[*option as usize])
                .sum()
        };
        Ok(self.points.iter().map(of).collect())
    }

    /// Improves a deal step by step: of all changes of one or two issues that make nobody worse off, the one that adds
    /// most points over all parties, until there is none. A step of the limits is a thousand changes looked at.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a deal that does not fit.
    pub fn improve(&self, deal: &[u32], limits: &Limits<'_>) -> Result<Improved> {
        let mut worth = self.worth(deal)?;
        let mut deal = deal.to_vec();
        let (mut steps, mut complete) = (0, true);
        loop {
            let best = match self.best_change(&deal, limits) {
                Ok(Some(best)) => best,
                Ok(None) => break,
                Err(_) => {
                    complete = false;
                    break;
                }
            };
            for (issue, option) in best {
                deal[issue] = option;
            }
            worth = self.worth(&deal)?;
            steps += 1;
        }
        Ok(Improved {
            deal,
            worth,
            steps,
            complete,
        })
    }

    fn change(&self, deal: &[u32], issue: usize, option: usize) -> Vec<i64> {
        let by = |party: &Vec<Vec<i64>>| party[issue][option] - party[issue][deal[issue] as usize];
        self.points.iter().map(by).collect()
    }

    fn best_change(&self, deal: &[u32], limits: &Limits<'_>) -> Result<Option<Vec<(usize, u32)>>> {
        let singles: Vec<(usize, u32, Vec<i64>)> = (0..self.options.len())
            .flat_map(|issue| (0..self.options[issue]).map(move |option| (issue, option)))
            .filter(|(issue, option)| deal[*issue] as usize != *option)
            .map(|(issue, option)| (issue, option as u32, self.change(deal, issue, option)))
            .collect();
        let mut best: (i64, Option<Vec<(usize, u32)>>) = (0, None);
        let mut looked = 0_u64;
        for (at, (issue, option, change)) in singles.iter().enumerate() {
            let gain: i64 = change.iter().sum();
            if gain > best.0 && change.iter().all(|by| *by >= 0) {
                best = (gain, Some(vec![(*issue, *option)]));
            }
            for (other, second, more) in &singles[at + 1..] {
                looked += 1;
                if looked.is_multiple_of(1_000) && !limits.go_on(1) {
                    return Err(Error::Stopped);
                }
                let both: i64 = gain + more.iter().sum::<i64>();
                if issue != other && both > best.0 && change.iter().zip(more).all(|(a, b)| a + b >= 0) {
                    best = (both, Some(vec![(*issue, *option), (*other, *second)]));
                }
            }
        }
        if limits.go_on(1) {
            Ok(best.1)
        } else {
            Err(Error::Stopped)
        }
    }

    /// All deals that no other one beats (as good for all and better for one), with what they are worth: one deal for
    /// each combination of worths. O(deals · deals kept); a step is a thousand comparisons.
    ///
    /// # Errors
    /// [`Error::TooLarge`] for more than a million deals; [`Error::Stopped`].
    pub fn frontier(&self, limits: &Limits<'_>) -> Result<Vec<(Vec<u32>, Vec<i64>)>> {
        let count = self
            .options
            .iter()
            .try_fold(1_usize, |all, count| all.checked_mul(*count));
        if count.is_none_or(|count| count > 1_000_000) {
            return Err(Error::TooLarge("deals"));
        }
        let mut kept: Vec<(Vec<u32>, Vec<i64>)> = Vec::new();
        let mut deal = vec![0_u32; self.options.len()];
        loop {
            if !limits.go_on(1 + kept.len() as u64 / 1_000) {
                return Err(Error::Stopped);
            }
            let worth = self.worth(&deal)?;
            let at_least = |a: &[i64], b: &[i64]| a.iter().zip(b).all(|(a, b)| a >= b);
            if !kept.iter().any(|(_, other)| at_least(other, &worth)) {
                kept.retain(|(_, other)| !at_least(&worth, other));
                kept.push((deal.clone(), worth));
            }
            // The next deal, like the next number.
            let Some(issue) = (0..deal.len())
                .rev()
                .find(|&at| (deal[at] as usize) + 1 < self.options[at])
            else {
                return Ok(kept);
            };
            deal[issue] += 1;
            deal[issue + 1..].fill(0);
        }
    }
}
