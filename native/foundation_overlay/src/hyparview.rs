//! Partial views: a few links to random nodes, and a reserve of others to replace them.
//!
//! HyParView (Leitão, Pereira, Rodrigues, "HyParView: a membership protocol for reliable gossip-based
//! broadcast", DSN 2007). The active view holds the nodes this one is linked to; being in it is mutual.
//! The passive view holds nodes to turn to when a link breaks, kept random by exchanges. Ours besides:
//! the views' size follows the number of members, a node strives for `size` links and accepts two more,
//! members known from SWIM fill in when the passive view is empty, and costly links are traded for cheap
//! ones (see [`optimise`]).
mod events;
mod message;
mod neighbours;
mod optimise;
#[cfg(test)]
mod tests;
mod walks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rand::RngExt;

use crate::context::{Context, Wake};
use crate::links::Want;
use crate::wire::{self, Contact, kind};
use crate::{MemberEvent, NodeId, PeerName};
use message::Message;

/// How often the views are looked after.
const TICK: Duration = Duration::from_millis(1_000);
/// An answer that takes longer will not come.
const PATIENCE: Duration = Duration::from_secs(4);
/// Answers of seeds are awaited this long when there is no SWIM to tell of further members.
const GATHER: Duration = Duration::from_millis(150);
/// Links accepted beyond those striven for.
const SLACK: usize = 2;
/// How many nodes, all together, insist on a link to a member that is back.
const BRIDGES: f64 = 3.0;
/// Names of members that are gone kept.
const MAX_GONE: usize = 4_096;
/// Requests under way at once.
const ASKING: usize = 3;

/// What the two kinds of wake-up mean.
const WAKE_TICK: u8 = 0;
const WAKE_SHUFFLE: u8 = 1;
const WAKE_JOIN: u8 = 4;

/// Why a node is being linked to.
#[derive(Debug, Clone, PartialEq)]
enum Asking {
    /// To get into the overlay through it.
    Join,
    /// To have one more neighbour.
    Neighbour { high: bool },
    /// To have it instead of a costlier one.
    Trade { old: NodeId },
}

#[derive(Debug)]
struct Pending {
    contact: Contact,
    asking: Asking,
    since: Duration,
    asked: bool,
}

/// The views of one node.
#[derive(Debug)]
pub(crate) struct HyParView {
    want: Want,
    active: BTreeSet<NodeId>,
    pending: BTreeMap<NodeId, Pending>,
    passive: Vec<Contact>,
    joined: bool,
    gathering: bool,
    /// Who refused lately: not asked again before the next look.
    refused: BTreeSet<NodeId>,
    next_trade: Duration,
    /// Names that ceased to be members: should they return, a partition has healed.
    gone: BTreeSet<PeerName>,
    /// Timers of this instance carry its parity, so that those of a former one are not taken for ours.
    parity: u8,
}

impl HyParView {
    pub(crate) fn new(want: Want) -> Self {
        Self {
            want,
            active: BTreeSet::new(),
            pending: BTreeMap::new(),
            passive: Vec::new(),
            joined: false,
            gathering: false,
            refused: BTreeSet::new(),
            next_trade: Duration::ZERO,
            gone: BTreeSet::new(),
            parity: if want == Want::EVEN { 0 } else { 2 },
        }
    }

    /// Links to strive for.
    fn size(&self, ctx: &Context) -> usize {
        ctx.config.hyparview.active.unwrap_or_else(|| {
            let members = (ctx.peers.len() + 1) as f64;
            if ctx.config.swim.is_some() {
                ((members.log10()).ceil() as usize + 2).max(4)
            } else {
                5
            }
        })
    }

    fn most(&self, ctx: &Context) -> usize {
        self.size(ctx) + SLACK
    }

    fn reserve(&self, ctx: &Context) -> usize {
        ctx.config.hyparview.passive.unwrap_or_else(|| 6 * self.size(ctx))
    }

    fn send(&self, ctx: &mut Context, to: &NodeId, message: &Message) {
        ctx.frame(to, wire::encode(kind::VIEWS, message));
    }

    /// Begins to link to a node for a reason.
    fn ask(&mut self, ctx: &mut Context, contact: Contact, asking: Asking) {
        let id = contact.id.clone();
        if id.name == ctx.me.id.name || self.active.contains(&id) || self.pending.contains_key(&id) {
            return;
        }
        let peer = contact.peer();
        let pending = Pending {
            contact,
            asking,
            since: ctx.now,
            asked: false,
        };
        self.pending.insert(id.clone(), pending);
        ctx.want(self.want, &peer, false);
        self.speak(ctx, &id);
    }

    /// Says what the link was opened for, once it is open.
    fn speak(&mut self, ctx: &mut Context, id: &NodeId) {
        let Some(pending) = self.pending.get_mut(id) else {
            return;
        };
        if pending.asked || !ctx.links.is_up(id) {
            return;
        }
        pending.asked = true;
        let message = match &pending.asking {
            Asking::Join => Message::Join,
            Asking::Neighbour { high } => Message::Neighbour { high: *high },
            Asking::Trade { old } => Message::Trade {
                old: ctx.contact(old),
            },
        };
        self.send(ctx, id, &message);
    }

