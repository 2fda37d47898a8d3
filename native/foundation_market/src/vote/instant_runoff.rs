//! Instant run-off: the last is struck out until one has more than half.

use super::{Ballot, TieBreak, check, check_work};
use crate::Result;
use serde::{Deserialize, Serialize};

/// A count of first preferences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// One for each option; 0 for those struck out.
    pub counts: Vec<u64>,
    /// The weight of ballots that name nobody who is left.
    pub exhausted: u64,
    /// Who is struck out after it.
    pub eliminated: Option<u32>,
}

/// The result of an instant run-off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOff {
    /// The decision; none without a vote, or for a tie at the end that the tie-break leaves open.
    pub winner: Option<u32>,
    /// The winner, or the last ones when they tie.
    pub winners: Vec<u32>,
    /// The rounds.
    pub rounds: Vec<Round>,
}

/// Counts in rounds. Who has more than half of the weight that is not exhausted wins; else the option with the least is
/// struck out. When several have the least, the one goes that had less in the last round where they differed, then the
/// one with the highest number. When all that are left have the same, they tie. O(rounds · size of the ballots).
///
/// # Errors
/// As [`super::approval`], and [`crate::Error::TooLarge`] for ballots whose size times the options is above 2,000 million.
pub fn instant_runoff(options: u32, ballots: &[Ballot], tie: TieBreak) -> Result<RunOff> {
    let (count, total) = check(options, ballots)?;
    check_work(ballots, count)?;
    let mut alive = vec![true; count];
    let mut rounds: Vec<Round> = Vec::new();
    loop {
        let mut counts = vec![0_u64; count];
        for ballot in ballots {
            if let Some(first) = ballot.ranking.iter().find(|option| alive[**option as usize]) {
                counts[*first as usize] += ballot.weight;
            }
        }
        let active: u64 = counts.iter().sum();
        let left: Vec<u32> = (0..options).filter(|&option| alive[option as usize]).collect();
        let most = left
            .iter()
            .map(|&option| counts[option as usize])
            .max()
            .unwrap_or(0);
        let least = left
            .iter()
            .map(|&option| counts[option as usize])
            .min()
            .unwrap_or(0);
        let leaders: Vec<u32> = left
            .iter()
            .copied()
            .filter(|&option| counts[option as usize] == most)
            .collect();
        let over = active == 0 || 2 * most > active || most == least;
        let lowest = || {
            left.iter()
                .copied()
                .filter(|&option| counts[option as usize] == least)
        };
        let eliminated = (!over).then(|| weakest(lowest().collect(), &rounds));
        rounds.push(Round {
            exhausted: total - active,
            eliminated,
            counts,
        });
        match eliminated {
            Some(out) => alive[out as usize] = false,
            None => {
                let winners = if active == 0 { Vec::new() } else { leaders };
                return Ok(RunOff {
                    winner: tie.pick(&winners),
                    winners,
                    rounds,
                });
            }
        }
    }
}

/// Who goes: less in an earlier round, the latest first; then the highest number.
fn weakest(mut tied: Vec<u32>, rounds: &[Round]) -> u32 {
    for round in rounds.iter().rev() {
        let count = |option: u32| round.counts[option as usize];
        let least = tied.iter().map(|&option| count(option)).min().unwrap_or(0);
        tied.retain(|&option| count(option) == least);
    }
    tied.into_iter().max().unwrap_or(0)
}
