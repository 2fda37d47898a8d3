//! Suspicions that this node heard of, and not how they ended.
//!
//! Whoever accuses a member also judges it; the others wait to be told. News can miss one of them: most of it goes over
//! links, and all links of a node may lead to members that died together. Without more it would wait for its own probe
//! to fall on the suspect, which takes as many periods as there are members. So a node that should have heard by now
//! asks the suspect, and a few members what they know of it. Who knows how it ended says so; who does not either looks
//! into it, so that a suspicion whose accuser died has an end as well.
use foca::Identity;

use super::{Claim, Context, Duration, FocaState, Swim, SwimId};
use crate::context::Wake;
use crate::wire::{Probe, Standing};

/// With so many suspects under question, no further one is taken up.
const MOST_TRIALS: usize = 16;

impl Swim {
    /// When the outcome of a suspicion should have been heard of: no healthy accuser takes longer.
    fn overdue_after(&self) -> Duration {
        self.config.suspicion.mul_f64(self.config.unconfirmed)
    }

    /// A member is suspected in this incarnation: that shall not stay open.
    pub(super) fn await_outcome(&self, ctx: &mut Context, id: &SwimId, incarnation: u16) {
        ctx.wake(self.overdue_after(), Wake::Outcome(id.clone(), incarnation));
    }

    /// By now this node should have heard how a suspicion ended.
    pub(crate) fn outcome(&mut self, ctx: &mut Context, id: &SwimId, incarnation: u16) {
        let open = self
            .members
            .get(id.name())
            .is_some_and(|member| member.id == *id && member.suspect && member.incarnation == incarnation);
        if !open || self.trials.contains_key(id.name()) {
            // What this node itself looks into comes to an end.
            return;
        }
        if self.trials.len() >= MOST_TRIALS {
            return ctx.wake(self.config.probe_rtt, Wake::Outcome(id.clone(), incarnation));
        }
        self.look_into(ctx, id, incarnation, None);
        self.ask_witnesses(ctx, id, incarnation);
    }

    /// What this node knows of a member that is later than this suspicion, if anything.
    pub(super) fn known_since(&self, id: &SwimId, incarnation: u16) -> Option<Probe> {
        let later = |claim: &&Claim<SwimId>| {
            if claim.id() == id {
                claim.state() == FocaState::Down || claim.incarnation() > incarnation
            } else {
                claim.id().addr() == id.addr() && claim.id().win_addr_conflict(id)
            }
        };
        let claim = self.foca.iter_membership_state().find(later)?;
        Some(Probe::Known(self.standing(claim)))
    }

    /// Another node says what it knows of a member that this one suspects.
    pub(super) fn told(&mut self, ctx: &mut Context, standing: Standing) {
        if self
            .members
            .get(standing.id.name())
            .is_some_and(|member| member.suspect)
        {
            self.learn(ctx, vec![standing]);
        }
    }
}
