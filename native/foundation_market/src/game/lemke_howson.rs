//! One equilibrium by complementary pivoting (Lemke and Howson 1964), with the lexicographic rule, so that degenerate
//! games do not cycle (von Stengel 2002).

use super::bimatrix::{Bimatrix, Profile};
use crate::{Error, Limits, Result};

/// One player's system: slacks and strategies, and the basis.
struct System {
    rows: usize,
    width: usize,
    cells: Vec<f64>,
    /// The label of each row's variable. A strategy and the slack that it excludes have the same label.
    basis: Vec<Variable>,
}

/// A variable: a label, and whether it is the player's own strategy or a slack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Variable {
    label: usize,
    slack: bool,
}

impl System {
    /// Columns: the slacks, the player's strategies, the right-hand side of ones.
    fn new(
        strategies: usize,
        slacks: usize,
        payoff: impl Fn(usize, usize) -> f64,
        labels: (usize, usize),
    ) -> Self {
        let width = slacks + strategies + 1;
        let mut cells = vec![0.0; slacks * width];
        for row in 0..slacks {
            cells[row * width + row] = 1.0;
            for strategy in 0..strategies {
                cells[row * width + slacks + strategy] = payoff(strategy, row);
            }
            cells[row * width + width - 1] = 1.0;
        }
        let slack = |row| Variable {
            label: labels.1 + row,
            slack: true,
        };
        Self {
            rows: slacks,
            width,
            cells,
            basis: (0..slacks).map(slack).collect(),
        }
    }

    /// Brings a column in; the row that leaves is the first in the lexicographic order of the rows over their pivots.
    fn pivot(&mut self, col: usize, entering: Variable) -> Option<Variable> {
        let ratio =
            |row: usize, at: usize| self.cells[row * self.width + at] / self.cells[row * self.width + col];
        let mut leaving: Option<usize> = None;
        for row in (0..self.rows).filter(|row| self.cells[row * self.width + col] > 1e-10) {
            let less = |best: usize| {
                let order = std::iter::once(self.width - 1).chain(0..self.rows);
                for at in order {
                    let (here, there) = (ratio(row, at), ratio(best, at));
                    if (here - there).abs() > 1e-11 * (1.0 + here.abs()) {
                        return here < there;
                    }
                }
                false
            };
            if leaving.is_none_or(less) {
                leaving = Some(row);
            }
        }
        let row = leaving?;
        let inverse = 1.0 / self.cells[row * self.width + col];
        for at in 0..self.width {
            self.cells[row * self.width + at] *= inverse;
        }
        for other in (0..self.rows).filter(|other| *other != row) {
            let factor = self.cells[other * self.width + col];
            if factor != 0.0 {
                for at in 0..self.width {
                    self.cells[other * self.width + at] -= factor * self.cells[row * self.width + at];
                }
            }
        }
        Some(std::mem::replace(&mut self.basis[row], entering))
    }

    fn mix(&self, strategies: usize, first_label: usize) -> Vec<f64> {
        let mut mix = vec![0.0; strategies];
        for (row, variable) in self.basis.iter().enumerate() {
            if !variable.slack {
                mix[variable.label - first_label] = self.cells[row * self.width + self.width - 1];
            }
        }
        mix
    }
}

/// An equilibrium: the one at the end of the path that drops `label` first. Labels `0..rows` are the row player's
/// strategies, the next ones the column player's; other labels may lead to other equilibria. A step is a pivot; in rare
/// games their number is exponential.
///
/// # Errors
/// [`Error::Invalid`] for no such label; [`Error::Stopped`], also when rounding has led the path astray.
pub fn lemke_howson(game: &Bimatrix, label: usize, limits: &Limits<'_>) -> Result<Profile> {
    let (m, n) = (game.rows(), game.cols());
    if label >= m + n {
        return Err(Error::Invalid("label"));
    }
    let (row, column) = game.positive();
    // The row player's mix makes the column player's strategies tie, and the other way round.
    let mut x = System::new(m, n, |i, j| column[i * n + j], (0, m));
    let mut y = System::new(n, m, |j, i| row[i * n + j], (m, 0));
    let mut entering = Variable { label, slack: false };
    let mut in_x = label < m;
    loop {
        if !limits.go_on(1) {
            return Err(Error::Stopped);
        }
        let (system, slacks, labels) = if in_x {
            (&mut x, n, (0, m))
        } else {
            (&mut y, m, (m, 0))
        };
        let col = if entering.slack {
            entering.label - labels.1
        } else {
            slacks + entering.label - labels.0
        };
        let left = system.pivot(col, entering).ok_or(Error::Stopped)?;
        if left.label == label {
            break;
        }
        entering = Variable {
            label: left.label,
            slack: !left.slack,
        };
        in_x = !in_x;
    }
    let profile = Profile::normal(x.mix(m, 0), y.mix(n, m));
    let sound = profile
        .row
        .iter()
        .chain(&profile.column)
        .all(|weight| weight.is_finite());
    if sound { Ok(profile) } else { Err(Error::Stopped) }
}
