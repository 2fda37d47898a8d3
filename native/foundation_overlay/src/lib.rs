//! Membership, topologies and broadcast trees as state machines without I/O.
//!
//! [`Overlay`] is one node's part: SWIM membership with suspicion, a topology (full mesh, HyParView's
//! partial views, client-server) that says which links to keep, routes to those not linked, broadcast.
//! The driver owns sockets, clock and randomness; see [`Input`] and [`Effect`] for the contract.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod advise;
mod broadcast;
mod client_server;
mod config;
mod context;
mod error;
mod full_mesh;
mod health;
mod hyparview;
mod join;
mod links;
mod measure;
mod overlay;
pub mod plumtree;
pub mod pub_sub;
mod routing;
pub mod seen;
mod shape;
mod swim;
mod swim_id;
mod swim_rumours;
mod swim_tap;
mod switch;
mod timers;
mod types;
mod ways;
mod wire;

pub use advise::{Advice, Estimate, Workload};
pub use config::{
    AutomaticConfig, ClientServerConfig, Config, HyParViewConfig, LinkConfig, RelayConfig, SwimConfig,
};
pub use context::Counters;
pub use error::Error;
pub use measure::{Analysis, PeerReport, Spread};
pub use overlay::{Overlay, Stats};
pub use types::{
    DownReason, Effect, Input, MAX_META, MAX_NAME, MemberEvent, NodeId, Peer, PeerName, Role, Route, Timer,
    Topology, Urgency,
};

#[cfg(test)]
mod robustness_tests;
#[cfg(test)]
mod swim_tests;
#[cfg(test)]
mod testnet;
#[cfg(test)]
mod topology_tests;
#[cfg(test)]
mod ways_tests;
