//! Voting rules, averages by gossip, and decisions from samples.
//!
//! Options are `0..options`. Ties are stated, not hidden: `winners` has all that tie, ascending, and `winner` is the one
//! that the tie-break names.

mod gossip;
mod instant_runoff;
mod sample;
mod schulze;
mod tally;

pub use gossip::PushSum;
pub use instant_runoff::{Round, RunOff, instant_runoff};
pub use sample::{Estimate, Verdict, choose, decide, sample_size};
pub use schulze::{Schulze, schulze};
pub use tally::{Choice, Tally, TieBreak, approval, borda, majority, plurality, unanimity};

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A ranking of options, the best first, and how much it counts. Options that are left out are all below the others,
/// level with one another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ballot {
    /// The options, none twice.
    pub ranking: Vec<u32>,
    /// How many voters it stands for, or their weight.
    pub weight: u64,
}

/// Options of one vote.
const MAX_OPTIONS: u32 = 1_000;
/// The sum of weights.
const MAX_WEIGHT: u64 = 1 << 40;

/// Comparisons of one count: a second or so.
const MAX_WORK: usize = 2_000_000_000;

/// Refuses what would take minutes: the ballots' sizes, each times `each`.
fn check_work(ballots: &[Ballot], each: usize) -> Result<()> {
    let size: usize = ballots.iter().map(|ballot| 1 + ballot.ranking.len()).sum();
    if size.saturating_mul(each) > MAX_WORK {
        Err(Error::TooLarge("ballots"))
    } else {
        Ok(())
    }
}

fn check_options(options: u32) -> Result<usize> {
    match options {
        0 => Err(Error::Invalid("options")),
        1..=MAX_OPTIONS => Ok(options as usize),
        _ => Err(Error::TooLarge("options")),
    }
}

/// The sum of the weights.
fn check_weights(weights: impl IntoIterator<Item = u64>) -> Result<u64> {
    let mut total = 0_u64;
    for weight in weights {
        total = total.saturating_add(weight);
    }
    if total > MAX_WEIGHT {
        Err(Error::Invalid("weight"))
    } else {
        Ok(total)
    }
}

/// The number of options and the sum of the weights.
fn check(options: u32, ballots: &[Ballot]) -> Result<(usize, u64)> {
    let count = check_options(options)?;
    let mut seen = vec![usize::MAX; count];
    for (at, ballot) in ballots.iter().enumerate() {
        for &option in &ballot.ranking {
            match seen.get_mut(option as usize) {
                Some(mark) if *mark != at => *mark = at,
                _ => return Err(Error::Invalid("ranking")),
            }
        }
    }
    Ok((count, check_weights(ballots.iter().map(|ballot| ballot.weight))?))
}
