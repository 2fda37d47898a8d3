//! Broadcast trees: payloads along a tree that embeds itself in any overlay, announcements along its other links.
//!
//! The protocol is Plumtree (Leitão, Pereira, Rodrigues, "Epidemic Broadcast Trees", SRDS 2007). A node pushes
//! payloads to its eager neighbours and only announces them, in batches, to its lazy ones. A duplicate makes a link
//! lazy, an announcement of something that does not come makes one eager: so a tree forms where the first payload
//! was fastest, and heals where it broke. Ours as well: the other ways to push ([`Push`]) share numbers, memory and
//! repair with the tree, a new neighbour is told what was kept, and the wait before a request follows the measured
//! lag of payloads behind announcements.
//!
//! A node delivers each broadcast at most once. It does no I/O: time comes in with each call, [`Effect`]s go out.

mod announce;
mod config;
mod message;
mod missing;
mod neighbours;
mod retained;
mod ring;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use smallvec::SmallVec;

pub use config::{Config, Stats};
pub use message::{Announced, Gossip, Held, MAX_IDS, Message, MessageId, Push};
pub use missing::Waits;
pub use retained::RetainLimits;

use crate::seen::Seen;
use crate::types::NodeId;
use missing::Missing;
use neighbours::Neighbours;
use retained::{Kept, Retained};

/// Where a message goes: most often to one node or two.
pub type Targets = SmallVec<[NodeId; 2]>;

/// What a tree wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this to each of them; with [`Push::Direct`] and [`Push::Staged`] they need not be neighbours.
    Send {
        /// To whom.
        to: Targets,
        /// What; the same for all, so that it is encoded once.
        message: Message,
    },
    /// Hand this broadcast to the application; never asked twice.
    Deliver {
        /// Who broadcast it.
        origin: NodeId,
        /// Its topic.
        topic: u32,
        /// Its payload.
        payload: Bytes,
    },
    /// Call [`Plumtree::timer`] at this time, or earlier.
    Wake(Duration),
}

/// One node's part of a tree. See the [module](self).
#[derive(Debug)]
pub struct Plumtree {
    me: NodeId,
    config: Config,
    rng: ChaCha8Rng,
    neighbours: Neighbours,
    members: BTreeSet<NodeId>,
    seen: Seen,
    retained: Retained,
    missing: Missing,
    next_seq: u64,
    /// Whose broadcasts come of late, and how many of them in a row.
    streak: (Option<NodeId>, u32),
    started: Option<Duration>,
    flush_at: Option<Duration>,
    ask_at: [Option<Duration>; 2],
    wake: Option<Duration>,
    stats: Stats,
}

impl Plumtree {
    /// A tree without neighbours. Its broadcasts are numbered from `first_seq` on: a tree that is made again within
    /// one boot of its node needs greater numbers than it had.
    #[must_use]
    pub fn new(config: Config, me: NodeId, seed: [u8; 32], first_seq: u64) -> Self {
        Self {
            rng: ChaCha8Rng::from_seed(seed),
            neighbours: Neighbours::default(),
            members: BTreeSet::new(),
            seen: Seen::new(config.seen),
            retained: Retained::new(config.retain),
            missing: Missing::new(config.waits),
            next_seq: first_seq,
            streak: (None, 0),
            started: None,
            flush_at: None,
            ask_at: [None; 2],
            wake: None,
            stats: Stats::default(),
            me,
            config,
        }
    }

    /// Adds a link. It starts eager, and the node at its other end hears what was kept lately.
    pub fn neighbor_up(&mut self, now: Duration, peer: &NodeId, out: &mut Vec<Effect>) {
        self.started.get_or_insert(now);
        if *peer == self.me || !self.neighbours.add(peer) {
            return;
        }
        self.tell(now, peer, out);
        self.schedule(out);
    }

    /// Takes a link away. What was under way on it may be lost, so others are asked for it a little later.
    pub fn neighbor_down(&mut self, now: Duration, peer: &NodeId, out: &mut Vec<Effect>) {
        if self.neighbours.remove(peer) {
            self.missing.forget(peer);
            self.ask_at = self.config.ask_after.map(|after| Some(now + after));
            self.schedule(out);
        }
    }

    /// Adds a node that [`Push::Direct`] and [`Push::Staged`] reach.
    pub fn member_up(&mut self, peer: &NodeId) {
        if *peer != self.me {
            self.members.insert(peer.clone());
        }
    }

    /// Takes such a node away.
    pub fn member_down(&mut self, peer: &NodeId) {
        self.members.remove(peer);
    }

