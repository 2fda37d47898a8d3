//! What SWIM's notifications mean for the table of members.
use super::{Context, Duration, FocaState, Member, Swim, SwimId};
use crate::wire::{Standing, State};
use crate::{DownReason, Effect, MemberEvent, Peer};

impl Member {
    fn new(id: SwimId, now: Duration) -> Self {
        let body = id.body();
        let peer = Peer {
            id: body.id.clone(),
            addr: body.addr,
            role: body.role,
            meta: bytes::Bytes::new(),
        };
        Self {
            peer,
            id,
            incarnation: 0,
            suspect: false,
            heard: now,
            pinged: None,
        }
    }
}

impl Swim {
    pub(super) fn up(&mut self, ctx: &mut Context, id: SwimId) {
        self.left.remove(id.name());
        let member = Member::new(id.clone(), ctx.now);
        let peer = member.peer.clone();
        if let Some(old) = self.members.insert(id.name().clone(), member)
            && old.peer.id != peer.id
        {
            ctx.tell(
                MemberEvent::Down {
                    reason: DownReason::Replaced,
                },
                old.peer,
            );
        }
        ctx.counters.members_up += 1;
        ctx.tell(MemberEvent::Up, peer);
        self.adapt();
    }

    /// This life says, or said to others, that it leaves.
    pub(super) fn goodbye(&mut self, ctx: &mut Context, id: SwimId) {
        let known = self.left.get(id.name());
        if id.name() == self.me.name()
            || known.is_some_and(|left| left == &id || left.id().boot > id.id().boot)
        {
            return;
        }
        ctx.out.push(Effect::Goodbye(id.id().clone()));
        self.left.insert(id.name().clone(), id);
    }

    pub(super) fn down(&mut self, ctx: &mut Context, id: &SwimId) {
        let Some(member) = self.members.remove(id.name()) else {
            return;
        };
        self.trials.remove(id.name());
        let left = self.left.get(id.name()) == Some(id);
        let (event, state) = if left {
            (MemberEvent::Left, State::Left)
        } else {
            let reason = DownReason::Silent;
            (MemberEvent::Down { reason }, State::Down)
        };
        self.tell_on(
            ctx,
            Standing {
                id: id.clone(),
                incarnation: member.incarnation,
                state,
            },
        );
        ctx.counters.members_down += 1;
        ctx.tell(event, member.peer);
        self.adapt();
    }

    /// The same name is claimed by a later identity. When `gone`, that one is already known to be gone.
    pub(super) fn rename(&mut self, ctx: &mut Context, old: &SwimId, new: SwimId, gone: bool) {
        let Some(member) = self.members.get_mut(old.name()) else {
            return;
        };
        self.trials.remove(old.name());
        let same_life = member.peer.id == *new.id();
        if same_life {
            // Believed gone for a while, or with another address: the same node all the same.
            let (meta, now) = (member.peer.meta.clone(), ctx.now);
            let mut renewed = Member::new(new, now);
            renewed.peer.meta = meta;
            let was_suspect = std::mem::replace(member, renewed).suspect;
            let peer = member.peer.clone();
            if was_suspect && !gone {
                ctx.tell(MemberEvent::Alive, peer);
            }
        } else if gone {
            let id = member.id.clone();
            self.members.remove(old.name());
            let peer = Member::new(id, ctx.now).peer;
            ctx.counters.members_down += 1;
            ctx.tell(
                MemberEvent::Down {
                    reason: DownReason::Replaced,
                },
                peer,
            );
        } else {
            self.up(ctx, new);
        }
    }

    /// Foca's order of claims, followed for what foca does not tell: who is suspected.
    pub(super) fn update(&mut self, ctx: &mut Context, id: &SwimId, incarnation: u16, state: FocaState) {
        let Some(member) = self.members.get_mut(id.name()).filter(|member| member.id == *id) else {
            return;
        };
        match state {
            FocaState::Suspect
                if incarnation > member.incarnation
                    || (incarnation == member.incarnation && !member.suspect) =>
            {
                if incarnation > member.incarnation {
                    // Since then it has answered what it was suspected of before.
                    self.trials.remove(id.name());
                }
                member.incarnation = incarnation;
                if !std::mem::replace(&mut member.suspect, true) {
                    let peer = member.peer.clone();
                    ctx.tell(MemberEvent::Suspect, peer);
                }
                self.await_outcome(ctx, id, incarnation);
            }
            FocaState::Alive if incarnation > member.incarnation => {
                member.incarnation = incarnation;
                self.trials.remove(id.name());
                if std::mem::replace(&mut member.suspect, false) {
                    let peer = member.peer.clone();
                    ctx.tell(MemberEvent::Alive, peer);
                }
            }
            _ => {}
        }
    }

    pub(super) fn received(&mut self, ctx: &mut Context, from: &SwimId, incarnation: u16, ack: bool) {
        let now = ctx.now;
        if let Some(member) = self.members.get_mut(from.name())
            && member.id == *from
        {
            member.heard = now;
            if ack && let Some(at) = member.pinged.take() {
                self.health.better();
                // An answer to a repeated ping may be one to any of them, and says that the first was lost.
                if self.probing.take().is_none_or(|probing| !probing.repeated) {
                    ctx.tally().answers += 1;
                    ctx.round_trip(from.id(), (now - at).as_micros() as f64);
                }
            }
        }
        self.update(ctx, from, incarnation, FocaState::Alive);
    }

    /// When those who were asked to help were silent too, the fault may be ours.
    pub(super) fn probe_failed(&mut self, ctx: &mut Context, id: &SwimId) {
        ctx.counters.probes_failed += 1;
        if self.asked_at.take().is_some_and(|asked| self.last_heard < asked) {
            self.health.worse(1);
        }
        if let Some(member) = self.members.get_mut(id.name()) {
            member.pinged = None;
        }
    }

    pub(super) fn undead_by(&mut self, from: &SwimId) {
        if self.accusers.len() < 8 && !self.accusers.contains(from) {
            self.accusers.push(from.clone());
        }
    }

    /// Those who thought us gone learn at once that we are not.
    pub(super) fn announce_to_accusers(&mut self, ctx: &mut Context) {
        for id in std::mem::take(&mut self.accusers) {
            self.announce(ctx, id);
        }
    }

    /// News go round more often in a larger cluster.
    fn adapt(&mut self) {
        let log = (self.members.len() + 1).ilog10() as u8 + 1;
        let wanted = self.config.transmissions.max((4 * log).min(16));
        if let Some(wanted) = std::num::NonZeroU8::new(wanted)
            && wanted != self.foca_config.max_transmissions
        {
            self.foca_config.max_transmissions = wanted;
            // Only periods must not change, and they do not.
            let _ = self.foca.set_config(self.foca_config.clone());
        }
    }
}
