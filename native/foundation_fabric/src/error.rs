//! Why the endpoint refused something.

use crate::transport::TransportError;

/// Why something was refused. Nothing was queued, sent or changed after any of these, unless said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The queue of that channel to that peer is full.
    #[error("the queue is full")]
    Busy,
    /// No such peer is known, or it is known to be down.
    #[error("the peer cannot be reached")]
    Unreachable,
    /// The channel was never opened here.
    #[error("no such channel")]
    UnknownChannel,
    /// The channel is open with other settings.
    #[error("the channel is open with other settings")]
    Settings,
    /// A setting is out of range; its name.
    #[error("{0} is out of range")]
    Range(&'static str),
    /// The message is larger than the channel takes, or than the receiver does.
    #[error("the message is too large")]
    TooLarge,
    /// The endpoint was stopped, or the peer was given up while the message was waiting.
    #[error("closed")]
    Closed,
    /// The bytes of a frame are none.
    #[error("malformed frame")]
    Malformed,
    /// No link could be opened.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The system refused something.
    #[error("{0}")]
    Io(#[from] std::io::Error),
}
