//! The replicated coordination machine: what locks, elections, barriers, counters, sequences, queues and values are.
//!
//! It is deterministic: the same commands with the same times give the same state on every member, byte for byte. Time
//! comes with the commands. It is counted within one term of leadership only, so that a new leader whose clock is ahead
//! ends no lease early; the time that an election takes is given to the holders.
//!
//! What holds or waits does so under a [`Hold`], a number of a session. A session belongs to a node, which keeps it alive;
//! when it ends, everything under its holds is given back.

mod barriers;
mod claims;
mod command;
mod elections;
mod query;
mod queues;
mod replica;
mod sessions;
mod values;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

pub use command::{Bytes, Command, Event, Expect, Hold, Kind, Loss, Name, Refusal, Reply, What};
pub use query::{Answer, Query};
pub use replica::{NextDue, Replica, encode};

use barriers::Barrier;
use claims::Claim;
use elections::Election;
use queues::Queue;
use serde::{Deserialize, Serialize};
use sessions::{Due, Session};
use std::collections::{BTreeMap, BTreeSet};
use values::Value;

/// The longest name, in bytes.
pub const MAX_NAME: usize = 4_096;
/// The longest value, in bytes.
pub const MAX_VALUE: usize = 1024 * 1024;
/// How many may wait for one thing.
pub const MAX_WAITING: usize = 100_000;

/// What a hold belongs to.
type Object = (Kind, Name);

/// The state, and the events that the commands since the last [`Coordination::events`] have had.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coordination {
    clock: Clock,
    /// The last fencing token.
    token: u64,
    sessions: BTreeMap<u64, Session>,
    /// What every hold belongs to.
    holds: BTreeMap<Hold, Object>,
    /// When sessions and leases end.
    dues: BTreeSet<(u64, Due)>,
    claims: BTreeMap<Object, Claim>,
    elections: BTreeMap<Name, Election>,
    barriers: BTreeMap<Object, Barrier>,
    queues: BTreeMap<Name, Queue>,
    counters: BTreeMap<Name, i64>,
    sequences: BTreeMap<Name, u64>,
    values: BTreeMap<Name, Value>,
    #[serde(skip)]
    events: Vec<Event>,
    /// The node whose events are of interest; those of all when there is none.
    #[serde(skip)]
    node: Option<String>,
}

/// Time as the members agree on it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Clock {
    /// In ms, since the first command.
    now: u64,
    term: u64,
    /// The leader's time of the last command, in ms.
    last: u64,
}

impl Clock {
    fn advance(&mut self, term: u64, time_ms: u64) {
        if term == self.term {
            self.now += time_ms.saturating_sub(self.last);
            self.last = self.last.max(time_ms);
        } else {
            (self.term, self.last) = (term, time_ms);
        }
    }
}

impl Coordination {
    /// An empty state that tells of events for that node only, and of those that concern all.
    #[must_use]
    pub fn new(node: Option<String>) -> Self {
        Self {
            node,
            ..Self::default()
        }
    }

    /// Does what the command says, as number `index` of the log, at the time that the leader of `term` gave it.
    pub fn apply(&mut self, index: u64, term: u64, time_ms: u64, command: Command) -> Reply {
        self.clock.advance(term, time_ms);
        self.expire();
        self.dispatch(index, command).unwrap_or_else(Reply::Refused)
    }

    fn dispatch(&mut self, index: u64, command: Command) -> Result<Reply, Refusal> {
        match command {
            Command::Tick => Ok(Reply::Done),
            Command::Open {
                session,
                node,
                ttl_ms,
            } => self.open(session, node, ttl_ms),
            Command::KeepAlive { session } => self.keep_alive(session),
            Command::Close { session } => self.close(session),
            Command::Drop { holds } => self.drop_holds(&holds),
            Command::Define { kind, name, size } => self.define(kind, name, size),
            Command::Remove { kind, name } => self.remove(kind, name),
            Command::Acquire {
                kind,
                name,
                hold,
                weight,
                lease_ms,
                wait,
            } => self.acquire((kind, name), hold, claims::Wish::new(weight, lease_ms, wait)),
            Command::Renew { hold, lease_ms } => self.renew(hold, lease_ms),
            Command::Release { hold } => self.release(hold),
            Command::Campaign {
                name,
                hold,
                priority,
                preempt,
                metadata,
            } => self.campaign(name, hold, priority, preempt, metadata),
            Command::Describe { hold, metadata } => self.describe(hold, metadata),
            Command::Enter { kind, name, hold } => self.enter((kind, name), hold),
            Command::Leave { hold } => self.leave(hold),
            Command::Push { name, value } => self.push(name, value),
            Command::Take { name, hold, wait } => self.take(name, hold, wait),
            Command::Acknowledge { hold } => self.acknowledge(hold),
            Command::Add { name, by } => self.add(name, by),
            Command::SetCounter { name, value, expect } => self.set_counter(name, value, expect),
            Command::Next { name, count } => self.next(name, count),
            Command::Put {
                key,
                value,
                expect,
                hold,
            } => self.put(index, key, value, &expect, hold),
            Command::Delete { key, expect } => self.delete(index, key, &expect),
        }
    }

    /// When a session or a lease ends next, in the time of the leader, should no command come before.
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        let (due, _) = self.dues.first()?;
        Some(self.clock.last + due.saturating_sub(self.clock.now))
    }

    /// Takes the events out, in their order.
    pub fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// The whole state.
    ///
    /// # Errors
    /// When there is not the memory for it.
    pub fn snapshot(&self) -> Result<Vec<u8>, postcard::Error> {
        postcard::to_allocvec(self)
    }

    /// Becomes what the snapshot holds; the events then tell a node of everything that is held or awaited under its
    /// sessions, for it may have missed how that came about.
    ///
    /// # Errors
    /// When the bytes are no snapshot; the state is what it was.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(), postcard::Error> {
        let node = self.node.take();
        let restored = postcard::from_bytes::<Self>(snapshot);
        self.node = node;
        let restored = restored?;
        *self = Self {
            node: self.node.take(),
            ..restored
        };
        self.tell_holdings();
        self.tell_leaders();
        Ok(())
    }

    fn next_token(&mut self) -> u64 {
        self.token += 1;
        self.token
    }

    /// Whether the hold may be used for the object: it is free, or belongs to it.
    fn claimable(&self, hold: Hold, object: &Object) -> Result<bool, Refusal> {
        if object.1.len() > MAX_NAME {
            return Err(Refusal::TooLarge);
        }
        if !self.sessions.contains_key(&hold.session) {
            return Err(Refusal::NoSession);
        }
        match self.holds.get(&hold) {
            None => Ok(true),
            Some(held) if held == object => Ok(false),
            Some(_) => Err(Refusal::HoldInUse),
        }
    }

    /// What the hold belongs to, when that is of the kind.
    fn held(&self, hold: Hold, kind: Kind) -> Result<Name, Refusal> {
        match self.holds.get(&hold) {
            Some((found, name)) if *found == kind => Ok(name.clone()),
            _ => Err(Refusal::NotHeld),
        }
    }

    /// Tells the node of the hold.
    fn tell(&mut self, hold: Hold, what: What) {
        let Some(session) = self.sessions.get(&hold.session) else {
            return;
        };
        if self.node.as_ref().is_none_or(|node| *node == session.node) {
            self.events.push(Event::Hold { hold, what });
        }
    }
}
