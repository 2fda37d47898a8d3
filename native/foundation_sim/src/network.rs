//! Nodes that run the overlay, links and datagrams between them, and one clock.
//!
//! Everything random comes from one seed and everything happens in one order, so a run can be repeated exactly; its
//! [`Network::hash`] says whether it was.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use foundation_overlay::{Config, Effect, Input, NodeId, Overlay, Peer, Role, Timer, Topology, Urgency};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::faults::{Faults, Handicap};
use crate::links::Links;
use crate::observe::Observed;
use crate::queue::Queue;

mod carry;
mod look;
mod run;

#[derive(Debug)]
pub(crate) enum Event {
    Datagram {
        from: u32,
        bytes: Bytes,
    },
    Frame {
        from: u32,
        link: u64,
        bytes: Bytes,
    },
    Up {
        peer: u32,
        boot: u64,
        link: u64,
    },
    Down {
        peer: u32,
        link: u64,
    },
    Failed {
        peer: u32,
        boot: u64,
    },
    Timer {
        timer: Timer,
        boot: u64,
    },
    /// Looks whether a link still lets nothing through.
    Stalled {
        peer: u32,
        link: u64,
    },
}

/// One node of the network.
#[derive(Debug)]
pub struct Node {
    /// What is tested.
    pub overlay: Overlay,
    /// Whether its process runs.
    pub alive: bool,
    /// Which cuts it is subject to.
    pub group: u8,
    /// How it is off.
    pub handicap: Handicap,
    frozen: bool,
    vanished: bool,
    boot: u64,
    parked: Vec<Event>,
}

/// Counts of what went over the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Datagrams sent.
    pub datagrams: u64,
    /// Their bytes.
    pub datagram_bytes: u64,
    /// Frames sent.
    pub frames: u64,
    /// Their bytes.
    pub frame_bytes: u64,
    /// Attempts to open a link.
    pub connects: u64,
    /// Events handled.
    pub events: u64,
}

/// A network of simulated nodes. See the [module](self).
#[derive(Debug)]
pub struct Network {
    /// What the network does to messages.
    pub faults: Faults,
    /// What was seen so far.
    pub observed: Observed,
    /// How nodes will be off that are started later, by their numbers.
    pub handicaps: Vec<Handicap>,
    now: Duration,
    nodes: Vec<Node>,
    config: Config,
    links: Links,
    queue: Queue<(u32, Event)>,
    rng: ChaCha8Rng,
    traffic: Traffic,
    hash: u64,
    out: Vec<Effect>,
}

const BASE: u32 = 0x0a00_0000;
const PORT: u16 = 4000;

/// Where a node listens.
#[must_use]
pub fn address(at: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(BASE + at as u32), PORT))
}

fn name(at: usize) -> String {
    format!("n{at:05}")
}

fn identity(at: usize, boot: u64) -> NodeId {
    NodeId::new(&name(at), boot).expect("a short name")
}

/// The number of the node with this identity, which must be of this network.
#[must_use]
pub fn index(id: &NodeId) -> usize {
    id.name.as_str()[1..].parse().expect("names are n and a number")
}

fn index_of(addr: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(addr) = addr else { return None };
    u32::from(*addr.ip()).checked_sub(BASE).map(|at| at as usize)
}

