//! A gateway: takes links from other clusters' nodes and hands their requests on.

use super::frame::{Frame, Read};
use super::quota::{Held, Quotas};
use super::status;
use crate::transport::{Stream, Transport};
use bytes::Bytes;
use foundation_overlay::NodeId;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Answers that wait to be written. Beyond them answers are lost: the caller does not read.
const ANSWERS: usize = 1_024;

/// Makes the calls that others ask for. May not block.
pub trait Handler: Send + Sync + 'static {
    /// Takes a request. Its answer goes through `responder`, now or later.
    fn request(&self, request: Request, responder: Responder);
}

/// What another cluster asks for.
#[derive(Debug)]
pub struct Request {
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
    tokio::select! {
        () = listen((&peer, &hello.cluster), read, answers, &quotas, &*handler, max_payload) => {}
        () = write_all(queue, write) => {}
    }
}

async fn listen(
    (peer, cluster): (&NodeId, &str),
    mut read: impl AsyncRead + Unpin,
    answers: mpsc::Sender<Frame>,
    quotas: &Arc<Quotas>,
    handler: &dyn Handler,
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
                let responder = Responder {
                    id,
                    answers: answers.clone(),
                    max_payload,
                    held: Some(held),
                };
                handler.request(
                    Request {
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
