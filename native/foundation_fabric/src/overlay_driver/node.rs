//! What runs: the state machine with its links, its alarm and its socket.

use super::link::{self, Link};
use super::{CHANNEL, DriverConfig, Watcher};
use crate::datagram::Sealed;
use crate::hello::Hello;
use crate::tasks::Tasks;
use crate::transport::{Stream, Transport};
use foundation_overlay::{Effect, Error as OverlayError, Input, NodeId, Overlay, Peer, Timer};
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Without a deadline, time is looked at this often.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

pub(super) struct State {
    pub(super) overlay: Overlay,
    pub(super) links: HashMap<NodeId, Link>,
    /// The alarm asked for last, which is the earliest.
    pub(super) alarm: Option<(Instant, Timer)>,
    pub(super) effects: Vec<Effect>,
}

pub(super) struct Core {
    pub(super) state: Mutex<State>,
    pub(super) origin: Instant,
    pub(super) config: DriverConfig,
    pub(super) transport: Arc<dyn Transport>,
    /// Let go of at the end, so that its port is free.
    pub(super) socket: RwLock<Option<Arc<Sealed>>>,
    pub(super) watcher: Box<dyn Watcher>,
    pub(super) tasks: Tasks,
    pub(super) alarm: Notify,
    pub(super) serial: AtomicU64,
    pub(super) lost_datagrams: AtomicU64,
    pub(super) this: Weak<Core>,
}

