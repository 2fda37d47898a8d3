//! Which nodes were found: proofs checked, repeats dropped, everything counted.
//!
//! No socket, clock or thread: resolved records go in, what is new comes out.

use crate::facts::{Facts, printable};
use crate::proof::ProofKey;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;

/// Nodes known at once, at most. Only who knows the secret can fill the table.
pub const MAX_PEERS: usize = 16_384;
/// Strangers remembered, at most.
pub const MAX_STRANGERS: usize = 16;
/// Addresses kept of one node, at most.
pub const MAX_ADDRESSES: usize = 64;

/// A node that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// What it announced.
    pub facts: Facts,
    /// Where it was seen, in order.
    pub addresses: Vec<IpAddr>,
}

/// What is new.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A node, a new boot of one, or one at other addresses.
    Found(Peer),
    /// A node said goodbye, or its record ran out. Not proven, so nobody's death: only that it is not announced now.
    Lost(Facts),
}

/// A node that announces itself under our service with a proof that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stranger {
    /// What it calls itself; printable.
    pub node: String,
    /// The cluster that it names.
    pub cluster: String,
}

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Nodes found, new boots included.
    pub found: u64,
    /// Records that said nothing new.
    pub repeats: u64,
    /// Our own announcement, heard back.
    pub own: u64,
    /// Records of a cluster of another name.
    pub other_cluster: u64,
    /// Records whose proof does not hold.
    pub wrong_proof: u64,
    /// Records of the service that are not ours to read.
    pub malformed: u64,
    /// Records of a boot that a later one has replaced.
    pub stale: u64,
    /// Nodes that were not taken in because the table was full.
    pub refused: u64,
    /// Goodbyes and records that ran out.
    pub lost: u64,
}

struct Known {
    fullname: String,
    facts: Facts,
    addresses: BTreeSet<IpAddr>,
}

/// The nodes found so far.
pub struct Peers {
    me: Facts,
    key: ProofKey,
    known: HashMap<String, Known>,
    strangers: VecDeque<Stranger>,
    counts: Counts,
    max: usize,
}

impl Peers {
    /// Nobody yet, for a node that is `me`.
    pub fn new(me: Facts, key: ProofKey) -> Self {
        Self::bounded(me, key, MAX_PEERS)
    }

    pub(crate) fn bounded(me: Facts, key: ProofKey, max: usize) -> Self {
        Self {
            me,
            key,
            known: HashMap::new(),
            strangers: VecDeque::new(),
            counts: Counts::default(),
            max,
        }
    }

    /// Takes in a resolved record: its instance's full name, TXT strings, port and addresses. O(strings + addresses).
    pub fn resolved<'a>(
        &mut self,
        fullname: &str,
        strings: impl Iterator<Item = (&'a str, &'a [u8])>,
        port: u16,
        addresses: impl Iterator<Item = IpAddr>,
    ) -> Option<Event> {
        let Some(claim) = Facts::read(strings, port) else {
            self.counts.malformed += 1;
            return None;
        };
        let facts = claim.facts;
        if facts.cluster != self.me.cluster {
            self.counts.other_cluster += 1;
            return None;
        }
        if !self.key.verify(&facts, &claim.proof) {
            self.counts.wrong_proof += 1;
            self.remember(facts);
            return None;
        }
        if facts.node == self.me.node {
            self.counts.own += 1;
            return None;
        }
        self.take_in(fullname, facts, addresses.take(MAX_ADDRESSES).collect())
    }

    fn take_in(&mut self, fullname: &str, facts: Facts, addresses: BTreeSet<IpAddr>) -> Option<Event> {
        if let Some(known) = self.known.get(&facts.node) {
            if known.facts.boot > facts.boot {
                self.counts.stale += 1;
                return None;
            }
            if known.facts == facts && known.addresses == addresses {
                self.counts.repeats += 1;
                return None;
            }
        } else if self.known.len() >= self.max {
            self.counts.refused += 1;
            return None;
        }
        self.counts.found += 1;
        let peer = Peer {
            facts: facts.clone(),
            addresses: addresses.iter().copied().collect(),
        };
        let known = Known {
            fullname: fullname.to_ascii_lowercase(),
            facts: facts.clone(),
            addresses,
        };
        self.known.insert(facts.node, known);
        Some(Event::Found(peer))
    }

    /// Takes in that an instance is not announced any more. O(nodes).
    pub fn removed(&mut self, fullname: &str) -> Option<Event> {
        let gone = |known: &Known| known.fullname.eq_ignore_ascii_case(fullname);
        let node = self.known.iter().find(|(_, known)| gone(known))?.0.clone();
        let known = self.known.remove(&node)?;
        self.counts.lost += 1;
        Some(Event::Lost(known.facts))
    }

    fn remember(&mut self, facts: Facts) {
        let stranger = Stranger {
            node: facts.node,
            cluster: facts.cluster,
        };
        debug_assert!(printable(&stranger.node));
        if self.strangers.contains(&stranger) {
            return;
        }
        if self.strangers.len() == MAX_STRANGERS {
            self.strangers.pop_front();
        }
        self.strangers.push_back(stranger);
    }

    /// The nodes found, in no order. O(nodes).
    pub fn known(&self) -> impl Iterator<Item = &Facts> {
        self.known.values().map(|known| &known.facts)
    }

    /// How many nodes are known.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Who announced itself with a proof that did not hold: the last of them, oldest first.
    pub fn strangers(&self) -> impl Iterator<Item = &Stranger> {
        self.strangers.iter()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}
