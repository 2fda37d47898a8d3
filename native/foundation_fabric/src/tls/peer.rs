//! The checks and the hellos that both ends of a link go through, over any transport.

use super::TransportConfig;
use super::stream::Alert;
use super::verify::Accepts;
use crate::hello::Hello;
use crate::identity::{Identity, subject_of};
use crate::transport::{Reason, RefusedCounters, Stream, TransportError};
use foundation_overlay::{NodeId, PeerName};
use rustls::pki_types::CertificateDer;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};

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
pub(super) fn reason_of_io(error: &io::Error) -> Reason {
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
