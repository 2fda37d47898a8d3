//! Between the overlay and its broadcast trees.
use std::collections::BTreeSet;

use bytes::Bytes;
use rand::Rng;

use crate::context::{Context, Wake};
use crate::links::Want;
use crate::pub_sub::{Effect as Asked, Message, Mode, PubSub, Refused};
use crate::wire::{self, HEADER, kind};
use crate::{Effect, Error, NodeId, Peer, Topology, Urgency};

/// Room for what surrounds a payload in a frame.
const AROUND: usize = 1_024;

/// Broadcasts of one node: [`PubSub`] with its effects carried out.
#[derive(Debug)]
pub(crate) struct Broadcasts {
    trees: PubSub,
    asked: Vec<Asked>,
    /// Nodes that topics want links to before they are known as members.
    unknown: BTreeSet<NodeId>,
    max_payload: usize,
}

impl Broadcasts {
    pub(crate) fn new(ctx: &mut Context) -> Self {
        let mut config = ctx.config.pub_sub.clone();
        let room = ctx.config.max_frame - HEADER - AROUND;
        config.tree.max_payload = config.tree.max_payload.min(room);
        let max_payload = config.tree.max_payload;
        let mut seed = [0; 32];
        ctx.rng.fill_bytes(&mut seed);
        Self {
            trees: PubSub::new(config, ctx.me.id.clone(), seed),
            asked: Vec::new(),
            unknown: BTreeSet::new(),
            max_payload,
        }
    }

    pub(crate) fn trees(&self) -> &PubSub {
        &self.trees
    }

    pub(crate) fn set_topology(&mut self, ctx: &mut Context, topology: Topology) {
        let mode = if topology == Topology::PubSub {
            Mode::Topics
        } else {
            Mode::Shared
        };
        self.trees.set_mode(ctx.now, mode, &mut self.asked);
        self.settle(ctx);
    }

    /// Something about this link changed: whether it is open, or whether the topology wants it.
    pub(crate) fn link(&mut self, ctx: &mut Context, id: &NodeId) {
        if !ctx.links.is_up(id) {
            self.trees.link_down(ctx.now, id, &mut self.asked);
        } else if ctx.links.is_wanted_by(Want::SHAPES, id) || !ctx.links.is_wanted_by(Want::TOPICS, id) {
            // What is not wanted here is wanted there, most likely by the topology too.
            self.trees.neighbor_up(ctx.now, id, &mut self.asked);
        } else {
            self.trees.neighbor_down(ctx.now, id, &mut self.asked);
            self.trees.link_up(ctx.now, id, &mut self.asked);
        }
        self.settle(ctx);
    }

    pub(crate) fn member_up(&mut self, ctx: &mut Context, peer: &Peer) {
        self.trees.member_up(&peer.id);
        if self.unknown.remove(&peer.id) {
            ctx.want(Want::TOPICS, peer, true);
        }
    }

    pub(crate) fn member_down(&mut self, ctx: &mut Context, peer: &Peer) {
        self.trees.member_down(ctx.now, &peer.id, &mut self.asked);
        self.settle(ctx);
    }

    pub(crate) fn broadcast(
        &mut self,
        ctx: &mut Context,
        topic: u32,
        payload: Bytes,
        urgency: Urgency,
    ) -> Result<(), Error> {
        let size = payload.len();
        let sent = self
            .trees
            .broadcast(ctx.now, topic, payload, urgency, &mut self.asked);
        self.settle(ctx);
        sent.map_err(|_| Error::TooLarge {
            size,
            max: self.max_payload,
        })
    }

    pub(crate) fn subscribe(&mut self, ctx: &mut Context, topic: u32) -> Result<(), Error> {
        let done = self.trees.subscribe(ctx.now, topic, &mut self.asked);
        self.settle(ctx);
        done.map_err(|refused| match refused {
            Refused::TooManyTopics { max } => Error::TooManyTopics(max),
            Refused::TooLarge { max } => Error::TooLarge { size: max, max },
        })
    }

    pub(crate) fn unsubscribe(&mut self, ctx: &mut Context, topic: u32) {
        self.trees.unsubscribe(ctx.now, topic, &mut self.asked);
        self.settle(ctx);
    }

    pub(crate) fn receive(&mut self, ctx: &mut Context, from: &NodeId, body: &[u8]) -> Result<(), Error> {
        let message: Message = wire::decode(body, "tree frame")?;
        self.trees.receive(ctx.now, from, message, &mut self.asked);
        self.settle(ctx);
        Ok(())
    }

    pub(crate) fn timer(&mut self, ctx: &mut Context) {
        self.trees.timer(ctx.now, &mut self.asked);
        self.settle(ctx);
    }

    fn settle(&mut self, ctx: &mut Context) {
        for asked in std::mem::take(&mut self.asked) {
            match asked {
                Asked::Send { to, message } => {
                    let frame = wire::encode(kind::TREE, &message);
                    for id in to {
                        ctx.frame(&id, frame.clone());
                    }
                }
                Asked::Deliver {
                    origin,
                    topic,
                    payload,
                } => {
                    ctx.out.push(Effect::Deliver {
                        from: origin,
                        topic,
                        payload,
                    });
                }
                Asked::Link(id) => {
                    if let Some(peer) = ctx.peers.get(&id.name).filter(|peer| peer.id == id).cloned() {
                        ctx.want(Want::TOPICS, &peer, true);
                    } else {
                        self.unknown.insert(id);
                    }
                }
                Asked::Unlink(id) => {
                    self.unknown.remove(&id);
                    ctx.unwant(Want::TOPICS, &id);
                }
                Asked::Wake(at) => ctx.wake(at.saturating_sub(ctx.now), Wake::Tree),
            }
        }
    }
}
