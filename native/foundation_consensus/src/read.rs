//! Queries.
//!
//! What a leader's machine knows is all that was replied to anybody, as soon as it has applied an entry of its term, and as
//! long as nobody else leads. So a query needs no more of Raft than to know that this was so when it began: by a round (see
//! `rounds`), or by the lease. The machine is asked before anything that a later leader has committed is applied here:
//! that leader itself might not have applied it yet, and would answer the next query without it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use openraft::errors::{LinearizableReadError, RaftError};
use openraft::{LinearizerOption, ReadPolicy};
use openraft_rt::WatchReceiver;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::applier::Applier;
use crate::message::{Refusal, Request};
use crate::propose::{Failure, milliseconds_to};
use crate::rounds::Lead;
use crate::types::Name;
use crate::waiting::{Then, Waiter};
use crate::{Group, ReadError};

/// What a query may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Consistency {
    /// All that was replied to anybody before the query began, whatever the clocks do: the leader asks a majority whether it
    /// still leads, for all queries that wait at once.
    Linearizable = 0,
    /// The same while no clock runs half as fast again as another: the leader trusts its lease, and asks a majority when it
    /// has none. Members keep their word to a leader for `EngineConfig::election_max`, and it trusts that for half of it.
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

    fn needs_majority(self) -> bool {
        matches!(self, Consistency::Linearizable | Consistency::Quorum)
    }
}

/// Told the answer to a query, once; on any thread.
pub type Told = Box<dyn FnOnce(Result<Bytes, ReadError>) + Send>;

/// Room for one query of this node.
pub struct Place {
    group: Group,
    _permit: OwnedSemaphorePermit,
}

/// A query on its way.
struct Question {
    place: Place,
    query: Bytes,
    consistency: Consistency,
    deadline: Instant,
    told: Told,
}

impl Place {
    /// As [`Group::read`]; `told` is called always, and perhaps by this call. Does not wait, and may be called on any thread.
    pub fn ask(self, query: Bytes, consistency: Consistency, deadline: Instant, told: Told) {
        let question = Question {
            place: self,
            query,
            consistency,
            deadline,
            told,
        };
        if consistency == Consistency::Local {
            question.alone();
        } else if consistency.needs_majority() && question.place.group.leads() {
            question.here();
        } else {
            question.anywhere(None);
        }
    }
}

impl Question {
    /// This member leads: no task waits for the answer.
    fn here(self) {
        let group = self.place.group.clone();
        let (query, deadline) = (self.query.clone(), self.deadline);
        let then = Box::new(move |answer: Result<Bytes, Refusal>| match answer {
            Ok(answer) => (self.told)(Ok(answer)),
            Err(refusal) => self.anywhere(Some(refusal)),
        });
        group.read_as_leader(query, None, deadline, then);
    }

    /// The machine of this member answers, whoever leads.
    fn alone(self) {
        let Question {
            place,
            query,
            deadline,
            told,
            ..
        } = self;
        let group = place.group.clone();
        let then = Box::new(move |answer: Result<Bytes, Refusal>| {
            drop(place);
            // A machine that is gone answers nothing, and whoever has started the group stops it.
            let gone = |_| {
                if Instant::now() < deadline {
                    ReadError::Stopped
                } else {
                    ReadError::Timeout
                }
            };
            told(answer.map_err(gone));
        });
        group.read_local(query, deadline, then);
    }

    fn anywhere(self, refusal: Option<Refusal>) {
        let runtime = self.place.group.inner.shared.runtime.clone();
        runtime.spawn(async move {
            let (group, query) = (&self.place.group, self.query);
            let answer = group.pursue_answer(query, self.consistency, self.deadline, refusal);
            (self.told)(answer.await);
        });
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
        let (sender, receiver) = oneshot::channel();
        let told = Box::new(move |answer| {
            // Nobody waits any more when this future was dropped.
            let _ = sender.send(answer);
        });
        self.place()?.ask(query, consistency, deadline, told);
        receiver.await.unwrap_or(Err(ReadError::Stopped))
    }

