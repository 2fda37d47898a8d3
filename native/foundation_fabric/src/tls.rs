//! Links by TLS 1.3 over TCP: a connection of its own for each link, so that links never wait for each other.

pub(crate) mod handshake;
pub(crate) mod record;
pub(crate) mod settings;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod verify;

pub use verify::Accepts;

use crate::admission::{Admission, AdmissionLimits, Permit, Recent};
use crate::hello::Hello;
use crate::identity::{Identity, subject_of};
use crate::transport::{BoxFuture, Reason, Refused, RefusedCounters, Stream, Transport, TransportError};
use foundation_overlay::{NodeId, PeerName};
use handshake::{Established, HandshakeError};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use stream::Alert;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc, watch};
use verify::reason_of;

/// Links that passed every check and wait for [`Transport::accept`]. Beyond them handshakes wait.
pub(crate) const READY: usize = 256;

/// Settings of a transport.
#[derive(Clone, Debug)]
pub struct TransportConfig {
    /// Where to accept links; port 0 takes a free one.
    pub bind: SocketAddr,
    /// The address others reach us at, if it is not the one bound to. Its port 0 stands for the bound port.
    pub advertise: Option<SocketAddr>,
    /// When this node started, µs since the epoch.
    pub boot: u64,
    /// What this node can do, for its hello.
    pub features: u32,
    /// Which clusters' nodes are let in.
    pub accepts: Accepts,
    /// How long connecting, handshake and hellos may take together.
    pub handshake: Duration,
    /// Bounds on what unproven peers cost.
    pub admission: AdmissionLimits,
    /// How long the other end may be silent, with data unacknowledged or keep-alives unanswered, before the link
    /// breaks. In whole seconds, at least 3.
    pub dead_after: Duration,
}

impl TransportConfig {
    /// Usual settings: 5 s for a handshake, 15 s until a silent peer's link breaks.
    pub fn new(bind: SocketAddr, boot: u64) -> Self {
        Self {
            bind,
            advertise: None,
            boot,
            features: 0,
            accepts: Accepts::Own,
            handshake: Duration::from_secs(5),
            admission: AdmissionLimits::default(),
            dead_after: Duration::from_secs(15),
        }
    }
}

/// What every transport needs to check a peer and to answer its hello.
pub(crate) struct Local {
    pub(crate) identity: Arc<Identity>,
    pub(crate) boot: u64,
    pub(crate) features: u32,
    pub(crate) accepts: Accepts,
    pub(crate) listen: SocketAddr,
    pub(crate) refused: RefusedCounters,
}

impl Local {
    pub(crate) fn new(identity: Arc<Identity>, config: &TransportConfig, bound: SocketAddr) -> Self {
        let mut listen = config.advertise.unwrap_or(bound);
        if listen.port() == 0 {
            listen.set_port(bound.port());
        }
        let (boot, features, accepts) = (config.boot, config.features, config.accepts);
        Self {
            identity,
            boot,
            features,
            accepts,
            listen,
            refused: RefusedCounters::default(),
        }
    }

    /// Our answer to a peer's hello.
    fn answer(&self, hello: &Hello) -> Hello {
        Hello {
            cluster: self.identity.cluster().to_owned(),
            boot: self.boot,
            channel: hello.channel.clone(),
            lane: hello.lane,
            priority: hello.priority,
            listen: self.listen,
            features: self.features,
        }
    }

    /// Who a certificate says the peer is, and whether its hello agrees.
    fn peer(&self, certificate: &CertificateDer<'_>, hello: &Hello) -> Result<NodeId, Reason> {
        let subject = subject_of(certificate).ok_or(Reason::WrongName)?;
        if hello.cluster != subject.cluster {
            return Err(Reason::ForeignCluster);
        }
        Ok(NodeId {
            name: subject.name,
            boot: hello.boot,
        })
    }

    /// The accepting side hears the peer's hello and checks it.
    pub(crate) async fn hear(
        &self,
        certificate: &CertificateDer<'_>,
        read: &mut (impl AsyncRead + Unpin),
    ) -> Result<(NodeId, Hello), Reason> {
        let hello = Hello::receive(read)
            .await
            .map_err(|error| reason_of_io(&error))??;
        let peer = self.peer(certificate, &hello)?;
        Ok((peer, hello))
    }

    /// The accepting side answers it.
    pub(crate) async fn reply(
        &self,
        hello: &Hello,
        write: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), Reason> {
        self.answer(hello)
            .send(write)
            .await
            .map_err(|error| reason_of_io(&error))
    }

