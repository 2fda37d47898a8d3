//! How long a suspect has, and what may change that.
//!
//! Lifeguard's dynamic suspicion (Dadgar, Phillips, Currey, 2018): one node's word is little, so a suspicion starts
//! with a long timeout, which shrinks with each other node that accuses the same incarnation. Foca's claims do not say
//! who accuses, so accusations travel as broadcasts of their own, and the timer foca asks for is rung by us, when the
//! time is up by this count.
//!
//! Confirmations would come as slowly as probes come round. So an accuser asks some members to see for themselves: they
//! ask the suspect at once, which gives it more ways to answer, and makes them accusers when it does not.
use std::net::SocketAddr;

use super::{Claim, Context, Duration, FocaState, Member, Swim, SwimId};
use crate::NodeId;
use crate::context::Wake;
use crate::swim_rumours::{Accusation, Rumour};
use crate::wire::{self, Probe, kind};

/// How often the end of a suspicion is put off because the suspect is heard of.
const MAX_PATIENCE: u8 = 4;
/// Suspicions are stretched by local health at most this much.
const MAX_STRETCH: u32 = 3;

/// For each confirmation wanted, so many members are asked to see for themselves.
const WITNESSES: usize = 2;

/// A suspect that this node asks whether it lives.
#[derive(Debug)]
pub(super) struct Trial {
    id: SwimId,
    incarnation: u16,
    since: Duration,
    /// Whether this node accuses it, or only looks into what another says.
    accused: bool,
    /// Who asked this node to look into it.
    asked_by: Option<SocketAddr>,
    /// The others that accuse it too, as far as is known here.
    confirmed: usize,
    /// By how much local health stretches the timeout.
    stretch: u32,
    /// Time granted on top.
    grace: Duration,
    /// From when on hearing of the suspect counts in its favour, and how often it did.
    hopeful: (Duration, u8),
    /// What foca does in the end, if it was foca's probe that failed.
    verdict: Option<foca::Timer<SwimId>>,
}

impl Trial {
    fn is_of(&self, id: &SwimId, incarnation: u16) -> bool {
        self.id == *id && self.incarnation == incarnation
    }
}

/// The timeout after this many of `wanted` confirmations: from `longest` down to `shortest`, the first ones counting
/// most.
pub(super) fn timeout(shortest: Duration, longest: Duration, confirmed: usize, wanted: usize) -> Duration {
    if confirmed >= wanted {
        return shortest;
    }
    let share = (confirmed as f64 + 1.0).ln() / (wanted as f64 + 1.0).ln();
    (longest - (longest - shortest).mul_f64(share)).max(shortest)
}

impl Swim {
    /// This node suspects a member: from now on it asks until it is answered or time is up.
    pub(super) fn accuse(
        &mut self,
        ctx: &mut Context,
        id: &SwimId,
        incarnation: u16,
        verdict: Option<foca::Timer<SwimId>>,
    ) {
        self.update(ctx, id, incarnation, FocaState::Suspect);
        let known = self
            .trials
            .get(id.name())
            .filter(|trial| trial.is_of(id, incarnation));
        let (asked, accused) = known.map_or((false, false), |trial| (true, trial.accused));
        let member = self.members.get(id.name());
        if accused || member.is_none_or(|member| member.id != *id || member.incarnation != incarnation) {
            return;
        }
        ctx.counters.suspicions += 1;
        let accusation = self.accusation(id, incarnation);
        // Too large it cannot be, and what the handler thinks of it is no error.
        let _ = self.foca.add_broadcast(&Rumour::Accusation(accusation).encode());
        let asked_by = self.trials.get(id.name()).and_then(|trial| trial.asked_by);
        self.begin(ctx, id, incarnation, verdict);
        if let Some(trial) = self.trials.get_mut(id.name()) {
            trial.accused = true;
        }
        self.await_verdict(ctx, id);
        self.confirm(ctx);
        match asked_by {
            Some(accuser) => ctx.datagram(accuser, wire::encode(kind::PROBE, &Probe::Accused(accusation))),
            None => self.ask_witnesses(ctx, id, incarnation),
        }
        if !asked {
            self.challenge(ctx, id.clone(), incarnation);
        }
    }

    fn accusation(&self, id: &SwimId, incarnation: u16) -> Accusation {
        Accusation {
            suspect: id.digest(),
            incarnation,
            accuser: self.me.digest(),
        }
    }

