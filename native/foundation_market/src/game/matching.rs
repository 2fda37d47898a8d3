//! Stable matchings (Gale and Shapley 1962), one to one and with several places.

use crate::{Error, Result};

/// Who asks whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proposals {
    /// The first side asks: the best stable matching for each of the first side.
    FromFirst,
    /// The second side asks: the best stable matching for each of the second side.
    FromSecond,
}

/// Who is with whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matching {
    /// Of each of the first side, its partner.
    pub partner: Vec<Option<u32>>,
    /// How many proposals were made.
    pub proposals: u64,
}

/// No rank: not acceptable.
const NEVER: u32 = u32::MAX;

/// Of each, the place of each of the others in its list.
fn ranks(lists: &[Vec<u32>], others: usize) -> Result<Vec<Vec<u32>>> {
    if lists.len().saturating_mul(others) > 100_000_000 {
        return Err(Error::TooLarge("sides"));
    }
    lists
        .iter()
        .map(|list| {
            let mut ranks = vec![NEVER; others];
            for (place, &other) in (0_u32..).zip(list) {
                match ranks.get_mut(other as usize) {
                    Some(rank) if *rank == NEVER => *rank = place,
                    _ => return Err(Error::Invalid("preferences")),
                }
            }
            Ok(ranks)
        })
        .collect()
}

/// A stable matching of two sides, each with a list of those it accepts, the best first; of the second side each takes
/// up to `places`. Who asks decides which of the stable matchings it is; each who asks fares best by telling the truth
/// when it is one to one or the first side asks. O(size of the lists + sides²).
///
/// # Errors
/// [`Error::Invalid`] for a list with someone out of range or twice, or places that are not one for each of the second
/// side; [`Error::TooLarge`] beyond 100 million pairs.
pub fn stable_matching(
    first: &[Vec<u32>],
    second: &[Vec<u32>],
    places: &[u32],
    proposals: Proposals,
) -> Result<Matching> {
    if places.len() != second.len() {
        return Err(Error::Invalid("places"));
    }
    let first_ranks = ranks(first, second.len())?;
    let second_ranks = ranks(second, first.len())?;
    let mut state = State {
        partner: vec![None; first.len()],
        held: vec![Vec::new(); second.len()],
        proposals: 0,
    };
    match proposals {
        Proposals::FromFirst => state.first_asks(first, &second_ranks, places),
        Proposals::FromSecond => state.second_asks(second, &first_ranks, places),
    }
    Ok(Matching {
        partner: state.partner,
        proposals: state.proposals,
    })
}

struct State {
    partner: Vec<Option<u32>>,
    /// Of each of the second side, whom it holds.
    held: Vec<Vec<u32>>,
    proposals: u64,
}

impl State {
    fn first_asks(&mut self, lists: &[Vec<u32>], ranks: &[Vec<u32>], places: &[u32]) {
        let mut next = vec![0; lists.len()];
        let mut free: Vec<usize> = (0..lists.len()).rev().collect();
        while let Some(who) = free.pop() {
            let Some(&whom) = lists[who].get(next[who]) else {
                continue;
            };
            next[who] += 1;
            self.proposals += 1;
            let rank = &ranks[whom as usize];
            let held = &mut self.held[whom as usize];
            if rank[who] == NEVER || places[whom as usize] == 0 {
                free.push(who);
                continue;
            }
            // The worst one stands last.
            let at = held.partition_point(|other| rank[*other as usize] < rank[who]);
            held.insert(at, who as u32);
            self.partner[who] = Some(whom);
            if held.len() > places[whom as usize] as usize
                && let Some(out) = held.pop()
            {
                self.partner[out as usize] = None;
                free.push(out as usize);
            }
        }
    }

    fn second_asks(&mut self, lists: &[Vec<u32>], ranks: &[Vec<u32>], places: &[u32]) {
        let mut next = vec![0; lists.len()];
        let mut free: Vec<usize> = (0..lists.len()).rev().collect();
        while let Some(who) = free.pop() {
            while (self.held[who].len() as u64) < u64::from(places[who]) {
                let Some(&whom) = lists[who].get(next[who]) else {
                    break;
                };
                next[who] += 1;
                self.proposals += 1;
                let rank = &ranks[whom as usize];
                let current = self.partner[whom as usize];
                let worse = current.is_some_and(|current| rank[current as usize] < rank[who]);
                if rank[who] == NEVER || worse {
                    continue;
                }
                if let Some(left) = current {
                    self.held[left as usize].retain(|other| *other != whom);
                    free.push(left as usize);
                }
                self.partner[whom as usize] = Some(who as u32);
                self.held[who].push(whom);
            }
        }
    }
}

/// The pairs who would both rather be with each other than as matched: none for a stable matching. O(sides²).
///
/// # Errors
/// As [`stable_matching`], and [`Error::Invalid`] for a matching that does not fit.
pub fn blocking_pairs(
    first: &[Vec<u32>],
    second: &[Vec<u32>],
    places: &[u32],
    matching: &Matching,
) -> Result<Vec<(u32, u32)>> {
    let first_ranks = ranks(first, second.len())?;
    let second_ranks = ranks(second, first.len())?;
    let fits = matching.partner.len() == first.len()
        && places.len() == second.len()
        && matching
            .partner
            .iter()
            .flatten()
            .all(|partner| (*partner as usize) < second.len());
    if !fits {
        return Err(Error::Invalid("matching"));
    }
    let mut held: Vec<Vec<usize>> = vec![Vec::new(); second.len()];
    for (who, partner) in matching.partner.iter().enumerate() {
        if let Some(partner) = partner {
            held[*partner as usize].push(who);
        }
    }
    let mut pairs = Vec::new();
    for (who, ranks) in first_ranks.iter().enumerate() {
        let current = matching.partner[who].map_or(NEVER, |partner| ranks[partner as usize]);
        for (whom, rank) in ranks.iter().enumerate() {
            let mine = &second_ranks[whom];
            let room = (held[whom].len() as u64) < u64::from(places[whom]);
            let worst = held[whom].iter().map(|other| mine[*other]).max().unwrap_or(0);
            let wants = mine[who] != NEVER && (room || mine[who] < worst);
            if *rank < current && wants && places[whom] > 0 {
                pairs.push((who as u32, whom as u32));
            }
        }
    }
    Ok(pairs)
}
