//! What can be seen of a network from outside.

use std::time::Duration;

use foundation_overlay::NodeId;

use super::{Network, Node, Traffic};

impl Network {
    /// The time since the start.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// All nodes, dead ones too.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The living nodes.
    pub fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|at| self.nodes[*at].alive && !self.nodes[*at].frozen)
    }

    /// What went over the network.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic
    }

    /// A number that stands for everything that happened: equal for equal runs.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Events waiting.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// The open links of the living nodes, for [`crate::graph::measure`].
    #[must_use]
    pub fn graph(&self) -> Vec<Option<Vec<u32>>> {
        (0..self.nodes.len())
            .map(|at| (self.nodes[at].alive && !self.nodes[at].frozen).then(|| self.links.of(at)))
            .collect()
    }

    /// Open links of a node, as it sees them.
    #[must_use]
    pub fn degree(&self, at: usize) -> usize {
        self.links.count(at)
    }

    /// Whether the nodes know each other by SWIM.
    #[must_use]
    pub fn has_swim(&self) -> bool {
        self.config.swim.is_some()
    }

    /// Whether a node has lived in one life since then.
    #[must_use]
    pub fn lived_since(&self, at: usize, since: Duration) -> bool {
        let node = &self.nodes[at];
        node.alive && !node.frozen && node.boot <= 1 + since.as_micros() as u64
    }

    /// Whether each living node knows exactly the other living ones in their present lives.
    #[must_use]
    pub fn is_one_view(&self) -> bool {
        let alive: Vec<&NodeId> = self.alive().map(|at| &self.nodes[at].overlay.me().id).collect();
        self.alive().all(|at| {
            let me = &self.nodes[at].overlay.me().id;
            let known = self.nodes[at].overlay.members().map(|peer| &peer.id);
            known.eq(alive.iter().copied().filter(|id| *id != me))
        })
    }
}
