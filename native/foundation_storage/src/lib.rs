//! The durable log: checksummed segments, group commit, recovery.
#![forbid(unsafe_code)]
