//! Circuits: byte streams between two nodes that are not linked, through others that are.
//!
//! Neighbours keep a *trunk* for circuits, a link like any other, on which many circuits share the way. A node on the
//! way knows of a circuit only its two *legs*, and passes on what comes on one to the other. What a circuit carries is
//! sealed between its two ends. Each end grants the other a window, so that a node on the way holds at most that much
//! of each circuit, and a reader that is slow stops the writer at the other end, whoever is between.
//!
//! [`exchange`] is the state machine, [`circuit`] an end of a circuit as a byte stream, [`frame`] what trunks carry.

pub(crate) mod circuit;
pub(crate) mod exchange;
pub(crate) mod frame;

#[cfg(test)]
mod relay_tests;

/// The channel whose links are trunks.
pub(crate) const CHANNEL: &str = "foundation/relay";
