//! The Hungarian method (Kuhn 1955) in the form of Jonker and Volgenant (1987): shortest augmenting paths after a cheap
//! start.

use super::{Assignment, BARRED, Costs};
use crate::{Error, Limits, Result};

/// No row, no column.
const NONE: u32 = u32::MAX;

/// Rows and columns with their potentials; rows ≤ columns.
struct State<'c> {
    costs: &'c [i64],
    cols: usize,
    column_of: Vec<u32>,
    row_of: Vec<u32>,
    v: Vec<i64>,
}

/// As many rows as can be, each with a column of its own, and of all these the cheapest. O(n³) at worst, a small part of
/// it on most matrices; a step is one row's search, O(rows · columns) at worst.
///
/// # Errors
/// [`Error::Overflow`] when the range of costs times the squared size leaves 62 bits (with rows that cannot do
/// everything; else times the size); [`Error::Stopped`].
pub fn hungarian(costs: &Costs, limits: &Limits<'_>) -> Result<Assignment> {
    if costs.rows > costs.cols {
        let turned = hungarian(&costs.transposed(), limits)?;
        let mut columns = vec![None; costs.rows];
        for (col, row) in turned.columns.iter().enumerate() {
            if let Some(row) = row {
                columns[*row as usize] = Some(col as u32);
            }
        }
        return Ok(Assignment {
            columns,
            cost: turned.cost,
        });
    }
    let (least, penalty) = costs.penalty()?;
    let shifted: Vec<i64> = costs
        .cells
        .iter()
        .map(|&cell| if cell == BARRED { penalty } else { cell - least })
        .collect();
    let mut state = State {
        costs: &shifted,
        cols: costs.cols,
        column_of: vec![NONE; costs.rows],
        row_of: vec![NONE; costs.cols],
        v: vec![0; costs.cols],
    };
    let mut free = state.start(costs.rows);
    for _ in 0..2 {
        free = state.reduce(free);
    }
    for row in free {
        if !limits.go_on(1) {
            return Err(Error::Stopped);
        }
        state.augment(row);
    }
    let columns: Vec<Option<u32>> = state
        .column_of
        .iter()
        .enumerate()
        .map(|(row, &col)| (costs.row(row)[col as usize] != BARRED).then_some(col))
        .collect();
    Ok(Assignment {
        cost: costs.total(&columns)?,
        columns,
    })
}

impl State<'_> {
    fn row(&self, row: usize) -> &[i64] {
        &self.costs[row * self.cols..(row + 1) * self.cols]
    }

    /// Gives each row its cheapest column when nobody else has it. Column prices may only fall below 0 for columns that
    /// are taken, which is what rectangular matrices need; so they start at 0. Answers the rows without a column.
    fn start(&mut self, rows: usize) -> Vec<u32> {
        let mut free = Vec::new();
        for row in 0..rows {
            let cheapest = self.row(row).iter().enumerate().min_by_key(|(_, cost)| **cost);
            match cheapest.map(|(col, _)| col) {
                Some(col) if self.row_of[col] == NONE => {
                    self.row_of[col] = row as u32;
                    self.column_of[row] = col as u32;
                }
                _ => free.push(row as u32),
            }
        }
        free
    }

    /// Lets each free row take its cheapest column, at the price at which its second one is as good; who had it is free.
    /// Answers the rows that are still free.
    fn reduce(&mut self, free: Vec<u32>) -> Vec<u32> {
        let mut left = Vec::new();
        // Two rows may outbid each other for long by a millionth each time.
        let mut patience = 4 * self.column_of.len();
        for first in free {
            let mut row = first;
            // A row that is thrown out goes on at once, as long as prices fall.
            loop {
                let (col, low, second) = self.two_cheapest(row as usize);
                let other = self.row_of[col];
                let falls = low < second;
                patience = patience.saturating_sub(1);
                if other != NONE && (!falls || patience == 0) {
                    left.push(row);
                    break;
                }
                if falls && second != i64::MAX {
                    self.v[col] -= second - low;
                }
                self.row_of[col] = row;
                self.column_of[row as usize] = col as u32;
                if other == NONE {
                    break;
                }
                self.column_of[other as usize] = NONE;
                row = other;
            }
        }
        left
    }

    fn two_cheapest(&self, row: usize) -> (usize, i64, i64) {
        let (mut col, mut low, mut second) = (0, i64::MAX, i64::MAX);
        for (at, (cost, v)) in self.row(row).iter().zip(&self.v).enumerate() {
            let reduced = cost - v;
            if reduced < second {
                if reduced < low {
                    second = low;
                    (col, low) = (at, reduced);
                } else {
                    second = reduced;
                }
            }
        }
        (col, low, second)
    }

    /// Finds the cheapest way to give a row a column, moving others (Dijkstra over reduced costs).
    fn augment(&mut self, free: u32) {
        let cols = self.cols;
        let costs = self.costs;
        let mut distance: Vec<i64> = self
            .row(free as usize)
            .iter()
            .zip(&self.v)
            .map(|(c, v)| c - v)
            .collect();
        let mut from = vec![free; cols];
        // Columns not reached yet, in any order; those reached, in the order of their distance.
        let mut open: Vec<u32> = (0..cols as u32).collect();
        let mut done: Vec<u32> = Vec::new();
        let (end, shortest) = loop {
            let (mut least, mut at) = (i64::MAX, 0);
            for (place, &col) in open.iter().enumerate() {
                let here = distance[col as usize];
                if here < least || (here == least && self.row_of[col as usize] == NONE) {
                    (least, at) = (here, place);
                }
            }
            let col = open.swap_remove(at);
            let row = self.row_of[col as usize];
            if row == NONE {
                break (col, least);
            }
            done.push(col);
            let cells = &costs[row as usize * cols..(row as usize + 1) * cols];
            let base = cells[col as usize] - self.v[col as usize] - least;
            for &next in &open {
                let next = next as usize;
                let through = cells[next] - self.v[next] - base;
                if through < distance[next] {
                    distance[next] = through;
                    from[next] = row;
                }
            }
        };
        for col in done {
            self.v[col as usize] += distance[col as usize] - shortest;
        }
        let mut col = end;
        loop {
            let row = from[col as usize];
            self.row_of[col as usize] = row;
            std::mem::swap(&mut self.column_of[row as usize], &mut col);
            if row == free {
                break;
            }
        }
    }
}
