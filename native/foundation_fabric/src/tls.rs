//! Links by TLS 1.3 over TCP: a connection of its own for each link, so that links never wait for each other.

mod accept;
pub(crate) mod carried;
mod connect;
pub(crate) mod handshake;
mod peer;
pub(crate) mod record;
pub(crate) mod settings;
pub(crate) mod socket;
pub(crate) mod stream;
pub(crate) mod verify;

#[cfg(test)]
mod stream_tests;

pub use verify::Accepts;

use crate::admission::{Admission, AdmissionLimits, Recent};
use crate::datagram::Port;
use crate::hello::Hello;
use crate::identity::Identity;
use crate::ready::Ready;
use crate::transport::{BoxFuture, Carrier, Refused, Stream, Transport, TransportError};
use accept::Acceptor;
use carried::Carried;
pub(crate) use connect::Connector;
use foundation_overlay::PeerName;
use handshake::Established;
use parking_lot::Mutex;
pub(crate) use peer::{Local, by_peer};
use rustls::pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::runtime::Handle;

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
    /// The runtime that links of channels up to [`USUAL_PRIORITY`](crate::config::USUAL_PRIORITY) are watched by once
    /// they are accepted; the one that accepts them where it is not given.
    pub bulk: Option<Handle>,
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
            bulk: None,
        }
    }
}

/// TLS 1.3 over TCP.
pub struct TlsTransport {
    connector: Connector,
    carried: Carried,
    bound: SocketAddr,
    /// The UDP port of the same number, had together with it.
    datagrams: Mutex<Option<Port>>,
    ready: Ready,
}

impl TlsTransport {
    /// Binds and starts to accept, on the runtime that this is called in. Port 0 is a port that is free for datagrams
    /// too, and kept for those of [`Transport::datagrams`].
    pub async fn bind(identity: Arc<Identity>, config: TransportConfig) -> Result<Self, TransportError> {
        let (listener, datagrams) = if config.bind.port() == 0 {
            let (listener, socket) = socket::listen_on_both(config.bind).await?;
            (listener, Some(Port::Own(socket)))
        } else {
            (socket::listen(config.bind)?, None)
        };
        let bound = listener.local_addr()?;
        let connector = Connector::new(&identity, &config, bound)?;
        let (ready, sender) = Ready::new();
        let acceptor = Acceptor {
            local: connector.local.clone(),
            server: Arc::new(settings::server(&identity, config.accepts)?),
            admission: Admission::new(config.admission, Instant::now()),
            recent: Recent::default(),
            handshake: config.handshake,
            dead_after: config.dead_after,
            bulk: config.bulk.clone(),
            ready: sender,
        };
        let carried = Carried::new(&identity, &config, connector.local.clone())?;
        tokio::spawn(Arc::new(acceptor).run(listener, ready.closing()));
        Ok(Self {
            connector,
            carried,
            bound,
            datagrams: Mutex::new(datagrams),
            ready,
        })
    }
}

type Read = stream::Reader<OwnedReadHalf>;
type Write = stream::Writer<OwnedWriteHalf>;

fn split(
    established: Established,
    socket: TcpStream,
) -> Result<(CertificateDer<'static>, Read, Write), TransportError> {
    let certificate = established.certificate.clone();
    let (read, write) = socket.into_split();
    let (read, write) = stream::halves(established, read, write)
        .ok_or_else(|| TransportError::Io(io::Error::other("a cipher suite that was not offered")))?;
    Ok((certificate, read, write))
}

/// Lets another runtime watch a link's socket.
fn hand_over(read: Read, write: Write, to: &Handle) -> io::Result<(Read, Write)> {
    let (read_half, read) = read.detach();
    let (write_half, write) = write.detach();
    let socket = read_half.reunite(write_half).map_err(io::Error::other)?;
    let socket = socket.into_std()?;
    let _entered = to.enter();
    let (read_half, write_half) = TcpStream::from_std(socket)?.into_split();
    Ok((read.attach(read_half), write.attach(write_half)))
}

impl Transport for TlsTransport {
    fn connect<'a>(
        &'a self,
        to: SocketAddr,
        expect: Option<&'a PeerName>,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Stream, TransportError>> {
        Box::pin(async move {
            if self.ready.is_closed() {
                return Err(TransportError::Closed);
            }
            self.connector.connect(to, expect, hello).await
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
        self.connector.local.refused.read()
    }

    fn close(&self) {
        self.ready.close();
    }

    fn datagrams(&self) -> Option<Port> {
        self.datagrams.lock().take()
    }
}
