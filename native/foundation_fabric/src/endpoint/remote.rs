//! What is known of another node, and the queues of what goes there.

use super::pipe::Pipe;
use crate::channel::Channel;
use crate::channel::outbox::{Counts, Outbox, Settled, Token};
use crate::error::Error;
use crate::metrics::Latency;
use bytes::Bytes;
use foundation_overlay::PeerName;
use parking_lot::{Mutex, RwLock};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::{Notify, watch};

/// Where a node is, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whereabouts {
    /// Its present life.
    pub boot: u64,
    /// Where it accepts links.
    pub addr: SocketAddr,
    /// Whether it is believed to live.
    pub up: bool,
    /// Whether this life said good-bye.
    pub left: bool,
}

/// Another node.
pub(crate) struct Remote {
    pub(crate) name: PeerName,
    pub(crate) whereabouts: watch::Sender<Whereabouts>,
    pub(crate) outlets: RwLock<HashMap<Arc<str>, Arc<Outlet>>>,
    /// Messages handed over from it, and the like, by channel.
    pub(crate) arrived: Mutex<HashMap<Arc<str>, crate::channel::inbox::Arrived>>,
}

impl Remote {
    pub(crate) fn new(name: PeerName, at: Whereabouts) -> Self {
        Self {
            name,
            whereabouts: watch::Sender::new(at),
            outlets: RwLock::default(),
            arrived: Mutex::default(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.whereabouts.borrow().up
    }
}

/// Where the messages of one channel to one node are queued.
pub struct Outlet {
    pub(crate) channel: Arc<Channel>,
    pub(crate) lanes: Vec<Arc<Lane>>,
}

/// One of the parallel links of a channel to a node, and its queue.
pub(crate) struct Lane {
    pub(crate) number: u16,
    pub(crate) outbox: Mutex<Outbox>,
    /// Whether the queue was found full, and not since found to have room.
    pub(crate) full: AtomicBool,
    /// The link's writing end while there is a link. Locked before the queue.
    pub(crate) pipe: Mutex<Option<Pipe>>,
    /// Whether who queues a small message may write it.
    pub(crate) at_once: bool,
    /// Whether something that was taken from the queue could not be written at once.
    pub(crate) stuck: AtomicBool,
    /// When it was written last.
    pub(crate) wrote: AtomicU64,
    pub(crate) wake: Notify,
    /// Whether the writer waits to be woken.
    pub(crate) asleep: AtomicBool,
    /// Whether a link is there.
    pub(crate) linked: AtomicBool,
    /// Whether the node it leads to is believed to live; a copy, for those who queue.
    pub(crate) reachable: AtomicBool,
    pub(crate) links: AtomicU64,
    pub(crate) latency: Latency,
    pub(crate) origin: Instant,
}

impl Lane {
    pub(crate) fn new(channel: &Channel, number: u16, origin: Instant, reachable: bool) -> Self {
        Self {
            number,
            outbox: Mutex::new(Outbox::new(&channel.settings)),
            full: AtomicBool::new(false),
            pipe: Mutex::new(None),
            at_once: channel.settings.keeps(),
            stuck: AtomicBool::new(false),
            wrote: AtomicU64::new(0),
            wake: Notify::new(),
            asleep: AtomicBool::new(false),
            linked: AtomicBool::new(false),
            reachable: AtomicBool::new(reachable),
            links: AtomicU64::new(0),
            latency: Latency::new(),
            origin,
        }
    }

    /// Microseconds since the endpoint started.
    pub(crate) fn now(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }

    /// Wakes the writer if it sleeps.
    pub(crate) fn rouse(&self) {
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// Queues something; `small` is its length where it may join a batch.
    pub(super) fn queue(
        &self,
        small: Option<usize>,
        put: impl FnOnce(&mut Outbox, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if !self.reachable.load(Ordering::Relaxed) {
            return Err(Error::Unreachable);
        }
        let mut outbox = self.outbox.lock();
        // The clock is read for the first message of a batch only.
        let joins = small.is_some_and(|length| outbox.is_gathering(length));
        let now = if joins { 0 } else { self.now() };
        let put = put(&mut outbox, now);
        if put.is_err() && !outbox.has_room() {
            self.full.store(true, Ordering::Relaxed);
        }
        drop(outbox);
        put?;
        self.push_out();
        Ok(())
    }
}

impl Outlet {
    /// The channel's settings.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    fn lane(&self, flow: u64) -> &Lane {
        &self.lanes[self.channel.settings.lane(flow)]
    }

    /// Why a message of that sender would not be taken now, where that is known without a look at the queue.
    pub fn check(&self, flow: u64) -> Result<(), Error> {
        let lane = self.lane(flow);
        if !lane.reachable.load(Ordering::Relaxed) {
            return Err(Error::Unreachable);
        }
        if lane.full.load(Ordering::Relaxed) {
            lane.outbox.lock().check_room()?;
            lane.full.store(false, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Queues a message of at most [`crate::channel::outbox::MAX_SMALL`] bytes. `flow` is a number of the sender's own,
    /// `token` is settled when the message was delivered.
    pub fn push(&self, flow: u64, message: &[u8], token: Option<Token>) -> Result<(), Error> {
        self.lane(flow).queue(Some(message.len()), |outbox, now| {
            outbox.push(flow, message, token, now)
        })
    }

    /// Queues a message of any length, made of parts that are shared, not copied.
    pub fn push_large(&self, flow: u64, parts: Vec<Bytes>, token: Option<Token>) -> Result<(), Error> {
        self.lane(flow)
            .queue(None, |outbox, now| outbox.push_large(flow, parts, token, now))
    }

    /// Queues a message in the place of one with the same key that was not sent yet.
    pub fn push_monotonic(&self, flow: u64, key: u128, message: &[u8]) -> Result<(), Error> {
        self.lane(flow)
            .queue(None, |outbox, _| outbox.push_monotonic(key, message))
    }

    /// Asks to be told when half of the sender's queue is free; true when there is room already.
    pub fn wait_room(&self, flow: u64, token: Token) -> bool {
        self.lane(flow).outbox.lock().wait_room(token)
    }

    /// What was counted, of all lanes.
    pub fn counts(&self) -> Counts {
        self.lanes.iter().fold(Counts::default(), |sum, lane| {
            let counts = lane.outbox.lock().counts();
            Counts {
                messages: sum.messages + counts.messages,
                bytes: sum.bytes + counts.bytes,
                frames: sum.frames + counts.frames,
                resent: sum.resent + counts.resent,
                busy: sum.busy + counts.busy,
                lost: sum.lost + counts.lost,
                superseded: sum.superseded + counts.superseded,
                held_messages: sum.held_messages + counts.held_messages,
                held_bytes: sum.held_bytes + counts.held_bytes,
            }
        })
    }

    pub(crate) fn clear(&self) -> Vec<Settled> {
        self.lanes.iter().map(|lane| lane.outbox.lock().clear()).collect()
    }
}

/// How many ways were measured, and their median, 99th percentile and maximum.
pub(crate) fn latency(outlet: &Outlet) -> Option<(u64, [f64; 3])> {
    let mut lanes = outlet
        .lanes
        .iter()
        .filter_map(|lane| lane.latency.read(lane.now()));
    let mut all = lanes.next()?;
    lanes.for_each(|lane| all.merge(&lane));
    let quantiles = all.quantiles(&[0.5, 0.99, 1.0]);
    match quantiles[..] {
        [median, high, most] if all.count() > 0 => Some((all.count(), [median, high, most])),
        _ => None,
    }
}
