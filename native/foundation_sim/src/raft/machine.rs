//! What the simulated group replicates: a register, and a lock with a lease and a fencing token.

use std::sync::Arc;

use bytes::Bytes;
use foundation_consensus::{Answering, Applied, Machine, MachineError};
use std::future::Future;
use std::pin::Pin;

use super::evidence::Evidence;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Write(u64),
    Swap(u64, u64),
    Acquire { ttl_ms: u64 },
    Release { token: u64 },
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// 1 for done; for `Acquire` the token; 0 for refused.
    pub(crate) number: u64,
    /// The time of the log.
    pub(crate) time_ms: u64,
}

fn words(words: &[u64]) -> Bytes {
    words
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect::<Vec<u8>>()
        .into()
}

fn read(bytes: &[u8]) -> Vec<u64> {
    let word = |chunk: &[u8]| u64::from_le_bytes(chunk.try_into().unwrap_or_default());
    bytes.chunks_exact(8).map(word).collect()
}

impl Command {
    pub(crate) fn encode(self) -> Bytes {
        match self {
            Command::Write(value) => words(&[0, value, 0]),
            Command::Swap(from, to) => words(&[1, from, to]),
            Command::Acquire { ttl_ms } => words(&[2, ttl_ms, 0]),
            Command::Release { token } => words(&[3, token, 0]),
        }
    }
}

impl Reply {
    pub(crate) fn decode(bytes: &[u8]) -> Option<Reply> {
        let words = read(bytes);
        Some(Reply {
            number: *words.first()?,
            time_ms: *words.get(1)?,
        })
    }
}

/// See the module.
pub(crate) struct Register {
    value: u64,
    /// Token and end of the lease.
    lock: Option<(u64, u64)>,
    tokens: u64,
    node: usize,
    evidence: Arc<Evidence>,
}

impl Register {
    pub(crate) fn new(node: usize, evidence: Arc<Evidence>) -> Self {
        Register {
            value: 0,
            lock: None,
            tokens: 0,
            node,
            evidence,
        }
    }

    fn apply_one(&mut self, entry: &Applied) -> Bytes {
        let words_of = read(&entry.command);
        let number = match words_of[..] {
            [0, value, _] => {
                self.value = value;
                1
            }
            [1, from, to] if self.value == from => {
                self.value = to;
                1
            }
            [2, ttl_ms, _] if self.lock.is_none_or(|(_, until)| until <= entry.time_ms) => {
                self.tokens += 1;
                self.lock = Some((self.tokens, entry.time_ms + ttl_ms));
                self.tokens
            }
            [3, token, _] if self.lock.is_some_and(|(held, _)| held == token) => {
                self.lock = None;
                1
            }
            _ => 0,
        };
        words(&[number, entry.time_ms])
    }
}

impl Machine for Register {
    fn apply(&mut self, entries: Vec<Applied>) -> Boxed<'_, Vec<Bytes>> {
        let replies = entries.iter().map(|entry| {
            self.evidence.applied(self.node, entry);
            self.apply_one(entry)
        });
        let replies: Vec<Bytes> = replies.collect();
        Box::pin(async move { replies })
    }

    fn query(&mut self, _query: Bytes, answer: Answering) {
        answer(words(&[self.value]));
    }

    /// A query that is empty is answered on the spot.
    fn query_now(&mut self, query: &Bytes) -> Option<Bytes> {
        query.is_empty().then(|| words(&[self.value]))
    }

    fn snapshot(&mut self) -> Boxed<'_, Bytes> {
        let (held, until) = self.lock.unwrap_or_default();
        let state = words(&[self.value, held, until, self.tokens]);
        Box::pin(async move { state })
    }

    fn restore(&mut self, snapshot: Bytes) -> Boxed<'_, Result<(), MachineError>> {
        let restored = match read(&snapshot)[..] {
            [value, held, until, tokens] => {
                (self.value, self.tokens) = (value, tokens);
                self.lock = (held > 0).then_some((held, until));
                Ok(())
            }
            _ => Err(MachineError("four numbers are expected".to_owned())),
        };
        Box::pin(async move { restored })
    }
}

/// The value of the register in the answer to a query.
pub(crate) fn value(answer: &[u8]) -> Option<u64> {
    read(answer).first().copied()
}
