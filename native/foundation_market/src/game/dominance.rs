//! Iterated elimination of strictly dominated strategies.

use super::bimatrix::Bimatrix;
use super::minimax::minimax;
use crate::{Limits, Result};

/// What is left of a game.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surviving {
    /// The row player's strategies, ascending.
    pub rows: Vec<usize>,
    /// The column player's strategies, ascending.
    pub cols: Vec<usize>,
    /// How many rounds struck something out.
    pub rounds: usize,
}

/// What counts as strictly better.
const MARGIN: f64 = 1e-9;

/// Strikes out every strategy that some mix of others beats against all that is left, until none is: what is left does
/// not depend on the order. A mix is found as the value of a zero-sum game; a step is a pivot of those.
///
/// # Errors
/// [`crate::Error::Stopped`].
pub fn undominated(game: &Bimatrix, limits: &Limits<'_>) -> Result<Surviving> {
    let mut left = Surviving {
        rows: (0..game.rows()).collect(),
        cols: (0..game.cols()).collect(),
        rounds: 0,
    };
    loop {
        let row = |own: usize, other: usize| game.at(own, other).0;
        let rows = strike(&left.rows, &left.cols, &row, limits)?;
        let column = |own: usize, other: usize| game.at(other, own).1;
        let cols = strike(&left.cols, &rows, &column, limits)?;
        if rows.len() == left.rows.len() && cols.len() == left.cols.len() {
            return Ok(left);
        }
        left = Surviving {
            rows,
            cols,
            rounds: left.rounds + 1,
        };
    }
}

/// The own strategies that no mix of the others beats.
fn strike(
    own: &[usize],
    other: &[usize],
    payoff: &dyn Fn(usize, usize) -> f64,
    limits: &Limits<'_>,
) -> Result<Vec<usize>> {
    let mut kept = own.to_vec();
    let mut at = 0;
    while at < kept.len() && kept.len() > 1 {
        let one = kept[at];
        let rivals: Vec<usize> = kept.iter().copied().filter(|rival| *rival != one).collect();
        // By how much each rival does better: a mix that always does better has a value above 0.
        let table: Vec<f64> = rivals
            .iter()
            .flat_map(|&rival| {
                other
                    .iter()
                    .map(move |&col| payoff(rival, col) - payoff(one, col))
            })
            .collect();
        let scale = table.iter().fold(0.0, |most: f64, gain| most.max(gain.abs()));
        let better =
            scale > 0.0 && minimax(rivals.len(), other.len(), &table, limits)?.value > MARGIN * scale;
        if better {
            kept.remove(at);
        } else {
            at += 1;
        }
    }
    Ok(kept)
}
