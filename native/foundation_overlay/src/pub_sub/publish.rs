//! How a broadcast of this node begins its way.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use rand::Rng;

use super::{EVERYONE, Effect, Mode, PubSub, Refused, Topic};
use crate::plumtree::{Plumtree, Push};
use crate::types::Urgency;

impl PubSub {
    /// Broadcasts a payload to the subscribers of a topic. It is not delivered here.
    pub fn broadcast(
        &mut self,
        now: Duration,
        topic: u32,
        payload: Bytes,
        urgency: Urgency,
        out: &mut Vec<Effect>,
    ) -> Result<(), Refused> {
        let max = self.config.tree.max_payload;
        if payload.len() > max {
            return Err(Refused::TooLarge { max });
        }
        let by_topic = self.mode == Mode::Topics && topic != EVERYONE;
        if by_topic && self.enter(now, topic, out) {
            let push = if urgency == Urgency::Urgent {
                Push::Flood
            } else {
                Push::Tree
            };
            if let Some(each) = self.topics.get_mut(&topic) {
                each.tree.broadcast(now, topic, payload, push, &mut self.inner);
            }
            self.drain(Some(topic), out);
        } else {
            let push = self.choose(payload.len(), urgency);
            self.shared.broadcast(now, topic, payload, push, &mut self.inner);
            self.drain(None, out);
        }
        self.schedule(out);
        Ok(())
    }

    /// How a broadcast to everyone travels: directly or in stages in a mesh, flooded when urgent, else by the tree.
    fn choose(&self, len: usize, urgency: Urgency) -> Push {
        let members = self.shared.members();
        if members > 0 && self.shared.is_linked_to_all() {
            let direct = members <= self.config.direct_members || members * len <= self.config.direct_bytes;
            return if direct {
                Push::Direct
            } else {
                Push::Staged {
                    until: self.me.clone(),
                }
            };
        }
        match urgency {
            Urgency::Urgent => Push::Flood,
            Urgency::Background => Push::Random { ttl: self.hops() },
            Urgency::Normal => Push::Tree,
        }
    }

    /// Hops after which a random push has most likely reached everyone it ever will.
    fn hops(&self) -> u8 {
        let members = self.shared.members().max(1024);
        u8::try_from(members.ilog2() + 2).unwrap_or(u8::MAX)
    }

    /// Makes sure this node is part of the topic's tree, or is about to be; whether it can push into it now.
    fn enter(&mut self, now: Duration, topic: u32, out: &mut Vec<Effect>) -> bool {
        let others = self.table.subscribers(topic).any(|peer| *peer != self.me);
        self.tree(now, topic);
        if others {
            self.rearrange(now, &BTreeSet::from([topic]), out);
        }
        let each = self.topics.get(&topic);
        !others
            || each
                .is_some_and(|each| each.tree.eager().next().is_some() || each.tree.lazy().next().is_some())
    }

    /// The tree of a topic, made when it is not there, and the time it was last published to.
    pub(super) fn tree(&mut self, now: Duration, topic: u32) {
        let (config, me) = (&self.config.tree, &self.me);
        let rng = &mut self.rng;
        let each = self.topics.entry(topic).or_insert_with(|| {
            let mut key = [0; 32];
            rng.fill_bytes(&mut key);
            // A tree that is made again must not repeat its numbers: it never sent one each microsecond.
            let first = u64::try_from(now.as_micros()).unwrap_or(u64::MAX / 2);
            let tree = Plumtree::new(config.clone(), me.clone(), key, first);
            Topic {
                tree,
                wanted: BTreeSet::new(),
                published: now,
            }
        });
        each.published = now;
    }
}
