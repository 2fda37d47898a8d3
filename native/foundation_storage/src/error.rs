//! What can go wrong, and whether state changed when it did.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Damage;

/// An error of the log. Cheap to clone: every waiter of a failed group gets the same one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Another process (or another `Log` in this one) has the directory open. Nothing changed.
    #[error("the log in {dir:?} is in use by another opener{}", holder.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The directory of the log.
        dir: PathBuf,
        /// The process that wrote its id into the lock file, if it could be read.
        holder: Option<u32>,
    },
    /// The directory or a file in it cannot be written: permissions, or a read-only file system. Nothing changed.
    #[error("{path:?} cannot be written: {source}")]
    NotWritable {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The disk or the quota is full. The records are not in the log; the log stays usable, and the same
    /// append succeeds once there is space.
    #[error("no space left for {path:?}: {source}")]
    NoSpace {
        /// The file that could not grow.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A record is larger than `Options::max_record_bytes`. Nothing of its batch was written.
    #[error("a record of {bytes} bytes exceeds the limit of {limit} bytes")]
    TooLarge {
        /// Size of the record.
        bytes: u64,
        /// The limit.
        limit: u32,
    },
    /// A segment was written by a later version of this format. Nothing changed.
    #[error("{path:?} has format version {found}, this library reads up to {supported}")]
    Version {
        /// The segment.
        path: PathBuf,
        /// The version in its header.
        found: u16,
        /// The newest version this library reads.
        supported: u16,
    },
    /// A damaged record was found and `OnDamage::Fail` was asked for. Nothing changed.
    #[error("the log is damaged: {0}")]
    Damaged(Box<Damage>),
    /// The system could not bring written records to the disk. They are not acknowledged, and not in the log
    /// unless the policy (`Interval`, `Os`) had acknowledged them before; the log goes on in a new segment.
    #[error("records could not be synced to {path:?}: {source}")]
    Sync {
        /// The segment.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// Any other failure of the file system. The records of the failed call are not in the log.
    #[error("cannot {action} {path:?}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// The log is closed. Nothing changed.
    #[error("the log is closed")]
    Closed,
}

impl Error {
    /// Gives the failure of the file system its meaning.
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        let (path, kind) = (path.to_path_buf(), source.kind());
        let source = Arc::new(source);
        match kind {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                Error::NoSpace { path, source }
            }
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Error::NotWritable { path, source }
            }
            _ => Error::Io { action, path, source },
        }
    }
}
