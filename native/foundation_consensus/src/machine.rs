//! What a group replicates: the state machine of its user.

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// Takes the answer to a query; on any thread.
pub type Answering = Box<dyn FnOnce(Bytes) + Send>;

/// One committed command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its place in the log. Each applied command has a higher one than the command before it, not always by one.
    pub index: u64,
    /// The term of the leader that took it in: together with `index` it names the entry for ever.
    pub term: u64,
    /// The leader's clock when it took the command in, in milliseconds since 1970. Never goes back in a log, and is the
    /// same on every member: time inside a machine comes from here and from nowhere else.
    pub time_ms: u64,
    /// What was proposed.
    pub command: Bytes,
}

/// A replicated state machine. Each member of a group runs one, and all of them get the same commands in the same order.
///
/// A machine must be deterministic: state and replies may depend on what was applied and on nothing else.
pub trait Machine: Send + 'static {
    /// Applies the commands in order and answers one reply for each.
    fn apply(&mut self, entries: Vec<Applied>) -> BoxFuture<'_, Vec<Bytes>>;
    /// Answers a question about the state without changing it: on the spot or later, but of the state as it was when this was
    /// called. An answer that is dropped will never come.
    fn query(&mut self, query: Bytes, answer: Answering);
    /// As `query`, for a machine that can answer on the spot, in microseconds and on any thread.
    fn query_now(&mut self, _query: &Bytes) -> Option<Bytes> {
        None
    }
    /// Whether `query` only passes the question on to somebody else, which is quick.
    fn asks_others(&self) -> bool {
        false
    }
    /// The whole state.
    fn snapshot(&mut self) -> BoxFuture<'_, Bytes>;
    /// Takes the state from a snapshot in place of its own. Bytes that are no snapshot are refused and change nothing.
    fn restore(&mut self, snapshot: Bytes) -> BoxFuture<'_, Result<(), MachineError>>;
}

/// Why a machine refused a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MachineError(pub String);
