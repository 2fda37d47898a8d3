//! Links by QUIC: one connection for each peer and a stream for each link, with priorities, on one UDP port.
//!
//! For lossy networks, where one lost packet should not hold up all links; for NAT, since a connection survives a
//! change of address; and where only one port is open, since sealed datagrams can share it. TLS over TCP carries
//! about eight times as much on a good network, and its links never wait for each other.

mod peers;
mod socket;

use crate::admission::{Admission, Permit};
use crate::datagram::Port;
use crate::hello::Hello;
use crate::identity::{Identity, IdentityError, subject_of};
use crate::ready::Ready;
use crate::tls::carried::Carried;
use crate::tls::verify::reason_of_alert;
use crate::tls::{Local, TransportConfig, by_peer, settings};
use crate::transport::{BoxFuture, Carrier, Reason, Refused, Stream, Transport, TransportError};
use bytes::Bytes;
use foundation_overlay::PeerName;
use peers::{Peer, Peers};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, Endpoint, EndpointConfig, Incoming, Runtime, TokioRuntime, VarInt};
use rustls::pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc, watch};

/// Most links that a peer may open on its connection.
const STREAMS: u32 = 1_024;
/// Bytes that one link may have in flight.
const STREAM_WINDOW: u32 = 8 << 20;
/// Bytes that a peer may have in flight to us.
const WINDOW: u32 = 32 << 20;
/// Sealed datagrams that wait to be read.
const DATAGRAMS: usize = 4_096;
/// Handshakes under way above which a source must first show that its address is its own.
const RETRY_ABOVE: usize = 16;
const SWEEP: Duration = Duration::from_secs(2);
const PROTOCOL_VIOLATION: u32 = 1;

/// QUIC.
pub struct QuicTransport {
    shared: Arc<Shared>,
    bound: SocketAddr,
    client: quinn::ClientConfig,
    carried: Carried,
    port: parking_lot::Mutex<Option<Port>>,
    ready: Ready,
}

struct Shared {
    local: Arc<Local>,
    endpoint: Endpoint,
    admission: Admission,
    handshake: Duration,
    peers: Peers,
    ready: mpsc::Sender<Stream>,
    closed: watch::Receiver<bool>,
}

impl QuicTransport {
    /// Binds and starts to accept, on the runtime that this is called in.
    pub async fn bind(identity: Arc<Identity>, config: TransportConfig) -> Result<Self, TransportError> {
        let (server, client) = settings_of(&identity, &config)?;
        let socket = std::net::UdpSocket::bind(config.bind)?;
        let second = socket.try_clone()?;
        let (others, arrived) = mpsc::channel::<(Bytes, SocketAddr)>(DATAGRAMS);
        let inner = TokioRuntime.wrap_udp_socket(socket)?;
        let mut settings = EndpointConfig::default();
        // The bit tells QUIC from sealed datagrams.
        settings.grease_quic_bit(false);
        let socket = Arc::new(socket::Shared { inner, others });
        let endpoint =
            Endpoint::new_with_abstract_socket(settings, Some(server), socket, Arc::new(TokioRuntime))?;
        let bound = endpoint.local_addr()?;
        let (ready, sender) = Ready::new();
        let local = Arc::new(Local::new(identity.clone(), &config, bound));
        let carried = Carried::new(&identity, &config, local.clone())?;
        let shared = Arc::new(Shared {
            local,
            endpoint,
            admission: Admission::new(config.admission, Instant::now()),
            handshake: config.handshake,
            peers: Peers::default(),
            ready: sender,
            closed: ready.closing(),
        });
        tokio::spawn(shared.clone().run());
        let port = Port::Shared {
            socket: second,
            arrived: Mutex::new(arrived),
        };
        Ok(Self {
            shared,
            bound,
            client,
            carried,
            port: parking_lot::Mutex::new(Some(port)),
            ready,
        })
    }

    /// How many connections there are, to use or to be closed soon.
    pub fn connections(&self) -> usize {
        self.shared.peers.len()
    }

    async fn open(
        &self,
        to: SocketAddr,
        expect: Option<&PeerName>,
        hello: &Hello,
    ) -> Result<Stream, TransportError> {
        if self.ready.is_closed() {
            return Err(TransportError::Closed);
        }
        let peer = self.peer(to, expect).await?;
        let (send, receive) = peer.connection.open_bi().await.map_err(failed)?;
        let (read, write) = peer.link(send, receive);
        write.set_priority(hello.priority);
        let stream = self
            .shared
            .local
            .introduce(&peer.certificate, expect, hello, to, read, write)
            .await;
        stream.map_err(|error| match peer.connection.close_reason() {
            // What the connection says of its end is more than what the stream says of it.
            Some(reason) if matches!(error, TransportError::Io(_)) => failed(reason),
            _ => error,
        })
    }

