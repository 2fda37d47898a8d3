//! Trading costly links for cheap ones.
//!
//! After X-BOT (Leitão, Marques, Pereira, Rodrigues, "X-BOT: a protocol for resilient optimization of
//! unstructured overlay networks", SRDS 2009), in two steps instead of its four: node i with a costly
//! neighbour o asks a nearer node c to take o's place. If c has no room it lets its own costliest
//! neighbour d go, if d is costlier than i, and sends d to o, which has just lost i. So no node has more
//! links than before, and in the end the four have as many as they had. Cost is the measured round trip.
//! A third of all possible links, the same third to both of their ends, is never traded, so that the overlay stays
//! random enough to stay connected.
use std::time::Duration;

use super::{Asking, HyParView, Message};
use crate::NodeId;
use crate::context::Context;
use crate::wire::Contact;

/// One in so many links is never traded. Which ones has nothing to do with cost, and both ends agree on it: a link
/// that only one of them keeps is soon traded by the other.
const UNBIASED: u64 = 3;
/// A trade must save this share of the cost, and this much.
const WORTH: f64 = 0.75;
const WORTH_MICROS: f64 = 500.0;

impl HyParView {
    /// Neighbours that may be traded, with their costs.
    fn tradable(&self, ctx: &Context) -> Vec<(f64, NodeId)> {
        let cost = |id: &NodeId| ctx.cost(id).map(|cost| (cost, id.clone()));
        let biased = self.active.iter().filter(|id| !is_unbiased(&ctx.me.id, id));
        let mut costs: Vec<_> = biased.filter_map(cost).collect();
        costs.sort_by(|a, b| b.0.total_cmp(&a.0));
        costs
    }

    /// Looks for a trade now and then.
    pub(super) fn trade(&mut self, ctx: &mut Context) {
        let Some(period) = ctx.config.hyparview.optimise_period else {
            return;
        };
        if ctx.now < self.next_trade || self.active.len() < self.size(ctx) {
            return;
        }
        self.next_trade = ctx.now + period.max(Duration::from_millis(1));
        let Some((worst, old)) = self.tradable(ctx).into_iter().next() else {
            return;
        };
        let nearest = self
            .passive
            .iter()
            .filter(|contact| !self.active.contains(&contact.id) && !self.refused.contains(&contact.id))
            .filter_map(|contact| ctx.cost(&contact.id).map(|cost| (cost, contact)))
            .min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((cost, contact)) = nearest
            && cheaper(cost, worst)
        {
            let contact = contact.clone();
            self.ask(ctx, contact, Asking::Trade { old });
        }
    }

    /// A node that finds us near would have us instead of another.
    pub(super) fn asked_to_trade(&mut self, ctx: &mut Context, from: &NodeId, old: Contact) {
        if self.active.contains(from) || self.active.len() < self.most(ctx) {
            return self.asked(ctx, from, false);
        }
        let worst = self.tradable(ctx).into_iter().next();
        match (worst, ctx.cost(from)) {
            (Some((worst, victim)), Some(cost)) if cheaper(cost, worst) => {
                self.part(ctx, &victim, Some(old));
                self.asked(ctx, from, false);
            }
            _ => self.send(ctx, from, &Message::Refuse),
        }
    }
}

/// Whether the link between these two is one of those that are never traded.
fn is_unbiased(a: &NodeId, b: &NodeId) -> bool {
    let hash = |id: &NodeId| {
        let bytes = id.name.as_str().bytes();
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    };
    let both = (hash(a) ^ hash(b)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (both ^ (both >> 32)) % UNBIASED == 0
}

fn cheaper(cost: f64, than: f64) -> bool {
    cost < than * WORTH && cost + WORTH_MICROS < than
}
