//! The calling side: one link to one gateway of another cluster, opened when it is needed.

use super::frame::{Frame, Read};
use super::serve::write_all;
use crate::hello::Hello;
use crate::tls::Connector;
use crate::transport::Stream;
use bytes::Bytes;
use foundation_overlay::NodeId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

/// Requests that wait to be written.
const QUEUE: usize = 1_024;
/// Gateways are asked for no more than this often after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// A link without calls closes after this.
const IDLE: Duration = Duration::from_secs(60);

/// Why a call has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No such cluster. Nothing was sent.
    #[error("unknown cluster")]
    UnknownCluster,
    /// None of its gateways took a link, or the last attempts failed and the next is not due. Nothing was sent.
    #[error("no gateway can be reached")]
    Unreachable,
    /// The link broke while the call was under way: whether it was made is not known.
    #[error("the link broke")]
    Broken,
    /// No answer in time: whether it was made is not known.
    #[error("no answer in time")]
    Timeout,
    /// Too many calls are under way. Nothing was sent.
    #[error("too many calls under way")]
    Busy,
    /// The request is above the bound. Nothing was sent.
    #[error("the request is too large")]
    TooLarge,
}

type Waiting = Mutex<Option<HashMap<u64, oneshot::Sender<(u32, Bytes)>>>>;

struct Link {
    peer: NodeId,
    requests: mpsc::Sender<Frame>,
    /// Who waits for which answer; `None` once the link is closed.
    waiting: Arc<Waiting>,
}

#[derive(Default)]
struct Failures {
    count: u32,
    next_attempt: Option<Instant>,
}

/// Another cluster.
pub(super) struct Remote {
    name: String,
    own: String,
    boot: u64,
    gateways: Vec<SocketAddr>,
    connector: Connector,
    max_payload: usize,
    link: Mutex<Option<Arc<Link>>>,
    /// Held while a link is opened, so that one is.
    opening: tokio::sync::Mutex<Failures>,
    first: AtomicUsize,
    next_id: AtomicU64,
}

impl Remote {
    pub(super) fn new(
        name: String,
        own: String,
        boot: u64,
        gateways: Vec<SocketAddr>,
        connector: Connector,
        max_payload: usize,
    ) -> Self {
        Self {
            name,
            own,
            boot,
            gateways,
            connector,
            max_payload,
            link: Mutex::new(None),
            opening: tokio::sync::Mutex::default(),
            first: AtomicUsize::new(0),
            next_id: AtomicU64::new(0),
        }
    }

    pub(super) fn linked(&self) -> Option<NodeId> {
        Some(self.live()?.peer.clone())
    }

    pub(super) fn close(&self) {
        if let Some(link) = self.link.lock().take() {
            // Who waits is told, and lets go of the link, which ends it.
            *link.waiting.lock() = None;
        }
    }

    fn live(&self) -> Option<Arc<Link>> {
        let link = self.link.lock().clone()?;
        let live = link.waiting.lock().is_some();
        live.then_some(link)
    }

    /// Makes a call. When `cancelled` is done first, the other side is told, as it is when the time is over.
    pub(super) async fn call(
        &self,
        payload: Bytes,
        within: Duration,
        cancelled: impl Future<Output = ()>,
    ) -> Result<(u32, Bytes), CallError> {
        let deadline = Instant::now() + within;
        tokio::pin!(cancelled);
        let link = tokio::select! {
            link = timeout_at(deadline, self.link()) => link.map_err(|_| CallError::Unreachable)??,
            () = &mut cancelled => return Err(CallError::Timeout),
        };
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        link.waiting
            .lock()
            .as_mut()
            .ok_or(CallError::Unreachable)?
            .insert(id, sender);
        let left = deadline.saturating_duration_since(Instant::now()).as_millis();
        let within_ms = u32::try_from(left).unwrap_or(u32::MAX);
        if link
            .requests
            .try_send(Frame::Request {
                id,
                within_ms,
                payload,
            })
            .is_err()
        {
            forget(&link.waiting, id);
            return Err(CallError::Busy);
        }
        tokio::select! {
            answer = answer => return answer.map_err(|_| CallError::Broken),
            () = tokio::time::sleep_until(deadline) => {}
            () = &mut cancelled => {}
        }
        forget(&link.waiting, id);
        // When the queue is full the other side notices by the deadline that it was told.
        let _ = link.requests.try_send(Frame::Cancel { id });
        Err(CallError::Timeout)
    }

