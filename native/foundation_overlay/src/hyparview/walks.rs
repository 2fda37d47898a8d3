//! Random walks: of those who join, and of parts of the views.
use super::{Asking, HyParView, Message};
use crate::context::Context;
use crate::wire::{self, Contact, kind};
use crate::{NodeId, Peer};

impl HyParView {
    /// A newcomer chose us: it becomes a neighbour, and our neighbours send it walking.
    pub(super) fn joined_through_us(&mut self, ctx: &mut Context, from: &NodeId) {
        let joiner = ctx.contact(from);
        self.admit(ctx, &joiner);
        self.send(ctx, from, &Message::Accept);
        let ttl = ctx.config.hyparview.active_walk;
        for id in self.active.clone() {
            if id != *from {
                self.send(
                    ctx,
                    &id,
                    &Message::ForwardJoin {
                        joiner: joiner.clone(),
                        ttl,
                    },
                );
            }
        }
    }

    /// Someone joined elsewhere; it becomes our neighbour if its walk ends here.
    pub(super) fn forward_join(&mut self, ctx: &mut Context, from: &NodeId, joiner: Contact, ttl: u8) {
        if joiner.id.name == ctx.me.id.name {
            return;
        }
        if ttl == 0 || self.active.len() <= 1 {
            return self.ask(ctx, joiner, Asking::Neighbour { high: true });
        }
        if ttl == ctx.config.hyparview.passive_walk {
            self.remember(ctx, joiner.clone());
        }
        match self.random_active(ctx, &[from, &joiner.id]) {
            Some(next) => self.send(ctx, &next, &Message::ForwardJoin { joiner, ttl: ttl - 1 }),
            None => self.ask(ctx, joiner, Asking::Neighbour { high: true }),
        }
    }

    /// Sends a part of the views on a walk.
    pub(super) fn shuffle(&mut self, ctx: &mut Context) {
        let Some(next) = self.random_active(ctx, &[]) else {
            return;
        };
        let (active, passive) = (
            ctx.config.hyparview.shuffle_active,
            ctx.config.hyparview.shuffle_passive,
        );
        let near: Vec<_> = self.active.iter().filter(|id| **id != next).cloned().collect();
        let near = ctx.sample(near, active);
        let mut contacts: Vec<_> = near.iter().filter_map(|id| ctx.contact_of(id)).collect();
        contacts.extend(ctx.sample(self.passive.clone(), passive));
        let origin = Contact::of(&ctx.me);
        let ttl = ctx.config.hyparview.active_walk;
        self.send(
            ctx,
            &next,
            &Message::Shuffle {
                origin,
                ttl,
                contacts,
            },
        );
    }

    /// A part of another node's views: passed on, or taken in and answered.
    pub(super) fn shuffled(
        &mut self,
        ctx: &mut Context,
        from: &NodeId,
        origin: Contact,
        ttl: u8,
        contacts: Vec<Contact>,
    ) {
        if origin.id.name == ctx.me.id.name {
            return;
        }
        if ttl > 1
            && let Some(next) = self.random_active(ctx, &[from, &origin.id])
        {
            return self.send(
                ctx,
                &next,
                &Message::Shuffle {
                    origin,
                    ttl: ttl - 1,
                    contacts,
                },
            );
        }
        let mut answer = ctx.sample(self.passive.clone(), contacts.len());
        let addr = origin.addr;
        let sent: Vec<_> = answer.iter().map(|contact| contact.id.clone()).collect();
        let mut theirs = contacts;
        theirs.push(origin);
        self.integrate(ctx, theirs, &sent);
        let mut bytes = wire::encode(
            kind::SHUFFLE_REPLY,
            &Message::ShuffleReply {
                contacts: answer.clone(),
            },
        );
        while bytes.len() > ctx.config.max_datagram {
            answer.pop();
            bytes = wire::encode(
                kind::SHUFFLE_REPLY,
                &Message::ShuffleReply {
                    contacts: answer.clone(),
                },
            );
        }
        if !answer.is_empty() {
            ctx.datagram(addr, bytes);
        }
    }

    /// Takes nodes into the reserve; those we gave away make room first.
    pub(super) fn integrate(&mut self, ctx: &mut Context, contacts: Vec<Contact>, given: &[NodeId]) {
        for contact in contacts {
            if self.passive.len() >= self.reserve(ctx)
                && let Some(at) = self.passive.iter().position(|old| given.contains(&old.id))
            {
                self.passive.swap_remove(at);
            }
            self.remember(ctx, contact);
        }
        self.fill(ctx);
    }
}

impl Context {
    /// How others reach a node we are linked to.
    pub(super) fn contact_of(&self, id: &NodeId) -> Option<Contact> {
        if let Some(peer) = self.peers.get(&id.name).filter(|peer| peer.id == *id) {
            return Some(Contact::of(peer));
        }
        self.links.peer(id).map(Contact::of)
    }

    /// The same for a node that speaks to us: it greeted us with its address before anything else.
    pub(super) fn contact(&self, id: &NodeId) -> Contact {
        self.contact_of(id).unwrap_or_else(|| {
            Contact::of(&Peer {
                id: id.clone(),
                ..self.me.clone()
            })
        })
    }
}
