//! Changing the group: members, leader.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use openraft::EmptyNode;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use tokio::time::Instant;

use crate::message::{Change, Refusal, Request};
use crate::propose::{Failure, milliseconds_to};
use crate::types::{Name, Types};
use crate::{ChangeError, Group};

/// How long to wait for a new leader before looking again.
const LOOK: Duration = Duration::from_millis(10);

impl Group {
    /// Adds a member without a vote and waits until it has caught up. A member is added again without harm.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn add_learner(&self, member: &str, deadline: Instant) -> Result<(), ChangeError> {
        self.change(Change::AddLearner(Name::from(member)), deadline)
            .await
    }

    /// Makes these members the voters, by joint consensus; the new ones among them catch up first, and members that
    /// are not among them leave the group.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub async fn change_members(&self, voters: &[String], deadline: Instant) -> Result<(), ChangeError> {
        let voters: Vec<Name> = voters.iter().map(|voter| Name::from(voter.as_str())).collect();
        if voters.is_empty() {
            return Err(ChangeError::Invalid("a group needs a voter".to_owned()));
        }
        self.change(Change::Voters(voters), deadline).await
    }

    /// Makes another voter the leader and waits for it.
    ///
    /// # Errors
    /// See [`ChangeError`]; after `Unknown` the old leader may lead on.
    pub async fn transfer_leadership(&self, to: &str, deadline: Instant) -> Result<(), ChangeError> {
        self.change(Change::Transfer(Name::from(to)), deadline).await
    }

    async fn change(&self, change: Change, deadline: Instant) -> Result<(), ChangeError> {
        let mut hint = None;
        loop {
            let Some(leader) = self.leader_before(hint.take(), deadline).await else {
                return Err(if self.is_running() {
                    ChangeError::NoLeader
                } else {
                    ChangeError::Stopped
                });
            };
            let done = if leader == self.inner.shared.me {
                self.change_here(change.clone(), deadline)
                    .await
                    .map_err(Failure::from)
            } else {
                let ttl_ms = milliseconds_to(deadline);
                let request = Request::Change {
                    ttl_ms,
                    change: change.clone(),
                };
                self.ask_leader(&leader, &request, deadline).await.map(|_| ())
            };
            match done {
                Ok(()) => return Ok(()),
                Err(Failure::NotDone(other)) => hint = other.filter(|other| *other != leader),
                Err(Failure::Unknown) => return Err(ChangeError::Unknown),
                Err(Failure::Refused(Refusal::Invalid(what))) => return Err(ChangeError::Invalid(what)),
                Err(Failure::Refused(_)) => return Err(ChangeError::InProgress),
            }
            if hint.is_none() {
                self.pause(deadline).await;
            }
        }
    }

    /// Changes the group as its leader.
    pub(crate) async fn change_here(&self, change: Change, deadline: Instant) -> Result<(), Refusal> {
        let changing = async {
            match change {
                Change::AddLearner(member) => self.learn(member).await,
                Change::Voters(voters) => self.vote_from_now(voters).await,
                Change::Transfer(to) => self.transfer(to).await,
            }
        };
        tokio::time::timeout_at(deadline, changing)
            .await
            .unwrap_or(Err(Refusal::Unknown))
    }

    async fn learn(&self, member: Name) -> Result<(), Refusal> {
        let added = self.inner.raft.add_learner(member, EmptyNode {}, true).await;
        added.map(|_| ()).map_err(refusal)
    }

    async fn vote_from_now(&self, voters: Vec<Name>) -> Result<(), Refusal> {
        let known: BTreeSet<Name> = {
            let metrics = self.inner.raft.metrics();
            let metrics = metrics.borrow_watched();
            metrics
                .membership_config
                .nodes()
                .map(|(name, _)| name.clone())
                .collect()
        };
        for voter in voters.iter().filter(|voter| !known.contains(*voter)) {
            self.learn(voter.clone()).await?;
        }
        let voters: BTreeSet<Name> = voters.into_iter().collect();
        let changed = self.inner.raft.change_membership(voters, false).await;
        changed.map(|_| ()).map_err(refusal)
    }

    async fn transfer(&self, to: Name) -> Result<(), Refusal> {
        if !self.leads() {
            return Err(Refusal::NotLeader(None));
        }
        let is_voter = {
            let metrics = self.inner.raft.metrics();
            metrics
                .borrow_watched()
                .membership_config
                .voter_ids()
                .any(|voter| voter == to)
        };
        if !is_voter {
            return Err(Refusal::Invalid(format!("{to} has no vote")));
        }
        while self.inner.leader.borrow_watched().node.as_deref() != Some(to.as_str()) {
            if self.leads() {
                let (group, to) = (self.clone(), to.clone());
                let ceded = tokio::spawn(async move { group.cede(to).await });
                ceded.await.unwrap_or(Err(Refusal::Unknown))?;
            }
            let mut watch = self.inner.leader.clone();
            let moved = watch.wait_until(|leader| leader.node.as_deref() == Some(to.as_str()));
            let waited = tokio::time::timeout(LOOK.max(self.inner.shared.config.heartbeat), moved).await;
            if matches!(waited, Ok(Err(_))) {
                // The group has stopped here.
                return Err(Refusal::Unknown);
            }
        }
        Ok(())
    }
}

impl Group {
    /// Offers the lead to another. From before that on, and for as long as this term lasts, no lease is trusted here. To be
    /// run to its end.
    async fn cede(&self, to: Name) -> Result<(), Refusal> {
        let _alone = self.inner.ceding.lock().await;
        let before = self.inner.ceded.swap(u64::MAX, Ordering::AcqRel);
        let offered = self.inner.raft.trigger().transfer_leader(to).await;
        // Asked after it, answered after it: the term in which it was done, or a later one.
        let term = self
            .inner
            .raft
            .with_raft_state(|state| state.vote_ref().leader_id.term);
        let term = term.await.unwrap_or(u64::MAX);
        self.inner.ceded.store(term.max(before), Ordering::Release);
        offered.map_err(|_| Refusal::NotLeader(None))
    }
}

fn refusal(error: RaftError<Types, ClientWriteError<Types>>) -> Refusal {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            Refusal::NotLeader(forward.leader_id)
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
            ChangeMembershipError::InProgress(_) => Refusal::InProgress,
            other => Refusal::Invalid(other.to_string()),
        },
        RaftError::APIError(_) | RaftError::Fatal(_) => Refusal::Unknown,
    }
}
