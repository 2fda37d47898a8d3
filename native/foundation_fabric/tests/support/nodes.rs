//! Endpoints with overlays on real sockets, and what arrives at them.

use super::{SECRET, name};
use bytes::Bytes;
use foundation_fabric::channel::inbox::{Receiver, Taken, Verdict};
use foundation_fabric::channel::outbox::Token;
use foundation_fabric::channel::{Reliability, Settings};
use foundation_fabric::datagram::Port;
use foundation_fabric::identity::IdentityOptions;
use foundation_fabric::overlay_driver::{Driver, DriverConfig, Watcher, beside};
use foundation_fabric::tls::{TlsTransport, TransportConfig};
use foundation_fabric::{
    BoxFuture, Carrier, Config, Endpoint, Error, Hello, Identity, Outcome, Refused, Secret, Sink, Stream,
    Transport, TransportError,
};
use foundation_overlay::{MemberEvent, NodeId, Peer, PeerName, Role, Topology};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::runtime::Handle;

/// Messages as they came: from whom, on which channel, what.
pub type Log = Arc<Mutex<Vec<(String, String, Vec<u8>)>>>;
/// Who was told of which token.
pub type Told = Arc<Mutex<Vec<(Token, Outcome)>>>;

#[derive(Clone, Default)]
pub struct Recorder {
    pub log: Log,
    pub told: Told,
    from: String,
    channel: String,
}

impl Receiver for Recorder {
    type Buffer = Vec<u8>;

    fn buffer(&self, length: usize) -> Option<Vec<u8>> {
        Some(vec![0; length])
    }

    fn small(&self, bytes: &[u8]) -> Taken {
        self.large(bytes.to_vec())
    }

    fn large(&self, bytes: Vec<u8>) -> Taken {
        let message = (self.from.clone(), self.channel.clone(), bytes);
        self.log.lock().unwrap().push(message);
        Taken::Now(Verdict::Delivered)
    }
}

impl Sink for Recorder {
    type Receiver = Self;

    fn receiver(&self, from: &NodeId, channel: &str, _: u16) -> Self {
        Self {
            from: from.name.to_string(),
            channel: channel.to_owned(),
            ..self.clone()
        }
    }

    fn settled(&self, token: Token, outcome: Outcome) {
        self.told.lock().unwrap().push((token, outcome));
    }

    fn peer(&self, _: &NodeId, _: bool) {}
}

struct Unwatched;

impl Watcher for Unwatched {
    fn member(&self, _: MemberEvent, _: &Peer) {}
    fn deliver(&self, _: &NodeId, _: u32, _: Bytes) {}
    fn topology(&self, _: Topology, _: u64, _: bool) {}
}

/// A transport that notes whom it dials for what.
pub struct Noting {
    inner: TlsTransport,
    pub dialled: Mutex<Vec<(SocketAddr, String)>>,
    /// Addresses that cannot be dialled from here.
    pub blocked: Mutex<Vec<SocketAddr>>,
}

impl Transport for Noting {
    fn connect<'a>(
        &'a self,
        to: SocketAddr,
        expect: Option<&'a PeerName>,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Stream, TransportError>> {
        self.dialled.lock().unwrap().push((to, hello.channel.clone()));
        if self.blocked.lock().unwrap().contains(&to) {
            return Box::pin(async {
                Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into())
            });
        }
        self.inner.connect(to, expect, hello)
    }

    fn connect_over<'a>(
        &'a self,
        carrier: Carrier,
        expect: &'a PeerName,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Stream, TransportError>> {
        self.inner.connect_over(carrier, expect, hello)
    }

    fn accept_over(&self, carrier: Carrier) -> BoxFuture<'_, Result<Stream, TransportError>> {
        self.inner.accept_over(carrier)
    }

    fn accept(&self) -> BoxFuture<'_, Option<Stream>> {
        self.inner.accept()
    }

    fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }

    fn refused(&self) -> Refused {
        self.inner.refused()
    }

    fn close(&self) {
        self.inner.close();
    }

    fn datagrams(&self) -> Option<Port> {
        self.inner.datagrams()
    }
}

/// How a node is to be.
#[derive(Clone)]
pub struct Plan {
    pub topology: Topology,
    pub role: Role,
    pub max_dialled: usize,
    pub max_relayed: usize,
    pub settings: Settings,
}

impl Plan {
    pub fn new(topology: Topology, role: Role) -> Self {
        Self {
            topology,
            role,
            max_dialled: 2048,
            max_relayed: 1024,
            settings: Settings {
                reliability: Reliability::Ordered,
                ..Settings::default()
            },
        }
    }
}