    /// A place to ask from, for who does not want to wait.
    ///
    /// # Errors
    /// `Busy`.
    pub fn place(&self) -> Result<Place, ReadError> {
        let permit = self.inner.reading.clone().try_acquire_owned();
        permit
            .map(|permit| Place {
                group: self.clone(),
                _permit: permit,
            })
            .map_err(|_| ReadError::Busy)
    }

    /// Asks whoever leads until the deadline. `refusal`: what this member, as the leader, has said already.
    async fn pursue_answer(
        &self,
        query: Bytes,
        consistency: Consistency,
        deadline: Instant,
        refusal: Option<Refusal>,
    ) -> Result<Bytes, ReadError> {
        let mut asked = false;
        let mut failure = refusal.map(Failure::from);
        loop {
            let mut hint = None;
            match failure {
                None => {}
                Some(Failure::NotDone(ref other)) => hint = other.clone(),
                Some(Failure::Unknown) => asked = true,
                Some(Failure::Refused(_)) => return Err(ReadError::Busy),
            }
            if failure.is_some() && hint.is_none() {
                self.pause(deadline).await;
            }
            let Some(leader) = self.leader_before(hint, deadline).await else {
                return Err(self.unread(asked));
            };
            failure = match self.read_at(&leader, query.clone(), consistency, deadline).await {
                Ok(answer) => return Ok(answer),
                Err(Failure::NotDone(other)) => {
                    Some(Failure::NotDone(other.filter(|other| *other != leader)))
                }
                Err(other) => Some(other),
            };
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
        if *leader != self.inner.shared.me {
            let request = Request::Read {
                ttl_ms: milliseconds_to(deadline),
                consistency,
                promised: self.promised(),
                query,
            };
            return self.ask_leader(leader, &request, deadline).await;
        }
        let (sender, receiver) = oneshot::channel();
        let then = Box::new(move |answer| {
            // Nobody waits any more.
            let _ = sender.send(answer);
        });
        self.read_here(query, consistency, None, deadline, then);
        Ok(receiver.await.unwrap_or(Err(Refusal::Unknown))?)
    }

    /// Asks the machine of this member, as the leader. `with` has agreed that it leads, after the query began.
    pub(crate) fn read_here(
        &self,
        query: Bytes,
        consistency: Consistency,
        with: Option<Name>,
        deadline: Instant,
        then: Then,
    ) {
        if consistency.needs_majority() {
            return self.read_as_leader(query, with, deadline, then);
        }
        if consistency == Consistency::Local {
            return self.read_local(query, deadline, then);
        }
        let (shared, group) = (&self.inner.shared, self.clone());
        let waiter = shared.waiting.enter(deadline, shared.runtime.clone(), then);
        shared.runtime.spawn(async move {
            let by_lease = tokio::time::timeout_at(deadline, group.leads_by_lease()).await;
            match by_lease.unwrap_or(Err(Refusal::Unknown)) {
                Ok(lead) => group.answer(lead, query, waiter),
                Err(refusal) => waiter.answer(Err(refusal)),
            }
        });
    }

    /// Asks the machine of this member; `then` runs on the thread that has the answer.
    fn read_local(&self, query: Bytes, deadline: Instant, then: Then) {
        let (shared, group) = (&self.inner.shared, self.clone());
        let waiter = shared.waiting.enter(deadline, shared.runtime.clone(), then);
        shared.runtime.spawn(async move {
            let applier = tokio::time::timeout_at(deadline, group.inner.applier.lock());
            if let Ok(mut applier) = applier.await {
                applier.query_then(query, Box::new(|answer| waiter.answer(Ok(answer))));
            }
        });
    }

    /// Asks the machine of this member when the voters agree that it leads.
    fn read_as_leader(&self, query: Bytes, with: Option<Name>, deadline: Instant, then: Then) {
        let (shared, group) = (&self.inner.shared, self.clone());
        let waiter = shared.waiting.enter(deadline, shared.runtime.clone(), then);
        let heard = move |lead| match lead {
            Some(lead) => group.answer(lead, query, waiter),
            None => waiter.answer(Err(Refusal::NotLeader(None))),
        };
        self.ask_voters(with, Box::new(heard));
    }

    /// That this member leads, by its lease or by a heartbeat of Raft.
    async fn leads_by_lease(&self) -> Result<Lead, Refusal> {
        let lead = self.lead().ok_or(Refusal::NotLeader(None))?;
        // Who is offered the lead may take it before any lease has ended. Raft knows of the offers it makes by itself, when the
        // leader is no member any more; that is why it is asked, and not what it has published.
        let option = if self.inner.ceded.load(Ordering::Acquire) >= lead.term {
            LinearizerOption::from(ReadPolicy::ReadIndex)
        } else {
            LinearizerOption::new(Some(self.trusted()), true)
        };
        let leads = self.inner.raft.get_read_linearizer(option).await;
        leads.map(|_| lead).map_err(refusal)
    }

    /// For how long the promise of a majority is trusted: less than they keep it, for clocks that differ, and because Raft
    /// takes the answer to one append for that to the next, when both end at the same entry.
    fn trusted(&self) -> Duration {
        self.inner.shared.config.election_max / 2
    }

    /// Asks the machine at once, whatever it knows, where it can answer without waiting. Quick, and on any thread.
    #[must_use]
    pub fn read_now(&self, query: &Bytes) -> Option<Bytes> {
        self.inner.applier.try_lock().ok()?.query_now(query)
    }
}

/// What a machine knows, as against what was replied to anybody before this member was known to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knows {
    All,
    /// It will, when it has applied the first entry of the term.
    Less,
    /// Somebody else leads, or others vote.
    Else,
}

