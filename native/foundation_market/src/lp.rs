//! Linear programmes that have the origin as a feasible point: max c·x, A·x ≤ b, x ≥ 0, b ≥ 0.
//!
//! The condensed tableau of Tucker and the simplex method of Dantzig (1951), with Bland's rule (1977) while the
//! objective stands still, so that it never cycles. Dense, for some hundred rows and columns.

use crate::{Error, Limits, Result};

/// What is smaller than this is taken for zero.
pub(crate) const EPS: f64 = 1e-9;

/// A right-hand side that is this little below zero is none: chasing it would chase roundings.
const FEASIBLE: f64 = 1e-7;
/// Nothing smaller is pivoted on in the dual method.
const PIVOT: f64 = 1e-7;
/// By how much a reduced cost may fall below zero for the sake of a larger pivot.
const SLACK: f64 = 1e-9;

/// A programme with its basis, to be solved, changed and solved again.
#[derive(Debug, Clone)]
pub(crate) struct Tableau {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// How many variables and how many rows there were before any was taken out; slacks are numbered after variables.
    vars: usize,
    slacks: usize,
    /// Row by row, each `cols + 1` long, the right-hand side last; the objective row comes last of all.
    cells: Vec<f64>,
    /// The variable of each row and of each column: columns first, then slacks.
    pub(crate) basic: Vec<u32>,
    pub(crate) free: Vec<u32>,
    /// A column that must stay at zero.
    pub(crate) barred: Vec<bool>,
}

/// An optimum.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimum {
    /// c·x.
    pub value: f64,
    /// The variables.
    pub x: Vec<f64>,
    /// The price of each row: how much the value would grow with its right-hand side.
    pub duals: Vec<f64>,
}

impl Tableau {
    /// `rows` as coefficients and right-hand side, `c` the objective.
    pub(crate) fn new(rows: &[(Vec<f64>, f64)], c: &[f64]) -> Self {
        let cols = c.len();
        let mut cells = Vec::with_capacity((rows.len() + 1) * (cols + 1));
        for (row, b) in rows {
            cells.extend_from_slice(row);
            cells.push(*b);
        }
        cells.extend(c.iter().map(|c| -c));
        cells.push(0.0);
        Self {
            rows: rows.len(),
            cols,
            vars: cols,
            slacks: rows.len(),
            cells,
            basic: (cols as u32..(cols + rows.len()) as u32).collect(),
            free: (0..cols as u32).collect(),
            barred: vec![false; cols],
        }
    }

    pub(crate) fn row(&self, row: usize) -> &[f64] {
        let width = self.cols + 1;
        &self.cells[row * width..(row + 1) * width]
    }

    fn row_mut(&mut self, row: usize) -> &mut [f64] {
        let width = self.cols + 1;
        &mut self.cells[row * width..(row + 1) * width]
    }

    /// The objective row.
    pub(crate) fn costs(&self) -> &[f64] {
        self.row(self.rows)
    }

    pub(crate) fn value(&self) -> f64 {
        self.costs()[self.cols]
    }

    pub(crate) fn rhs(&self, row: usize) -> f64 {
        self.row(row)[self.cols]
    }

    /// Exchanges the variable of a row with that of a column.
    pub(crate) fn pivot(&mut self, row: usize, col: usize) {
        let width = self.cols + 1;
        let inverse = 1.0 / self.cells[row * width + col];
        for cell in self.row_mut(row) {
            *cell *= inverse;
        }
        self.cells[row * width + col] = inverse;
        let (before, rest) = self.cells.split_at_mut(row * width);
        let (pivot_row, after) = rest.split_at_mut(width);
        for other in before
            .chunks_exact_mut(width)
            .chain(after.chunks_exact_mut(width))
        {
            let factor = other[col];
            if factor == 0.0 {
                continue;
            }
            other[col] = 0.0;
            for (cell, pivot) in other.iter_mut().zip(pivot_row.iter()) {
                *cell -= factor * pivot;
            }
        }
        std::mem::swap(&mut self.basic[row], &mut self.free[col]);
    }

