//! What opening, retention and compaction tell their caller.

use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

/// How a damaged place shows itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// Bytes whose checksum fails, with good records behind them.
    Checksum,
    /// A segment that is followed by others ends too early, or the one behind it is not there.
    Truncated,
    /// The header of the segment is unreadable. Its records are kept where their checksums hold.
    Header,
}

/// A place where records are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// How it shows.
    pub kind: DamageKind,
    /// The segment.
    pub segment: PathBuf,
    /// Offset of the first unreadable byte.
    pub offset: u64,
    /// Unreadable bytes.
    pub bytes: u64,
    /// Sequences that are lost. An upper bound where nothing tells more: in a compacted segment some of them may
    /// have been dropped on purpose, and in a last segment without a header only its size says how many it held.
    pub missing: Range<u64>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} at byte {} of {:?}: {} bytes, records {}..{} lost",
            self.kind, self.offset, self.segment, self.bytes, self.missing.start, self.missing.end
        )
    }
}

/// The unfinished end of the last segment, cut off when the log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub segment: PathBuf,
    /// Where it was cut.
    pub offset: u64,
    /// Bytes cut off.
    pub bytes: u64,
    /// False: a write that was never finished. True: the first record cut off had its full length and a wrong
    /// checksum, which is what an interrupted write can leave, and also what a flipped bit in an acknowledged
    /// record looks like.
    pub whole_record: bool,
}

/// What opening a log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments kept.
    pub segments: usize,
    /// Records replayed.
    pub records: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Sequence of the oldest record that may be in the log.
    pub first_seq: u64,
    /// Sequence the next record gets.
    pub next_seq: u64,
    /// The unfinished end that was cut off, if there was one.
    pub torn: Option<Torn>,
    /// Every damaged place.
    pub damage: Vec<Damage>,
    /// Files with records behind the first damage (`OnDamage::Stop`), or that cannot be read at all.
    pub set_aside: Vec<PathBuf>,
    /// Time it took.
    pub took: Duration,
}

/// What retention or compaction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Retired {
    /// Segments deleted.
    pub segments: usize,
    /// Records dropped.
    pub records: u64,
    /// Bytes freed.
    pub bytes: u64,
    /// Sequence of the oldest record that may be in the log now.
    pub first_seq: u64,
}

/// Counts of a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segments, the active one included.
    pub segments: usize,
    /// Records in the log.
    pub records: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Sequence of the oldest record that may be in the log.
    pub first_seq: u64,
    /// Sequence the next record gets.
    pub next_seq: u64,
    /// Groups written since the log was opened; `appends / groups` is how well callers shared writes.
    pub groups: u64,
    /// Calls of `append` and its kin since the log was opened.
    pub appends: u64,
    /// Syncs of the active segment since the log was opened.
    pub syncs: u64,
    /// Failed writes and syncs since the log was opened.
    pub failures: u64,
}
