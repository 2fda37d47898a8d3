//! Queries.

use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::{LinearizerOption, ReadPolicy};
use openraft_rt::WatchReceiver;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

use crate::message::{Refusal, Request};
use crate::propose::{Failure, milliseconds_to};
use crate::types::Name;
use crate::{Group, ReadError};

/// What a query may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Consistency {
    /// All that was replied to anybody before the query began, whatever the clocks do: the leader asks a majority whether it
    /// still leads, for all queries that wait at once.
    Linearizable = 0,
    /// The same while no clock runs faster than another by a third: the leader trusts its lease, and asks a majority when it
    /// has none. Members keep their word to a leader for `EngineConfig::election_max`, and it trusts that for three
    /// quarters of it.
    Lease = 1,
    /// The state of this member, which may be behind, and right after its start even behind what it was before.
    Local = 2,
    /// [`Consistency::Linearizable`] by another name.
    Quorum = 3,
}

impl Consistency {
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [
            Consistency::Linearizable,
            Consistency::Lease,
            Consistency::Local,
            Consistency::Quorum,
        ]
        .into_iter()
        .find(|other| *other as u8 == code)
    }
}

impl Group {
    /// Asks the machine.
    ///
    /// # Errors
    /// See [`ReadError`]. A query changes nothing and may be asked again.
    pub async fn read(
        &self,
        query: Bytes,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Bytes, ReadError> {
        let Ok(_permit) = self.inner.reading.try_acquire() else {
            return Err(ReadError::Busy);
        };
        if consistency == Consistency::Local {
            let answer = async { self.inner.applier.lock().await.query(query).await };
            return tokio::time::timeout_at(deadline, answer)
                .await
                .map_err(|_| ReadError::Timeout);
        }
        let (mut hint, mut asked) = (None, false);
        loop {
            let Some(leader) = self.leader_before(hint.take(), deadline).await else {
                return Err(self.unread(asked));
            };
            match self.read_at(&leader, query.clone(), consistency, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::NotDone(other)) => hint = other.filter(|other| *other != leader),
                Err(Failure::Unknown) => asked = true,
                Err(Failure::Refused(_)) => return Err(ReadError::Busy),
            }
            if hint.is_none() {
                self.pause(deadline).await;
            }
        }
    }

    fn unread(&self, asked: bool) -> ReadError {
        if !self.is_running() {
            ReadError::Stopped
        } else if asked {
            ReadError::Timeout
        } else {
            ReadError::NoLeader
        }
    }

    async fn read_at(
        &self,
        leader: &Name,
        query: Bytes,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        if *leader == self.inner.shared.me {
            return Ok(self.read_here(query, consistency, deadline).await?);
        }
        let ttl_ms = milliseconds_to(deadline);
        let request = Request::Read {
            ttl_ms,
            consistency,
            query,
        };
        self.ask_leader(leader, &request, deadline).await
    }

    /// Asks the machine of this member, as the leader.
    pub(crate) async fn read_here(
        &self,
        query: Bytes,
        consistency: Consistency,
        deadline: Instant,
    ) -> Result<Bytes, Refusal> {
        let option = match consistency {
            Consistency::Linearizable | Consistency::Quorum => LinearizerOption::from(ReadPolicy::ReadIndex),
            Consistency::Local => return Ok(self.inner.applier.lock().await.query(query).await),
            // Who is offered the lead may take it before any lease has ended.
            Consistency::Lease if self.has_ceded() => LinearizerOption::from(ReadPolicy::ReadIndex),
            Consistency::Lease => LinearizerOption::new(Some(self.trusted()), true),
        };
        let reading = async {
            let linearizer = self
                .inner
                .raft
                .get_read_linearizer(option)
                .await
                .map_err(refusal)?;
            let ready = linearizer.await_ready(&self.inner.raft).await;
            ready.map_err(|_| Refusal::NotLeader(None))?;
            Ok(self.inner.applier.lock().await.query(query).await)
        };
        tokio::time::timeout_at(deadline, reading)
            .await
            .unwrap_or(Err(Refusal::Unknown))
    }
}

impl Group {
    /// Asks the machine of this member at once, whatever it knows, where it can answer without waiting. Quick, and on any
    /// thread.
    #[must_use]
    pub fn read_now(&self, query: &Bytes) -> Option<Bytes> {
        self.inner.applier.try_lock().ok()?.query_now(query)
    }

    /// Whether this member has offered its lead of this term to another.
    fn has_ceded(&self) -> bool {
        self.inner.ceded.load(Ordering::Acquire) >= self.inner.metrics.borrow_watched().current_term
    }

    /// For how long the promise of a majority is trusted: less than they keep it, for clocks that differ.
    fn trusted(&self) -> Duration {
        self.inner.shared.config.election_max * 3 / 4
    }
}

fn refusal(error: RaftError<crate::types::Types, LinearizableReadError<crate::types::Types>>) -> Refusal {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            Refusal::NotLeader(forward.leader_id)
        }
        RaftError::APIError(_) | RaftError::Fatal(_) => Refusal::NotLeader(None),
    }
}
