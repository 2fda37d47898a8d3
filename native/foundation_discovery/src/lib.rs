//! Finds the nodes of a cluster on the local network.
//!
//! A node announces itself by multicast DNS under `_foundation._tcp.local.`: its name, application, cluster and the
//! number of its boot, with a proof that it knows the cluster's secret. It looks for the same, and tells whoever started
//! it about each node whose proof holds. What is found is a place to try: that a node is gone is for others to say.
//!
//! [`facts`], [`proof`] and [`peers`] hold no socket, clock or thread; [`discovery`] runs them on an mDNS daemon.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod discovery;
mod error;
pub mod facts;
pub mod peers;
pub mod proof;

pub use discovery::{Config, Discovery, Stats};
pub use error::Error;
pub use facts::Facts;
pub use peers::{Counts, Event, Peer, Peers, Stranger};
pub use proof::ProofKey;
