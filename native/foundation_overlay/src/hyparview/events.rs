//! What the overlay tells its views, and what other nodes' views say.
use super::{GATHER, HyParView, MAX_GONE, Message, WAKE_JOIN, WAKE_SHUFFLE, WAKE_TICK};
use crate::context::{Context, Wake};
use crate::shape::Shape;
use crate::wire::{self, kind};
use crate::{DownReason, Error, MemberEvent, NodeId, Peer, Route};

impl Shape for HyParView {
    fn start(&mut self, ctx: &mut Context) {
        self.fill(ctx);
        self.arm_tick(ctx);
        self.arm_shuffle(ctx);
    }

    fn member_up(&mut self, ctx: &mut Context, peer: &Peer) {
        if self.gone.remove(&peer.id.name) {
            self.returned(ctx, peer);
        }
        if ctx.config.swim.is_none() && !self.joined && self.pending.is_empty() {
            // The seed that answers first is the nearest. If all joined through the nearest, two datacentres would
            // become two overlays: so one of those that answer within a while is drawn.
            if !std::mem::replace(&mut self.gathering, true) {
                ctx.wake(GATHER, Wake::Topology(self.parity | WAKE_JOIN));
            }
            return;
        }
        self.fill(ctx);
    }

    fn member_down(&mut self, ctx: &mut Context, peer: &Peer) {
        if ctx.config.swim.is_some() && self.gone.len() < MAX_GONE {
            self.gone.insert(peer.id.name.clone());
        }
        self.passive.retain(|contact| contact.id != peer.id);
        self.active.remove(&peer.id);
        self.give_up(ctx, &peer.id);
        ctx.unwant(self.want, &peer.id);
        self.fill(ctx);
    }

    fn link_up(&mut self, ctx: &mut Context, id: &NodeId) {
        self.speak(ctx, id);
    }

    fn link_down(&mut self, ctx: &mut Context, id: &NodeId) {
        let was_active = self.active.remove(id);
        let was_pending = self.pending.remove(id).is_some();
        if !was_active && !was_pending {
            return;
        }
        self.passive.retain(|contact| contact.id != *id);
        self.refused.insert(id.clone());
        ctx.unwant(self.want, id);
        if ctx.config.swim.is_none()
            && let Some(peer) = ctx.peers.get(&id.name).filter(|peer| peer.id == *id).cloned()
        {
            ctx.tell(
                MemberEvent::Down {
                    reason: DownReason::Silent,
                },
                peer,
            );
        }
        self.fill(ctx);
    }

    fn frame(&mut self, ctx: &mut Context, from: &NodeId, body: &[u8]) -> Result<(), Error> {
        match wire::decode::<Message>(body, "views frame")?.checked()? {
            Message::Join => self.joined_through_us(ctx, from),
            Message::ForwardJoin { joiner, ttl } => self.forward_join(ctx, from, joiner, ttl),
            Message::Neighbour { high } => self.asked(ctx, from, high),
            Message::Accept => self.accepted(ctx, from),
            Message::Refuse => self.refused(ctx, from),
            Message::Disconnect { instead } => self.parted(ctx, from, instead),
            Message::Shuffle {
                origin,
                ttl,
                contacts,
            } => self.shuffled(ctx, from, origin, ttl, contacts),
            Message::ShuffleReply { contacts } => self.integrate(ctx, contacts, &[]),
            Message::Trade { old } => self.asked_to_trade(ctx, from, old),
        }
        Ok(())
    }

    fn kind(&self) -> u8 {
        kind::VIEWS
    }

    fn datagram(&mut self, ctx: &mut Context, body: &[u8]) -> Result<(), Error> {
        match wire::decode::<Message>(body, "shuffle reply")?.checked()? {
            Message::ShuffleReply { contacts } => self.integrate(ctx, contacts, &[]),
            _ => return Err(Error::Malformed("shuffle reply")),
        }
        Ok(())
    }

    fn wake(&mut self, ctx: &mut Context, what: u8) {
        if what == self.parity | WAKE_TICK {
            self.tick(ctx);
        } else if what == self.parity | WAKE_JOIN {
            self.gathering = false;
            self.fill(ctx);
        } else if what == self.parity | WAKE_SHUFFLE {
            self.shuffle(ctx);
            self.arm_shuffle(ctx);
        }
    }

    fn ready(&self, ctx: &Context) -> bool {
        self.active.len() >= self.size(ctx).min(ctx.peers.len())
    }

    fn ways(&self, _: &Context, _: &Peer) -> Option<Vec<Route>> {
        None
    }

    fn stop(&mut self, ctx: &mut Context) {
        ctx.unwant_all(self.want);
    }
}
