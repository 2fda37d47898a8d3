//! Opening links.

use super::handshake::{self, HandshakeError};
use super::peer::{Local, by_peer};
use super::verify::reason_of;
use super::{TransportConfig, settings, socket, split};
use crate::hello::Hello;
use crate::identity::Identity;
use crate::transport::{Reason, Stream, TransportError};
use foundation_overlay::PeerName;
use rustls::ClientConfig;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

pub(super) fn failed(error: HandshakeError) -> TransportError {
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
    pub(super) local: Arc<Local>,
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
        let (mut read, mut write) = socket.split();
        let established = handshake::run(side, &mut read, &mut write, Vec::new())
            .await
            .map_err(failed)?;
        let (certificate, read, write) = split(established, socket)?;
        self.local
            .introduce(&certificate, expect, hello, to, read, write)
            .await
    }
}
