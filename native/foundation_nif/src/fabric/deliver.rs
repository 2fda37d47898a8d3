//! Messages from the network to processes: decoded in an environment of their own and sent, by the runtime's threads or
//! by processes that do nothing else.

mod arrivals;
mod body;
mod queue;
mod workspace;

use super::names::Names;
use super::pending::Pending;
use crate::key;
use arrivals::Arrivals;
use foundation_fabric::{Outcome, Sink};
use foundation_overlay::NodeId;
use parking_lot::{Mutex, RwLock};
pub(crate) use queue::{Errand, Inlet};
use rustler::{Encoder, LocalPid};
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use workspace::atom;
pub(crate) use workspace::{send, with_env};

mod atoms {
    rustler::atoms! {
        foundation_channel, foundation_call, foundation_cancel, foundation_fabric, foundation_deliver,
        foundation_term, peer_up, peer_down,
        ok, error, closed, unreachable, too_large, room, done, more,
        in_context = "$foundation_in_context",
        foundation_consensus_frames,
    }
}

/// Takes frames of the engines of other nodes. Does not block.
pub(crate) trait Frames: Send + Sync {
    /// A frame for a member from a member, which came from that node. False when there is nobody here for it.
    fn take(&self, to: &str, from: &str, peer: &str, frame: &[u8]) -> bool;
}

/// A process, and whether it wants the context of a message.
type Subscriber = (LocalPid, bool);

/// Node, channel and lane.
type Lane = (u64, u64, u16);

/// What the endpoint's news need: the processes that want them.
pub(crate) struct Shared {
    pub(crate) pending: Pending,
    /// The subscribers of each channel, by the channel's atom.
    pub(crate) subscribers: RwLock<HashMap<u64, Vec<Subscriber>, ahash::RandomState>>,
    /// The processes that make calls here for callers elsewhere.
    pub(crate) callees: Vec<LocalPid>,
    /// The processes that hand messages over.
    pub(crate) deliverers: Vec<LocalPid>,
    pub(crate) owner: LocalPid,
    pub(crate) engine: RwLock<Option<Arc<dyn Frames>>>,
    pub(crate) names: Names,
    /// Where the messages of each lane are, while it has a link or something is on its way.
    pub(crate) lanes: Mutex<HashMap<Lane, Weak<Arrivals>, ahash::RandomState>>,
}

impl Shared {
    /// A link that takes the place of one that broke goes on behind what that one brought.
    fn arrivals(self: &Arc<Self>, peer: &str, lane: Lane) -> Arc<Arrivals> {
        let mut lanes = self.lanes.lock();
        if let Some(arrivals) = lanes.get(&lane).and_then(Weak::upgrade) {
            return arrivals;
        }
        lanes.retain(|_, arrivals| arrivals.strong_count() > 0);
        let arrivals = Arc::new(Arrivals::new(Arc::clone(self), peer, lane));
        lanes.insert(lane, Arc::downgrade(&arrivals));
        arrivals
    }
}

/// Where the endpoint's news go.
pub(crate) struct ToProcesses(pub(crate) Arc<Shared>);

impl Sink for ToProcesses {
    type Receiver = Inlet;

    fn receiver(&self, from: &NodeId, channel: &str, lane: u16) -> Inlet {
        let peer = from.name.as_str();
        let (node, channel) = (atom(peer).unwrap_or(0), atom(channel).unwrap_or(0));
        Inlet(self.0.arrivals(peer, (node, channel, lane)))
    }

    fn settled(&self, token: u64, outcome: Outcome) {
        with_env(|env| {
            let answer = match outcome {
                Outcome::Delivered => atoms::ok().encode(env),
                Outcome::Room => atoms::room().encode(env),
                Outcome::Failed => (atoms::error(), atoms::closed()).encode(env),
                Outcome::TooLarge => (atoms::error(), atoms::too_large()).encode(env),
            };
            self.0.pending.answer(env, token, answer);
        });
    }

    fn peer(&self, peer: &NodeId, up: bool) {
        let Some(node) = atom(peer.name.as_str()) else {
            return;
        };
        with_env(|env| {
            let what = if up { atoms::peer_up() } else { atoms::peer_down() };
            if let Ok(node) = key::atom_from_word(env, node) {
                let news = (atoms::foundation_fabric(), what, node, peer.boot).encode(env);
                send(env, &self.0.owner, news);
            }
        });
        if !up {
            for id in self.0.pending.of_peer(peer.name.as_str()) {
                let answer = (atoms::error(), atoms::unreachable());
                with_env(|env| self.0.pending.answer(env, id, answer));
            }
        }
    }
}

/// Tells everyone who waits that nothing more comes.
pub(crate) fn close(shared: &Shared) {
    for id in shared.pending.all() {
        with_env(|env| shared.pending.answer(env, id, (atoms::error(), atoms::closed())));
    }
}
