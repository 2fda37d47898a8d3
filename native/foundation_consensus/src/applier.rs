//! The state machine as Raft wants it: the user's machine, what makes proposals count once, and the clock of the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::Mutex;

use crate::error::invalid_data;
use crate::sessions::{Known, Sessions};
use crate::snapshots::{Content, Snapshots, refused};
use crate::types::{Command, LogId, Outcome, Session, Snapshot, SnapshotMeta, StoredMembership, Types};
use crate::{Answering, Applied, Machine};

/// Commands applied with one call of the machine.
const BATCH: usize = 1_024;

/// The replicated state of a member.
pub(crate) struct Applier {
    machine: Box<dyn Machine>,
    last: Option<LogId>,
    membership: StoredMembership,
    time_ms: u64,
    sessions: Sessions,
}

/// Commands that are about to be applied together, with those who wait for them.
#[derive(Default)]
struct Batch {
    entries: Vec<Applied>,
    waiting: Vec<(Option<Session>, Option<ApplyResponder<Types>>)>,
}

impl Applier {
    /// Starts from a snapshot or from nothing.
    pub(crate) async fn start(
        machine: Box<dyn Machine>,
        content: Option<Content>,
    ) -> Result<Self, crate::MachineError> {
        let mut applier = Applier {
            machine,
            last: None,
            membership: StoredMembership::default(),
            time_ms: 0,
            sessions: Sessions::default(),
        };
        if let Some(content) = content {
            applier.restore(content).await?;
        }
        Ok(applier)
    }

    async fn restore(&mut self, content: Content) -> Result<(), crate::MachineError> {
        self.machine.restore(content.machine).await?;
        self.last = content.last;
        self.membership = content.membership;
        self.time_ms = content.time_ms;
        self.sessions = content.sessions;
        Ok(())
    }

    /// What the machine answers, of its state of now; it may drop `answer`, and then never will.
    pub(crate) fn query_then(&mut self, query: Bytes, answer: Answering) {
        self.machine.query(query, answer);
    }

    pub(crate) fn query_now(&mut self, query: &Bytes) -> Option<Bytes> {
        self.machine.query_now(query)
    }

    pub(crate) fn asks_others(&self) -> bool {
        self.machine.asks_others()
    }

    /// The term of the last entry that was applied.
    pub(crate) fn term(&self) -> Option<u64> {
        self.last.as_ref().map(|id| **id.committed_leader_id())
    }

    /// The place of the last change of members that was applied.
    pub(crate) fn membership(&self) -> Option<LogId> {
        *self.membership.log_id()
    }

    async fn content(&mut self) -> Content {
        Content {
            machine: self.machine.snapshot().await,
            last: self.last,
            membership: self.membership.clone(),
            time_ms: self.time_ms,
            sessions: self.sessions.clone(),
        }
    }

    async fn take(
        &mut self,
        batch: &mut Batch,
        id: LogId,
        payload: EntryPayload<Command, crate::types::Name, openraft::EmptyNode>,
        responder: Option<ApplyResponder<Types>>,
    ) -> io::Result<()> {
        match payload {
            EntryPayload::Normal(command) => self.take_command(batch, &id, command, responder).await?,
            EntryPayload::Blank => answer(responder, Outcome::Nothing),
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(id), membership);
                answer(responder, Outcome::Nothing);
            }
        }
        self.last = Some(id);
        Ok(())
    }

    async fn take_command(
        &mut self,
        batch: &mut Batch,
        id: &LogId,
        command: Command,
        responder: Option<ApplyResponder<Types>>,
    ) -> io::Result<()> {
        self.time_ms = self.time_ms.max(command.time_ms);
        if let Some(session) = command.session {
            if batch.waiting.iter().any(|(other, _)| *other == Some(session)) {
                self.flush(batch).await?;
            }
            match self.sessions.known(session) {
                Known::New => {}
                Known::Reply(reply) => {
                    answer(responder, Outcome::Reply(reply));
                    return Ok(());
                }
                Known::Forgotten => {
                    answer(responder, Outcome::Stale);
                    return Ok(());
                }
            }
        }
        batch.entries.push(Applied {
            index: id.index(),
            term: **id.committed_leader_id(),
            time_ms: self.time_ms,
            command: command.data,
        });
        batch.waiting.push((command.session, responder));
        if batch.entries.len() >= BATCH {
            self.flush(batch).await?;
        }
        Ok(())
    }

    async fn flush(&mut self, batch: &mut Batch) -> io::Result<()> {
        if batch.entries.is_empty() {
            return Ok(());
        }
        let entries = std::mem::take(&mut batch.entries);
        let times: Vec<u64> = entries.iter().map(|entry| entry.time_ms).collect();
        let replies = self.machine.apply(entries).await;
        if replies.len() != times.len() {
            let wrong = format!(
                "the machine gave {} replies for {} commands",
                replies.len(),
                times.len()
            );
            return Err(invalid_data(wrong));
        }
        for ((reply, time_ms), (session, responder)) in
            replies.into_iter().zip(times).zip(batch.waiting.drain(..))
        {
            if let Some(session) = session {
                self.sessions.applied(session, time_ms, reply.clone());
            }
            answer(responder, Outcome::Reply(reply));
        }
        Ok(())
    }
}

fn answer(responder: Option<ApplyResponder<Types>>, outcome: Outcome) {
    if let Some(responder) = responder {
        responder.send(outcome);
    }
}

/// What Raft holds of the state; the group holds the same.
#[derive(Clone)]
pub(crate) struct StateMachine {
    pub(crate) applier: Arc<Mutex<Applier>>,
    pub(crate) snapshots: Arc<Snapshots>,
    /// Whether files are written on this thread: simulation has no other.
    pub(crate) inline: bool,
    pub(crate) sessions: Arc<AtomicUsize>,
}

impl StateMachine {
    async fn store(&self, meta: SnapshotMeta, bytes: Bytes) -> io::Result<()> {
        if self.inline {
            return self.snapshots.store(meta, bytes);
        }
        let snapshots = self.snapshots.clone();
        tokio::task::spawn_blocking(move || snapshots.store(meta, bytes))
            .await
            .map_err(io::Error::other)?
    }
}

impl RaftSnapshotBuilder<Types> for StateMachine {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let content = self.applier.lock().await.content().await;
        let (meta, bytes) = (content.meta(), content.encode());
        self.store(meta.clone(), bytes.clone()).await?;
        Ok(Snapshot {
            meta,
            snapshot: bytes,
        })
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let applier = self.applier.lock().await;
        Ok((applier.last, applier.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        let mut applier = self.applier.lock().await;
        let mut batch = Batch::default();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            applier
                .take(&mut batch, entry.log_id, entry.payload, responder)
                .await?;
        }
        applier.flush(&mut batch).await?;
        self.sessions.store(applier.sessions.len(), Ordering::Relaxed);
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> Result<(), io::Error> {
        let content = Content::decode(&snapshot).map_err(refused)?;
        let mut applier = self.applier.lock().await;
        // On the disk before the state moves on: what Raft hears of as applied must come back after a crash.
        self.store(meta.clone(), snapshot).await?;
        applier.restore(content).await.map_err(invalid_data)?;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.snapshots.current())
    }
}
