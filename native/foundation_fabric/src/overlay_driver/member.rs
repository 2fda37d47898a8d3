//! An overlay beside an endpoint: they share the transport, and what the overlay learns the endpoint is told.

use super::{CHANNEL, Driver, DriverConfig, Watcher, reachable};
use crate::datagram::{Sealed, random_session};
use crate::endpoint::{Endpoint, Sink};
use crate::secret::Secret;
use bytes::Bytes;
use foundation_overlay::{Error as OverlayError, MemberEvent, NodeId, Peer, Topology};
use rustls::time_provider::DefaultTimeProvider;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

/// How often the overlay is told what the channels moved.
const TRAFFIC_EVERY: Duration = Duration::from_secs(5);

/// Why an overlay could not start beside an endpoint. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port for datagrams, the one links are accepted at, could not be bound.
    #[error("datagrams: {0}")]
    Socket(#[from] io::Error),
    /// The settings make no sense.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
}

enum News {
    Member(MemberEvent, Peer),
    Goodbye(NodeId),
    Deliver(NodeId, u32, Bytes),
    Topology(Topology, u64, bool),
}

/// Passes news on to where there is time for them.
struct Queue(mpsc::UnboundedSender<News>);

impl Watcher for Queue {
    fn member(&self, event: MemberEvent, peer: &Peer) {
        let _ = self.0.send(News::Member(event, peer.clone()));
    }

    fn goodbye(&self, id: &NodeId) {
        let _ = self.0.send(News::Goodbye(id.clone()));
    }

    fn deliver(&self, from: &NodeId, topic: u32, payload: Bytes) {
        let _ = self.0.send(News::Deliver(from.clone(), topic, payload));
    }

    fn topology(&self, current: Topology, epoch: u64, settled: bool) {
        let _ = self.0.send(News::Topology(current, epoch, settled));
    }
}

/// Starts an overlay on an endpoint's transport, with datagrams at the port where it accepts links. The endpoint
/// learns from it where nodes are and that they are gone; it learns from the endpoint what moves between them.
///
/// The watcher is called on the runtime's threads, in order, and holds no lock.
pub async fn beside<S: Sink>(
    endpoint: &Arc<Endpoint<S>>,
    secret: &Secret,
    config: DriverConfig,
    runtime: &Handle,
    watcher: impl Watcher,
) -> Result<Driver, StartError> {
    // On the port of the transport where that is UDP too.
    let socket = Arc::new(match endpoint.transport().datagrams() {
        Some(port) => {
            let clock = Arc::new(DefaultTimeProvider);
            Sealed::new(port, secret, &config.cluster, random_session()?, clock)
        }
        None => bind(endpoint.local_addr(), secret, &config.cluster).await?,
    });
    let (queue, news) = mpsc::unbounded_channel();
    let transport = endpoint.transport();
    let driver = Driver::start(config, transport, socket, runtime.clone(), Queue(queue))?;
    endpoint.attach_overlay(driver.guide());
    // Ends with the driver, whose watcher holds the other end.
    runtime.spawn(pass_on(news, Arc::downgrade(endpoint), watcher));
    driver
        .core
        .spawn(report(Arc::downgrade(&driver.core), Arc::downgrade(endpoint)));
    Ok(driver)
}

/// An overlay that stopped a moment ago may still hold the port.
async fn bind(addr: SocketAddr, secret: &Secret, cluster: &str) -> io::Result<Sealed> {
    let mut tries = 20;
    loop {
        match Sealed::bind(addr, secret, cluster, Arc::new(DefaultTimeProvider)).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries > 0 => {
                tries -= 1;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            bound => return bound,
        }
    }
}

async fn pass_on<S: Sink>(
    mut news: mpsc::UnboundedReceiver<News>,
    endpoint: Weak<Endpoint<S>>,
    watcher: impl Watcher,
) {
    while let Some(news) = news.recv().await {
        match news {
            News::Member(event, peer) => {
                if let (Some(up), Some(endpoint)) = (reachable(event), endpoint.upgrade()) {
                    if up {
                        endpoint.peer_up(&peer.id, peer.addr);
                    } else {
                        endpoint.peer_down(&peer.id);
                    }
                }
                watcher.member(event, &peer);
            }
            News::Goodbye(id) => {
                if let Some(endpoint) = endpoint.upgrade() {
                    endpoint.peer_left(&id);
                }
                watcher.goodbye(&id);
            }
            News::Deliver(from, topic, payload) => watcher.deliver(&from, topic, payload),
            News::Topology(current, epoch, settled) => {
                if let Some(endpoint) = endpoint.upgrade() {
                    endpoint.reshaped();
                }
                watcher.topology(current, epoch, settled);
            }
        }
    }
}

/// Tells the overlay what the endpoint's channels moved since the last time.
async fn report<S: Sink>(core: Weak<super::Core>, endpoint: Weak<Endpoint<S>>) {
    let mut before: HashMap<_, (u64, u64, u64)> = HashMap::new();
    loop {
        tokio::time::sleep(TRAFFIC_EVERY).await;
        let (Some(core), Some(endpoint)) = (core.upgrade(), endpoint.upgrade()) else {
            return;
        };
        let mut now: HashMap<_, (u64, u64, u64)> = HashMap::new();
        for row in endpoint.metrics() {
            let sum = now.entry(row.peer).or_default();
            sum.0 += row.sent.bytes;
            sum.1 += row.arrived.bytes;
            sum.2 += row.sent.lost + row.sent.resent;
        }
        for (name, sum) in &now {
            let old = before.get(name).copied().unwrap_or_default();
            let id = core.state.lock().overlay.member(name).map(|peer| peer.id.clone());
            if let Some(peer) = id
                && *sum != old
            {
                let lost = u32::try_from(sum.2.saturating_sub(old.2)).unwrap_or(u32::MAX);
                let _ = core.input(foundation_overlay::Input::Traffic {
                    peer: &peer,
                    sent: sum.0.saturating_sub(old.0),
                    received: sum.1.saturating_sub(old.1),
                    lost,
                });
            }
        }
        before = now;
    }
}

/// The address that others can reach us at, when we accept links at `bound`: itself, unless it stands for all.
pub fn advertised(bound: SocketAddr, wanted: Option<SocketAddr>) -> SocketAddr {
    let mut addr = wanted.unwrap_or(bound);
    if addr.port() == 0 {
        addr.set_port(bound.port());
    }
    addr
}

const _: () = assert!(CHANNEL.len() <= crate::hello::MAX_NAME);
