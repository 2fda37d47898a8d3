//! Finds the nodes of a cluster on the local network.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
