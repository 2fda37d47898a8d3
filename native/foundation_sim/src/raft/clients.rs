//! Those who use the group while things go wrong.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foundation_consensus::{Consistency, Group, ProposeError, Session};
use tokio::time::{Instant, sleep};

use super::evidence::Grant;
use super::linear::{Action, Operation};
use super::machine::{Command, Reply, value};
use super::world::World;

pub(crate) struct Client {
    pub(crate) world: Arc<World>,
    pub(crate) id: u64,
    pub(crate) count: u64,
}

/// What became of a command.
enum Outcome {
    Done(Reply),
    Unknown,
    Nothing,
}

impl Client {
    pub(crate) async fn work(mut self, until: Instant, reads: bool) {
        while Instant::now() < until {
            sleep(Duration::from_millis(5 + self.world.below(100) as u64)).await;
            let node = self.world.below(self.world.size());
            let Some(group) = self.world.group(node) else {
                continue;
            };
            match self.world.below(if reads { 1 } else { 8 }) {
                0..=2 => self.read(&group).await,
                3 | 4 => self.write(&group).await,
                5 | 6 => self.swap(&group).await,
                _ => self.lock(&group).await,
            }
        }
    }

    pub(crate) async fn read(&mut self, group: &Group) {
        let from = self.world.now();
        let deadline = Instant::now() + Duration::from_millis(100 + self.world.below(700) as u64);
        let consistency = if self.world.chance(50) {
            Consistency::Linearizable
        } else {
            Consistency::Lease
        };
        // The machine answers an empty query on the spot, another one a little later.
        let query = Bytes::from_static(if self.world.chance(70) { b"" } else { b"?" });
        if let Ok(answer) = group.read(query, consistency, deadline).await
            && let Some(value) = value(&answer)
        {
            self.note(Action::Read(value), from, Some(self.world.now()));
        }
    }

    fn note(&self, action: Action, from: Duration, to: Option<Duration>) {
        self.world.evidence.operation(Operation { action, from, to });
    }

    fn unique(&mut self) -> u64 {
        self.count += 1;
        self.id * 1_000_000 + self.count
    }

    async fn propose(&mut self, group: &Group, command: Command) -> Outcome {
        self.count += 1;
        let session = Session {
            client: self.id.into(),
            seq: self.count,
        };
        let session = self.world.chance(50).then_some(session);
        let deadline = Instant::now() + Duration::from_millis(300 + self.world.below(1_500) as u64);
        match group.propose(session, command.encode(), deadline).await {
            Ok(reply) => match Reply::decode(&reply) {
                Some(reply) => Outcome::Done(reply),
                None => {
                    self.world.evidence.violation("a reply makes no sense".to_owned());
                    Outcome::Unknown
                }
            },
            Err(ProposeError::Unknown) => Outcome::Unknown,
            Err(_) => Outcome::Nothing,
        }
    }

    async fn write(&mut self, group: &Group) {
        let (value, from) = (self.unique(), self.world.now());
        match self.propose(group, Command::Write(value)).await {
            Outcome::Done(_) => self.note(Action::Write(value), from, Some(self.world.now())),
            Outcome::Unknown => self.note(Action::Write(value), from, None),
            Outcome::Nothing => {}
        }
    }

    async fn swap(&mut self, group: &Group) {
        let Ok(answer) = group
            .read(
                Bytes::new(),
                Consistency::Local,
                Instant::now() + Duration::from_secs(1),
            )
            .await
        else {
            return;
        };
        let (old, new) = (value(&answer).unwrap_or_default(), self.unique());
        let from = self.world.now();
        match self.propose(group, Command::Swap(old, new)).await {
            Outcome::Done(reply) if reply.number == 1 => {
                self.note(Action::Swap(old, new), from, Some(self.world.now()));
            }
            Outcome::Unknown => self.note(Action::Swap(old, new), from, None),
            Outcome::Done(_) | Outcome::Nothing => {}
        }
    }

    async fn lock(&mut self, group: &Group) {
        let ttl_ms = 100 + self.world.below(800) as u64;
        let from = self.world.now();
        let Outcome::Done(reply) = self.propose(group, Command::Acquire { ttl_ms }).await else {
            return;
        };
        if reply.number == 0 {
            return;
        }
        let grant = self.world.evidence.granted(Grant {
            token: reply.number,
            time_ms: reply.time_ms,
            ttl_ms,
            from,
            to: self.world.now(),
            released: None,
        });
        sleep(Duration::from_millis(self.world.below(600) as u64)).await;
        if self.world.chance(60) {
            self.world.evidence.released(grant, self.world.now());
            self.propose(group, Command::Release { token: reply.number })
                .await;
        }
    }
}
