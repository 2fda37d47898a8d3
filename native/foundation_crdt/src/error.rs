//! What can go wrong.

/// Why a call did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operation is none of the type at that path. Nothing changed.
    #[error("the type at this path has no such operation")]
    WrongOperation,
    /// The path leads through something that has no parts, or ends before a value. Nothing changed.
    #[error("the path does not fit the type")]
    WrongPath,
    /// A counter or a grow-only set can only grow. Nothing changed.
    #[error("what only grows cannot shrink")]
    GrowOnly,
    /// A counter's share of this replica would leave 62 bits. Nothing changed.
    #[error("the counter would overflow")]
    Overflow,
    /// The bound on keys or bytes is reached. Nothing changed.
    #[error("the state is as large as it may be")]
    Full,
    /// Someone else holds the shard for longer than the caller would wait. Nothing changed.
    #[error("the shard is busy")]
    Busy,
    /// A path of too many or too long parts, or a value that is too long. Nothing changed.
    #[error("a key or value is too large")]
    TooLarge,
    /// The bytes are no message of this version, or contradict the type. Nothing changed.
    #[error("the message is malformed")]
    Malformed,
    /// The message is of a state with another type or number of shards. Nothing changed.
    #[error("the message is of a state of another type")]
    Mismatch,
    /// The message carries times too far ahead of this machine's clock, in milliseconds. Nothing changed; it can be
    /// merged when this clock has come so far.
    #[error("the sender's clock is {0} ms ahead")]
    Drift(u64),
    /// The type's description is invalid.
    #[error("no such type")]
    InvalidKind,
    /// The journal could not be written or read. A change is in memory; it is not known to be on disk.
    #[error("journal: {0}")]
    Journal(#[from] foundation_storage::Error),
}
