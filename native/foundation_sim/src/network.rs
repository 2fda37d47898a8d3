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
use crate::hasher::spread;
use crate::links::{Links, Opened};
use crate::observe::{Observed, Violation};
use crate::queue::Queue;

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

    /// Runs for this long.
    pub fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some((at, (node, event))) = self.queue.pop(until) {
            self.now = at;
            self.step(node as usize, event);
        }
        self.now = until;
    }

    /// Runs until the condition holds, looking each `look`; the time it took, or `None` after `limit`.
    pub fn run_until(
        &mut self,
        limit: Duration,
        look: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        while !done(self) {
            if self.now - start >= limit {
                return None;
            }
            self.run(look);
        }
        Some(self.now - start)
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

    /// A node, to change how it is off.
    pub fn node_mut(&mut self, at: usize) -> &mut Node {
        &mut self.nodes[at]
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

    /// The generator of the run, for scenarios.
    pub fn rng(&mut self) -> &mut ChaCha8Rng {
        &mut self.rng
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

    fn step(&mut self, at: usize, event: Event) {
        if let Event::Stalled { peer, link } = event {
            return self.give_up(at, peer as usize, link);
        }
        let node = &mut self.nodes[at];
        if !node.alive {
            return;
        }
        if node.frozen {
            return node.parked.push(event);
        }
        if let Some(wakes) = node.handicap.wakes(self.now, at) {
            return self.queue.push(wakes, (at as u32, event));
        }
        self.traffic.events += 1;
        self.handle(at, event);
    }

    fn handle(&mut self, at: usize, event: Event) {
        match event {
            Event::Datagram { from, bytes } => {
                self.mix(at, 1, u64::from(from), &bytes);
                self.input(
                    at,
                    Input::Datagram {
                        from: address(from as usize),
                        bytes: &bytes,
                    },
                );
            }
            Event::Frame { from, link, bytes } => {
                if let Some(from) = self.links.sender(at, from as usize, link).cloned() {
                    self.mix(at, 2, link, &bytes);
                    self.input(
                        at,
                        Input::Frame {
                            from: &from,
                            bytes: &bytes,
                        },
                    );
                }
            }
            Event::Up { peer, boot, link } => {
                self.mix(at, 3, link, &[]);
                let Some(arrival) = self.links.arrive(at, peer as usize, link) else {
                    self.input(at, Input::LinkDown(identity(peer as usize, boot)));
                    return;
                };
                if let Some(old) = arrival.replaced {
                    self.input(at, Input::LinkDown(old));
                }
                self.input(at, Input::LinkUp(arrival.peer));
            }
            Event::Down { peer, link } => {
                if let Some(id) = self.links.close(at, peer as usize, link) {
                    self.mix(at, 4, link, &[]);
                    self.input(at, Input::LinkDown(id));
                }
            }
            Event::Failed { peer, boot } => {
                self.mix(at, 6, u64::from(peer), &[]);
                self.input(at, Input::LinkDown(identity(peer as usize, boot)));
            }
            Event::Timer { timer, boot } if boot == self.nodes[at].boot => {
                self.mix(at, 5, 0, &[]);
                self.input(at, Input::Timer(timer));
            }
            Event::Timer { .. } | Event::Stalled { .. } => {}
        }
    }

    fn input(&mut self, at: usize, input: Input<'_>) -> bool {
        let mut out = std::mem::take(&mut self.out);
        let node = &mut self.nodes[at];
        let local = node.handicap.local(self.now);
        let accepted = match node.overlay.handle(local, input, &mut out) {
            Ok(()) => true,
            Err(error) => {
                self.observed.refused(&error);
                false
            }
        };
        for effect in out.drain(..) {
            self.perform(at, effect);
        }
        self.out = out;
        accepted
    }

    fn perform(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Datagram { to, bytes } => self.datagram(at, to, bytes),
            Effect::Frame { to, bytes } => self.frame(at, &to, bytes),
            Effect::Connect(peer) => self.connect(at, &peer),
            Effect::Disconnect(id) => self.disconnect(at, &id),
            Effect::Timer { timer, after } => {
                let node = &self.nodes[at];
                let (due, boot) = (self.now + node.handicap.real(after), node.boot);
                self.queue.push(due, (at as u32, Event::Timer { timer, boot }));
            }
            Effect::Member(event, peer) => {
                let subject = index(&peer.id);
                let living = self
                    .nodes
                    .get(subject)
                    .is_some_and(|node| node.alive && !node.frozen && node.boot == peer.id.boot);
                let subject = (subject, peer.id.boot);
                self.observed.member(self.now, at, subject, event, living);
            }
            Effect::Deliver { payload, .. } => {
                let number = payload
                    .first_chunk::<8>()
                    .map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
                self.observed.deliver(self.now, at, number as usize);
            }
            Effect::Topology { current, settled, .. } => {
                self.observed.topology(self.now, at, current, settled)
            }
        }
    }

    fn datagram(&mut self, at: usize, to: SocketAddr, bytes: Bytes) {
        self.traffic.datagrams += 1;
        self.traffic.datagram_bytes += bytes.len() as u64;
        if bytes.len() > self.config.max_datagram {
            self.observed.violate(Violation::Oversized {
                node: at,
                size: bytes.len(),
            });
        }
        let Some(to) = index_of(to).filter(|to| *to < self.nodes.len()) else {
            return;
        };
        if !self.passes(at, to) {
            return;
        }
        for delay in self.faults.datagram(&mut self.rng, at, to).into_iter().flatten() {
            let event = Event::Datagram {
                from: at as u32,
                bytes: bytes.clone(),
            };
            self.queue.push(self.now + delay, (to as u32, event));
        }
    }

    fn frame(&mut self, at: usize, to: &NodeId, bytes: Bytes) {
        self.traffic.frames += 1;
        self.traffic.frame_bytes += bytes.len() as u64;
        let to = index(to);
        let Some(link) = self.links.current(at, to) else {
            return;
        };
        // What waits is not passed by what comes later.
        if !self.passes(at, to) || self.links.holds(at, to) {
            self.links.hold(at, to, bytes);
            self.watch(at, to);
        } else {
            self.deliver(at, to, link, bytes);
        }
    }

    /// Whether a message from one node to another gets through.
    fn passes(&self, from: usize, to: usize) -> bool {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        !to.vanished && !from.vanished && !self.faults.is_cut(from.group, to.group)
    }

    fn deliver(&mut self, from: usize, to: usize, link: u64, bytes: Bytes) {
        let due = self.arrival(from, to);
        self.queue.push(
            due,
            (
                to as u32,
                Event::Frame {
                    from: from as u32,
                    link,
                    bytes,
                },
            ),
        );
    }

    /// When what is sent over a link now arrives.
    fn arrival(&mut self, from: usize, to: usize) -> Duration {
        let delay = self.faults.frame(&mut self.rng, from, to);
        self.links.in_order(from, to, self.now + delay)
    }

    /// Looks later whether the link lets something through again.
    fn watch(&mut self, at: usize, peer: usize) {
        if let Some(link) = self.links.watch(at, peer) {
            let due = self.now + self.faults.link_timeout;
            self.queue.push(
                due,
                (
                    at as u32,
                    Event::Stalled {
                        peer: peer as u32,
                        link,
                    },
                ),
            );
        }
    }

    fn give_up(&mut self, at: usize, peer: usize, link: u64) {
        if self.links.current(at, peer) != Some(link) {
            return;
        }
        if self.passes(at, peer) && self.passes(peer, at) {
            return self.links.unwatch(at, peer);
        }
        self.links.disagree(at, peer, link);
        for (node, other) in [(at, peer), (peer, at)] {
            self.queue.push(
                self.now,
                (
                    node as u32,
                    Event::Down {
                        peer: other as u32,
                        link,
                    },
                ),
            );
        }
    }

    fn connect(&mut self, at: usize, peer: &Peer) {
        self.traffic.connects += 1;
        let to = index(&peer.id);
        let (boot, mine) = (peer.id.boot, self.nodes[at].boot);
        let failed = Event::Failed {
            peer: to as u32,
            boot,
        };
        let other = &self.nodes[to];
        if other.frozen || !self.passes(at, to) || !self.passes(to, at) {
            return self
                .queue
                .push(self.now + self.faults.link_timeout, (at as u32, failed));
        }
        // A handshake of three messages; both ends know of the link at its end.
        let trips: Duration = (0..3).map(|_| self.faults.frame(&mut self.rng, at, to)).sum();
        let due = self.now + trips;
        if !other.alive || other.boot != boot {
            return self.queue.push(due, (at as u32, failed));
        }
        let ids = [self.nodes[at].overlay.me().id.clone(), peer.id.clone()];
        let opened = self.links.open(at, to, ids);
        let (Opened::New(link) | Opened::Same(link)) = opened;
        self.queue.push(
            due,
            (
                at as u32,
                Event::Up {
                    peer: to as u32,
                    boot,
                    link,
                },
            ),
        );
        if let Opened::New(_) = opened {
            self.queue.push(
                due,
                (
                    to as u32,
                    Event::Up {
                        peer: at as u32,
                        boot: mine,
                        link,
                    },
                ),
            );
        }
    }

    fn disconnect(&mut self, at: usize, id: &NodeId) {
        let peer = index(id);
        if self.links.is_to(at, id, peer) {
            self.close(at, peer);
        }
    }

    /// Closes one end; the other hears of it after what was sent before.
    fn close(&mut self, at: usize, peer: usize) {
        let due = self.arrival(at, peer);
        if let Some(link) = self.links.drop_end(at, peer)
            && self.passes(at, peer)
        {
            self.queue.push(
                due,
                (
                    peer as u32,
                    Event::Down {
                        peer: at as u32,
                        link,
                    },
                ),
            );
        } else if self.links.current(peer, at).is_some() {
            self.watch(peer, at);
        }
    }

    fn close_all(&mut self, at: usize) {
        for peer in self.links.of(at) {
            self.close(at, peer as usize);
        }
    }

    /// Adds an event to the hash of the run.
    fn mix(&mut self, at: usize, kind: u64, what: u64, bytes: &[u8]) {
        let mut hash = self.hash ^ self.now.as_nanos() as u64;
        for word in [at as u64, kind, what] {
            hash = spread(hash ^ word);
        }
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = spread(hash ^ u64::from_le_bytes(word));
        }
        self.hash = hash;
    }
}