impl Group {
    /// To be asked with the machine at rest, and good for as long as it is.
    fn knows(&self, applier: &Applier, lead: &Lead) -> Knows {
        let log = &self.inner.log;
        let leads = log.vote().is_some_and(|vote| {
            vote.leader_id.term == lead.term && vote.leader_id.voted_for == self.inner.shared.me
        });
        let membership = log.last_membership().max(applier.membership());
        if !leads || membership != lead.membership {
            Knows::Else
        } else if applier.term() == Some(lead.term) {
            Knows::All
        } else {
            Knows::Less
        }
    }

    /// Has the machine answer, as one that led when the query had begun; on this thread where that is quick.
    fn answer(&self, lead: Lead, query: Bytes, waiter: Waiter) {
        if let Ok(mut applier) = self.inner.applier.try_lock() {
            match self.knows(&applier, &lead) {
                Knows::Else => return waiter.answer(Err(Refusal::NotLeader(None))),
                Knows::Less => {}
                Knows::All => {
                    if let Some(answer) = applier.query_now(&query) {
                        drop(applier);
                        return waiter.answer(Ok(answer));
                    }
                    if applier.asks_others() && Handle::try_current().is_ok() {
                        return applier.query_then(query, Box::new(|answer| waiter.answer(Ok(answer))));
                    }
                }
            }
        }
        let group = self.clone();
        self.inner.shared.runtime.spawn(async move {
            group.catch_up(&lead).await;
            let mut applier = group.inner.applier.lock().await;
            if group.knows(&applier, &lead) == Knows::All {
                applier.query_then(query, Box::new(|answer| waiter.answer(Ok(answer))));
            } else {
                waiter.answer(Err(Refusal::NotLeader(None)));
            }
        });
    }

    /// Waits until the first entry of the term is applied; returns at once in any other term.
    async fn catch_up(&self, lead: &Lead) {
        let mut metrics = self.inner.metrics.clone();
        let caught_up = metrics.wait_until(|metrics| {
            let applied = metrics.last_applied.as_ref();
            let term = applied.map(|id| **id.committed_leader_id());
            term >= Some(lead.term) || metrics.current_term != lead.term
        });
        // Raft has stopped when there will be no more of them, which the machine's state tells as well.
        let _ = caught_up.await;
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
