//! A gateway: takes links from other clusters' nodes and hands their requests on.

use super::frame::{Frame, Read};
use super::quota::{Held, Quotas};
use super::status;
use crate::tls::TlsTransport;
use crate::transport::{Stream, Transport};
use bytes::Bytes;
use foundation_overlay::NodeId;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

/// Answers that wait to be written. Beyond them answers are lost: the caller does not read.
const ANSWERS: usize = 1_024;
/// A link that says nothing for so long is closed.
const SILENT: Duration = Duration::from_secs(300);

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
    gateway: Arc<TlsTransport>,
    quotas: Arc<Quotas>,
    handler: Arc<dyn Handler>,
    max_payload: usize,
) {
    while let Some(stream) = gateway.accept().await {
        tokio::spawn(link(stream, quotas.clone(), handler.clone(), max_payload));
    }
}

async fn link(stream: Stream, quotas: Arc<Quotas>, handler: Arc<dyn Handler>, max_payload: usize) {
    let Stream {
        peer,
        hello,
        mut read,
        write,
        ..
    } = stream;
    let (answers, queue) = mpsc::channel(ANSWERS);
    tokio::spawn(write_all(queue, write));
    let refuse = |id, status, payload| answers.try_send(Frame::Answer { id, status, payload });
    loop {
        let frame = match tokio::time::timeout(SILENT, Frame::read(&mut read, max_payload)).await {
            Ok(Ok(Some(frame))) => frame,
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(error)) => {
                tracing::debug!(%peer, cluster = %hello.cluster, %error, "link closed");
                return;
            }
        };
        let refused = match frame {
            Read::TooLarge { id } => refuse(id, status::TOO_LARGE, Bytes::new()),
            // Who calls answers nothing.
            Read::Frame(Frame::Answer { .. }) => return,
            Read::Frame(Frame::Request {
                id,
                within_ms,
                payload,
            }) => match quotas.take(&hello.cluster, payload.len()) {
                Err(retry) => refuse(id, status::QUOTA, retry.to_be_bytes().to_vec().into()),
                Ok(held) => {
                    let request = Request {
                        cluster: hello.cluster.clone(),
                        node: peer.clone(),
                        within: Duration::from_millis(within_ms.into()),
                        payload,
                    };
                    let answers = answers.clone();
                    handler.request(
                        request,
                        Responder {
                            id,
                            answers,
                            max_payload,
                            held: Some(held),
                        },
                    );
                    Ok(())
                }
            },
        };
        if refused.is_err() {
            // It sends without reading what it is told.
            return;
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
