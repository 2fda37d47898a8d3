//! A node's place in the fabric: the channels it opened, the nodes it knows, and the tasks that move messages.
//!
//! Each lane of a channel to a node is a link of its own that this node opened, so that no channel waits for another;
//! acknowledgements and credit come back on it. What other nodes send comes on links that they opened.

mod measure;
mod pipe;
#[cfg(test)]
mod pipe_tests;
mod receive;
mod relaying;
mod remote;
mod send;
mod ways;
mod wire;

pub use remote::{Outlet, Whereabouts};

use crate::channel::inbox::{Receiver, Session};
use crate::channel::outbox::{Settled, Token};
use crate::channel::{Channel, Settings};
use crate::config::{Config, USUAL_PRIORITY};
use crate::error::Error;
use crate::metrics::ChannelMetrics;
use crate::overlay_driver;
use crate::relay;
pub use crate::relay::exchange::RelayCounts;
use crate::tasks::Tasks;
use crate::transport::{Refused, Stream, Transport};
use foundation_overlay::{NodeId, PeerName, Route};
use parking_lot::{Mutex, RwLock};
use relaying::Relaying;
use remote::{Lane, Remote};
use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// How something that was waited for ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The message was delivered.
    Delivered,
    /// The message was not delivered, and will not be.
    Failed,
    /// The message is larger than the receiver takes.
    TooLarge,
    /// There is room in the queue.
    Room,
}

/// Where an endpoint's news go. None of these may block.
pub trait Sink: Send + Sync + 'static {
    /// Takes the messages of a link.
    type Receiver: Receiver;

    /// A node opened a link to us, for that lane of a channel.
    fn receiver(&self, from: &NodeId, channel: &str, lane: u16) -> Self::Receiver;
    /// What a token stood for ended.
    fn settled(&self, token: Token, outcome: Outcome);
    /// A node is known from now on, or believed to be gone.
    fn peer(&self, peer: &NodeId, up: bool);
}

/// What knows the other nodes and the ways to them. None of these may block.
pub trait Guide: Send + Sync + 'static {
    /// Takes a link of [`overlay_driver::CHANNEL`].
    fn take(&self, stream: Stream);
    /// The present life of a member and the ways to it, best first; none when it is no member.
    fn ways(&self, to: &PeerName) -> Option<(NodeId, Vec<Route>)>;
    /// Whether this life of a node said good-bye and has not joined again since, as far as is known.
    fn has_left(&self, id: &NodeId) -> bool;
    /// A node could not be dialled.
    fn unreachable(&self, id: &NodeId);
}

type SessionKey = (PeerName, Arc<str>, u16);

/// What the endpoint's tasks share.
pub(crate) struct Hub<S> {
    config: Config,
    transport: Arc<dyn Transport>,
    sink: S,
    origin: Instant,
    channels: RwLock<HashMap<Arc<str>, Arc<Channel>>>,
    remotes: RwLock<HashMap<PeerName, Arc<Remote>>>,
    sessions: Mutex<HashMap<SessionKey, (u64, Arc<Session>)>>,
    gates: Mutex<HashMap<Arc<str>, watch::Sender<bool>>>,
    inbound: AtomicUsize,
    tasks: Tasks,
    guide: RwLock<Option<Arc<dyn Guide>>>,
    relaying: Relaying,
    /// Links that were dialled although others could have carried them.
    dialled: AtomicUsize,
    /// Changes with the topology.
    reshaped: watch::Sender<u64>,
}

/// A node's place in the fabric. Stopped when dropped.
pub struct Endpoint<S: Sink> {
    hub: Arc<Hub<S>>,
}

