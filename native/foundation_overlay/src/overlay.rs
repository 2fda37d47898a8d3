//! The overlay as one state machine.
use std::time::Duration;

use foca::Member as Claim;

use crate::advise::{self, Advice, Automatic, Workload};
use crate::broadcast::Broadcasts;
use crate::context::{Context, Counters, News, Wake};
use crate::join::Seeds;
use crate::measure::{self, Analysis};
use crate::routing::Router;
use crate::swim::{self, Swim};
use crate::switch::Shapes;
use crate::wire::{self, Control, Probe, kind};
use crate::{Config, DownReason, Effect, Error, Input, MAX_META, MemberEvent, NodeId, Peer, Timer, Topology};

/// Membership, topology and broadcast of one node, without clock, socket, thread or randomness of its own.
///
/// Everything comes in through [`handle`](Self::handle) with the time, and everything to be done goes out
/// as effects. The same inputs and the same seed give the same effects.
pub struct Overlay {
    pub(crate) ctx: Context,
    swim: Option<Swim>,
    seeds: Seeds,
    pub(crate) shapes: Shapes,
    broadcasts: Broadcasts,
    pub(crate) router: Router,
    automatic: Automatic,
    left: bool,
}

/// What the overlay is like now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// The topology in force.
    pub topology: Topology,
    /// The number of the decision for it.
    pub epoch: u64,
    /// Whether no link of a former topology is kept.
    pub settled: bool,
    /// Members known, without this node.
    pub members: usize,
    /// Of these, suspected.
    pub suspects: usize,
    /// Open links.
    pub links: usize,
    /// Links the topology wants.
    pub wanted: usize,
    /// Local health: 0 is well, 8 is worst; timeouts are stretched by one more than this.
    pub health: u32,
    /// News about members not yet sent often enough.
    pub backlog: usize,
    /// Counters since the start.
    pub counters: Counters,
}

impl Overlay {
    /// A node that knows nobody yet. The seed decides everything random.
    ///
    /// [`Error::Config`] for values the protocols cannot work with, [`Error::MetaTooLong`] for metadata
    /// above 512 bytes.
    pub fn new(config: Config, me: Peer, seed: [u8; 32]) -> Result<Self, Error> {
        config.validate()?;
        if me.meta.len() > MAX_META {
            return Err(Error::MetaTooLong(me.meta.len()));
        }
        let swim_config = config.swim.clone();
        let mut ctx = Context::new(config.clone(), me, seed);
        let swim = swim_config.map(|swim| Swim::new(&mut ctx, &swim, &config));
        let mut broadcasts = Broadcasts::new(&mut ctx);
        broadcasts.set_topology(&mut ctx, config.topology);
        let shapes = Shapes::new(&mut ctx);
        Ok(Self {
            ctx,
            swim,
            seeds: Seeds::default(),
            shapes,
            broadcasts,
            router: Router::default(),
            automatic: Automatic::default(),
            left: false,
        })
    }

    /// Takes in one input at the time `now`, which must never go back, and adds what is to be done to
    /// `out`. An error means the input was refused and nothing else; effects may have been added before.
    pub fn handle(&mut self, now: Duration, input: Input<'_>, out: &mut Vec<Effect>) -> Result<(), Error> {
        self.ctx.now = now.max(self.ctx.now);
        std::mem::swap(&mut self.ctx.out, out);
        let result = self.dispatch(input);
        self.drain();
        if let Err(Error::Malformed(_) | Error::Version(_)) = result {
            self.ctx.counters.malformed += 1;
        }
        let mut effects = std::mem::take(&mut self.ctx.out);
        self.ctx.timers.arm(self.ctx.now, &mut effects);
        *out = effects;
        result
    }

