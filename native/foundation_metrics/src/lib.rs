//! Counters, gauges and high dynamic range histograms by name and tags.
#![forbid(unsafe_code)]

pub mod aggregate;
