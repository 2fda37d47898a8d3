//! What can go wrong; after any of these nothing has been taken and nothing changed.

/// Why a call on [`crate::Limits`] did not do what was asked. `u64` names are the caller's dimension names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// Not enough is left now. Nothing was taken.
    #[error("limited")]
    Limited(Limited),
    /// The cost is more than the dimension can ever hold. Nothing was taken.
    #[error("the cost is above what the dimension can ever hold")]
    Never(u64),
    /// Neither the key nor an ancestor has the dimension. Nothing was taken.
    #[error("unknown dimension")]
    UnknownDimension(u64),
    /// A negative cost. Nothing was taken.
    #[error("negative cost")]
    InvalidCost(u64),
    /// A concurrency dimension is taken by reservations only. Nothing was taken.
    #[error("a concurrency dimension can only be reserved")]
    ReserveOnly(u64),
    /// The key has no limits. Nothing changed.
    #[error("unknown key")]
    UnknownKey,
    /// The parent has no limits. Nothing changed.
    #[error("unknown parent")]
    UnknownParent,
    /// The parent chain would lead back to the key. Nothing changed.
    #[error("the parent chain is a cycle")]
    ParentCycle,
    /// More ancestors than [`crate::MAX_ANCESTORS`]. Nothing changed.
    #[error("too many ancestors")]
    TooManyAncestors,
    /// The table holds as many keys as it may. Nothing changed.
    #[error("too many keys")]
    TooManyKeys,
    /// The reservation was settled, or expired, before. Nothing changed.
    #[error("settled before")]
    Settled,
    /// As many callers wait on the key as may. Nothing was taken.
    #[error("the queue is full")]
    QueueFull,
    /// A definition that makes no sense: which dimension and what about it. Nothing changed.
    #[error("invalid limit")]
    InvalidLimit(u64, &'static str),
    /// Other keys have this one as their parent, or reservations or callers hang on it. Nothing changed.
    #[error("in use")]
    InUse,
}

/// A denial: the dimension that has to wait longest, the key it belongs to, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limited {
    /// The binding dimension; [`crate::PAUSED`] and [`crate::QUEUED`] stand for a pause and for callers ahead.
    pub dimension: u64,
    /// The key, own or an ancestor's.
    pub key: Box<[u8]>,
    /// How long until a retry can succeed, in microseconds. Of a concurrency dimension an estimate from the mean
    /// time that reservations were held.
    pub wait_us: u64,
}
