//! A small seeded network for this crate's own tests: datagrams that get lost, links that do not.
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::{Config, Effect, Input, MemberEvent, NodeId, Overlay, Peer, Role, Timer, Topology};

pub(crate) fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[derive(Debug)]
enum Event {
    Datagram {
        to: usize,
        from: SocketAddr,
        bytes: Bytes,
    },
    Frame {
        to: usize,
        from: NodeId,
        bytes: Bytes,
        serial: u64,
    },
    Opened {
        at: usize,
        peer: NodeId,
    },
    Failed {
        at: usize,
        peer: NodeId,
    },
    Closed {
        at: usize,
        peer: NodeId,
    },
    Timer {
        at: usize,
        timer: Timer,
    },
}

type Queue = BinaryHeap<Reverse<(Duration, u64, usize)>>;

pub(crate) struct Node {
    pub(crate) overlay: Overlay,
    pub(crate) alive: bool,
    /// Until when it hears and does nothing, as a stopped process.
    pub(crate) frozen: Option<Duration>,
    pub(crate) events: Vec<(Duration, MemberEvent, NodeId)>,
    pub(crate) goodbyes: Vec<NodeId>,
    pub(crate) delivered: Vec<(NodeId, u32, Bytes)>,
    pub(crate) topologies: Vec<(Topology, u64, bool)>,
}

/// Nodes and what is under way between them.
pub(crate) struct Net {
    pub(crate) now: Duration,
    pub(crate) nodes: Vec<Node>,
    pub(crate) loss: f64,
    pub(crate) latency: (u64, u64),
    /// Pairs that cannot speak to each other, in either direction.
    pub(crate) cut: BTreeSet<(usize, usize)>,
    links: BTreeMap<(usize, usize), u64>,
    last_frame: BTreeMap<(usize, usize), Duration>,
    events: BTreeMap<usize, Event>,
    queue: Queue,
    seq: u64,
    serial: u64,
    rng: ChaCha8Rng,
    pub(crate) datagrams: u64,
    pub(crate) datagram_bytes: u64,
    pub(crate) frames: u64,
    /// What is sent is kept, when asked for.
    pub(crate) keep_specimens: bool,
    pub(crate) specimens: Vec<Vec<u8>>,
}

pub(crate) fn addr(at: usize) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::from(0x0a00_0000 + at as u32), 4000))
}

pub(crate) fn node_id(at: usize, boot: u64) -> NodeId {
    NodeId::new(&format!("n{at:04}"), boot).unwrap()
}

