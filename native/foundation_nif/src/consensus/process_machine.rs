//! A machine that is a process: it is asked by messages, and answers with a ticket.

use super::clock::SharedClock;
use super::tickets::{Awaited, Ticket};
use crate::fabric::{send_message, with_env};
use crate::handle;
use bytes::Bytes;
use foundation_consensus::{Answering, Applied, Machine, MachineError};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending};
use rustler::{Encoder, Env, LocalPid, OwnedBinary, Term};
use std::sync::Arc;
use tokio::sync::oneshot;

mod atoms {
    rustler::atoms! { foundation_machine, apply, query, snapshot, restore }
}

/// Asks the process by `{:foundation_machine, ticket, request}`.
pub(crate) struct ProcessMachine {
    pid: LocalPid,
    clock: Arc<SharedClock>,
}

fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    OwnedBinary::from_slice(bytes).release(env).to_term(env)
}

impl ProcessMachine {
    pub(crate) fn new(pid: LocalPid, clock: Arc<SharedClock>) -> Self {
        Self { pid, clock }
    }

    fn ask(&self, awaited: Awaited, request: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
        with_env(|env| {
            let ticket = handle::make(env, Ticket::new(awaited));
            let message = (atoms::foundation_machine(), ticket, request(env)).encode(env);
            send_message(env, &self.pid, message);
        });
    }
}

/// What comes, or nothing ever: the process has died, and its group is stopped by those who started it.
async fn answered<T>(answer: oneshot::Receiver<T>) -> T {
    match answer.await {
        Ok(answer) => answer,
        Err(_) => pending().await,
    }
}

impl Machine for ProcessMachine {
    fn apply(&mut self, entries: Vec<Applied>) -> BoxFuture<'_, Vec<Bytes>> {
        let (to, answer) = oneshot::channel();
        if let Some(last) = entries.last() {
            self.clock.observe(last.time_ms);
        }
        self.ask(Awaited::Replies(to, entries.len()), |env| {
            let entries: Vec<Term<'_>> = entries
                .iter()
                .map(|entry| {
                    (
                        entry.index,
                        entry.term,
                        entry.time_ms,
                        binary(env, &entry.command),
                    )
                        .encode(env)
                })
                .collect();
            (atoms::apply(), entries).encode(env)
        });
        answered(answer).boxed()
    }

    fn query(&mut self, query: Bytes, answer: Answering) {
        self.ask(Awaited::Answer(answer), |env| {
            (atoms::query(), binary(env, &query)).encode(env)
        });
    }

    fn asks_others(&self) -> bool {
        true
    }

    fn snapshot(&mut self) -> BoxFuture<'_, Bytes> {
        let (to, answer) = oneshot::channel();
        self.ask(Awaited::Snapshot(to), |env| atoms::snapshot().encode(env));
        answered(answer).boxed()
    }

    fn restore(&mut self, snapshot: Bytes) -> BoxFuture<'_, Result<(), MachineError>> {
        let (to, answer) = oneshot::channel();
        self.ask(Awaited::Restored(to), |env| {
            (atoms::restore(), binary(env, &snapshot)).encode(env)
        });
        answered(answer)
            .map(|restored| restored.map_err(MachineError))
            .boxed()
    }
}
