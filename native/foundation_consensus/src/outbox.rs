//! What leaves for other nodes: the messages of all groups to one node share frames.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;

use crate::calls::Calls;
use crate::network::Network;
use crate::types::Name;

/// How long heartbeats wait for those of other groups.
const GATHER: Duration = Duration::from_millis(2);

#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    /// Requests in it, to be told when it does not leave.
    requests: Vec<u64>,
    /// Someone is about to send it.
    soon: bool,
    /// Someone will send it after `GATHER`.
    later: bool,
}

struct Peer {
    name: Name,
    pending: Mutex<Pending>,
    /// Keeps frames in order.
    sending: Mutex<()>,
}

/// See the module.
pub(crate) struct Outbox {
    runtime: Handle,
    network: Arc<dyn Network>,
    calls: Arc<Calls>,
    peers: RwLock<HashMap<Name, Arc<Peer>>>,
    stopped: AtomicBool,
}

impl Outbox {
    pub(crate) fn new(runtime: Handle, network: Arc<dyn Network>, calls: Arc<Calls>) -> Arc<Self> {
        Arc::new(Outbox {
            runtime,
            network,
            calls,
            peers: RwLock::default(),
            stopped: AtomicBool::new(false),
        })
    }

    /// Nothing leaves any more.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Adds a message to the next frame. `request` is its number when an answer is waited for; `patient` says that it
    /// may wait for others.
    pub(crate) fn push(
        self: &Arc<Self>,
        to: &Name,
        request: Option<u64>,
        patient: bool,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        let peer = self.peer(to);
        let mut pending = peer.pending.lock();
        put(&mut pending.bytes);
        pending.requests.extend(request);
        if pending.soon || (patient && pending.later) {
            return;
        }
        let slot = if patient {
            &mut pending.later
        } else {
            &mut pending.soon
        };
        *slot = true;
        drop(pending);
        let outbox = self.clone();
        self.runtime.spawn(async move {
            if patient {
                tokio::time::sleep(GATHER).await;
            } else {
                tokio::task::yield_now().await;
            }
            outbox.send(&peer);
        });
    }

    /// As `push` of what somebody waits for: a frame of its own, that leaves at once where the network can do that.
    pub(crate) fn push_at_once(
        self: &Arc<Self>,
        to: &Name,
        request: Option<u64>,
        put: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut frame = Vec::with_capacity(64);
        put(&mut frame);
        let frame = Bytes::from(frame);
        let stopped = self.stopped.load(Ordering::Acquire);
        if stopped || !self.network.send_at_once(to.as_str(), &frame) {
            self.push(to, request, false, |out| out.extend_from_slice(&frame));
        }
    }

    fn peer(&self, to: &Name) -> Arc<Peer> {
        if let Some(peer) = self.peers.read().get(to) {
            return peer.clone();
        }
        let fresh = || {
            Arc::new(Peer {
                name: to.clone(),
                pending: Mutex::default(),
                sending: Mutex::default(),
            })
        };
        self.peers.write().entry(to.clone()).or_insert_with(fresh).clone()
    }

    fn send(&self, peer: &Peer) {
        let _order = peer.sending.lock();
        let (bytes, requests) = {
            let mut pending = peer.pending.lock();
            pending.soon = false;
            pending.later = false;
            (
                std::mem::take(&mut pending.bytes),
                std::mem::take(&mut pending.requests),
            )
        };
        if bytes.is_empty() {
            return;
        }
        let stopped = self.stopped.load(Ordering::Acquire);
        if stopped || !self.network.send(peer.name.as_str(), Bytes::from(bytes)) {
            self.calls.not_sent(&requests);
        }
    }
}