    fn entering(&self, bland: bool) -> Option<usize> {
        let costs = &self.costs()[..self.cols];
        let candidates = (0..self.cols).filter(|&col| costs[col] < -EPS && !self.barred[col]);
        if bland {
            candidates.min_by_key(|&col| self.free[col])
        } else {
            candidates.min_by(|&a, &b| costs[a].total_cmp(&costs[b]))
        }
    }

    fn leaving(&self, col: usize, bland: bool) -> Option<usize> {
        let mut best: Option<(f64, f64, usize)> = None;
        for row in 0..self.rows {
            let cells = self.row(row);
            let along = cells[col];
            if along <= EPS {
                continue;
            }
            let ratio = cells[self.cols].max(0.0) / along;
            let better = match best {
                None => true,
                Some((least, pivot, at)) => {
                    ratio < least - 1e-12
                        || (ratio < least + 1e-12
                            && if bland {
                                self.basic[row] < self.basic[at]
                            } else {
                                along > pivot
                            })
                }
            };
            if better {
                best = Some((ratio, along, row));
            }
        }
        best.map(|(_, _, row)| row)
    }

    /// The primal simplex method, from a basis that is feasible. A step is a pivot.
    pub(crate) fn maximise(&mut self, limits: &Limits<'_>) -> Result<()> {
        let patience = self.rows + self.cols;
        let mut still = 0;
        let mut value = self.value();
        loop {
            let bland = still > patience;
            let Some(col) = self.entering(bland) else {
                return Ok(());
            };
            let Some(row) = self.leaving(col, bland) else {
                return Err(Error::Invalid("programme"));
            };
            if !limits.go_on(1) {
                return Err(Error::Stopped);
            }
            self.pivot(row, col);
            if self.value() > value + EPS * value.abs().max(1.0) {
                value = self.value();
                still = 0;
            } else {
                still += 1;
            }
        }
    }

    /// The dual simplex method, from a basis that is dual feasible; false when it did not reach an optimum, because
    /// there is no feasible point or because it has gone on for too long.
    pub(crate) fn repair(&mut self, max_pivots: usize) -> bool {
        for _ in 0..max_pivots {
            let worst = (0..self.rows)
                .map(|row| (self.rhs(row), row))
                .min_by(|a, b| a.0.total_cmp(&b.0));
            match worst {
                Some((rhs, row)) if rhs < -FEASIBLE => match self.dual_column(row, -1.0) {
                    Some(col) => self.pivot(row, col),
                    None => return false,
                },
                _ => return true,
            }
        }
        false
    }

    /// The column that may enter for a row, those with a coefficient of that sign being candidates: of the ones that hurt
    /// the objective least the one with the largest coefficient, which keeps the numbers sound.
    fn dual_column(&self, row: usize, sign: f64) -> Option<usize> {
        let (cells, costs) = (self.row(row), self.costs());
        let candidates = || (0..self.cols).filter(|&col| sign * cells[col] > PIVOT && !self.barred[col]);
        let ratio = |col: usize, slack: f64| (costs[col].max(0.0) + slack) / (sign * cells[col]);
        let most = candidates().map(|col| ratio(col, SLACK)).min_by(f64::total_cmp)?;
        candidates()
            .filter(|&col| ratio(col, 0.0) <= most)
            .max_by(|&a, &b| (sign * cells[a]).total_cmp(&(sign * cells[b])))
    }

    /// Fixes a variable at 0, or at 1 (`up`), for ever; the basis stays dual feasible, `repair` is to follow. False
    /// when the variable cannot leave the basis: then it has that value already, or nothing has it.
    pub(crate) fn fix(&mut self, variable: u32, up: bool) -> bool {
        if let Some(col) = self.free.iter().position(|&free| free == variable) {
            if up {
                self.complement_column(col);
            }
            self.barred[col] = true;
            return true;
        }
        let Some(row) = self.basic.iter().position(|&basic| basic == variable) else {
            return true;
        };
        if up {
            // x' = 1 - x takes the row: x' - Σ a·free = 1 - b.
            let cols = self.cols;
            let cells = self.row_mut(row);
            for cell in cells.iter_mut() {
                *cell = -*cell;
            }
            cells[cols] += 1.0;
        }
        // x (or x') must fall to 0: the column enters that keeps the objective row feasible.
        let Some(col) = self.dual_column(row, 1.0) else {
            return false;
        };
        self.pivot(row, col);
        self.barred[col] = true;
        true
    }

