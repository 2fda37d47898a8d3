//! Which links topics want, and for how long.

use std::collections::BTreeSet;
use std::time::Duration;

use super::config::Mode;
use super::{Effect, PubSub, first, rings};
use crate::types::NodeId;

impl PubSub {
    /// A topic's tree loses a link.
    pub(super) fn part(&mut self, now: Duration, topic: u32, peer: &NodeId, out: &mut Vec<Effect>) {
        if let Some(each) = self.topics.get_mut(&topic) {
            each.tree.neighbor_down(now, peer, &mut self.inner);
        }
        self.drain(Some(topic), out);
    }

    /// Wants the links that these topics need now, and lets go of those they do not.
    pub(super) fn rearrange(&mut self, now: Duration, topics: &BTreeSet<u32>, out: &mut Vec<Effect>) {
        for topic in topics {
            let wanted = self.wanted(*topic);
            let Some(each) = self.topics.get_mut(topic) else {
                continue;
            };
            let dropped: BTreeSet<NodeId> = each.wanted.difference(&wanted).cloned().collect();
            let added: Vec<NodeId> = wanted.difference(&each.wanted).cloned().collect();
            if self.mode == Mode::Topics {
                let inner = &mut self.inner;
                dropped
                    .iter()
                    .for_each(|peer| each.tree.neighbor_down(now, peer, inner));
            }
            for peer in &added {
                if self.up.contains(peer) {
                    each.tree.neighbor_up(now, peer, &mut self.inner);
                }
            }
            each.wanted = wanted;
            self.drain(Some(*topic), out);
            self.let_go(now, dropped);
            for peer in added {
                self.unlink.remove(&peer);
                if self.linked.insert(peer.clone()) {
                    out.push(Effect::Link(peer));
                }
            }
        }
    }

    pub(super) fn wanted(&self, topic: u32) -> BTreeSet<NodeId> {
        if self.mode == Mode::Shared {
            return BTreeSet::new();
        }
        let others = || self.table.subscribers(topic).filter(|peer| **peer != self.me);
        if self.table.subscribes(topic) {
            rings::beside(topic, self.config.rings, &self.me, others())
        } else {
            rings::nearest(topic, self.config.entries, &self.me, others())
        }
    }

    /// Closes links after a while unless a topic wants them again.
    pub(super) fn let_go(&mut self, now: Duration, peers: BTreeSet<NodeId>) {
        for peer in peers {
            if !self.topics.values().any(|each| each.wanted.contains(&peer)) {
                self.unlink.entry(peer).or_insert(now + self.config.linger);
            }
        }
    }

    pub(super) fn close_links(&mut self, now: Duration, out: &mut Vec<Effect>) {
        let due: Vec<NodeId> = self
            .unlink
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(peer, _)| peer.clone())
            .collect();
        for peer in due {
            self.unlink.remove(&peer);
            let unwanted = self
                .topics
                .iter()
                .filter(|(_, each)| !each.wanted.contains(&peer));
            for topic in unwanted.map(first).collect::<Vec<_>>() {
                self.part(now, topic, &peer, out);
            }
            if self.linked.remove(&peer) {
                out.push(Effect::Unlink(peer));
            }
        }
    }

    /// Leaves the trees of topics that this node neither subscribes to nor publishes to any more.
    pub(super) fn end_idle_publishing(&mut self, now: Duration) {
        let idle = self.config.tree.retain.age.max(self.config.linger);
        let ended: Vec<u32> = self
            .topics
            .iter()
            .filter(|(topic, each)| !self.table.subscribes(**topic) && each.published + idle <= now)
            .map(first)
            .collect();
        for topic in ended {
            if let Some(each) = self.topics.remove(&topic) {
                self.let_go(now, each.wanted);
            }
        }
    }
}
