//! Queries.

use bytes::Bytes;
use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use tokio::time::Instant;

use crate::message::{Refusal, Request};
use crate::propose::{Failure, milliseconds_to};
use crate::types::Name;
use crate::{Group, ReadError};

/// What a query may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Consistency {
    /// All that was replied to anybody before the query began. The leader asks a majority whether it still leads.
    Linearizable = 0,
    /// The same, as long as no clock runs faster than another by more than the lease is longer than the heartbeat: the
    /// leader trusts its lease and asks nobody.
    Lease = 1,
    /// The state of this member, which may be behind, and right after its start even behind what it was before.
    Local = 2,
}

impl Consistency {
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [Consistency::Linearizable, Consistency::Lease, Consistency::Local]
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
        let policy = match consistency {
            Consistency::Linearizable => ReadPolicy::ReadIndex,
            Consistency::Lease => ReadPolicy::LeaseRead,
            Consistency::Local => return Ok(self.inner.applier.lock().await.query(query).await),
        };
        let reading = async {
            let linearizer = self
                .inner
                .raft
                .get_read_linearizer(policy)
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

fn refusal(error: RaftError<crate::types::Types, LinearizableReadError<crate::types::Types>>) -> Refusal {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            Refusal::NotLeader(forward.leader_id)
        }
        RaftError::APIError(_) | RaftError::Fatal(_) => Refusal::NotLeader(None),
    }
}
