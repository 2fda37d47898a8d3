//! Any sequence of calls, failures, kills and power cuts against a plain map.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use foundation_storage::memory::MemoryDisk;
use foundation_storage::{Log, Options};
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Step {
    Append { records: usize, bytes: usize },
    Rotate,
    RetireBefore { back: u64 },
    Truncate { back: u64 },
    Compact { modulo: u64 },
    FailWrites(u32),
    FailSyncs(u32),
    Full { spare: usize },
    Room,
    Close,
    Kill,
    PowerCut { seed: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => (1usize..6, 0usize..300).prop_map(|(records, bytes)| Step::Append { records, bytes }),
        1 => Just(Step::Rotate),
        1 => (0u64..60).prop_map(|back| Step::RetireBefore { back }),
        2 => (0u64..60).prop_map(|back| Step::Truncate { back }),
        1 => (1u64..5).prop_map(|modulo| Step::Compact { modulo }),
        1 => (1u32..3).prop_map(Step::FailWrites),
        1 => (1u32..3).prop_map(Step::FailSyncs),
        1 => (0usize..400).prop_map(|spare| Step::Full { spare }),
        1 => Just(Step::Room),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(|seed| Step::PowerCut { seed }),
    ]
}

/// What must be in the log, and what may be.
#[derive(Default)]
struct Model {
    stored: BTreeMap<u64, Vec<u8>>,
    /// Refused records by the sequence they would have had.
    refused: Vec<(u64, Vec<u8>)>,
    /// Records dropped by retention or compaction, which a power cut may bring back.
    dropped: Vec<(u64, Vec<u8>)>,
    next: u64,
    counter: u64,
}

struct World {
    disk: MemoryDisk,
    log: Option<Log>,
    model: Model,
    options: Options,
}

fn dice(mut seed: u64) -> impl FnMut(usize) -> usize {
    move |sides| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((seed >> 33) as usize) % sides.max(1)
    }
}

