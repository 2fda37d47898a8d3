//! The QUIC connections of a transport: one for each peer, shared by its links, closed when these are gone.

use foundation_overlay::PeerName;
use parking_lot::Mutex;
use quinn::{Connection, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long a connection outlives its last link: time for what was written to arrive.
const LINGER: Duration = Duration::from_secs(10);

/// A connection to an authenticated peer.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) connection: Connection,
    pub(super) certificate: CertificateDer<'static>,
    pub(super) name: PeerName,
    /// Halves of links that are in use.
    halves: AtomicUsize,
    idle_since: Mutex<Instant>,
}

impl Peer {
    pub(super) fn new(
        connection: Connection,
        certificate: CertificateDer<'static>,
        name: PeerName,
    ) -> Arc<Self> {
        let idle_since = Mutex::new(Instant::now());
        Arc::new(Self {
            connection,
            certificate,
            name,
            halves: AtomicUsize::new(0),
            idle_since,
        })
    }

    fn alive(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// The halves of one stream; the connection stays while any of them does.
    pub(super) fn link(
        self: &Arc<Self>,
        send: SendStream,
        receive: RecvStream,
    ) -> (Half<RecvStream>, Half<SendStream>) {
        (Half::new(receive, self.clone()), Half::new(send, self.clone()))
    }
}

/// One half of a link.
pub(super) struct Half<S> {
    stream: S,
    peer: Arc<Peer>,
}

impl<S> Half<S> {
    fn new(stream: S, peer: Arc<Peer>) -> Self {
        peer.halves.fetch_add(1, Ordering::AcqRel);
        Self { stream, peer }
    }
}

impl Half<SendStream> {
    /// A greater priority goes first among the links of a connection.
    pub(super) fn set_priority(&self, priority: u8) {
        // Fails only for a stream that is closed, which needs none.
        let _ = self.stream.set_priority(i32::from(priority));
    }
}

impl<S> Drop for Half<S> {
    fn drop(&mut self) {
        if self.peer.halves.fetch_sub(1, Ordering::AcqRel) == 1 {
            *self.peer.idle_since.lock() = Instant::now();
        }
    }
}

impl AsyncRead for Half<RecvStream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        AsyncRead::poll_read(Pin::new(&mut self.stream), context, out)
    }
}

impl AsyncWrite for Half<SendStream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        AsyncWrite::poll_write(Pin::new(&mut self.stream), context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut written = 0;
        for part in parts.iter().filter(|part| !part.is_empty()) {
            match AsyncWrite::poll_write(Pin::new(&mut self.stream), context, part) {
                Poll::Ready(Ok(count)) => {
                    written += count;
                    if count < part.len() {
                        break;
                    }
                }
                _ if written > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_flush(Pin::new(&mut self.stream), context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        AsyncWrite::poll_shutdown(Pin::new(&mut self.stream), context)
    }
}

/// The connections by the address their peer listens at.
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: Mutex<HashMap<SocketAddr, Vec<Arc<Peer>>>>,
    /// Held while a connection to the address is made.
    dials: Mutex<HashMap<SocketAddr, Weak<tokio::sync::Mutex<()>>>>,
}

impl Peers {
    /// A live connection to `at`, to `expect` where that is given.
    pub(super) fn find(&self, at: SocketAddr, expect: Option<&PeerName>) -> Option<Arc<Peer>> {
        let peers = self.known.lock();
        let fits = |peer: &&Arc<Peer>| peer.alive() && expect.is_none_or(|name| *name == peer.name);
        peers.get(&at)?.iter().find(fits).cloned()
    }

    /// What to hold while making a connection to `to`, so that only one is made.
    pub(super) fn dial(&self, to: SocketAddr) -> Arc<tokio::sync::Mutex<()>> {
        let mut dials = self.dials.lock();
        dials.retain(|_, dial| dial.strong_count() > 0);
        if let Some(dial) = dials.get(&to).and_then(Weak::upgrade) {
            return dial;
        }
        let dial = Arc::default();
        dials.insert(to, Arc::downgrade(&dial));
        dial
    }

    pub(super) fn add(&self, at: SocketAddr, peer: &Arc<Peer>) {
        let mut peers = self.known.lock();
        let here = peers.entry(at).or_default();
        here.retain(|known| known.alive() && !Arc::ptr_eq(known, peer));
        here.push(peer.clone());
    }

    /// Closes connections that carried no link for a while.
    pub(super) fn sweep(&self, now: Instant) {
        self.known.lock().retain(|_, here| {
            here.retain(|peer| {
                let unused = peer.halves.load(Ordering::Acquire) == 0
                    && now.saturating_duration_since(*peer.idle_since.lock()) > LINGER;
                if unused {
                    peer.connection.close(VarInt::from_u32(0), b"idle");
                }
                !unused && peer.alive()
            });
            !here.is_empty()
        });
    }

    pub(super) fn len(&self) -> usize {
        self.known.lock().values().map(Vec::len).sum()
    }
}