    /// The connection to a peer, made if there is none. Who asks while it is being made waits for it.
    async fn peer(&self, to: SocketAddr, expect: Option<&PeerName>) -> Result<Arc<Peer>, TransportError> {
        let peers = &self.shared.peers;
        if let Some(peer) = peers.find(to, expect) {
            return Ok(peer);
        }
        let dial = peers.dial(to);
        let _only = dial.lock().await;
        match peers.find(to, expect) {
            Some(peer) => Ok(peer),
            None => self.dial(to, expect).await,
        }
    }

    async fn dial(&self, to: SocketAddr, expect: Option<&PeerName>) -> Result<Arc<Peer>, TransportError> {
        let name = to.ip().to_string();
        let connecting = self
            .shared
            .endpoint
            .connect_with(self.client.clone(), to, &name)
            .map_err(|error| TransportError::Io(io::Error::other(error)))?;
        let connection = connecting.await.map_err(failed)?;
        let (certificate, name) = proven(&connection).map_err(TransportError::Refused)?;
        if expect.is_some_and(|expect| *expect != name) {
            connection.close(VarInt::from_u32(PROTOCOL_VIOLATION), b"not the expected node");
            return Err(TransportError::Refused(Reason::WrongName));
        }
        let peer = Peer::new(connection, certificate, name);
        self.shared.peers.add(to, &peer);
        tokio::spawn(self.shared.clone().streams(peer.clone()));
        Ok(peer)
    }
}

fn settings_of(
    identity: &Arc<Identity>,
    config: &TransportConfig,
) -> Result<(quinn::ServerConfig, quinn::ClientConfig), TransportError> {
    let transport = Arc::new(transport(config.dead_after));
    let server = settings::server(identity, config.accepts)?;
    let server = QuicServerConfig::try_from(server).map_err(|_| no_suite())?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(server));
    server
        .transport_config(transport.clone())
        .migration(true)
        .max_incoming(config.admission.half_open);
    let client = settings::client(identity, config.accepts)?;
    let client = QuicClientConfig::try_from(client).map_err(|_| no_suite())?;
    let mut client = quinn::ClientConfig::new(Arc::new(client));
    client.transport_config(transport);
    Ok((server, client))
}

fn no_suite() -> TransportError {
    TransportError::Identity(IdentityError::Key("QUIC needs AES-128-GCM".into()))
}

fn transport(dead_after: Duration) -> quinn::TransportConfig {
    let mut transport = quinn::TransportConfig::default();
    let dead_after = dead_after.max(Duration::from_secs(3));
    let mut discovery = quinn::MtuDiscoveryConfig::default();
    discovery.upper_bound(8_952);
    transport
        .max_idle_timeout(Some(dead_after.try_into().unwrap_or(VarInt::MAX.into())))
        .keep_alive_interval(Some(dead_after / 3))
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(discovery));
    transport
}

/// The peer's certificate, and the name in it.
fn proven(connection: &Connection) -> Result<(CertificateDer<'static>, PeerName), Reason> {
    let chain = connection.peer_identity().ok_or(Reason::Stranger)?;
    let chain = chain
        .downcast::<Vec<CertificateDer<'static>>>()
        .map_err(|_| Reason::Stranger)?;
    let certificate = chain.into_iter().next().ok_or(Reason::Stranger)?;
    let subject = subject_of(&certificate).ok_or(Reason::WrongName)?;
    Ok((certificate, subject.name))
}

/// What an accepting side counts.
fn reason_of(error: &ConnectionError) -> Reason {
    match error {
        ConnectionError::TransportError(error) => {
            alert(error.code).map_or(Reason::Malformed, reason_of_alert)
        }
        ConnectionError::TimedOut => Reason::TooSlow,
        ConnectionError::VersionMismatch => Reason::Malformed,
        _ => Reason::Gone,
    }
}

fn alert(code: quinn::TransportErrorCode) -> Option<u8> {
    u8::try_from(u64::from(code).checked_sub(0x100)?).ok()
}

/// What a connecting side tells.
fn failed(error: ConnectionError) -> TransportError {
    match &error {
        ConnectionError::TransportError(_) => TransportError::Refused(reason_of(&error)),
        ConnectionError::ConnectionClosed(frame) => TransportError::RefusedByPeer(
            alert(frame.error_code)
                .map(|alert| format!("TLS alert {:?}", rustls::AlertDescription::from(alert))),
        ),
        ConnectionError::ApplicationClosed(_) | ConnectionError::Reset => TransportError::RefusedByPeer(None),
        ConnectionError::TimedOut => TransportError::Timeout,
        ConnectionError::LocallyClosed => TransportError::Closed,
        _ => by_peer(error.into()),
    }
}

