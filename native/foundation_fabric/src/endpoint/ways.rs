//! The way that a link takes: dialled, or over a circuit through a neighbour; and a better one when there is one.

use super::remote::Remote;
use super::send::{self, Link};
use super::{Hub, Sink};
use crate::channel::Channel;
use crate::transport::TransportError;
use foundation_overlay::{NodeId, Route};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::timeout;

/// How soon after news the way is looked at again, and how seldom at last.
const SOON: Duration = Duration::from_millis(250);
const SELDOM: Duration = Duration::from_secs(5);
/// The longest pause between attempts to get off a circuit that failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a link is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// To the node's address. `spare` when it need not be: another way would do.
    Dial { spare: bool },
    /// Over a circuit through this neighbour to that life of the node.
    Relay { next: NodeId, to: NodeId },
}

impl Way {
    pub(super) fn relayed(&self) -> bool {
        matches!(self, Way::Relay { .. })
    }
}

/// A place among the links that are dialled on demand. Given back when dropped.
pub(super) struct Place<S>(Arc<Hub<S>>);

impl<S> Place<S> {
    pub(super) fn new(hub: &Arc<Hub<S>>) -> Self {
        hub.dialled.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(hub))
    }
}

impl<S> Drop for Place<S> {
    fn drop(&mut self) {
        self.0.dialled.fetch_sub(1, Ordering::AcqRel);
    }
}

impl<S: Sink> Hub<S> {
    /// The ways to a node, best first. A node that no overlay knows is dialled.
    pub(super) fn ways_to(&self, remote: &Remote) -> Vec<Way> {
        let known = self.guide().and_then(|guide| guide.ways(&remote.name));
        let Some((to, routes)) = known else {
            return vec![Way::Dial { spare: false }];
        };
        let full = self.dialled.load(Ordering::Acquire) >= self.config.max_dialled;
        let relays = routes.iter().any(|route| matches!(route, Route::Via(_)));
        let way = |route| match route {
            Route::Direct => Some(Way::Dial { spare: false }),
            Route::Dial(_) => (!full || !relays).then_some(Way::Dial { spare: relays }),
            Route::Via(next) => Some(Way::Relay { next, to: to.clone() }),
            Route::Unknown => None,
        };
        routes.into_iter().filter_map(way).collect()
    }

    /// An attempt to dial a node failed: others may know a way around.
    pub(super) fn not_dialled(&self, remote: &Remote, error: &TransportError) {
        if matches!(error, TransportError::Io(_) | TransportError::Timeout)
            && let Some(guide) = self.guide()
            && let Some((id, _)) = guide.ways(&remote.name)
        {
            guide.unreachable(&id);
        }
    }

    /// Where a node that is up accepts links.
    pub(super) fn address(&self, id: &NodeId) -> Option<SocketAddr> {
        let remotes = self.remotes.read();
        let at = remotes.get(&id.name)?.whereabouts.borrow();
        at.up.then_some(at.addr)
    }
}

/// Waits until there is a better way than the one the present link takes, and opens it: a link that need not be
/// relayed any more, or one that must be now. The present link goes on meanwhile.
pub(super) async fn better<S: Sink>(
    hub: &Arc<Hub<S>>,
    remote: &Arc<Remote>,
    channel: &Arc<Channel>,
    lane: u16,
    relayed: bool,
) -> Link<S> {
    let mut news = hub.reshaped.subscribe();
    let mut pause = SELDOM;
    loop {
        // A link that was dialled is all right until the topology changes.
        if !relayed && pause >= SELDOM {
            let _ = news.changed().await;
            pause = SOON;
        } else if let Ok(Ok(())) = timeout(pause, news.changed()).await {
            pause = SOON;
        } else {
            pause = (pause * 2).min(SELDOM.max(pause));
        }
        let ways = hub.ways_to(remote);
        let wanted = match ways.first() {
            Some(Way::Dial { .. }) => relayed,
            Some(Way::Relay { .. }) => !relayed && ways.iter().all(Way::relayed),
            None => false,
        };
        if !wanted {
            continue;
        }
        match send::attempt(hub, remote, channel, lane, &ways[0]).await {
            Ok(link) => return link,
            Err(_) => pause = (pause * 2).min(PATIENCE),
        }
    }
}
