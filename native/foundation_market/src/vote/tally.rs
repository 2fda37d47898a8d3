//! Rules that count.

use super::{Ballot, MAX_WEIGHT, check, check_options, check_weights, check_work};
use crate::{Error, Result, Rng};
use serde::{Deserialize, Serialize};

/// Who wins among those that tie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TieBreak {
    /// Nobody.
    None,
    /// The option with the lowest number.
    Lowest,
    /// One by chance, each as likely as any other; the same for the same seed.
    Seed(u64),
}

impl TieBreak {
    pub(super) fn pick(self, tied: &[u32]) -> Option<u32> {
        match (tied, self) {
            ([], _) => None,
            ([only], _) => Some(*only),
            (_, Self::None) => None,
            (_, Self::Lowest) => tied.iter().min().copied(),
            (_, Self::Seed(seed)) => tied.get(Rng::new(seed).index(tied.len())).copied(),
        }
    }
}

/// A vote for one option, and how much it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Choice {
    /// Which.
    pub option: u32,
    /// How many voters it stands for, or their weight.
    pub weight: u64,
}

/// The count of a vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The decision; none when the rule or the tie-break names nobody.
    pub winner: Option<u32>,
    /// All with the highest score, ascending; for a rule with a threshold, only when they pass it.
    pub winners: Vec<u32>,
    /// One for each option, in units of 1 / `denominator`.
    pub scores: Vec<u64>,
    /// What the scores are parts of.
    pub denominator: u64,
    /// The sum of all weights.
    pub total: u64,
}

impl Tally {
    fn of(scores: Vec<u64>, denominator: u64, total: u64, tie: TieBreak) -> Self {
        let most = scores.iter().copied().max().unwrap_or(0);
        let pairs = (0_u32..).zip(&scores);
        let winners: Vec<u32> = match most {
            0 => Vec::new(),
            _ => pairs
                .filter(|(_, score)| **score == most)
                .map(|(option, _)| option)
                .collect(),
        };
        Self {
            winner: tie.pick(&winners),
            winners,
            scores,
            denominator,
            total,
        }
    }

    /// Keeps the winners only when that holds for their score and the total.
    fn only_if(mut self, passes: impl Fn(u64, u64) -> bool) -> Self {
        let most = self.scores.iter().copied().max().unwrap_or(0);
        if !passes(most, self.total) {
            self.winners.clear();
            self.winner = None;
        }
        self
    }
}

/// Counts the choices; the option with the most wins, without any votes nobody. O(options + choices).
///
/// # Errors
/// [`Error::Invalid`] for an option out of range or weights of more than 2^40 together, [`Error::TooLarge`] for more
/// than 1,000 options.
pub fn plurality(options: u32, choices: &[Choice], tie: TieBreak) -> Result<Tally> {
    let mut scores = vec![0_u64; check_options(options)?];
    let total = check_weights(choices.iter().map(|choice| choice.weight))?;
    for choice in choices {
        let score = scores.get_mut(choice.option as usize);
        *score.ok_or(Error::Invalid("option"))? += choice.weight;
    }
    Ok(Tally::of(scores, 1, total, tie))
}

/// The option that has more than half of `electorate`: of all weight that might have voted, so that who does not answer
/// counts against; none decides when no option has it. With weights this is the weighted majority.
///
/// # Errors
/// As [`plurality`]; [`Error::Invalid`] for an electorate below the weight that voted or above 2^40.
pub fn majority(options: u32, choices: &[Choice], electorate: u64) -> Result<Tally> {
    let tally = plurality(options, choices, TieBreak::None)?;
    if electorate < tally.total || electorate > MAX_WEIGHT {
        return Err(Error::Invalid("electorate"));
    }
    Ok(tally.only_if(|most, _| 2 * most > electorate))
}

/// The option that has all the weight of `electorate`.
///
/// # Errors
/// As [`majority`].
pub fn unanimity(options: u32, choices: &[Choice], electorate: u64) -> Result<Tally> {
    let tally = majority(options, choices, electorate)?;
    Ok(tally.only_if(|most, _| most == electorate && most > 0))
}

/// Counts on how many ballots each option is approved; the ranking's order means nothing. O(size of the ballots).
///
/// # Errors
/// [`Error::Invalid`] for an option out of range or named twice on a ballot or for weights of more than 2^40 together,
/// [`Error::TooLarge`] for more than 1,000 options.
pub fn approval(options: u32, ballots: &[Ballot], tie: TieBreak) -> Result<Tally> {
    let (count, total) = check(options, ballots)?;
    let mut scores = vec![0_u64; count];
    for ballot in ballots {
        for &option in &ballot.ranking {
            scores[option as usize] += ballot.weight;
        }
    }
    Ok(Tally::of(scores, 1, total, tie))
}

/// Borda's count: with n options the first of a ballot has n - 1 points, the next n - 2; those left out share what
/// remains evenly, so that every ballot gives as many points. Scores are in halves. O(size · options).
///
/// # Errors
/// As [`approval`], and [`Error::TooLarge`] for ballots whose size times the options is above 2,000 million.
pub fn borda(options: u32, ballots: &[Ballot], tie: TieBreak) -> Result<Tally> {
    let (count, total) = check(options, ballots)?;
    check_work(ballots, count)?;
    let mut scores = vec![0_u64; count];
    for ballot in ballots {
        // Of r options left out, the points 0..r-1: (r - 1) / 2 each.
        let rest = (count - ballot.ranking.len()).saturating_sub(1) as u64;
        for score in &mut scores {
            *score += rest * ballot.weight;
        }
        for (place, &option) in ballot.ranking.iter().enumerate() {
            let points = 2 * (count - 1 - place) as u64;
            let score = &mut scores[option as usize];
            *score = *score + points * ballot.weight - rest * ballot.weight;
        }
    }
    Ok(Tally::of(scores, 2, total, tie))
}
