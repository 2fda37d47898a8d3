//! What a link transport is: it opens and accepts authenticated byte streams between nodes.

use crate::datagram::Port;
use crate::hello::{Hello, HelloError};
use foundation_overlay::{NodeId, PeerName};
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};

/// A future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The ALPN name that both ends must speak; it carries the version of the link protocol.
pub const ALPN: &[u8] = b"foundation/1";

/// An authenticated link to another node. Both halves work on their own: reading never waits for writing.
///
/// Dropping both halves closes the link. `write.shutdown()` tells the peer that nothing more follows.
pub struct Stream {
    /// Who is at the other end: the name is proven by its certificate, the boot is what its hello says.
    pub peer: NodeId,
    /// What the peer said of itself.
    pub hello: Hello,
    /// The peer's address on this link, which need not be where it listens.
    pub remote: SocketAddr,
    /// What the peer sends.
    pub read: Box<dyn AsyncRead + Send + Unpin>,
    /// What goes to the peer. Large writes and vectored writes cost least.
    pub write: Box<dyn AsyncWrite + Send + Unpin>,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("peer", &self.peer)
            .field("hello", &self.hello)
            .field("remote", &self.remote)
            .finish_non_exhaustive()
    }
}

/// Bytes both ways between two nodes, carried by others that neither can trust with what is said.
pub struct Carrier {
    /// What the other end sends.
    pub read: Box<dyn AsyncRead + Send + Unpin>,
    /// What goes there.
    pub write: Box<dyn AsyncWrite + Send + Unpin>,
}

/// Opens and accepts links.
pub trait Transport: Send + Sync + 'static {
    /// Opens a link to the node at `to`, which must be named `expect` where that is given.
    fn connect<'a>(
        &'a self,
        to: SocketAddr,
        expect: Option<&'a PeerName>,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Stream, TransportError>>;

    /// Opens a link to the node `expect` over bytes that others carry. Its [`Stream::remote`] is unspecified.
    fn connect_over<'a>(
        &'a self,
        carrier: Carrier,
        expect: &'a PeerName,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Stream, TransportError>>;

    /// Takes a link that another node opened so.
    fn accept_over(&self, carrier: Carrier) -> BoxFuture<'_, Result<Stream, TransportError>>;

    /// The next link that another node opened and that passed every check; `None` after [`Transport::close`].
    fn accept(&self) -> BoxFuture<'_, Option<Stream>>;

    /// Where links are accepted.
    fn local_addr(&self) -> SocketAddr;

    /// How many links were refused since the start, by reason.
    fn refused(&self) -> Refused;

    /// Stops accepting. Links that are open stay open.
    fn close(&self);

    /// A share of its UDP port for sealed datagrams, if it has one. Given once.
    fn datagrams(&self) -> Option<Port> {
        None
    }
}

/// Why a link was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// No certificate, or one from an authority that is not the cluster's.
    #[error("not of this cluster's authority")]
    Stranger,
    /// A certificate outside its validity.
    #[error("certificate expired or not yet valid")]
    Expired,
    /// A good certificate, or a hello, of another cluster.
    #[error("of another cluster")]
    ForeignCluster,
    /// The certificate names another node than the expected one, or no node.
    #[error("not the expected node")]
    WrongName,
    /// What was said once was said again, or a life of the node that is over came back.
    #[error("a replay")]
    Replay,
    /// Something that is not our protocol, or another version of it.
    #[error("malformed")]
    Malformed,
    /// The handshake or the hello took longer than allowed.
    #[error("too slow")]
    TooSlow,
    /// Too many unfinished handshakes, from the source or in all, or the source failed too often of late.
    #[error("too many attempts")]
    TooMany,
    /// A message above its size bound.
    #[error("oversized")]
    Oversized,
    /// The other side went away, or the connection broke, before the handshake was through.
    #[error("gone before the handshake was through")]
    Gone,
}

impl Reason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 10] = [
        Self::Stranger,
        Self::Expired,
        Self::ForeignCluster,
        Self::WrongName,
        Self::Replay,
        Self::Malformed,
        Self::TooSlow,
        Self::TooMany,
        Self::Oversized,
        Self::Gone,
    ];
}

impl Reason {
    /// A word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stranger => "stranger",
            Self::Expired => "expired",
            Self::ForeignCluster => "foreign_cluster",
            Self::WrongName => "wrong_name",
            Self::Replay => "replay",
            Self::Malformed => "malformed",
            Self::TooSlow => "too_slow",
            Self::TooMany => "too_many",
            Self::Oversized => "oversized",
            Self::Gone => "gone",
        }
    }
}

impl From<HelloError> for Reason {
    fn from(error: HelloError) -> Self {
        match error {
            HelloError::Oversized => Self::Oversized,
            HelloError::Malformed | HelloError::Version => Self::Malformed,
        }
    }
}

/// How many links were refused, by reason.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Refused([u64; Reason::ALL.len()]);

impl Refused {
    /// How many were refused for `reason`.
    pub fn of(&self, reason: Reason) -> u64 {
        self.0[reason as usize]
    }

    /// How many were refused in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Each reason with its count.
    pub fn iter(&self) -> impl Iterator<Item = (Reason, u64)> {
        Reason::ALL.into_iter().zip(self.0)
    }

    /// The sum of two.
    #[must_use]
    pub fn plus(mut self, other: Self) -> Self {
        self.0
            .iter_mut()
            .zip(other.0)
            .for_each(|(mine, theirs)| *mine += theirs);
        self
    }
}

impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().filter(|(_, count)| *count > 0))
            .finish()
    }
}

/// Counts refusals from several threads.
#[derive(Clone, Debug, Default)]
pub struct RefusedCounters(Arc<[AtomicU64; Reason::ALL.len()]>);

impl RefusedCounters {
    /// Counts one.
    pub fn count(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The counts so far.
    pub fn read(&self) -> Refused {
        let mut counts = [0; Reason::ALL.len()];
        counts
            .iter_mut()
            .zip(self.0.iter())
            .for_each(|(to, from)| *to = from.load(Ordering::Relaxed));
        Refused(counts)
    }
}

/// Why a transport or a link to a peer could not be made. Nothing stays open after any of these.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// We refused the peer.
    #[error("the peer was refused: {0}")]
    Refused(Reason),
    /// The peer closed before its hello, with the TLS alert if it gave one: it refused us, or went away.
    #[error("the peer refused the link{}", .0.as_deref().map(|alert| format!(" ({alert})")).unwrap_or_default())]
    RefusedByPeer(Option<String>),
    /// The peer could not be reached, or the connection broke.
    #[error("the link could not be opened: {0}")]
    Io(#[from] io::Error),
    /// The handshake took longer than allowed.
    #[error("the handshake took too long")]
    Timeout,
    /// The transport is closed.
    #[error("the transport is closed")]
    Closed,
    /// Our own certificate, key or settings do not work.
    #[error("identity: {0}")]
    Identity(#[from] crate::identity::IdentityError),
    /// A name in our own hello is longer than allowed.
    #[error("hello: {0}")]
    Hello(#[from] HelloError),
    /// As many links are open as are allowed, and none of them is idle.
    #[error("all {0} links are busy")]
    Busy(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_keep_reasons_apart() {
        let counters = RefusedCounters::default();
        for (times, reason) in Reason::ALL.into_iter().enumerate() {
            (0..times).for_each(|_| counters.count(reason));
        }
        let refused = counters.read();
        for (times, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(refused.of(reason), times as u64, "{reason}");
        }
        assert_eq!(refused.total(), 45);
        assert_eq!(refused.plus(refused).total(), 90);
    }
}
