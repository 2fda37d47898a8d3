//! What each sync policy promises over a power cut, and what failing syncs do to it.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use foundation_storage::memory::MemoryDisk;
use foundation_storage::{Error, Log, Options, Sync};

fn open(disk: &MemoryDisk, sync: Sync) -> (Log, Vec<Vec<u8>>) {
    let mut seen = Vec::new();
    let options = Options {
        sync,
        ..Options::default()
    };
    let (log, _) = Log::open_on(
        Arc::new(disk.clone()),
        Path::new("/log"),
        options,
        &mut |_, record| {
            seen.push(record.to_vec());
        },
    )
    .expect("opens");
    (log, seen)
}

/// The cruellest cut: nothing that was not synced survives.
fn after_power_cut(disk: &MemoryDisk) -> Vec<Vec<u8>> {
    open(&disk.power_cut(&mut |_| 0), Sync::Always).1
}

fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn always_survives_and_os_needs_a_sync() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, Sync::Always);
    log.append(&[b"one"]).expect("appends");
    assert_eq!(after_power_cut(&disk), [b"one"]);
    drop(log);
    let (log, _) = open(&disk, Sync::Os);
    log.append(&[b"two"]).expect("appends");
    assert_eq!(after_power_cut(&disk), [b"one"]);
    log.sync().expect("syncs");
    assert_eq!(after_power_cut(&disk), [b"one", b"two"]);
    log.append(&[b"three"]).expect("appends");
    log.rotate().expect("rotates");
    assert_eq!(after_power_cut(&disk).len(), 3, "a closed segment is on the disk");
    log.append(&[b"four"]).expect("appends");
    log.close().expect("closes");
    assert_eq!(after_power_cut(&disk).len(), 4, "closing syncs");
}

#[test]
fn an_interval_syncs_by_itself() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, Sync::Interval(Duration::from_millis(5)));
    log.append(&[b"one"]).expect("appends");
    wait_for("a sync", || log.stats().syncs > 0);
    assert_eq!(after_power_cut(&disk), [b"one"]);
}

#[test]
fn a_failed_background_sync_is_told_once_and_the_log_goes_on() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, Sync::Interval(Duration::from_millis(5)));
    disk.fail_syncs(1);
    log.append(&[b"one"]).expect("appends");
    wait_for("a failure", || log.stats().failures > 0);
    wait_for("its report", || {
        matches!(log.append(&[b"told"]), Err(Error::Sync { .. }))
    });
    let range = log.append(&[b"two"]).expect("appends");
    drop(log);
    let seen = open(&disk, Sync::Always).1;
    assert_eq!(seen.last().map(Vec::as_slice), Some(&b"two"[..]));
    assert_eq!(seen.len() as u64, range.start, "what was acknowledged is there");
}

#[test]
fn a_failed_sync_refuses_the_group_and_nothing_of_it_stays() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, Sync::Always);
    log.append(&[b"one"]).expect("appends");
    disk.fail_syncs(1);
    assert!(matches!(log.append(&[b"refused"]), Err(Error::Sync { .. })));
    assert_eq!(log.append(&[b"two"]).expect("appends"), 2..3);
    assert_eq!(after_power_cut(&disk), [b"one", b"two"]);
    assert_eq!(open(&disk.killed(), Sync::Always).1, [b"one", b"two"]);
}

#[test]
fn a_full_disk_reaches_callbacks_too() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, Sync::Always);
    log.append(&[b"one"]).expect("appends");
    disk.set_capacity(Some(disk.used().min(200)));
    let (sender, receiver) = mpsc::channel();
    log.append_async(&[&[0; 300_000]], move |result| {
        sender.send(result).expect("waits")
    })
    .expect("queued");
    let result = receiver.recv_timeout(Duration::from_secs(20)).expect("answers");
    assert!(matches!(result, Err(Error::NoSpace { .. })), "{result:?}");
    disk.set_capacity(None);
    assert_eq!(log.append(&[b"two"]).expect("appends"), 2..3);
}

#[test]
fn a_panicking_callback_does_not_stop_the_log() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, Sync::Always);
    log.append_async(&[b"one"], |_| panic!("on purpose"))
        .expect("queued");
    let (sender, receiver) = mpsc::channel();
    log.append_async(&[b"two"], move |result| sender.send(result).expect("waits"))
        .expect("queued");
    assert_eq!(
        receiver
            .recv_timeout(Duration::from_secs(20))
            .expect("answers")
            .expect("stored"),
        2..3
    );
}

#[test]
fn a_read_only_disk_and_a_closed_log_refuse() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, Sync::Always);
    disk.set_read_only(true);
    assert!(matches!(
        log.append(&[b"refused"]),
        Err(Error::NotWritable { .. })
    ));
    disk.set_read_only(false);
    assert_eq!(log.append(&[b"one"]).expect("appends"), 1..2);
}

#[test]
fn what_a_killed_opener_left_unsynced_is_synced_before_it_counts() {
    let disk = MemoryDisk::new();
    let (log, _) = open(&disk, Sync::Os);
    log.append(&[b"one"]).expect("appends");
    let disk = disk.killed();
    drop(log);
    let (log, found) = open(&disk, Sync::Always);
    assert_eq!(found, [b"one"]);
    log.rotate().expect("rotates");
    log.append(&[b"two"]).expect("appends");
    assert_eq!(after_power_cut(&disk), [b"one", b"two"]);
}

#[test]
fn a_group_torn_in_its_middle_is_a_torn_tail() {
    for seed in 0..40usize {
        let disk = MemoryDisk::new();
        let (log, _) = open(&disk, Sync::Always);
        log.append(&[b"one"]).expect("appends");
        disk.fail_syncs(1);
        let records: Vec<Vec<u8>> = (0..30u8).map(|i| vec![i; 100]).collect();
        let slices: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
        assert!(log.append(&slices).is_err());
        let mut rolls = seed;
        let cut = disk.power_cut(&mut |n| {
            rolls = rolls
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (rolls >> 33) % n
        });
        let options = Options {
            on_damage: foundation_storage::OnDamage::Fail,
            ..Options::default()
        };
        let mut found = Vec::new();
        let opened = Log::open_on(Arc::new(cut), Path::new("/log"), options, &mut |_, record| {
            found.push(record.to_vec())
        });
        opened.expect("nothing that was acknowledged is damaged");
        assert_eq!(found[0], b"one");
        assert!(
            found[1..]
                .iter()
                .zip(&records)
                .all(|(found, record)| found == record)
        );
    }
}
