//! A gateway: takes links from other clusters' nodes and hands their requests on.

use super::frame::{Frame, Read};
use super::quota::{Held, Quotas};
use super::status;
use crate::transport::{Stream, Transport};
use bytes::Bytes;
use foundation_overlay::NodeId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Answers that wait to be written. Beyond them answers are lost: the caller does not read.
const ANSWERS: usize = 1_024;

static NUMBER: AtomicU64 = AtomicU64::new(1);

/// Makes the calls that others ask for. May not block.
pub trait Handler: Send + Sync + 'static {
    /// Takes a request. Its answer goes through `responder`, now or later.
    fn request(&self, request: Request, responder: Responder);

    /// Nobody waits for the answer of the request with that number any more: who asked gave up, or is gone. It may have
    /// been answered this moment.
    fn cancel(&self, number: u64);
}

/// What another cluster asks for.
#[derive(Debug)]
pub struct Request {
    /// Its own among all requests that came to this process.
    pub number: u64,
    /// The cluster, proven by its authority.
    pub cluster: String,
    /// The node, proven by its certificate.
    pub node: NodeId,
    /// How long the caller waits for the answer.
    pub within: Duration,
    /// What it asks for. Not looked at yet by anyone.
    pub payload: Bytes,
}

/// Carries the answer of one request. Dropped without one, it tells the caller that the call was lost.
pub struct Responder {
    id: u64,
    under_way: UnderWay,
    answers: mpsc::Sender<Frame>,
    max_payload: usize,
    held: Option<Held>,
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Responder {
    /// Answers. Never waits: the answer is lost when the caller does not read its answers, or is gone.
    pub fn answer(mut self, status: u32, payload: Bytes) {
        self.send(status, payload);
    }

    fn send(&mut self, status: u32, payload: Bytes) {
        if self.held.take().is_none() {
            return;
        }
        self.under_way.lock().remove(&self.id);
        let (status, payload) = if payload.len() > self.max_payload {
            (status::TOO_LARGE, Bytes::new())
        } else {
            (status, payload)
        };
        let _ = self.answers.try_send(Frame::Answer {
            id: self.id,
            status,
            payload,
        });
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.send(status::LOST, Bytes::new());
    }
}

/// The numbers of a link's requests that have no answer yet, by what the caller calls them.
type UnderWay = Arc<Mutex<HashMap<u64, u64>>>;

/// Cancels what is under way when the link is gone, whatever ended it.
struct Link {
    under_way: UnderWay,
    handler: Arc<dyn Handler>,
}

impl Link {
    fn cancel(&self, id: u64) {
        let number = self.under_way.lock().remove(&id);
        if let Some(number) = number {
            self.handler.cancel(number);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let numbers = std::mem::take(&mut *self.under_way.lock());
        numbers
            .into_values()
            .for_each(|number| self.handler.cancel(number));
    }
}

pub(super) async fn run(
    gateway: Arc<dyn Transport>,
    quotas: Arc<Quotas>,
    handler: Arc<dyn Handler>,
    max_payload: usize,
) {
    // Dropped with the loop, which ends the links.
    let mut links = tokio::task::JoinSet::new();
    while let Some(stream) = gateway.accept().await {
        while links.try_join_next().is_some() {}
        links.spawn(link(stream, quotas.clone(), handler.clone(), max_payload));
    }
}

async fn link(stream: Stream, quotas: Arc<Quotas>, handler: Arc<dyn Handler>, max_payload: usize) {
    let Stream {
        peer,
        hello,
        read,
        write,
        ..
    } = stream;
    let (answers, queue) = mpsc::channel(ANSWERS);
    let link = Link {
        under_way: UnderWay::default(),
        handler,
    };
    tokio::select! {
        () = listen((&peer, &hello.cluster), read, answers, &quotas, &link, max_payload) => {}
        () = write_all(queue, write) => {}
    }
}

async fn listen(
    (peer, cluster): (&NodeId, &str),
    mut read: impl AsyncRead + Unpin,
    answers: mpsc::Sender<Frame>,
    quotas: &Arc<Quotas>,
    link: &Link,
    max_payload: usize,
) {
    let refuse = |id, status, payload| answers.try_send(Frame::Answer { id, status, payload }).is_ok();
    loop {
        let read = match Frame::read(&mut read, max_payload).await {
            Ok(Some(read)) => read,
            Ok(None) => return,
            Err(error) => {
                tracing::debug!(%peer, %cluster, %error, "link closed");
                return;
            }
        };
        let (id, within_ms, payload) = match read {
            Read::Frame(Frame::Request {
                id,
                within_ms,
                payload,
            }) => (id, within_ms, payload),
            Read::Frame(Frame::Cancel { id }) => {
                link.cancel(id);
                continue;
            }
            Read::TooLarge { id } if refuse(id, status::TOO_LARGE, Bytes::new()) => continue,
            // It asks without reading what it is told, or answers what nobody asked.
            _ => return,
        };
        match quotas.take(cluster, payload.len()) {
            Err(retry) if refuse(id, status::QUOTA, retry.to_be_bytes().to_vec().into()) => {}
            Err(_) => return,
            Ok(held) => {
                let (cluster, node) = (cluster.to_owned(), peer.clone());
                let within = Duration::from_millis(within_ms.into());
                let number = NUMBER.fetch_add(1, Ordering::Relaxed);
                link.under_way.lock().insert(id, number);
                let responder = Responder {
                    id,
                    under_way: Arc::clone(&link.under_way),
                    answers: answers.clone(),
                    max_payload,
                    held: Some(held),
                };
                link.handler.request(
                    Request {
                        number,
                        cluster,
                        node,
                        within,
                        payload,
                    },
                    responder,
                );
            }
        }
    }
}

/// Writes frames until nobody can add one, or the link breaks.
pub(super) async fn write_all(mut queue: mpsc::Receiver<Frame>, mut write: impl AsyncWrite + Unpin) {
    while let Some(frame) = queue.recv().await {
        let written = async {
            write.write_all(&frame.encode()).await?;
            if queue.is_empty() {
                write.flush().await
            } else {
                Ok(())
            }
        };
        if written.await.is_err() {
            return;
        }
    }
    let _ = write.shutdown().await;
}
