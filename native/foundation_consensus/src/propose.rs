//! Proposing: here when this member leads, otherwise through the member that does.

use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use openraft_rt::WatchReceiver;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::calls::CallError;
use crate::message::{Refusal, Request, Response};
use crate::types::{Answer, Command, Name};
use crate::waiting::Then;
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

/// Told what became of a proposal, once; on a thread of the runtime.
pub type Done = Box<dyn FnOnce(Result<Bytes, ProposeError>) + Send>;

/// A proposal on its way.
struct Proposal {
    group: Group,
    session: Option<Session>,
    command: Bytes,
    deadline: Instant,
    done: Done,
    _permit: OwnedSemaphorePermit,
}

impl Proposal {
    /// This member leads: Raft tells what comes of it, and nothing of ours waits for that.
    fn here(self) {
        let group = self.group.clone();
        let (session, command, deadline) = (self.session, self.command.clone(), self.deadline);
        let then = Box::new(move |outcome| self.wrote(outcome));
        group.write(session, command, deadline, then);
    }

    fn wrote(self, outcome: Result<Bytes, Refusal>) {
        let failure = match outcome {
            Ok(reply) => return (self.done)(Ok(reply)),
            Err(refusal) => Failure::from(refusal),
        };
        match failure {
            Failure::NotDone(hint) => self.anywhere(hint, false),
            Failure::Unknown if self.session.is_some() => self.anywhere(None, true),
            Failure::Unknown => (self.done)(Err(ProposeError::Unknown)),
            Failure::Refused(refusal) => (self.done)(Err(refused(&refusal))),
        }
    }

    /// Tries with whoever leads until the deadline. `perhaps`: it may have been done already.
    fn anywhere(self, hint: Option<Name>, perhaps: bool) {
        let runtime = self.group.inner.shared.runtime.clone();
        runtime.spawn(async move {
            let (group, session, command) = (&self.group, self.session, &self.command);
            let outcome = group
                .pursue(session, command, self.deadline, (hint, perhaps))
                .await;
            (self.done)(outcome);
        });
    }
}

/// Room for one proposal of this node.
pub struct Turn {
    group: Group,
    permit: OwnedSemaphorePermit,
}

impl Turn {
    /// As [`Group::propose`]; `done` is told what came of it, always. May be called on any thread; commands that one thread
    /// proposes to a leader on this member are taken in their order.
    pub fn propose(self, session: Option<Session>, command: Bytes, deadline: Instant, done: Done) {
        let proposal = Proposal {
            group: self.group,
            session,
            command,
            deadline,
            done,
            _permit: self.permit,
        };
        if proposal.group.leads() {
            proposal.here();
        } else {
            proposal.anywhere(None, false);
        }
    }
}

fn refused(refusal: &Refusal) -> ProposeError {
    match refusal {
        Refusal::Stale => ProposeError::Stale,
        Refusal::Invalid(_) => ProposeError::TooLarge,
        _ => ProposeError::Busy,
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
        let (sender, receiver) = oneshot::channel();
        let done = Box::new(move |outcome| {
            // Nobody waits any more when this future was dropped.
            let _ = sender.send(outcome);
        });
        self.turn(command.len())?
            .propose(session, command, deadline, done);
        receiver.await.unwrap_or(Err(ProposeError::Unknown))
    }

    /// A turn to propose a command of so many bytes, for who does not want to wait.
    ///
    /// # Errors
    /// `Busy` and `TooLarge`.
    pub fn turn(&self, bytes: usize) -> Result<Turn, ProposeError> {
        if bytes > self.inner.config.max_command {
            return Err(ProposeError::TooLarge);
        }
        let permit = self.inner.proposing.clone().try_acquire_owned();
        permit
            .map(|permit| Turn {
                group: self.clone(),
                permit,
            })
            .map_err(|_| ProposeError::Busy)
    }

    async fn pursue(
        &self,
        session: Option<Session>,
        command: &Bytes,
        deadline: Instant,
        (mut hint, mut perhaps): (Option<Name>, bool),
    ) -> Result<Bytes, ProposeError> {
        if perhaps {
            self.pause(deadline).await;
        }
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
                Failure::Refused(refusal) => return Err(refused(&refusal)),
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
    async fn propose_here(
        &self,
        session: Option<Session>,
        data: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let then = Box::new(move |outcome| {
            // Nobody waits any more.
            let _ = sender.send(outcome);
        });
        self.write(session, data, deadline, then);
        receiver.await.unwrap_or(Err(Refusal::Unknown))
    }

    /// Hands a command to Raft on this member, on any thread; `then` hears of it by the deadline.
    pub(crate) fn write(&self, session: Option<Session>, data: Bytes, deadline: Instant, then: Then) {
        let shared = &self.inner.shared;
        let time_ms = shared.config.clock.now_ms();
        let command = Command {
            time_ms,
            session,
            data,
        };
        let waiter = shared.waiting.enter(deadline, shared.runtime.clone(), then);
        let answer = Answer::new(move |result| waiter.settle(result));
        // When Raft has stopped or has no room, the answer is dropped, and that is heard of too.
        let _ = self
            .inner
            .raft
            .client_write_ff(command, Some(answer))
            .now_or_never();
    }
}

/// Rounded up, so that who is asked does not give up before who asks.
pub(crate) fn milliseconds_to(deadline: Instant) -> u32 {
    let left = deadline.saturating_duration_since(Instant::now()).as_millis();
    u32::try_from(left + 1).unwrap_or(u32::MAX)
}
