//! Replicated state without coordination: delta-state types, causal contexts and anti-entropy by what differs.
//!
//! After Almeida, Shoker and Baquero, "Delta state replicated data types" (2018): a replica changes its own copy and
//! sends what changed; copies that have heard the same are the same, whatever came late, twice or not at all and was made
//! up for later. A [`State`] is one replica of one value of a [`Kind`]. Every write is a dot, a number of the replica that
//! made it; what was seen is kept as runs of dots, so that a removal needs no tombstone (see [`Context`]).
//!
//! The core has no clock, thread or socket. Wall time comes in, messages go out ([`State::push`], [`State::roots`],
//! [`State::handle`]). Names and values are bytes.
#![forbid(unsafe_code)]

mod check;
mod clock;
mod context;
mod delta;
mod dots;
mod error;
mod hlc;
mod journal;
mod kind;
mod leaf;
mod message;
mod ops;
mod read;
mod shard;
mod state;
mod sync;
mod tree;
mod wire;

pub use clock::VectorClock;
pub use context::{Context, Runs};
pub use error::Error;
pub use foundation_storage::{Error as StorageError, Sync};
pub use hlc::Hlc;
pub use journal::Recovered;
pub use kind::{Kind, Leaf};
pub use leaf::Value;
pub use ops::Op;
pub use read::Change;
pub use state::{Bounds, MAX_SHARDS, Push, State, Status};
pub use sync::Handled;
