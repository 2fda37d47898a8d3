//! What every part of the overlay needs at hand while it handles one input.
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::links::Links;
use crate::measure::{Measures, Tally};
use crate::swim_id::{Body, SwimId};
use crate::timers::Timers;
use crate::wire::WirePeer;
use crate::{Config, Effect, MemberEvent, NodeId, Peer, PeerName, Topology};

/// Why the overlay wakes up.
#[derive(Debug)]
pub(crate) enum Wake {
    /// One of foca's own timers.
    Swim(foca::Timer<SwimId>),
    /// Ping the probed member again; so many times are left.
    Ping(u8),
    /// Ask a suspect again.
    Challenge(SwimId, u16),
    /// A member whose link closed was asked at this time whether it lives.
    Doubt(SwimId, Duration),
    /// The time of a suspect may be up.
    Verdict(SwimId, u16),
    /// The outcome of a suspicion should have been heard of.
    Outcome(SwimId, u16),
    /// Compare with a neighbour who is alive.
    Compare,
    /// Show the next member in the ring that this node lives.
    Beat,
    /// Look after the member before this one in the ring.
    Watch,
    /// Knock at seeds that did not answer yet.
    Join,
    /// Send what was learnt of members on to neighbours.
    News,
    /// Open the link to this node, if it is still wanted.
    Link(NodeId),
    /// Close the link to this node, if nobody wants it.
    Idle(NodeId),
    /// Tell neighbours and some members of the decision in force, in case they missed it.
    Remind,
    /// A topology's own business.
    Topology(u8),
    /// Look whether a switch has settled.
    Settle,
    /// See whether another topology would serve better.
    Automatic(u64),
    /// Look for ways again.
    Search,
    /// Something about broadcasts is due.
    Tree,
}

/// Something one part found out that the others must hear of.
#[derive(Debug)]
pub(crate) enum News {
    Member(MemberEvent, Peer),
    /// Another topology is in force.
    Switched(Topology),
    /// A link opened, closed, or is wanted by others than before.
    Link(NodeId),
    /// We closed the link to this node.
    Unlinked(NodeId),
}

/// Counters, all since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams asked to be sent.
    pub datagrams_sent: u64,
    /// Datagrams handled.
    pub datagrams_received: u64,
    /// Their bytes, both ways.
    pub datagram_bytes: u64,
    /// Frames asked to be sent.
    pub frames_sent: u64,
    /// Frames handled.
    pub frames_received: u64,
    /// Their bytes, both ways.
    pub frame_bytes: u64,
    /// Datagrams and frames that were not understood.
    pub malformed: u64,
    /// Datagrams from another node that has our name.
    pub name_conflicts: u64,
    /// Probes that failed directly and through others.
    pub probes_failed: u64,
    /// Suspicions this node raised.
    pub suspicions: u64,
    /// Suspicions against this node that it refuted.
    pub refutations: u64,
    /// Times this node was declared gone although it lives.
    pub renewals: u64,
    /// Members seen up.
    pub members_up: u64,
    /// Members seen gone.
    pub members_down: u64,
    /// Links opened.
    pub links_up: u64,
    /// Links lost or refused.
    pub links_down: u64,
}

/// Time, randomness, links, deadlines and the effects so far.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) now: Duration,
    pub(crate) me: Peer,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) timers: Timers<Wake>,
    pub(crate) links: Links,
    /// The other members, in the order of their names.
    pub(crate) peers: BTreeMap<PeerName, Peer>,
    pub(crate) measures: Measures,
    pub(crate) counters: Counters,
    pub(crate) news: VecDeque<News>,
    pub(crate) out: Vec<Effect>,
}

impl Context {
    pub(crate) fn new(config: Config, me: Peer, seed: [u8; 32]) -> Self {
        Self {
            config,
            now: Duration::ZERO,
            me,
            rng: ChaCha8Rng::from_seed(seed),
            timers: Timers::new(),
            links: Links::default(),
            peers: BTreeMap::new(),
            measures: Measures::default(),
            counters: Counters::default(),
            news: VecDeque::new(),
            out: Vec::new(),
        }
    }

    pub(crate) fn wake(&mut self, after: Duration, why: Wake) {
        self.timers.at(self.now + after, why);
    }

    pub(crate) fn datagram(&mut self, to: SocketAddr, bytes: Bytes) {
        self.counters.datagrams_sent += 1;
        self.counters.datagram_bytes += bytes.len() as u64;
        self.out.push(Effect::Datagram { to, bytes });
    }

    /// Sends a frame if the link is up; otherwise nothing happens.
    pub(crate) fn frame(&mut self, to: &NodeId, bytes: Bytes) -> bool {
        let up = self.links.is_up(to);
        if up {
            self.counters.frames_sent += 1;
            self.counters.frame_bytes += bytes.len() as u64;
            self.out.push(Effect::Frame {
                to: to.clone(),
                bytes,
            });
        }
        up
    }

    pub(crate) fn tell(&mut self, event: MemberEvent, peer: Peer) {
        self.news.push_back(News::Member(event, peer));
    }

    /// Some of these, each equally likely, in no particular order.
    pub(crate) fn sample<T>(&mut self, items: impl IntoIterator<Item = T>, wanted: usize) -> Vec<T> {
        let mut chosen = Vec::with_capacity(wanted);
        for (seen, item) in items.into_iter().enumerate() {
            if seen < wanted {
                chosen.push(item);
            } else {
                let at = self.rng.random_range(0..=seen);
                if at < wanted {
                    chosen[at] = item;
                }
            }
        }
        chosen
    }

    /// The measured round trip to a node, in microseconds.
    pub(crate) fn cost(&self, id: &NodeId) -> Option<f64> {
        self.measures.round_trips.get(id)?.mean()
    }

    /// A round trip was measured.
    pub(crate) fn round_trip(&mut self, id: &NodeId, micros: f64) {
        if self.peers.get(&id.name).is_some_and(|peer| peer.id == *id) {
            self.measures
                .round_trips
                .entry(id.clone())
                .or_default()
                .add(micros);
        }
    }

    /// The counts of this moment.
    pub(crate) fn tally(&mut self) -> &mut Tally {
        self.measures.minute.now(self.now)
    }

    /// A generator of its own for a part that needs one, decided by the seed alone.
    pub(crate) fn fork(&mut self) -> ChaCha8Rng {
        ChaCha8Rng::from_rng(&mut self.rng)
    }

    /// This node as it names itself to others.
    pub(crate) fn swim_id(&self) -> SwimId {
        let Peer { id, addr, role, meta } = &self.me;
        SwimId::new(Body {
            id: id.clone(),
            renewal: 0,
            addr: *addr,
            role: *role,
            has_meta: !meta.is_empty(),
        })
    }

    pub(crate) fn wire_me(&self, id: SwimId) -> WirePeer {
        WirePeer {
            id,
            meta: self.me.meta.to_vec(),
        }
    }
}
