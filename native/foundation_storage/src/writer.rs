//! The active segment: one caller at a time writes a whole group to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::disk::{Disk, DiskFile};
use crate::format::{self, HEADER, Header, VERSION};
use crate::segment::{self, Segment};
use crate::{Error, Options, Sync};

/// Counts read without a lock.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) first_seq: AtomicU64,
    pub(crate) next_seq: AtomicU64,
    pub(crate) groups: AtomicU64,
    pub(crate) appends: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) failures: AtomicU64,
}

/// What the writer shares with readers, retention and compaction.
pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) salt: u32,
    pub(crate) sealed: Mutex<Vec<Segment>>,
    /// Bases of segments that were cut in the log but not yet on the disk.
    pub(crate) untrimmed: Mutex<Vec<u64>>,
    pub(crate) counts: Counts,
}

pub(crate) struct Writer {
    shared: Arc<Shared>,
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    base: u64,
    created_ms: u64,
    /// Where the next record goes.
    len: u64,
    /// Zeroes written ahead reach to here.
    zeroed: u64,
    records: u64,
    next_seq: u64,
    /// Bytes of a failed write may lie behind `len`.
    dirty_tail: bool,
    /// Records were written since the last sync.
    unsynced: bool,
    /// The next segment was tried and is not there yet. Records added to this one meanwhile would lie beyond
    /// the base of a file that may have reached the disk, and be taken for refused ones.
    must_rotate: bool,
    /// A sync in the background failed; the next caller hears of it.
    broken: Option<Error>,
    /// The file is not of the log any more: another is made at `next_seq` before anything is written.
    lost: bool,
}

impl Writer {
    /// Starts a segment at `base`, durable in the directory when this returns.
    pub(crate) fn create(shared: Arc<Shared>, base: u64) -> Result<Writer, Error> {
        Self::try_create(&shared, base).inspect_err(|_| {
            // When it stays, or comes back after a power cut, it is a segment without records: the writer adds
            // none to the one before until a file with this name is whole.
            let _ = shared.disk.remove(&segment::path(&shared.dir, base));
        })
    }

    fn try_create(shared: &Arc<Shared>, base: u64) -> Result<Writer, Error> {
        let (path, created_ms) = (segment::path(&shared.dir, base), segment::now_ms());
        let header = Header {
            version: VERSION,
            salt: shared.salt,
            base,
            created_ms,
            compacted: None,
        };
        let file = shared
            .disk
            .create(&path)
            .map_err(|error| Error::io("create", &path, error))?;
        file.write_at(&header.encode(), 0)
            .and_then(|()| file.sync())
            .and_then(|()| shared.disk.sync_dir(&shared.dir))
            .map_err(|error| Error::io("write the header of", &path, error))?;
        Ok(Self::on(shared.clone(), Arc::from(file), path, base, created_ms))
    }

    /// Goes on with the last segment found by recovery.
    pub(crate) fn resume(shared: Arc<Shared>, last: &Segment) -> Result<Writer, Error> {
        let file = shared
            .disk
            .open(&last.path)
            .map_err(|error| Error::io("open", &last.path, error))?;
        let mut writer = Self::on(
            shared,
            Arc::from(file),
            last.path.clone(),
            last.base,
            last.created_ms,
        );
        writer.len = last.bytes;
        writer.zeroed = last.bytes;
        writer.records = last.records;
        writer.next_seq = last.end;
        Ok(writer)
    }

    fn on(shared: Arc<Shared>, file: Arc<dyn DiskFile>, path: PathBuf, base: u64, created_ms: u64) -> Writer {
        let len = HEADER as u64;
        Writer {
            shared,
            file,
            path,
            base,
            created_ms,
            len,
            zeroed: len,
            records: 0,
            next_seq: base,
            dirty_tail: false,
            unsynced: false,
            must_rotate: false,
            broken: None,
            lost: false,
        }
    }

    /// The active segment as retention and readers see it.
    pub(crate) fn active(&self) -> Segment {
        Segment {
            path: self.path.clone(),
            base: self.base,
            end: self.next_seq,
            records: self.records,
            bytes: self.len,
            created_ms: self.created_ms,
        }
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    /// Sequence the next record gets.
    pub(crate) fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Whether there is no active segment until the next commit makes one.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost
    }

    /// Gives the active segment up; the next one begins at `base`.
    pub(crate) fn lose(&mut self, base: u64) {
        self.lost = true;
        self.base = base;
        self.path = segment::path(&self.shared.dir, base);
        self.next_seq = base;
        self.records = 0;
        self.len = HEADER as u64;
        self.zeroed = self.len;
        self.dirty_tail = false;
        self.unsynced = false;
        self.must_rotate = false;
    }

    /// Makes the segment that takes the place of one given up, durable when this returns. What a failure leaves stays:
    /// its name may be all that tells where the log has got to.
    pub(crate) fn restart(&mut self) -> Result<(), Error> {
        if self.lost {
            let broken = self.broken.take();
            *self = Writer::try_create(&self.shared, self.next_seq)?;
            self.broken = broken;
        }
        Ok(())
    }

    /// Writes unsealed frames and, under `Sync::Always`, waits for the disk. All or none of them are in the
    /// log afterwards. Answers the sequence of the first.
    pub(crate) fn commit(&mut self, frames: &mut [u8], records: u64) -> Result<u64, Error> {
        let result = self.try_commit(frames, records);
        if result.is_err() {
            self.shared.counts.failures.fetch_add(1, Ordering::Relaxed);
        }
        result
    }

