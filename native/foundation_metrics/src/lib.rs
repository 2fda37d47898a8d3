//! Counters, gauges and high dynamic range histograms by name and tags.
//!
//! Nothing here reads a clock or knows the VM: times come in as milliseconds of any monotonic clock, names and tags as
//! bytes that are equal exactly when they are.
#![forbid(unsafe_code)]

pub mod aggregate;
pub mod compare;
pub mod counts;
pub mod distribution;
pub mod encoding;
pub mod exposition;
pub mod gather;
pub mod layout;
pub mod number;
pub mod pack;
pub mod recorder;
pub mod registry;
mod series;
pub mod window;

/// Why something was refused. No refusal changes anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Significant digits out of range.
    #[error("significant digits out of range")]
    Digits,
    /// The resolution is not a sensible positive number.
    #[error("resolution out of range")]
    Resolution,
    /// The largest value leaves no room above the resolution.
    #[error("range too small")]
    Range,
    /// The bytes are no histogram in the encoding named.
    #[error("not an encoded histogram")]
    Encoding,
    /// The name is in use for another kind of metric.
    #[error("the name is in use for another kind of metric")]
    Kind,
    /// The name exists with another configuration.
    #[error("the name exists with another configuration")]
    Declared,
    /// No further name is taken.
    #[error("too many names")]
    Full,
    /// There is no such series.
    #[error("no such series")]
    Unknown,
    /// A counter never goes down.
    #[error("a counter never goes down")]
    Negative,
    /// There is nothing to tell anything of. Nothing changed.
    #[error("nothing was recorded")]
    Empty,
}
