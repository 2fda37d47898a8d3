//! The log on the disk, one for all groups of an engine: appends of many groups share one write and one sync.
//!
//! A record is `kind u8 | group u32 | body`. Reading them in order gives the log of each group again: an entry takes
//! the place of all with its index or a higher one, of votes and purges the last counts.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use foundation_storage::{Log, OnDamage, Options, Sync};
use parking_lot::{Mutex, RwLock};
use rand::RngExt;
use tokio::runtime::Handle;

use crate::codec::{Malformed, Reader, put_entry, put_log_id, put_text, put_vote};
use crate::error::storage_io;
use crate::group_log::{Fact, GroupLog};
use crate::runtime::Dice;
use crate::types::{Entry, LogId, Name, Vote};
use crate::{EngineConfig, Error, Simulation};

const NAME: u8 = 1;
const VOTE: u8 = 2;
const ENTRY: u8 = 3;
const TRUNCATE: u8 = 4;
const PURGE: u8 = 5;
const GONE: u8 = 6;

/// Largest record: the largest command with what surrounds it.
const MAX_RECORD: u32 = 16 << 20;

type Stored = Box<dyn FnOnce(io::Result<Range<u64>>) + Send>;

/// Records on their way to the journal.
#[derive(Debug, Default)]
pub(crate) struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Records {
            bytes: Vec::with_capacity(bytes),
            ends: Vec::new(),
        }
    }

    fn add(&mut self, kind: u8, group: u32, body: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&group.to_le_bytes());
        body(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn entry(&mut self, group: u32, entry: &Entry) {
        self.add(ENTRY, group, |out| put_entry(out, entry));
    }

    pub(crate) fn vote(&mut self, group: u32, vote: &Vote) {
        self.add(VOTE, group, |out| put_vote(out, vote));
    }

    pub(crate) fn truncate(&mut self, group: u32, from: u64) {
        self.add(TRUNCATE, group, |out| out.extend_from_slice(&from.to_le_bytes()));
    }

    pub(crate) fn purge(&mut self, group: u32, upto: &LogId) {
        self.add(PURGE, group, |out| put_log_id(out, upto));
    }

    pub(crate) fn name(&mut self, group: u32, name: &Name) {
        self.add(NAME, group, |out| put_text(out, name.as_str()));
    }

    pub(crate) fn gone(&mut self, group: u32) {
        self.add(GONE, group, |_| {});
    }

    fn slices(&self) -> Vec<&[u8]> {
        let mut from = 0;
        let cut = |end: &usize| {
            let slice = &self.bytes[from..*end];
            from = *end;
            slice
        };
        self.ends.iter().map(cut).collect()
    }
}

/// A journal whose writes take virtual time.
struct Simulated {
    log: Log,
    disk: Simulation,
    runtime: Handle,
    waiting: Mutex<(Vec<(Records, Stored)>, bool)>,
}

enum Sink {
    Memory,
    /// None when it is closed.
    Disk(RwLock<Option<Log>>),
    Simulated(Arc<Simulated>),
}

#[derive(Default)]
pub(crate) struct Groups {
    pub(crate) by_name: BTreeMap<Name, Arc<GroupLog>>,
    by_id: BTreeMap<u32, Arc<GroupLog>>,
    next: u32,
}

/// See the module.
pub(crate) struct Journal {
    sink: Sink,
    pub(crate) groups: Mutex<Groups>,
}

impl Journal {
    /// Opens the journal and reads the logs of all groups.
    pub(crate) fn open(config: &EngineConfig, runtime: Handle) -> Result<Self, Error> {
        let Some(dir) = &config.dir else {
            return Ok(Journal {
                sink: Sink::Memory,
                groups: Mutex::default(),
            });
        };
        let mut groups = Groups::default();
        let mut fault = None;
        let log = open_log(config, &dir.join("log"), &mut |seq, record| {
            if fault.is_none()
                && let Err(what) = groups.replay(seq, record)
            {
                fault = Some(Error::Record { seq, what });
            }
        })?;
        if let Some(fault) = fault.or_else(|| groups.fault(log.next_seq())) {
            return Err(fault);
        }
        let sink = match config.simulated {
            None => Sink::Disk(RwLock::new(Some(log))),
            Some(disk) => Sink::Simulated(Arc::new(Simulated {
                log,
                disk,
                runtime,
                waiting: Mutex::default(),
            })),
        };
        Ok(Journal {
            sink,
            groups: Mutex::new(groups),
        })
    }

    /// Appends the records. `stored` runs when they are on the disk, with their sequences, or could not be stored; not
    /// on a thread of the runtime, and in the order of the appends.
    pub(crate) fn append(
        &self,
        records: Records,
        stored: impl FnOnce(io::Result<Range<u64>>) + Send + 'static,
    ) -> io::Result<()> {
        match &self.sink {
            Sink::Memory => {
                stored(Ok(0..0));
                Ok(())
            }
            Sink::Disk(log) => {
                // Recursive: cleaning, which reads already, writes facts again.
                let log = log.read_recursive();
                let log = log.as_ref().ok_or_else(closed)?;
                log.append_async(&records.slices(), |result| stored(result.map_err(storage_io)))
                    .map_err(storage_io)
            }
            Sink::Simulated(simulated) => {
                simulated.append(records, Box::new(stored));
                Ok(())
            }
        }
    }

