//! What a log keeps, in the plain cases.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use foundation_storage::{Error, Log, Options, Recovery, Retention, Sync};

type Records = Vec<(u64, Vec<u8>)>;

fn open(dir: &Path, options: Options) -> (Log, Recovery, Records) {
    let mut seen = Vec::new();
    let (log, report) =
        Log::open(dir, options, &mut |seq, record| seen.push((seq, record.to_vec()))).expect("opens");
    (log, report, seen)
}

fn small() -> Options {
    Options {
        segment_bytes: 512,
        ..Options::default()
    }
}

fn numbered(range: std::ops::Range<u64>) -> Vec<Vec<u8>> {
    range.map(|n| format!("record {n}").into_bytes()).collect()
}

fn append(log: &Log, range: std::ops::Range<u64>) {
    for record in numbered(range) {
        log.append(&[&record]).expect("appends");
    }
}

#[test]
fn records_come_back_in_order_with_their_sequences() {
    for sync in [Sync::Always, Sync::Interval(Duration::from_millis(5)), Sync::Os] {
        let dir = tempfile::tempdir().expect("dir");
        let options = Options { sync, ..small() };
        let (log, report, seen) = open(dir.path(), options.clone());
        assert!(seen.is_empty() && report.records == 0 && report.next_seq == 1);
        assert_eq!(log.append(&[b"a", b"", b"ccc"]).expect("appends"), 1..4);
        assert_eq!(log.append(&[b"d"]).expect("appends"), 4..5);
        assert_eq!(log.append(&[]).expect("appends"), 5..5);
        append(&log, 5..100);
        log.close().expect("closes");
        let (log, report, seen) = open(dir.path(), options);
        assert!(report.damage.is_empty() && report.torn.is_none() && report.segments > 3);
        assert_eq!(seen.len(), 99);
        assert_eq!(seen[0], (1, b"a".to_vec()));
        assert_eq!(seen[1], (2, b"".to_vec()));
        assert_eq!(seen[98], (99, b"record 99".to_vec()));
        assert!(seen.iter().map(|(seq, _)| *seq).eq(1..100));
        assert_eq!(log.append(&[b"next"]).expect("appends"), 100..101);
    }
}

#[test]
fn a_second_opener_is_told_who_holds_the_log() {
    let dir = tempfile::tempdir().expect("dir");
    let (log, ..) = open(dir.path(), small());
    let second = Log::open(dir.path(), small(), &mut |_, _| {});
    match second {
        Err(Error::Locked { holder, .. }) => assert_eq!(holder, Some(std::process::id())),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two openers"),
    }
    log.close().expect("closes");
    open(dir.path(), small());
}

