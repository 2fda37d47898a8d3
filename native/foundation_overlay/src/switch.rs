//! Changing the topology of the whole cluster.
//!
//! A decision carries an epoch one above any the decider knew; of two decisions the one with the greater
//! epoch wins, then the one of the greater node, so all nodes come to the same whatever they hear first.
//! Decisions are flooded over links, gossiped by datagrams, and part of every greeting, so that who was
//! away catches up. The links of the former topology stay until those of the new one stand.
use std::time::Duration;

use crate::client_server::ClientServer;
use crate::context::{Context, News, Wake};
use crate::full_mesh::FullMesh;
use crate::hyparview::HyParView;
use crate::links::Want;
use crate::shape::Shape;
use crate::wire::{Control, Decision, Probe, encode, kind};
use crate::{Effect, NodeId, Topology};

/// How often it is looked at whether the new links stand.
const LOOK: Duration = Duration::from_millis(100);
/// How often a decision is told again: what carried it may have been lost in a partition that closed no link.
const REMIND: Duration = Duration::from_secs(5);
/// Members a decision is gossiped to beside the neighbours.
const GOSSIP: usize = 4;

/// The topology in force, and the former one as long as its links are kept.
pub(crate) struct Shapes {
    pub(crate) decision: Decision,
    pub(crate) current: Box<dyn Shape>,
    former: Option<Box<dyn Shape>>,
    want: Want,
    since: Duration,
    ready_at: Option<Duration>,
    reminding: bool,
}

fn make(topology: Topology, want: Want) -> Box<dyn Shape> {
    match topology {
        Topology::FullMesh => Box::new(FullMesh::new(want)),
        Topology::HyParView | Topology::PubSub => Box::new(HyParView::new(want)),
        Topology::ClientServer => Box::new(ClientServer::new(want)),
    }
}

/// Topic trees grow on partial views: between these two no link changes.
const fn same_links(a: Topology, b: Topology) -> bool {
    use Topology::{HyParView, PubSub};
    a as u8 == b as u8 || matches!((a, b), (HyParView, PubSub) | (PubSub, HyParView))
}

impl Shapes {
    pub(crate) fn new(ctx: &mut Context) -> Self {
        let topology = ctx.config.topology;
        let mut current = make(topology, Want::EVEN);
        current.start(ctx);
        Self {
            decision: Decision {
                epoch: 0,
                by: None,
                topology,
            },
            current,
            former: None,
            want: Want::EVEN,
            since: Duration::ZERO,
            ready_at: None,
            reminding: false,
        }
    }

    /// Whether only the links of the topology in force are left.
    pub(crate) fn settled(&self) -> bool {
        self.former.is_none()
    }

    /// When the topology was last changed.
    pub(crate) fn since(&self) -> Duration {
        self.since
    }

    /// Everyone who has to hear of links and members.
    pub(crate) fn each(&mut self) -> impl Iterator<Item = &mut Box<dyn Shape>> {
        std::iter::once(&mut self.current).chain(self.former.as_mut())
    }

    /// The owner of this node wants another topology for all.
    pub(crate) fn decide(&mut self, ctx: &mut Context, topology: Topology) {
        if topology == self.decision.topology {
            return;
        }
        let by = Some(ctx.me.id.clone());
        let epoch = self.decision.epoch.saturating_add(1);
        self.adopt(ctx, Decision { epoch, by, topology }, None);
    }

    /// A decision was heard of. The greater one wins; a new one is told on, an old one is answered with ours.
    pub(crate) fn hear(&mut self, ctx: &mut Context, decision: Decision, from: Option<&NodeId>) {
        match decision.cmp(&self.decision) {
            std::cmp::Ordering::Greater => self.adopt(ctx, decision, from),
            std::cmp::Ordering::Less => {
                if let Some(from) = from {
                    ctx.frame(
                        from,
                        encode(kind::CONTROL, &Control::Switch(self.decision.clone())),
                    );
                }
            }
            std::cmp::Ordering::Equal => {}
        }
    }

    fn adopt(&mut self, ctx: &mut Context, decision: Decision, from: Option<&NodeId>) {
        let before = std::mem::replace(&mut self.decision, decision).topology;
        self.spread(ctx, from);
        if !self.reminding {
            self.reminding = true;
            ctx.wake(REMIND, Wake::Remind);
        }
        let Decision { epoch, topology, .. } = self.decision;
        if topology == before {
            return;
        }
        ctx.news.push_back(News::Switched(topology));
        self.since = ctx.now;
        if same_links(before, topology) {
            let settled = self.settled();
            ctx.out.push(Effect::Topology {
                current: topology,
                epoch,
                settled,
            });
            return;
        }
        if let Some(mut older) = self.former.take() {
            older.stop(ctx);
        }
        self.want = self.want.other();
        let mut next = make(topology, self.want);
        next.start(ctx);
        self.former = Some(std::mem::replace(&mut self.current, next));
        self.ready_at = None;
        ctx.wake(LOOK, Wake::Settle);
        ctx.out.push(Effect::Topology {
            current: topology,
            epoch,
            settled: false,
        });
    }

    fn spread(&self, ctx: &mut Context, from: Option<&NodeId>) {
        let frame = encode(kind::CONTROL, &Control::Switch(self.decision.clone()));
        for id in ctx.links.sorted_up() {
            if Some(&id) != from {
                ctx.frame(&id, frame.clone());
            }
        }
        let addrs: Vec<_> = ctx.peers.values().map(|peer| peer.addr).collect();
        let datagram = encode(kind::PROBE, &Probe::Decided(self.decision.clone()));
        for addr in ctx.sample(addrs, GOSSIP) {
            ctx.datagram(addr, datagram.clone());
        }
    }

    /// Tells the decision again, for as long as this node lives.
    pub(crate) fn remind(&mut self, ctx: &mut Context) {
        self.spread(ctx, None);
        ctx.wake(REMIND, Wake::Remind);
    }

    /// Lets go of the former topology once the new one stands and messages under way had time to arrive.
    pub(crate) fn look(&mut self, ctx: &mut Context) {
        if self.former.is_none() {
            return;
        }
        if !self.current.ready(ctx) {
            self.ready_at = None;
        } else if self.ready_at.is_none() {
            self.ready_at = Some(ctx.now);
        }
        let lingered = self
            .ready_at
            .is_some_and(|at| ctx.now - at >= ctx.config.switch_linger);
        if lingered || ctx.now - self.since >= ctx.config.switch_timeout {
            if let Some(mut former) = self.former.take() {
                former.stop(ctx);
            }
            let Decision { epoch, topology, .. } = self.decision;
            ctx.out.push(Effect::Topology {
                current: topology,
                epoch,
                settled: true,
            });
        } else {
            ctx.wake(LOOK, Wake::Settle);
        }
    }
}
