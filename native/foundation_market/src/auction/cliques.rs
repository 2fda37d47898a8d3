//! Sets of bids of which any two exclude each other, though no single resource says so.
//!
//! At most one bid of such a clique wins (Padberg 1973). A clique that the relaxation breaks is made a resource that each
//! of its bids takes; the relaxation comes much closer to what can be allocated, and all that is said of resources
//! holds for it.

use super::instance::Instance;
use crate::Limits;
use crate::lp::Tableau;

/// Bids of an instance that is looked at; the table of conflicts grows with the square.
const MAX_BIDS: usize = 3_000;
/// Rounds of looking for broken cliques.
const ROUNDS: usize = 25;
/// Cliques of one round.
const PER_ROUND: usize = 40;
/// By how much a clique must be broken.
const BROKEN: f64 = 0.01;

/// Which bids exclude which, a bit for each.
struct Conflicts {
    words: usize,
    bits: Vec<u64>,
}

impl Conflicts {
    fn new(instance: &Instance) -> Self {
        let count = instance.bids.len();
        let words = count.div_ceil(64);
        let mut bits = vec![0_u64; count * words];
        for takers in &instance.takers {
            for &one in takers {
                let row = one as usize * words;
                for &other in takers {
                    bits[row + other as usize / 64] |= 1 << (other % 64);
                }
            }
        }
        for one in 0..count {
            bits[one * words + one / 64] &= !(1 << (one % 64));
        }
        Self { words, bits }
    }

    fn row(&self, bid: usize) -> &[u64] {
        &self.bits[bid * self.words..(bid + 1) * self.words]
    }

    /// The clique that grows from a bid when others are taken in that order.
    fn grow(&self, first: usize, order: &[usize]) -> Vec<u32> {
        let mut common = self.row(first).to_vec();
        let mut clique = vec![first as u32];
        for &bid in order {
            if common[bid / 64] >> (bid % 64) & 1 == 1 {
                clique.push(bid as u32);
                for (common, row) in common.iter_mut().zip(self.row(bid)) {
                    *common &= row;
                }
            }
        }
        clique.sort_unstable();
        clique
    }
}

/// Finds cliques that the relaxation breaks, until it breaks none that is easily found, and makes those resources that
/// still bind in the end. `tableau` is the solved relaxation, and is so afterwards.
pub(super) fn strengthen(instance: &mut Instance, tableau: &mut Tableau, limits: &Limits<'_>) {
    if instance.bids.len() > MAX_BIDS {
        return;
    }
    let conflicts = Conflicts::new(instance);
    let rows = tableau.rows;
    let mut cliques: Vec<Vec<u32>> = Vec::new();
    let mut value = tableau.value();
    let mut idle = 0;
    for _ in 0..ROUNDS {
        let broken = separate(&conflicts, &tableau.primal());
        if broken.is_empty() || !limits.go_on(1 + broken.len() as u64) {
            break;
        }
        for clique in broken {
            tableau.add_row(&clique);
            cliques.push(clique);
        }
        if !tableau.repair(20 * (tableau.rows + tableau.cols)) {
            break;
        }
        idle = if tableau.value() < value - 1e-4 * value {
            0
        } else {
            idle + 1
        };
        value = tableau.value();
        if idle == 3 {
            break;
        }
    }
    for row in tableau.drop_slack_rows(rows) {
        instance.add_resource(std::mem::take(&mut cliques[row - rows]));
    }
}

/// Cliques that a solution of the relaxation breaks.
fn separate(conflicts: &Conflicts, x: &[f64]) -> Vec<Vec<u32>> {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_by(|&a, &b| x[b].total_cmp(&x[a]).then(a.cmp(&b)));
    let mut found: Vec<Vec<u32>> = Vec::new();
    let fractional = |bid: &usize| x[*bid] > BROKEN && x[*bid] < 1.0 - BROKEN;
    for first in order.iter().copied().filter(fractional) {
        let clique = conflicts.grow(first, &order);
        let weight: f64 = clique.iter().map(|&bid| x[bid as usize]).sum();
        if weight > 1.0 + BROKEN && !found.contains(&clique) {
            found.push(clique);
            if found.len() == PER_ROUND {
                break;
            }
        }
    }
    found
}
