//! Ways to nodes that cannot be dialled, found on demand through neighbours.
//!
//! The search is that of AODV (Perkins, Royer, "Ad-hoc on-demand distance vector routing", WMCSA 1999): a
//! question is flooded over the links, each node remembers whence it came first, the answer goes back the
//! same way. Sequence numbers keep the ways free of loops; hops bound both.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::context::{Context, Wake};
use crate::wire::{self, kind};
use crate::{Error, NodeId};

/// Questions remembered, so that each is passed on once.
const MAX_SEEN: usize = 4_096;
/// A search is repeated after this long, as long as the way is wanted.
const AGAIN: Duration = Duration::from_millis(500);
/// And so often.
const TRIES: u8 = 4;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Who knows the way to `target`?
    Find {
        origin: NodeId,
        seq: u64,
        target: NodeId,
        hops: u8,
    },
    /// I am `target`; back to `origin`.
    Found {
        origin: NodeId,
        target: NodeId,
        seq: u64,
        hops: u8,
    },
}

#[derive(Debug)]
struct Way {
    next: NodeId,
    hops: u8,
    seq: u64,
    until: Duration,
}

#[derive(Debug)]
struct Search {
    tries: u8,
    due: Duration,
}

/// What this node knows of ways.
#[derive(Debug, Default)]
pub(crate) struct Router {
    ways: BTreeMap<NodeId, Way>,
    /// Nodes that could not be dialled, until when that is believed.
    undiallable: BTreeMap<NodeId, Duration>,
    searches: BTreeMap<NodeId, Search>,
    seen: BTreeSet<(NodeId, u64)>,
    seen_order: VecDeque<(NodeId, u64)>,
    seq: u64,
}

impl Router {
    /// The neighbour that leads to a node.
    pub(crate) fn via(&self, ctx: &Context, to: &NodeId) -> Option<NodeId> {
        let way = self.ways.get(to)?;
        (way.until > ctx.now && ctx.links.is_up(&way.next)).then(|| way.next.clone())
    }

    /// An attempt to open a link failed: look for a way around.
    pub(crate) fn dial_failed(&mut self, ctx: &mut Context, id: &NodeId) {
        if ctx.peers.get(&id.name).is_none_or(|peer| peer.id != *id) {
            return;
        }
        if self.undiallable.len() >= ctx.config.relay.max_routes {
            self.undiallable.pop_first();
        }
        let until = ctx.now + ctx.config.relay.undiallable;
        self.undiallable.insert(id.clone(), until);
        // Without SWIM nobody knows whether it lives, and most likely it does not. Views dial many nodes that died: asking
        // the whole cluster for each of them would cost more than everything else.
        let lives = ctx.config.swim.is_some();
        if lives && self.via(ctx, id).is_none() && !self.searches.contains_key(id) {
            self.searches.insert(
                id.clone(),
                Search {
                    tries: 0,
                    due: ctx.now,
                },
            );
            self.search(ctx);
        }
    }

    pub(crate) fn link_up(&mut self, id: &NodeId) {
        self.undiallable.remove(id);
        self.searches.remove(id);
        self.ways.remove(id);
    }

    /// Ways through a neighbour end with its link.
    pub(crate) fn link_down(&mut self, id: &NodeId) {
        self.ways.retain(|_, way| way.next != *id);
    }

    pub(crate) fn member_down(&mut self, id: &NodeId) {
        self.link_down(id);
        self.ways.remove(id);
        self.undiallable.remove(id);
        self.searches.remove(id);
    }