pub struct Node {
    pub driver: Driver,
    pub endpoint: Arc<Endpoint<Recorder>>,
    pub transport: Arc<Noting>,
    pub recorder: Recorder,
}

/// An overlay beside an endpoint.
pub async fn overlay(endpoint: &Arc<Endpoint<Recorder>>, plan: &Plan) -> Driver {
    let mut overlay = foundation_overlay::Config::lan();
    overlay.topology = plan.topology;
    let (id, addr) = (endpoint.me().clone(), endpoint.local_addr());
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&id.boot.to_le_bytes());
    let config = DriverConfig {
        cluster: "shop".to_owned(),
        me: Peer {
            id,
            addr,
            role: plan.role,
            meta: Bytes::new(),
        },
        overlay,
        seed,
        queue: 4_096,
    };
    let (secret, runtime) = (Secret::new(SECRET), Handle::current());
    beside(endpoint, &secret, config, &runtime, Unwatched)
        .await
        .unwrap()
}

/// Channels that every node opens.
pub const CHANNELS: [&str; 2] = ["data", "news"];

impl Node {
    pub async fn start(node: &str, plan: &Plan) -> Self {
        let boot = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros() as u64;
        let id = NodeId {
            name: name(node),
            boot,
        };
        let secret = Secret::new(SECRET);
        let options = IdentityOptions::default();
        let identity = Identity::from_secret("shop", id.name.clone(), &secret, options).unwrap();
        let settings = TransportConfig::new("127.0.0.1:0".parse().unwrap(), boot);
        let transport = Arc::new(Noting {
            inner: TlsTransport::bind(Arc::new(identity), settings).await.unwrap(),
            dialled: Mutex::default(),
            blocked: Mutex::default(),
        });
        let addr = transport.local_addr();
        let config = Config {
            max_dialled: plan.max_dialled,
            max_relayed: plan.max_relayed,
            ..Config::new("shop", id, addr)
        };
        let (recorder, runtime) = (Recorder::default(), Handle::current());
        let started = Endpoint::start(config, transport.clone(), runtime, recorder.clone());
        let endpoint = Arc::new(started);
        for channel in CHANNELS {
            endpoint.open(channel, plan.settings.clone()).unwrap();
        }
        let driver = overlay(&endpoint, plan).await;
        Self {
            driver,
            endpoint,
            transport,
            recorder,
        }
    }

    /// Nodes that know each other, each of which has the links that it wants.
    pub async fn cluster(plans: &[(&str, Plan)]) -> Vec<Self> {
        let mut nodes = Vec::new();
        for (node, plan) in plans {
            nodes.push(Self::start(node, plan).await);
        }
        let first = nodes[0].addr();
        nodes[1..]
            .iter()
            .for_each(|node| node.driver.join(&[first]).unwrap());
        super::eventually("all know all, and are linked", || {
            nodes.iter().all(|node| {
                let links = node.driver.links();
                node.driver.members().len() == plans.len() - 1
                    && node.endpoint.peers().iter().filter(|(_, at)| at.up).count() == plans.len() - 1
                    && !links.is_empty()
                    && links.iter().all(|(_, up)| *up)
            })
        })
        .await;
        nodes
    }

    pub fn addr(&self) -> SocketAddr {
        self.endpoint.local_addr()
    }

    pub fn name(&self) -> &PeerName {
        &self.endpoint.me().name
    }

    pub fn send(&self, to: &Self, bytes: &[u8]) -> Result<(), Error> {
        self.endpoint.outlet(to.name(), "data")?.push(1, bytes, None)
    }

    pub fn send_asking(&self, to: &Self, bytes: &[u8], token: Token) -> Result<(), Error> {
        self.endpoint
            .outlet(to.name(), "data")?
            .push(1, bytes, Some(token))
    }

    /// What came from a node, in order.
    pub fn got(&self, from: &Self) -> Vec<Vec<u8>> {
        let log = self.recorder.log.lock().unwrap();
        let from = from.name().as_str();
        log.iter()
            .filter(|(sender, ..)| sender == from)
            .map(|(.., bytes)| bytes.clone())
            .collect()
    }

    pub fn count_from(&self, from: &Self) -> usize {
        self.got(from).len()
    }

    /// Whether this node ever dialled that one.
    pub fn dialled(&self, to: &Self) -> bool {
        let dialled = self.transport.dialled.lock().unwrap();
        dialled.iter().any(|(addr, _)| *addr == to.addr())
    }

    /// Dies without a word.
    pub fn die(&self) {
        self.driver.stop();
        self.endpoint.stop();
    }
}
