//! Real kills, a real full disk, a real read-only directory.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use foundation_storage::{Error, Log, Options, Sync};

const CHILD: &str = "FOUNDATION_STORAGE_CHILD";

fn options(sync: Sync) -> Options {
    Options {
        sync,
        segment_bytes: 64 << 10,
        preallocate_bytes: 8 << 10,
        ..Options::default()
    }
}

fn policy(name: &str) -> Sync {
    match name {
        "always" => Sync::Always,
        "interval" => Sync::Interval(Duration::from_millis(10)),
        _ => Sync::Os,
    }
}

/// One of these tests at a time: each starts processes, and a process that was forked but has not yet become its program
/// still holds every lock of its parent.
fn alone() -> parking_lot::MutexGuard<'static, ()> {
    static ALONE: parking_lot::Mutex<()> = parking_lot::Mutex::new(());
    ALONE.lock()
}

/// Not a test by itself: the process that is killed. Writes from four threads and prints what is acknowledged.
#[test]
fn child_writer() {
    let Ok(task) = std::env::var(CHILD) else { return };
    let (name, dir) = task.split_once(' ').expect("policy and directory");
    let (log, _) = Log::open(Path::new(dir), options(policy(name)), &mut |_, _| {}).expect("opens");
    let run = std::process::id();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let log = &log;
            scope.spawn(move || {
                for n in 0u64.. {
                    let batch: Vec<Vec<u8>> = (0..1 + n % 4)
                        .map(|part| {
                            let mut record = format!("{run}.{thread}.{n}.{part} ").into_bytes();
                            record.resize(40 + (n as usize * 37) % 500, b'x');
                            record
                        })
                        .collect();
                    let slices: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
                    let range = log.append(&slices).expect("appends");
                    let mut lines = String::new();
                    for (part, seq) in range.enumerate() {
                        lines.push_str(&format!("\nacked {seq} {run}.{thread}.{n}.{part}\n"));
                    }
                    std::io::stdout()
                        .lock()
                        .write_all(lines.as_bytes())
                        .expect("the pipe is open");
                }
            });
        }
    });
}

#[test]
fn kill_9_in_a_write_storm_loses_nothing_acknowledged() {
    let _alone = alone();
    for name in ["always", "interval", "os"] {
        let dir = tempfile::tempdir().expect("dir");
        let mut acked = BTreeSet::new();
        for round in 0..4 {
            let mut child = Command::new(std::env::current_exe().expect("this binary"))
                .args(["--exact", "child_writer", "--nocapture", "--test-threads=1"])
                .env(CHILD, format!("{name} {}", dir.path().display()))
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .expect("starts");
            let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
            let mut count = 0;
            let mut take = |line: String| {
                let Some(rest) = line.strip_prefix("acked ") else {
                    return 0;
                };
                let Some((seq, id)) = rest.split_once(' ') else {
                    return 0;
                };
                acked.insert((seq.parse::<u64>().expect("a number"), id.to_owned()));
                1
            };
            while count < 200 + round * 150 {
                count += take(lines.next().expect("the child lives").expect("utf-8"));
            }
            child.kill().expect("kills");
            // What the pipe still holds was acknowledged too; its last line may be cut.
            let rest: Vec<String> = lines.map_while(Result::ok).collect();
            rest.into_iter()
                .filter(|line| line.ends_with(|c: char| c.is_ascii_digit()))
                .for_each(|line| {
                    let whole = line.split('.').count() == 4;
                    if whole {
                        take(line);
                    }
                });
            child.wait().expect("waits");
            let mut seen = BTreeSet::new();
            let (log, report) = Log::open(dir.path(), options(policy(name)), &mut |seq, record| {
                let id = record.split(|byte| *byte == b' ').next().expect("an id");
                seen.insert((seq, String::from_utf8(id.to_vec()).expect("utf-8")));
            })
            .expect("opens");
            assert!(report.damage.is_empty(), "{report:?}");
            let lost: Vec<_> = acked.difference(&seen).collect();
            assert!(
                lost.is_empty(),
                "{name}, round {round}: lost {lost:?} of {}",
                acked.len()
            );
            drop(log);
        }
    }
}

