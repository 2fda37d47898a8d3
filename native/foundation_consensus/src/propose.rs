//! Proposing: here when this member leads, otherwise through the member that does.

use std::time::Duration;

use bytes::Bytes;
use openraft::errors::ClientWriteError;
use openraft_rt::WatchReceiver;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::calls::CallError;
use crate::message::{Refusal, Request, Response};
use crate::types::{Answer, Command, Name, Outcome};
use crate::{Group, ProposeError, Session};

/// How long to wait before asking again when nothing says that something has changed.
const PAUSE: Duration = Duration::from_millis(20);

/// What an attempt came to when it gave no reply.
pub(crate) enum Failure {
    /// Nothing was done; perhaps this member leads.
    NotDone(Option<Name>),
    /// It may have been done.
    Unknown,
    /// Final.
    Refused(Refusal),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotLeader(hint) => Failure::NotDone(hint),
            Refusal::Unknown => Failure::Unknown,
            other => Failure::Refused(other),
        }
    }
}

impl Group {
    /// Proposes a command and waits until it is applied on a majority; answers the machine's reply.
    ///
    /// With a session the command is applied once, however often it is proposed, and this retries by itself until the
    /// deadline. Without one it is tried until it has left for a leader, and then never again.
    ///
    /// # Errors
    /// See [`ProposeError`]: `Unknown` alone may have been applied.
    pub async fn propose(
        &self,
        session: Option<Session>,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, ProposeError> {
        if command.len() > self.inner.config.max_command {
            return Err(ProposeError::TooLarge);
        }
        let Ok(_permit) = self.inner.proposing.try_acquire() else {
            return Err(ProposeError::Busy);
        };
        let mut perhaps = false;
        let mut hint = None;
        loop {
            let Some(leader) = self.leader_before(hint.take(), deadline).await else {
                return Err(if perhaps {
                    ProposeError::Unknown
                } else {
                    self.none()
                });
            };
            let failure = match self.propose_at(&leader, session, command.clone(), deadline).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            match failure {
                Failure::NotDone(other) => hint = other.filter(|other| *other != leader),
                Failure::Unknown if session.is_none() => return Err(ProposeError::Unknown),
                Failure::Unknown => perhaps = true,
                Failure::Refused(Refusal::Stale) => return Err(ProposeError::Stale),
                Failure::Refused(_) if perhaps => return Err(ProposeError::Unknown),
                Failure::Refused(Refusal::Invalid(_)) => return Err(ProposeError::TooLarge),
                Failure::Refused(_) => return Err(ProposeError::Busy),
            }
            if hint.is_none() {
                self.pause(deadline).await;
            }
        }
    }

    fn none(&self) -> ProposeError {
        if self.is_running() {
            ProposeError::NoLeader
        } else {
            ProposeError::Stopped
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.inner.raft.metrics().borrow_watched().running_state.is_ok()
    }

    /// Waits for a change of leader, though not for long.
    pub(crate) async fn pause(&self, deadline: Instant) {
        let mut watch = self.inner.leader.clone();
        drop(watch.borrow_and_update());
        let until = deadline.min(Instant::now() + PAUSE);
        // Either way there is reason to look again.
        let _ = tokio::time::timeout_at(until, watch.changed()).await;
    }

    /// The hint, or the leader as soon as there is one.
    pub(crate) async fn leader_before(&self, hint: Option<Name>, deadline: Instant) -> Option<Name> {
        if Instant::now() >= deadline {
            return None;
        }
        if hint.is_some() {
            return hint;
        }
        let mut watch = self.inner.leader.clone();
        let found = watch.wait_until(|leader| leader.node.is_some());
        let leader = tokio::time::timeout_at(deadline, found).await.ok()?.ok()?;
        leader.node.as_deref().map(Name::from)
    }

    async fn propose_at(
        &self,
        leader: &Name,
        session: Option<Session>,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        if *leader == self.inner.shared.me {
            return Ok(self.propose_here(session, command, deadline).await?);
        }
        let ttl_ms = milliseconds_to(deadline);
        let request = Request::Propose {
            ttl_ms,
            session,
            command,
        };
        self.ask_leader(leader, &request, deadline).await
    }

    /// Asks the leader to do something. When it stops leading meanwhile, what may not be asked twice waits a while for its
    /// answer all the same.
    pub(crate) async fn ask_leader(
        &self,
        leader: &Name,
        request: &Request,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let twice = match request {
            Request::Propose { session, .. } => session.is_some(),
            Request::Read { .. } => true,
            _ => false,
        };
        let shared = &self.inner.shared;
        let call = shared.call(leader, &self.inner.name, request, false);
        let mut watch = self.inner.leader.clone();
        let deposed = async {
            let moved = watch.wait_until(|now| now.node.as_deref() != Some(leader.as_str()));
            // The sender is gone when the group has stopped: no more will be heard.
            let _ = moved.await;
            if !twice {
                tokio::time::sleep(shared.config.election_max).await;
            }
        };
        let answer = tokio::select! {
            biased;
            answer = call.wait(deadline.saturating_duration_since(Instant::now())) => answer,
            () = deposed => Err(CallError::NoAnswer),
        };
        match answer {
            Ok(Response::Done(done)) => Ok(done?),
            Ok(Response::NoGroup) | Err(CallError::NotSent) => Err(Failure::NotDone(None)),
            Ok(_) | Err(CallError::NoAnswer) => Err(Failure::Unknown),
        }
    }

    /// Proposes to Raft on this member.
    pub(crate) async fn propose_here(
        &self,
        session: Option<Session>,
        data: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, Refusal> {
        if data.len() > self.inner.config.max_command {
            return Err(Refusal::Invalid("the command is too large".to_owned()));
        }
        let time_ms = self.inner.shared.config.clock.now_ms();
        let command = Command {
            time_ms,
            session,
            data,
        };
        let (sender, receiver) = oneshot::channel();
        let written = self.inner.raft.client_write_ff(command, Some(Answer(sender)));
        if written.await.is_err() {
            return Err(Refusal::NotLeader(None));
        }
        match tokio::time::timeout_at(deadline, receiver).await {
            Ok(Ok(Ok(response))) => match response.data {
                Outcome::Reply(reply) => Ok(reply),
                Outcome::Stale => Err(Refusal::Stale),
                Outcome::Nothing => Err(Refusal::Unknown),
            },
            Ok(Ok(Err(ClientWriteError::ForwardToLeader(forward)))) => {
                Err(Refusal::NotLeader(forward.leader_id))
            }
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => Err(Refusal::Unknown),
        }
    }
}

/// Rounded up, so that who is asked does not give up before who asks.
pub(crate) fn milliseconds_to(deadline: Instant) -> u32 {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    u32::try_from(left + 1).unwrap_or(u32::MAX)
}
