//! Sealed datagrams: UDP that only who knows the cluster's secret can write or read.
//!
//! ```text
//! version u8 = 1 │ session 16 bytes │ counter u64 │ time u64, ms since the epoch │ ciphertext │ tag 16 bytes
//! ```
//! Each life of a node draws a session, and the session's key is derived from the secret with it; the counter is the
//! nonce. All of the header is covered by the seal. A counter is accepted once, by a window of 1,024; a datagram whose
//! time differs from ours by more than [`MAX_AGE`] is not accepted at all, so what was recorded before a restart of
//! the receiver is worth little after it. Nothing that fails is ever answered.

mod open;
mod seal;
mod window;

#[cfg(test)]
mod datagram_tests;

pub use open::{Opened, Opener};
pub use seal::Sealer;

use crate::secret::Secret;
use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::Mutex;
use rustls::time_provider::TimeProvider;
use socket2::SockRef;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;

const VERSION: u8 = 1;
const SESSION: usize = 16;
const HEADER: usize = 1 + SESSION + 8 + 8;
const TAG: usize = 16;
/// Bytes that sealing adds.
pub const OVERHEAD: usize = HEADER + TAG;
/// Most bytes of payload.
pub const MAX_PAYLOAD: usize = 16 * 1024;
/// How far a datagram's time may be from ours, either way.
pub const MAX_AGE: Duration = Duration::from_secs(600);
/// Most senders whose windows are kept.
pub const MAX_SESSIONS: usize = 16_384;

/// Why a datagram was not taken, or not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum DatagramError {
    /// Too short, too long, or of another version.
    #[error("not a sealed datagram")]
    Malformed,
    /// Sealed with another secret, or changed on the way.
    #[error("sealed with another secret, or changed")]
    Forged,
    /// Taken before, or too far behind the newest to know.
    #[error("a replay")]
    Replay,
    /// Its time is too far from ours.
    #[error("too old, or from a clock that is far off")]
    TooOld,
    /// More senders than can be remembered.
    #[error("too many senders")]
    TooMany,
    /// A payload above [`MAX_PAYLOAD`]. Nothing was sent.
    #[error("the payload is too large")]
    Oversized,
}

impl DatagramError {
    /// Every error, in the order of the counters.
    pub const ALL: [Self; 6] = [
        Self::Malformed,
        Self::Forged,
        Self::Replay,
        Self::TooOld,
        Self::TooMany,
        Self::Oversized,
    ];
}

/// Where datagrams come and go: a socket of their own, or a share of the one that QUIC uses.
pub enum Port {
    /// A socket of their own.
    Own(UdpSocket),
    /// Beside QUIC on one socket. A full queue loses datagrams, as the network would.
    Shared {
        /// Sends; made non-blocking.
        socket: std::net::UdpSocket,
        /// What arrived and is not QUIC's.
        arrived: tokio::sync::Mutex<mpsc::Receiver<(Bytes, SocketAddr)>>,
    },
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Port").field(&self.local_addr()).finish()
    }
}

