//! Drives the overlay with thousands of nodes, faults and one seed, and Raft groups with crashing disks ([`raft`]).
//!
//! The nodes run the same code as real ones do; only the network, the clocks and the randomness are made here. A run
//! is decided by its scenario, its size and its seed, and repeats exactly. See [`scenarios`] for what is measured and
//! [`Network`] for what can go wrong.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod faults;
pub mod graph;
mod hasher;
pub mod latency;
mod links;
pub mod network;
pub mod observe;
mod queue;
pub mod raft;
pub mod report;
pub mod scenarios;
pub mod stats;

pub use faults::{Faults, Handicap};
pub use latency::Latency;
pub use network::Network;
pub use observe::{Observed, Violation};
