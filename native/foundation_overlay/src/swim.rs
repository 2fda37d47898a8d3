//! Membership: SWIM by foca, with what a busy machine and a lossy network need around it.
//!
//! Foca's: probes direct and indirect, suspicion and incarnations, dissemination, renewal of an identity
//! that was wrongly declared gone, announcing to members that are gone so that partitions heal.
//! Ours: joining through several seeds until one answers, pings repeated while there is time, timeouts
//! stretched by local health and suspicions shortened by confirmation (both Lifeguard's), asking a suspect
//! directly until it answers (Lifeguard's buddy system, taken further), patience with a member that is
//! heard of while suspected, asking for the outcome of a suspicion that was not heard of, a ring of watchers, news of the
//! gone over links, comparing what neighbours know, telling leaving from dying, round trips.
use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use bytes::Bytes;
use foca::{Foca, Member as Claim, PeriodicParams, State as FocaState};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;

use crate::context::{Context, Wake};
use crate::health::Health;
use crate::swim_id::SwimId;
use crate::swim_rumours::{Rumour, Rumours};
use crate::swim_tap::{Collect, Ear, Note, TapCodec};
use crate::wire::{self, Control, HEADER, Probe, Standing, kind};
use crate::{Config, Error, MemberEvent, NodeId, Peer, PeerName, SwimConfig};

mod compare;
mod members;
mod outcome;
#[cfg(test)]
mod outcome_tests;
mod suspicion;
mod watch;

pub(crate) use compare::{LINKS_THAT_TEACH, send};
use suspicion::Trial;

/// How often a ping that is not answered is repeated before the probe fails.
const REPEATS: u8 = 3;

/// A member that is part of the cluster.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) id: SwimId,
    pub(crate) peer: Peer,
    incarnation: u16,
    pub(crate) suspect: bool,
    /// When anything was last heard from it directly.
    heard: Duration,
    pinged: Option<Duration>,
}

/// The probe under way.
#[derive(Debug)]
struct Probing {
    id: SwimId,
    ping: Bytes,
    repeated: bool,
}

type Engine = Foca<SwimId, TapCodec, ChaCha8Rng, Rumours>;

pub(crate) struct Swim {
    foca: Engine,
    foca_config: foca::Config,
    config: SwimConfig,
    ear: Ear,
    collect: Collect,
    me: SwimId,
    incarnation: u16,
    members: BTreeMap<PeerName, Member>,
    /// Whom this node itself suspects.
    trials: BTreeMap<PeerName, Trial>,
    probing: Option<Probing>,
    /// The member that this node watches, if it is overdue, and how often it was asked.
    overdue: Option<(SwimId, u8)>,
    /// Lives that said good-bye, until the name comes back.
    left: BTreeMap<PeerName, SwimId>,
    pub(crate) health: Health,
    last_heard: Duration,
    asked_at: Option<Duration>,
    /// Until when late timers are put off.
    put_off: Duration,
    /// Members that told us we are gone.
    accusers: Vec<SwimId>,
    pub(crate) gone: bool,
    /// Changes to be told on over links.
    fresh: Vec<Standing>,
}

fn foca_config(config: &SwimConfig, max_packet: usize) -> foca::Config {
    let every = |frequency, members| {
        NonZeroUsize::new(members).map(|num_members| PeriodicParams {
            frequency,
            num_members,
        })
    };
    foca::Config {
        probe_period: config.probe_period,
        probe_rtt: config.probe_rtt,
        num_indirect_probes: NonZeroUsize::new(config.indirect_probes).unwrap_or(NonZeroUsize::MIN),
        max_transmissions: NonZeroU8::new(config.transmissions).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: config.suspicion,
        remove_down_after: Some(config.forget_down),
        max_packet_size: NonZeroUsize::new(max_packet).unwrap_or(NonZeroUsize::MIN),
        notify_down_members: true,
        periodic_announce: every(config.retry_down * 20, 1),
        periodic_announce_to_down_members: every(config.retry_down, 3),
        periodic_gossip: every(config.gossip_period, config.gossip_fanout),
    }
}

