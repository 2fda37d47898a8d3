//! The journal against a model: whatever is appended, truncated, purged, voted and cleaned is there after a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use foundation_storage::memory::MemoryDisk;
use openraft::EntryPayload;
use openraft::storage::RaftLogStorage;
use proptest::prelude::*;

use crate::journal::{Journal, Records};
use crate::log_store::LogStore;
use crate::types::{Command, Entry, Name, Vote, log_id};
use crate::{EngineConfig, Error};

#[derive(Debug, Clone)]
enum Step {
    /// Entries for a group, so many from so far before its end.
    Append {
        group: usize,
        back: u64,
        count: u64,
    },
    Vote {
        group: usize,
        term: u64,
    },
    Truncate {
        group: usize,
        back: u64,
    },
    Purge {
        group: usize,
        share: u64,
    },
    Clean,
    Restart,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    /// Index, term and payload.
    entries: BTreeMap<u64, (u64, Vec<u8>)>,
    purged: Option<u64>,
    vote: Option<u64>,
}

impl Model {
    fn next(&self) -> u64 {
        self.entries
            .keys()
            .next_back()
            .copied()
            .or(self.purged)
            .map_or(0, |last| last + 1)
    }

    fn lowest(&self) -> u64 {
        self.purged.map_or(0, |purged| purged + 1)
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0usize..3, 0u64..4, 1u64..30).prop_map(|(group, back, count)| Step::Append { group, back, count }),
        1 => (0usize..3, 1u64..9).prop_map(|(group, term)| Step::Vote { group, term }),
        1 => (0usize..3, 0u64..6).prop_map(|(group, back)| Step::Truncate { group, back }),
        2 => (0usize..3, 0u64..100).prop_map(|(group, share)| Step::Purge { group, share }),
        2 => Just(Step::Clean),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..60)
}

struct Rig {
    config: EngineConfig,
    runtime: tokio::runtime::Runtime,
    journal: Arc<Journal>,
}

