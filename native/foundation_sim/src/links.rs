//! The links between nodes: reliable, in order, seen by each end when the news reach it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use foundation_overlay::NodeId;
use hashbrown::HashMap;

use crate::hasher::Fixed;

/// One end of an open link, as its node sees it.
#[derive(Debug)]
struct End {
    link: u64,
    peer: NodeId,
    last: Duration,
    held: Vec<Bytes>,
    watched: bool,
}

/// What became of an attempt to open a link.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Both ends will hear of it.
    New(u64),
    /// There is one already, or one is on its way.
    Same(u64),
}

/// What an end finds when the news of a link reach it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) peer: NodeId,
    /// An older link to the same node, whose end had not been seen yet.
    pub(crate) replaced: Option<NodeId>,
}

#[derive(Debug, Default)]
pub(crate) struct Links {
    ends: Vec<BTreeMap<u32, End>>,
    /// The link that two nodes agreed on last, and who they were, the one with the smaller number first.
    pairs: HashMap<(u32, u32), (u64, [NodeId; 2]), Fixed>,
    serial: u64,
}

fn key(a: usize, b: usize) -> (u32, u32) {
    (a.min(b) as u32, a.max(b) as u32)
}

impl Links {
    pub(crate) fn add_node(&mut self) {
        self.ends.push(BTreeMap::new());
    }

    /// Two nodes agree on a link, if they have not.
    pub(crate) fn open(&mut self, from: usize, to: usize, ids: [NodeId; 2]) -> Opened {
        if let Some((link, known)) = self.pairs.get(&key(from, to)) {
            let same = if from < to {
                *known == ids
            } else {
                known[0] == ids[1] && known[1] == ids[0]
            };
            if same {
                return Opened::Same(*link);
            }
        }
        self.serial += 1;
        let [a, b] = ids;
        let ids = if from < to { [a, b] } else { [b, a] };
        self.pairs.insert(key(from, to), (self.serial, ids));
        Opened::New(self.serial)
    }

    /// The news of an open link reach `at`; `None` when it is closed again.
    pub(crate) fn arrive(&mut self, at: usize, peer: usize, link: u64) -> Option<Arrival> {
        let (current, ids) = self.pairs.get(&key(at, peer))?;
        if *current != link {
            return None;
        }
        let id = ids[usize::from(at < peer)].clone();
        let end = End {
            link,
            peer: id.clone(),
            last: Duration::ZERO,
            held: Vec::new(),
            watched: false,
        };
        let old = self.ends[at].insert(peer as u32, end);
        Some(Arrival {
            peer: id,
            replaced: old.filter(|old| old.link != link).map(|old| old.peer),
        })
    }

    /// The news of a closed link reach `at`: who was at its other end, if `at` still had it open.
    pub(crate) fn close(&mut self, at: usize, peer: usize, link: u64) -> Option<NodeId> {
        let same = self.ends[at]
            .get(&(peer as u32))
            .is_some_and(|end| end.link == link);
        if same {
            self.ends[at].remove(&(peer as u32)).map(|end| end.peer)
        } else {
            None
        }
    }

    /// The link that `at` believes is open.
    pub(crate) fn current(&self, at: usize, peer: usize) -> Option<u64> {
        self.ends[at].get(&(peer as u32)).map(|end| end.link)
    }

    /// Who sent what arrives at `at` over this link; `None` when `at` has closed it.
    pub(crate) fn sender(&self, at: usize, from: usize, link: u64) -> Option<&NodeId> {
        self.ends[at]
            .get(&(from as u32))
            .filter(|end| end.link == link)
            .map(|end| &end.peer)
    }

    /// Whether `at` has a link, open or agreed on, to exactly this node.
    pub(crate) fn is_to(&self, at: usize, id: &NodeId, peer: usize) -> bool {
        let open = self.ends[at].get(&(peer as u32)).map(|end| &end.peer);
        let agreed = || {
            self.pairs
                .get(&key(at, peer))
                .map(|(_, ids)| &ids[usize::from(at < peer)])
        };
        open.or_else(agreed) == Some(id)
    }

    /// When something sent from `from` may arrive without passing what was sent before.
    pub(crate) fn in_order(&mut self, from: usize, to: usize, due: Duration) -> Duration {
        let Some(end) = self.ends[from].get_mut(&(to as u32)) else {
            return due;
        };
        end.last = end.last.max(due);
        end.last
    }

    /// Keeps a frame that nothing lets through.
    pub(crate) fn hold(&mut self, from: usize, to: usize, bytes: Bytes) {
        if let Some(end) = self.ends[from].get_mut(&(to as u32)) {
            end.held.push(bytes);
        }
    }

    /// Whether anything waits to be let through.
    pub(crate) fn holds(&self, from: usize, to: usize) -> bool {
        self.ends[from]
            .get(&(to as u32))
            .is_some_and(|end| !end.held.is_empty())
    }

    /// The frames held of links whose way is free: sender, receiver, link and frame, in order.
    pub(crate) fn release(&mut self, free: impl Fn(usize, usize) -> bool) -> Vec<(usize, usize, u64, Bytes)> {
        let mut all = Vec::new();
        for (from, ends) in self.ends.iter_mut().enumerate() {
            for (to, end) in ends {
                let to = *to as usize;
                if !end.held.is_empty() && free(from, to) {
                    all.extend(end.held.drain(..).map(|bytes| (from, to, end.link, bytes)));
                }
            }
        }
        all
    }

    /// The link to look at later, unless it is watched already.
    pub(crate) fn watch(&mut self, at: usize, peer: usize) -> Option<u64> {
        let end = self.ends[at].get_mut(&(peer as u32))?;
        (!std::mem::replace(&mut end.watched, true)).then_some(end.link)
    }

    pub(crate) fn unwatch(&mut self, at: usize, peer: usize) {
        if let Some(end) = self.ends[at].get_mut(&(peer as u32)) {
            end.watched = false;
        }
    }

    /// `at` closes its end. The link, unless it was gone.
    pub(crate) fn drop_end(&mut self, at: usize, peer: usize) -> Option<u64> {
        let open = self.ends[at].remove(&(peer as u32)).map(|end| end.link);
        let agreed = self.pairs.get(&key(at, peer)).map(|(link, _)| *link);
        if open.is_none() || open == agreed {
            self.pairs.remove(&key(at, peer));
        }
        open.or(agreed)
    }

    /// Nobody agrees on this link any more; what the ends believe stays.
    pub(crate) fn disagree(&mut self, a: usize, b: usize, link: u64) {
        if self
            .pairs
            .get(&key(a, b))
            .is_some_and(|(agreed, _)| *agreed == link)
        {
            self.pairs.remove(&key(a, b));
        }
    }

    /// How many links `at` has open.
    pub(crate) fn count(&self, at: usize) -> usize {
        self.ends[at].len()
    }

    /// The nodes that `at` has open links to, ascending.
    pub(crate) fn of(&self, at: usize) -> Vec<u32> {
        self.ends[at].keys().copied().collect()
    }
}
