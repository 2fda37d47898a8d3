//! The log in front of the index: what is written, and how an index is made of it again.

use super::{Refused, State, Store};
use crate::Error;
use crate::arena;
use crate::codec::{Reader, put_i64, put_u64};
use crate::event::{Event, Keys};
use crate::record::{Names, pack, pack_with, put_name, unpack};
use crate::slots::{self, Meta};
use crate::symbols::Symbol;
use crate::uuid;
use foundation_storage::{Log, Options, Recovery, Sync};
use parking_lot::RwLock;
use std::cell::RefCell;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// When a stored event counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syncing {
    /// When the disk has confirmed it.
    Always,
    /// When the system took it; the disk is told at least this often.
    Interval(Duration),
    /// When the system took it.
    Os,
}

/// Where and how events are kept on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durability {
    /// The directory.
    pub dir: PathBuf,
    /// When an event counts as stored.
    pub sync: Syncing,
    /// Bytes of a segment.
    pub segment_bytes: u64,
}

/// What opening the log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Opened {
    /// Events in the store.
    pub events: u64,
    /// Records read.
    pub records: u64,
    /// Records that are no event of this version.
    pub unreadable: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// Bytes of an unfinished write that were cut off.
    pub torn_bytes: u64,
    /// Every damaged place, in words.
    pub damage: Vec<String>,
    /// Records that are lost to damage, at most.
    pub lost: u64,
    /// Milliseconds it took.
    pub took_ms: u64,
}

const EVENT: u8 = 1;
const PRUNED: u8 = 2;
const RETIRED: u8 = 3;
const RESET: u8 = 4;
const NEXT_ID: u8 = 5;

/// Compaction pays when this many records in the log are dead, and they are more than the live ones.
const DEAD: u64 = 4096;
/// After a batch of so many events, the thread of the log gets the memory for as many more.
const MANY: usize = 256;
/// Bytes of records that it gets memory for at most.
const MOST: usize = 4 << 20;

/// Events on their way to the log and to the index; kept by each thread, so that a batch finds its memory warm.
#[derive(Default)]
struct Batch {
    packed: Vec<u8>,
    ends: Vec<usize>,
    written: Vec<u8>,
    cuts: Vec<Range<usize>>,
    names: Known,
}

/// The names that a thread wrote last, with their lengths before them.
#[derive(Default)]
struct Known {
    last: [Option<(Symbol, Vec<u8>)>; 4],
}

impl Known {
    fn put(&mut self, symbol: Symbol, buf: &mut Vec<u8>) {
        let place = &mut self.last[symbol as usize % 4];
        match place {
            Some((known, bytes)) if *known == symbol => buf.extend_from_slice(bytes),
            _ => {
                let mut bytes = Vec::new();
                put_name(&mut bytes, symbol, Names::Written);
                buf.extend_from_slice(&bytes);
                *place = Some((symbol, bytes));
            }
        }
    }
}

/// Bytes that a thread keeps for its next batch.
const KEPT: usize = 4 << 20;

thread_local! {
    static BATCH: RefCell<Batch> = RefCell::default();
}

impl Batch {
    fn fill<'a>(&mut self, events: &[Event<'a>], now_ms: u64) -> Vec<Keys<'a>> {
        self.packed.clear();
        self.ends.clear();
        self.written.clear();
        self.cuts.clear();
        let mut keys = Vec::with_capacity(events.len());
        for event in events {
            let uuid = event.correlation.and_then(uuid::parse);
            let from = self.packed.len();
            let names = pack_with(event, uuid, now_ms, Names::Interned, &mut self.packed);
            self.ends.push(self.packed.len());
            keys.push(Keys::of_event(event, uuid));
            // But for the names, a record is the same in memory and on disk.
            let record = &self.packed[from..];
            let start = self.written.len();
            self.written.push(EVENT);
            self.written.extend_from_slice(&record[..names.start]);
            self.names.put(event.kind, &mut self.written);
            if let Some(node) = event.node {
                self.names.put(node, &mut self.written);
            }
            self.written.extend_from_slice(&record[names.end..]);
            self.cuts.push(start..self.written.len());
        }
        keys
    }

    fn trim(&mut self) {
        if self.packed.capacity() + self.written.capacity() > KEPT {
            *self = Batch::default();
        }
    }
}

