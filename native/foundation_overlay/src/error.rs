//! What can go wrong in the overlay.

/// Why the overlay refused something. None of these leaves it in a bad state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A peer name is empty, longer than 255 bytes or holds control characters. Nothing changed.
    #[error("a peer name needs 1 to 255 bytes without control characters")]
    BadName,
    /// Metadata is longer than 512 bytes. Nothing changed.
    #[error("metadata of {0} bytes, at most 512 are allowed")]
    MetaTooLong(usize),
    /// A configuration value makes no sense. Nothing was created.
    #[error("configuration: {0}")]
    Config(&'static str),
    /// What arrived is not what the protocol says. It was counted and dropped; nothing changed.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// What arrived speaks another version of the protocol. It was counted and dropped; nothing changed.
    #[error("protocol version {0} is not ours")]
    Version(u8),
    /// A broadcast is larger than a frame may be. Nothing was sent.
    #[error("{size} bytes are more than the {max} a frame may hold")]
    TooLarge {
        /// What was asked for.
        size: usize,
        /// What fits.
        max: usize,
    },
    /// The node subscribes to as many topics as it may. Nothing changed.
    #[error("more than {0} topics")]
    TooManyTopics(usize),
    /// The node has left the cluster. Nothing changed.
    #[error("this node has left")]
    Left,
}
