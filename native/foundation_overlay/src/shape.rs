//! What a topology is to the rest of the overlay.
use crate::context::Context;
use crate::{Error, NodeId, Peer, Route};

/// A rule for which links to keep, and how to reach those who are not linked.
///
/// A shape wants links under its own [`Want`](crate::links::Want), so that two can stand side by side
/// while a switch settles.
pub(crate) trait Shape: Send {
    /// The members are `ctx.peers`; want what is to be wanted.
    fn start(&mut self, ctx: &mut Context);

    /// A member came, or came again.
    fn member_up(&mut self, ctx: &mut Context, peer: &Peer);

    /// A member is gone; its links are closed already.
    fn member_down(&mut self, ctx: &mut Context, peer: &Peer);

    /// A link is open.
    fn link_up(&mut self, ctx: &mut Context, id: &NodeId);

    /// A link closed or could not be opened. A wanted one is tried again by itself.
    fn link_down(&mut self, ctx: &mut Context, id: &NodeId);

    /// The kind of its frames.
    fn kind(&self) -> u8;

    /// A frame of the shape's own kind.
    fn frame(&mut self, ctx: &mut Context, from: &NodeId, body: &[u8]) -> Result<(), Error>;

    /// A datagram of the shape's own kind.
    fn datagram(&mut self, ctx: &mut Context, body: &[u8]) -> Result<(), Error>;

    /// Something the shape put off is due.
    fn wake(&mut self, ctx: &mut Context, what: u8);

    /// Whether enough links stand for the former topology to let go.
    fn ready(&self, ctx: &Context) -> bool;

    /// The ways to a member, best first, when there is no link; none when any way will do.
    fn ways(&self, ctx: &Context, to: &Peer) -> Option<Vec<Route>>;

    /// Let go of all links.
    fn stop(&mut self, ctx: &mut Context);
}
