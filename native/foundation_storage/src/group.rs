//! Group commit: callers who come while a group is on its way to the disk form the next one.
//!
//! The caller who finds nobody leading writes the whole group and wakes the others. Callbacks run on the
//! thread of the log only, because the thread of a caller may belong to someone (a scheduler of the VM) on
//! which they must not run.

use std::collections::HashMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::format::{self, FRAME};
use crate::{Error, Options};

/// Runs when the records are acknowledged or refused.
pub(crate) type Callback = Box<dyn FnOnce(Result<Range<u64>, Error>) + Send>;

struct Pending {
    callback: Callback,
    offset: u64,
    records: u64,
}

/// Records that are written together.
#[derive(Default)]
pub(crate) struct Group {
    id: u64,
    pub(crate) frames: Vec<u8>,
    pub(crate) records: u64,
    /// Callers who sleep until the group is done.
    waiters: usize,
    callbacks: Vec<Pending>,
}

struct Done {
    result: Result<u64, Error>,
    waiters: usize,
}

#[derive(Default)]
struct Queue {
    pending: Group,
    leading: bool,
    done: HashMap<u64, Done>,
    ready: Vec<(Result<u64, Error>, Vec<Pending>)>,
    /// A buffer to use again.
    spare: Vec<u8>,
    closed: bool,
    stopped: bool,
    asked: bool,
}

/// What the thread of the log wakes up for.
pub(crate) struct Wake {
    /// A group without a leader is there.
    pub(crate) lead: bool,
    /// Someone asked for retention.
    pub(crate) asked: bool,
    /// The log closes.
    pub(crate) stopped: bool,
}

#[derive(Default)]
pub(crate) struct Groups {
    queue: Mutex<Queue>,
    /// A group is done, or there is room again.
    done: Condvar,
    /// The thread of the log has something to do.
    work: Condvar,
}

/// Buffers above this are not kept.
const SPARE_BYTES: usize = 4 << 20;

impl Groups {
    /// Adds the records to the pending group and waits until they are acknowledged.
    pub(crate) fn append(
        &self,
        options: &Options,
        records: &[&[u8]],
        commit: &mut dyn FnMut(&mut Group) -> Result<u64, Error>,
    ) -> Result<Range<u64>, Error> {
        let sums = checksums(options, records)?;
        let mut queue = self.queue.lock();
        while queue.pending.frames.len() > options.max_pending_bytes && !queue.closed {
            if queue.leading {
                self.done.wait(&mut queue);
            } else {
                queue = self.lead(queue, commit);
            }
        }
        if queue.closed {
            return Err(Error::Closed);
        }
        let offset = queue.pending.push(records, &sums);
        let id = queue.pending.id;
        queue.pending.waiters += 1;
        loop {
            if let Some(result) = queue.take_done(id) {
                return result.map(|first| first + offset..first + offset + records.len() as u64);
            }
            if queue.leading {
                self.done.wait(&mut queue);
            } else {
                queue = self.lead(queue, commit);
            }
        }
    }

    /// Adds the records to the pending group; the thread of the log writes it and runs the callback.
    pub(crate) fn enqueue(
        &self,
        options: &Options,
        records: &[&[u8]],
        callback: Callback,
    ) -> Result<(), Error> {
        let sums = checksums(options, records)?;
        let mut queue = self.queue.lock();
        while queue.pending.frames.len() > options.max_pending_bytes && !queue.closed {
            self.work.notify_one();
            self.done.wait(&mut queue);
        }
        if queue.closed {
            return Err(Error::Closed);
        }
        let offset = queue.pending.push(records, &sums);
        queue.pending.callbacks.push(Pending {
            callback,
            offset,
            records: records.len() as u64,
        });
        if !queue.leading {
            self.work.notify_one();
        }
        Ok(())
    }

    /// Waits until everything appended before is acknowledged or refused.
    pub(crate) fn flush(
        &self,
        commit: &mut dyn FnMut(&mut Group) -> Result<u64, Error>,
    ) -> Result<(), Error> {
        let mut queue = self.queue.lock();
        let pending = queue.pending.records > 0 || !queue.pending.callbacks.is_empty();
        if !pending && !queue.leading {
            return Ok(());
        }
        let id = queue.pending.id;
        queue.pending.waiters += 1;
        loop {
            if let Some(result) = queue.take_done(id) {
                return result.map(|_| ());
            }
            if queue.leading {
                self.done.wait(&mut queue);
            } else {
                queue = self.lead(queue, commit);
            }
        }
    }

    /// Leads the pending group from the thread of the log, if there is one and nobody leads.
    pub(crate) fn lead_pending(&self, commit: &mut dyn FnMut(&mut Group) -> Result<u64, Error>) {
        let queue = self.queue.lock();
        if !queue.leading && !queue.pending.callbacks.is_empty() {
            drop(self.lead(queue, commit));
        }
    }

