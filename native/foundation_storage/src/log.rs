//! The log.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::disk::{Disk, LocalDisk};
use crate::group::{Group, Groups};
use crate::recovery;
use crate::segment::{self, Segment};
use crate::writer::{Counts, Shared, Writer};
use crate::{Error, Options, Recovery, Stats, Sync};

/// How often the thread of a log looks after retention by age.
const RETENTION_PERIOD: Duration = Duration::from_secs(10);

/// A durable, append-only sequence of records in a directory. Shared by reference between threads; one opener
/// at a time. Dropping it syncs and releases the directory.
pub struct Log {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) writer: Mutex<Writer>,
    groups: Groups,
    /// Held for writing while segments are deleted or replaced, for reading while they are read.
    pub(crate) files: RwLock<()>,
    _lock: Box<dyn Send + std::marker::Sync>,
}

impl Log {
    /// Opens or makes the log in `dir`, giving every record in it to `replay` in order.
    ///
    /// # Errors
    /// `Locked`, `NotWritable`, `NoSpace`, `Version`, `Damaged` (only with `OnDamage::Fail`), `Io`.
    pub fn open(
        dir: &Path,
        options: Options,
        replay: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(Log, Recovery), Error> {
        Self::open_on(Arc::new(LocalDisk), dir, options, replay)
    }

    /// Opens a log on another file system than the machine's.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        options: Options,
        replay: &mut dyn FnMut(u64, &[u8]),
    ) -> Result<(Log, Recovery), Error> {
        disk.create_dir(dir)
            .map_err(|error| Error::io("create", dir, error))?;
        let lock = take_lock(&*disk, dir)?;
        let found = recovery::recover(&*disk, dir, options.on_damage, replay)?;
        // What an earlier opener deleted must not come back once this one has appended.
        disk.sync_dir(dir)
            .map_err(|error| Error::io("sync", dir, error))?;
        let (mut segments, report) = (found.segments, found.report);
        let shared = Arc::new(Shared {
            disk,
            dir: dir.to_path_buf(),
            options,
            salt: found.salt,
            sealed: Mutex::default(),
            untrimmed: Mutex::default(),
            counts: Counts::default(),
        });
        if let Some(last) = segments.last() {
            // An opener that was killed may have left records that the disk does not have yet. From here on they count.
            shared
                .disk
                .open(&last.path)
                .and_then(|file| file.sync())
                .map_err(|error| Error::io("sync", &last.path, error))?;
        }
        let last = if found.reuse_last { segments.pop() } else { None };
        let writer = match last {
            Some(last) => Writer::resume(shared.clone(), &last)?,
            None => Writer::create(shared.clone(), found.next_seq)?,
        };
        shared.counts.first_seq.store(report.first_seq, Ordering::Release);
        shared.counts.next_seq.store(found.next_seq, Ordering::Release);
        *shared.sealed.lock() = segments;
        let inner = Arc::new(Inner {
            shared,
            writer: Mutex::new(writer),
            groups: Groups::default(),
            files: RwLock::default(),
            _lock: lock,
        });
        let thread =
            start_thread(inner.clone()).map_err(|error| Error::io("start a thread for", dir, error))?;
        Ok((
            Log {
                inner,
                thread: Some(thread),
            },
            report,
        ))
    }

    /// Appends the records as one unit of acknowledgement and waits for it: for the disk under
    /// `Sync::Always`, for the system otherwise. Callers on other threads share one write and one sync.
    /// Answers the sequences the records got; they are consecutive and start at 1.
    ///
    /// # Errors
    /// `TooLarge`, `NoSpace`, `NotWritable`, `Sync`, `Io`, `Closed`. After each none of the records is in the
    /// log, and the log stays usable. (A power cut during the call may leave some of them: they are then
    /// recovered although nobody was told that they were stored.)
    pub fn append(&self, records: &[&[u8]]) -> Result<Range<u64>, Error> {
        let inner = &*self.inner;
        inner.shared.counts.appends.fetch_add(1, Ordering::Relaxed);
        inner
            .groups
            .append(&inner.shared.options, records, &mut |group| inner.commit(group))
    }

    /// Appends without waiting. The callback runs on the thread of the log, never on the caller's, when the
    /// records are acknowledged or refused; it must not wait for this log. Waits only while more than `max_pending_bytes` are on their way.
    ///
    /// # Errors
    /// `TooLarge`, `Closed`; every other outcome goes to the callback.
    pub fn append_async(
        &self,
        records: &[&[u8]],
        callback: impl FnOnce(Result<Range<u64>, Error>) + Send + 'static,
    ) -> Result<(), Error> {
        let inner = &*self.inner;
        inner.shared.counts.appends.fetch_add(1, Ordering::Relaxed);
        inner
            .groups
            .enqueue(&inner.shared.options, records, Box::new(callback))
    }

    /// Waits until everything appended before, by `append_async` too, is acknowledged or refused.
    ///
    /// # Errors
    /// That of the group that was the last to be written.
    pub fn flush(&self) -> Result<(), Error> {
        self.inner.groups.flush(&mut |group| self.inner.commit(group))
    }

    /// Brings everything appended before to the disk, whatever the policy.
    ///
    /// # Errors
    /// `Sync`, and those of `flush`.
    pub fn sync(&self) -> Result<(), Error> {
        self.flush()?;
        self.inner.writer.lock().sync()
    }

