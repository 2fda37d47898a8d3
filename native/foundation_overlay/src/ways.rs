//! How other nodes are reached: over links there are, links to be opened, or through neighbours.
use std::cmp::Reverse;

use crate::client_server::affinity;
use crate::{NodeId, Overlay, Route};

/// Neighbours named as a way beside dialling.
const RELAYS: usize = 3;

impl Overlay {
    /// How to reach a node now, best first; nothing for who is no member. O(links), and O(members) among clients and
    /// servers. What is relayed needs a bound on its hops: ways change while it travels.
    pub fn ways(&self, to: &NodeId) -> Vec<Route> {
        let ctx = &self.ctx;
        let direct = ctx.links.is_up(to).then_some(Route::Direct);
        let mut ways: Vec<_> = direct.into_iter().collect();
        let Some(peer) = ctx.peers.get(&to.name).filter(|peer| peer.id == *to) else {
            return ways;
        };
        let found = self.router.via(ctx, to).map(Route::Via);
        match self.shapes.current.ways(ctx, peer) {
            Some(named) => {
                ways.extend(named);
                ways.extend(found);
            }
            None => {
                ways.extend(found);
                ways.push(Route::Dial(peer.clone()));
                let mut neighbours: Vec<_> = ctx.links.iter_up().filter(|id| *id != to).collect();
                neighbours.sort_unstable_by_key(|id| (Reverse(affinity(&to.name, &id.name)), *id));
                ways.extend(neighbours.into_iter().take(RELAYS).cloned().map(Route::Via));
            }
        }
        ways
    }

    /// The best of these ways.
    pub fn route(&self, to: &NodeId) -> Route {
        self.ways(to).into_iter().next().unwrap_or(Route::Unknown)
    }
}
