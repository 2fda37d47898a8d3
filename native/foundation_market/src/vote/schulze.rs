//! Schulze's method (2011): the beatpath winner, a Condorcet winner when there is one.

use super::{Ballot, TieBreak, check, check_work};
use crate::Result;
use serde::{Deserialize, Serialize};

/// The result of Schulze's method.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schulze {
    /// The decision; none when the tie-break names nobody.
    pub winner: Option<u32>,
    /// All that no other option beats, ascending.
    pub winners: Vec<u32>,
    /// The option that beats every other one directly, when there is one.
    pub condorcet: Option<u32>,
    /// The options in places: each beats all of later places; those of one place are tied.
    pub ranking: Vec<Vec<u32>>,
    /// How much weight prefers row to column.
    pub preferences: Vec<Vec<u64>>,
    /// The strength of the strongest path from row to column, by winning votes.
    pub strengths: Vec<Vec<u64>>,
}

/// Compares options pair by pair; the strength of a path is its weakest link, links count their winning votes.
/// O(size of the ballots · options + options³).
///
/// # Errors
/// As [`super::approval`], and [`crate::Error::TooLarge`] for ballots whose size times the options is above 2,000 million.
pub fn schulze(options: u32, ballots: &[Ballot], tie: TieBreak) -> Result<Schulze> {
    let (count, _) = check(options, ballots)?;
    check_work(ballots, count)?;
    let preferences = preferences(count, ballots);
    let strengths = strongest_paths(&preferences);
    let beats = |a: usize, b: usize| strengths[a][b] > strengths[b][a];
    // The relation is transitive: an option's place is decided by how many it loses to.
    let losses: Vec<usize> = (0..count)
        .map(|a| (0..count).filter(|&b| beats(b, a)).count())
        .collect();
    let mut places: Vec<usize> = losses.clone();
    places.sort_unstable();
    places.dedup();
    let ranking = places
        .iter()
        .map(|place| (0..options).filter(|&a| losses[a as usize] == *place).collect())
        .collect();
    let winners: Vec<u32> = (0..options).filter(|&a| losses[a as usize] == 0).collect();
    let wins_all = |a: usize| (0..count).all(|b| a == b || preferences[a][b] > preferences[b][a]);
    Ok(Schulze {
        winner: tie.pick(&winners),
        winners,
        condorcet: (0..options).find(|&a| wins_all(a as usize)),
        ranking,
        strengths,
        preferences,
    })
}

fn preferences(count: usize, ballots: &[Ballot]) -> Vec<Vec<u64>> {
    let mut preferences = vec![vec![0; count]; count];
    let mut ranked = vec![false; count];
    for ballot in ballots {
        ranked.fill(false);
        for &option in &ballot.ranking {
            ranked[option as usize] = true;
            for (other, ranked) in ranked.iter().enumerate() {
                if !ranked {
                    preferences[option as usize][other] += ballot.weight;
                }
            }
        }
    }
    preferences
}

/// Floyd and Warshall, with the weakest link for a length.
fn strongest_paths(preferences: &[Vec<u64>]) -> Vec<Vec<u64>> {
    let count = preferences.len();
    let mut paths = vec![vec![0; count]; count];
    for a in 0..count {
        for b in 0..count {
            if preferences[a][b] > preferences[b][a] {
                paths[a][b] = preferences[a][b];
            }
        }
    }
    for via in 0..count {
        let through = paths[via].clone();
        for (a, row) in paths.iter_mut().enumerate() {
            let first = row[via];
            if a == via || first == 0 {
                continue;
            }
            for (b, best) in row.iter_mut().enumerate() {
                if a != b {
                    *best = (*best).max(first.min(through[b]));
                }
            }
        }
    }
    paths
}