impl World {
    fn new(options: Options) -> Self {
        let mut world = World {
            disk: MemoryDisk::new(),
            log: None,
            model: Model {
                next: 1,
                ..Model::default()
            },
            options,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        self.disk.set_capacity(None);
        self.disk.fail_syncs(0);
        self.disk.fail_writes(0);
        let mut seen = BTreeMap::new();
        let mut last = 0;
        let disk = Arc::new(self.disk.clone());
        let (log, report) = Log::open_on(
            disk,
            Path::new("/log"),
            self.options.clone(),
            &mut |seq, record| {
                assert!(seq > last, "sequences rise");
                last = seq;
                seen.insert(seq, record.to_vec());
            },
        )
        .expect("opens");
        assert_eq!(report.records, seen.len() as u64);
        for (seq, record) in &self.model.stored {
            assert_eq!(
                seen.get(seq),
                Some(record),
                "record {seq} was acknowledged; {report:?}"
            );
        }
        for (seq, record) in &seen {
            let known = self.model.stored.contains_key(seq)
                || self.model.refused.contains(&(*seq, record.clone()))
                || self.model.dropped.contains(&(*seq, record.clone()));
            assert!(known, "record {seq} was never appended");
        }
        assert!(log.next_seq() >= self.model.next, "no sequence is given twice");
        self.model.next = log.next_seq();
        self.model.stored = seen;
        self.log = Some(log);
    }

    fn append(&mut self, records: usize, bytes: usize) {
        let batch: Vec<Vec<u8>> = (0..records)
            .map(|_| {
                self.model.counter += 1;
                let mut record = self.model.counter.to_le_bytes().to_vec();
                record.resize(8 + bytes, self.model.counter as u8);
                record
            })
            .collect();
        let slices: Vec<&[u8]> = batch.iter().map(Vec::as_slice).collect();
        let first = self.model.next;
        match self.log.as_ref().expect("open").append(&slices) {
            Ok(range) => {
                assert_eq!(range, first..first + records as u64);
                self.model.next = range.end;
                self.model.stored.extend(range.zip(batch));
            }
            Err(_) => self.model.refused.extend((first..).zip(batch)),
        }
        assert_eq!(self.log.as_ref().expect("open").next_seq(), self.model.next);
    }

    fn truncate(&mut self, from: u64) {
        let log = self.log.as_ref().expect("open");
        let (first, before) = (log.first_seq(), self.model.stored.len());
        let done = log.truncate_from(from);
        let next = log.next_seq();
        if let Ok(removed) = done {
            assert_eq!(next, from.max(first).min(self.model.next));
            // What is gone is gone for good: a power cut must not bring it back.
            self.model.stored.retain(|seq, _| *seq < next);
            assert_eq!(removed as usize, before - self.model.stored.len());
        } else {
            assert!((from.max(first).min(self.model.next)..=self.model.next).contains(&next));
            self.drop_from_model(|seq| seq < next);
        }
        self.model.next = next;
    }

    fn drop_from_model(&mut self, keep: impl Fn(u64) -> bool) {
        let (kept, dropped) = std::mem::take(&mut self.model.stored)
            .into_iter()
            .partition(|(seq, _)| keep(*seq));
        self.model.stored = kept;
        let dropped: BTreeMap<u64, Vec<u8>> = dropped;
        self.model.dropped.extend(dropped);
    }

    fn step(&mut self, step: &Step) {
        let log = self.log.as_ref().expect("open");
        match *step {
            Step::Append { records, bytes } => self.append(records, bytes),
            Step::Rotate => drop(log.rotate()),
            Step::RetireBefore { back } => {
                let seq = self.model.next.saturating_sub(back);
                let first = log.retire_before(seq).expect("retires").first_seq;
                assert!(first <= seq.max(log.first_seq()));
                self.drop_from_model(|seq| seq >= first);
            }
            Step::Truncate { back } => self.truncate(self.model.next.saturating_sub(back)),
            Step::Compact { modulo } => match log.compact(&mut |seq, _| seq % modulo == 0) {
                Ok(_) => self.drop_from_model(|seq| seq % modulo == 0),
                // Some segments may be rewritten: take over what is there.
                Err(_) => {
                    let mut there = Vec::new();
                    log.read(0, &mut |seq, _| {
                        there.push(seq);
                        true
                    })
                    .expect("reads");
                    let must: Vec<u64> = self
                        .model
                        .stored
                        .keys()
                        .copied()
                        .filter(|seq| seq % modulo == 0)
                        .collect();
                    assert!(must.iter().all(|seq| there.contains(seq)));
                    self.drop_from_model(|seq| there.contains(&seq));
                }
            },
            Step::FailWrites(count) => self.disk.fail_writes(count),
            Step::FailSyncs(count) => self.disk.fail_syncs(count),
            Step::Full { spare } => self.disk.set_capacity(Some(self.disk.used() + spare)),
            Step::Room => self.disk.set_capacity(None),
            Step::Close => {
                drop(self.log.take());
                self.open();
            }
            Step::Kill => {
                self.disk = self.disk.killed();
                self.open();
            }
            Step::PowerCut { seed } => {
                self.disk = self.disk.power_cut(&mut dice(seed));
                self.open();
            }
        }
        let log = self.log.as_ref().expect("open");
        assert_eq!(log.stats().records, self.model.stored.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 2000, ..ProptestConfig::default() })]

    #[test]
    fn the_log_keeps_every_acknowledged_record(
        steps in prop::collection::vec(step(), 1..60),
        ahead in prop_oneof![Just(0u64), Just(700u64)],
    ) {
        let options = Options { segment_bytes: 1500, preallocate_bytes: ahead, ..Options::default() };
        let mut world = World::new(options);
        for step in &steps {
            world.step(step);
        }
        // A disk that works again takes records again.
        world.disk.set_capacity(None);
        world.disk.fail_syncs(0);
        world.disk.fail_writes(0);
        let log = world.log.as_ref().expect("open");
        let _ = log.append(&[b"the first may still report an earlier failure"]);
        prop_assert!(log.append(&[b"the second works"]).is_ok());
    }
}