impl Port {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Own(socket) => socket.local_addr(),
            Self::Shared { socket, .. } => socket.local_addr(),
        }
    }

    fn try_send(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        match self {
            // Past the runtime's account of readiness, which starts at not ready.
            Self::Own(socket) => SockRef::from(socket).send_to(bytes, &to.into()),
            Self::Shared { socket, .. } => socket.send_to(bytes, to),
        }
    }

    async fn receive(&self, buffer: &mut Vec<u8>) -> io::Result<SocketAddr> {
        buffer.clear();
        match self {
            Self::Own(socket) => {
                buffer.reserve(MAX_PAYLOAD + OVERHEAD + 1);
                loop {
                    match socket.recv_buf_from(buffer).await {
                        Ok((_, from)) => return Ok(from),
                        // What Linux tells of an earlier send to a port that nobody listens on.
                        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            Self::Shared { arrived, .. } => {
                let (bytes, from) = arrived
                    .lock()
                    .await
                    .recv()
                    .await
                    .ok_or(io::ErrorKind::NotConnected)?;
                buffer.extend_from_slice(&bytes);
                Ok(from)
            }
        }
    }
}

/// A UDP port whose datagrams are sealed.
pub struct Sealed {
    port: Port,
    sealer: ArcSwap<Sealer>,
    opener: Mutex<Opener>,
    clock: Arc<dyn TimeProvider>,
    counters: [AtomicU64; DatagramError::ALL.len()],
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

impl Sealed {
    /// Seals what goes over `port`, for one life of a node. `session` must be random.
    pub fn new(
        port: Port,
        secret: &Secret,
        cluster: &str,
        session: [u8; SESSION],
        clock: Arc<dyn TimeProvider>,
    ) -> Self {
        Self {
            port,
            sealer: ArcSwap::from_pointee(Sealer::new(secret, cluster, session)),
            opener: Mutex::new(Opener::new(secret, cluster, MAX_SESSIONS)),
            clock,
            counters: Default::default(),
        }
    }

    /// Binds a socket of its own and draws a session.
    pub async fn bind(
        bind: SocketAddr,
        secret: &Secret,
        cluster: &str,
        clock: Arc<dyn TimeProvider>,
    ) -> io::Result<Self> {
        let port = Port::Own(UdpSocket::bind(bind).await?);
        Ok(Self::new(port, secret, cluster, random_session()?, clock))
    }

    /// Seals with `secret` from now on, as a new life with a `session` of its own, and opens what was sealed with it or
    /// with one of `accepted`. `session` must be random.
    pub fn set_secrets(&self, secret: &Secret, accepted: &[Secret], session: [u8; SESSION]) {
        let mut opener = self.opener.lock();
        opener.set_secrets(std::iter::once(secret).chain(accepted));
        let sealer = Sealer::new(secret, opener.cluster(), session);
        self.sealer.store(Arc::new(sealer));
    }

    /// Where datagrams arrive.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.port.local_addr()
    }

    /// Sends without waiting. A full socket loses the datagram, as the network may: `WouldBlock`.
    pub fn send(&self, payload: &[u8], to: SocketAddr) -> io::Result<()> {
        let mut sealed = Vec::with_capacity(payload.len() + OVERHEAD);
        if let Err(error) = self.sealer.load().seal(self.now(), payload, &mut sealed) {
            self.count(error);
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        match self.port.try_send(&sealed, to) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
            sent => sent.map(|_| ()),
        }
    }

    /// Waits for the next good datagram. Others are counted and dropped. Errors are the socket's.
    pub async fn receive(&self) -> io::Result<(Bytes, SocketAddr)> {
        let mut buffer = Vec::new();
        loop {
            let from = self.port.receive(&mut buffer).await?;
            let now = self.now();
            match self.opener.lock().open(now, &mut buffer) {
                Ok(opened) => return Ok((Bytes::copy_from_slice(opened.payload), from)),
                Err(error) => {
                    self.count(error);
                    tracing::trace!(%from, %error, "datagram dropped");
                }
            }
        }
    }

    /// How many datagrams were dropped since the start, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (DatagramError, u64)> + '_ {
        DatagramError::ALL
            .into_iter()
            .map(|error| (error, self.refused_for(error)))
    }

    /// How many datagrams were dropped since the start for one reason.
    pub fn refused_for(&self, error: DatagramError) -> u64 {
        self.counters[error as usize].load(Ordering::Relaxed)
    }

    fn count(&self, error: DatagramError) {
        self.counters[error as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn now(&self) -> Duration {
        self.clock.current_time().map_or(Duration::ZERO, since_epoch)
    }
}

/// rustls' clock counts whole seconds; datagrams need no more.
fn since_epoch(time: rustls::pki_types::UnixTime) -> Duration {
    Duration::from_secs(time.as_secs())
}

/// A session for a new life.
pub fn random_session() -> io::Result<[u8; SESSION]> {
    use ring::rand::{SecureRandom, SystemRandom};
    let mut session = [0; SESSION];
    SystemRandom::new()
        .fill(&mut session)
        .map_err(|_| io::Error::other("no randomness"))?;
    Ok(session)
}
