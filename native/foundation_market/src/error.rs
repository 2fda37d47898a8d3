//! What can go wrong.

/// Why a call did not do what it was asked to. Nothing has changed after any of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An argument is outside its domain; the word names it.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// A sum or product of amounts would leave 64 bits.
    #[error("an amount would overflow")]
    Overflow,
    /// The instance is larger than the method takes; the word names what is too large.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// The step budget or the caller's stop check ended the call before it had any result.
    #[error("stopped before there was a result")]
    Stopped,
    /// The auction, market or negotiation has ended.
    #[error("closed")]
    Closed,
    /// The bid is below what the rules accept now.
    #[error("the bid is too low")]
    TooLow,
    /// No order, pull or suggestion of that number is open.
    #[error("not found")]
    NotFound,
    /// The bound on open orders is reached.
    #[error("full")]
    Full,
    /// A fill-or-kill order could not be filled whole.
    #[error("cannot be filled whole")]
    Unfillable,
    /// A post-only order would have traded at once.
    #[error("would trade at once")]
    WouldTrade,
    /// It is not this party's turn.
    #[error("not this party's turn")]
    NotYourTurn,
    /// The bytes are no state of this version.
    #[error("the state is malformed")]
    Malformed,
}