    fn dispatch(&mut self, input: Input<'_>) -> Result<(), Error> {
        let ctx = &mut self.ctx;
        match input {
            Input::Timer(timer) => self.wake(timer),
            _ if self.left => return Err(Error::Left),
            Input::Datagram { from, bytes } => {
                ctx.counters.datagrams_received += 1;
                ctx.counters.datagram_bytes += bytes.len() as u64;
                return self.datagram(from, bytes);
            }
            Input::Frame { from, bytes } => {
                ctx.counters.frames_received += 1;
                ctx.counters.frame_bytes += bytes.len() as u64;
                if let Some(swim) = &mut self.swim {
                    swim.heard(ctx, from);
                }
                return self.frame(from, bytes);
            }
            Input::LinkUp(id) => self.link_up(&id),
            Input::LinkDown(id) => self.link_down(&id),
            Input::Rtt { peer, micros } => ctx.round_trip(peer, f64::from(micros)),
            Input::Join(addrs) => self.seeds.add(ctx, addrs),
            Input::Leave => self.leave(),
            Input::Switch(topology) => self.shapes.decide(ctx, topology),
            Input::Slow(slow) => {
                if let Some(swim) = &mut self.swim {
                    swim.health.set_slow(slow);
                }
            }
            Input::Broadcast {
                topic,
                payload,
                urgency,
            } => {
                ctx.tally().broadcasts += 1;
                return self.broadcasts.broadcast(ctx, topic, payload, urgency);
            }
            Input::Subscribe(topic) => return self.broadcasts.subscribe(ctx, topic),
            Input::Unsubscribe(topic) => self.broadcasts.unsubscribe(ctx, topic),
            Input::Traffic {
                peer,
                sent,
                received,
                lost,
            } => ctx.traffic(peer, sent, received, lost),
            Input::Automatic(workload) => self.automatic.set(ctx, workload),
        }
        Ok(())
    }

    fn wake(&mut self, timer: Timer) {
        self.ctx.timers.rang(self.ctx.now, timer);
        while let Some((late, why)) = self.ctx.timers.pop(self.ctx.now) {
            if self.left {
                continue;
            }
            let ctx = &mut self.ctx;
            match (why, &mut self.swim) {
                (Wake::Swim(timer), Some(swim)) => swim.timer(ctx, late, timer),
                (Wake::Ping(left), Some(swim)) => swim.repeat_ping(ctx, left),
                (Wake::Challenge(id, incarnation), Some(swim)) => swim.challenge(ctx, id, incarnation),
                (Wake::Doubt(id, since), Some(swim)) => swim.doubted(ctx, &id, since),
                (Wake::Verdict(id, incarnation), Some(swim)) => swim.verdict(ctx, late, &id, incarnation),
                (Wake::News, Some(swim)) => swim.send_news(ctx),
                (Wake::Compare, Some(swim)) => swim.compare(ctx),
                (Wake::Join, swim) => {
                    self.seeds.tick(ctx);
                    if let Some(swim) = swim {
                        swim.look_around(ctx);
                    }
                }
                (Wake::Link(id), _) => ctx.open_link(&id),
                (Wake::Idle(id), _) => ctx.link_idle(&id),
                (Wake::Topology(what), _) => self.shapes.each().for_each(|shape| shape.wake(ctx, what)),
                (Wake::Settle, _) => self.shapes.look(ctx),
                (Wake::Remind, _) => self.shapes.remind(ctx),
                (Wake::Automatic(round), _) => {
                    let analysis = measure::analyze(ctx, self.shapes.decision.topology);
                    let since = self.shapes.since();
                    if let Some(topology) = self.automatic.look(ctx, round, since, &analysis) {
                        self.shapes.decide(ctx, topology);
                    }
                }
                (Wake::Search, _) => self.router.search(ctx),
                (Wake::Tree, _) => self.broadcasts.timer(ctx),
                // Planned by SWIM alone.
                (
                    Wake::Swim(_)
                    | Wake::Ping(_)
                    | Wake::Challenge(..)
                    | Wake::Doubt(..)
                    | Wake::Verdict(..)
                    | Wake::News
                    | Wake::Compare,
                    None,
                ) => {}
            }
            self.drain();
        }
    }

