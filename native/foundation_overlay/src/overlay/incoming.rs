//! What other nodes say.

use std::net::SocketAddr;

use foca::Member as Claim;

use super::Overlay;
use crate::wire::{self, Control, Probe, kind};
use crate::{Effect, Error, MemberEvent, NodeId};

impl Overlay {
    pub(super) fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<(), Error> {
        let ctx = &mut self.ctx;
        let (which, body) = wire::open(bytes)?;
        match (which, &mut self.swim) {
            (kind::SWIM, Some(swim)) => swim.datagram(ctx, body),
            (kind::SWIM, None) => Ok(()),
            (kind::PROBE, _) => {
                let probe = wire::decode(body, "probe")?;
                if let Some(answer) = self.probe(Some(from), probe)? {
                    self.ctx.datagram(from, wire::encode(kind::PROBE, &answer));
                }
                Ok(())
            }
            (kind::SHUFFLE_REPLY, _) => {
                let views = self.shapes.each().find(|shape| shape.kind() == kind::VIEWS);
                views.map_or(Ok(()), |views| views.datagram(ctx, body))
            }
            _ => Err(Error::Malformed("datagram kind")),
        }
    }

    fn probe(&mut self, from: Option<SocketAddr>, probe: Probe) -> Result<Option<Probe>, Error> {
        let ctx = &mut self.ctx;
        match probe {
            Probe::Knock => {
                let id = self
                    .swim
                    .as_ref()
                    .map_or_else(|| ctx.swim_id(), |swim| swim.me().clone());
                Ok(Some(Probe::Door {
                    me: ctx.wire_me(id),
                    decision: self.shapes.decision.clone(),
                }))
            }
            Probe::Door { me, decision } => {
                let (id, peer) = me.into_peer()?;
                if let Some(from) = from {
                    self.seeds.answered(from, &id);
                }
                if peer.id.name == ctx.me.id.name {
                    return Ok(None);
                }
                self.shapes.hear(ctx, decision, None);
                match &mut self.swim {
                    Some(swim) if swim.get(&peer.id).is_some() => swim.describe(ctx, &id, &peer),
                    Some(swim) => swim.announce(ctx, id),
                    None => ctx.tell(MemberEvent::Up, peer),
                }
                Ok(None)
            }
            Probe::Decided(decision) => {
                self.shapes.hear(ctx, decision, None);
                Ok(None)
            }
            other => Ok(self.swim.as_mut().and_then(|swim| swim.probe(ctx, from, other))),
        }
    }

    pub(super) fn frame(&mut self, from: &NodeId, bytes: &[u8]) -> Result<(), Error> {
        let (which, body) = wire::open(bytes)?;
        match which {
            kind::CONTROL => self.control(from, wire::decode(body, "control frame")?),
            kind::PROBE => {
                let probe = wire::decode(body, "probe")?;
                if let Some(answer) = self.probe(None, probe)? {
                    self.ctx.frame(from, wire::encode(kind::PROBE, &answer));
                }
                Ok(())
            }
            kind::ROUTE => self.router.frame(&mut self.ctx, from, body),
            kind::VIEWS | kind::SERVERS => {
                let shape = self.shapes.each().find(|shape| shape.kind() == which);
                // A topology that this node has not heard of yet, or has left already.
                shape.map_or(Ok(()), |shape| shape.frame(&mut self.ctx, from, body))
            }
            kind::TREE => self.broadcasts.receive(&mut self.ctx, from, body),
            _ => Err(Error::Malformed("frame kind")),
        }
    }

    fn control(&mut self, from: &NodeId, control: Control) -> Result<(), Error> {
        let ctx = &mut self.ctx;
        match (control, &mut self.swim) {
            (Control::Greeting { me, decision }, swim) => {
                let (id, peer) = me.into_peer()?;
                if peer.id != *from {
                    return Err(Error::Malformed("greeting"));
                }
                ctx.links.greeted(&peer);
                if let Some(swim) = swim {
                    swim.claim(ctx, Claim::alive(id.clone()), true);
                    swim.describe(ctx, &id, &peer);
                } else {
                    ctx.tell(MemberEvent::Up, peer);
                }
                self.shapes.hear(ctx, decision, Some(from));
            }
            (Control::Switch(decision), _) => self.shapes.hear(ctx, decision, Some(from)),
            (Control::Members(standings), Some(swim)) => swim.learn(ctx, standings),
            (Control::Digest(parts), Some(swim)) => return swim.compared(ctx, from, &parts),
            (Control::Differ(parts), Some(swim)) => swim.explain(ctx, from, parts),
            (Control::Leave, Some(swim)) => {
                if let Some(id) = swim.get(from).map(|member| member.id.clone()) {
                    swim.probe(ctx, None, Probe::Leave { me: id });
                } else {
                    ctx.out.push(Effect::Goodbye(from.clone()));
                }
            }
            (Control::Leave, None) => {
                ctx.out.push(Effect::Goodbye(from.clone()));
                if let Some(peer) = ctx.peers.get(&from.name).filter(|peer| peer.id == *from).cloned() {
                    ctx.tell(MemberEvent::Left, peer);
                }
            }
            (Control::Members(_) | Control::Digest(_) | Control::Differ(_), None) => {}
        }
        Ok(())
    }
}