    /// The log of the group, new when there is none of this name.
    pub(crate) fn group(&self, name: &Name) -> io::Result<Arc<GroupLog>> {
        let mut groups = self.groups.lock();
        if let Some(group) = groups.by_name.get(name) {
            return Ok(group.clone());
        }
        let id = groups.next;
        groups.next += 1;
        let group = groups.named(id, name.clone());
        let mut records = Records::default();
        records.name(id, name);
        let placed = group.clone();
        self.append(records, move |result| {
            if let Ok(range) = result {
                placed.placed_name(range.start);
            }
        })?;
        Ok(group)
    }

    /// Forgets the group.
    pub(crate) fn forget(&self, name: &Name) -> io::Result<()> {
        let mut groups = self.groups.lock();
        if let Some(group) = groups.by_name.remove(name) {
            groups.by_id.remove(&group.id);
            let mut records = Records::default();
            records.gone(group.id);
            self.append(records, |_| {})?;
        }
        Ok(())
    }

    fn with_log<T>(&self, with: impl FnOnce(&Log) -> T) -> Option<T> {
        match &self.sink {
            Sink::Memory => None,
            Sink::Disk(log) => log.read().as_ref().map(with),
            Sink::Simulated(simulated) => Some(with(&simulated.log)),
        }
    }

    /// Bytes of its files.
    pub(crate) fn bytes(&self) -> u64 {
        self.with_log(|log| log.stats().bytes).unwrap_or(0)
    }

    /// Writes what is on its way, and lets go of the files; nothing is appended from then on. Takes as long as the disk.
    pub(crate) fn close(&self) {
        if let Sink::Disk(log) = &self.sink {
            let last = log.write().take();
            drop(last);
        }
    }

    /// Removes what no group needs from the disk: whole files when they hold nothing else, and when the log is still
    /// larger than `bytes` and than twice what is needed, by rewriting it. Takes as long as the disk does.
    pub(crate) fn clean(&self, bytes: u64) -> io::Result<()> {
        if self.bytes() <= bytes {
            return Ok(());
        }
        self.with_log(|log| self.clean_log(log, bytes)).unwrap_or(Ok(()))
    }

    fn clean_log(&self, log: &Log, bytes: u64) -> io::Result<()> {
        let next = log.next_seq();
        let (groups, held) = {
            let groups = self.groups.lock();
            let all: Vec<_> = groups.by_id.values().cloned().collect();
            let held: u64 = all.iter().map(|group| group.bytes()).sum();
            (all, held)
        };
        let entries = groups.iter().filter_map(|group| group.oldest_entry()).min();
        let entries = entries.unwrap_or(next);
        let in_the_way: Vec<_> = groups
            .iter()
            .filter(|group| group.oldest_fact() < entries)
            .collect();
        for group in &in_the_way {
            self.restate(group)?;
        }
        if in_the_way.is_empty() {
            log.retire_before(entries.min(next)).map_err(storage_io)?;
        }
        let left = log.stats().bytes;
        if left > bytes && left > held.saturating_mul(2) && in_the_way.is_empty() {
            let known: BTreeMap<u32, Arc<GroupLog>> =
                groups.into_iter().map(|group| (group.id, group)).collect();
            let mut keep = |seq: u64, record: &[u8]| seq >= next || is_needed(&known, seq, record);
            log.compact(&mut keep).map_err(storage_io)?;
        }
        Ok(())
    }

    /// Writes name, vote and purge of a group again, so that their old records can go.
    fn restate(&self, group: &Arc<GroupLog>) -> io::Result<()> {
        let _order = group.order.lock();
        let facts = group.facts();
        let mut records = Records::default();
        if let Some(name) = group.name() {
            records.name(group.id, name);
        }
        if let Some(vote) = &facts.vote {
            records.vote(group.id, vote);
        }
        if let Some(purged) = &facts.purged {
            records.purge(group.id, purged);
        }
        let (voted, purged) = (facts.vote.is_some(), facts.purged.is_some());
        let group = group.clone();
        self.append(records, move |result| {
            let Ok(range) = result else { return };
            group.placed_name(range.start);
            if voted {
                group.placed_vote(range.start + 1);
            }
            if purged {
                group.placed_purge(range.start + 1 + u64::from(voted));
            }
        })
    }
}

