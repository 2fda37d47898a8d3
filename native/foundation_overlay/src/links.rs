//! Which links are wanted, by whom, and in what state each is.
use std::time::Duration;

use hashbrown::HashMap;
use rand::RngExt;

use crate::context::{Context, News, Wake};
use crate::{Effect, NodeId, Peer};

/// Who wants a link. Several may; the link stays until the last lets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Want(pub(crate) u8);

impl Want {
    /// The topology in force, and the one before it while a switch settles: they alternate.
    pub(crate) const EVEN: Self = Self(1);
    pub(crate) const ODD: Self = Self(2);
    /// Either of these two.
    pub(crate) const SHAPES: Self = Self(3);
    /// The trees of topics.
    pub(crate) const TOPICS: Self = Self(4);

    /// The other of the two for topologies.
    pub(crate) fn other(self) -> Self {
        if self == Self::EVEN { Self::ODD } else { Self::EVEN }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Waiting for the other side to open it, or for a pause to end.
    Waiting,
    /// Asked for.
    Opening,
    Up,
}

#[derive(Debug)]
struct Link {
    /// Known once somebody here wanted the link.
    peer: Option<Peer>,
    state: State,
    wants: u8,
    failures: u32,
    since: Duration,
}

/// All links of this node, keyed by the life of the node at the other end.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: HashMap<NodeId, Link>,
    up: usize,
}

impl Links {
    pub(crate) fn is_up(&self, id: &NodeId) -> bool {
        self.links.get(id).is_some_and(|link| link.state == State::Up)
    }

    pub(crate) fn is_wanted_by(&self, want: Want, id: &NodeId) -> bool {
        self.links.get(id).is_some_and(|link| link.wants & want.0 != 0)
    }

    /// Who is at the other end, as it was said when the link was first wanted or as it greeted us.
    pub(crate) fn peer(&self, id: &NodeId) -> Option<&Peer> {
        self.links.get(id)?.peer.as_ref()
    }

    /// The node at the other end said who it is.
    pub(crate) fn greeted(&mut self, peer: &Peer) {
        if let Some(link) = self.links.get_mut(&peer.id) {
            link.peer = Some(peer.clone());
        }
    }

    pub(crate) fn count_up(&self) -> usize {
        self.up
    }

    /// Open links, in no order.
    pub(crate) fn iter_up(&self) -> impl Iterator<Item = &NodeId> {
        self.links
            .iter()
            .filter(|(_, link)| link.state == State::Up)
            .map(|(id, _)| id)
    }

    /// Open links by name, so that runs repeat.
    pub(crate) fn sorted_up(&self) -> Vec<NodeId> {
        let mut up: Vec<_> = self.iter_up().cloned().collect();
        up.sort_unstable();
        up
    }

    /// Links that should be there, whether they are or not.
    pub(crate) fn wanted(&self) -> impl Iterator<Item = (&NodeId, bool)> {
        self.links
            .iter()
            .filter(|(_, link)| link.wants != 0)
            .map(|(id, link)| (id, link.state == State::Up))
    }

    /// Whether every link this party wants is open or was tried in vain at least twice.
    pub(crate) fn settled(&self, want: Want) -> bool {
        let mut wanted = self.links.values().filter(|link| link.wants & want.0 != 0);
        wanted.all(|link| link.state == State::Up || link.failures >= 2)
    }
}

impl Context {
    /// Wants a link. With `courtesy` the node whose name is greater lets the other open it first, so that
    /// the two seldom open one each.
    pub(crate) fn want(&mut self, want: Want, peer: &Peer, courtesy: bool) {
        if peer.id.name == self.me.id.name {
            return;
        }
        let now = self.now;
        let link = self.links.links.entry(peer.id.clone()).or_insert_with(|| Link {
            peer: None,
            state: State::Waiting,
            wants: 0,
            failures: 0,
            since: now,
        });
        let fresh = link.wants == 0;
        link.wants |= want.0;
        link.peer = Some(peer.clone());
        self.news.push_back(News::Link(peer.id.clone()));
        if !fresh || link.state != State::Waiting {
            return;
        }
        if courtesy && self.me.id.name > peer.id.name {
            self.wake(self.config.links.courtesy, Wake::Link(peer.id.clone()));
        } else {
            self.open_link(&peer.id);
        }
    }

