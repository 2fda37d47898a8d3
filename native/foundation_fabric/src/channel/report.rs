//! What a queue tells its owner.

use super::outbox::Token;

/// Who waited for something that an [`Outbox`](super::outbox::Outbox) call settled, and how it ended.
#[derive(Debug, Default)]
pub struct Settled {
    /// Their messages were delivered.
    pub delivered: Vec<Token>,
    /// Their messages were not, and will not be.
    pub failed: Vec<Token>,
    /// Their message is larger than the receiver takes.
    pub too_large: Vec<Token>,
    /// There is room again.
    pub room: Vec<Token>,
    /// Microseconds from queue to acknowledgement, of the oldest message of each batch.
    pub latencies: Vec<u64>,
    /// Messages lost with the link, or given up.
    pub lost: u64,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages handed to a link, those sent again not counted twice.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames.
    pub frames: u64,
    /// Messages sent again.
    pub resent: u64,
    /// Messages refused because the queue was full.
    pub busy: u64,
    /// Messages lost with a link, or given up.
    pub lost: u64,
    /// Messages dropped for a later one of the same key.
    pub superseded: u64,
    /// Messages held now.
    pub held_messages: u64,
    /// Bytes held now.
    pub held_bytes: u64,
}