impl<S: Sink> Endpoint<S> {
    /// Begins to accept links.
    pub fn start(config: Config, transport: Arc<dyn Transport>, runtime: Handle, sink: S) -> Self {
        let hub = Arc::new(Hub {
            relaying: Relaying::new(config.max_relayed),
            config,
            transport,
            sink,
            origin: Instant::now(),
            channels: RwLock::default(),
            remotes: RwLock::default(),
            sessions: Mutex::default(),
            gates: Mutex::default(),
            inbound: AtomicUsize::new(0),
            tasks: Tasks::new(runtime),
            guide: RwLock::new(None),
            dialled: AtomicUsize::new(0),
            reshaped: watch::Sender::new(0),
        });
        let accepting = Arc::clone(&hub);
        hub.spawn(u8::MAX, async move {
            while let Some(stream) = accepting.transport.accept().await {
                match &*stream.hello.channel {
                    overlay_driver::CHANNEL => {
                        if let Some(guide) = accepting.guide() {
                            guide.take(stream);
                        }
                    }
                    relay::CHANNEL => _ = accepting.trunk_up(stream, false),
                    _ => accepting.accepted(stream),
                }
            }
        });
        Self { hub }
    }

    /// Who we are.
    pub fn me(&self) -> &NodeId {
        &self.hub.config.me
    }

    /// Where we accept links.
    pub fn local_addr(&self) -> SocketAddr {
        self.hub.transport.local_addr()
    }

    /// What opens and accepts its links.
    pub fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.hub.transport)
    }

    /// Links refused, by reason.
    pub fn refused(&self) -> Refused {
        self.hub.transport.refused()
    }

    /// Hands links of [`overlay_driver::CHANNEL`] to the overlay from now on, no more to the one before, and asks it for
    /// ways. Without any overlay such links are closed, and every node is dialled.
    pub fn attach_overlay(&self, guide: Arc<dyn Guide>) {
        *self.hub.guide.write() = Some(guide);
        self.reshaped();
    }

    /// Tells that the ways to other nodes may be others now.
    pub fn reshaped(&self) {
        self.hub.reshaped.send_modify(|times| *times += 1);
    }

    /// What was carried for others, and by others for this node.
    pub fn relayed(&self) -> RelayCounts {
        self.hub.relaying.counts()
    }

    /// Opens a channel. Opening it again with the same settings changes nothing.
    pub fn open(&self, name: &str, settings: Settings) -> Result<(), Error> {
        settings.check()?;
        if name.is_empty() || name.len() > crate::hello::MAX_NAME {
            return Err(Error::Range("name"));
        }
        let mut channels = self.hub.channels.write();
        match channels.get(name) {
            Some(there) if there.settings == settings => Ok(()),
            Some(_) => Err(Error::Settings),
            None => {
                let name: Arc<str> = name.into();
                let channel = Channel {
                    name: Arc::clone(&name),
                    settings,
                };
                channels.insert(name, Arc::new(channel));
                Ok(())
            }
        }
    }

    /// Whether a channel is open here.
    pub fn is_open(&self, name: &str) -> bool {
        self.hub.channels.read().contains_key(name)
    }

    /// The queue of a channel to a node, made when it is asked for first.
    pub fn outlet(&self, peer: &PeerName, channel: &str) -> Result<Arc<Outlet>, Error> {
        if self.hub.tasks.is_stopped() {
            return Err(Error::Closed);
        }
        let remote = self
            .hub
            .remotes
            .read()
            .get(peer)
            .cloned()
            .ok_or(Error::Unreachable)?;
        if let Some(outlet) = remote.outlets.read().get(channel) {
            return Ok(Arc::clone(outlet));
        }
        let channel = self.hub.channels.read().get(channel).cloned();
        let channel = channel.ok_or(Error::UnknownChannel)?;
        Ok(self.hub.make_outlet(&remote, &channel))
    }

    /// Tells where a node is. Older news than what is known are passed over; of a life that said good-bye they mean that
    /// it is back.
    pub fn peer_up(&self, id: &NodeId, addr: SocketAddr) {
        self.hub.arrived(id, addr, true);
    }

    /// Tells that this life of a node is over, or cannot be reached: nothing more is taken for it, and what was
    /// queued waits for its return as long as [`Config::forget`].
    pub fn peer_down(&self, id: &NodeId) {
        self.hub.lost(id, false);
    }

    /// Tells that this life of a node said good-bye: as [`peer_down`](Self::peer_down), but a link of that life, which
    /// was being opened meanwhile, does not bring it back.
    pub fn peer_left(&self, id: &NodeId) {
        self.hub.lost(id, true);
    }

    /// The nodes that are known, and where they are.
    pub fn peers(&self) -> Vec<(PeerName, Whereabouts)> {
        let remotes = self.hub.remotes.read();
        let known = remotes.values();
        known
            .map(|remote| (remote.name.clone(), remote.whereabouts.borrow().clone()))
            .collect()
    }

    /// Stops granting credit to the senders of a channel, or begins again.
    pub fn pause(&self, channel: &str, paused: bool) {
        self.hub.gate(channel, |gate| {
            gate.send_if_modified(|there| std::mem::replace(there, paused) != paused);
        });
    }

    /// What is measured, by channel and node.
    pub fn metrics(&self) -> Vec<ChannelMetrics> {
        let remotes: Vec<_> = self.hub.remotes.read().values().cloned().collect();
        remotes
            .iter()
            .flat_map(|remote| self.hub.metrics_of(remote))
            .collect()
    }

    /// Closes every link and gives up what is queued; who waits is told. Nothing works after it.
    pub fn stop(&self) {
        self.hub.stop();
    }
}

