//! What can go wrong, and whether something may have been proposed when it did.

use std::io;
use std::path::PathBuf;

/// An error of an engine, or of starting a group.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The log of the engine could not be opened or read. Nothing changed. A damaged record in the middle of it is
    /// this error: a member that goes on with less than it has promised to keep would break the group.
    #[error("the log: {0}")]
    Log(#[from] foundation_storage::Error),
    /// A record of the log is whole but makes no sense to this version. Nothing changed.
    #[error("record {seq} of the log: {what}")]
    Record {
        /// Its sequence in the log.
        seq: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// A snapshot file that the log relies on cannot be read. Nothing changed.
    #[error("the snapshot {path:?}: {what}")]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The machine refused its own snapshot. The group is not started.
    #[error("the machine: {0}")]
    Machine(#[from] crate::MachineError),
    /// A group of this name runs already. Nothing changed.
    #[error("the group {0} is running already")]
    Running(String),
    /// A value of the configuration is outside its range. Nothing changed.
    #[error("{0}")]
    Config(String),
    /// The group stopped while it was started, or `recover` is asked of a group that runs or is not stored.
    #[error("the group {group}: {what}")]
    Group {
        /// Its name.
        group: String,
        /// What happened.
        what: String,
    },
    /// The engine is stopped. Nothing changed.
    #[error("the engine is stopped")]
    Stopped,
}

/// Why a proposal has no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Too many proposals are on their way. Nothing was proposed.
    #[error("too many proposals are on their way")]
    Busy,
    /// No leader was found before the deadline. Nothing was proposed.
    #[error("the group has no leader")]
    NoLeader,
    /// The outcome is unknown: the command may have been applied, or may be yet. With a session, proposing it again
    /// under the same number is safe and gets the first outcome.
    #[error("the outcome is unknown")]
    Unknown,
    /// The command is larger than `GroupConfig::max_command`. Nothing was proposed.
    #[error("the command is too large")]
    TooLarge,
    /// The session has moved on by so many numbers that the reply to this one is forgotten. Not applied again.
    #[error("the reply of this number of the session is forgotten")]
    Stale,
    /// The group is stopped here. Nothing was proposed.
    #[error("the group is stopped")]
    Stopped,
}

/// Why a query has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Too many queries are on their way.
    #[error("too many queries are on their way")]
    Busy,
    /// No leader that a majority follows was found before the deadline.
    #[error("the group has no leader")]
    NoLeader,
    /// The deadline has passed.
    #[error("the deadline has passed")]
    Timeout,
    /// The group is stopped here.
    #[error("the group is stopped")]
    Stopped,
}

/// Why a change of the group failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChangeError {
    /// No leader was found before the deadline. Nothing changed.
    #[error("the group has no leader")]
    NoLeader,
    /// The outcome is unknown: look at `Group::status`.
    #[error("the outcome is unknown")]
    Unknown,
    /// Another change of the members is under way. Nothing changed.
    #[error("another change of the members is under way")]
    InProgress,
    /// The change makes no sense: no voters are left, or the target is not a member. Nothing changed.
    #[error("{0}")]
    Invalid(String),
    /// The group is stopped here. Nothing changed.
    #[error("the group is stopped")]
    Stopped,
}

pub(crate) fn invalid_data(what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

pub(crate) fn storage_io(error: foundation_storage::Error) -> io::Error {
    io::Error::other(error)
}
