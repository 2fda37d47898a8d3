//! Torn tails, flipped bits, missing pieces: what is kept, and what the report says.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use foundation_storage::{DamageKind, Error, Log, OnDamage, Options, Recovery, Sync};
use proptest::prelude::*;

const HEADER: u64 = 128;
const FRAME: u64 = 16;

type Records = BTreeMap<u64, Vec<u8>>;

fn options() -> Options {
    Options {
        sync: Sync::Os,
        segment_bytes: 1000,
        ..Options::default()
    }
}

fn open_with(dir: &Path, options: Options) -> Result<(Log, Recovery, Records), Error> {
    let mut seen = Records::new();
    let (log, report) = Log::open(dir, options, &mut |seq, record| {
        assert!(seen.insert(seq, record.to_vec()).is_none());
    })?;
    Ok((log, report, seen))
}

fn open(dir: &Path) -> (Log, Recovery, Records) {
    open_with(dir, options()).expect("opens")
}

/// Record `seq` holds its own number and a length of its own.
fn record(seq: u64) -> Vec<u8> {
    let mut bytes = seq.to_le_bytes().to_vec();
    bytes.resize(8 + (seq as usize * 7) % 60, seq as u8);
    bytes
}

fn fill(dir: &Path, count: u64) -> Records {
    let (log, ..) = open(dir);
    let first = log.next_seq();
    for seq in first..first + count {
        log.append(&[&record(seq)]).expect("appends");
    }
    log.close().expect("closes");
    (1..first + count).map(|seq| (seq, record(seq))).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir(dir)
        .expect("lists")
        .map(|entry| entry.expect("entry").path())
        .collect();
    all.retain(|path| path.extension().is_some_and(|ending| ending == "log"));
    all.sort();
    all
}

fn base(path: &Path) -> u64 {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .and_then(|stem| stem.parse().ok())
        .expect("a number")
}

/// Offsets of the frames of a segment: sequence, start, end.
fn frames(path: &Path, next_base: u64) -> Vec<(u64, u64, u64)> {
    let mut at = HEADER;
    (base(path)..next_base)
        .map(|seq| {
            let end = at + FRAME + record(seq).len() as u64;
            (seq, std::mem::replace(&mut at, end), end)
        })
        .collect()
}

fn flip(path: &Path, offset: u64, bit: u8) {
    let mut bytes = fs::read(path).expect("reads");
    bytes[offset as usize] ^= 1 << bit;
    fs::write(path, bytes).expect("writes");
}

fn cut(path: &Path, len: u64) {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| file.set_len(len))
        .expect("cuts");
}

#[test]
fn a_cut_at_any_byte_keeps_every_whole_record() {
    let dir = tempfile::tempdir().expect("dir");
    fill(dir.path(), 12);
    let last = segments(dir.path()).pop().expect("a segment");
    let whole = fs::read(&last).expect("reads");
    let frames = frames(&last, 13);
    assert_eq!(frames[frames.len() - 1].2, whole.len() as u64);
    for len in 0..whole.len() as u64 {
        fs::write(&last, &whole[..len as usize]).expect("writes");
        let (log, report, seen) = open(dir.path());
        let kept = frames.iter().filter(|(_, _, end)| *end <= len).count() as u64;
        let before = base(&last) - 1;
        assert_eq!(seen.len() as u64, before + kept, "cut at {len}");
        assert!(seen.iter().all(|(seq, bytes)| *bytes == record(*seq)));
        assert!(report.damage.is_empty(), "{report:?}");
        // A tail of zeroes alone is what is written ahead, and no record.
        let ends = frames.iter().map(|(_, _, end)| *end);
        let good = ends.filter(|end| *end <= len).max().unwrap_or(HEADER);
        let zeroes = |tail: &[u8]| tail.iter().all(|byte| *byte == 0);
        let clean = len == 0 || (len >= HEADER && zeroes(&whole[good as usize..len as usize]));
        assert_eq!(report.torn.is_none(), clean, "cut at {len}: {report:?}");
        // The log goes on where the good part ends.
        let next = before + kept + 1;
        assert_eq!(log.append(&[&record(next)]).expect("appends"), next..next + 1);
        drop(log);
        let (_log, report, seen) = open(dir.path());
        assert!(report.torn.is_none() && seen.len() as u64 == next);
    }
}

#[test]
fn a_flipped_bit_costs_one_record_and_the_report_names_it() {
    let dir = tempfile::tempdir().expect("dir");
    let all = fill(dir.path(), 60);
    let paths = segments(dir.path());
    assert!(paths.len() > 2);
    let (seq, start, end) = frames(&paths[0], base(&paths[1]))[3];
    for offset in start..end {
        flip(&paths[0], offset, (offset % 8) as u8);
        let (_log, report, seen) = open(dir.path());
        let mut expected = all.clone();
        expected.remove(&seq);
        assert_eq!(seen, expected, "flip at {offset}");
        assert_eq!(report.damage.len(), 1, "{report:?}");
        let damage = &report.damage[0];
        assert_eq!(damage.kind, DamageKind::Checksum);
        assert_eq!(
            (damage.segment.as_path(), damage.offset, damage.bytes),
            (&*paths[0], start, end - start)
        );
        assert_eq!(damage.missing, seq..seq + 1);
        assert!(report.torn.is_none());
        flip(&paths[0], offset, (offset % 8) as u8);
    }
    assert!(open(dir.path()).1.damage.is_empty());
}

