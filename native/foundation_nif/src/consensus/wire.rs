//! Frames between the engines of nodes: over the fabric where it knows the other node, without any process between;
//! else to the process that sends them.

use super::Node;
use crate::fabric::{self, Fabric, Frames, send_message, with_env};
use crate::handle::get;
use bytes::Bytes;
use foundation_consensus::Network;
use foundation_fabric::Outlet;
use foundation_fabric::channel::outbox::MAX_SMALL;
use foundation_overlay::PeerName;
use parking_lot::RwLock;
use rustler::{Atom, Encoder, LocalPid, NifResult, OwnedBinary, Term};
use std::collections::HashMap;
use std::sync::{Arc, Weak};

mod atoms {
    rustler::atoms! { foundation_consensus_frame }
}

/// Frames that come in one message.
pub(crate) const MAX_BATCH: usize = 256;
/// The channel that they take.
const CHANNEL: &str = "coordination";

/// The endpoint that frames go by, and the queues of it that were used.
struct Attached {
    endpoint: Weak<fabric::Endpoint>,
    outlets: RwLock<HashMap<String, Arc<Outlet>>>,
}

/// Hands frames to the fabric, or to a process as `{:foundation_consensus_frame, to, frame}`.
pub(crate) struct Wire {
    process: LocalPid,
    me: String,
    attached: RwLock<Option<Attached>>,
}

/// The node that a member lives on: what stands before a number of its life.
fn node_of(member: &str) -> &str {
    member.split('#').next().unwrap_or(member)
}

impl Attached {
    fn outlet(&self, to: &str) -> Option<Arc<Outlet>> {
        if let Some(outlet) = self.outlets.read().get(to) {
            return Some(Arc::clone(outlet));
        }
        let peer = PeerName::new(node_of(to)).ok()?;
        let outlet = self.endpoint.upgrade()?.outlet(&peer, CHANNEL).ok()?;
        self.outlets.write().insert(to.to_owned(), Arc::clone(&outlet));
        Some(outlet)
    }
}

impl Wire {
    pub(crate) fn new(process: LocalPid, me: &str) -> Self {
        Self {
            process,
            me: me.to_owned(),
            attached: RwLock::new(None),
        }
    }

    /// Whether the fabric has taken it.
    fn by_fabric(&self, to: &str, frame: &Bytes) -> bool {
        let attached = self.attached.read();
        let Some(outlet) = attached.as_ref().and_then(|attached| attached.outlet(to)) else {
            return false;
        };
        let mut message = Vec::with_capacity(frame.len() + to.len() + self.me.len() + 8);
        fabric::write_engine(to, &self.me, &mut message);
        let queued = if message.len() + frame.len() <= MAX_SMALL {
            message.extend_from_slice(frame);
            outlet.push(0, &message, None)
        } else {
            outlet.push_large(0, vec![message.into(), frame.clone()], None)
        };
        queued.is_ok()
    }
}

impl Network for Wire {
    fn send_at_once(&self, to: &str, frame: &Bytes) -> bool {
        self.by_fabric(to, frame)
    }

    fn send(&self, to: &str, frame: Bytes) -> bool {
        debug_assert_ne!(to, self.me, "a node sends nothing to itself");
        self.by_fabric(to, &frame)
            || with_env(|env| {
                let frame = OwnedBinary::from_slice(&frame).release(env);
                let message = (atoms::foundation_consensus_frame(), to, frame).encode(env);
                send_message(env, &self.process, message)
            })
    }
}

/// Takes to an engine what the fabric has for it.
struct ToEngine(Weak<Node>);

impl Frames for ToEngine {
    fn take(&self, to: &str, from: &str, peer: &str, frame: &[u8]) -> bool {
        // What is meant for an earlier life of this node is for nobody, and nobody speaks for another node.
        let node = self
            .0
            .upgrade()
            .filter(|node| node.me == to && node_of(from) == peer);
        let engine = node.as_ref().and_then(|node| node.engine());
        if let Some(engine) = &engine {
            engine.receive(from, Bytes::copy_from_slice(frame));
        }
        engine.is_some()
    }
}

/// Has the engine's frames go by that endpoint, where it knows the other node, and takes those that come by it.
#[rustler::nif]
fn consensus_attach<'a>(node: Term<'a>, endpoint: Term<'a>) -> NifResult<Atom> {
    let node = &get::<super::Handle>(node)?.0;
    let fabric = get::<Fabric>(endpoint)?;
    fabric.frames_to(Arc::new(ToEngine(Arc::downgrade(node))));
    *node.wire.attached.write() = Some(Attached {
        endpoint: Arc::downgrade(fabric.endpoint()),
        outlets: RwLock::default(),
    });
    Ok(crate::atoms::ok())
}
