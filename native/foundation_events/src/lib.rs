//! The event index and its query engine.
#![forbid(unsafe_code)]
