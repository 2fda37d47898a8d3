//! One link of the overlay: frames with their lengths, and a ping now and then.
//!
//! ```text
//! kind u8 │ length u32 │ bytes          kind 0 frame, 1 ping, 2 pong; the bytes of a ping come back in its pong
//! ```

use super::Core;
use crate::transport::Stream;
use bytes::Bytes;
use foundation_overlay::{Input, NodeId};
use std::future::Future;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};
use tokio::sync::mpsc;
use tokio::time::Instant;

const FRAME: u8 = 0;
const PING: u8 = 1;
const PONG: u8 = 2;

/// How often the round trip is measured.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Two links opened within this time are both sides' answer to the same wish.
const YOUNG: Duration = Duration::from_secs(3);
/// A peer that takes nothing for so long is gone.
const STALLED: Duration = Duration::from_secs(10);

enum Out {
    Frame(Bytes),
    Ping([u8; 8]),
    Pong([u8; 8]),
}

/// The sending side of a link. The link closes when this is dropped, after what is queued is out.
pub(super) struct Link {
    queue: mpsc::Sender<Out>,
    serial: u64,
    since: Instant,
    /// A second link to the same node, which is read from.
    spare: Option<Box<Link>>,
}

impl Link {
    /// Queues a frame; false when there is no room.
    pub(super) fn send(&self, frame: Bytes) -> bool {
        self.queue.try_send(Out::Frame(frame)).is_ok()
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }

    pub(super) fn is_young(&self) -> bool {
        self.since.elapsed() < YOUNG
    }

    pub(super) fn keep(&mut self, spare: Self) {
        self.spare = Some(Box::new(spare));
    }

    pub(super) fn drop_spare(&mut self, serial: u64) {
        self.spare.take_if(|spare| spare.serial == serial);
    }

    pub(super) fn take_spare(&mut self) -> Option<Self> {
        self.spare.take().map(|spare| *spare)
    }

    /// Lets go: what is queued still goes out.
    pub(super) fn close(self) {}
}

/// A link and the work it needs until it ends.
pub(super) fn start(
    core: &Arc<Core>,
    stream: Stream,
    serial: u64,
) -> (Link, impl Future<Output = ()> + Send + 'static) {
    let (queue, queued) = mpsc::channel(core.config.queue);
    let link = Link {
        queue: queue.clone(),
        serial,
        since: Instant::now(),
        spare: None,
    };
    let (peer, weak, max) = (stream.peer, Arc::downgrade(core), core.max_frame());
    let (pongs, origin) = (queue.downgrade(), core.origin);
    let work = async move {
        let (read, write) = (BufReader::new(stream.read), BufWriter::new(stream.write));
        let end = tokio::select! {
            end = receive(&weak, &peer, read, max, pongs) => end,
            end = transmit(write, queued, origin) => end,
        };
        tracing::trace!(%peer, ?end, "overlay link ended");
        if let Some(core) = weak.upgrade() {
            core.closed(&peer, serial);
        }
    };
    // Only the link's own sender keeps it open.
    drop(queue);
    (link, work)
}

async fn receive(
    core: &Weak<Core>,
    peer: &NodeId,
    mut read: impl AsyncRead + Unpin,
    max: usize,
    pongs: mpsc::WeakSender<Out>,
) -> io::Result<()> {
    let mut buffer = Vec::new();
    loop {
        let kind = read.read_u8().await?;
        let length = read.read_u32().await? as usize;
        if length > max || (kind != FRAME && length != 8) {
            return Err(io::ErrorKind::InvalidData.into());
        }
        buffer.resize(length, 0);
        read.read_exact(&mut buffer).await?;
        let Some(core) = core.upgrade() else { return Ok(()) };
        match kind {
            FRAME if !core.frame(peer, &buffer) => return Ok(()),
            FRAME => {}
            PING | PONG => {
                let mut stamp = [0; 8];
                stamp.copy_from_slice(&buffer);
                if kind == PING {
                    // A link that is as full as that measures nothing useful.
                    if let Some(pongs) = pongs.upgrade() {
                        let _ = pongs.try_send(Out::Pong(stamp));
                    }
                } else {
                    measured(&core, peer, u64::from_be_bytes(stamp));
                }
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn measured(core: &Core, peer: &NodeId, stamp: u64) {
    let now = core.now().as_micros() as u64;
    if let Some(micros) = now.checked_sub(stamp) {
        let micros = u32::try_from(micros).unwrap_or(u32::MAX);
        let _ = core.input(Input::Rtt { peer, micros });
    }
}

async fn transmit(
    mut write: impl AsyncWrite + Unpin,
    mut queued: mpsc::Receiver<Out>,
    origin: Instant,
) -> io::Result<()> {
    let mut next_ping = Instant::now() + PING_EVERY / 8;
    loop {
        let out = tokio::select! {
            out = queued.recv() => out,
            () = tokio::time::sleep_until(next_ping) => {
                next_ping = Instant::now() + PING_EVERY;
                Some(Out::Ping((origin.elapsed().as_micros() as u64).to_be_bytes()))
            }
        };
        let Some(out) = out else {
            write.flush().await?;
            return write.shutdown().await;
        };
        put(&mut write, &out).await?;
        while let Ok(out) = queued.try_recv() {
            put(&mut write, &out).await?;
        }
        tokio::time::timeout(STALLED, write.flush()).await??;
    }
}

async fn put(write: &mut (impl AsyncWrite + Unpin), out: &Out) -> io::Result<()> {
    let (kind, bytes): (u8, &[u8]) = match out {
        Out::Frame(bytes) => (FRAME, bytes),
        Out::Ping(stamp) => (PING, stamp),
        Out::Pong(stamp) => (PONG, stamp),
    };
    let sent = async {
        write.write_u8(kind).await?;
        write.write_u32(bytes.len() as u32).await?;
        write.write_all(bytes).await
    };
    tokio::time::timeout(STALLED, sent).await?
}
