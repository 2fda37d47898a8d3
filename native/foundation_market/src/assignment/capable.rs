//! Costs from what tasks need and workers can.

use super::Costs;
use crate::{Money, Result};

/// What a task needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Capabilities, each a bit that the caller assigns.
    pub needs: u128,
    /// Work, in the unit of the workers' rates.
    pub work: i64,
}

/// What a worker can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Capabilities, each a bit that the caller assigns.
    pub can: u128,
    /// What a unit of work costs.
    pub rate: Money,
    /// How many tasks it takes at once.
    pub slots: u32,
}

/// The costs of each task (row) at each slot of each worker (column; a worker's slots stand side by side): work · rate,
/// and none where a capability is missing. Answers also which worker each column is.
///
/// # Errors
/// [`crate::Error::Overflow`]; [`crate::Error::TooLarge`] beyond 100 million cells.
pub fn costs(tasks: &[Task], workers: &[Worker]) -> Result<(Costs, Vec<u32>)> {
    let columns: usize = workers.iter().map(|worker| worker.slots as usize).sum();
    if columns.saturating_mul(tasks.len().max(1)) > super::MAX_CELLS {
        return Err(crate::Error::TooLarge("matrix"));
    }
    let mut owner = Vec::with_capacity(columns);
    for (at, worker) in workers.iter().enumerate() {
        owner.extend(std::iter::repeat_n(at as u32, worker.slots as usize));
    }
    let mut cells = Vec::with_capacity(tasks.len() * columns);
    for task in tasks {
        for &worker in &owner {
            let worker = &workers[worker as usize];
            let able = task.needs & !worker.can == 0;
            cells.push(if able {
                Some(worker.rate.times(task.work)?)
            } else {
                None
            });
        }
    }
    Ok((Costs::new(tasks.len(), columns, cells)?, owner))
}
