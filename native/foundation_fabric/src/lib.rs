//! Runs the overlay on sockets: identity, mutual TLS, channels and flow control.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod admission;
pub mod datagram;
pub mod federation;
pub mod hello;
pub mod identity;
pub mod links;
pub mod quic;
pub mod secret;
pub mod tls;
pub mod transport;

pub use hello::Hello;
pub use identity::Identity;
pub use secret::Secret;
pub use transport::{BoxFuture, Reason, Refused, Stream, Transport, TransportError};
