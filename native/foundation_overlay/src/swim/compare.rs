//! What this node knows of everyone, told to neighbours: news at once, and now and then a comparison.
//!
//! Gossip reaches everyone with high probability, which over thousands of pairs of nodes is not always: whom a piece of
//! news misses would find out only when its own probe comes round, after as many periods as there are members. So
//! neighbours tell each other over links who is gone, and compare digests of whom they hold for alive.
use rand::RngExt;

use super::{Claim, Context, Duration, FocaState, Swim, SwimId};
use crate::context::Wake;
use crate::wire::{self, Control, Standing, State, kind};
use crate::{Error, NodeId};

/// Members are told of in frames of this many.
pub(crate) const MEMBERS_PER_FRAME: usize = 100;
/// So many links, at most, carry a piece of news on.
pub(crate) const LINKS_THAT_TEACH: usize = 8;
/// How long news for links are collected before they are sent.
const NEWS_DELAY: Duration = Duration::from_millis(20);
/// At most this many pieces of news wait.
const MAX_FRESH: usize = 4096;
/// Parts that members fall into for a comparison.
const PARTS: usize = 16;

impl Swim {
    /// What this node thinks of everyone, itself included.
    pub(crate) fn standings(&self) -> impl Iterator<Item = Standing> {
        let me = Standing {
            id: self.me.clone(),
            incarnation: self.incarnation,
            state: State::Alive,
        };
        let claims = self.foca.iter_membership_state();
        std::iter::once(me).chain(claims.map(|claim| self.standing(claim)))
    }

    /// One of foca's claims as it is told to others.
    pub(super) fn standing(&self, claim: &Claim<SwimId>) -> Standing {
        let state = match claim.state() {
            FocaState::Alive | FocaState::Suspect => State::Alive,
            FocaState::Down if self.left.get(claim.id().name()) == Some(claim.id()) => State::Left,
            FocaState::Down => State::Down,
        };
        Standing {
            id: claim.id().clone(),
            incarnation: claim.incarnation(),
            state,
        }
    }

    /// Takes in what a neighbour thinks, and tells on what is news.
    pub(crate) fn learn(&mut self, ctx: &mut Context, standings: Vec<Standing>) {
        for standing in standings {
            let before = ctx.news.len();
            let state = match standing.state {
                State::Alive => FocaState::Alive,
                State::Suspect => FocaState::Suspect,
                State::Down => FocaState::Down,
                State::Left => {
                    self.goodbye(ctx, standing.id.clone());
                    FocaState::Down
                }
            };
            let claim = Claim::new(standing.id.clone(), standing.incarnation, state);
            self.claim(ctx, claim, false);
            self.update(ctx, &standing.id, standing.incarnation, state);
            // Who is gone is told on wherever it was heard.
            if ctx.news.len() > before && state != FocaState::Down {
                self.tell_on(ctx, standing);
            }
        }
    }

    /// Neighbours shall hear of this soon.
    pub(super) fn tell_on(&mut self, ctx: &mut Context, standing: Standing) {
        if self.fresh.is_empty() {
            ctx.wake(NEWS_DELAY, Wake::News);
        }
        if self.fresh.len() < MAX_FRESH {
            self.fresh.push(standing);
        }
    }

    /// Tells neighbours what was news; with many links, some of them.
    pub(crate) fn send_news(&mut self, ctx: &mut Context) {
        let fresh = std::mem::take(&mut self.fresh);
        let links = ctx.links.sorted_up();
        let links = ctx.sample(links, LINKS_THAT_TEACH);
        for id in &links {
            send(ctx, id, &fresh);
        }
    }

    /// Plans the next comparison, so that nodes do not all compare at once.
    pub(super) fn compare_later(ctx: &mut Context, period: Duration) {
        let pause = period.mul_f64(ctx.rng.random_range(0.75..1.25));
        ctx.wake(pause, Wake::Compare);
    }

    /// Shows one neighbour whom this node holds for alive.
    pub(crate) fn compare(&mut self, ctx: &mut Context) {
        let links = ctx.links.sorted_up();
        for id in ctx.sample(links, 1) {
            let digest = Control::Digest(self.digest().to_vec());
            ctx.frame(&id, wire::encode(kind::CONTROL, &digest));
        }
        Self::compare_later(ctx, self.config.compare);
    }

    fn digest(&self) -> [u64; PARTS] {
        let members = self.members.values().map(|member| &member.id);
        digest(members.chain(std::iter::once(&self.me)))
    }

    /// A neighbour shows whom it holds for alive: where we differ, both say what they know.
    pub(crate) fn compared(&mut self, ctx: &mut Context, from: &NodeId, theirs: &[u64]) -> Result<(), Error> {
        if theirs.len() != PARTS {
            return Err(Error::Malformed("digest"));
        }
        let ours = self.digest();
        let parts = differing(&ours, theirs);
        if parts != 0 {
            ctx.frame(from, wire::encode(kind::CONTROL, &Control::Differ(parts)));
            self.explain(ctx, from, parts);
        }
        Ok(())
    }

    /// Says what this node knows of the members in these parts.
    pub(crate) fn explain(&self, ctx: &mut Context, to: &NodeId, parts: u16) {
        let known = self.standings();
        let known: Vec<_> = known
            .filter(|each| parts >> each.id.part(PARTS) & 1 == 1)
            .collect();
        send(ctx, to, &known);
    }
}

/// One number for each part of the members, whatever their order: equal when the same ones are held for alive.
fn digest<'a>(alive: impl Iterator<Item = &'a SwimId>) -> [u64; PARTS] {
    let mut parts = [0; PARTS];
    for id in alive {
        parts[id.part(PARTS)] ^= id.digest();
    }
    parts
}

/// The parts in which two digests differ, a bit each.
fn differing(ours: &[u64], theirs: &[u64]) -> u16 {
    let pairs = ours.iter().zip(theirs).enumerate();
    pairs.fold(0, |parts, (part, (a, b))| parts | u16::from(a != b) << part)
}

/// Tells a neighbour what is thought of these members.
pub(crate) fn send(ctx: &mut Context, to: &NodeId, standings: &[Standing]) {
    for part in standings.chunks(MEMBERS_PER_FRAME) {
        ctx.frame(to, wire::encode(kind::CONTROL, &Control::Members(part.to_vec())));
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

    fn id((at, boot, renewal): (usize, u64, u32)) -> SwimId {
        SwimId::new(Body {
            id: node_id(at, boot),
            renewal,
            addr: addr(at),
            role: Role::Peer,
            has_meta: false,
        })
    }

    proptest! {
        /// Against the sets themselves.
        #[test]
        fn digests_differ_exactly_where_the_members_do(
            ours in prop::collection::btree_set((0_usize..60, 1_u64..3, 0_u32..2), 0..60),
            theirs in prop::collection::btree_set((0_usize..60, 1_u64..3, 0_u32..2), 0..60),
            shared in prop::collection::btree_set((60_usize..200, 1_u64..3, 0_u32..2), 0..60),
        ) {
            let of = |own: &BTreeSet<_>| own.union(&shared).copied().map(id).collect::<Vec<_>>();
            let (a, b) = (of(&ours), of(&theirs));
            let naive = ours.symmetric_difference(&theirs).copied().map(id);
            let naive = naive.fold(0_u16, |parts, id| parts | 1 << id.part(PARTS));
            let found = differing(&digest(a.iter()), &digest(b.iter().rev()));
            prop_assert_eq!(found, naive);
        }
    }
}
