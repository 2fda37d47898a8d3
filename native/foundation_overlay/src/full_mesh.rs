//! A link between every two nodes.
use crate::context::Context;
use crate::links::Want;
use crate::shape::Shape;
use crate::wire::kind;
use crate::{Error, NodeId, Peer, Route};

/// Wants a link to every member; of two nodes the one with the smaller name opens it.
#[derive(Debug)]
pub(crate) struct FullMesh {
    want: Want,
}

impl FullMesh {
    pub(crate) const fn new(want: Want) -> Self {
        Self { want }
    }
}

impl Shape for FullMesh {
    fn start(&mut self, ctx: &mut Context) {
        let peers: Vec<_> = ctx.peers.values().cloned().collect();
        peers.iter().for_each(|peer| ctx.want(self.want, peer, true));
    }

    fn member_up(&mut self, ctx: &mut Context, peer: &Peer) {
        ctx.want(self.want, peer, true);
    }

    fn member_down(&mut self, ctx: &mut Context, peer: &Peer) {
        ctx.unwant(self.want, &peer.id);
    }

    fn link_up(&mut self, _: &mut Context, _: &NodeId) {}

    fn link_down(&mut self, _: &mut Context, _: &NodeId) {}

    fn frame(&mut self, _: &mut Context, _: &NodeId, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn kind(&self) -> u8 {
        kind::NONE
    }

    fn datagram(&mut self, _: &mut Context, _: &[u8]) -> Result<(), Error> {
        Ok(())
    }

    fn wake(&mut self, _: &mut Context, _: u8) {}

    fn ready(&self, ctx: &Context) -> bool {
        ctx.links.settled(self.want)
    }

    fn ways(&self, _: &Context, _: &Peer) -> Option<Vec<Route>> {
        None
    }

    fn stop(&mut self, ctx: &mut Context) {
        ctx.unwant_all(self.want);
    }
}