#[test]
fn a_flipped_bit_in_the_last_record_is_reported_as_a_whole_record_cut_off() {
    let dir = tempfile::tempdir().expect("dir");
    let all = fill(dir.path(), 10);
    let last = segments(dir.path()).pop().expect("a segment");
    let (seq, start, end) = *frames(&last, 11).last().expect("a frame");
    flip(&last, end - 1, 0);
    let (_log, report, seen) = open(dir.path());
    let torn = report.torn.expect("torn");
    assert!(torn.whole_record && torn.offset == start && torn.bytes == end - start);
    assert_eq!((seen.len(), seq), (all.len() - 1, 10));
}

#[test]
fn damage_in_the_last_segment_is_left_alone_and_the_log_goes_on_behind_it() {
    let dir = tempfile::tempdir().expect("dir");
    let all = fill(dir.path(), 10);
    let last = segments(dir.path()).pop().expect("a segment");
    let (seq, start, _) = frames(&last, 11)[frames(&last, 11).len() - 3];
    flip(&last, start + 20, 3);
    let before = fs::read(&last).expect("reads");
    let (log, report, seen) = open(dir.path());
    assert_eq!(
        (seen.len(), report.damage[0].missing.clone()),
        (all.len() - 1, seq..seq + 1)
    );
    assert_eq!(log.append(&[b"more"]).expect("appends"), 11..12);
    drop(log);
    assert_eq!(fs::read(&last).expect("reads"), before);
    let (_log, report, seen) = open(dir.path());
    assert_eq!(
        (report.damage.len(), seen.len(), &seen[&11]),
        (1, all.len(), &b"more".to_vec())
    );
}

#[test]
fn a_segment_cut_in_the_middle_of_the_log_costs_its_end_only() {
    let dir = tempfile::tempdir().expect("dir");
    let all = fill(dir.path(), 80);
    let paths = segments(dir.path());
    let next = base(&paths[2]);
    let frames = frames(&paths[1], next);
    let (first_lost, start, _) = frames[frames.len() - 4];
    for len in [start, start + 5, start + FRAME + 1] {
        cut(&paths[1], len);
        let (_log, report, seen) = open(dir.path());
        let expected: Records = all
            .iter()
            .filter(|(seq, _)| !(first_lost..next).contains(*seq))
            .map(|(k, v)| (*k, v.clone()))
            .collect();
        assert_eq!(seen, expected);
        let damage = &report.damage[0];
        assert_eq!((damage.kind, damage.offset), (DamageKind::Truncated, start));
        assert_eq!(damage.missing, first_lost..next);
    }
    cut(&paths[1], 0);
    let (log, report, seen) = open(dir.path());
    drop(log);
    assert_eq!(report.damage[0].kind, DamageKind::Header);
    assert_eq!(report.damage[0].missing, base(&paths[1])..next);
    assert_eq!(seen.len() as u64, 80 - (next - base(&paths[1])));
    fs::remove_file(&paths[1]).expect("removes");
    let (_log, report, again) = open(dir.path());
    assert_eq!(report.damage[0].missing, base(&paths[1])..next);
    assert_eq!(again, seen);
}

#[test]
fn an_unreadable_header_costs_nothing_while_another_copy_or_segment_is_whole() {
    let dir = tempfile::tempdir().expect("dir");
    let all = fill(dir.path(), 60);
    let paths = segments(dir.path());
    flip(&paths[1], 13, 1);
    let (log, report, seen) = open(dir.path());
    assert!(report.damage.is_empty() && seen == all, "one copy is enough");
    drop(log);
    flip(&paths[1], 64 + 13, 1);
    let (log, report, seen) = open(dir.path());
    assert_eq!(seen, all);
    assert_eq!(
        (report.damage.len(), report.damage[0].kind),
        (1, DamageKind::Header)
    );
    assert!(report.damage[0].missing.is_empty());
    drop(log);
    let last = paths.last().expect("a segment");
    flip(last, 13, 1);
    flip(last, 64 + 13, 1);
    let (log, _, seen) = open(dir.path());
    assert_eq!(seen, all);
    assert_eq!(log.append(&[&record(61)]).expect("appends"), 61..62);
    drop(log);
    assert_eq!(open(dir.path()).2.len(), 61);
}

#[test]
fn a_lone_segment_without_a_header_is_kept_on_disk_and_no_sequence_is_given_twice() {
    let dir = tempfile::tempdir().expect("dir");
    fill(dir.path(), 5);
    let only = segments(dir.path()).pop().expect("a segment");
    flip(&only, 13, 1);
    flip(&only, 64 + 13, 1);
    let before = fs::read(&only).expect("reads");
    let (log, report, seen) = open(dir.path());
    assert!(seen.is_empty());
    assert_eq!(report.damage[0].kind, DamageKind::Header);
    assert!(report.damage[0].missing.start == 1 && report.damage[0].missing.end >= 6);
    let range = log.append(&[b"on"]).expect("appends");
    assert!(range.start >= 6);
    drop(log);
    assert_eq!(fs::read(&only).expect("reads"), before);
    assert_eq!(open(dir.path()).2.len(), 1);
}