    /// Closes the active segment and starts the next; false when the active one holds no record.
    ///
    /// # Errors
    /// `NoSpace`, `NotWritable`, `Sync`, `Io`: the active segment stays the active one.
    pub fn rotate(&self) -> Result<bool, Error> {
        self.flush()?;
        self.inner.writer.lock().rotate()
    }

    /// Sequence of the oldest record that may be in the log. O(1), no lock.
    pub fn first_seq(&self) -> u64 {
        self.inner.shared.counts.first_seq.load(Ordering::Acquire)
    }

    /// Sequence the next record gets. O(1), no lock.
    pub fn next_seq(&self) -> u64 {
        self.inner.shared.counts.next_seq.load(Ordering::Acquire)
    }

    /// Counts of the log. O(segments).
    pub fn stats(&self) -> Stats {
        let active = self.inner.active();
        let sealed = self.inner.shared.sealed.lock();
        let all = || sealed.iter().chain(&active);
        let counts = &self.inner.shared.counts;
        Stats {
            segments: all().count(),
            records: all().map(|segment| segment.records).sum(),
            bytes: all().map(|segment| segment.bytes).sum(),
            first_seq: self.first_seq(),
            next_seq: self.next_seq(),
            groups: counts.groups.load(Ordering::Relaxed),
            appends: counts.appends.load(Ordering::Relaxed),
            syncs: counts.syncs.load(Ordering::Relaxed),
            failures: counts.failures.load(Ordering::Relaxed),
        }
    }

    /// Writes and syncs what is on its way and releases the directory.
    ///
    /// # Errors
    /// `Sync`, and those of `flush`. The log is closed all the same.
    pub fn close(mut self) -> Result<(), Error> {
        self.finish()
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.inner
    }

    fn finish(&mut self) -> Result<(), Error> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.inner.groups.close();
        let flushed = self.flush();
        self.inner.groups.stop();
        // The last handle may be dropped inside a callback, on the very thread that would be waited for.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!(
                "the thread of the log in {:?} had panicked",
                self.inner.shared.dir
            );
        }
        flushed.and(self.inner.writer.lock().finish())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!("closing the log in {:?}: {error}", self.inner.shared.dir);
        }
    }
}

impl Inner {
    fn commit(&self, group: &mut Group) -> Result<u64, Error> {
        let mut writer = self.writer.lock();
        if group.records == 0 {
            return Ok(self.shared.counts.next_seq.load(Ordering::Acquire));
        }
        let base = writer.base();
        let result = writer.commit(&mut group.frames, group.records);
        if self.shared.options.retention.is_bounded() && writer.base() != base {
            drop(writer);
            self.groups.ask();
        }
        result
    }

    /// Syncs the active segment without keeping writers waiting.
    fn sync_in_background(&self) {
        let Some((path, file)) = self.writer.lock().take_unsynced() else {
            return;
        };
        match file.sync() {
            Ok(()) => {
                self.shared.counts.syncs.fetch_add(1, Ordering::Relaxed);
            }
            Err(source) => {
                tracing::error!("records could not be synced to {path:?}: {source}");
                let error = Error::Sync {
                    path: path.clone(),
                    source: Arc::new(source),
                };
                self.writer.lock().background_sync_failed(&path, error);
            }
        }
    }

    /// The segments in order, the active one last.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let writer = self.writer.lock();
        let mut all = self.shared.sealed.lock().clone();
        if !writer.is_lost() {
            all.push(writer.active());
        }
        all
    }

    fn active(&self) -> Option<Segment> {
        let writer = self.writer.lock();
        (!writer.is_lost()).then(|| writer.active())
    }
}

fn take_lock(disk: &dyn Disk, dir: &Path) -> Result<Box<dyn Send + std::marker::Sync>, Error> {
    let path = dir.join(segment::LOCK);
    disk.lock(&path).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked {
            dir: dir.to_path_buf(),
            holder: disk.lock_holder(&path),
        },
        _ => Error::io("lock", &path, error),
    })
}

/// Writes groups that nobody waits for, runs callbacks, syncs at intervals, looks after retention.
fn start_thread(inner: Arc<Inner>) -> std::io::Result<JoinHandle<()>> {
    let interval = match inner.shared.options.sync {
        Sync::Interval(every) => Some(every),
        Sync::Always | Sync::Os => None,
    };
    let pause = interval.unwrap_or(RETENTION_PERIOD).min(RETENTION_PERIOD);
    let mut synced = std::time::Instant::now();
    let mut retained = synced;
    std::thread::Builder::new()
        .name("foundation-log".into())
        .spawn(move || {
            loop {
                let wake = inner.groups.wait_for_work(pause);
                if wake.lead {
                    inner.groups.lead_pending(&mut |group| inner.commit(group));
                }
                inner.groups.run_callbacks();
                if wake.stopped {
                    break;
                }
                if interval.is_some_and(|every| synced.elapsed() >= every) {
                    inner.sync_in_background();
                    synced = std::time::Instant::now();
                }
                if wake.asked || retained.elapsed() >= RETENTION_PERIOD {
                    inner.retain_quietly();
                    retained = std::time::Instant::now();
                }
            }
        })
}
