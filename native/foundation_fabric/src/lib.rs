//! Runs the overlay on sockets: identity, mutual TLS, channels and flow control.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod admission;
pub mod channel;
mod chunk;
pub mod compress;
pub mod config;
pub mod datagram;
pub mod endpoint;
pub mod error;
pub mod federation;
pub mod frame;
pub mod hello;
pub mod identity;
pub mod links;
pub mod metrics;
pub mod monotonic;
pub mod overlay_driver;
pub mod quic;
mod ready;
mod relay;
pub mod secret;
mod tasks;
pub mod tls;
pub mod transport;

pub use config::Config;
pub use endpoint::{Endpoint, Guide, Outcome, Outlet, RelayCounts, Sink};
pub use error::Error;
pub use hello::Hello;
pub use identity::Identity;
pub use secret::Secret;
pub use transport::{BoxFuture, Carrier, Reason, Refused, Stream, Transport, TransportError};