    /// Takes a node into the active view; a random one leaves when there is no room.
    fn admit(&mut self, ctx: &mut Context, contact: &Contact) {
        let id = &contact.id;
        self.pending.remove(id);
        self.passive.retain(|other| other.id.name != id.name);
        if self.active.contains(id) {
            return;
        }
        if self.active.len() >= self.most(ctx)
            && let Some(victim) = self.random_active(ctx, &[])
        {
            self.part(ctx, &victim, None);
        }
        self.active.insert(id.clone());
        self.joined = true;
        ctx.want(self.want, &contact.peer(), false);
        if ctx.config.swim.is_none() {
            ctx.tell(MemberEvent::Up, contact.peer());
        }
    }

    /// Parts from a living neighbour, with a word on whom it might turn to instead.
    fn part(&mut self, ctx: &mut Context, id: &NodeId, instead: Option<Contact>) {
        if !self.active.remove(id) {
            return;
        }
        if let Some(contact) = ctx.contact_of(id) {
            self.remember(ctx, contact);
        }
        self.send(ctx, id, &Message::Disconnect { instead });
        ctx.unwant(self.want, id);
    }

    /// Forgets a request that came to nothing.
    fn give_up(&mut self, ctx: &mut Context, id: &NodeId) -> Option<Pending> {
        let pending = self.pending.remove(id)?;
        ctx.unwant(self.want, id);
        Some(pending)
    }

    fn random_active(&self, ctx: &mut Context, without: &[&NodeId]) -> Option<NodeId> {
        let candidates = self.active.iter().filter(|id| !without.contains(id)).cloned();
        ctx.sample(candidates, 1).pop()
    }

    /// Puts a node into the reserve; a random one leaves when there is no room.
    fn remember(&mut self, ctx: &mut Context, contact: Contact) {
        let known = contact.id.name == ctx.me.id.name || self.active.contains(&contact.id);
        if known || self.is_gone(ctx, &contact.id) {
            return;
        }
        if let Some(old) = self.passive.iter_mut().find(|old| old.id.name == contact.id.name) {
            if old.id.boot < contact.id.boot {
                *old = contact;
            }
            return;
        }
        if self.passive.len() >= self.reserve(ctx) {
            let at = ctx.rng.random_range(0..self.passive.len());
            self.passive.swap_remove(at);
        }
        self.passive.push(contact);
    }

    /// SWIM knows everyone: who is not a member is gone, or an earlier life.
    fn is_gone(&self, ctx: &Context, id: &NodeId) -> bool {
        ctx.config.swim.is_some() && ctx.peers.get(&id.name).is_none_or(|peer| peer.id != *id)
    }

    /// Asks for neighbours until there are enough.
    fn fill(&mut self, ctx: &mut Context) {
        while self.active.len() + self.pending.len() < self.size(ctx) && self.pending.len() < ASKING {
            let Some(contact) = self.candidate(ctx) else {
                return;
            };
            // The paper asks with priority when it has no neighbour at all; with few of them the network
            // could be full around us just as well.
            let asking = if self.active.is_empty() && !self.joined {
                Asking::Join
            } else {
                Asking::Neighbour {
                    high: self.active.len() * 2 < self.size(ctx),
                }
            };
            let only = asking == Asking::Join;
            self.ask(ctx, contact, asking);
            if only {
                return;
            }
        }
    }

    /// Someone to turn to: from the reserve, else any member.
    fn candidate(&self, ctx: &mut Context) -> Option<Contact> {
        let free = |id: &NodeId| {
            !self.active.contains(id) && !self.pending.contains_key(id) && !self.refused.contains(id)
        };
        let reserve: Vec<_> = self
            .passive
            .iter()
            .filter(|contact| free(&contact.id))
            .cloned()
            .collect();
        if let Some(contact) = ctx.sample(reserve, 1).pop() {
            return Some(contact);
        }
        let members: Vec<_> = ctx
            .peers
            .values()
            .filter(|peer| free(&peer.id))
            .map(Contact::of)
            .collect();
        ctx.sample(members, 1).pop()
    }

    fn tick(&mut self, ctx: &mut Context) {
        if ctx.rng.random_bool(0.5) {
            self.refused.clear();
        }
        let late = self
            .pending
            .iter()
            .filter(|(_, pending)| ctx.now - pending.since > PATIENCE);
        let late: Vec<_> = late.map(|(id, _)| id.clone()).collect();
        for id in late {
            self.give_up(ctx, &id);
        }
        let most = self.most(ctx);
        while self.active.len() > most
            && let Some(victim) = self.random_active(ctx, &[])
        {
            self.part(ctx, &victim, None);
        }
        self.fill(ctx);
        self.trade(ctx);
        self.arm_tick(ctx);
    }

    fn arm_tick(&self, ctx: &mut Context) {
        let pause = TICK.mul_f64(ctx.rng.random_range(0.75..1.25));
        ctx.wake(pause, Wake::Topology(self.parity | WAKE_TICK));
    }

    fn arm_shuffle(&self, ctx: &mut Context) {
        let period = ctx
            .config
            .hyparview
            .shuffle_period
            .mul_f64(ctx.rng.random_range(0.75..1.25));
        ctx.wake(period, Wake::Topology(self.parity | WAKE_SHUFFLE));
    }
}