impl Swim {
    pub(crate) fn new(ctx: &mut Context, config: &SwimConfig, whole: &Config) -> Self {
        let (ear, me) = (Ear::default(), ctx.swim_id());
        let foca_config = foca_config(config, whole.max_datagram - HEADER);
        let codec = TapCodec { ear: ear.clone() };
        let rumours = Rumours::new(ear.clone());
        let rng = ctx.fork();
        Self::compare_later(ctx, config.compare);
        Self::take_place(ctx, config.watch());
        Self {
            foca: Foca::with_custom_broadcast(me.clone(), foca_config.clone(), rng, codec, rumours),
            foca_config,
            config: config.clone(),
            ear,
            collect: Collect::default(),
            me,
            incarnation: 0,
            members: BTreeMap::new(),
            trials: BTreeMap::new(),
            probing: None,
            overdue: None,
            left: BTreeMap::new(),
            health: Health::default(),
            last_heard: Duration::ZERO,
            asked_at: None,
            put_off: Duration::ZERO,
            accusers: Vec::new(),
            gone: false,
            fresh: Vec::new(),
        }
    }

    pub(crate) fn me(&self) -> &SwimId {
        &self.me
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(crate) fn get(&self, id: &NodeId) -> Option<&Member> {
        self.members.get(&id.name).filter(|member| member.peer.id == *id)
    }

    pub(crate) fn has_left(&self, id: &NodeId) -> bool {
        self.left.get(&id.name).is_some_and(|left| left.id() == id)
    }

    pub(crate) fn backlog(&self) -> usize {
        self.foca.updates_backlog()
    }

    /// A SWIM datagram arrived.
    pub(crate) fn datagram(&mut self, ctx: &mut Context, body: &[u8]) -> Result<(), Error> {
        let result = self.foca.handle_data(body, &mut self.collect);
        let result = match result {
            Ok(()) | Err(foca::Error::IndirectForOurselves) => Ok(()),
            Err(foca::Error::DataFromOurselves) => {
                ctx.counters.name_conflicts += 1;
                Ok(())
            }
            Err(_) => Err(Error::Malformed("swim datagram")),
        };
        if result.is_ok() {
            self.last_heard = ctx.now;
        }
        self.settle(ctx);
        result
    }

    /// One of foca's timers is due, this late.
    pub(crate) fn timer(&mut self, ctx: &mut Context, late: Duration, timer: foca::Timer<SwimId>) {
        if self.is_away(ctx, late) {
            return ctx.wake(self.config.probe_rtt * 2, Wake::Swim(timer));
        }
        let asking = matches!(timer, foca::Timer::SendIndirectProbe { .. });
        // Errors here say that a probe was cut short by a change of identity; foca recovers by itself.
        let _ = self.foca.handle_timer(timer, &mut self.collect);
        self.settle(ctx);
        if asking {
            self.repeat_ping(ctx, REPEATS);
        }
    }

    /// Whether a timer is so late that we were away, and whatever is due now would accuse others of that.
    fn is_away(&mut self, ctx: &Context, late: Duration) -> bool {
        let period = self.config.probe_period;
        if late <= period {
            return false;
        }
        let missed = u32::try_from(late.as_micros() / period.as_micros()).unwrap_or(8);
        self.health.worse(missed.clamp(1, 8));
        if ctx.now >= self.put_off + self.config.suspicion {
            self.put_off = ctx.now + self.config.suspicion;
        }
        // One that is always late must go on in the end.
        ctx.now < self.put_off
    }

    /// The probed member has not answered: the same ping again, for datagrams get lost. Some more follow until the
    /// probe is over.
    pub(crate) fn repeat_ping(&mut self, ctx: &mut Context, left: u8) {
        let Some(probing) = self.probing.as_mut().filter(|_| left > 0) else {
            return;
        };
        probing.repeated = true;
        ctx.datagram(probing.id.body().addr, probing.ping.clone());
        if left > 1 {
            let rest = self.config.probe_period - self.config.probe_rtt;
            let pause = self.health.stretch(rest / u32::from(REPEATS));
            ctx.wake(pause, Wake::Ping(left - 1));
        }
    }

    /// Something arrived from this node over a link or by datagram.
    pub(crate) fn heard(&mut self, ctx: &Context, from: &NodeId) {
        if let Some(member) = self.members.get_mut(&from.name)
            && member.peer.id == *from
        {
            member.heard = ctx.now;
        }
    }

    /// A question or answer beside foca's own protocol.
    pub(crate) fn probe(
        &mut self,
        ctx: &mut Context,
        from: Option<SocketAddr>,
        probe: Probe,
    ) -> Option<Probe> {
        match probe {
            Probe::Challenge { suspect, incarnation } => self.challenged(ctx, suspect, incarnation),
            Probe::Refute { me, incarnation } if me.name() != self.me.name() => {
                self.heard(ctx, me.id());
                self.claim(ctx, Claim::new(me.clone(), incarnation, FocaState::Alive), true);
                self.update(ctx, &me, incarnation, FocaState::Alive);
                None
            }
            Probe::Leave { me } if me.name() != self.me.name() => {
                self.goodbye(ctx, me.clone());
                // The good-bye travels with the news that it is gone, or others would take it for a death.
                let _ = self.foca.add_broadcast(&Rumour::Goodbye(me.clone()).encode());
                self.claim(ctx, Claim::down(me), true);
                None
            }
            Probe::Witness { suspect, incarnation } => self.witness(ctx, from, &suspect, incarnation),
            Probe::Known(standing) => {
                self.told(ctx, standing);
                None
            }
            Probe::Accused(accusation) => {
                if self.ear.with(|heard| heard.cases.add(accusation)) {
                    self.confirm(ctx);
                }
                None
            }
            _ => None,
        }
    }

    /// Feeds foca a claim that came by another way than its own datagrams.
    pub(crate) fn claim(&mut self, ctx: &mut Context, claim: Claim<SwimId>, tell_on: bool) {
        // Only encoding can fail here, and what was decoded or built by us encodes.
        let _ = self
            .foca
            .apply_many(std::iter::once(claim), tell_on, &mut self.collect);
        self.settle(ctx);
    }

    /// Asks a member to tell us of the cluster.
    pub(crate) fn announce(&mut self, ctx: &mut Context, to: SwimId) {
        if to.name() != self.me.name() {
            let _ = self.foca.announce(to, &mut self.collect);
            self.settle(ctx);
        }
    }

    /// Speaks to a few members thought gone, when there is nobody else to speak to.
    pub(crate) fn announce_to_gone(&mut self, ctx: &mut Context) {
        let gone = self
            .foca
            .iter_membership_state()
            .filter(|claim| claim.state() == FocaState::Down);
        let some = ctx.sample(gone.map(|claim| claim.id().clone()), 3);
        some.into_iter().for_each(|id| self.announce(ctx, id));
    }

    /// Says good-bye: to a few members, who tell the others, and to every neighbour.
    pub(crate) fn leave(&mut self, ctx: &mut Context) {
        self.gone = true;
        let goodbye = Rumour::Goodbye(self.me.clone());
        let _ = self.foca.add_broadcast(&goodbye.encode());
        let some = ctx.sample(self.members.values().map(|member| member.peer.addr), 8);
        let leave = wire::encode(kind::PROBE, &Probe::Leave { me: self.me.clone() });
        some.into_iter()
            .for_each(|addr| ctx.datagram(addr, leave.clone()));
        let _ = self.foca.leave_cluster(&mut self.collect);
        self.settle(ctx);
        let frame = wire::encode(kind::CONTROL, &Control::Leave);
        for id in ctx.links.sorted_up() {
            ctx.frame(&id, frame.clone());
        }
    }

    /// Now and then: asks members for their metadata, and looks for company when there is none.
    pub(crate) fn look_around(&mut self, ctx: &mut Context) {
        if self.members.is_empty() {
            self.announce_to_gone(ctx);
        }
        let bare = |member: &&Member| member.id.body().has_meta && member.peer.meta.is_empty();
        let bare: Vec<_> = self
            .members
            .values()
            .filter(bare)
            .take(16)
            .map(|member| member.peer.addr)
            .collect();
        let knock = wire::encode(kind::PROBE, &Probe::Knock);
        bare.into_iter()
            .for_each(|addr| ctx.datagram(addr, knock.clone()));
    }

    /// Learns a member's metadata from what it says of itself.
    pub(crate) fn describe(&mut self, ctx: &mut Context, id: &SwimId, peer: &Peer) {
        let Some(member) = self.members.get_mut(id.name()) else {
            return;
        };
        if member.peer.id == peer.id {
            member.heard = ctx.now;
            if member.peer.meta != peer.meta {
                member.peer.meta = peer.meta.clone();
                let peer = member.peer.clone();
                ctx.tell(MemberEvent::Meta, peer);
            }
        }
    }

    /// Does what foca wanted done.
    fn settle(&mut self, ctx: &mut Context) {
        for (to, bytes) in std::mem::take(&mut self.collect.sends) {
            ctx.datagram(to.body().addr, bytes);
        }
        for goodbye in self.ear.with(|heard| std::mem::take(&mut heard.goodbyes)) {
            self.goodbye(ctx, goodbye);
        }
        let mut notes = std::mem::take(&mut self.collect.notes).into_iter().peekable();
        let mut rejoined = false;
        while let Some(note) = notes.next() {
            match note {
                Note::Up(id) => self.up(ctx, id),
                Note::Down(id) => self.down(ctx, &id),
                Note::Rename(old, new) => {
                    let gone = matches!(notes.peek(), Some(Note::Down(id)) if *id == new);
                    self.rename(ctx, &old, new, gone);
                }
                Note::Rejoin(id) => {
                    (self.me, self.incarnation, rejoined) = (id, 0, true);
                    // Who was taken for dead may have been the one that was away.
                    self.trials.clear();
                    ctx.counters.renewals += 1;
                }
                Note::ProbeFailed(id) => self.probe_failed(ctx, &id),
                Note::Pinged(id, ping) => {
                    self.asked_at = None;
                    self.probing = Some(Probing {
                        id: id.clone(),
                        ping,
                        repeated: false,
                    });
                    ctx.tally().probes += 1;
                    if let Some(member) = self.members.get_mut(id.name()) {
                        member.pinged = Some(ctx.now);
                    }
                }
                Note::Asked => self.asked_at = Some(ctx.now),
                Note::Received {
                    from,
                    incarnation,
                    ack,
                    undead,
                } => {
                    self.received(ctx, &from, incarnation, ack);
                    if undead {
                        self.undead_by(&from);
                    }
                }
                Note::Incarnation(incarnation) => self.incarnation = incarnation,
            }
        }
        let updates = self.ear.with(|heard| std::mem::take(&mut heard.updates));
        for update in &updates {
            self.update(ctx, update.id(), update.incarnation(), update.state());
        }
        for (after, timer) in std::mem::take(&mut self.collect.timers) {
            self.schedule(ctx, after, timer);
        }
        if self.ear.with(|heard| std::mem::take(&mut heard.accused)) {
            self.confirm(ctx);
        }
        if rejoined {
            self.announce_to_accusers(ctx);
        }
    }

    fn schedule(&mut self, ctx: &mut Context, after: Duration, timer: foca::Timer<SwimId>) {
        let after = match timer {
            foca::Timer::ChangeSuspectToDown {
                ref member_id,
                incarnation,
                ..
            } => {
                let id = member_id.clone();
                return self.accuse(ctx, &id, incarnation, Some(timer));
            }
            foca::Timer::ProbeRandomMember(_) | foca::Timer::SendIndirectProbe { .. } => {
                self.health.stretch(after)
            }
            _ => after,
        };
        ctx.wake(after, Wake::Swim(timer));
    }
}
