//! Links over bytes that other nodes carry: the same proofs at both ends, so that who carries them reads nothing and
//! changes nothing.

use super::accept::refused;
use super::connect::failed;
use super::handshake::{self, Established};
use super::peer::Local;
use super::{TransportConfig, settings, stream};
use crate::hello::Hello;
use crate::identity::Identity;
use crate::transport::{Carrier, Reason, Stream, TransportError};
use foundation_overlay::PeerName;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{ClientConfig, ServerConfig};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

/// Where the other end of a carried link is: nobody knows.
pub(crate) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

type Read = stream::Reader<Box<dyn AsyncRead + Send + Unpin>>;
type Write = stream::Writer<Box<dyn AsyncWrite + Send + Unpin>>;

/// Proves who is at both ends of a carried link.
pub(crate) struct Carried {
    local: Arc<Local>,
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
    handshake: Duration,
}

impl Carried {
    pub(crate) fn new(
        identity: &Arc<Identity>,
        config: &TransportConfig,
        local: Arc<Local>,
    ) -> Result<Self, TransportError> {
        Ok(Self {
            local,
            client: Arc::new(settings::client(identity, config.accepts)?),
            server: Arc::new(settings::server(identity, config.accepts)?),
            handshake: config.handshake,
        })
    }

    pub(crate) async fn connect(
        &self,
        carrier: Carrier,
        expect: &PeerName,
        hello: &Hello,
    ) -> Result<Stream, TransportError> {
        timeout(self.handshake, self.open(carrier, expect, hello))
            .await
            .unwrap_or(Err(TransportError::Timeout))
            .map_err(|error| self.local.counted(NOWHERE, error))
    }

    async fn open(
        &self,
        mut carrier: Carrier,
        expect: &PeerName,
        hello: &Hello,
    ) -> Result<Stream, TransportError> {
        // Names are in the certificates, which the verifier looks at.
        let name = ServerName::IpAddress(NOWHERE.ip().into());
        let side = UnbufferedClientConnection::new(self.client.clone(), name)
            .map_err(|error| TransportError::Identity(error.into()))?;
        let established = handshake::run(side, &mut carrier.read, &mut carrier.write, Vec::new())
            .await
            .map_err(failed)?;
        let certificate = established.certificate.clone();
        let (read, write) = halves(established, carrier).ok_or(TransportError::Refused(Reason::Malformed))?;
        self.local
            .introduce(&certificate, Some(expect), hello, NOWHERE, read, write)
            .await
    }

    pub(crate) async fn accept(&self, carrier: Carrier) -> Result<Stream, TransportError> {
        timeout(self.handshake, self.greet(carrier))
            .await
            .unwrap_or(Err(Reason::TooSlow))
            .map_err(|reason| self.local.counted(NOWHERE, TransportError::Refused(reason)))
    }

    async fn greet(&self, mut carrier: Carrier) -> Result<Stream, Reason> {
        let side = UnbufferedServerConnection::new(self.server.clone()).map_err(|_| Reason::Malformed)?;
        let established = handshake::run(side, &mut carrier.read, &mut carrier.write, Vec::new())
            .await
            .map_err(refused)?;
        let certificate = established.certificate.clone();
        let (mut read, mut write) = halves(established, carrier).ok_or(Reason::Malformed)?;
        let (peer, hello) = self.local.hear(&certificate, &mut read).await?;
        self.local.reply(&hello, &mut write).await?;
        Ok(Stream {
            peer,
            hello,
            remote: NOWHERE,
            read: Box::new(read),
            write: Box::new(write),
        })
    }
}

fn halves(established: Established, carrier: Carrier) -> Option<(Read, Write)> {
    stream::halves(established, carrier.read, carrier.write)
}