#[test]
fn callers_share_writes_and_get_their_own_sequences() {
    let dir = tempfile::tempdir().expect("dir");
    let (log, ..) = open(dir.path(), Options::default());
    let mut all: Records = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8u64)
            .map(|thread| {
                let log = &log;
                scope.spawn(move || {
                    let mut mine = Records::new();
                    for n in 0..50u64 {
                        let records = numbered(thread * 1000 + n..thread * 1000 + n + 1 + n % 3);
                        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
                        let range = log.append(&slices).expect("appends");
                        mine.extend(range.zip(records));
                    }
                    mine
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    all.sort();
    let stats = log.stats();
    assert_eq!(stats.appends, 400);
    assert!(stats.groups <= 400 && stats.records == all.len() as u64);
    log.close().expect("closes");
    assert_eq!(open(dir.path(), Options::default()).2, all);
}

#[test]
fn callbacks_run_elsewhere_and_in_order() {
    let dir = tempfile::tempdir().expect("dir");
    let (log, ..) = open(dir.path(), small());
    let (sender, receiver) = mpsc::channel();
    for n in 0..200u64 {
        let sender = sender.clone();
        let record = n.to_le_bytes();
        log.append_async(&[&record], move |result| {
            let _ = sender.send((result.expect("stored"), std::thread::current().id()));
        })
        .expect("queued");
    }
    log.flush().expect("flushes");
    assert_eq!(log.next_seq(), 201);
    drop(sender);
    log.close().expect("closes");
    let got: Vec<_> = receiver.iter().collect();
    assert!(
        got.iter()
            .map(|(range, _)| range.clone())
            .eq((1..201).map(|seq| seq..seq + 1))
    );
    assert!(
        got.iter()
            .all(|(_, thread)| *thread != std::thread::current().id())
    );
    assert_eq!(open(dir.path(), small()).2.len(), 200);
}

#[test]
fn a_record_beyond_the_limit_is_refused_with_its_batch() {
    let dir = tempfile::tempdir().expect("dir");
    let (log, ..) = open(
        dir.path(),
        Options {
            max_record_bytes: 10,
            ..small()
        },
    );
    let error = log.append(&[b"fine", b"eleven chars"]).expect_err("too large");
    assert!(matches!(error, Error::TooLarge { bytes: 12, limit: 10 }));
    assert_eq!(log.append(&[b"ten chars."]).expect("appends"), 1..2);
    let big = Options {
        max_record_bytes: 5000,
        ..small()
    };
    drop(log);
    let (log, ..) = open(dir.path(), big.clone());
    log.append(&[&[7; 5000]]).expect("larger than a segment");
    log.append(&[b"after"]).expect("appends");
    drop(log);
    let (_log, report, seen) = open(dir.path(), big);
    assert_eq!((seen.len(), report.damage.len()), (3, 0));
}

#[test]
fn retention_drops_the_oldest_segments() {
    let dir = tempfile::tempdir().expect("dir");
    let (log, ..) = open(dir.path(), small());
    append(&log, 1..200);
    let before = log.stats();
    drop(log);
    let bound = |retention| Options { retention, ..small() };
    let cases = [
        Retention {
            max_bytes: Some(before.bytes - 600),
            ..Retention::default()
        },
        Retention {
            max_records: Some(120),
            ..Retention::default()
        },
        Retention {
            max_segments: Some(3),
            ..Retention::default()
        },
    ];
    for retention in cases {
        let (log, ..) = open(dir.path(), bound(retention));
        let retired = log.retain().expect("retains");
        let stats = log.stats();
        assert!(
            retired.segments > 0 && retired.first_seq == stats.first_seq,
            "{retention:?} {retired:?}"
        );
        assert!(retention.max_bytes.is_none_or(|max| stats.bytes <= max));
        assert!(
            retention
                .max_records
                .is_none_or(|max| stats.records <= max && stats.records > max - 30)
        );
        assert!(retention.max_segments.is_none_or(|max| stats.segments == max));
        drop(log);
        let (_, report, seen) = open(dir.path(), small());
        assert_eq!(
            (seen[0].0, report.first_seq),
            (retired.first_seq, retired.first_seq)
        );
        assert!(report.damage.is_empty() && seen[seen.len() - 1].0 == 199);
    }
}

#[test]
fn retention_by_age_counts_from_the_newest_record_of_a_segment() {
    let dir = tempfile::tempdir().expect("dir");
    let retention = Retention {
        max_age_ms: Some(60_000),
        ..Retention::default()
    };
    let (log, ..) = open(dir.path(), Options { retention, ..small() });
    append(&log, 1..100);
    assert_eq!(log.retain().expect("retains").records, 0);
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("clock");
    let later = now.as_millis() as u64 + 61_000;
    let retired = log.retain_at(later).expect("retains");
    assert_eq!(
        retired.first_seq, 100,
        "the active segment was closed and is gone too"
    );
    assert_eq!(log.append(&[b"x"]).expect("appends"), 100..101);
}

#[test]
fn retention_runs_by_itself_when_segments_close() {
    let dir = tempfile::tempdir().expect("dir");
    let retention = Retention {
        max_segments: Some(4),
        ..Retention::default()
    };
    let (log, ..) = open(
        dir.path(),
        Options {
            retention,
            sync: Sync::Os,
            ..small()
        },
    );
    append(&log, 1..2000);
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while log.stats().segments > 4 {
        assert!(std::time::Instant::now() < deadline, "{:?}", log.stats());
        std::thread::yield_now();
    }
}

#[test]
fn retire_before_keeps_what_is_not_before() {
    let dir = tempfile::tempdir().expect("dir");
    let (log, ..) = open(dir.path(), small());
    append(&log, 1..200);
    log.retire_before(100).expect("retires");
    assert!(log.first_seq() <= 100 && log.first_seq() > 70);
    let mut seen = Vec::new();
    log.read(0, &mut |seq, _| {
        seen.push(seq);
        true
    })
    .expect("reads");
    assert!(seen.iter().copied().eq(log.first_seq()..200));
    seen.clear();
    log.read(150, &mut |seq, _| {
        seen.push(seq);
        seq < 159
    })
    .expect("reads");
    assert!(seen.iter().copied().eq(150..160));
}

#[test]
fn compaction_keeps_what_the_closure_keeps() {
    let dir = tempfile::tempdir().expect("dir");
    let (log, ..) = open(dir.path(), small());
    append(&log, 1..200);
    let before = log.stats();
    let retired = log.compact(&mut |seq, _| seq % 10 == 0).expect("compacts");
    assert_eq!(retired.records, 180);
    assert!(log.stats().segments <= 3 && log.stats().bytes < before.bytes / 5);
    append(&log, 200..230);
    drop(log);
    let expected: Vec<u64> = (1..200).filter(|seq| seq % 10 == 0).chain(200..230).collect();
    let (log, report, seen) = open(dir.path(), small());
    assert_eq!((report.damage.len(), report.next_seq), (0, 230), "{report:?}");
    assert!(seen.iter().map(|(seq, _)| *seq).eq(expected));
    assert!(
        seen.iter()
            .all(|(seq, record)| *record == format!("record {seq}").into_bytes())
    );
    log.compact(&mut |_, _| false).expect("compacts");
    assert_eq!(log.append(&[b"after"]).expect("appends"), 230..231);
    drop(log);
    assert_eq!(open(dir.path(), small()).2, vec![(230, b"after".to_vec())]);
}

#[test]
fn zeroes_written_ahead_are_no_records() {
    let dir = tempfile::tempdir().expect("dir");
    let options = Options {
        preallocate_bytes: 4096,
        segment_bytes: 10_000,
        ..Options::default()
    };
    let (log, ..) = open(dir.path(), options.clone());
    append(&log, 1..500);
    let copy = tempfile::tempdir().expect("dir");
    for entry in std::fs::read_dir(dir.path()).expect("lists") {
        let entry = entry.expect("entry");
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).expect("copies");
    }
    for place in [copy.path(), dir.path()] {
        if place == dir.path() {
            break;
        }
        let (log, report, seen) = open(place, options.clone());
        assert!(report.torn.is_none() && report.damage.is_empty(), "{report:?}");
        assert_eq!(seen.len(), 499);
        append(&log, 500..600);
        drop(log);
        assert_eq!(open(place, options.clone()).2.len(), 599);
    }
    log.close().expect("closes");
    assert_eq!(open(dir.path(), options).2.len(), 499);
}