    /// Wants the link no more; it closes when nobody does.
    pub(crate) fn unwant(&mut self, want: Want, id: &NodeId) {
        let Some(link) = self.links.links.get_mut(id) else {
            return;
        };
        link.wants &= !want.0;
        if link.wants == 0 {
            self.close_link(id);
        } else {
            self.news.push_back(News::Link(id.clone()));
        }
    }

    /// This party wants no link any more.
    pub(crate) fn unwant_all(&mut self, want: Want) {
        let links = self.links.links.iter();
        let mut ids: Vec<_> = links
            .filter(|(_, link)| link.wants & want.0 != 0)
            .map(|(id, _)| id.clone())
            .collect();
        ids.sort_unstable();
        ids.iter().for_each(|id| self.unwant(want, id));
    }

    /// Closes and forgets a link whoever wants it: the node at its end is gone.
    pub(crate) fn close_link(&mut self, id: &NodeId) {
        let Some(link) = self.links.links.remove(id) else {
            return;
        };
        if link.state == State::Up {
            self.links.up -= 1;
            self.news.push_back(News::Unlinked(id.clone()));
        }
        if link.state != State::Waiting {
            self.out.push(Effect::Disconnect(id.clone()));
        }
    }

    /// A wanted link is due to be opened.
    pub(crate) fn open_link(&mut self, id: &NodeId) {
        let now = self.now;
        let Some(link) = self.links.links.get_mut(id) else {
            return;
        };
        if let (State::Waiting, Some(peer), true) = (link.state, &link.peer, link.wants != 0) {
            link.state = State::Opening;
            link.since = now;
            self.out.push(Effect::Connect(peer.clone()));
        }
    }

    /// The driver says the link is open. True when that is new.
    pub(crate) fn link_up(&mut self, id: &NodeId) -> bool {
        let (now, idle) = (self.now, self.config.links.idle);
        let link = self.links.links.entry(id.clone()).or_insert_with(|| Link {
            peer: None,
            state: State::Waiting,
            wants: 0,
            failures: 0,
            since: now,
        });
        if link.state == State::Up {
            return false;
        }
        (link.state, link.failures, link.since) = (State::Up, 0, now);
        if link.wants == 0 {
            self.wake(idle, Wake::Idle(id.clone()));
        }
        self.links.up += 1;
        self.counters.links_up += 1;
        self.news.push_back(News::Link(id.clone()));
        true
    }

    /// The driver says the link is closed or could not be opened. A wanted one is tried again after a
    /// pause. Says whether it had been open, if there was one at all.
    pub(crate) fn link_down(&mut self, id: &NodeId) -> Option<bool> {
        let now = self.now;
        let link = self.links.links.get_mut(id)?;
        let was = std::mem::replace(&mut link.state, State::Waiting);
        link.since = now;
        if was == State::Up {
            self.links.up -= 1;
            self.news.push_back(News::Link(id.clone()));
        }
        self.counters.links_down += 1;
        if link.wants == 0 {
            self.links.links.remove(id);
        } else if was != State::Waiting {
            link.failures += 1;
            let doublings = (link.failures - 1).min(16);
            let pause = (self.config.links.retry * (1 << doublings)).min(self.config.links.retry_max);
            let jitter = self.rng.random_range(0.5..1.5);
            self.wake(pause.mul_f64(jitter), Wake::Link(id.clone()));
        }
        Some(was == State::Up)
    }

    /// Closes a link that nobody wanted for a while.
    pub(crate) fn link_idle(&mut self, id: &NodeId) {
        let now = self.now;
        let idle = self.config.links.idle;
        let due = self
            .links
            .links
            .get(id)
            .is_some_and(|link| link.wants == 0 && now - link.since >= idle);
        if due {
            self.close_link(id);
        }
    }
}