    fn try_commit(&mut self, frames: &mut [u8], records: u64) -> Result<u64, Error> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        self.restart()?;
        let bytes = frames.len() as u64;
        let full = self.records > 0 && self.len + bytes > self.shared.options.segment_bytes;
        if full || self.must_rotate {
            self.rotate()?;
        }
        self.repair()?;
        let first = self.next_seq;
        format::seal_group(frames, first, self.shared.salt);
        self.write_zeroes_ahead(bytes);
        if let Err(error) = self.file.write_at(frames, self.len) {
            self.dirty_tail = true;
            // When the cut fails too, the next commit tries again before it writes.
            let _ = self.repair();
            return Err(Error::io("append to", &self.path, error));
        }
        if self.shared.options.sync == Sync::Always {
            self.sync_group()?;
        } else {
            self.unsynced = true;
        }
        self.len += bytes;
        self.zeroed = self.zeroed.max(self.len);
        self.records += records;
        self.next_seq += records;
        self.shared
            .counts
            .next_seq
            .store(self.next_seq, Ordering::Release);
        self.shared.counts.groups.fetch_add(1, Ordering::Relaxed);
        Ok(first)
    }

    /// After a failed sync nobody knows what of the group the disk holds, and asking again may falsely
    /// succeed. The group is cut off, and the log goes on in a new segment whose base says what counts.
    fn sync_group(&mut self) -> Result<(), Error> {
        let Err(source) = self.file.sync() else {
            self.shared.counts.syncs.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        self.dirty_tail = true;
        let _ = self.repair();
        let error = Error::Sync {
            path: self.path.clone(),
            source: Arc::new(source),
        };
        if let Err(next) = self.abandon() {
            self.broken = Some(next);
        }
        Err(error)
    }

    /// Cuts what a failed write left.
    fn repair(&mut self) -> Result<(), Error> {
        if self.dirty_tail {
            self.file
                .set_len(self.len)
                .map_err(|error| Error::io("cut", &self.path, error))?;
            self.zeroed = self.len;
            self.dirty_tail = false;
        }
        Ok(())
    }

    /// Writes zeroes where the next records go, so that their syncs need not store a new length each time.
    /// A group that is not small against them gains less than the zeroes cost.
    fn write_zeroes_ahead(&mut self, bytes: u64) {
        let ahead = self.shared.options.preallocate_bytes;
        let gains = self.shared.options.sync == Sync::Always && bytes.saturating_mul(4) <= ahead;
        if !gains || self.len + bytes <= self.zeroed {
            return;
        }
        let from = self.len + bytes;
        let to = (from + ahead).min(self.shared.options.segment_bytes.max(from));
        let zeroes = vec![0u8; (to - from) as usize];
        match self.file.write_at(&zeroes, from) {
            Ok(()) => self.zeroed = to,
            // No room for zeroes does not mean no room for the records.
            Err(_) => self.dirty_tail = self.file.set_len(self.len).is_err(),
        }
    }

    /// Brings what was written to the disk.
    pub(crate) fn sync(&mut self) -> Result<(), Error> {
        if let Some(error) = self.broken.take() {
            return Err(error);
        }
        if !self.unsynced {
            return Ok(());
        }
        self.unsynced = false;
        self.sync_written()
    }

    fn sync_written(&mut self) -> Result<(), Error> {
        match self.file.sync() {
            Ok(()) => {
                self.shared.counts.syncs.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(source) => {
                self.shared.counts.failures.fetch_add(1, Ordering::Relaxed);
                let error = Error::Sync {
                    path: self.path.clone(),
                    source: Arc::new(source),
                };
                self.abandon()?;
                Err(error)
            }
        }
    }

    /// The file to sync in the background, when there is something to sync.
    pub(crate) fn take_unsynced(&mut self) -> Option<(PathBuf, Arc<dyn DiskFile>)> {
        std::mem::take(&mut self.unsynced).then(|| (self.path.clone(), self.file.clone()))
    }

    /// A background sync failed: later records go to a new segment, and the next caller hears of it.
    pub(crate) fn background_sync_failed(&mut self, path: &Path, error: Error) {
        self.shared.counts.failures.fetch_add(1, Ordering::Relaxed);
        if path == self.path
            && let Err(next) = self.abandon()
        {
            tracing::error!("no new segment after a failed sync: {next}");
        }
        self.broken = Some(error);
    }

    /// Closes the active segment and starts the next. Nothing happens when the active one holds no record.
    pub(crate) fn rotate(&mut self) -> Result<bool, Error> {
        if self.records == 0 {
            return Ok(false);
        }
        self.repair()?;
        if self.zeroed > self.len {
            self.file
                .set_len(self.len)
                .map_err(|error| Error::io("cut", &self.path, error))?;
            self.zeroed = self.len;
            self.unsynced = true;
        }
        self.sync()?;
        self.next_segment()?;
        Ok(true)
    }

    /// Leaves the active segment without another sync of it.
    fn abandon(&mut self) -> Result<(), Error> {
        if self.records == 0 {
            // Nothing acknowledged is in it.
            return Ok(());
        }
        self.next_segment()
    }

    fn next_segment(&mut self) -> Result<(), Error> {
        self.must_rotate = true;
        let next = Writer::create(self.shared.clone(), self.next_seq)?;
        self.shared.sealed.lock().push(self.active());
        *self = next;
        Ok(())
    }

    /// Leaves the file as long as its records.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        self.restart()?;
        self.repair()?;
        if self.zeroed > self.len {
            self.file
                .set_len(self.len)
                .map_err(|error| Error::io("cut", &self.path, error))?;
            self.zeroed = self.len;
            self.unsynced = true;
        }
        self.sync()
    }
}