/// Whether a record must stay when the journal is rewritten. Truncations may go: the entries that they remove go
/// before them, and until then the entry that follows says the same.
fn is_needed(groups: &BTreeMap<u32, Arc<GroupLog>>, seq: u64, record: &[u8]) -> bool {
    let mut reader = Reader(Bytes::copy_from_slice(record.get(..21).unwrap_or(record)));
    let (Ok(kind), Ok(id)) = (reader.u8(), reader.u32()) else {
        return true;
    };
    let Some(group) = groups.get(&id) else {
        return false;
    };
    match kind {
        ENTRY => reader.log_id().is_ok_and(|id| group.holds(&id)),
        NAME => group.is_fact(Fact::Name, seq),
        VOTE => group.is_fact(Fact::Vote, seq),
        PURGE => group.is_fact(Fact::Purge, seq),
        _ => true,
    }
}

fn open_log(config: &EngineConfig, dir: &Path, replay: &mut dyn FnMut(u64, &[u8])) -> Result<Log, Error> {
    let options = Options {
        sync: if config.sync { Sync::Always } else { Sync::Os },
        segment_bytes: config.segment_bytes,
        max_record_bytes: MAX_RECORD,
        on_damage: OnDamage::Fail,
        ..Options::default()
    };
    let (log, report) = Log::open_on(config.disk.clone(), dir, options, replay)?;
    if let Some(torn) = &report.torn {
        tracing::info!("the log in {dir:?} ended in the middle of a write, which was cut off: {torn:?}");
    }
    Ok(log)
}

impl Groups {
    fn with_id(&mut self, id: u32) -> Arc<GroupLog> {
        self.next = self.next.max(id.saturating_add(1));
        let group = self
            .by_id
            .entry(id)
            .or_insert_with(|| Arc::new(GroupLog::new(id)));
        group.clone()
    }

    fn named(&mut self, id: u32, name: Name) -> Arc<GroupLog> {
        let group = self.with_id(id);
        group.set_name(name.clone());
        self.by_name.insert(name, group.clone());
        group
    }

    /// What is wrong with the whole of what was read.
    fn fault(&self, seq: u64) -> Option<Error> {
        for group in self.by_id.values().filter(|group| group.leave_out_orphans()) {
            tracing::warn!(
                "entries of {:?} behind an append that failed are left out",
                group.name()
            );
        }
        let what = if self.by_id.values().any(|group| !group.is_whole()) {
            "before it, entries of a group are missing"
        } else if self.by_id.values().any(|group| group.name().is_none()) {
            "before it, the name of a group is missing"
        } else {
            return None;
        };
        Some(Error::Record { seq, what })
    }

    fn replay(&mut self, seq: u64, record: &[u8]) -> Result<(), &'static str> {
        let mut reader = Reader(Bytes::copy_from_slice(record));
        self.replay_record(seq, &mut reader)
            .map_err(|Malformed| "it is malformed")?
    }

    fn replay_record(
        &mut self,
        seq: u64,
        reader: &mut Reader,
    ) -> Result<Result<(), &'static str>, Malformed> {
        let (kind, id) = (reader.u8()?, reader.u32()?);
        let group = self.with_id(id);
        match kind {
            NAME => self.named(id, reader.name()?).placed_name(seq),
            VOTE => {
                group.set_vote(reader.vote()?);
                group.placed_vote(seq);
            }
            ENTRY => {
                let entry = reader.entry()?;
                let index = entry.log_id.index();
                if group.replay(entry) {
                    group.placed_append(index, seq);
                }
            }
            TRUNCATE => group.truncate_from(reader.u64()?),
            PURGE => {
                group.purge(&reader.log_id()?);
                group.placed_purge(seq);
            }
            GONE => {
                self.by_id.remove(&id);
                if let Some(name) = group.name() {
                    self.by_name.remove(name);
                }
            }
            _ => return Ok(Err("its kind is unknown")),
        }
        Ok(Ok(()))
    }
}

fn closed() -> io::Error {
    io::Error::other("the log is closed")
}

impl Simulated {
    fn append(self: &Arc<Self>, records: Records, stored: Stored) {
        let mut waiting = self.waiting.lock();
        if self.disk.acknowledge_early {
            // The bug to be found: nobody will hear of what becomes of the records.
            stored(Ok(0..0));
            waiting.0.push((records, Box::new(|_| {})));
        } else {
            waiting.0.push((records, stored));
        }
        if std::mem::replace(&mut waiting.1, true) {
            return;
        }
        drop(waiting);
        let this = self.clone();
        self.runtime.spawn(async move { this.write().await });
    }

    async fn write(&self) {
        loop {
            let micros = self.disk.fastest.as_micros() as u64..=self.disk.slowest.as_micros() as u64;
            tokio::time::sleep(std::time::Duration::from_micros(Dice.random_range(micros))).await;
            let batch = {
                let mut waiting = self.waiting.lock();
                if waiting.0.is_empty() {
                    waiting.1 = false;
                    return;
                }
                std::mem::take(&mut waiting.0)
            };
            for (records, stored) in batch {
                stored(self.log.append(&records.slices()).map_err(storage_io));
            }
        }
    }
}