    /// The connecting side's half of the hellos.
    pub(crate) async fn introduce<R, W>(
        &self,
        certificate: &CertificateDer<'_>,
        expect: Option<&PeerName>,
        ours: &Hello,
        remote: SocketAddr,
        mut read: R,
        mut write: W,
    ) -> Result<Stream, TransportError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let subject = subject_of(certificate).ok_or(TransportError::Refused(Reason::WrongName))?;
        if expect.is_some_and(|expect| *expect != subject.name) {
            return Err(TransportError::Refused(Reason::WrongName));
        }
        ours.encode()?;
        if ours.cluster != self.identity.cluster() && self.accepts == Accepts::Own {
            return Err(TransportError::Refused(Reason::ForeignCluster));
        }
        ours.send(&mut write).await.map_err(by_peer)?;
        let hello = Hello::receive(&mut read).await.map_err(by_peer)?;
        let hello = hello.map_err(|error| TransportError::Refused(error.into()))?;
        let peer = self.peer(certificate, &hello).map_err(TransportError::Refused)?;
        Ok(Stream {
            peer,
            hello,
            remote,
            read: Box::new(read),
            write: Box::new(write),
        })
    }

    /// Counts what we refused and passes it on.
    pub(crate) fn counted(&self, to: SocketAddr, error: TransportError) -> TransportError {
        if let TransportError::Refused(reason) = error {
            self.refused.count(reason);
            tracing::debug!(%to, %reason, "peer refused");
        }
        error
    }
}

/// What an accepting side counts when a link breaks before its hello is through.
fn reason_of_io(error: &io::Error) -> Reason {
    match error.kind() {
        io::ErrorKind::InvalidData => Reason::Malformed,
        _ => Reason::Gone,
    }
}

/// A connection that breaks before the peer's hello: the peer refused us, and an alert may say why.
pub(crate) fn by_peer(error: io::Error) -> TransportError {
    let alert = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Alert>())
        .map(ToString::to_string);
    match error.kind() {
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => TransportError::RefusedByPeer(alert),
        _ => TransportError::Io(error),
    }
}

fn failed(error: HandshakeError) -> TransportError {
    match error {
        HandshakeError::Io(error) => by_peer(error),
        HandshakeError::Oversized => TransportError::Refused(Reason::Oversized),
        HandshakeError::Tls(rustls::Error::AlertReceived(alert)) => {
            TransportError::RefusedByPeer(Some(format!("TLS alert {alert:?}")))
        }
        HandshakeError::Tls(error) => TransportError::Refused(reason_of(&error)),
    }
}

/// Opens links and accepts none.
pub(crate) struct Connector {
    local: Arc<Local>,
    client: Arc<ClientConfig>,
    handshake: Duration,
    dead_after: Duration,
}

impl Connector {
    /// Opens links in the name of `identity`; `bound` is where this node accepts them, if it does.
    pub(crate) fn new(
        identity: &Arc<Identity>,
        config: &TransportConfig,
        bound: SocketAddr,
    ) -> Result<Self, TransportError> {
        Ok(Self {
            local: Arc::new(Local::new(identity.clone(), config, bound)),
            client: Arc::new(settings::client(identity, config.accepts)?),
            handshake: config.handshake,
            dead_after: config.dead_after,
        })
    }

    pub(crate) async fn connect(
        &self,
        to: SocketAddr,
        expect: Option<&PeerName>,
        hello: &Hello,
    ) -> Result<Stream, TransportError> {
        tokio::time::timeout(self.handshake, self.open(to, expect, hello))
            .await
            .unwrap_or(Err(TransportError::Timeout))
            .map_err(|error| self.local.counted(to, error))
    }

    async fn open(
        &self,
        to: SocketAddr,
        expect: Option<&PeerName>,
        hello: &Hello,
    ) -> Result<Stream, TransportError> {
        let mut socket = TcpStream::connect(to).await?;
        socket::tune(&socket, self.dead_after)?;
        let name = ServerName::IpAddress(to.ip().into());
        let side = UnbufferedClientConnection::new(self.client.clone(), name)
            .map_err(|error| TransportError::Identity(error.into()))?;
        let established = handshake::run(side, &mut socket, Vec::new())
            .await
            .map_err(failed)?;
        let (certificate, read, write) = split(established, socket)?;
        self.local
            .introduce(&certificate, expect, hello, to, read, write)
            .await
    }
}

/// TLS 1.3 over TCP.
pub struct TlsTransport {
    connector: Connector,
    bound: SocketAddr,
    ready: Mutex<mpsc::Receiver<Stream>>,
    closed: watch::Sender<bool>,
}

impl TlsTransport {
    /// Binds and starts to accept, on the runtime that this is called in.
    pub async fn bind(identity: Arc<Identity>, config: TransportConfig) -> Result<Self, TransportError> {
        let listener = socket::listen(config.bind)?;
        let bound = listener.local_addr()?;
        let connector = Connector::new(&identity, &config, bound)?;
        let (sender, receiver) = mpsc::channel(READY);
        let (closed, closing) = watch::channel(false);
        let acceptor = Acceptor {
            local: connector.local.clone(),
            server: Arc::new(settings::server(&identity, config.accepts)?),
            admission: Admission::new(config.admission, Instant::now()),
            recent: Recent::default(),
            handshake: config.handshake,
            dead_after: config.dead_after,
            ready: sender,
        };
        tokio::spawn(Arc::new(acceptor).run(listener, closing));
        Ok(Self {
            connector,
            bound,
            ready: Mutex::new(receiver),
            closed,
        })
    }
}