    fn datagram(&mut self, from: std::net::SocketAddr, bytes: &[u8]) -> Result<(), Error> {
        let ctx = &mut self.ctx;
        let (which, body) = wire::open(bytes)?;
        match (which, &mut self.swim) {
            (kind::SWIM, Some(swim)) => swim.datagram(ctx, body),
            (kind::SWIM, None) => Ok(()),
            (kind::PROBE, _) => {
                let probe = wire::decode(body, "probe")?;
                if let Some(answer) = self.probe(Some(from), probe)? {
                    self.ctx.datagram(from, wire::encode(kind::PROBE, &answer));
                }
                Ok(())
            }
            (kind::SHUFFLE_REPLY, _) => {
                let views = self.shapes.each().find(|shape| shape.kind() == kind::VIEWS);
                views.map_or(Ok(()), |views| views.datagram(ctx, body))
            }
            _ => Err(Error::Malformed("datagram kind")),
        }
    }

    fn probe(&mut self, from: Option<std::net::SocketAddr>, probe: Probe) -> Result<Option<Probe>, Error> {
        let ctx = &mut self.ctx;
        match probe {
            Probe::Knock => {
                let id = self
                    .swim
                    .as_ref()
                    .map_or_else(|| ctx.swim_id(), |swim| swim.me().clone());
                Ok(Some(Probe::Door {
                    me: ctx.wire_me(id),
                    decision: self.shapes.decision.clone(),
                }))
            }
            Probe::Door { me, decision } => {
                let (id, peer) = me.into_peer()?;
                if let Some(from) = from {
                    self.seeds.answered(from, &id);
                }
                if peer.id.name == ctx.me.id.name {
                    return Ok(None);
                }
                self.shapes.hear(ctx, decision, None);
                match &mut self.swim {
                    Some(swim) if swim.get(&peer.id).is_some() => swim.describe(ctx, &id, &peer),
                    Some(swim) => swim.announce(ctx, id),
                    None => ctx.tell(MemberEvent::Up, peer),
                }
                Ok(None)
            }
            Probe::Decided(decision) => {
                self.shapes.hear(ctx, decision, None);
                Ok(None)
            }
            other => Ok(self.swim.as_mut().and_then(|swim| swim.probe(ctx, from, other))),
        }
    }

    fn frame(&mut self, from: &NodeId, bytes: &[u8]) -> Result<(), Error> {
        let (which, body) = wire::open(bytes)?;
        match which {
            kind::CONTROL => self.control(from, wire::decode(body, "control frame")?),
            kind::PROBE => {
                let probe = wire::decode(body, "probe")?;
                if let Some(answer) = self.probe(None, probe)? {
                    self.ctx.frame(from, wire::encode(kind::PROBE, &answer));
                }
                Ok(())
            }
            kind::ROUTE => self.router.frame(&mut self.ctx, from, body),
            kind::VIEWS | kind::SERVERS => {
                let shape = self.shapes.each().find(|shape| shape.kind() == which);
                // A topology that this node has not heard of yet, or has left already.
                shape.map_or(Ok(()), |shape| shape.frame(&mut self.ctx, from, body))
            }
            kind::TREE => self.broadcasts.receive(&mut self.ctx, from, body),
            _ => Err(Error::Malformed("frame kind")),
        }
    }