impl Store {
    /// Opens or makes the log and rebuilds the index from it. The store must be new.
    ///
    /// # Errors
    /// Those of the log: in use, not writable, no space, later version, other failures of the file system.
    pub fn open(&self, durability: &Durability) -> Result<Opened, Error> {
        let options = Options {
            sync: match durability.sync {
                Syncing::Always => Sync::Always,
                Syncing::Interval(every) => Sync::Interval(every),
                Syncing::Os => Sync::Os,
            },
            segment_bytes: durability.segment_bytes,
            ..Options::default()
        };
        let mut log = self.log.write();
        if log.is_some() {
            return Ok(Opened::default());
        }
        let mut state = State::default();
        let mut unreadable = 0;
        let (opened, recovery) = Log::open(&durability.dir, options, &mut |seq, record| {
            if state.replay(seq, record).is_err() {
                unreadable += 1;
            }
        })?;
        state.next_seq = state.next_seq.max(recovery.next_seq);
        let report = report(&recovery, state.index.len() as u64, unreadable);
        *self.state.write() = state;
        *log = Some(opened);
        self.durable.store(true, Ordering::Release);
        self.closed.store(false, Ordering::Release);
        Ok(report)
    }

    pub(super) fn store_durable(
        &self,
        events: &[Event<'_>],
        now_ms: u64,
        force: bool,
    ) -> Result<Vec<u64>, Refused> {
        BATCH.with_borrow_mut(|batch| {
            let keys = batch.fill(events, now_ms);
            let Batch {
                packed,
                ends,
                written,
                cuts,
                ..
            } = batch;
            let records: Vec<&[u8]> = cuts.iter().map(|cut| &written[cut.clone()]).collect();
            let _gate = self.gate.read();
            let tickets = self.hub.admit(packed, ends, force).map_err(Refused::Full)?;
            let stored = match self.append(&records) {
                Ok(first) => {
                    self.insert(&keys, packed, ends, Some(first));
                    Ok(self.hub.publish(tickets, packed, ends))
                }
                Err(error) => {
                    self.hub.cancel(tickets);
                    Err(error.into())
                }
            };
            if records.len() >= MANY {
                self.prepare_another(records.len(), packed.len());
            }
            batch.trim();
            stored
        })
    }

    fn append(&self, records: &[&[u8]]) -> Result<u64, Error> {
        let log = self.log.read();
        let log = log.as_ref().ok_or(Error::Closed)?;
        Ok(log.append(records)?.start)
    }

    /// Has memory ready for another batch like this one when that comes. The system gives a page when it is first
    /// written to, and takes its time.
    fn prepare_another(&self, records: usize, bytes: usize) {
        let bytes = bytes.min(MOST);
        let records = records.min(MOST / size_of::<Meta>());
        let state = Arc::downgrade(&self.state);
        let prepare = move |_| {
            if let Some(state) = state.upgrade() {
                prepare(&state, records, bytes);
            }
        };
        // A closed log has no batch to come.
        let _ = self.log.read().as_ref().map(|log| log.append_async(&[], prepare));
    }

    // A marker carries the next id too: the event that had the highest one may be gone when the log is read again.
    fn mark(&self, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) -> Result<(), Error> {
        if self.is_closed() {
            return Err(Error::Closed);
        }
        if !self.is_durable() {
            return Ok(());
        }
        let mut record = vec![tag];
        put_u64(
            &mut record,
            if tag == RESET {
                1
            } else {
                self.state.read().next_id
            },
        );
        fill(&mut record);
        self.append(&[&record]).map(|_| ())
    }

    pub(super) fn mark_pruned(&self, timestamp: i64) -> Result<(), Error> {
        let any = self
            .state
            .read()
            .index
            .ascending((i64::MIN, 0), 1)
            .next()
            .is_some();
        if any {
            self.mark(PRUNED, |record| put_i64(record, timestamp))
        } else {
            self.mark_nothing()
        }
    }

    fn mark_nothing(&self) -> Result<(), Error> {
        if self.is_closed() {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    pub(super) fn mark_retired(&self, keep_from: u64) -> Result<(), Error> {
        self.mark(RETIRED, |record| put_u64(record, keep_from))
    }

    pub(super) fn mark_reset(&self) -> Result<(), Error> {
        self.mark(RESET, |_| ())
    }

    pub(super) fn retire_segments(&self, keep_from: u64) -> Result<(), Error> {
        if let Some(log) = self.log.read().as_ref() {
            log.retire_before(keep_from)?;
        }
        Ok(())
    }

    pub(super) fn retire_all(&self) -> Result<(), Error> {
        if let Some(log) = self.log.read().as_ref() {
            log.rotate()?;
            log.retire_before(log.next_seq())?;
        }
        Ok(())
    }

    /// Rewrites the log without what is overwritten, pruned or retired, when that is more than half of it. Answers
    /// the bytes freed. O(bytes of the log).
    ///
    /// # Errors
    /// `Closed`, and those of the log.
    pub fn compact(&self) -> Result<u64, Error> {
        let log = self.log.read();
        let Some(log) = log.as_ref() else {
            return self.mark_nothing().map(|()| 0);
        };
        let live = self.state.read().index.len() as u64;
        let dead = log.stats().records.saturating_sub(live);
        if dead < DEAD.max(live) {
            Ok(0)
        } else {
            self.compact_log(log)
        }
    }

    /// Rewrites the log whatever it holds.
    ///
    /// # Errors
    /// `Closed`, and those of the log.
    pub fn compact_now(&self) -> Result<u64, Error> {
        match self.log.read().as_ref() {
            Some(log) => self.compact_log(log),
            None => self.mark_nothing().map(|()| 0),
        }
    }

    fn compact_log(&self, log: &Log) -> Result<u64, Error> {
        // With the gate shut, everything before `limit` is in the index or dead. The next id goes behind it.
        let limit = {
            let _gate = self.gate.write();
            let limit = log.next_seq();
            let mut record = vec![NEXT_ID];
            put_u64(&mut record, self.state.read().next_id);
            log.append(&[&record])?;
            limit
        };
        let retired = log.compact(&mut |seq, record| {
            seq >= limit
                || record.split_first().is_some_and(|(tag, rest)| {
                    *tag == EVENT && unpack(rest, Names::Written).is_ok_and(|view| self.is_at(view.id, seq))
                })
        })?;
        Ok(retired.bytes)
    }

    fn is_at(&self, id: u64, seq: u64) -> bool {
        let state = self.state.read();
        state
            .index
            .find(id)
            .is_some_and(|slot| state.index.seq_of(slot) == seq)
    }

    /// Brings everything stored to the disk, whatever the policy.
    ///
    /// # Errors
    /// `Closed`, and those of the log.
    pub fn sync(&self) -> Result<(), Error> {
        match self.log.read().as_ref() {
            Some(log) => Ok(log.sync()?),
            None => self.mark_nothing(),
        }
    }

    /// Writes what is on its way and releases the directory; every later call answers `Closed`.
    ///
    /// # Errors
    /// Those of the log; it is closed all the same.
    pub fn close(&self) -> Result<(), Error> {
        self.closed.store(true, Ordering::Release);
        match self.log.write().take() {
            Some(log) => Ok(log.close()?),
            None => Ok(()),
        }
    }
}

/// Has memory ready for so many records of so many bytes together, got without the lock.
fn prepare(state: &RwLock<State>, records: usize, bytes: usize) {
    let (chunks, blocks) = state.read().index.missing(records, bytes);
    let chunks = (0..chunks).map(|_| arena::touched()).collect();
    let blocks = (0..blocks).map(|_| slots::touched()).collect();
    state.write().index.supply(chunks, blocks);
}

impl State {
    fn replay(&mut self, seq: u64, record: &[u8]) -> Result<(), Error> {
        self.next_seq = self.next_seq.max(seq.saturating_add(1));
        let (tag, rest) = record.split_first().ok_or(Error::Corrupt)?;
        if *tag == EVENT {
            let view = unpack(rest, Names::Written)?;
            let mut packed = Vec::with_capacity(rest.len());
            pack(
                &view.event(&mut [0; 36]),
                view.arrival,
                Names::Interned,
                &mut packed,
            );
            self.put(&Keys::of(&view), &packed, seq);
            return Ok(());
        }
        let mut r = Reader::new(rest);
        let next_id = r.u64()?;
        match *tag {
            PRUNED => {
                let timestamp = r.i64()?;
                while self.prune_step(timestamp) > 0 {}
            }
            RETIRED => {
                let keep_from = r.u64()?;
                while self.retire_step(keep_from) > 0 {}
            }
            RESET => {
                self.index = Default::default();
                self.next_id = 1;
            }
            NEXT_ID => {}
            _ => return Err(Error::Corrupt),
        }
        self.next_id = self.next_id.max(next_id);
        Ok(())
    }
}

fn report(recovery: &Recovery, events: u64, unreadable: u64) -> Opened {
    Opened {
        events,
        records: recovery.records,
        unreadable,
        segments: recovery.segments as u64,
        bytes: recovery.bytes,
        torn_bytes: recovery.torn.as_ref().map_or(0, |torn| torn.bytes),
        damage: recovery.damage.iter().map(ToString::to_string).collect(),
        lost: recovery
            .damage
            .iter()
            .map(|d| d.missing.end.saturating_sub(d.missing.start))
            .sum(),
        took_ms: recovery.took.as_millis() as u64,
    }
}
