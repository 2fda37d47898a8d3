//! Drives the overlay with thousands of nodes, faults and one seed.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
