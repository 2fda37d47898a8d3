//! The event index and its query engine.
//!
//! A [`Store`] keeps events as packed records in an arena, indexed by id, type, correlation, parent, node and time,
//! and, when it is given a directory, in a durable log from which the index is rebuilt. [`query`] evaluates conditions
//! straight on the external-term bytes of an event's data; [`hub`] gives what is stored to bounded subscriptions.
#![forbid(unsafe_code)]

mod arena;
mod codec;
mod error;
pub mod etf;
mod event;
pub mod hub;
mod index;
mod links;
mod pid;
pub mod query;
mod record;
mod slots;
mod store;
pub mod symbols;
mod table;
mod time_index;
mod uuid;

pub use error::Error;
pub use event::{Event, Wall};
pub use pid::{Pid, PidParts, PidTerm};
pub use store::{Bounds, Durability, Opened, Refused, Stats, Store, Syncing};