type Halves = (
    CertificateDer<'static>,
    stream::Reader<tokio::net::tcp::OwnedReadHalf>,
    stream::Writer<tokio::net::tcp::OwnedWriteHalf>,
);

fn split(established: Established, socket: TcpStream) -> Result<Halves, TransportError> {
    let certificate = established.certificate.clone();
    let (read, write) = socket.into_split();
    let (read, write) = stream::halves(established, read, write)
        .ok_or_else(|| TransportError::Io(io::Error::other("a cipher suite that was not offered")))?;
    Ok((certificate, read, write))
}

impl Transport for TlsTransport {
    fn connect<'a>(
        &'a self,
        to: SocketAddr,
        expect: Option<&'a PeerName>,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Stream, TransportError>> {
        Box::pin(async move {
            if *self.closed.borrow() {
                return Err(TransportError::Closed);
            }
            self.connector.connect(to, expect, hello).await
        })
    }

    fn accept(&self) -> BoxFuture<'_, Option<Stream>> {
        Box::pin(async move {
            let mut closed = self.closed.subscribe();
            let mut ready = self.ready.lock().await;
            tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => None,
                stream = ready.recv() => stream,
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.bound
    }

    fn refused(&self) -> Refused {
        self.connector.local.refused.read()
    }

    fn close(&self) {
        self.closed.send_replace(true);
    }
}

impl Drop for TlsTransport {
    fn drop(&mut self) {
        self.close();
    }
}

/// Accepts sockets and takes each through its handshake.
struct Acceptor {
    local: Arc<Local>,
    server: Arc<ServerConfig>,
    admission: Admission,
    recent: Recent,
    handshake: Duration,
    dead_after: Duration,
    ready: mpsc::Sender<Stream>,
}

impl Acceptor {
    async fn run(self: Arc<Self>, listener: TcpListener, mut closing: watch::Receiver<bool>) {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = closing.wait_for(|closed| *closed) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, remote)) => self.clone().admit(socket, remote),
                // Out of file descriptors, say: accepting at once again would only spin.
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    fn admit(self: Arc<Self>, socket: TcpStream, remote: SocketAddr) {
        match self.admission.admit(remote.ip(), Instant::now()) {
            Ok(permit) => {
                tokio::spawn(async move { self.greet(socket, remote, permit).await });
            }
            Err(reason) => {
                self.local.refused.count(reason);
                socket::reset(socket);
            }
        }
    }

    async fn greet(&self, socket: TcpStream, remote: SocketAddr, permit: Permit) {
        let outcome = tokio::time::timeout(self.handshake, self.authenticate(socket, remote)).await;
        match outcome.unwrap_or(Err(Reason::TooSlow)) {
            Ok(stream) => {
                permit.proven(Instant::now());
                // Waits while the queue is full. An error: the transport is gone.
                let _ = self.ready.send(stream).await;
            }
            Err(reason) => {
                permit.failed(Instant::now());
                self.local.refused.count(reason);
                tracing::debug!(%remote, %reason, "peer refused");
            }
        }
    }

    async fn authenticate(&self, mut socket: TcpStream, remote: SocketAddr) -> Result<Stream, Reason> {
        socket::tune(&socket, self.dead_after).map_err(|_| Reason::Gone)?;
        let incoming = self.first_bytes(&mut socket).await?;
        let side = UnbufferedServerConnection::new(self.server.clone()).map_err(|_| Reason::Malformed)?;
        let established = handshake::run(side, &mut socket, incoming)
            .await
            .map_err(|error| match error {
                HandshakeError::Tls(error) => reason_of(&error),
                HandshakeError::Io(error) => reason_of_io(&error),
                HandshakeError::Oversized => Reason::Oversized,
            })?;
        let (certificate, mut read, mut write) = split(established, socket).map_err(|_| Reason::Malformed)?;
        let (peer, hello) = self.local.hear(&certificate, &mut read).await?;
        self.local.reply(&hello, &mut write).await?;
        Ok(Stream {
            peer,
            hello,
            remote,
            read: Box::new(read),
            write: Box::new(write),
        })
    }

    /// Reads up to the random value of the client's hello and looks at it, before any cryptography.
    async fn first_bytes(&self, socket: &mut TcpStream) -> Result<Vec<u8>, Reason> {
        const RANDOM: std::ops::Range<usize> = 11..43;
        let mut bytes = Vec::with_capacity(2_048);
        while bytes.len() < RANDOM.end {
            let count = socket.read_buf(&mut bytes).await.map_err(|_| Reason::Gone)?;
            if count == 0 {
                return Err(if bytes.is_empty() {
                    Reason::Gone
                } else {
                    Reason::Malformed
                });
            }
        }
        // A handshake record of TLS with a client hello in it.
        if bytes[0] != 22 || bytes[1] != 3 || bytes[5] != 1 {
            return Err(Reason::Malformed);
        }
        let random = bytes[RANDOM].first_chunk().ok_or(Reason::Malformed)?;
        if self.recent.is_new(*random) {
            Ok(bytes)
        } else {
            Err(Reason::Replay)
        }
    }
}