impl Core {
    pub(super) fn unreachable(&self, id: &NodeId) {
        let mut state = self.state.lock();
        if !self.tasks.is_stopped() && !state.links.contains_key(id) {
            let _ = self.step(&mut state, Input::LinkDown(id.clone()));
        }
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    pub(super) fn stop(&self) {
        if !self.tasks.stop() {
            return;
        }
        self.state.lock().links.clear();
        *self.socket.write() = None;
    }

    pub(super) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    pub(super) fn input(&self, input: Input<'_>) -> Result<(), OverlayError> {
        let mut state = self.state.lock();
        if self.tasks.is_stopped() {
            return Err(OverlayError::Left);
        }
        self.step(&mut state, input)
    }

    fn step(&self, state: &mut State, input: Input<'_>) -> Result<(), OverlayError> {
        let mut effects = std::mem::take(&mut state.effects);
        let result = state.overlay.handle(self.now(), input, &mut effects);
        let mut broken = Vec::new();
        for effect in effects.drain(..) {
            self.apply(state, effect, &mut broken);
        }
        state.effects = effects;
        for id in broken {
            if state.links.remove(&id).is_some() {
                let _ = self.step(state, Input::LinkDown(id));
            }
        }
        result
    }

    fn apply(&self, state: &mut State, effect: Effect, broken: &mut Vec<NodeId>) {
        match effect {
            Effect::Datagram { to, bytes } => {
                let sent = self.socket.read().as_ref().map(|socket| socket.send(&bytes, to));
                if !matches!(sent, Some(Ok(()))) {
                    self.lost_datagrams.fetch_add(1, Ordering::Relaxed);
                }
            }
            Effect::Frame { to, bytes } => {
                let sent = state.links.get(&to).map(|link| link.send(bytes));
                if sent == Some(false) {
                    tracing::debug!(peer = %to, "overlay link closed: its queue is full or its end is gone");
                    broken.push(to);
                }
            }
            Effect::Connect(peer) => self.connect(peer),
            Effect::Disconnect(id) => {
                if let Some(link) = state.links.remove(&id) {
                    link.close();
                }
            }
            Effect::Timer { timer, after } => {
                state.alarm = Some((Instant::now() + after, timer));
                self.alarm.notify_one();
            }
            Effect::Member(event, peer) => self.watcher.member(event, &peer),
            Effect::Goodbye(id) => self.watcher.goodbye(&id),
            Effect::Deliver { from, topic, payload } => self.watcher.deliver(&from, topic, payload),
            Effect::Topology {
                current,
                epoch,
                settled,
            } => self.watcher.topology(current, epoch, settled),
        }
    }

    fn connect(&self, peer: Peer) {
        let Some(core) = self.this.upgrade() else { return };
        self.spawn(async move {
            let me = &core.config.me;
            let hello = Hello {
                cluster: core.config.cluster.clone(),
                boot: me.id.boot,
                channel: CHANNEL.to_owned(),
                lane: 0,
                priority: u8::MAX,
                listen: me.addr,
                features: 0,
            };
            match core
                .transport
                .connect(peer.addr, Some(&peer.id.name), &hello)
                .await
            {
                Ok(stream) if stream.peer == peer.id => core.opened(stream),
                Ok(stream) => {
                    tracing::debug!(wanted = %peer.id, there = %stream.peer, "another life answered");
                    let _ = core.input(Input::LinkDown(peer.id));
                }
                Err(error) => {
                    tracing::debug!(peer = %peer.id, %error, "overlay link not opened");
                    let mut state = core.state.lock();
                    // The other side may have opened one meanwhile.
                    if !state.links.contains_key(&peer.id) {
                        let _ = core.step(&mut state, Input::LinkDown(peer.id));
                    }
                }
            }
        });
    }

    /// A link is open, whoever opened it.
    pub(super) fn opened(&self, stream: Stream) {
        let Some(core) = self.this.upgrade() else { return };
        let id = stream.peer.clone();
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state.lock();
        if self.tasks.is_stopped() || id.name == self.config.me.id.name {
            return;
        }
        let (link, tasks) = link::start(&core, stream, serial);
        if let Some(there) = state.links.get_mut(&id) {
            if there.is_young() {
                // Both sides opened one at once. Each reads both and writes on its first.
                there.keep(link);
                drop(state);
                return self.spawn(tasks);
            }
            // The other side would not open a second one if the first still worked.
            state.links.remove(&id);
            let _ = self.step(&mut state, Input::LinkDown(id.clone()));
        }
        state.links.insert(id.clone(), link);
        self.spawn(tasks);
        let _ = self.step(&mut state, Input::LinkUp(id));
    }

    /// A link ended by itself.
    pub(super) fn closed(&self, id: &NodeId, serial: u64) {
        let mut state = self.state.lock();
        let Some(link) = state.links.get_mut(id) else {
            return;
        };
        if link.serial() != serial {
            return link.drop_spare(serial);
        }
        let spare = link.take_spare();
        state.links.remove(id);
        let _ = self.step(&mut state, Input::LinkDown(id.clone()));
        if let Some(spare) = spare {
            state.links.insert(id.clone(), spare);
            let _ = self.step(&mut state, Input::LinkUp(id.clone()));
        }
    }

    /// A frame arrived; false when it means that the link should end.
    pub(super) fn frame(&self, from: &NodeId, bytes: &[u8]) -> bool {
        match self.input(Input::Frame { from, bytes }) {
            Ok(()) => true,
            Err(OverlayError::Left) => false,
            Err(error) => {
                tracing::debug!(%from, %error, "overlay frame refused");
                true
            }
        }
    }

    pub(super) fn max_frame(&self) -> usize {
        self.config.overlay.max_frame
    }
}

/// Hands datagrams in until the node is gone.
pub(super) async fn listen(core: Weak<Core>, socket: Arc<Sealed>) {
    loop {
        let received = socket.receive().await;
        let Some(core) = core.upgrade() else { return };
        match received {
            Ok((bytes, from)) => {
                if let Err(error) = core.input(Input::Datagram { from, bytes: &bytes }) {
                    tracing::trace!(%from, %error, "overlay datagram refused");
                }
            }
            Err(error) => {
                // Such as an ICMP answer to what we sent: the socket lives on.
                tracing::trace!(%error, "overlay socket");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// Wakes the overlay when it asked to be woken.
pub(super) async fn keep_time(core: Weak<Core>) {
    loop {
        let Some(strong) = core.upgrade() else { return };
        let alarm = strong.state.lock().alarm;
        let at = alarm.map_or_else(|| Instant::now() + LONGEST_SLEEP, |(at, _)| at);
        tokio::select! {
            () = tokio::time::sleep_until(at) => {
                let mut state = strong.state.lock();
                // Another may have been asked for meanwhile.
                if let Some((_, timer)) = state.alarm.take_if(|(at, _)| *at <= Instant::now()) {
                    let _ = strong.step(&mut state, Input::Timer(timer));
                }
            }
            () = strong.alarm.notified() => {}
        }
    }
}