    fn lead<'a>(
        &'a self,
        mut queue: parking_lot::MutexGuard<'a, Queue>,
        commit: &mut dyn FnMut(&mut Group) -> Result<u64, Error>,
    ) -> parking_lot::MutexGuard<'a, Queue> {
        queue.leading = true;
        let next = Group {
            id: queue.pending.id + 1,
            frames: std::mem::take(&mut queue.spare),
            ..Group::default()
        };
        let mut group = std::mem::replace(&mut queue.pending, next);
        drop(queue);
        let outcome = catch_unwind(AssertUnwindSafe(|| commit(&mut group)));
        let mut queue = self.queue.lock();
        queue.leading = false;
        // A panic is a bug, and what it left behind is unknown: the followers hear of it, and nobody writes on.
        queue.closed |= outcome.is_err();
        let (result, panic) = match outcome {
            Ok(result) => (result, None),
            Err(panic) => (Err(Error::Closed), Some(panic)),
        };
        group.frames.clear();
        if group.frames.capacity() <= SPARE_BYTES {
            queue.spare = group.frames;
        }
        if group.waiters > 0 {
            queue.done.insert(
                group.id,
                Done {
                    result: result.clone(),
                    waiters: group.waiters,
                },
            );
        }
        if !group.callbacks.is_empty() {
            queue.ready.push((result, group.callbacks));
        }
        self.done.notify_all();
        if !queue.ready.is_empty() || !queue.pending.callbacks.is_empty() {
            self.work.notify_one();
        }
        match panic {
            None => queue,
            Some(panic) => {
                drop(queue);
                resume_unwind(panic)
            }
        }
    }

    /// Runs the callbacks of finished groups.
    pub(crate) fn run_callbacks(&self) {
        let ready = std::mem::take(&mut self.queue.lock().ready);
        for (result, callbacks) in ready {
            for Pending {
                callback,
                offset,
                records,
            } in callbacks
            {
                let range = result
                    .clone()
                    .map(|first| first + offset..first + offset + records);
                if catch_unwind(AssertUnwindSafe(|| callback(range))).is_err() {
                    tracing::error!("a callback of the log panicked");
                }
            }
        }
    }

    /// Sleeps until there is work for the thread of the log, at most so long.
    pub(crate) fn wait_for_work(&self, at_most: Duration) -> Wake {
        let mut queue = self.queue.lock();
        if !queue.has_work() {
            let _ = self.work.wait_for(&mut queue, at_most);
        }
        Wake {
            lead: !queue.leading && !queue.pending.callbacks.is_empty(),
            asked: std::mem::take(&mut queue.asked),
            stopped: queue.stopped && queue.pending.callbacks.is_empty() && !queue.leading,
        }
    }

    /// Asks the thread of the log to look after retention.
    pub(crate) fn ask(&self) {
        self.queue.lock().asked = true;
        self.work.notify_one();
    }

    /// Refuses new records. Those that wait are still written.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.done.notify_all();
    }

    /// Ends the thread of the log once nothing waits any more.
    pub(crate) fn stop(&self) {
        self.queue.lock().stopped = true;
        self.work.notify_one();
    }
}

impl Queue {
    fn take_done(&mut self, id: u64) -> Option<Result<u64, Error>> {
        let done = self.done.get_mut(&id)?;
        done.waiters -= 1;
        if done.waiters > 0 {
            return Some(done.result.clone());
        }
        self.done.remove(&id).map(|done| done.result)
    }

    fn has_work(&self) -> bool {
        let lead = !self.leading && !self.pending.callbacks.is_empty();
        lead || self.asked || self.stopped || !self.ready.is_empty()
    }
}

impl Group {
    /// Appends unsealed frames; answers how many records were before them.
    fn push(&mut self, records: &[&[u8]], sums: &[u32]) -> u64 {
        let offset = self.records;
        let bytes: usize = records.iter().map(|record| FRAME + record.len()).sum();
        self.frames.reserve(bytes);
        for (record, sum) in records.iter().zip(sums) {
            format::push_unsealed(&mut self.frames, *sum, record);
        }
        self.records += records.len() as u64;
        offset
    }
}

/// Checksums of the payloads, taken before any lock. Nothing is appended when one record is too large.
fn checksums(options: &Options, records: &[&[u8]]) -> Result<smallvec::SmallVec<[u32; 16]>, Error> {
    let limit = options.max_record_bytes;
    match records
        .iter()
        .find(|record| record.len() as u64 > u64::from(limit))
    {
        Some(record) => Err(Error::TooLarge {
            bytes: record.len() as u64,
            limit,
        }),
        None => Ok(records.iter().map(|record| crc32c::crc32c(record)).collect()),
    }
}
