//! Accepting links.

use super::handshake::{self, HandshakeError};
use super::peer::{Local, reason_of_io};
use super::verify::reason_of;
use super::{hand_over, socket, split};
use crate::admission::{Admission, Permit, Recent};
use crate::config::USUAL_PRIORITY;
use crate::transport::{Reason, Stream};
use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

/// What a handshake that failed is counted as.
pub(super) fn refused(error: HandshakeError) -> Reason {
    match error {
        HandshakeError::Tls(error) => reason_of(&error),
        HandshakeError::Io(error) => reason_of_io(&error),
        HandshakeError::Oversized => Reason::Oversized,
    }
}

/// Accepts sockets and takes each through its handshake.
pub(super) struct Acceptor {
    pub(super) local: Arc<Local>,
    pub(super) server: Arc<ServerConfig>,
    pub(super) admission: Admission,
    pub(super) recent: Recent,
    pub(super) handshake: Duration,
    pub(super) dead_after: Duration,
    pub(super) bulk: Option<Handle>,
    pub(super) ready: mpsc::Sender<Stream>,
}

impl Acceptor {
    pub(super) async fn run(self: Arc<Self>, listener: TcpListener, mut closing: watch::Receiver<bool>) {
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
        let (mut read, mut write) = socket.split();
        let established = handshake::run(side, &mut read, &mut write, incoming)
            .await
            .map_err(refused)?;
        let (certificate, mut read, mut write) = split(established, socket).map_err(|_| Reason::Malformed)?;
        let (peer, hello) = self.local.hear(&certificate, &mut read).await?;
        self.local.reply(&hello, &mut write).await?;
        if let Some(bulk) = self.bulk.as_ref().filter(|_| hello.priority <= USUAL_PRIORITY) {
            (read, write) = hand_over(read, write, bulk).map_err(|_| Reason::Gone)?;
        }
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
