//! Who does what: optimal assignment of tasks to agents.

mod auction;
mod capable;
mod hungarian;

pub use auction::{AuctionResult, auction};
pub use capable::{Task, Worker, costs};
pub use hungarian::hungarian;

use crate::{Error, Money, Result};

/// What each row costs in each column; none where the row cannot do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Costs {
    rows: usize,
    cols: usize,
    /// Row by row; `BARRED` where it cannot be.
    cells: Vec<i64>,
}

/// The cost of what cannot be.
const BARRED: i64 = i64::MAX;
/// Cells of a matrix.
const MAX_CELLS: usize = 100_000_000;

impl Costs {
    /// Row by row.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the number of cells is not rows · columns, [`Error::TooLarge`] beyond 100 million cells.
    pub fn new(rows: usize, cols: usize, cells: Vec<Option<Money>>) -> Result<Self> {
        let cells = cells
            .into_iter()
            .map(|cell| cell.map_or(BARRED, Money::micros))
            .collect();
        Self::from_micros(rows, cols, cells)
    }

    /// Row by row in millionths; `i64::MAX` where the row cannot do it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_micros(rows: usize, cols: usize, cells: Vec<i64>) -> Result<Self> {
        let size = rows.checked_mul(cols).filter(|size| *size <= MAX_CELLS);
        let size = size.ok_or(Error::TooLarge("matrix"))?;
        if size != cells.len() {
            return Err(Error::Invalid("matrix"));
        }
        Ok(Self { rows, cols, cells })
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    #[must_use]
    pub fn cols(&self) -> usize {
        self.cols
    }

    fn row(&self, row: usize) -> &[i64] {
        &self.cells[row * self.cols..(row + 1) * self.cols]
    }

    fn transposed(&self) -> Self {
        let mut cells = Vec::with_capacity(self.cells.len());
        for col in 0..self.cols {
            cells.extend((0..self.rows).map(|row| self.cells[row * self.cols + col]));
        }
        Self {
            rows: self.cols,
            cols: self.rows,
            cells,
        }
    }

    /// The sum of an assignment's costs.
    fn total(&self, columns: &[Option<u32>]) -> Result<Money> {
        let pairs = columns
            .iter()
            .enumerate()
            .filter_map(|(row, col)| Some((row, (*col)?)));
        Money::sum(pairs.map(|(row, col)| Money::from_micros(self.row(row)[col as usize])))
    }

    /// What stands for what cannot be: so much that one more assignment always pays for it; with the least cost, by
    /// which all are shifted to be 0 or more.
    fn penalty(&self) -> Result<(i64, i64)> {
        let allowed = || self.cells.iter().copied().filter(|cell| *cell != BARRED);
        let (Some(least), Some(most)) = (allowed().min(), allowed().max()) else {
            return Ok((0, 1));
        };
        let size = self.rows.max(self.cols) as i128 + 1;
        let range = i128::from(most) - i128::from(least);
        let penalty = if allowed().count() == self.cells.len() {
            range
        } else {
            range * size + 1
        };
        // Sums of `size` entries, scaled by `size` in the auction algorithm, stay within 62 bits.
        if penalty * size * 4 > i128::from(i64::MAX) {
            return Err(Error::Overflow);
        }
        Ok((least, penalty as i64))
    }
}

/// An assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The column of each row; none for a row that has none.
    pub columns: Vec<Option<u32>>,
    /// The sum of the costs.
    pub cost: Money,
}
