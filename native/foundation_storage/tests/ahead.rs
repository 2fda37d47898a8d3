//! Zeroes written ahead of large groups, in the background: whatever becomes of them, every record stays.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foundation_storage::disk::{Disk, DiskFile};
use foundation_storage::memory::MemoryDisk;
use foundation_storage::{Error, Log, Options, Recovery, Retention};
use parking_lot::{Condvar, Mutex};

/// What becomes of a write of zeroes alone.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Written,
    Refused,
    /// Waits until the fate is another one, or for a record; for a moment at most.
    Late,
}

/// A disk in memory that tells zeroes from records.
#[derive(Clone)]
struct Watched {
    disk: MemoryDisk,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

struct Seen {
    fate: Fate,
    waiting: usize,
    zeroes: usize,
    records: usize,
}

struct WatchedFile {
    file: Box<dyn DiskFile>,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

impl DiskFile for WatchedFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (seen, changed) = &*self.seen;
        let mut now = seen.lock();
        if bytes.iter().any(|byte| *byte != 0) {
            now.records += 1;
            let written = self.file.write_at(bytes, offset);
            changed.notify_all();
            return written;
        }
        now.zeroes += 1;
        now.waiting += 1;
        changed.notify_all();
        let (records, deadline) = (now.records, Instant::now() + Duration::from_millis(300));
        while now.fate == Fate::Late && now.records == records {
            if changed.wait_until(&mut now, deadline).timed_out() {
                break;
            }
        }
        now.waiting -= 1;
        if now.fate == Fate::Refused {
            self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

impl Watched {
    fn new(fate: Fate) -> Self {
        let seen = Seen {
            fate,
            waiting: 0,
            zeroes: 0,
            records: 0,
        };
        Watched {
            disk: MemoryDisk::new(),
            seen: Arc::new((Mutex::new(seen), Condvar::new())),
        }
    }

    fn set(&self, fate: Fate) {
        self.seen.0.lock().fate = fate;
        self.seen.1.notify_all();
    }

    fn watch(&self, file: Box<dyn DiskFile>) -> Box<dyn DiskFile> {
        let seen = self.seen.clone();
        Box::new(WatchedFile { file, seen })
    }
}

impl Disk for Watched {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.create_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(path)
    }
    fn lock_holder(&self, path: &Path) -> Option<u32> {
        self.disk.lock_holder(path)
    }
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.create(path).map(|file| self.watch(file))
    }
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(path).map(|file| self.watch(file))
    }
    fn read(&self, path: &Path, into: &mut Vec<u8>) -> io::Result<()> {
        self.disk.read(path, into)
    }
    fn read_start(&self, path: &Path, bytes: usize, into: &mut Vec<u8>) -> io::Result<()> {
        self.disk.read_start(path, bytes, into)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(dir)
    }
}

const RECORD: usize = 1000;

fn options() -> Options {
    Options {
        segment_bytes: 100_000,
        preallocate_bytes: 1000,
        ..Options::default()
    }
}

fn open(disk: Arc<dyn Disk>, options: Options) -> (Log, Recovery, Vec<Vec<u8>>) {
    let mut seen = Vec::new();
    let (log, report) = Log::open_on(disk, Path::new("/log"), options, &mut |_, record| {
        seen.push(record.to_vec());
    })
    .expect("opens");
    (log, report, seen)
}

fn record(n: usize) -> Vec<u8> {
    let mut bytes = (n as u64 + 1).to_le_bytes().to_vec();
    bytes.resize(RECORD, n as u8 | 1);
    bytes
}

fn append(log: &Log, range: std::ops::Range<usize>) {
    for n in range {
        log.append(&[&record(n)]).expect("appends");
    }
}