impl<S: Sink> Drop for Endpoint<S> {
    fn drop(&mut self) {
        self.hub.stop();
    }
}

impl<S: Sink> Hub<S> {
    /// Starts a task that serves links of that priority.
    fn spawn(&self, priority: u8, task: impl Future<Output = ()> + Send + 'static) {
        let bulk = self.config.bulk.as_ref().filter(|_| priority <= USUAL_PRIORITY);
        self.tasks.spawn_on(bulk, task);
    }

    fn stop(&self) {
        if !self.tasks.stop() {
            return;
        }
        self.transport.close();
        let remotes: Vec<_> = self.remotes.read().values().cloned().collect();
        for remote in remotes {
            let outlets: Vec<_> = remote.outlets.read().values().cloned().collect();
            for outlet in outlets {
                outlet
                    .lanes
                    .iter()
                    .for_each(|lane| lane.reachable.store(false, Ordering::Release));
                outlet
                    .clear()
                    .into_iter()
                    .for_each(|settled| self.settle(settled));
            }
        }
    }

    fn guide(&self) -> Option<Arc<dyn Guide>> {
        self.guide.read().clone()
    }

    fn accepted(self: &Arc<Self>, stream: Stream) {
        if self.inbound.fetch_add(1, Ordering::AcqRel) >= self.config.max_inbound {
            self.inbound.fetch_sub(1, Ordering::AcqRel);
            tracing::warn!(peer = %stream.peer, "link refused: too many are open");
            return;
        }
        let hub = Arc::clone(self);
        self.spawn(stream.hello.priority, async move {
            let slot = Slot(Arc::clone(&hub));
            receive::run(&hub, stream).await;
            drop(slot);
        });
    }

    fn make_outlet(self: &Arc<Self>, remote: &Arc<Remote>, channel: &Arc<Channel>) -> Arc<Outlet> {
        let mut outlets = remote.outlets.write();
        if let Some(outlet) = outlets.get(&channel.name) {
            return Arc::clone(outlet);
        }
        let up = remote.is_up();
        let lane = |number| Arc::new(Lane::new(channel, number, self.origin, up));
        let outlet = Arc::new(Outlet {
            channel: Arc::clone(channel),
            lanes: (0..channel.settings.lanes).map(lane).collect(),
        });
        for lane in &outlet.lanes {
            let task = send::run(
                Arc::clone(self),
                Arc::clone(remote),
                Arc::clone(channel),
                Arc::clone(lane),
            );
            self.spawn(channel.settings.priority, task);
        }
        outlets.insert(Arc::clone(&channel.name), Arc::clone(&outlet));
        outlet
    }

    /// A link shows that this life of a node runs, and where.
    ///
    /// The rule: a link of a later life than the one that is known is believed, and so is one of a life that was taken
    /// for dead, by silence or because it could not be reached: it lives after all. A link of a life that said good-bye
    /// proves nothing, since its handshake may have ended while the good-bye was under way; what it carries is taken,
    /// but that life is back only when [`Endpoint::peer_up`] says so, because it joined again.
    fn learn(&self, id: &NodeId, addr: SocketAddr) {
        if !self.guide().is_some_and(|guide| guide.has_left(id)) {
            self.arrived(id, addr, false);
        }
    }