    /// Asks for every way that is still wanted and due.
    pub(crate) fn search(&mut self, ctx: &mut Context) {
        let now = ctx.now;
        self.searches.retain(|_, search| search.tries < TRIES);
        let due = self.searches.iter_mut().filter(|(_, search)| search.due <= now);
        let mut targets = Vec::new();
        for (id, search) in due {
            search.tries += 1;
            search.due = now + AGAIN;
            targets.push(id.clone());
        }
        for target in targets {
            self.seq += 1;
            let (origin, seq) = (ctx.me.id.clone(), self.seq);
            self.remember((origin.clone(), seq));
            self.pass_on(
                ctx,
                None,
                &Message::Find {
                    origin,
                    seq,
                    target,
                    hops: 0,
                },
            );
        }
        if !self.searches.is_empty() {
            ctx.wake(AGAIN, Wake::Search);
        }
    }

    fn remember(&mut self, question: (NodeId, u64)) -> bool {
        if !self.seen.insert(question.clone()) {
            return false;
        }
        self.seen_order.push_back(question);
        if self.seen_order.len() > MAX_SEEN
            && let Some(oldest) = self.seen_order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }

    /// Sends to all neighbours but the one it came from.
    fn pass_on(&self, ctx: &mut Context, from: Option<&NodeId>, message: &Message) {
        let frame = wire::encode(kind::ROUTE, message);
        for id in ctx.links.sorted_up() {
            if Some(&id) != from {
                ctx.frame(&id, frame.clone());
            }
        }
    }

    /// Believes a way if it is newer than the one known, or as new and shorter.
    fn learn(&mut self, ctx: &Context, to: &NodeId, next: &NodeId, hops: u8, seq: u64) {
        if *to == ctx.me.id || to == next {
            return;
        }
        let known = self.ways.get(to).filter(|way| way.until > ctx.now);
        if known.is_some_and(|way| way.seq > seq || (way.seq == seq && way.hops <= hops)) {
            return;
        }
        if self.ways.len() >= ctx.config.relay.max_routes && !self.ways.contains_key(to) {
            self.ways.retain(|_, way| way.until > ctx.now);
            if self.ways.len() >= ctx.config.relay.max_routes {
                return;
            }
        }
        let until = ctx.now + ctx.config.relay.keep;
        self.ways.insert(
            to.clone(),
            Way {
                next: next.clone(),
                hops,
                seq,
                until,
            },
        );
    }

    pub(crate) fn frame(&mut self, ctx: &mut Context, from: &NodeId, body: &[u8]) -> Result<(), Error> {
        match wire::decode(body, "route frame")? {
            Message::Find {
                origin,
                seq,
                target,
                hops,
            } => {
                if origin == ctx.me.id || !self.remember((origin.clone(), seq)) {
                    return Ok(());
                }
                let hops = hops.saturating_add(1);
                self.learn(ctx, &origin, from, hops, seq);
                if target == ctx.me.id {
                    self.seq += 1;
                    let found = Message::Found {
                        origin,
                        target,
                        seq: self.seq,
                        hops: 0,
                    };
                    ctx.frame(from, wire::encode(kind::ROUTE, &found));
                } else if hops < ctx.config.relay.max_hops {
                    let find = Message::Find {
                        origin,
                        seq,
                        target: target.clone(),
                        hops,
                    };
                    if ctx.links.is_up(&target) {
                        ctx.frame(&target, wire::encode(kind::ROUTE, &find));
                    } else {
                        self.pass_on(ctx, Some(from), &find);
                    }
                }
            }
            Message::Found {
                origin,
                target,
                seq,
                hops,
            } => {
                let hops = hops.saturating_add(1);
                self.learn(ctx, &target, from, hops, seq);
                if origin == ctx.me.id {
                    self.searches.remove(&target);
                } else if hops < ctx.config.relay.max_hops
                    && let Some(next) = self.next(ctx, &origin)
                {
                    let found = Message::Found {
                        origin,
                        target,
                        seq,
                        hops,
                    };
                    ctx.frame(&next, wire::encode(kind::ROUTE, &found));
                }
            }
        }
        Ok(())
    }

    fn next(&self, ctx: &Context, to: &NodeId) -> Option<NodeId> {
        if ctx.links.is_up(to) {
            Some(to.clone())
        } else {
            self.via(ctx, to)
        }
    }
}
