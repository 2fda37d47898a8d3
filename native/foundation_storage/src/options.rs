//! How a log behaves.

use std::time::Duration;

/// When an appended record counts as stored.
///
/// Under each policy an acknowledged record survives the death of the process. They differ in what a power
/// cut or a crash of the system may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// `append` returns after the disk has confirmed the records. Nothing acknowledged is lost.
    Always,
    /// `append` returns after the system took the records; the disk is told at least this often.
    Interval(Duration),
    /// `append` returns after the system took the records; the system decides when they reach the disk.
    Os,
}

/// What to do about a damaged record that is not the torn tail of the last segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnDamage {
    /// Keep everything that is readable, and report what is not.
    #[default]
    Skip,
    /// Keep what comes before the first damage. The rest is set aside in files with the ending `.aside`.
    Stop,
    /// Change nothing and answer `Error::Damaged`.
    Fail,
}

/// What the log may keep. The oldest whole segments go first; the active segment always stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// Bytes on disk.
    pub max_bytes: Option<u64>,
    /// Records.
    pub max_records: Option<u64>,
    /// Segments, the active one included.
    pub max_segments: Option<usize>,
    /// Age of the newest record of a segment, in milliseconds.
    pub max_age_ms: Option<u64>,
}

impl Retention {
    /// True when any bound is set.
    pub fn is_bounded(&self) -> bool {
        *self != Self::default()
    }
}

/// How a log behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// When an appended record counts as stored.
    pub sync: Sync,
    /// A segment that would grow beyond this many bytes is closed and a new one started.
    pub segment_bytes: u64,
    /// Largest record in bytes.
    pub max_record_bytes: u32,
    /// Bytes that may wait for the disk before `append` waits too.
    pub max_pending_bytes: usize,
    /// Zeroes written ahead of small groups of records under `Sync::Always`, so that a sync need not also
    /// store a new file length. 0 switches it off.
    pub preallocate_bytes: u64,
    /// What the log may keep.
    pub retention: Retention,
    /// What to do about damage.
    pub on_damage: OnDamage,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            sync: Sync::Always,
            segment_bytes: 64 << 20,
            max_record_bytes: 16 << 20,
            max_pending_bytes: 64 << 20,
            preallocate_bytes: 256 << 10,
            retention: Retention::default(),
            on_damage: OnDamage::default(),
        }
    }
}