    /// Adds the row Σ x ≤ 1 over some of the first `cols` variables; the basis stays dual feasible, `repair` is to follow.
    pub(crate) fn add_row(&mut self, variables: &[u32]) {
        let width = self.cols + 1;
        let mut row = vec![0.0; width];
        row[self.cols] = 1.0;
        for &variable in variables {
            if let Some(col) = self.free.iter().position(|&free| free == variable) {
                row[col] += 1.0;
            } else if let Some(at) = self.basic.iter().position(|&basic| basic == variable) {
                for (cell, basic) in row.iter_mut().zip(self.row(at)) {
                    *cell -= basic;
                }
            }
        }
        let end = self.rows * width;
        self.cells.splice(end..end, row);
        self.basic.push((self.vars + self.slacks) as u32);
        self.rows += 1;
        self.slacks += 1;
    }

    /// Takes out the rows from `first` on that do not bind, which changes nothing else. Answers which of them are left, in
    /// order.
    pub(crate) fn drop_slack_rows(&mut self, first: usize) -> Vec<usize> {
        let mut kept: Vec<usize> = (first..self.slacks).collect();
        for at in (0..self.rows).rev() {
            if let Some(row) = (self.basic[at] as usize).checked_sub(self.vars + first) {
                kept.retain(|kept| *kept != first + row);
                self.drop_row(at);
            }
        }
        for variable in self.free.iter_mut().chain(&mut self.basic) {
            let row = (*variable as usize).checked_sub(self.vars);
            if let Some(place) = row.and_then(|row| kept.binary_search(&row).ok()) {
                *variable = (self.vars + first + place) as u32;
            }
        }
        self.slacks = first + kept.len();
        kept
    }

    fn drop_row(&mut self, at: usize) {
        let width = self.cols + 1;
        self.cells.drain(at * width..(at + 1) * width);
        self.basic.remove(at);
        self.rows -= 1;
    }

    /// Takes out the variables that are not in the basis and must stay at 0, those that were barred and those that `out`
    /// names; and the rows that then say nothing.
    pub(crate) fn shrink(&mut self, out: impl Fn(usize) -> bool) {
        let width = self.cols + 1;
        let outside = |col: usize| (self.free[col] as usize) < self.vars && out(self.free[col] as usize);
        let keep: Vec<usize> = (0..self.cols)
            .filter(|&col| !self.barred[col] && !outside(col))
            .collect();
        let mut cells = Vec::with_capacity((self.rows + 1) * (keep.len() + 1));
        let mut basic = Vec::with_capacity(self.rows);
        for (at, row) in self.cells.chunks_exact(width).enumerate() {
            let start = cells.len();
            cells.extend(keep.iter().map(|&col| row[col]));
            let slack = self
                .basic
                .get(at)
                .is_some_and(|&variable| variable as usize >= self.vars);
            if slack && cells[start..].iter().all(|cell| cell.abs() < 1e-12) {
                cells.truncate(start);
                continue;
            }
            cells.push(row[self.cols]);
            basic.extend(self.basic.get(at));
        }
        self.free = keep.iter().map(|&col| self.free[col]).collect();
        self.barred = vec![false; keep.len()];
        self.cols = keep.len();
        self.rows = basic.len();
        (self.cells, self.basic) = (cells, basic);
    }

    /// The variables of the basis that are no slacks.
    pub(crate) fn inside(&self) -> impl Iterator<Item = usize> {
        self.basic
            .iter()
            .map(|&variable| variable as usize)
            .filter(|variable| *variable < self.vars)
    }