    /// Asks some members to see for themselves, and to say so if they know more. Those that are suspected too are asked
    /// only where there is nobody else.
    pub(super) fn ask_witnesses(&self, ctx: &mut Context, suspect: &SwimId, incarnation: u16) {
        let most = WITNESSES * self.config.confirmations;
        let others = || self.members.values().filter(|member| member.id != *suspect);
        let trusted = others().filter(|member| !member.suspect);
        let mut witnesses = ctx.sample(trusted.map(|member| member.peer.addr), most);
        if witnesses.is_empty() {
            witnesses = ctx.sample(others().map(|member| member.peer.addr), most);
        }
        let question = Probe::Witness {
            suspect: suspect.clone(),
            incarnation,
        };
        let question = wire::encode(kind::PROBE, &question);
        witnesses
            .into_iter()
            .for_each(|addr| ctx.datagram(addr, question.clone()));
    }

    /// Another node suspects a member, and wants to know what this one thinks.
    pub(super) fn witness(
        &mut self,
        ctx: &mut Context,
        from: Option<SocketAddr>,
        id: &SwimId,
        incarnation: u16,
    ) -> Option<Probe> {
        let known = self.known_since(id, incarnation);
        if known.is_some() || self.get(id.id()).is_none_or(|member| member.id != *id) {
            return known;
        }
        self.claim(ctx, Claim::new(id.clone(), incarnation, FocaState::Suspect), true);
        self.update(ctx, id, incarnation, FocaState::Suspect);
        if let Some(trial) = self.trials.get_mut(id.name())
            && trial.is_of(id, incarnation)
        {
            trial.asked_by = from;
            let accused = trial.accused;
            return accused.then(|| Probe::Accused(self.accusation(id, incarnation)));
        }
        // One that answered a later suspicion is not doubted for an earlier one.
        if self
            .get(id.id())
            .is_some_and(|member| member.incarnation == incarnation)
        {
            self.look_into(ctx, id, incarnation, from);
        }
        None
    }

    fn begin(&mut self, ctx: &Context, id: &SwimId, incarnation: u16, verdict: Option<foca::Timer<SwimId>>) {
        let trial = Trial {
            id: id.clone(),
            incarnation,
            since: ctx.now,
            accused: false,
            asked_by: None,
            confirmed: 0,
            stretch: (1 + self.health.score()).min(MAX_STRETCH),
            grace: Duration::ZERO,
            hopeful: (ctx.now, 0),
            verdict,
        };
        self.trials.insert(id.name().clone(), trial);
    }

    /// The link to a member closed, which it did not say it would: perhaps its process is gone. It is asked at once.
    pub(crate) fn doubt(&mut self, ctx: &mut Context, id: &NodeId) {
        let Some(member) = self.get(id).filter(|_| !self.gone) else {
            return;
        };
        let (addr, id) = (member.peer.addr, member.id.clone());
        ctx.datagram(addr, wire::encode(kind::PROBE, &Probe::Knock));
        ctx.wake(self.config.probe_rtt * 2, Wake::Doubt(id, ctx.now));
    }

    /// A member whose link closed has had its time to answer.
    pub(crate) fn doubted(&mut self, ctx: &mut Context, id: &SwimId, since: Duration) {
        let silent = |member: &&Member| member.id == *id && member.heard <= since;
        if let Some(incarnation) = self
            .members
            .get(id.name())
            .filter(silent)
            .map(|member| member.incarnation)
            && !self.trials.contains_key(id.name())
        {
            self.look_into(ctx, id, incarnation, None);
        }
    }

    /// Asks a suspect itself, and accuses it when it does not answer.
    pub(super) fn look_into(
        &mut self,
        ctx: &mut Context,
        id: &SwimId,
        incarnation: u16,
        asked_by: Option<SocketAddr>,
    ) {
        self.begin(ctx, id, incarnation, None);
        if let Some(trial) = self.trials.get_mut(id.name()) {
            trial.asked_by = asked_by;
        }
        self.await_verdict(ctx, id);
        self.challenge(ctx, id.clone(), incarnation);
    }

    /// Counts anew who else accuses whom this node suspects.
    pub(super) fn confirm(&mut self, ctx: &mut Context) {
        let me = self.me.digest();
        let mut sooner = Vec::new();
        self.ear.with(|heard| {
            for trial in self.trials.values_mut() {
                let others = heard.cases.others(trial.id.digest(), trial.incarnation, me);
                if others > trial.confirmed {
                    trial.confirmed = others;
                    sooner.push(trial.id.clone());
                }
            }
        });
        for id in sooner {
            self.await_verdict(ctx, &id);
        }
    }

    /// When the time of this suspect is up.
    fn deadline(&self, trial: &Trial) -> Duration {
        if !trial.accused {
            return trial.since + self.config.probe_rtt * 2 * trial.stretch + trial.grace;
        }
        let shortest = self.config.suspicion;
        let longest = shortest.mul_f64(self.config.unconfirmed);
        // The suspect itself confirms nothing, and where nobody else is, nobody is waited for.
        let wanted = self
            .config
            .confirmations
            .min(self.members.len().saturating_sub(1));
        let timeout = timeout(shortest, longest, trial.confirmed, wanted);
        trial.since + timeout * trial.stretch + trial.grace
    }