fn records(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(record).collect()
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn zeroes_ahead_grow_with_the_segment_and_count() {
    let disk = MemoryDisk::new();
    let (log, ..) = open(Arc::new(disk.clone()), options());
    assert_eq!(log.stats().reserved, 0);
    for n in 0..50 {
        append(&log, n..n + 1);
        let stats = log.stats();
        assert!(stats.reserved <= stats.bytes, "{stats:?}");
    }
    wait_for("zeroes ahead, all of them counted", || {
        let stats = log.stats();
        stats.reserved > 0 && stats.bytes + stats.reserved == disk.used() as u64
    });
    log.rotate().expect("rotates");
    assert_eq!(disk.used() as u64, log.stats().bytes);
    append(&log, 50..60);
    log.close().expect("closes");
    let (log, _, seen) = open(Arc::new(disk.clone()), options());
    assert_eq!(disk.used() as u64, log.stats().bytes);
    assert_eq!(seen, records(0..60));
}

#[test]
fn records_wait_for_the_zeroes_that_would_cover_them() {
    let disk = Watched::new(Fate::Written);
    let (log, ..) = open(Arc::new(disk.clone()), options());
    append(&log, 0..10);
    disk.set(Fate::Late);
    // Some of these run out of what is there while more is being written.
    append(&log, 10..40);
    disk.set(Fate::Written);
    append(&log, 40..60);
    assert!(disk.seen.0.lock().zeroes > 0);
    let mut found = Vec::new();
    log.read(0, &mut |_, record| {
        found.push(record.to_vec());
        true
    })
    .expect("reads");
    assert_eq!(found, records(0..60));
    drop(log);
    assert_eq!(open(Arc::new(disk.disk), options()).2, records(0..60));
}

#[test]
fn a_log_that_closes_waits_for_its_zeroes() {
    let disk = Watched::new(Fate::Late);
    let (log, ..) = open(Arc::new(disk.clone()), options());
    append(&log, 0..2);
    wait_for("a write of zeroes", || disk.seen.0.lock().waiting > 0);
    log.close().expect("closes");
    assert_eq!(disk.seen.0.lock().waiting, 0);
    let (log, report, seen) = open(Arc::new(disk.disk.clone()), options());
    assert!(report.torn.is_none() && report.damage.is_empty(), "{report:?}");
    assert_eq!(
        (seen, disk.disk.used() as u64),
        (records(0..2), log.stats().bytes)
    );
}

#[test]
fn zeroes_that_find_no_room_leave_it_to_the_records() {
    let disk = Watched::new(Fate::Refused);
    let (log, ..) = open(Arc::new(disk.clone()), options());
    append(&log, 0..60);
    let stats = log.stats();
    assert_eq!((stats.reserved, stats.failures), (0, 0));
    // It is not tried again and again on a full disk.
    assert_eq!(disk.seen.0.lock().zeroes, 1);
    assert_eq!(disk.disk.used() as u64, stats.bytes);
    drop(log);
    assert_eq!(open(Arc::new(disk.disk), options()).2, records(0..60));
}

#[test]
fn a_disk_is_filled_with_records_to_the_last() {
    for spare in [0, 300, 900] {
        let disk = MemoryDisk::new();
        let (log, ..) = open(Arc::new(disk.clone()), options());
        let frame = RECORD + 16;
        let capacity = disk.used() + 20 * frame + spare;
        disk.set_capacity(Some(capacity));
        append(&log, 0..20);
        assert!(matches!(log.append(&[&record(20)]), Err(Error::NoSpace { .. })));
        assert!(disk.used() <= capacity);
        drop(log);
        assert_eq!(open(Arc::new(disk), options()).2, records(0..20));
    }
}

#[test]
fn a_kill_and_a_power_cut_leave_records_and_zeroes() {
    for seed in 0..60usize {
        let disk = MemoryDisk::new();
        let (log, ..) = open(Arc::new(disk.clone()), options());
        append(&log, 0..3 + seed % 20);
        let mut rolls = seed;
        let cut = disk.power_cut(&mut |sides| {
            rolls = rolls
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (rolls >> 33) % sides
        });
        for disk in [disk.killed(), cut] {
            let (log, report, seen) = open(Arc::new(disk.clone()), options());
            assert!(report.torn.is_none() && report.damage.is_empty(), "{report:?}");
            assert_eq!(seen, records(0..3 + seed % 20));
            assert_eq!(disk.used() as u64, log.stats().bytes);
        }
    }
}

#[test]
fn retention_counts_the_zeroes() {
    let disk = MemoryDisk::new();
    let bounded = |max_bytes| Options {
        segment_bytes: 20_000,
        retention: Retention {
            max_bytes,
            ..Retention::default()
        },
        ..options()
    };
    let (log, ..) = open(Arc::new(disk.clone()), bounded(None));
    append(&log, 0..50);
    drop(log);
    // The records alone would do.
    let (log, ..) = open(Arc::new(disk.clone()), bounded(Some(56_000)));
    append(&log, 50..53);
    wait_for("zeroes up to the end of the segment", || {
        let stats = log.stats();
        stats.reserved > 3_000 && stats.bytes < 56_000 && stats.bytes + stats.reserved > 56_000
    });
    let retired = log.retain().expect("retains");
    assert_eq!(retired.segments, 1);
    assert!(disk.used() <= 56_000, "{} bytes", disk.used());
}