    /// Broadcasts a payload; it is not delivered here.
    ///
    /// The `push` decides whom it reaches first: members ([`Push::Direct`], [`Push::Staged`]) or neighbours. Answers
    /// its identifier, or `None` when the payload is larger than the bound.
    pub fn broadcast(
        &mut self,
        now: Duration,
        topic: u32,
        payload: Bytes,
        push: Push,
        out: &mut Vec<Effect>,
    ) -> Option<MessageId> {
        if payload.len() > self.config.max_payload {
            return None;
        }
        self.started.get_or_insert(now);
        let id = MessageId {
            origin: self.me.clone(),
            seq: self.next_seq,
        };
        self.next_seq += 1;
        self.stats.broadcast += 1;
        self.seen.insert(now, &self.me, id.seq);
        let gossip = Gossip {
            id: id.clone(),
            topic,
            round: 0,
            push,
            payload,
        };
        self.pass_on(now, None, gossip, out);
        self.schedule(out);
        Some(id)
    }

    /// Takes a message from another node, neighbour or not.
    pub fn receive(&mut self, now: Duration, from: &NodeId, message: Message, out: &mut Vec<Effect>) {
        self.started.get_or_insert(now);
        if !message.is_bounded() || *from == self.me {
            self.stats.malformed += 1;
            return;
        }
        match message {
            Message::Gossip(gossip) => self.gossip(now, from, gossip, out),
            Message::Have(announced) => self.have(now, from, announced, out),
            Message::Graft(ids) => self.graft(now, from, ids, out),
            Message::Prune => self.neighbours.make_lazy(from),
            Message::Ask => self.tell(now, from, out),
        }
        self.schedule(out);
    }

    /// Does what is due.
    pub fn timer(&mut self, now: Duration, out: &mut Vec<Effect>) {
        if self.wake.is_some_and(|at| at <= now) {
            self.wake = None;
        }
        self.retained.expire(now);
        if self.flush_at.is_some_and(|at| at <= now) {
            self.flush(now, out);
        }
        self.request(now, out);
        self.ask(now, out);
        self.schedule(out);
    }

    /// The links that payloads are pushed to.
    pub fn eager(&self) -> impl Iterator<Item = &NodeId> {
        self.neighbours.eager()
    }

    /// The links that payloads are announced to.
    pub fn lazy(&self) -> impl Iterator<Item = &NodeId> {
        self.neighbours.lazy()
    }

    /// Nodes known besides this one.
    #[must_use]
    pub fn members(&self) -> usize {
        self.members.len()
    }