    /// The link, opened if there is none and an attempt is due.
    async fn link(&self) -> Result<Arc<Link>, CallError> {
        if let Some(link) = self.live() {
            return Ok(link);
        }
        let mut failures = self.opening.lock().await;
        if let Some(link) = self.live() {
            return Ok(link);
        }
        if failures.next_attempt.is_some_and(|at| Instant::now() < at) {
            return Err(CallError::Unreachable);
        }
        match self.open().await {
            Some(link) => {
                *failures = Failures::default();
                *self.link.lock() = Some(link.clone());
                Ok(link)
            }
            None => {
                let wait = (FIRST_WAIT * (1 << failures.count.min(8))).min(LONGEST_WAIT);
                failures.count = failures.count.saturating_add(1);
                failures.next_attempt = Some(Instant::now() + jitter(wait));
                Err(CallError::Unreachable)
            }
        }
    }

    /// Tries the gateways in turn, from the one that served last.
    async fn open(&self) -> Option<Arc<Link>> {
        let hello = Hello {
            cluster: self.own.clone(),
            boot: self.boot,
            channel: "federation".into(),
            lane: 0,
            priority: 0,
            listen: SocketAddr::from(([0, 0, 0, 0], 0)),
            features: 0,
        };
        let first = self.first.load(Ordering::Relaxed);
        for at in (0..self.gateways.len()).map(|step| (first + step) % self.gateways.len()) {
            match self.connector.connect(self.gateways[at], None, &hello).await {
                // The certificate says so too, or there would be no stream.
                Ok(stream) if stream.hello.cluster == self.name => {
                    self.first.store(at, Ordering::Relaxed);
                    return Some(start(stream, self.max_payload));
                }
                Ok(stream) => {
                    tracing::warn!(cluster = %self.name, found = %stream.hello.cluster, "a gateway of another cluster");
                }
                Err(error) => {
                    tracing::debug!(cluster = %self.name, gateway = %self.gateways[at], %error, "no link");
                }
            }
        }
        None
    }
}

fn forget(waiting: &Waiting, id: u64) {
    if let Some(waiting) = waiting.lock().as_mut() {
        waiting.remove(&id);
    }
}

fn start(stream: Stream, max_payload: usize) -> Arc<Link> {
    let Stream {
        peer,
        mut read,
        write,
        ..
    } = stream;
    let (requests, queue) = mpsc::channel(QUEUE);
    let waiting: Arc<Waiting> = Arc::new(Mutex::new(Some(HashMap::new())));
    let writer = tokio::spawn(write_all(queue, write));
    let answers = waiting.clone();
    tokio::spawn(async move {
        loop {
            let kind = match tokio::time::timeout(IDLE, Frame::begin(&mut read)).await {
                Ok(Ok(Some(kind))) => kind,
                Err(_) if answers.lock().as_ref().is_some_and(|waiting| !waiting.is_empty()) => continue,
                _ => break,
            };
            let (id, answer) = match Frame::finish(&mut read, kind, max_payload).await {
                Ok(Read::Frame(Frame::Answer { id, status, payload })) => (id, (status, payload)),
                Ok(Read::TooLarge { id }) => (id, (super::status::TOO_LARGE, Bytes::new())),
                // A gateway asks for nothing.
                Ok(Read::Frame(Frame::Request { .. } | Frame::Cancel { .. })) | Err(_) => break,
            };
            let waits = answers.lock().as_mut().and_then(|waiting| waiting.remove(&id));
            if let Some(waits) = waits {
                // It may have stopped waiting this moment.
                let _ = waits.send(answer);
            }
        }
        // Dropping the senders tells those who wait.
        *answers.lock() = None;
        writer.abort();
    });
    Arc::new(Link {
        peer,
        requests,
        waiting,
    })
}

/// Between half and all of that time.
fn jitter(time: Duration) -> Duration {
    let part = u32::try_from(RandomState::new().hash_one(0_u8) % 1_000).unwrap_or(0);
    time / 2 + time * part / 2_000
}
