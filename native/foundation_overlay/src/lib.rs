//! Membership, topologies and broadcast trees as state machines without I/O.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
