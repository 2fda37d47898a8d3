//! One UDP socket for QUIC and for sealed datagrams: told apart by the first byte.
//!
//! A QUIC packet has one of the two high bits of its first byte set (RFC 9000, section 17); a sealed datagram starts
//! with its version, which has neither.

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::mpsc;

const QUIC: u8 = 0b1100_0000;

/// Hands QUIC its packets, and what is none to `others`.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) inner: Arc<dyn AsyncUdpSocket>,
    pub(super) others: mpsc::Sender<(Bytes, SocketAddr)>,
}

impl Shared {
    /// The kernel joins datagrams of one sender that have the same length (the last may be shorter). Moves those of
    /// QUIC to the front and says how many bytes they are.
    fn keep_quic(&self, received: &mut [u8], stride: usize, from: SocketAddr) -> usize {
        let (mut kept, mut at) = (0, 0);
        while at < received.len() {
            let datagram = at..received.len().min(at + stride.max(1));
            at = datagram.end;
            if received[datagram.start] & QUIC == 0 {
                // A full queue loses the datagram, as the network may.
                let _ = self
                    .others
                    .try_send((Bytes::copy_from_slice(&received[datagram]), from));
            } else {
                let length = datagram.len();
                received.copy_within(datagram, kept);
                kept += length;
            }
        }
        kept
    }
}

impl AsyncUdpSocket for Shared {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        self.inner.clone().create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let count = ready!(self.inner.poll_recv(context, buffers, metas))?;
        for (buffer, meta) in buffers.iter_mut().zip(&mut metas[..count]) {
            meta.len = self.keep_quic(&mut buffer[..meta.len], meta.stride, meta.addr);
        }
        Poll::Ready(Ok(count))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::Runtime;

    #[tokio::test]
    async fn joined_datagrams_are_told_apart() {
        let (others, mut arrived) = mpsc::channel(8);
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let shared = Shared {
            inner: quinn::TokioRuntime.wrap_udp_socket(socket).unwrap(),
            others,
        };
        let from: SocketAddr = "127.0.0.1:9".parse().unwrap();
        let mut received = [0x40, 1, 1, 1, 2, 2, 0xc0, 3, 3, 1, 4];
        assert_eq!(shared.keep_quic(&mut received, 3, from), 6);
        assert_eq!(received[..6], [0x40, 1, 1, 0xc0, 3, 3]);
        assert_eq!(
            arrived.try_recv().unwrap(),
            (Bytes::from_static(&[1, 2, 2]), from)
        );
        assert_eq!(arrived.try_recv().unwrap().0, &[1, 4][..]);
        assert_eq!(shared.keep_quic(&mut [], 3, from), 0);
    }
}