    /// Looks at the suspicion again when its time is up by what is known now.
    fn await_verdict(&self, ctx: &mut Context, id: &SwimId) {
        if let Some(trial) = self.trials.get(id.name()) {
            let left = self.deadline(trial).saturating_sub(ctx.now);
            ctx.wake(left, Wake::Verdict(id.clone(), trial.incarnation));
        }
    }

    /// The time of a suspect may be up.
    pub(crate) fn verdict(&mut self, ctx: &mut Context, late: Duration, id: &SwimId, incarnation: u16) {
        let (Some(member), Some(trial)) = (self.members.get(id.name()), self.trials.get(id.name())) else {
            return;
        };
        let deadline = self.deadline(trial);
        if !trial.is_of(id, incarnation) || ctx.now < deadline {
            return;
        }
        let (heard, (since, times), accused) = (member.heard, trial.hopeful, trial.accused);
        let away = self.is_away(ctx, late);
        let more = if away {
            // What came in while we were away has not been read yet.
            self.config.probe_rtt * 2
        } else if heard > since && times < MAX_PATIENCE {
            // Heard of, if only through the other direction of a bad link.
            self.config.suspicion / 2
        } else if accused {
            return self.condemn(ctx, id);
        } else {
            return self.accuse(ctx, id, incarnation, None);
        };
        if let Some(trial) = self.trials.get_mut(id.name()) {
            trial.grace += (ctx.now - deadline) + more;
            if !away {
                trial.hopeful = (ctx.now, times + 1);
            }
        }
        self.await_verdict(ctx, id);
    }

    fn condemn(&mut self, ctx: &mut Context, id: &SwimId) {
        let Some(trial) = self.trials.remove(id.name()) else {
            return;
        };
        match trial.verdict {
            Some(timer) => {
                // An error says that our own identity changed meanwhile; then others judge.
                let _ = self.foca.handle_timer(timer, &mut self.collect);
                self.settle(ctx);
            }
            None => self.claim(
                ctx,
                Claim::new(trial.id, trial.incarnation, FocaState::Down),
                true,
            ),
        }
    }

    /// A suspect has not answered yet: ask again, if it is still suspected.
    pub(crate) fn challenge(&mut self, ctx: &mut Context, id: SwimId, incarnation: u16) {
        let (Some(member), Some(trial)) = (self.members.get(id.name()), self.trials.get(id.name())) else {
            return;
        };
        if !trial.is_of(&id, incarnation) || member.incarnation != incarnation {
            return;
        }
        let (addr, to) = (member.peer.addr, member.peer.id.clone());
        let question = wire::encode(
            kind::PROBE,
            &Probe::Challenge {
                suspect: id.clone(),
                incarnation,
            },
        );
        ctx.datagram(addr, question.clone());
        // The link, if there is one, does not lose what is sent over it.
        ctx.frame(&to, question);
        ctx.wake(self.config.challenge, Wake::Challenge(id, incarnation));
    }

    /// This node is suspected by another, which wants to hear of it.
    pub(super) fn challenged(
        &mut self,
        ctx: &mut Context,
        suspect: SwimId,
        incarnation: u16,
    ) -> Option<Probe> {
        if suspect == self.me && incarnation >= self.incarnation {
            self.claim(ctx, Claim::new(suspect, incarnation, FocaState::Suspect), true);
            self.incarnation = self.incarnation.max(incarnation.saturating_add(1));
            self.health.worse(1);
            ctx.counters.refutations += 1;
        } else if suspect.name() != self.me.name() {
            return None;
        }
        // When an earlier self of ours is suspected: this is who we are now.
        Some(Probe::Refute {
            me: self.me.clone(),
            incarnation: self.incarnation,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_confirmations_count_most() {
        let after = |confirmed| timeout(ms(500), ms(2_000), confirmed, 3);
        assert_eq!(after(0), ms(2_000));
        assert_eq!(after(1), ms(1_250));
        assert!(after(2) > ms(800) && after(2) < ms(820), "{:?}", after(2));
        assert_eq!(after(3), ms(500));
        assert_eq!(after(30), ms(500));
    }

    #[test]
    fn where_nobody_can_confirm_nobody_is_waited_for() {
        assert_eq!(timeout(ms(500), ms(2_000), 0, 0), ms(500));
    }

    proptest! {
        #[test]
        fn it_never_leaves_its_bounds_and_never_grows(
            shortest in 1_u64..5_000, more in 0_u64..5_000, wanted in 0_usize..20, confirmed in 0_usize..30,
        ) {
            let (shortest, longest) = (ms(shortest), ms(shortest + more));
            let now = timeout(shortest, longest, confirmed, wanted);
            prop_assert!(now >= shortest && now <= longest);
            prop_assert!(timeout(shortest, longest, confirmed + 1, wanted) <= now);
        }
    }
}