impl Rig {
    fn new() -> Rig {
        let mut config = EngineConfig::new("me");
        config.dir = Some("/raft".into());
        config.segment_bytes = 4 << 10;
        config.disk = Arc::new(MemoryDisk::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .expect("a runtime");
        let journal = Arc::new(Journal::open(&config, runtime.handle().clone()).expect("opens"));
        Rig {
            config,
            runtime,
            journal,
        }
    }

    fn restart(self) -> Rig {
        self.settle();
        let Rig {
            config,
            runtime,
            journal,
        } = self;
        drop(journal);
        let journal = Arc::new(Journal::open(&config, runtime.handle().clone()).expect("opens again"));
        Rig {
            config,
            runtime,
            journal,
        }
    }

    fn store(&self, group: usize) -> LogStore {
        let name = Name::from(format!("g{group}").as_str());
        LogStore {
            journal: self.journal.clone(),
            log: self.journal.group(&name).expect("a group"),
        }
    }

    /// Waits for everything that was appended before.
    fn settle(&self) {
        let (sender, receiver) = mpsc::channel();
        let mut records = Records::default();
        records.truncate(self.store(0).log.id, u64::MAX);
        let appended = self.journal.append(records, move |result| {
            sender.send(result.is_ok()).expect("it is waited for")
        });
        appended.expect("appends");
        assert!(receiver.recv().expect("it is called"));
    }

    fn take(&self, step: &Step, models: &mut [Model], term: u64) {
        match *step {
            Step::Append { group, back, count } => {
                let model = &mut models[group];
                let from = model.next().saturating_sub(back).max(model.lowest());
                model.entries.split_off(&from);
                let mut records = Records::default();
                let store = self.store(group);
                let entries: Vec<Entry> = (from..from + count).map(|index| entry(index, term)).collect();
                for index in from..from + count {
                    model.entries.insert(index, (term, payload(index, term)));
                }
                entries
                    .iter()
                    .for_each(|entry| records.entry(store.log.id, entry));
                store.log.append(entries);
                let log = store.log.clone();
                let placed = move |result: std::io::Result<std::ops::Range<u64>>| {
                    log.placed_append(from + count - 1, result.expect("stored").start);
                };
                self.journal.append(records, placed).expect("appends");
            }
            Step::Vote { group, term } => {
                models[group].vote = Some(term);
                let vote = Vote::new(term, Name::from("someone"));
                self.runtime
                    .block_on(self.store(group).save_vote(&vote))
                    .expect("votes");
            }
            Step::Truncate { group, back } => {
                let model = &mut models[group];
                let from = model.next().saturating_sub(back).max(model.lowest());
                model.entries.split_off(&from);
                let last = from.checked_sub(1).map(|index| log_id(1, index));
                self.runtime
                    .block_on(self.store(group).truncate_after(last))
                    .expect("truncates");
            }
            Step::Purge { group, share } => {
                let model = &mut models[group];
                let upto = model.lowest() + (model.next() - model.lowest()) * share / 100;
                let Some((index, (term, _))) = model.entries.range(..upto).next_back() else {
                    return;
                };
                let (index, term) = (*index, *term);
                model.entries = model.entries.split_off(&(index + 1));
                model.purged = Some(index);
                self.runtime
                    .block_on(self.store(group).purge(log_id(term, index)))
                    .expect("purges");
            }
            Step::Clean => self.journal.clean(2 << 10).expect("cleans"),
            Step::Restart => {}
        }
    }

    fn state(&self, group: usize) -> Model {
        let log = self.store(group).log;
        let entries = log.read(0..u64::MAX, usize::MAX).into_iter().map(|entry| {
            let EntryPayload::Normal(command) = entry.payload else {
                panic!("only commands are appended")
            };
            (
                entry.log_id.index(),
                (**entry.log_id.committed_leader_id(), command.data.to_vec()),
            )
        });
        Model {
            entries: entries.collect(),
            purged: log.purged().map(|id| id.index()),
            vote: log.vote().map(|vote| vote.leader_id.term),
        }
    }
}

fn payload(index: u64, term: u64) -> Vec<u8> {
    vec![(index * 7 + term) as u8; (index % 60) as usize]
}

fn entry(index: u64, term: u64) -> Entry {
    let command = Command {
        time_ms: index,
        session: None,
        data: Bytes::from(payload(index, term)),
    };
    Entry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(command),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn a_restart_finds_what_was_there(steps in steps()) {
        let mut rig = Rig::new();
        let mut models = vec![Model::default(); 3];
        for (term, step) in steps.iter().enumerate() {
            if matches!(step, Step::Restart) {
                rig = rig.restart();
            } else {
                rig.take(step, &mut models, term as u64 + 1);
            }
            for (group, model) in models.iter().enumerate() {
                prop_assert_eq!(&rig.state(group), model, "after {:?}", step);
            }
        }
        rig = rig.restart();
        for (group, model) in models.iter().enumerate() {
            prop_assert_eq!(&rig.state(group), model);
        }
    }
}

#[test]
fn cleaning_keeps_the_log_small_though_an_idle_group_has_old_records() {
    let rig = Rig::new();
    let mut models = vec![Model::default(); 3];
    rig.take(&Step::Vote { group: 2, term: 3 }, &mut models, 1);
    rig.take(
        &Step::Append {
            group: 1,
            back: 0,
            count: 3,
        },
        &mut models,
        1,
    );
    for term in 2..100 {
        rig.take(
            &Step::Append {
                group: 0,
                back: 0,
                count: 20,
            },
            &mut models,
            term,
        );
        rig.take(&Step::Purge { group: 0, share: 90 }, &mut models, term);
        rig.settle();
        rig.journal.clean(16 << 10).expect("cleans");
    }
    assert!(
        rig.journal.bytes() < 40 << 10,
        "{} bytes are left",
        rig.journal.bytes()
    );
    let rig = rig.restart();
    for (group, model) in models.iter().enumerate() {
        assert_eq!(rig.state(group), *model);
    }
}

#[test]
fn missing_entries_are_an_error() {
    let rig = Rig::new();
    let mut records = Records::default();
    let store = rig.store(0);
    records.entry(store.log.id, &entry(5, 1));
    rig.journal.append(records, |_| {}).expect("appends");
    rig.settle();
    let Rig {
        config,
        runtime,
        journal,
    } = rig;
    drop((store, journal));
    let opened = Journal::open(&config, runtime.handle().clone());
    assert!(matches!(opened, Err(Error::Record { .. })));
}

#[test]
fn entries_behind_an_append_that_failed_are_left_out() {
    let rig = Rig::new();
    let store = rig.store(0);
    let append = |index| {
        let mut records = Records::default();
        records.entry(store.log.id, &entry(index, 1));
        rig.journal.append(records, |_| {}).expect("appends");
    };
    append(0);
    let mut purge = Records::default();
    purge.purge(store.log.id, &log_id(1, 0));
    rig.journal.append(purge, |_| {}).expect("appends");
    // Entry 1 did not get to the disk, and so nothing behind it was acknowledged.
    append(2);
    append(3);
    rig.settle();
    let Rig {
        config,
        runtime,
        journal,
    } = rig;
    drop((store, journal));
    let journal = Journal::open(&config, runtime.handle().clone()).expect("opens");
    let names: Vec<Name> = journal.groups.lock().by_name.keys().cloned().collect();
    assert_eq!(names.len(), 1);
    let log = journal.group(&names[0]).expect("the group");
    assert_eq!(log.last(), Some(log_id(1, 0)));
    assert!(log.read(0..10, usize::MAX).is_empty());
}