impl Shared {
    async fn run(self: Arc<Self>) {
        let mut closing = self.closed.clone();
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                biased;
                _ = closing.wait_for(|closed| *closed) => break,
                _ = sweep.tick() => self.peers.sweep(Instant::now()),
                incoming = self.endpoint.accept() => match incoming {
                    Some(incoming) => self.clone().admit(incoming),
                    None => break,
                },
            }
        }
        self.endpoint.set_server_config(None);
    }

    fn admit(self: Arc<Self>, incoming: Incoming) {
        let remote = incoming.remote_address();
        if self.admission.half_open() > RETRY_ABOVE
            && !incoming.remote_address_validated()
            && incoming.may_retry()
        {
            // Costs one packet and no memory; who forged the address never sees it.
            let _ = incoming.retry();
            return;
        }
        match self.admission.admit(remote.ip(), Instant::now()) {
            Ok(permit) => {
                tokio::spawn(async move { self.greet(incoming, permit).await });
            }
            Err(reason) => {
                self.local.refused.count(reason);
                incoming.ignore();
            }
        }
    }

    async fn greet(self: Arc<Self>, incoming: Incoming, permit: Permit) {
        let remote = incoming.remote_address();
        let authenticate = async {
            let connection = incoming.await.map_err(|error| reason_of(&error))?;
            let (certificate, name) = proven(&connection)?;
            Ok(Peer::new(connection, certificate, name))
        };
        let outcome = tokio::time::timeout(self.handshake, authenticate).await;
        match outcome.unwrap_or(Err(Reason::TooSlow)) {
            Ok(peer) => {
                permit.proven(Instant::now());
                self.peers.add(remote, &peer);
                self.streams(peer).await;
            }
            Err(reason) => {
                permit.failed(Instant::now());
                self.local.refused.count(reason);
                tracing::debug!(%remote, %reason, "peer refused");
            }
        }
    }

    /// Takes the links that a peer opens on its connection.
    async fn streams(self: Arc<Self>, peer: Arc<Peer>) {
        let mut closing = self.closed.clone();
        loop {
            let (send, receive) = tokio::select! {
                biased;
                _ = closing.wait_for(|closed| *closed) => return,
                opened = peer.connection.accept_bi() => match opened {
                    Ok(halves) => halves,
                    Err(_) => return,
                },
            };
            tokio::spawn(self.clone().welcome(peer.clone(), send, receive));
        }
    }

    async fn welcome(self: Arc<Self>, peer: Arc<Peer>, send: quinn::SendStream, receive: quinn::RecvStream) {
        let remote = peer.connection.remote_address();
        let welcome = async {
            let (mut read, mut write) = peer.link(send, receive);
            let (id, hello) = self.local.hear(&peer.certificate, &mut read).await?;
            write.set_priority(hello.priority);
            self.local.reply(&hello, &mut write).await?;
            Ok(Stream {
                peer: id,
                hello,
                remote,
                read: Box::new(read),
                write: Box::new(write),
            })
        };
        match tokio::time::timeout(self.handshake, welcome)
            .await
            .unwrap_or(Err(Reason::TooSlow))
        {
            Ok(stream) => {
                self.peers.add(stream.hello.listen, &peer);
                // Waits while the queue is full. An error: the transport is gone.
                let _ = self.ready.send(stream).await;
            }
            Err(reason) => {
                self.local.refused.count(reason);
                tracing::debug!(%remote, %reason, "link refused");
            }
        }
    }
}

impl Transport for QuicTransport {
    fn connect<'a>(
        &'a self,
        to: SocketAddr,
        expect: Option<&'a PeerName>,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Stream, TransportError>> {
        Box::pin(async move {
            tokio::time::timeout(self.shared.handshake, self.open(to, expect, hello))
                .await
                .unwrap_or(Err(TransportError::Timeout))
                .map_err(|error| self.shared.local.counted(to, error))
        })
    }

    fn connect_over<'a>(
        &'a self,
        carrier: Carrier,
        expect: &'a PeerName,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Stream, TransportError>> {
        Box::pin(self.carried.connect(carrier, expect, hello))
    }

    fn accept_over(&self, carrier: Carrier) -> BoxFuture<'_, Result<Stream, TransportError>> {
        Box::pin(self.carried.accept(carrier))
    }

    fn accept(&self) -> BoxFuture<'_, Option<Stream>> {
        self.ready.accept()
    }

    fn local_addr(&self) -> SocketAddr {
        self.bound
    }

    fn refused(&self) -> Refused {
        self.shared.local.refused.read()
    }

    fn close(&self) {
        self.ready.close();
    }

    fn datagrams(&self) -> Option<Port> {
        self.port.lock().take()
    }
}
