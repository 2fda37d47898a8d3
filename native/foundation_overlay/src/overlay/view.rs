//! What can be seen of the overlay.

use super::Overlay;
use crate::advise::{self, Advice, Workload};
use crate::context::Counters;
use crate::measure::{self, Analysis};
use crate::swim::Swim;
use crate::{NodeId, Peer, PeerName, Topology};

/// What the overlay is like now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The topology in force.
    pub topology: Topology,
    /// The number of the decision for it.
    pub epoch: u64,
    /// Whether no link of a former topology is kept.
    pub settled: bool,
    /// Members known, without this node.
    pub members: usize,
    /// Of these, suspected.
    pub suspects: usize,
    /// Open links.
    pub links: usize,
    /// Links the topology wants.
    pub wanted: usize,
    /// Local health: 0 is well, 8 is worst; timeouts are stretched by one more than this.
    pub health: u32,
    /// News about members not yet sent often enough.
    pub backlog: usize,
    /// Counters since the start.
    pub counters: Counters,
}

impl Overlay {
    /// This node.
    pub fn me(&self) -> &Peer {
        &self.ctx.me
    }

    /// The other members, by name. Without SWIM: the nodes met so far.
    pub fn members(&self) -> impl Iterator<Item = &Peer> {
        self.ctx.peers.values()
    }

    /// Whether this life of a node said good-bye and has not joined again since, as far as was heard. Without SWIM that is
    /// told once, as [`MemberEvent::Left`](crate::MemberEvent::Left), and not remembered.
    pub fn has_left(&self, id: &NodeId) -> bool {
        self.swim.as_ref().is_some_and(|swim| swim.has_left(id))
    }

    /// A member by its name.
    pub fn member(&self, name: &PeerName) -> Option<&Peer> {
        self.ctx.peers.get(name)
    }

    /// Links the topology wants, and whether each is open.
    pub fn links(&self) -> impl Iterator<Item = (&NodeId, bool)> {
        self.ctx.links.wanted()
    }

    /// What was measured over the last minute. O(members).
    pub fn analyze(&self) -> Analysis {
        measure::analyze(&self.ctx, self.shapes.decision.topology)
    }

    /// The topology that would serve a workload best, by what was measured. O(members).
    pub fn recommend(&self, workload: Workload) -> Advice {
        advise::recommend(workload, &self.analyze())
    }

    /// The topology in force.
    pub fn topology(&self) -> Topology {
        self.shapes.decision.topology
    }

    /// What the shared broadcast tree counted.
    pub fn tree_stats(&self) -> crate::plumtree::Stats {
        self.broadcasts.trees().shared_stats()
    }

    /// The state in numbers. O(members).
    pub fn stats(&self) -> Stats {
        let swim = self.swim.as_ref();
        Stats {
            topology: self.shapes.decision.topology,
            epoch: self.shapes.decision.epoch,
            settled: self.shapes.settled(),
            members: self.ctx.peers.len(),
            suspects: swim.map_or(0, |swim| swim.members().filter(|member| member.suspect).count()),
            links: self.ctx.links.count_up(),
            wanted: self.ctx.links.wanted().count(),
            health: swim.map_or(0, |swim| swim.health.score()),
            backlog: swim.map_or(0, Swim::backlog),
            counters: self.ctx.counters,
        }
    }
}

impl std::fmt::Debug for Overlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay")
            .field("me", &self.ctx.me.id)
            .field("stats", &self.stats())
            .finish()
    }
}
