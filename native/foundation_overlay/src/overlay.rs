//! The overlay as one state machine.

mod incoming;
mod view;

use std::time::Duration;

pub use view::Stats;

use crate::advise::Automatic;
use crate::broadcast::Broadcasts;
use crate::context::{Context, News, Wake};
use crate::join::Seeds;
use crate::measure;
use crate::routing::Router;
use crate::swim::{self, Swim};
use crate::switch::Shapes;
use crate::wire::{self, Control, kind};
use crate::{Config, DownReason, Effect, Error, Input, MAX_META, MemberEvent, NodeId, Peer, Timer};

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
                (Wake::Outcome(id, incarnation), Some(swim)) => swim.outcome(ctx, &id, incarnation),
                (Wake::News, Some(swim)) => swim.send_news(ctx),
                (Wake::Compare, Some(swim)) => swim.compare(ctx),
                (Wake::Beat, Some(swim)) => swim.beat(ctx),
                (Wake::Watch, Some(swim)) => swim.watch(ctx, late),
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
                    | Wake::Outcome(..)
                    | Wake::News
                    | Wake::Compare
                    | Wake::Beat
                    | Wake::Watch,
                    None,
                ) => {}
            }
            self.drain();
        }
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
