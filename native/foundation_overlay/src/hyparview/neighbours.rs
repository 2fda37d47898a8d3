//! Becoming neighbours, refusing to, and parting.
use rand::RngExt;

use super::{Asking, BRIDGES, HyParView, Message, Pending};
use crate::context::Context;
use crate::wire::Contact;
use crate::{NodeId, Peer};

impl HyParView {
    /// A node asks to be a neighbour.
    pub(super) fn asked(&mut self, ctx: &mut Context, from: &NodeId, high: bool) {
        let room = self.active.contains(from) || self.active.len() < self.most(ctx);
        if high || room {
            let contact = ctx.contact(from);
            self.admit(ctx, &contact);
            self.send(ctx, from, &Message::Accept);
        } else {
            self.send(ctx, from, &Message::Refuse);
        }
    }

    pub(super) fn accepted(&mut self, ctx: &mut Context, from: &NodeId) {
        match self.pending.remove(from) {
            Some(Pending { contact, asking, .. }) => {
                self.admit(ctx, &contact);
                if let Asking::Trade { old } = asking
                    && self.active.len() > self.size(ctx)
                {
                    self.part(ctx, &old, None);
                }
                self.fill(ctx);
            }
            None if self.active.contains(from) => {}
            // We had given up waiting.
            None => self.send(ctx, from, &Message::Disconnect { instead: None }),
        }
    }

    /// A member is back. After a partition both sides have their views full of their own: unless some insist on links
    /// to the other side, there would never be one. Each insists seldom, so that together they ask each three times.
    pub(super) fn returned(&mut self, ctx: &mut Context, peer: &Peer) {
        let contact = Contact::of(peer);
        let often = (BRIDGES / (ctx.peers.len() + 1) as f64).min(1.0);
        if ctx.rng.random_bool(often) {
            self.ask(ctx, contact, Asking::Neighbour { high: true });
        } else {
            self.remember(ctx, contact);
        }
    }

    pub(super) fn refused(&mut self, ctx: &mut Context, from: &NodeId) {
        if let Some(pending) = self.give_up(ctx, from) {
            self.refused.insert(from.clone());
            self.remember(ctx, pending.contact);
            self.fill(ctx);
        }
    }

    pub(super) fn parted(&mut self, ctx: &mut Context, from: &NodeId, instead: Option<Contact>) {
        let was = self.active.remove(from);
        self.pending.remove(from);
        if was && let Some(contact) = ctx.contact_of(from) {
            self.remember(ctx, contact);
        }
        ctx.unwant(self.want, from);
        if let Some(contact) = instead
            && was
            && !self.is_gone(ctx, &contact.id)
        {
            self.ask(ctx, contact, Asking::Neighbour { high: false });
        }
        self.fill(ctx);
    }
}
