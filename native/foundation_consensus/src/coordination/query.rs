//! Questions that change nothing.

use super::{Coordination, Hold, Kind, Name};
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are named by what they hold")]
pub enum Query {
    /// Who holds a lock or permits, and how many wait.
    Claim { kind: Kind, name: Name },
    /// Who leads.
    Leader { name: Name },
    /// All candidates.
    Candidates { name: Name },
    /// Who has arrived at a barrier and is inside.
    Barrier { kind: Kind, name: Name },
    /// How full a queue is.
    Queue { name: Name },
    /// A counter's value.
    Counter { name: Name },
    /// The last number of a sequence.
    Sequence { name: Name },
    /// A value.
    Value { key: Name },
    /// Whether a session lives.
    Session { session: u64 },
}

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are named by what they hold")]
pub enum Answer {
    /// There is no such thing, or nobody uses it.
    Nothing,
    /// Who holds it: node, hold, token and weight.
    Claim {
        size: u32,
        holders: Vec<(String, Hold, u64, u32)>,
        waiting: u64,
    },
    /// Who leads, since which token.
    Leader {
        node: String,
        hold: Hold,
        token: u64,
        metadata: Vec<u8>,
    },
    /// Node, hold, priority and metadata of each.
    Candidates(Vec<(String, Hold, i32, Vec<u8>)>),
    /// Size, how often it has opened, who has arrived, who is inside; of a queue: size, values, taken, waiting.
    Counts(u32, u64, u64, u64),
    /// A counter's value.
    Number(i64),
    /// The last number of a sequence.
    Last(u64),
    /// A value.
    Value { version: u64, value: Vec<u8> },
    /// The session lives.
    Alive,
}

/// Bytes and parts of an answer that count as short.
const SHORT_BYTES: usize = 16 << 10;
const SHORT_PARTS: usize = 32;

impl Coordination {
    /// Whether the answer to a question is found and written down in some microseconds.
    #[must_use]
    pub fn answers_shortly(&self, query: &Query) -> bool {
        match query {
            Query::Value { key } => {
                let value = self.values.get(key);
                value.is_none_or(|value| value.bytes.len() <= SHORT_BYTES)
            }
            Query::Claim { kind, name } => {
                let claim = self.claims.get(&(*kind, name.clone()));
                claim.is_none_or(|claim| claim.holders().take(SHORT_PARTS + 1).count() <= SHORT_PARTS)
            }
            Query::Leader { name } => self.elections.get(name).is_none_or(|election| {
                let (mut parts, mut bytes) = (0, 0);
                for (_, _, metadata) in election.candidates().take(SHORT_PARTS + 1) {
                    (parts, bytes) = (parts + 1, bytes + metadata.len());
                }
                parts <= SHORT_PARTS && bytes <= SHORT_BYTES
            }),
            Query::Candidates { .. } => false,
            Query::Barrier { .. }
            | Query::Queue { .. }
            | Query::Counter { .. }
            | Query::Sequence { .. }
            | Query::Session { .. } => true,
        }
    }

    /// Answers a question.
    #[must_use]
    pub fn query(&self, query: Query) -> Answer {
        self.look_up(query).unwrap_or(Answer::Nothing)
    }

    fn look_up(&self, query: Query) -> Option<Answer> {
        Some(match query {
            Query::Claim { kind, name } => {
                let claim = self.claims.get(&(kind, name))?;
                Answer::Claim {
                    size: claim.size(),
                    holders: claim
                        .holders()
                        .map(|(hold, token, weight)| (self.node_of(hold), hold, token, weight))
                        .collect(),
                    waiting: claim.waiting() as u64,
                }
            }
            Query::Leader { name } => {
                let election = self.elections.get(&name)?;
                let (hold, token) = election.leader()?;
                let (_, _, metadata) = election.candidates().find(|(it, _, _)| *it == hold)?;
                Answer::Leader {
                    node: self.node_of(hold),
                    hold,
                    token,
                    metadata: metadata.to_vec(),
                }
            }
            Query::Candidates { name } => Answer::Candidates(
                self.elections
                    .get(&name)?
                    .candidates()
                    .map(|(hold, priority, metadata)| (self.node_of(hold), hold, priority, metadata.to_vec()))
                    .collect(),
            ),
            Query::Barrier { kind, name } => {
                let (size, generation, arrived, inside) = self.barriers.get(&(kind, name))?.counts();
                Answer::Counts(size, generation, arrived, inside)
            }
            Query::Queue { name } => {
                let (size, items, taken, waiting) = self.queues.get(&name)?.counts();
                Answer::Counts(size, items, taken, waiting)
            }
            Query::Counter { name } => Answer::Number(self.counters.get(&name).copied().unwrap_or(0)),
            Query::Sequence { name } => Answer::Last(self.sequences.get(&name).copied().unwrap_or(0)),
            Query::Value { key } => {
                let value = self.values.get(&key)?;
                Answer::Value {
                    version: value.version,
                    value: value.bytes.clone(),
                }
            }
            Query::Session { session } => {
                self.sessions.get(&session)?;
                Answer::Alive
            }
        })
    }

    fn node_of(&self, hold: Hold) -> String {
        self.sessions
            .get(&hold.session)
            .map(|session| session.node.clone())
            .unwrap_or_default()
    }
}