impl Network {
    /// No nodes yet. All get this configuration.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            faults: Faults::default(),
            observed: Observed::default(),
            handicaps: Vec::new(),
            now: Duration::ZERO,
            nodes: Vec::new(),
            config,
            links: Links::default(),
            queue: Queue::new(),
            rng: ChaCha8Rng::seed_from_u64(seed),
            traffic: Traffic::default(),
            hash: seed,
            out: Vec::new(),
        }
    }

    /// Starts one more node; its number.
    pub fn start(&mut self) -> usize {
        self.start_as(Role::Peer)
    }

    /// Starts one more node in this role; its number.
    pub fn start_as(&mut self, role: Role) -> usize {
        let at = self.nodes.len();
        let boot = self.boot_time();
        let overlay = self.make(at, boot, role);
        let node = Node {
            overlay,
            alive: true,
            group: 0,
            handicap: self.handicaps.get(at).copied().unwrap_or(Handicap::NONE),
            frozen: false,
            vanished: false,
            boot,
            parked: Vec::new(),
        };
        self.nodes.push(node);
        self.links.add_node();
        self.observed.add_node(self.now);
        at
    }

    /// Starts a node that died, as a new life under the old name.
    pub fn restart(&mut self, at: usize) {
        let role = self.nodes[at].overlay.me().role;
        let boot = self.boot_time();
        let overlay = self.make(at, boot, role);
        self.close_all(at);
        let node = &mut self.nodes[at];
        (node.overlay, node.boot, node.alive) = (overlay, boot, true);
        (node.frozen, node.vanished) = (false, false);
        node.parked.clear();
        self.observed.restarted(at, self.now);
    }

    fn boot_time(&self) -> u64 {
        1 + self.now.as_micros() as u64
    }

    fn make(&mut self, at: usize, boot: u64, role: Role) -> Overlay {
        let me = Peer {
            id: identity(at, boot),
            addr: address(at),
            role,
            meta: Bytes::new(),
        };
        Overlay::new(self.config.clone(), me, self.rng.random()).expect("a valid configuration")
    }

    /// Lets a node join through others.
    pub fn join(&mut self, at: usize, through: &[usize]) {
        let seeds: Vec<SocketAddr> = through.iter().map(|seed| address(*seed)).collect();
        self.input(at, Input::Join(&seeds));
    }

    /// Lets a node leave politely; its process ends.
    pub fn leave(&mut self, at: usize) {
        self.input(at, Input::Leave);
        self.nodes[at].alive = false;
        self.observed.died(at, self.now);
        self.close_all(at);
    }

    /// Ends a process: its links are reset, which the other ends see as soon as a packet takes.
    pub fn crash(&mut self, at: usize) {
        if self.nodes[at].alive {
            self.nodes[at].alive = false;
            self.observed.died(at, self.now);
            self.close_all(at);
        }
    }

    /// Takes a machine off the network without a word: links stay, and nothing goes through.
    pub fn vanish(&mut self, at: usize) {
        if self.nodes[at].alive {
            self.nodes[at].alive = false;
            self.nodes[at].vanished = true;
            self.observed.died(at, self.now);
            for peer in self.links.of(at) {
                self.watch(peer as usize, at);
            }
        }
    }

    /// Stops a process, as `kill -STOP` does, or lets it go on. While stopped, it counts as dead.
    pub fn freeze(&mut self, at: usize, frozen: bool) {
        self.nodes[at].frozen = frozen;
        if frozen {
            self.observed.died(at, self.now);
        } else {
            self.observed.thawed(at);
            for event in std::mem::take(&mut self.nodes[at].parked) {
                self.queue.push(self.now, (at as u32, event));
            }
        }
    }

    /// Broadcasts from a node; the number by which [`Observed`] knows it. `None` when the node refused.
    pub fn broadcast(&mut self, at: usize, topic: u32, size: usize, urgency: Urgency) -> Option<usize> {
        let number = self.observed.announce(at, self.now);
        let mut payload = vec![0; size.max(8)];
        payload[..8].copy_from_slice(&(number as u64).to_le_bytes());
        let accepted = self.input(
            at,
            Input::Broadcast {
                topic,
                payload: payload.into(),
                urgency,
            },
        );
        accepted.then_some(number)
    }

    /// Subscribes a node to a topic.
    pub fn subscribe(&mut self, at: usize, topic: u32) {
        self.input(at, Input::Subscribe(topic));
    }

    /// Changes the topology of the cluster from this node.
    pub fn switch(&mut self, at: usize, topology: Topology) {
        self.input(at, Input::Switch(topology));
    }

    /// Opens cuts again and lets through what waited.
    pub fn heal(&mut self) {
        self.faults.heal();
        let nodes = &self.nodes;
        for (from, to, link, bytes) in self
            .links
            .release(|from, to| !nodes[from].vanished && !nodes[to].vanished)
        {
            self.deliver(from, to, link, bytes);
        }
    }

    /// A node, to change how it is off.
    pub fn node_mut(&mut self, at: usize) -> &mut Node {
        &mut self.nodes[at]
    }

    /// The generator of the run, for scenarios.
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
    }
}
