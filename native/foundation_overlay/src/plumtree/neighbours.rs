//! The links of a tree: which are eager, which are lazy, and what each is still to be told.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use smallvec::SmallVec;

use super::Targets;
use super::message::MessageId;
use crate::types::NodeId;

/// Least time between two exchanges of links for shorter ones, and between two prunes of one link.
const CALM: Duration = Duration::from_millis(200);

/// A broadcast a neighbour is to be told of: which, its hops to here, and since when it is here.
pub(crate) type Note = (MessageId, u16, Duration);

#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    links: BTreeMap<NodeId, Link>,
    shortened: Option<Duration>,
}

#[derive(Debug)]
struct Link {
    eager: bool,
    pruned: Option<Duration>,
    notes: Vec<Note>,
}

impl Neighbours {
    /// Adds a link; false when it is there.
    pub(crate) fn add(&mut self, peer: &NodeId) -> bool {
        if self.links.contains_key(peer) {
            return false;
        }
        self.links.insert(
            peer.clone(),
            Link {
                eager: true,
                pruned: None,
                notes: Vec::new(),
            },
        );
        true
    }

    /// Takes a link away; whether it was there.
    pub(crate) fn remove(&mut self, peer: &NodeId) -> bool {
        self.links.remove(peer).is_some()
    }

    pub(crate) fn contains(&self, peer: &NodeId) -> bool {
        self.links.contains_key(peer)
    }

    pub(crate) fn len(&self) -> usize {
        self.links.len()
    }

    pub(crate) fn is_eager(&self, peer: &NodeId) -> bool {
        self.links.get(peer).is_some_and(|link| link.eager)
    }

    pub(crate) fn make_eager(&mut self, peer: &NodeId) {
        if let Some(link) = self.links.get_mut(peer) {
            link.eager = true;
        }
    }

    pub(crate) fn make_lazy(&mut self, peer: &NodeId) {
        if let Some(link) = self.links.get_mut(peer) {
            link.eager = false;
        }
    }

    /// After a duplicate from `peer`: makes the link lazy, and says whether to tell the other end. It is told again
    /// if it goes on pushing, as when its request crossed our prune, but not once for each payload under way.
    pub(crate) fn should_prune(&mut self, now: Duration, peer: &NodeId) -> bool {
        // Who takes us for a neighbour while we do not is told each time.
        let Some(link) = self.links.get_mut(peer) else {
            return true;
        };
        let tell = link.eager || link.pruned.is_none_or(|at| at + CALM <= now);
        link.eager = false;
        if tell {
            link.pruned = Some(now);
        }
        tell
    }

    /// Whether links may be exchanged now: `peer` is a link, and the last exchange is some time ago.
    pub(crate) fn may_shorten(&mut self, now: Duration, peer: &NodeId) -> bool {
        let may = self.contains(peer) && self.shortened.is_none_or(|at| at + CALM <= now);
        if may {
            self.shortened = Some(now);
        }
        may
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &NodeId> {
        self.links.keys()
    }

    pub(crate) fn eager(&self) -> impl Iterator<Item = &NodeId> {
        self.links
            .iter()
            .filter(|(_, link)| link.eager)
            .map(|(peer, _)| peer)
    }

    pub(crate) fn lazy(&self) -> impl Iterator<Item = &NodeId> {
        self.links
            .iter()
            .filter(|(_, link)| !link.eager)
            .map(|(peer, _)| peer)
    }

    /// At most `most` random links.
    pub(crate) fn sample(
        &self,
        rng: &mut ChaCha8Rng,
        most: usize,
        skip: impl Fn(&NodeId) -> bool,
    ) -> Targets {
        pick(rng, most, self.all().filter(|peer| !skip(peer)))
    }

    /// Remembers to tell a neighbour of a broadcast.
    pub(crate) fn note(&mut self, peer: &NodeId, note: Note) {
        if let Some(link) = self.links.get_mut(peer) {
            link.notes.push(note);
        }
    }

    /// What each neighbour is to be told.
    pub(crate) fn take_notes(&mut self) -> Vec<(NodeId, Vec<Note>)> {
        self.links
            .iter_mut()
            .filter(|(_, link)| !link.notes.is_empty())
            .map(|(peer, link)| (peer.clone(), std::mem::take(&mut link.notes)))
            .collect()
    }
}

fn pick<'a>(rng: &mut ChaCha8Rng, most: usize, from: impl Iterator<Item = &'a NodeId>) -> Targets {
    let mut all: SmallVec<[&NodeId; 8]> = from.collect();
    for at in 0..most.min(all.len()) {
        if all.len() <= most {
            break;
        }
        let other = rng.random_range(at..all.len());
        all.swap(at, other);
    }
    all.truncate(most);
    all.into_iter().cloned().collect()
}
