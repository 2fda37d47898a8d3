//! The durable copy: deltas in a log, now and then replaced by all there is.
//!
//! Joining is idempotent and in any order, so a snapshot is nothing but more deltas, written while changes go on, and what
//! came before it is deleted when it is on the disk. After a crash at any moment the log holds the one, the other or both.

use crate::Error;
use crate::context::Context;
use crate::message::Writer;
use crate::state::State;
use crate::sync::Item;
use crate::tree::Dot;
use foundation_storage::{Error as LogError, Log, Options, Sync};
use parking_lot::{Mutex, RwLock};
use std::path::Path;

/// Bytes of a record of a snapshot, about.
const SLICE: usize = 1 << 20;
/// A journal shorter than that is not compacted.
const SHORT: u64 = 4 << 20;
/// Bytes of a segment: what is deleted at once.
const SEGMENT: u64 = 16 << 20;

/// The log of a state.
pub(crate) struct Journal {
    /// None when it was closed.
    log: RwLock<Option<Log>>,
    compacting: Mutex<()>,
}

/// What opening a journal found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Records joined.
    pub records: u64,
    /// Records that could not be read, or are of a state of another type.
    pub unreadable: u64,
    /// Bytes of an unfinished write that were cut off.
    pub torn_bytes: u64,
    /// Places at which the log was damaged.
    pub damaged: u64,
}

impl Journal {
    pub(crate) fn append(&self, record: &[u8]) -> Result<(), Error> {
        self.with(|log| log.append(&[record]))?;
        Ok(())
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.log.read().as_ref().map_or(0, |log| log.stats().bytes)
    }

    fn with<R>(&self, f: impl FnOnce(&Log) -> Result<R, LogError>) -> Result<R, Error> {
        let log = self.log.read();
        Ok(f(log.as_ref().ok_or(LogError::Closed)?)?)
    }
}

impl State {
    /// Joins what the journal in `dir` holds and writes every change to it from now on. To be called once, before the state
    /// is used. O(bytes).
    ///
    /// # Errors
    /// `Journal`; `Mismatch` when all of its records are of a state of another type.
    pub fn open_journal(&self, dir: &Path, sync: Sync) -> Result<Recovered, Error> {
        let options = Options {
            sync,
            segment_bytes: SEGMENT,
            ..Options::default()
        };
        let mut recovered = Recovered::default();
        let mut mismatched = 0;
        let mut replay = |_: u64, record: &[u8]| match self.replay(record) {
            Ok(()) => recovered.records += 1,
            Err(error) => {
                recovered.unreadable += 1;
                mismatched += u64::from(matches!(error, Error::Mismatch));
            }
        };
        let (log, report) = Log::open(dir, options, &mut replay)?;
        recovered.torn_bytes = report.torn.as_ref().map_or(0, |torn| torn.bytes);
        recovered.damaged = report.damage.len() as u64;
        if recovered.records == 0 && mismatched > 0 {
            return Err(Error::Mismatch);
        }
        let journal = Journal {
            log: RwLock::new(Some(log)),
            compacting: Mutex::new(()),
        };
        // A second opener would have been refused by the lock of the directory.
        let _ = self.journal.set(journal);
        Ok(recovered)
    }

    fn replay(&self, record: &[u8]) -> Result<(), Error> {
        let (message, items) = self.items(record)?;
        for item in items {
            if let Item::Delta(delta) = item {
                self.join(&delta, &message);
            }
        }
        Ok(())
    }

    /// Whether there is a journal.
    pub fn is_durable(&self) -> bool {
        self.journal.get().is_some()
    }

    /// Writes dots that another replica has seen go.
    pub(crate) fn journal_gone(&self, shard: usize, gone: &[Dot]) -> Result<(), Error> {
        let Some(journal) = self.journal.get().filter(|_| !gone.is_empty()) else {
            return Ok(());
        };
        let mut message = Writer::new(self.schema);
        self.shards[shard]
            .lock()
            .put_change(&mut message, shard, None, gone);
        journal.append(&message.finish())
    }

    /// Writes the journal anew when most of it is out of date; false when it is not. Changes go on meanwhile. O(keys).
    ///
    /// # Errors
    /// `Journal`: the old records are still there.
    pub fn compact(&self) -> Result<bool, Error> {
        let Some(journal) = self.journal.get() else {
            return Ok(false);
        };
        let Some(_one) = journal.compacting.try_lock() else {
            return Ok(false);
        };
        let status = self.status();
        let live = status.bytes + 48 * status.keys;
        if journal.bytes() < SHORT.max(3 * live) {
            return Ok(false);
        }
        journal.with(Log::rotate)?;
        let begins = journal.with(|log| Ok(log.next_seq()))?;
        for shard in 0..self.shards.len() {
            self.write_whole(journal, shard)?;
        }
        journal.with(Log::sync)?;
        journal.with(|log| log.retire_before(begins))?;
        Ok(true)
    }

    fn write_whole(&self, journal: &Journal, at: usize) -> Result<(), Error> {
        let mut told = Context::default();
        loop {
            let mut message = Writer::new(self.schema);
            let before = told.clone();
            let more = self.shards[at]
                .lock()
                .give(&mut message, at, &before, SLICE, &mut told);
            if !message.is_empty() {
                journal.append(&message.finish())?;
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Brings what was written to the disk and releases the directory. Later changes are made, and answered with an error.
    ///
    /// # Errors
    /// `Journal`; the directory is released all the same.
    pub fn close(&self) -> Result<(), Error> {
        let log = self.journal.get().and_then(|journal| journal.log.write().take());
        log.map_or(Ok(()), |log| Ok(log.close()?))
    }
}
