//! The auction algorithm of Bertsekas (1988), with scaling: rows bid for columns.

use super::{Assignment, BARRED, Costs};
use crate::{Error, Limits, Money, Result};

/// Rows or columns.
const MAX_SIZE: usize = 10_000;
/// No row.
const NONE: u32 = u32::MAX;

/// An assignment and how far from the best it may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuctionResult {
    /// The assignment.
    pub assignment: Assignment,
    /// No assignment of as many rows costs less by more than this; 0 when the last round came to its end.
    pub gap: Money,
    /// What each column costs in the end, in millionths of the scaled problem: higher where more rows wanted it.
    pub prices: Vec<i64>,
    /// How many bids were made.
    pub bids: u64,
}

struct Hall<'c> {
    size: usize,
    /// What a row gains from a column, scaled by size + 1.
    gains: &'c [i64],
    prices: Vec<i64>,
    owner: Vec<u32>,
    column_of: Vec<u32>,
}

/// As many rows as can be, each with a column of its own, at the least cost: exact, as prices move in steps that are
/// smaller than what one assignment could be better by. It suits costs that change a little and are solved again less
/// than it suits rows that are agents: each needs to know prices only. A step is a hundred bids.
///
/// # Errors
/// [`Error::Overflow`] when the range of costs times the cube of the size leaves 62 bits (with rows that cannot do
/// everything; else times the square); [`Error::TooLarge`] for more than 10,000 rows or columns; [`Error::Stopped`] when the limits end it before the first full
/// assignment.
pub fn auction(costs: &Costs, limits: &Limits<'_>) -> Result<AuctionResult> {
    let size = costs.rows.max(costs.cols);
    if size == 0 {
        return done(costs, &[], 0, Vec::new(), 0);
    }
    if size > MAX_SIZE {
        return Err(Error::TooLarge("matrix"));
    }
    let (least, penalty) = costs.penalty()?;
    let scale = size as i64 + 1;
    let barred = penalty.max(1).checked_mul(scale).ok_or(Error::Overflow)?;
    // No price rises above what a row may gain or lose along a chain of all columns.
    barred.checked_mul(4 * scale).ok_or(Error::Overflow)?;
    // Rows and columns beyond the matrix cost the same everywhere.
    let mut gains = vec![0_i64; size * size];
    for row in 0..costs.rows {
        for (col, &cost) in costs.row(row).iter().enumerate() {
            gains[row * size + col] = if cost == BARRED {
                -barred
            } else {
                (least - cost) * scale
            };
        }
        gains[row * size + costs.cols..(row + 1) * size].fill(-barred);
    }
    let mut hall = Hall {
        size,
        gains: &gains,
        prices: vec![0; size],
        owner: vec![NONE; size],
        column_of: vec![NONE; size],
    };
    let range = gains.iter().max().unwrap_or(&0) - gains.iter().min().unwrap_or(&0);
    let mut step = (range / 5).max(1);
    let mut bids = 0;
    let mut last: Option<(Vec<u32>, i64)> = None;
    loop {
        if !hall.round(step, &mut bids, limits) {
            break;
        }
        last = Some((hall.column_of.clone(), step));
        if step == 1 {
            break;
        }
        step = (step / 5).max(1);
    }
    let (columns, step) = last.ok_or(Error::Stopped)?;
    // The assignment is within size · step of the best, in units of 1/scale.
    let gap = if step == 1 {
        0
    } else {
        i128::from(step) * size as i128 / i128::from(scale) + 1
    };
    let gap = i64::try_from(gap).map_err(|_| Error::Overflow)?;
    done(costs, &columns, gap, hall.prices, bids)
}

fn done(costs: &Costs, columns: &[u32], gap: i64, prices: Vec<i64>, bids: u64) -> Result<AuctionResult> {
    let columns: Vec<Option<u32>> = (0..costs.rows)
        .map(|row| columns.get(row).copied())
        .enumerate()
        .map(|(row, col)| {
            col.filter(|&col| (col as usize) < costs.cols && costs.row(row)[col as usize] != BARRED)
        })
        .collect();
    Ok(AuctionResult {
        assignment: Assignment {
            cost: costs.total(&columns)?,
            columns,
        },
        gap: Money::from_micros(gap),
        prices,
        bids,
    })
}

impl Hall<'_> {
    /// Everyone bids, from the prices that are, until all have a column. False when the limits have ended it.
    fn round(&mut self, step: i64, bids: &mut u64, limits: &Limits<'_>) -> bool {
        self.owner.fill(NONE);
        self.column_of.fill(NONE);
        let mut free: Vec<u32> = (0..self.size as u32).collect();
        while let Some(row) = free.pop() {
            *bids += 1;
            if bids.is_multiple_of(100) && !limits.go_on(1) {
                return false;
            }
            let (col, best, second) = self.two_best(row as usize);
            self.prices[col] += best - second + step;
            let loser = std::mem::replace(&mut self.owner[col], row);
            self.column_of[row as usize] = col as u32;
            if loser != NONE {
                self.column_of[loser as usize] = NONE;
                free.push(loser);
            }
        }
        true
    }

    fn two_best(&self, row: usize) -> (usize, i64, i64) {
        let gains = &self.gains[row * self.size..(row + 1) * self.size];
        let (mut col, mut best, mut second) = (0, i64::MIN, i64::MIN);
        for (at, (gain, price)) in gains.iter().zip(&self.prices).enumerate() {
            let net = gain - price;
            if net > second {
                if net > best {
                    second = best;
                    (col, best) = (at, net);
                } else {
                    second = net;
                }
            }
        }
        if second == i64::MIN {
            second = best;
        }
        (col, best, second)
    }
}
