//! The durable log: checksummed segments, group commit, recovery.
//!
//! A [`Log`] is a directory of segments. Records are bytes; each gets the next sequence, starting at 1. What
//! [`Log::append`] has acknowledged survives the death of the process, and under [`Sync::Always`] a power cut.
#![forbid(unsafe_code)]

pub mod disk;
mod error;
mod format;
mod group;
mod log;
pub mod memory;
mod options;
mod recovery;
mod report;
mod retention;
mod segment;
mod truncate;
mod writer;

pub use error::Error;
pub use log::Log;
pub use options::{OnDamage, Options, Retention, Sync};
pub use report::{Damage, DamageKind, Recovery, Retired, Stats, Torn};
