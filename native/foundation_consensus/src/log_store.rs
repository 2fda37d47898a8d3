//! The log of a group as Raft wants it.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{LogIdOptionExt, OptionalSend, RaftLogReader};
use tokio::sync::oneshot;

use crate::codec::entry_size;
use crate::group_log::GroupLog;
use crate::journal::{Journal, Records};
use crate::types::{Entry, LogId, Types, Vote};

/// Bytes of entries in one message to a follower.
const MESSAGE_BYTES: usize = 1 << 20;

/// See the module.
#[derive(Clone)]
pub(crate) struct LogStore {
    pub(crate) journal: Arc<Journal>,
    pub(crate) log: Arc<GroupLog>,
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.log.read(plain(&range), usize::MAX))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.log.vote())
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        Ok(self.log.read(start..end, MESSAGE_BYTES))
    }
}

fn plain(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index.saturating_add(1),
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        Ok(LogState {
            last_purged_log_id: self.log.purged(),
            last_log_id: self.log.last(),
        })
    }

    async fn get_log_reader(&mut self) -> Self::LogReader {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let mut records = Records::default();
        records.vote(self.log.id, vote);
        let (done, stored) = oneshot::channel();
        let log = self.log.clone();
        {
            let _order = self.log.order.lock();
            self.log.set_vote(vote.clone());
            self.journal.append(records, move |result| {
                let result = result.map(|range| log.placed_vote(range.start));
                let _ = done.send(result);
            })?;
        }
        stored.await.map_err(|_| closed())?
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let Some(last) = entries.last().map(|entry| entry.log_id.index()) else {
            callback.io_completed(Ok(()));
            return Ok(());
        };
        let mut records = Records::with_capacity(entries.iter().map(|entry| 5 + entry_size(entry)).sum());
        for entry in &entries {
            records.entry(self.log.id, entry);
        }
        self.log.append(entries);
        let log = self.log.clone();
        self.journal.append(records, move |result| {
            let result = result.map(|range| log.placed_append(last, range.start));
            callback.io_completed(result);
        })
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.next_index();
        self.log.truncate_from(from);
        let mut records = Records::default();
        records.truncate(self.log.id, from);
        self.journal.append(records, |_| {})
    }

    /// Returns when the disk has it: behind a purge that was lost, the entries that follow would look like a hole.
    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let mut records = Records::default();
        records.purge(self.log.id, &upto);
        let (done, stored) = oneshot::channel();
        let log = self.log.clone();
        let purged = upto;
        {
            let _order = self.log.order.lock();
            self.journal.append(records, move |result| {
                let result = result.map(|range| {
                    log.purge(&purged);
                    log.placed_purge(range.start);
                });
                let _ = done.send(result);
            })?;
        }
        stored.await.map_err(|_| closed())?
    }
}

fn closed() -> io::Error {
    io::Error::other("the log is closed")
}