    fn control(&mut self, from: &NodeId, control: Control) -> Result<(), Error> {
        let ctx = &mut self.ctx;
        match (control, &mut self.swim) {
            (Control::Greeting { me, decision }, swim) => {
                let (id, peer) = me.into_peer()?;
                if peer.id != *from {
                    return Err(Error::Malformed("greeting"));
                }
                ctx.links.greeted(&peer);
                if let Some(swim) = swim {
                    swim.claim(ctx, Claim::alive(id.clone()), true);
                    swim.describe(ctx, &id, &peer);
                } else {
                    ctx.tell(MemberEvent::Up, peer);
                }
                self.shapes.hear(ctx, decision, Some(from));
            }
            (Control::Switch(decision), _) => self.shapes.hear(ctx, decision, Some(from)),
            (Control::Members(standings), Some(swim)) => swim.learn(ctx, standings),
            (Control::Digest(parts), Some(swim)) => return swim.compared(ctx, from, &parts),
            (Control::Differ(parts), Some(swim)) => swim.explain(ctx, from, parts),
            (Control::Leave, Some(swim)) => {
                if let Some(id) = swim.get(from).map(|member| member.id.clone()) {
                    swim.probe(ctx, None, Probe::Leave { me: id });
                }
            }
            (Control::Leave, None) => {
                if let Some(peer) = ctx.peers.get(&from.name).filter(|peer| peer.id == *from).cloned() {
                    ctx.tell(MemberEvent::Left, peer);
                }
            }
            (Control::Members(_) | Control::Digest(_) | Control::Differ(_), None) => {}
        }
        Ok(())
    }

    fn link_up(&mut self, id: &NodeId) {
        let ctx = &mut self.ctx;
        if !ctx.link_up(id) {
            return;
        }
        let me = self
            .swim
            .as_ref()
            .map_or_else(|| ctx.swim_id(), |swim| swim.me().clone());
        let greeting = Control::Greeting {
            me: ctx.wire_me(me),
            decision: self.shapes.decision.clone(),
        };
        ctx.frame(id, wire::encode(kind::CONTROL, &greeting));
        if let Some(swim) = &self.swim
            // With more links, a new one brings no more knowledge of members.
            && ctx.links.count_up() <= swim::LINKS_THAT_TEACH
        {
            let standings: Vec<_> = swim.standings().collect();
            swim::send(ctx, id, &standings);
        }
        self.router.link_up(id);
        self.shapes.each().for_each(|shape| shape.link_up(ctx, id));
    }

    fn link_down(&mut self, id: &NodeId) {
        let ctx = &mut self.ctx;
        let was_up = ctx.link_down(id);
        if was_up == Some(true) {
            self.router.link_down(id);
            if let Some(swim) = &mut self.swim {
                swim.doubt(ctx, id);
            }
        } else {
            self.router.dial_failed(ctx, id);
        }
        self.shapes.each().for_each(|shape| shape.link_down(ctx, id));
    }

    fn leave(&mut self) {
        if let Some(swim) = &mut self.swim {
            swim.leave(&mut self.ctx);
        } else {
            let frame = wire::encode(kind::CONTROL, &Control::Leave);
            for id in self.ctx.links.sorted_up() {
                self.ctx.frame(&id, frame.clone());
            }
        }
        for id in self.ctx.links.sorted_up() {
            self.ctx.close_link(&id);
        }
        self.left = true;
    }

    /// Passes on what one part found out, until nothing new comes of it.
    fn drain(&mut self) {
        while let Some(news) = self.ctx.news.pop_front() {
            let ctx = &mut self.ctx;
            match news {
                News::Member(event, peer) => {
                    if !ctx.note_member(event, &peer) {
                        continue;
                    }
                    ctx.out.push(Effect::Member(event, peer.clone()));
                    match event {
                        MemberEvent::Up => {
                            ctx.tally().arrivals += 1;
                            self.broadcasts.member_up(ctx, &peer);
                            self.shapes.each().for_each(|shape| shape.member_up(ctx, &peer));
                        }
                        MemberEvent::Down { .. } | MemberEvent::Left => {
                            ctx.close_link(&peer.id);
                            ctx.measures.forget(&peer.id);
                            ctx.tally().departures += 1;
                            self.broadcasts.member_down(ctx, &peer);
                            self.router.member_down(&peer.id);
                            self.shapes.each().for_each(|shape| shape.member_down(ctx, &peer));
                        }
                        MemberEvent::Suspect | MemberEvent::Alive | MemberEvent::Meta => {}
                    }
                }
                News::Unlinked(id) => {
                    self.broadcasts.link(ctx, &id);
                    self.router.link_down(&id);
                    self.shapes.each().for_each(|shape| shape.link_down(ctx, &id));
                }
                News::Link(id) => self.broadcasts.link(ctx, &id),
                News::Switched(topology) => self.broadcasts.set_topology(ctx, topology),
            }
        }
    }

