//! Taking the newest records out, on the machine's disk; the model tries it with failures and power cuts.

use std::path::Path;

use foundation_storage::{Log, Options};

type Records = Vec<(u64, String)>;

fn open(dir: &Path) -> (Log, Records) {
    let options = Options {
        segment_bytes: 300,
        ..Options::default()
    };
    let mut seen = Vec::new();
    let (log, report) = Log::open(dir, options, &mut |seq, record| {
        seen.push((seq, String::from_utf8_lossy(record).into_owned()));
    })
    .expect("opens");
    assert!(report.damage.is_empty() && report.torn.is_none(), "{report:?}");
    (log, seen)
}

fn append(log: &Log, term: &str, range: std::ops::Range<u64>) {
    for seq in range {
        let record = format!("{term} {seq}");
        assert_eq!(log.append(&[record.as_bytes()]).expect("appends"), seq..seq + 1);
    }
}

fn expected(parts: &[(&str, std::ops::Range<u64>)]) -> Records {
    let records = parts
        .iter()
        .flat_map(|(term, range)| range.clone().map(move |seq| (seq, format!("{term} {seq}"))));
    records.collect()
}

#[test]
fn what_is_cut_off_stays_off_and_its_sequences_are_given_again() {
    for (first, second) in [(50, 20), (99, 98), (20, 60), (1, 1)] {
        let dir = tempfile::tempdir().expect("dir");
        let (log, _) = open(dir.path());
        append(&log, "one", 1..100);
        assert_eq!(log.truncate_from(first).expect("cuts"), 100 - first);
        assert_eq!((log.next_seq(), log.stats().records), (first, first - 1));
        append(&log, "two", first..80.max(first));
        let end = log.next_seq();
        let removed = log.truncate_from(second).expect("cuts");
        assert_eq!(removed, end.saturating_sub(second));
        let next = end.min(second);
        append(&log, "three", next..next + 3);
        drop(log);
        let (log, seen) = open(dir.path());
        let kept = first.min(next);
        assert_eq!(
            seen,
            expected(&[("one", 1..kept), ("two", kept..next), ("three", next..next + 3)])
        );
        assert_eq!(log.next_seq(), next + 3);
    }
}

#[test]
fn a_cut_behind_the_end_takes_nothing_and_one_before_the_start_takes_all() {
    let dir = tempfile::tempdir().expect("dir");
    let (log, _) = open(dir.path());
    append(&log, "a", 1..60);
    assert_eq!(log.truncate_from(60).expect("nothing"), 0);
    assert_eq!(log.truncate_from(u64::MAX).expect("nothing"), 0);
    let first = log.retire_before(30).expect("retires").first_seq;
    assert!(first > 1);
    assert_eq!(log.truncate_from(0).expect("all"), 60 - first);
    assert_eq!((log.next_seq(), log.stats().records), (first, 0));
    drop(log);
    let (log, seen) = open(dir.path());
    assert!(seen.is_empty());
    append(&log, "b", first..first + 5);
}

#[test]
fn a_compacted_log_is_cut_like_any_other() {
    for from in [7, 30, 58, 61] {
        let dir = tempfile::tempdir().expect("dir");
        let (log, _) = open(dir.path());
        append(&log, "a", 1..60);
        log.compact(&mut |seq, _| seq % 3 == 0).expect("compacts");
        append(&log, "a", 60..64);
        log.truncate_from(from).expect("cuts");
        append(&log, "b", from..from + 4);
        drop(log);
        let (_log, seen) = open(dir.path());
        let mut wanted = expected(&[("a", 1..from), ("b", from..from + 4)]);
        wanted.retain(|(seq, _)| *seq >= from || *seq >= 60 || seq % 3 == 0);
        assert_eq!(seen, wanted);
    }
}