    /// Substitutes x = 1 - x' for the variable of a column.
    fn complement_column(&mut self, col: usize) {
        let width = self.cols + 1;
        for row in self.cells.chunks_exact_mut(width) {
            row[width - 1] -= row[col];
            row[col] = -row[col];
        }
    }

    /// The values of the first `cols` variables. Of those that were fixed at 1 it says 0.
    pub(crate) fn primal(&self) -> Vec<f64> {
        let mut x = vec![0.0; self.vars];
        for (row, &variable) in self.basic.iter().enumerate() {
            if let Some(slot) = x.get_mut(variable as usize) {
                *slot = self.rhs(row);
            }
        }
        x
    }

    /// The price of each row.
    pub(crate) fn duals(&self) -> Vec<f64> {
        let mut y = vec![0.0; self.slacks];
        for (col, &variable) in self.free.iter().enumerate() {
            if let Some(slot) = (variable as usize).checked_sub(self.vars) {
                y[slot] = self.costs()[col].max(0.0);
            }
        }
        y
    }
}

/// Solves a programme; `rows` are coefficients and right-hand sides. O(rows · columns) a step, which is a pivot.
///
/// # Errors
/// [`Error::Invalid`] for rows of another length, numbers that are not finite, a right-hand side below 0, or an
/// unbounded programme; [`Error::Stopped`].
pub fn maximise(rows: &[(Vec<f64>, f64)], c: &[f64], limits: &Limits<'_>) -> Result<Optimum> {
    let fits = |(row, b): &(Vec<f64>, f64)| {
        row.len() == c.len() && row.iter().all(|a| a.is_finite()) && b.is_finite() && *b >= 0.0
    };
    if !rows.iter().all(fits) || c.iter().any(|c| !c.is_finite()) {
        return Err(Error::Invalid("programme"));
    }
    let mut tableau = Tableau::new(rows, c);
    tableau.maximise(limits)?;
    Ok(Optimum {
        value: tableau.value(),
        x: tableau.primal(),
        duals: tableau.duals(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(rows: &[(Vec<f64>, f64)], c: &[f64]) -> Optimum {
        maximise(rows, c, &Limits::none()).unwrap()
    }

    #[test]
    fn the_textbook_example() {
        // Hillier and Lieberman, Wyndor Glass: 36 at (2, 6), shadow prices 0, 3/2, 1.
        let rows = [
            (vec![1.0, 0.0], 4.0),
            (vec![0.0, 2.0], 12.0),
            (vec![3.0, 2.0], 18.0),
        ];
        let best = solve(&rows, &[3.0, 5.0]);
        assert!((best.value - 36.0).abs() < 1e-9);
        assert_eq!(best.x, vec![2.0, 6.0]);
        assert!((best.duals[1] - 1.5).abs() < 1e-9 && (best.duals[2] - 1.0).abs() < 1e-9);
    }

    #[test]
    fn beales_example_does_not_cycle() {
        // Beale 1955: Dantzig's rule alone goes round for ever.
        let rows = [
            (vec![0.25, -60.0, -1.0 / 25.0, 9.0], 0.0),
            (vec![0.5, -90.0, -1.0 / 50.0, 3.0], 0.0),
            (vec![0.0, 0.0, 1.0, 0.0], 1.0),
        ];
        let best = solve(&rows, &[0.75, -150.0, 0.02, -6.0]);
        assert!((best.value - 0.05).abs() < 1e-9);
    }

    #[test]
    fn what_has_no_bound_says_so() {
        let rows = [(vec![-1.0, 1.0], 1.0)];
        assert!(matches!(
            maximise(&rows, &[1.0, 1.0], &Limits::none()),
            Err(Error::Invalid(_))
        ));
        assert_eq!(
            maximise(&[(vec![1.0], 1.0)], &[1.0], &Limits::steps(0)),
            Err(Error::Stopped)
        );
        assert!(maximise(&[(vec![f64::NAN], 1.0)], &[1.0], &Limits::none()).is_err());
    }
}
