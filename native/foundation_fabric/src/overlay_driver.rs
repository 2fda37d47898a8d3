//! Runs a node's overlay on sockets: its datagrams sealed over UDP, its links as one channel of the transport.
//!
//! Every input takes the one lock of the node, runs the state machine and carries its effects out, none of which
//! waits: datagrams and frames go into bounded queues, links are opened by tasks. A frame that finds its queue full
//! ends the link, because a link must not lose frames; the overlay opens it again.

mod link;
mod member;
mod node;

pub use member::{StartError, advertised, beside};

use crate::datagram::{Sealed, random_session};
use crate::endpoint::Guide;
use crate::secret::Secret;
use crate::tasks::Tasks;
use crate::transport::{Stream, Transport};
use bytes::Bytes;
use foundation_overlay::{
    DownReason, Error as OverlayError, Input, MemberEvent, NodeId, Overlay, Peer, PeerName, Route, Stats,
    Topology, Urgency, Workload,
};
use node::{Core, State, keep_time, listen};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The channel whose links carry the overlay's frames.
pub const CHANNEL: &str = "foundation/overlay";

/// How long a good-bye may take to get out before [`Driver::leave`] returns.
const GOODBYE: Duration = Duration::from_millis(300);

/// Where the overlay's news go. None of these may block: the node's lock is held.
pub trait Watcher: Send + Sync + 'static {
    /// The view of a member changed.
    fn member(&self, event: MemberEvent, peer: &Peer);
    /// This life of a node said good-bye. It comes before the news that it is a member no more, and also of lives that
    /// were none.
    fn goodbye(&self, _id: &NodeId) {}
    /// A broadcast for this node, once.
    fn deliver(&self, from: &NodeId, topic: u32, payload: Bytes);
    /// The cluster's topology changed; `settled` says whether the former links are gone.
    fn topology(&self, current: Topology, epoch: u64, settled: bool);
}

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct DriverConfig {
    /// The cluster, as every hello says.
    pub cluster: String,
    /// This node; its address must be one that others can reach, for datagrams and links alike.
    pub me: Peer,
    /// The protocols' settings.
    pub overlay: foundation_overlay::Config,
    /// Decides everything random in the overlay.
    pub seed: [u8; 32],
    /// Frames that may wait on a link.
    pub queue: usize,
}

/// A running overlay. Stopped when dropped.
pub struct Driver {
    core: Arc<Core>,
}

impl Driver {
    /// Begins to listen for datagrams; links that others open come by [`Driver::accept`].
    pub fn start(
        config: DriverConfig,
        transport: Arc<dyn Transport>,
        socket: Arc<Sealed>,
        runtime: Handle,
        watcher: impl Watcher,
    ) -> Result<Self, OverlayError> {
        let overlay = Overlay::new(config.overlay.clone(), config.me.clone(), config.seed)?;
        let core = Arc::new_cyclic(|this| Core {
            state: Mutex::new(State {
                overlay,
                links: HashMap::new(),
                alarm: None,
                effects: Vec::new(),
            }),
            origin: Instant::now(),
            config,
            transport,
            socket: RwLock::new(Some(Arc::clone(&socket))),
            watcher: Box::new(watcher),
            tasks: Tasks::new(runtime),
            alarm: Notify::new(),
            serial: AtomicU64::new(0),
            lost_datagrams: AtomicU64::new(0),
            this: this.clone(),
        });
        core.spawn(listen(Arc::downgrade(&core), socket));
        core.spawn(keep_time(Arc::downgrade(&core)));
        Ok(Self { core })
    }

    /// Takes a link of [`CHANNEL`] that another node opened.
    pub fn accept(&self, stream: Stream) {
        self.core.opened(stream);
    }

    /// What an endpoint beside it asks; outlives this handle without keeping the node alive.
    pub fn guide(&self) -> Arc<dyn Guide> {
        Arc::new(Guiding(Arc::downgrade(&self.core)))
    }

    /// Nodes that may already be in the cluster live at these addresses.
    pub fn join(&self, addrs: &[SocketAddr]) -> Result<(), OverlayError> {
        self.core.input(Input::Join(addrs))
    }

    /// Delivers a payload once to every node that subscribes to the topic; topic 0 is everyone's.
    pub fn broadcast(&self, topic: u32, payload: Bytes, urgency: Urgency) -> Result<(), OverlayError> {
        self.core.input(Input::Broadcast {
            topic,
            payload,
            urgency,
        })
    }

    /// Delivers broadcasts of this topic here from now on.
    pub fn subscribe(&self, topic: u32) -> Result<(), OverlayError> {
        self.core.input(Input::Subscribe(topic))
    }