    /// This life of a node is there; `told` when that is known by more than a link.
    fn arrived(&self, id: &NodeId, addr: SocketAddr, told: bool) {
        if id.name == self.config.me.name {
            return;
        }
        let at = Whereabouts {
            boot: id.boot,
            addr,
            up: true,
            left: false,
        };
        let remote = Arc::clone(self.remotes.write().entry(id.name.clone()).or_insert_with(|| {
            Arc::new(Remote::new(
                id.name.clone(),
                Whereabouts {
                    up: false,
                    ..at.clone()
                },
            ))
        }));
        let mut ended = None;
        let changed = remote.whereabouts.send_if_modified(|there| {
            let left = there.left && there.boot == at.boot;
            if at.boot < there.boot || (left && !told) || *there == at {
                return false;
            }
            if there.up && there.boot > 0 && at.boot > there.boot {
                ended = Some(there.boot);
            }
            *there = at;
            true
        });
        if let Some(boot) = ended {
            let name = id.name.clone();
            let before = NodeId { name, boot };
            self.relaying.lost(&before);
            self.sink.peer(&before, false);
        }
        if changed {
            self.reach(&remote, true);
            self.sink.peer(id, true);
        }
    }

    /// This life of a node is over, or cannot be reached; `left` when it said good-bye.
    fn lost(&self, id: &NodeId, left: bool) {
        let Some(remote) = self.remotes.read().get(&id.name).cloned() else {
            return;
        };
        let mut ended = None;
        remote.whereabouts.send_if_modified(|there| {
            if there.boot > id.boot {
                return false;
            }
            let up = std::mem::replace(&mut there.up, false);
            ended = up.then_some(there.boot);
            if left {
                (there.boot, there.left) = (id.boot, true);
            }
            up
        });
        self.relaying.lost(id);
        if let Some(boot) = ended {
            self.reach(&remote, false);
            let name = id.name.clone();
            self.sink.peer(&NodeId { name, boot }, false);
        }
    }

    fn reach(&self, remote: &Remote, up: bool) {
        let outlets: Vec<_> = remote.outlets.read().values().cloned().collect();
        for lane in outlets.iter().flat_map(|outlet| &outlet.lanes) {
            lane.reachable.store(up, Ordering::Release);
            if !up {
                let settled = lane.outbox.lock().release_room();
                self.settle(settled);
            }
        }
    }

    fn session(&self, from: &NodeId, channel: &str, lane: u16) -> Option<Arc<Session>> {
        let key = (from.name.clone(), Arc::from(channel), lane);
        let mut sessions = self.sessions.lock();
        let (boot, session) = sessions.entry(key).or_insert_with(|| (from.boot, Arc::default()));
        if *boot > from.boot {
            return None;
        }
        if *boot < from.boot {
            (*boot, *session) = (from.boot, Arc::default());
        }
        Some(Arc::clone(session))
    }

    fn gate<T>(&self, channel: &str, each: impl FnOnce(&watch::Sender<bool>) -> T) -> T {
        let mut gates = self.gates.lock();
        if let Some(gate) = gates.get(channel) {
            return each(gate);
        }
        each(
            gates
                .entry(channel.into())
                .or_insert_with(|| watch::Sender::new(false)),
        )
    }

    fn settings(&self, channel: &str) -> Settings {
        let channels = self.channels.read();
        channels
            .get(channel)
            .map_or_else(Settings::default, |there| there.settings.clone())
    }

    fn settle(&self, settled: Settled) {
        let outcomes = [
            (Outcome::Delivered, settled.delivered),
            (Outcome::Failed, settled.failed),
            (Outcome::TooLarge, settled.too_large),
            (Outcome::Room, settled.room),
        ];
        for (outcome, tokens) in outcomes {
            tokens
                .into_iter()
                .for_each(|token| self.sink.settled(token, outcome));
        }
    }
}

/// A place among the links that come in.
struct Slot<S>(Arc<Hub<S>>);

impl<S> Drop for Slot<S> {
    fn drop(&mut self) {
        self.0.inbound.fetch_sub(1, Ordering::AcqRel);
    }
}
