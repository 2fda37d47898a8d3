//! Names and figures of segments.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Ending of a segment.
const SEGMENT: &str = ".log";
/// Ending of a file that is not in place yet.
pub(crate) const TEMPORARY: &str = ".tmp";
/// Ending of a file taken out of the log after damage.
pub(crate) const ASIDE: &str = ".aside";
/// The file that is locked.
pub(crate) const LOCK: &str = "lock";

/// A segment that takes no more records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) path: PathBuf,
    pub(crate) base: u64,
    /// The sequence after its last one.
    pub(crate) end: u64,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) created_ms: u64,
}

pub(crate) fn path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}{SEGMENT}"))
}

pub(crate) fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT)?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}
