//! Rate, concurrency and quota limits over several dimensions, breakers and adaptive concurrency.
//!
//! Nothing here reads a clock, starts a thread or sends anything: time comes in as an argument, answers go out as
//! values or through the replies that callers hand in.
#![forbid(unsafe_code)]

pub mod adaptive;
pub mod amount;
pub mod breaker;
mod cell;
mod definition;
mod error;
mod flat;
mod hold;
mod hot;
pub mod keyed;
mod limits;
mod node;
mod plain;
mod plans;
pub mod pool;
mod quota;
mod schedule;
mod table;
pub mod ticks;
mod wait;
mod windows;

#[cfg(test)]
mod limits_tests;

pub use definition::{Algorithm, Definition, Dimension, MAX_DIMENSIONS, MAX_PER};
pub use error::{LimitError, Limited};
pub use hold::Reservation;
pub use hot::{Asked, Hot};
pub use limits::{Learned, Limits, Peek, Waiting};
pub use plain::MAX_KEY as MAX_PLAIN_KEY;
pub use quota::{Grant, Usage};
pub use wait::{Answer, Reply, Ticket, WaitError, WaitOptions};
pub use windows::{Counter, FixedWindows, Hit};

/// Most ancestors a key may have.
pub const MAX_ANCESTORS: usize = 8;
/// Most costs in one demand.
pub const MAX_COSTS: usize = 32;
/// In [`Limited`]: the key is paused, as a provider asked for.
pub const PAUSED: u64 = u64::MAX;
/// In [`Limited`]: others wait for the key.
pub const QUEUED: u64 = u64::MAX - 1;
