//! Broadcasts by topic: over one tree that everyone shares, or over a tree of its own for each topic, which only
//! its subscribers build and carry.
//!
//! Every node knows who subscribes to what: changes are passed on along the overlay's links, and neighbours compare
//! digests of their tables to find what they missed. The subscribers of a topic arrange themselves on a few rings,
//! each ring in another pseudo-random order that all of them compute alike, and link to the nodes beside them: a few
//! links each, and a graph that stays connected and shallow when nodes fail (the union of random Hamiltonian cycles
//! is an expander: Law and Siu, "Distributed construction of random expander networks", INFOCOM 2003). On it runs
//! a [`Plumtree`]. Who publishes without subscribing links to a few subscribers; until a link is open, or when there
//! is none, the shared tree carries the message. Each message belongs to one tree, so it is delivered once.

mod config;
mod gossip;
mod links;
mod message;
mod publish;
mod rings;
mod subscriptions;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub use config::{Config, EVERYONE, Mode, Refused};
pub use message::{Message, Record};

use crate::plumtree::{self, Plumtree, Targets};
use crate::types::NodeId;
use subscriptions::Subscriptions;

/// What publishing wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send this to each of them, if the link is up.
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
    /// Keep a link to this node.
    Link(NodeId),
    /// The link is needed for topics no more.
    Unlink(NodeId),
    /// Call [`PubSub::timer`] at this time, or earlier.
    Wake(Duration),
}

#[derive(Debug)]
struct Topic {
    tree: Plumtree,
    wanted: BTreeSet<NodeId>,
    published: Duration,
}

/// One node's part of publishing. See the [module](self).
#[derive(Debug)]
pub struct PubSub {
    me: NodeId,
    config: Config,
    mode: Mode,
    rng: ChaCha8Rng,
    shared: Plumtree,
    topics: BTreeMap<u32, Topic>,
    table: Subscriptions,
    neighbours: BTreeSet<NodeId>,
    up: BTreeSet<NodeId>,
    linked: BTreeSet<NodeId>,
    unlink: BTreeMap<NodeId, Duration>,
    compare_at: Option<Duration>,
    wake: Option<Duration>,
    inner: Vec<plumtree::Effect>,
}

impl PubSub {
    /// Knows nobody and subscribes to nothing.
    #[must_use]
    pub fn new(config: Config, me: NodeId, seed: [u8; 32]) -> Self {
        let mut rng = ChaCha8Rng::from_seed(seed);
        let mut key = [0; 32];
        rng.fill_bytes(&mut key);
        Self {
            mode: Mode::Shared,
            shared: Plumtree::new(config.tree.clone(), me.clone(), key, 0),
            topics: BTreeMap::new(),
            table: Subscriptions::new(me.clone()),
            neighbours: BTreeSet::new(),
            up: BTreeSet::new(),
            linked: BTreeSet::new(),
            unlink: BTreeMap::new(),
            compare_at: None,
            wake: None,
            inner: Vec::new(),
            rng,
            me,
            config,
        }
    }

    /// A link of the overlay itself is open: the shared tree and the table of subscriptions use it.
    pub fn neighbor_up(&mut self, now: Duration, peer: &NodeId, out: &mut Vec<Effect>) {
        if *peer == self.me || !self.neighbours.insert(peer.clone()) {
            return;
        }
        self.link_up(now, peer, out);
        self.shared.neighbor_up(now, peer, &mut self.inner);
        self.drain(None, out);
        self.compare_with(peer, false, out);
        self.compare_at.get_or_insert(now + self.config.compare_every);
        self.schedule(out);
    }

    /// Such a link is closed, or no more the overlay's own.
    pub fn neighbor_down(&mut self, now: Duration, peer: &NodeId, out: &mut Vec<Effect>) {
        if self.neighbours.remove(peer) {
            self.shared.neighbor_down(now, peer, &mut self.inner);
            self.drain(None, out);
            self.schedule(out);
        }
    }

    /// Any link is open; topics may use it.
    pub fn link_up(&mut self, now: Duration, peer: &NodeId, out: &mut Vec<Effect>) {
        if !self.up.insert(peer.clone()) {
            return;
        }
        let topics: Vec<u32> = self
            .topics
            .iter()
            .filter(|(_, each)| each.wanted.contains(peer))
            .map(first)
            .collect();
        for topic in topics {
            if let Some(each) = self.topics.get_mut(&topic) {
                each.tree.neighbor_up(now, peer, &mut self.inner);
            }
            self.drain(Some(topic), out);
        }
        self.schedule(out);
    }

    /// A link is closed.
    pub fn link_down(&mut self, now: Duration, peer: &NodeId, out: &mut Vec<Effect>) {
        self.neighbor_down(now, peer, out);
        if self.up.remove(peer) {
            for topic in self.topics.keys().copied().collect::<Vec<_>>() {
                self.part(now, topic, peer, out);
            }
            self.schedule(out);
        }
    }

    /// A node is a member of the cluster.
    pub fn member_up(&mut self, peer: &NodeId) {
        self.table.returned(peer);
        self.shared.member_up(peer);
    }

    /// A member is gone; its subscriptions with it.
    pub fn member_down(&mut self, now: Duration, peer: &NodeId, out: &mut Vec<Effect>) {
        self.shared.member_down(peer);
        let touched = self.table.remove(now, peer);
        self.rearrange(now, &touched, out);
        self.schedule(out);
    }

