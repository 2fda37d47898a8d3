//! Runs the overlay on sockets: identity, mutual TLS, channels and flow control.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
