//! The coordination machine as what a group replicates.

use super::{Command, Coordination, Event, Query, Refusal, Reply};
use crate::{Answering, Applied, Machine, MachineError};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Says that nothing is due.
const NEVER: u64 = u64::MAX;

/// When the next session or lease ends; shared with whoever proposes [`Command::Tick`] then.
#[derive(Debug, Clone)]
pub struct NextDue(Arc<AtomicU64>);

impl Default for NextDue {
    fn default() -> Self {
        Self(Arc::new(AtomicU64::new(NEVER)))
    }
}

impl NextDue {
    /// In the time that commands carry; None when there is nothing.
    #[must_use]
    pub fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Acquire)).filter(|due| *due != NEVER)
    }
}

/// One member's copy. `sink` gets the events of each batch, and the time that its last command carried.
pub struct Replica<S> {
    state: Coordination,
    sink: S,
    due: NextDue,
    time: u64,
}

impl<S: FnMut(Vec<Event>, u64) + Send + 'static> Replica<S> {
    /// A copy for that node.
    pub fn new(node: String, due: NextDue, sink: S) -> Self {
        Self {
            state: Coordination::new(Some(node)),
            sink,
            due,
            time: 0,
        }
    }

    fn one(&mut self, entry: &Applied) -> Bytes {
        self.time = entry.time_ms;
        let reply = match postcard::from_bytes::<Command>(&entry.command) {
            Ok(command) => self.state.apply(entry.index, entry.term, entry.time_ms, command),
            Err(_) => Reply::Refused(Refusal::Malformed),
        };
        encode(&reply)
    }

    fn ask(&self, query: &Bytes) -> Bytes {
        match postcard::from_bytes::<Query>(query) {
            Ok(query) => encode(&self.state.query(query)),
            Err(_) => Bytes::new(),
        }
    }

    fn publish(&mut self) {
        self.due
            .0
            .store(self.state.next_due().unwrap_or(NEVER), Ordering::Release);
        (self.sink)(self.state.events(), self.time);
    }
}

/// Bytes of a command, a query, a reply or an answer.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Bytes {
    // Writing to memory fails for types whose lengths are not known beforehand; there are none here.
    postcard::to_allocvec(value).map(Bytes::from).unwrap_or_default()
}

impl<S: FnMut(Vec<Event>, u64) + Send + 'static> Machine for Replica<S> {
    fn apply(&mut self, entries: Vec<Applied>) -> BoxFuture<'_, Vec<Bytes>> {
        let replies = entries.iter().map(|entry| self.one(entry)).collect();
        self.publish();
        ready(replies).boxed()
    }

    fn query(&mut self, query: Bytes, answer: Answering) {
        answer(self.ask(&query));
    }

    fn query_now(&mut self, query: &Bytes) -> Option<Bytes> {
        let query = postcard::from_bytes::<Query>(query).ok()?;
        let shortly = self.state.answers_shortly(&query);
        shortly.then(|| encode(&self.state.query(query)))
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Bytes> {
        ready(self.state.snapshot().map(Bytes::from).unwrap_or_default()).boxed()
    }

    fn restore(&mut self, snapshot: Bytes) -> BoxFuture<'_, Result<(), MachineError>> {
        let restored = self.state.restore(&snapshot);
        self.publish();
        ready(restored.map_err(|error| MachineError(error.to_string()))).boxed()
    }
}
