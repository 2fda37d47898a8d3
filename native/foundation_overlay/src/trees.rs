//! Broadcast in the overlay: hands [`PubSub`] what it has to know, and does what it wants done.

use bytes::Bytes;
use rand::Rng;

use crate::context::{Context, Wake};
use crate::links::Want;
use crate::pub_sub::{Effect as Wanted, Message, Mode, PubSub, Refused};
use crate::types::{Effect, NodeId, Peer, Topology, Urgency};
use crate::wire::{self, kind};
use crate::{Error, plumtree};

/// Bytes of a frame that a payload leaves to names, numbers and headers.
const OVERHEAD: usize = 2048;

/// The broadcast trees of this node. Every open link is a link of the shared tree.
#[derive(Debug)]
pub(crate) struct Trees {
    inner: PubSub,
    topology: Topology,
    wanted: Vec<Wanted>,
    /// Topics want links to nodes that are not known as members yet.
    unknown: Vec<NodeId>,
}

impl Trees {
    pub(crate) fn new(ctx: &mut Context) -> Self {
        let mut seed = [0; 32];
        ctx.rng.fill_bytes(&mut seed);
        let mut config = ctx.config.broadcast.clone();
        config.tree.max_payload = config.tree.max_payload.min(ctx.config.max_frame - OVERHEAD);
        let inner = PubSub::new(config, ctx.me.id.clone(), seed);
        // A mesh until the first look at the topology in force says otherwise.
        Self {
            inner,
            topology: Topology::FullMesh,
            wanted: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Follows the topology in force.
    pub(crate) fn follow(&mut self, ctx: &mut Context, topology: Topology) {
        if self.topology != topology {
            self.topology = topology;
            let mode = if topology == Topology::PubSub {
                Mode::Topics
            } else {
                Mode::Shared
            };
            self.inner.set_mode(ctx.now, mode, &mut self.wanted);
            self.perform(ctx);
        }
    }

    pub(crate) fn broadcast(
        &mut self,
        ctx: &mut Context,
        topic: u32,
        payload: Bytes,
        urgency: Urgency,
    ) -> Result<(), Error> {
        let size = payload.len();
        let result = self
            .inner
            .broadcast(ctx.now, topic, payload, urgency, &mut self.wanted);
        self.perform(ctx);
        result.map_err(|refused| refusal(refused, size))
    }

    pub(crate) fn subscribe(&mut self, ctx: &mut Context, topic: u32) -> Result<(), Error> {
        let result = self.inner.subscribe(ctx.now, topic, &mut self.wanted);
        self.perform(ctx);
        result.map_err(|refused| refusal(refused, 0))
    }

    pub(crate) fn unsubscribe(&mut self, ctx: &mut Context, topic: u32) {
        self.inner.unsubscribe(ctx.now, topic, &mut self.wanted);
        self.perform(ctx);
    }

    pub(crate) fn link_up(&mut self, ctx: &mut Context, id: &NodeId) {
        self.inner.neighbor_up(ctx.now, id, &mut self.wanted);
        self.perform(ctx);
    }

    pub(crate) fn link_down(&mut self, id: &NodeId) {
        self.inner.link_down(id);
    }

    pub(crate) fn member_up(&mut self, ctx: &mut Context, peer: &Peer) {
        self.inner.member_up(&peer.id);
        if let Some(at) = self.unknown.iter().position(|id| *id == peer.id) {
            self.unknown.swap_remove(at);
            ctx.want(Want::TOPICS, peer, true);
        }
    }

    pub(crate) fn member_down(&mut self, ctx: &mut Context, id: &NodeId) {
        self.inner.member_down(ctx.now, id, &mut self.wanted);
        self.perform(ctx);
    }

    pub(crate) fn frame(&mut self, ctx: &mut Context, from: &NodeId, body: &[u8]) -> Result<(), Error> {
        let message: Message = wire::decode(body, "tree frame")?;
        self.inner.receive(ctx.now, from, message, &mut self.wanted);
        self.perform(ctx);
        Ok(())
    }

    pub(crate) fn wake(&mut self, ctx: &mut Context) {
        self.inner.timer(ctx.now, &mut self.wanted);
        self.perform(ctx);
    }

    /// What the shared tree counted.
    pub(crate) fn shared(&self) -> plumtree::Stats {
        self.inner.shared_stats()
    }

    /// Publishing itself, to look at.
    pub(crate) fn pub_sub(&self) -> &PubSub {
        &self.inner
    }

    fn perform(&mut self, ctx: &mut Context) {
        for effect in std::mem::take(&mut self.wanted) {
            match effect {
                Wanted::Send { to, message } => {
                    let frame = wire::encode(kind::TREE, &message);
                    for id in &to {
                        ctx.frame(id, frame.clone());
                    }
                }
                Wanted::Deliver {
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
                Wanted::Link(id) => match ctx.peers.get(&id.name).filter(|peer| peer.id == id).cloned() {
                    Some(peer) => ctx.want(Want::TOPICS, &peer, true),
                    None => self.unknown.push(id),
                },
                Wanted::Unlink(id) => {
                    self.unknown.retain(|unknown| *unknown != id);
                    ctx.unwant(Want::TOPICS, &id);
                }
                Wanted::Wake(at) => ctx.wake(at.saturating_sub(ctx.now), Wake::Tree),
            }
        }
    }
}

fn refusal(refused: Refused, size: usize) -> Error {
    match refused {
        Refused::TooLarge { max } => Error::TooLarge { size, max },
        Refused::TooManyTopics { max } => Error::TooManyTopics(max),
    }
}