    /// Delivers broadcasts of this topic from now on. Doing so twice is once.
    pub fn subscribe(&mut self, now: Duration, topic: u32, out: &mut Vec<Effect>) -> Result<(), Refused> {
        if topic == EVERYONE || self.table.subscribes(topic) {
            return Ok(());
        }
        let max = self.config.max_topics;
        if self.table.mine() >= max {
            return Err(Refused::TooManyTopics { max });
        }
        let record = self.table.subscribe(topic);
        self.tree(now, topic);
        self.tell(None, vec![record], out);
        self.rearrange(now, &BTreeSet::from([topic]), out);
        self.schedule(out);
        Ok(())
    }

    /// Delivers broadcasts of this topic no more.
    pub fn unsubscribe(&mut self, now: Duration, topic: u32, out: &mut Vec<Effect>) {
        if let Some(record) = self.table.unsubscribe(topic) {
            self.tell(None, vec![record], out);
            if let Some(each) = self.topics.remove(&topic) {
                self.let_go(now, each.wanted);
            }
            self.schedule(out);
        }
    }

    /// Whether broadcasts of this topic are delivered here.
    #[must_use]
    pub fn subscribes(&self, topic: u32) -> bool {
        topic == EVERYONE || self.table.subscribes(topic)
    }

    /// Nodes known to subscribe to this topic, this one included.
    pub fn subscribers(&self, topic: u32) -> impl Iterator<Item = &NodeId> {
        self.table.subscribers(topic)
    }

    /// Changes how broadcasts of this node travel from now on. Those under way end as they began.
    pub fn set_mode(&mut self, now: Duration, mode: Mode, out: &mut Vec<Effect>) {
        if self.mode != mode {
            self.mode = mode;
            let all = self.topics.keys().copied().collect();
            self.rearrange(now, &all, out);
            self.schedule(out);
        }
    }

    /// Takes a message from another node.
    pub fn receive(&mut self, now: Duration, from: &NodeId, message: Message, out: &mut Vec<Effect>) {
        match message {
            Message::Shared(inner) => {
                self.shared.receive(now, from, inner, &mut self.inner);
                self.drain(None, out);
            }
            Message::Topic(topic, inner) => {
                // Without a subscription it is a leftover from before; nobody here wants it.
                if let Some(each) = self.topics.get_mut(&topic) {
                    each.tree.receive(now, from, inner, &mut self.inner);
                    self.drain(Some(topic), out);
                }
            }
            Message::Records(records) => self.learn(now, from, records, out),
            Message::Digest { buckets, answer } => self.compare(from, &buckets, answer, out),
        }
        self.schedule(out);
    }

    /// Does what is due.
    pub fn timer(&mut self, now: Duration, out: &mut Vec<Effect>) {
        if self.wake.is_some_and(|at| at <= now) {
            self.wake = None;
        }
        self.shared.timer(now, &mut self.inner);
        self.drain(None, out);
        let topics: Vec<u32> = self.topics.keys().copied().collect();
        for topic in topics {
            if let Some(each) = self.topics.get_mut(&topic) {
                each.tree.timer(now, &mut self.inner);
            }
            self.drain(Some(topic), out);
        }
        self.end_idle_publishing(now);
        self.close_links(now, out);
        if self.compare_at.is_some_and(|at| at <= now) {
            self.table.expire(now);
            self.compare_at = Some(now + self.config.compare_every);
            if let Some(peer) = self.random_neighbour() {
                self.compare_with(&peer, false, out);
            }
        }
        self.schedule(out);
    }

    /// What the shared tree counted.
    #[must_use]
    pub fn shared_stats(&self) -> plumtree::Stats {
        self.shared.stats()
    }

    /// What the tree of a topic counted, if this node is part of it.
    #[must_use]
    pub fn topic_stats(&self, topic: u32) -> Option<plumtree::Stats> {
        self.topics.get(&topic).map(|each| each.tree.stats())
    }

    /// The links asked for because of topics.
    pub fn links(&self) -> impl Iterator<Item = &NodeId> {
        self.linked.iter()
    }

    /// Turns the effects of one tree into ours. Deliveries of the shared tree are for subscribers only.
    fn drain(&mut self, topic: Option<u32>, out: &mut Vec<Effect>) {
        for effect in std::mem::take(&mut self.inner) {
            match effect {
                plumtree::Effect::Send { to, message } => {
                    let message = match topic {
                        None => Message::Shared(message),
                        Some(topic) => Message::Topic(topic, message),
                    };
                    out.push(Effect::Send { to, message });
                }
                plumtree::Effect::Deliver {
                    origin,
                    topic,
                    payload,
                } => {
                    if topic == EVERYONE || self.table.subscribes(topic) {
                        out.push(Effect::Deliver {
                            origin,
                            topic,
                            payload,
                        });
                    }
                }
                // All that is due is gathered in the end, from all trees.
                plumtree::Effect::Wake(_) => {}
            }
        }
    }

    fn schedule(&mut self, out: &mut Vec<Effect>) {
        let idle = self.config.tree.retain.age.max(self.config.linger);
        let publishing = self
            .topics
            .iter()
            .filter(|(topic, _)| !self.table.subscribes(**topic));
        let ends = publishing.map(|(_, each)| each.published + idle).min();
        let trees = self.topics.values().map(|each| &each.tree).chain([&self.shared]);
        let trees = trees.filter_map(Plumtree::due).min();
        let due = [self.compare_at, self.unlink.values().copied().min(), ends, trees];
        if let Some(at) = due.into_iter().flatten().min() {
            self.wake_at(at, out);
        }
    }

    fn wake_at(&mut self, at: Duration, out: &mut Vec<Effect>) {
        if self.wake.is_none_or(|wake| at < wake) {
            self.wake = Some(at);
            out.push(Effect::Wake(at));
        }
    }
}

fn first<T>((topic, _): (&u32, T)) -> u32 {
    *topic
}