/// A mounted file system, unmounted at the end.
struct Mount(PathBuf);

impl Mount {
    /// None where this process may not mount.
    fn tmpfs(at: &Path, size: &str) -> Option<Mount> {
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .stderr(Stdio::null())
            .status();
        done.is_ok_and(|status| status.success())
            .then(|| Mount(at.to_path_buf()))
    }

    fn remount(&self, how: &str) -> bool {
        let done = Command::new("mount")
            .args(["-o", &format!("remount,{how}")])
            .arg(&self.0)
            .status();
        done.is_ok_and(|status| status.success())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_when_there_is_space() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("dir");
    let Some(_mount) = Mount::tmpfs(dir.path(), "256k") else {
        eprintln!("skipped: this process may not mount a tmpfs (tests/model.rs fills a disk in memory)");
        return;
    };
    let ballast = dir.path().join("ballast");
    fs::write(&ballast, vec![1u8; 60 << 10]).expect("writes");
    let log_dir = dir.path().join("log");
    let options = options(Sync::Always);
    let (log, _) = Log::open(&log_dir, options.clone(), &mut |_, _| {}).expect("opens");
    let mut acked = Vec::new();
    let refused = loop {
        let record = vec![acked.len() as u8; 1500];
        match log.append(&[&record, b"and a small one"]) {
            Ok(range) => acked.push((range.start, record)),
            Err(error) => break error,
        }
        assert!(acked.len() < 1000, "the disk is never full");
    };
    assert!(matches!(refused, Error::NoSpace { .. }), "{refused}");
    assert!(log.append(&[&[9; 1500]]).is_err());
    let count = |log: &Log| {
        let mut count = 0;
        log.read(0, &mut |_, _| {
            count += 1;
            true
        })
        .map(|()| count)
    };
    assert_eq!(count(&log).expect("still reads"), acked.len() * 2);
    fs::remove_file(&ballast).expect("removes");
    let range = log.append(&[&[9; 1500]]).expect("there is space again");
    assert_eq!(
        range.start,
        acked.len() as u64 * 2 + 1,
        "nothing refused took a sequence"
    );
    drop(log);
    let mut seen = Vec::new();
    let (_log, report) = Log::open(&log_dir, options, &mut |seq, record| {
        seen.push((seq, record.to_vec()))
    })
    .expect("opens");
    assert!(report.damage.is_empty() && report.torn.is_none());
    assert!(acked.iter().all(|record| seen.contains(record)));
    assert_eq!(seen.len(), acked.len() * 2 + 1);
}

#[test]
fn a_read_only_directory_is_a_clear_error() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("dir");
    let Some(mount) = Mount::tmpfs(dir.path(), "256k") else {
        eprintln!("skipped: this process may not mount a tmpfs");
        return;
    };
    let (log, _) = Log::open(dir.path(), options(Sync::Always), &mut |_, _| {}).expect("opens");
    log.append(&[b"kept"]).expect("appends");
    drop(log);
    assert!(mount.remount("ro"));
    let refused = Log::open(dir.path(), options(Sync::Always), &mut |_, _| {});
    match refused {
        Err(Error::NotWritable { path, .. }) => assert!(path.starts_with(dir.path())),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
    assert!(mount.remount("rw"));
    let mut seen = 0;
    Log::open(dir.path(), options(Sync::Always), &mut |_, _| seen += 1).expect("opens");
    assert_eq!(seen, 1);
}

#[test]
fn a_file_in_the_place_of_the_directory_is_a_clear_error() {
    let _alone = alone();
    let dir = tempfile::tempdir().expect("dir");
    let path = dir.path().join("log");
    fs::write(&path, b"a file").expect("writes");
    assert!(matches!(
        Log::open(&path, Options::default(), &mut |_, _| {}),
        Err(Error::Io { .. })
    ));
    assert_eq!(fs::read(&path).expect("reads"), b"a file");
}