    /// Delivers them no more.
    pub fn unsubscribe(&self, topic: u32) -> Result<(), OverlayError> {
        self.core.input(Input::Unsubscribe(topic))
    }

    /// Changes the topology of the whole cluster.
    pub fn switch(&self, topology: Topology) -> Result<(), OverlayError> {
        self.core.input(Input::Switch(topology))
    }

    /// Chooses the topology for a workload by measurement from now on, or does so no more.
    pub fn automatic(&self, workload: Option<Workload>) -> Result<(), OverlayError> {
        self.core.input(Input::Automatic(workload))
    }

    /// Says that this node is slow, or no more: it then gives others more time.
    pub fn slow(&self, slow: bool) -> Result<(), OverlayError> {
        self.core.input(Input::Slow(slow))
    }

    /// Tells what payload moved between this node and another since the last time.
    pub fn traffic(&self, peer: &NodeId, sent: u64, received: u64, lost: u32) -> Result<(), OverlayError> {
        self.core.input(Input::Traffic {
            peer,
            sent,
            received,
            lost,
        })
    }

    /// An attempt to reach this node failed elsewhere: look for a way around.
    pub fn unreachable(&self, id: &NodeId) {
        self.core.unreachable(id);
    }

    /// How to reach a node.
    pub fn route(&self, to: &NodeId) -> Route {
        self.core.state.lock().overlay.route(to)
    }

    /// The other members.
    pub fn members(&self) -> Vec<Peer> {
        self.core.state.lock().overlay.members().cloned().collect()
    }

    /// A member by its name.
    pub fn member(&self, name: &PeerName) -> Option<Peer> {
        self.core.state.lock().overlay.member(name).cloned()
    }

    /// Links the topology wants, and whether each is open.
    pub fn links(&self) -> Vec<(NodeId, bool)> {
        let state = self.core.state.lock();
        state.overlay.links().map(|(id, up)| (id.clone(), up)).collect()
    }

    /// The state in numbers.
    pub fn stats(&self) -> Stats {
        self.core.state.lock().overlay.stats()
    }

    /// Looks at the overlay itself. Nothing may block meanwhile.
    pub fn with<R>(&self, look: impl FnOnce(&Overlay) -> R) -> R {
        look(&self.core.state.lock().overlay)
    }

    /// Datagrams the socket did not take.
    pub fn lost_datagrams(&self) -> u64 {
        self.core.lost_datagrams.load(Ordering::Relaxed)
    }

    /// Seals datagrams with `secret` from now on, and takes those sealed with it or with one of `accepted`. Links are
    /// the transport's. Errors when the system has no randomness; nothing is changed then.
    pub fn set_secrets(&self, secret: &Secret, accepted: &[Secret]) -> std::io::Result<()> {
        let session = random_session()?;
        if let Some(socket) = self.core.socket.read().as_ref() {
            socket.set_secrets(secret, accepted, session);
        }
        Ok(())
    }

    /// Says good-bye, waits until that is out, and stops.
    pub async fn leave(&self) {
        let _ = self.core.input(Input::Leave);
        tokio::time::sleep(GOODBYE).await;
        self.core.stop();
    }

    /// Stops at once: to the others this node has died.
    pub fn stop(&self) {
        self.core.stop();
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.core.stop();
    }
}

struct Guiding(Weak<Core>);

impl Guide for Guiding {
    fn take(&self, stream: Stream) {
        if let Some(core) = self.0.upgrade() {
            core.opened(stream);
        }
    }

    fn ways(&self, to: &PeerName) -> Option<(NodeId, Vec<Route>)> {
        let core = self.0.upgrade()?;
        let state = core.state.lock();
        let id = state.overlay.member(to)?.id.clone();
        let ways = state.overlay.ways(&id);
        Some((id, ways))
    }

    fn has_left(&self, id: &NodeId) -> bool {
        let core = self.0.upgrade();
        core.is_some_and(|core| core.state.lock().overlay.has_left(id))
    }

    fn unreachable(&self, id: &NodeId) {
        if let Some(core) = self.0.upgrade() {
            core.unreachable(id);
        }
    }
}

/// Whether this event means that the node can be spoken to.
pub const fn reachable(event: MemberEvent) -> Option<bool> {
    match event {
        MemberEvent::Up | MemberEvent::Alive => Some(true),
        MemberEvent::Down {
            reason: DownReason::Silent | DownReason::Replaced,
        }
        | MemberEvent::Left => Some(false),
        MemberEvent::Suspect | MemberEvent::Meta => None,
    }
}
