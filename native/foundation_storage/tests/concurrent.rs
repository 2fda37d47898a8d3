//! Writers, readers, compaction and retention at the same time.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use foundation_storage::{Log, Options, Retention, Sync};

#[test]
fn everyone_at_once() {
    let dir = tempfile::tempdir().expect("dir");
    let options = Options {
        sync: Sync::Interval(std::time::Duration::from_millis(1)),
        segment_bytes: 2048,
        retention: Retention {
            max_bytes: Some(200_000),
            ..Retention::default()
        },
        ..Options::default()
    };
    let (log, _) = Log::open(dir.path(), options.clone(), &mut |_, _| {}).expect("opens");
    let done = AtomicBool::new(false);
    let mut written: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4u64)
            .map(|writer| {
                let log = &log;
                scope.spawn(move || {
                    (0..800u64)
                        .flat_map(|n| {
                            let batch: Vec<Vec<u8>> = (0..1 + n % 3)
                                .map(|part| {
                                    format!("{writer} {n} {part} {}", "x".repeat((n % 90) as usize))
                                        .into_bytes()
                                })
                                .collect();
                            let slices: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
                            log.append(&slices)
                                .expect("appends")
                                .zip(batch)
                                .collect::<Vec<_>>()
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        let busy: Vec<_> = (0..3)
            .map(|role| {
                let (log, done) = (&log, &done);
                scope.spawn(move || {
                    while !done.load(Ordering::Acquire) {
                        match role {
                            0 => drop(log.compact(&mut |seq, _| seq % 2 == 0).expect("compacts")),
                            1 => drop(log.retain().expect("retains")),
                            _ => {
                                let mut last = 0;
                                log.read(0, &mut |seq, _| {
                                    assert!(seq > last);
                                    last = seq;
                                    true
                                })
                                .expect("reads");
                            }
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            written.extend(writer.join().expect("no panic"));
        }
        done.store(true, Ordering::Release);
        busy.into_iter()
            .for_each(|thread| thread.join().expect("no panic"));
    });
    let (first, next, stats) = (log.first_seq(), log.next_seq(), log.stats());
    assert!(written.keys().copied().eq(1..next), "each sequence is given once");
    log.close().expect("closes");
    let mut seen = BTreeMap::new();
    let (_log, report) = Log::open(dir.path(), options, &mut |seq, record| {
        seen.insert(seq, record.to_vec());
    })
    .expect("opens");
    assert!(report.damage.is_empty() && report.torn.is_none(), "{report:?}");
    assert_eq!(report.records, stats.records);
    for (seq, record) in &written {
        match seen.get(seq) {
            Some(found) => assert_eq!(found, record),
            None => assert!(*seq < first || seq % 2 == 1, "record {seq} is lost"),
        }
    }
}