    /// This node.
    pub fn me(&self) -> &Peer {
        &self.ctx.me
    }

    /// The other members, by name. Without SWIM: the nodes met so far.
    pub fn members(&self) -> impl Iterator<Item = &Peer> {
        self.ctx.peers.values()
    }

    /// A member by its name.
    pub fn member(&self, name: &crate::PeerName) -> Option<&Peer> {
        self.ctx.peers.get(name)
    }

    /// Links the topology wants, and whether each is open.
    pub fn links(&self) -> impl Iterator<Item = (&NodeId, bool)> {
        self.ctx.links.wanted()
    }

    /// What was measured over the last minute. O(members).
    pub fn analyze(&self) -> Analysis {
        measure::analyze(&self.ctx, self.shapes.decision.topology)
    }

    /// The topology that would serve a workload best, by what was measured. O(members).
    pub fn recommend(&self, workload: Workload) -> Advice {
        advise::recommend(workload, &self.analyze())
    }

    /// The topology in force.
    pub fn topology(&self) -> Topology {
        self.shapes.decision.topology
    }

    /// What the shared broadcast tree counted.
    pub fn tree_stats(&self) -> crate::plumtree::Stats {
        self.broadcasts.trees().shared_stats()
    }

    /// The state in numbers. O(members).
    pub fn stats(&self) -> Stats {
        let swim = self.swim.as_ref();
        Stats {
            topology: self.shapes.decision.topology,
            epoch: self.shapes.decision.epoch,
            settled: self.shapes.settled(),
            members: self.ctx.peers.len(),
            suspects: swim.map_or(0, |swim| swim.members().filter(|member| member.suspect).count()),
            links: self.ctx.links.count_up(),
            wanted: self.ctx.links.wanted().count(),
            health: swim.map_or(0, |swim| swim.health.score()),
            backlog: swim.map_or(0, Swim::backlog),
            counters: self.ctx.counters,
        }
    }
}

impl std::fmt::Debug for Overlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay")
            .field("me", &self.ctx.me.id)
            .field("stats", &self.stats())
            .finish()
    }
}

impl Context {
    /// Payload moved between this node and another.
    fn traffic(&mut self, id: &NodeId, sent: u64, received: u64, lost: u32) {
        if self.peers.get(&id.name).is_none_or(|peer| peer.id != *id) {
            return;
        }
        let tally = self.tally();
        tally.sent += sent;
        tally.received += received;
        tally.lost += u64::from(lost);
        let moved = self.measures.moved.entry(id.clone()).or_default();
        moved.sent += sent;
        moved.received += received;
        moved.lost += u64::from(lost);
    }

    /// Keeps the table of peers; false when the event changes nothing.
    fn note_member(&mut self, event: MemberEvent, peer: &Peer) -> bool {
        let known = self.peers.get(&peer.id.name);
        let same = known.is_some_and(|known| known.id == peer.id);
        match event {
            MemberEvent::Up if same => false,
            MemberEvent::Up | MemberEvent::Meta => {
                self.peers.insert(peer.id.name.clone(), peer.clone());
                true
            }
            MemberEvent::Down {
                reason: DownReason::Silent,
            }
            | MemberEvent::Left => {
                if same {
                    self.peers.remove(&peer.id.name);
                }
                same
            }
            MemberEvent::Down {
                reason: DownReason::Replaced,
            } => {
                if same {
                    self.peers.remove(&peer.id.name);
                }
                true
            }
            MemberEvent::Suspect | MemberEvent::Alive => same,
        }
    }
}