    /// Whether every member is a neighbour.
    #[must_use]
    pub fn is_linked_to_all(&self) -> bool {
        self.members.len() <= self.neighbours.len()
            && self.members.iter().all(|member| self.neighbours.contains(member))
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            kept_bytes: self.retained.bytes(),
            kept: self.retained.len(),
            missing: self.missing.len(),
            ..self.stats
        }
    }

    fn gossip(&mut self, now: Duration, from: &NodeId, gossip: Gossip, out: &mut Vec<Effect>) {
        let unborn = gossip.id.origin == self.me && gossip.id.seq >= self.next_seq;
        if unborn || gossip.payload.len() > self.config.max_payload {
            self.stats.malformed += 1;
            return;
        }
        if !self.seen.insert(now, &gossip.id.origin, gossip.id.seq) {
            self.stats.duplicates += 1;
            if gossip.push == Push::Tree && self.neighbours.should_prune(now, from) {
                self.stats.prunes += 1;
                self.send(from, Message::Prune, out);
            }
            return;
        }
        self.missing.arrived(now, &gossip.id);
        match &mut self.streak {
            (Some(origin), length) if *origin == gossip.id.origin => *length = length.saturating_add(1),
            streak => *streak = (Some(gossip.id.origin.clone()), 1),
        }
        self.stats.delivered += 1;
        out.push(Effect::Deliver {
            origin: gossip.id.origin.clone(),
            topic: gossip.topic,
            payload: gossip.payload.clone(),
        });
        if gossip.push == Push::Tree {
            self.neighbours.make_eager(from);
        }
        let round = gossip.round.saturating_add(1);
        self.pass_on(now, Some(from), Gossip { round, ..gossip }, out);
    }

    /// Pushes, announces and keeps a payload, as its [`Push`] says. `gossip.round` is the number of hops to here.
    fn pass_on(&mut self, now: Duration, parent: Option<&NodeId>, gossip: Gossip, out: &mut Vec<Effect>) {
        let skip = |peer: &NodeId| Some(peer) == parent || *peer == gossip.id.origin;
        match &gossip.push {
            Push::Tree => {
                let to = self
                    .neighbours
                    .eager()
                    .filter(|peer| !skip(peer))
                    .cloned()
                    .collect();
                self.push(to, gossip.clone(), out);
            }
            Push::Flood => {
                let to = self
                    .neighbours
                    .all()
                    .filter(|peer| !skip(peer))
                    .cloned()
                    .collect();
                self.push(to, gossip.clone(), out);
            }
            Push::Direct if parent.is_none() => {
                let to = self.members.iter().cloned().collect();
                self.push(to, gossip.clone(), out);
            }
            Push::Direct => {}
            Push::Staged { until } => {
                for (to, until) in ring::split(&self.members, &self.me, until, self.config.staged_fanout) {
                    let push = Push::Staged { until };
                    self.push(
                        SmallVec::from_iter([to]),
                        Gossip {
                            push,
                            ..gossip.clone()
                        },
                        out,
                    );
                }
            }
            Push::Random { ttl } => {
                let fanout = self.config.random_fanout;
                let to = self.neighbours.sample(&mut self.rng, fanout, skip);
                if let Some(ttl) = ttl.min(&MAX_TTL).checked_sub(1) {
                    self.push(
                        to,
                        Gossip {
                            push: Push::Random { ttl },
                            ..gossip.clone()
                        },
                        out,
                    );
                }
            }
        }
        if gossip.push.is_repaired() {
            self.announce(now, parent, &gossip);
            let Gossip {
                id,
                topic,
                round,
                push,
                payload,
            } = gossip;
            self.retained.keep(
                id,
                Kept {
                    topic,
                    round,
                    push,
                    payload,
                    parent: parent.cloned(),
                    at: now,
                },
            );
        }
    }

    fn graft(&mut self, now: Duration, from: &NodeId, ids: Vec<MessageId>, out: &mut Vec<Effect>) {
        self.neighbours.make_eager(from);
        self.retained.expire(now);
        for id in ids {
            let Some(kept) = self.retained.get(&id) else {
                continue;
            };
            let push = if kept.push == Push::Tree {
                Push::Tree
            } else {
                Push::Direct
            };
            let gossip = Gossip {
                id,
                topic: kept.topic,
                round: kept.round,
                push,
                payload: kept.payload.clone(),
            };
            self.stats.repaired += 1;
            self.push(SmallVec::from_iter([from.clone()]), gossip, out);
        }
    }

    /// Asks for what was announced and did not come, one message to each neighbour asked.
    fn request(&mut self, now: Duration, out: &mut Vec<Effect>) {
        let mut asked: BTreeMap<NodeId, Vec<MessageId>> = BTreeMap::new();
        while let Some((id, source)) = self.missing.next_request(now) {
            match source {
                Some(source) => asked.entry(source).or_default().push(id),
                None => self.stats.given_up += 1,
            }
        }
        for (peer, ids) in asked {
            self.neighbours.make_eager(&peer);
            for batch in ids.chunks(MAX_IDS) {
                self.stats.grafts += batch.len() as u64;
                self.send(&peer, Message::Graft(batch.to_vec()), out);
            }
        }
    }

    fn push(&mut self, to: Targets, gossip: Gossip, out: &mut Vec<Effect>) {
        if !to.is_empty() {
            self.stats.payloads_sent += to.len() as u64;
            out.push(Effect::Send {
                to,
                message: Message::Gossip(gossip),
            });
        }
    }

    fn send(&mut self, to: &NodeId, message: Message, out: &mut Vec<Effect>) {
        self.stats.control_sent += 1;
        out.push(Effect::Send {
            to: SmallVec::from_iter([to.clone()]),
            message,
        });
    }

    /// When [`Plumtree::timer`] has something to do next.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        let [soon, later] = self.ask_at;
        let due = [
            self.flush_at,
            self.missing.due(),
            self.retained.expiry(),
            soon,
            later,
        ];
        due.into_iter().flatten().min()
    }

    /// Asks to be woken when nothing earlier was asked for.
    fn schedule(&mut self, out: &mut Vec<Effect>) {
        if let Some(due) = self.due()
            && self.wake.is_none_or(|wake| due < wake)
        {
            self.wake = Some(due);
            out.push(Effect::Wake(due));
        }
    }
}

/// Broadcasts of one origin in a row that make a tree worth shortening for it.
const STREAK: u32 = 16;
/// Most hops of a [`Push::Random`].
const MAX_TTL: u8 = 32;