#[test]
fn fail_changes_nothing_and_stop_sets_aside() {
    let dir = tempfile::tempdir().expect("dir");
    let all = fill(dir.path(), 60);
    let paths = segments(dir.path());
    let (seq, start, _) = frames(&paths[1], base(&paths[2]))[2];
    flip(&paths[1], start + 1, 1);
    let contents = || -> Vec<Vec<u8>> {
        segments(dir.path())
            .iter()
            .map(|path| fs::read(path).expect("reads"))
            .collect()
    };
    let before = contents();
    match open_with(
        dir.path(),
        Options {
            on_damage: OnDamage::Fail,
            ..options()
        },
    ) {
        Err(Error::Damaged(damage)) => assert_eq!(damage.missing, seq..seq + 1),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
    assert_eq!(contents(), before);
    let (log, report, seen) = open_with(
        dir.path(),
        Options {
            on_damage: OnDamage::Stop,
            ..options()
        },
    )
    .expect("opens");
    let expected: Records = all.range(..seq).map(|(k, v)| (*k, v.clone())).collect();
    assert_eq!(seen, expected);
    assert_eq!(report.set_aside.len(), paths.len() - 1);
    assert_eq!((report.damage.len(), report.next_seq), (1, seq));
    let aside: Vec<Vec<u8>> = {
        let mut names = report.set_aside.clone();
        names.sort();
        names.iter().map(|path| fs::read(path).expect("reads")).collect()
    };
    assert_eq!(aside, before[1..]);
    assert_eq!(log.append(&[b"new"]).expect("appends"), seq..seq + 1);
    drop(log);
    let (_log, report, seen) = open(dir.path());
    assert!(report.damage.is_empty() && seen.len() as u64 == seq);
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let dir = tempfile::tempdir().expect("dir");
    fill(dir.path(), 3);
    let only = segments(dir.path()).pop().expect("a segment");
    let mut bytes = fs::read(&only).expect("reads");
    bytes[8] = 9;
    let sum = crc32c::crc32c(&bytes[..60]).to_le_bytes();
    bytes[60..64].copy_from_slice(&sum);
    fs::write(&only, &bytes).expect("writes");
    match open_with(dir.path(), options()) {
        Err(Error::Version { found, supported, .. }) => assert_eq!((found, supported), (9, 2)),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("opened"),
    }
    assert_eq!(fs::read(&only).expect("reads"), bytes);
}

#[test]
fn a_frame_inside_a_payload_is_never_taken_for_a_record() {
    let dir = tempfile::tempdir().expect("dir");
    fill(dir.path(), 3);
    let (log, ..) = open(dir.path());
    // Another log's frame with a sequence that would fit here, as a payload.
    let other = tempfile::tempdir().expect("dir");
    fill(other.path(), 20);
    let stolen = segments(other.path()).pop().expect("a segment");
    let inner = fs::read(&stolen).expect("reads")[HEADER as usize..].to_vec();
    log.append(&[&inner]).expect("appends");
    log.append(&[&record(5)]).expect("appends");
    drop(log);
    let only = segments(dir.path()).pop().expect("a segment");
    let start = frames(&only, 4)[2].2;
    flip(&only, start + 2, 1);
    let (_log, report, seen) = open(dir.path());
    assert!(seen.keys().copied().eq([1, 2, 3, 5]));
    assert_eq!(report.damage[0].missing, 4..5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_damaged_no_wrong_record_comes_back_and_the_missing_are_named(
        hits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..8), 1..6),
        compacted in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().expect("dir");
        let mut all = fill(dir.path(), 60);
        if compacted {
            let (log, ..) = open(dir.path());
            log.compact(&mut |seq, _| seq % 3 != 0).expect("compacts");
            drop(log);
            all.retain(|seq, _| seq % 3 != 0);
            all.extend(fill(dir.path(), 10).split_off(&61));
        }
        let paths = segments(dir.path());
        for (which, place, bit) in &hits {
            let path = which.get(&paths);
            let len = fs::metadata(path).expect("there").len();
            flip(path, place.index(len as usize) as u64, *bit);
        }
        let (log, report, seen) = open(dir.path());
        for (seq, bytes) in &seen {
            prop_assert_eq!(all.get(seq), Some(bytes));
        }
        let torn_from = if report.torn.is_some() { report.next_seq } else { u64::MAX };
        for seq in all.keys().filter(|seq| !seen.contains_key(seq)) {
            let named = report.damage.iter().any(|damage| damage.missing.contains(seq));
            prop_assert!(named || *seq >= torn_from, "record {} is lost silently: {:?}", seq, report);
        }
        prop_assert!(log.append(&[b"goes on"]).is_ok());
    }
}