fn index(addr: SocketAddr) -> usize {
    let SocketAddr::V4(addr) = addr else {
        panic!("only IPv4 in the test network")
    };
    (u32::from(*addr.ip()) - 0x0a00_0000) as usize
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            now: Duration::ZERO,
            nodes: Vec::new(),
            loss: 0.0,
            latency: (100, 1_000),
            cut: BTreeSet::new(),
            links: BTreeMap::new(),
            last_frame: BTreeMap::new(),
            events: BTreeMap::new(),
            queue: BinaryHeap::new(),
            seq: 0,
            serial: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            datagrams: 0,
            datagram_bytes: 0,
            frames: 0,
            keep_specimens: false,
            specimens: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, config: &Config) -> usize {
        self.add_as(config, Role::Peer, "")
    }

    pub(crate) fn add_as(&mut self, config: &Config, role: Role, meta: &str) -> usize {
        let at = self.nodes.len();
        let overlay = self.boot(at, 1, config, role, meta);
        self.nodes.push(Node {
            overlay,
            alive: true,
            frozen: None,
            events: Vec::new(),
            goodbyes: Vec::new(),
            delivered: Vec::new(),
            topologies: Vec::new(),
        });
        at
    }

    fn boot(&mut self, at: usize, boot: u64, config: &Config, role: Role, meta: &str) -> Overlay {
        let meta = Bytes::copy_from_slice(meta.as_bytes());
        let me = Peer {
            id: node_id(at, boot),
            addr: addr(at),
            role,
            meta,
        };
        Overlay::new(config.clone(), me, self.rng.random()).unwrap()
    }

    /// `count` nodes that join through the first three, all linked up after a while.
    pub(crate) fn cluster(seed: u64, count: usize, config: &Config) -> Self {
        let mut net = Self::new(seed);
        for _ in 0..count {
            net.add(config);
        }
        for at in 0..count {
            net.join(at, &[0, 1, 2]);
        }
        net
    }

    pub(crate) fn join(&mut self, at: usize, seeds: &[usize]) {
        let addrs: Vec<_> = seeds.iter().map(|seed| addr(*seed)).collect();
        self.input(at, Input::Join(&addrs));
    }

    pub(crate) fn input(&mut self, at: usize, input: Input<'_>) {
        let mut out = Vec::new();
        let _ = self.nodes[at].overlay.handle(self.now, input, &mut out);
        out.into_iter().for_each(|effect| self.apply(at, effect));
    }

    /// The process dies: its links break, its datagrams go nowhere.
    pub(crate) fn kill(&mut self, at: usize) {
        self.nodes[at].alive = false;
        self.break_links(|a, b| a == at || b == at);
    }

    /// The process starts again under the same name.
    pub(crate) fn restart(&mut self, at: usize, boot: u64, config: &Config) {
        self.nodes[at].overlay = self.boot(at, boot, config, Role::Peer, "");
        self.nodes[at].alive = true;
        self.nodes[at].frozen = None;
    }

    pub(crate) fn freeze(&mut self, at: usize, until: Duration) {
        self.nodes[at].frozen = Some(until);
    }

    /// Cuts the nodes of one side off from all others; their links break after a while, as TCP's do not.
    pub(crate) fn partition(&mut self, side: impl Fn(usize) -> bool) {
        for a in 0..self.nodes.len() {
            for b in 0..self.nodes.len() {
                if side(a) != side(b) {
                    self.cut.insert((a, b));
                }
            }
        }
    }

    fn break_links(&mut self, hit: impl Fn(usize, usize) -> bool) {
        let broken: Vec<_> = self.links.keys().copied().filter(|(a, b)| hit(*a, *b)).collect();
        for (a, b) in broken {
            self.links.remove(&(a, b));
            let (ida, idb) = (self.id(a), self.id(b));
            self.post(ms(1), Event::Closed { at: a, peer: idb });
            self.post(ms(1), Event::Closed { at: b, peer: ida });
        }
    }

    pub(crate) fn id(&self, at: usize) -> NodeId {
        self.nodes[at].overlay.me().id.clone()
    }

    fn post(&mut self, after: Duration, event: Event) {
        self.seq += 1;
        let key = self.seq as usize;
        self.queue.push(Reverse((self.now + after, self.seq, key)));
        self.events.insert(key, event);
    }

    fn delay(&mut self) -> Duration {
        Duration::from_micros(self.rng.random_range(self.latency.0..=self.latency.1))
    }

    fn apply(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Datagram { to, bytes } => {
                assert!(bytes.len() <= 1_200, "a datagram of {} bytes", bytes.len());
                self.keep(&bytes);
                self.datagrams += 1;
                self.datagram_bytes += bytes.len() as u64;
                let to = index(to);
                let lost = self.rng.random_bool(self.loss) || self.cut.contains(&(at, to));
                if !lost && to < self.nodes.len() {
                    let delay = self.delay();
                    self.post(
                        delay,
                        Event::Datagram {
                            to,
                            from: addr(at),
                            bytes,
                        },
                    );
                }
            }
            Effect::Frame { to, bytes } => {
                self.keep(&bytes);
                self.frames += 1;
                let to = index_of(&to);
                let Some(serial) = self.links.get(&(at.min(to), at.max(to))).copied() else {
                    return;
                };
                if self.cut.contains(&(at, to)) {
                    return;
                }
                let earliest = self.now + self.delay();
                let due = earliest.max(self.last_frame.get(&(at, to)).copied().unwrap_or_default());
                self.last_frame.insert((at, to), due);
                let from = self.id(at);
                self.post(
                    due - self.now,
                    Event::Frame {
                        to,
                        from,
                        bytes,
                        serial,
                    },
                );
            }
            Effect::Connect(peer) => self.connect(at, &peer),
            Effect::Disconnect(id) => {
                let to = index_of(&id);
                if self.links.remove(&(at.min(to), at.max(to))).is_some() {
                    let peer = self.id(at);
                    let delay = self.delay();
                    self.post(delay, Event::Closed { at: to, peer });
                }
            }
            Effect::Timer { timer, after } => self.post(after, Event::Timer { at, timer }),
            Effect::Member(event, peer) => {
                let now = self.now;
                self.nodes[at].events.push((now, event, peer.id));
            }
            Effect::Goodbye(id) => self.nodes[at].goodbyes.push(id),
            Effect::Deliver { from, topic, payload } => {
                self.nodes[at].delivered.push((from, topic, payload));
            }
            Effect::Topology {
                current,
                epoch,
                settled,
            } => {
                self.nodes[at].topologies.push((current, epoch, settled));
            }
        }
    }

    fn keep(&mut self, bytes: &Bytes) {
        if self.keep_specimens {
            self.specimens.push(bytes.to_vec());
        }
    }

    fn connect(&mut self, at: usize, peer: &Peer) {
        let to = index(peer.addr);
        let there = to < self.nodes.len() && self.nodes[to].alive && self.id(to) == peer.id;
        let delay = self.delay() * 3;
        if !there || self.cut.contains(&(at, to)) || self.nodes[to].frozen.is_some() {
            return self.post(
                delay,
                Event::Failed {
                    at,
                    peer: peer.id.clone(),
                },
            );
        }
        let me = self.id(at);
        let pair = (at.min(to), at.max(to));
        if !self.links.contains_key(&pair) {
            self.serial += 1;
            self.links.insert(pair, self.serial);
        }
        self.post(
            delay,
            Event::Opened {
                at,
                peer: peer.id.clone(),
            },
        );
        self.post(delay, Event::Opened { at: to, peer: me });
    }

    /// Runs until the given time.
    pub(crate) fn run_until(&mut self, until: Duration) {
        while let Some(Reverse((due, ..))) = self.queue.peek()
            && *due <= until
        {
            self.step();
        }
        self.now = self.now.max(until);
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// Runs until the condition holds, and says after how long; `None` when it does not in time.
    pub(crate) fn run_to(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        while !done(self) {
            if self.now - start >= limit {
                return None;
            }
            self.run_for(ms(10));
        }
        Some(self.now - start)
    }

    fn step(&mut self) {
        let Some(Reverse((due, _, key))) = self.queue.pop() else {
            return;
        };
        let event = self.events.remove(&key).expect("every queued key has its event");
        self.now = due;
        let at = match &event {
            Event::Datagram { to, .. } | Event::Frame { to, .. } => *to,
            Event::Opened { at, .. }
            | Event::Failed { at, .. }
            | Event::Closed { at, .. }
            | Event::Timer { at, .. } => *at,
        };
        if let Some(until) = self.nodes[at].frozen {
            if until > self.now {
                return self.post(until - self.now, event);
            }
            self.nodes[at].frozen = None;
        }
        if self.nodes[at].alive {
            self.give(at, event);
        }
    }

    fn give(&mut self, at: usize, event: Event) {
        match event {
            Event::Datagram { from, bytes, .. } => self.input(at, Input::Datagram { from, bytes: &bytes }),
            Event::Frame {
                from, bytes, serial, ..
            } => {
                let other = index_of(&from);
                if self.links.get(&(at.min(other), at.max(other))) == Some(&serial) {
                    self.input(
                        at,
                        Input::Frame {
                            from: &from,
                            bytes: &bytes,
                        },
                    );
                }
            }
            Event::Opened { peer, .. } => {
                let other = index_of(&peer);
                if self.links.contains_key(&(at.min(other), at.max(other))) {
                    self.input(at, Input::LinkUp(peer));
                } else {
                    self.input(at, Input::LinkDown(peer));
                }
            }
            Event::Failed { peer, .. } => self.input(at, Input::LinkDown(peer)),
            Event::Closed { peer, .. } => {
                let other = index_of(&peer);
                if !self.links.contains_key(&(at.min(other), at.max(other))) {
                    self.input(at, Input::LinkDown(peer));
                }
            }
            Event::Timer { timer, .. } => self.input(at, Input::Timer(timer)),
        }
    }

    pub(crate) fn alive(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.nodes.len()).filter(|at| self.nodes[*at].alive)
    }

    /// Whether every living node knows exactly the other living ones.
    pub(crate) fn agreed(&self) -> bool {
        let alive: Vec<_> = self.alive().map(|at| self.id(at)).collect();
        self.alive().all(|at| {
            let me = self.id(at);
            let mut known: Vec<_> = self.nodes[at]
                .overlay
                .members()
                .map(|peer| peer.id.clone())
                .collect();
            known.push(me);
            known.sort();
            known == alive
        })
    }

    /// Events of one kind seen anywhere.
    pub(crate) fn count(&self, wanted: impl Fn(&MemberEvent) -> bool) -> usize {
        self.nodes
            .iter()
            .flat_map(|node| &node.events)
            .filter(|(_, event, _)| wanted(event))
            .count()
    }

    /// Open links of a node.
    pub(crate) fn degree(&self, at: usize) -> usize {
        self.links.keys().filter(|(a, b)| *a == at || *b == at).count()
    }

    /// Nodes reachable over links from the first living one.
    pub(crate) fn reach(&self) -> usize {
        let Some(first) = self.alive().next() else {
            return 0;
        };
        let (mut seen, mut todo) = (BTreeSet::from([first]), vec![first]);
        while let Some(at) = todo.pop() {
            for (a, b) in self.links.keys() {
                let other = if *a == at {
                    *b
                } else if *b == at {
                    *a
                } else {
                    continue;
                };
                if self.nodes[other].alive && seen.insert(other) {
                    todo.push(other);
                }
            }
        }
        seen.len()
    }
}

pub(crate) fn index_of(id: &NodeId) -> usize {
    id.name.as_str()[1..]
        .parse()
        .expect("test names are n and a number")
}
