//! What can go wrong.

/// An error of the event store.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The store is closed. Nothing changed.
    #[error("the event store is closed")]
    Closed,
    /// The log refused the records. Nothing changed in memory.
    #[error(transparent)]
    Log(#[from] foundation_storage::Error),
    /// The query makes no sense; the text says where. Nothing changed.
    #[error("invalid query: {0}")]
    InvalidQuery(String),
    /// The query would look at more events than it may. Nothing changed.
    #[error("the query scanned {scanned} events, and {max} is its bound")]
    CostLimit {
        /// Events looked at.
        scanned: u64,
        /// The bound.
        max: u64,
    },
    /// Bytes that are not a record of this store. Nothing changed.
    #[error("not an event record")]
    Corrupt,
    /// There are as many subscriptions as there may be. Nothing changed.
    #[error("no more than {0} subscriptions")]
    TooManySubscriptions(usize),
}
