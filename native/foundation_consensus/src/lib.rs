//! Agreement between nodes: Raft groups on one log, and what is built on them.
//!
//! An [`Engine`] is one node. Its groups share one log with group commit, one tick, and one connection to each other
//! node. A [`Group`] replicates a [`Machine`]: what [`Group::propose`] has answered is applied on a majority and survives.
//! The Raft inside is openraft; storage is `foundation_storage`; the network is whatever implements [`Network`].
#![forbid(unsafe_code)]

mod applier;
mod calls;
mod change;
mod codec;
mod config;
pub mod coordination;
mod engine;
mod error;
mod group;
mod group_log;
mod inbound;
mod journal;
mod log_store;
mod machine;
mod message;
mod network;
mod outbox;
mod propose;
mod read;
mod recover;
mod rounds;
mod runtime;
mod sessions;
mod snapshots;
mod status;
mod types;
mod waiting;
mod watch;

#[cfg(test)]
mod journal_tests;
#[cfg(test)]
mod message_tests;
#[cfg(test)]
mod read_tests;
#[cfg(test)]
mod sessions_tests;

pub use config::{Clock, EngineConfig, GroupConfig, Simulation, SystemClock};
pub use engine::Engine;
pub use error::{ChangeError, Error, ProposeError, ReadError};
pub use group::Group;
pub use machine::{Answering, Applied, Machine, MachineError};
pub use network::Network;
pub use propose::{Done, Turn};
pub use read::{Consistency, Place, Told};
pub use recover::IF_MAJORITY_IS_LOST;
pub use runtime::seed_this_thread;
pub use status::{Leader, Role, Status};
pub use tokio::time::Instant;
pub use types::Session;
