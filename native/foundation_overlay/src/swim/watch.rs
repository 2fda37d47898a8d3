//! Who watches whom, so that no death waits long for a probe to fall on it.
//!
//! Probes fall at random. With n nodes that each probe one member a period, the first probe of a member that died comes
//! after one period on average, and after five for one death in 150: SWIM bounds the wait only by the time in which one
//! node probes everyone. So members stand in a ring, in an order that has nothing to do with where they run, and each
//! shows the next one regularly that it lives: one datagram, without an answer. The next one asks when it is overdue,
//! and accuses when nothing comes of that. A member that dies together with who watches it is watched by the one after,
//! as soon as that one is known to be gone.
use rand::RngExt;

use super::{Context, Duration, Swim, SwimId};
use crate::context::Wake;
use crate::wire::{self, Probe, kind};

/// How often an overdue member is asked before it is accused.
const QUESTIONS: u8 = 5;

/// Of these, the one that stands right after `me` in the ring.
fn after<'a>(me: &SwimId, others: impl Iterator<Item = &'a SwimId>) -> Option<&'a SwimId> {
    others.min_by_key(|other| (other.place().wrapping_sub(me.place()), other.name()))
}

/// Of these, the one that stands right before `me`.
fn before<'a>(me: &SwimId, others: impl Iterator<Item = &'a SwimId>) -> Option<&'a SwimId> {
    others.min_by_key(|other| (me.place().wrapping_sub(other.place()), other.name()))
}

impl Swim {
    /// Begins to watch and to be watched; nodes that start together do not speak together.
    pub(super) fn take_place(ctx: &mut Context, every: Duration) {
        let first = every.mul_f64(ctx.rng.random_range(0.0..1.0));
        ctx.wake(first, Wake::Beat);
        ctx.wake(every, Wake::Watch);
    }

    /// Shows the next member in the ring that this node lives.
    pub(crate) fn beat(&mut self, ctx: &mut Context) {
        ctx.wake(self.config.watch(), Wake::Beat);
        let members = self.members.values().map(|member| &member.id);
        if let Some(next) = after(&self.me, members) {
            let alive = Probe::Refute {
                me: self.me.clone(),
                incarnation: self.incarnation,
            };
            ctx.datagram(next.body().addr, wire::encode(kind::PROBE, &alive));
        }
    }

    /// Looks after the member before this one in the ring.
    pub(crate) fn watch(&mut self, ctx: &mut Context, late: Duration) {
        let pause = self.look_after(ctx, late);
        ctx.wake(pause, Wake::Watch);
    }

    /// Says when to look again.
    fn look_after(&mut self, ctx: &mut Context, late: Duration) -> Duration {
        let asked = self.overdue.take();
        let every = self.config.watch();
        let members = self.members.values().map(|member| &member.id);
        let Some(id) = before(&self.me, members).cloned() else {
            return every;
        };
        let Some(member) = self.members.get(id.name()) else {
            return every;
        };
        let (addr, incarnation) = (member.peer.addr, member.incarnation);
        let due = member.heard + every + self.health.stretch(self.config.probe_rtt);
        if ctx.now < due {
            return due - ctx.now;
        }
        if self.trials.contains_key(id.name()) {
            return every;
        }
        let answer = self.health.stretch(self.config.probe_rtt * 3);
        if self.is_away(ctx, late) {
            // What came in while we were away has not been read yet.
            return answer;
        }
        let times = asked.map_or(0, |(who, times)| if who == id { times } else { 0 });
        if times >= QUESTIONS {
            self.accuse(ctx, &id, incarnation, None);
            return every;
        }
        ctx.datagram(addr, wire::encode(kind::PROBE, &Probe::Knock));
        self.overdue = Some((id, times + 1));
        answer / u32::from(QUESTIONS)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::Role;
    use crate::swim_id::Body;
    use crate::testnet::{addr, node_id};

    fn id(at: usize) -> SwimId {
        SwimId::new(Body {
            id: node_id(at, 1),
            renewal: 0,
            addr: addr(at),
            role: Role::Peer,
            has_meta: false,
        })
    }

    proptest! {
        #[test]
        fn each_is_watched_by_exactly_the_one_it_shows_itself_to(
            names in prop::collection::btree_set(0_usize..9_999, 2..60),
        ) {
            let all: Vec<SwimId> = names.into_iter().map(id).collect();
            let others = |me: &SwimId| {
                let me = me.clone();
                all.iter().filter(move |other| **other != me)
            };
            for me in &all {
                let next = after(me, others(me)).expect("there is another");
                prop_assert_eq!(before(next, others(next)), Some(me));
            }
            // One ring, not several: from anyone, everyone is come by.
            let (mut at, mut seen) = (&all[0], BTreeSet::new());
            while seen.insert(at.name().clone()) {
                at = after(at, others(at)).expect("there is another");
            }
            prop_assert_eq!(seen.len(), all.len());
        }
    }

    #[test]
    fn who_is_alone_watches_nobody() {
        assert_eq!(after(&id(1), std::iter::empty()), None);
        assert_eq!(before(&id(1), std::iter::empty()), None);
    }
}
