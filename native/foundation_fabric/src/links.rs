//! A bound on open links, and so on file descriptors, around any transport.
//!
//! A new link beyond the bound takes the place of the link that has been silent longest, if it has been silent for a
//! while; that one ends for its holder as if the peer had reset it. When no link is idle the new one is refused:
//! with [`TransportError::Busy`] to who wanted to open it, silently to who opened it to us.

mod table;

#[cfg(test)]
mod links_tests;

use crate::datagram::Port;
use crate::hello::Hello;
use crate::transport::{
    BoxFuture, Carrier, Reason, Refused, RefusedCounters, Stream, Transport, TransportError,
};
use foundation_overlay::PeerName;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use table::{Slot, Table};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most links unless told otherwise.
pub const MAX_LINKS: usize = 4_096;
/// How long a link must be silent before it may be closed for another.
pub const IDLE: Duration = Duration::from_secs(2);

/// A transport with a bound on its links.
pub struct Bounded {
    inner: Arc<dyn Transport>,
    table: Arc<Table>,
    refused: RefusedCounters,
}

impl Bounded {
    /// At most `most` links over `inner`, both ways together; those silent for `idle` may be closed for others.
    pub fn new(inner: Arc<dyn Transport>, most: usize, idle: Duration) -> Self {
        Self {
            inner,
            table: Arc::new(Table::new(most, idle)),
            refused: RefusedCounters::default(),
        }
    }

    /// How many links are open.
    pub fn open(&self) -> usize {
        self.table.open()
    }

    /// How many links were closed for others since the start.
    pub fn closed_for_others(&self) -> u64 {
        self.table.evicted()
    }
}

impl Transport for Bounded {
    fn connect<'a>(
        &'a self,
        to: SocketAddr,
        expect: Option<&'a PeerName>,
        hello: &'a Hello,
    ) -> BoxFuture<'a, Result<Stream, TransportError>> {
        Box::pin(async move {
            let slot = self.table.take().ok_or(TransportError::Busy(self.table.most()))?;
            Ok(bound(self.inner.connect(to, expect, hello).await?, slot))
        })
    }

    // What others carry takes no descriptor of its own.
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
        Box::pin(async move {
            loop {
                let stream = self.inner.accept().await?;
                match self.table.take() {
                    Some(slot) => return Some(bound(stream, slot)),
                    None => {
                        self.refused.count(Reason::TooMany);
                        tracing::warn!(peer = %stream.peer, most = self.table.most(), "all links are busy");
                    }
                }
            }
        })
    }

    fn local_addr(&self) -> SocketAddr {
        self.inner.local_addr()
    }

    fn refused(&self) -> Refused {
        self.inner.refused().plus(self.refused.read())
    }

    fn close(&self) {
        self.inner.close();
    }

    fn datagrams(&self) -> Option<Port> {
        self.inner.datagrams()
    }
}

fn bound(stream: Stream, slot: Slot) -> Stream {
    let slot = Arc::new(slot);
    let read = Box::new(Half::new(stream.read, slot.clone()));
    let write = Box::new(Half::new(stream.write, slot));
    Stream {
        read,
        write,
        ..stream
    }
}

/// One half of a link: gone once the slot is taken away, which also closes the socket below.
struct Half<S> {
    stream: Option<S>,
    slot: Arc<Slot>,
    closing: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> Half<S> {
    fn new(stream: S, slot: Arc<Slot>) -> Self {
        let closing = Box::pin(slot.closing());
        Self {
            stream: Some(stream),
            slot,
            closing,
        }
    }

    /// The stream below, unless the slot was taken away; wakes the task when it is.
    fn live(&mut self, context: &mut Context<'_>) -> io::Result<&mut S> {
        if self.stream.is_some() && self.closing.as_mut().poll(context).is_ready() {
            self.stream = None;
        }
        self.stream
            .as_mut()
            .ok_or_else(|| io::ErrorKind::ConnectionReset.into())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Half<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        let read = Pin::new(self.live(context)?).poll_read(context, out);
        if out.filled().len() > before {
            self.slot.touch();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Half<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.slot.touch();
        Pin::new(self.live(context)?).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.slot.touch();
        Pin::new(self.live(context)?).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.live(context)?).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.live(context)?).poll_shutdown(context)
    }
}
