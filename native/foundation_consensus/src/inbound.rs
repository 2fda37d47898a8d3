//! What comes from other engines.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use crate::codec::{Malformed, Reader};
use crate::engine::Shared;
use crate::group::{Group, Incoming};
use crate::message::{self, Chunk, Message, Refusal, Request, Response, put_response};
use crate::types::{AppendRequest, AppendResponse, Name, Raft, Snapshot};

/// Appends of one leader that wait for the log.
const APPENDS: usize = 64;
/// Requests remembered of each node.
const SERVED: usize = 32_768;

/// Numbers of requests that each other node has asked to be done. The network may double a frame; what is proposed
/// without a session must not be done twice for that.
#[derive(Default)]
pub(crate) struct Served {
    nodes: HashMap<Name, (HashSet<u64>, VecDeque<u64>)>,
}

impl Served {
    fn again(&mut self, from: &Name, number: u64) -> bool {
        let (known, order) = self.nodes.entry(from.clone()).or_default();
        if !known.insert(number) {
            return true;
        }
        order.push_back(number);
        if order.len() > SERVED
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
        false
    }
}

impl Shared {
    /// Takes a frame from another engine. A frame that makes no sense is dropped from where it stops making any.
    pub(crate) fn receive(self: &Arc<Self>, from: &str, frame: Bytes) {
        if self.is_stopped() {
            return;
        }
        let from = Name::from(from);
        let mut reader = Reader(frame);
        loop {
            match message::next(&mut reader) {
                Ok(Some(Message::Response {
                    number,
                    response: Response::Agreed,
                })) => self.agreed(&from, number),
                Ok(Some(Message::Response { number, response })) => self.calls.answered(number, response),
                Ok(Some(Message::Request {
                    number,
                    group,
                    request,
                })) => {
                    self.requested(&from, number, &group, request);
                }
                Ok(None) => return,
                Err(Malformed) => {
                    tracing::warn!("a malformed frame from {from} was dropped");
                    return;
                }
            }
        }
    }

    fn requested(self: &Arc<Self>, from: &Name, number: u64, group: &[u8], request: Request) {
        let group = std::str::from_utf8(group).ok().and_then(|name| self.group(name));
        let Some(group) = group else {
            return self.respond(from, number, &Response::NoGroup);
        };
        match request {
            Request::Append(append) => group.append(from, number, append),
            Request::Agree(term) => self.agree(&group, from, number, term),
            Request::Chunk(chunk) => self.take_chunk(&group, from, number, chunk),
            Request::Propose { .. } | Request::Change { .. } if self.served.lock().again(from, number) => {}
            Request::Propose { .. } | Request::Read { .. } | Request::Change { .. } => {
                self.serve(group, from.clone(), number, request);
            }
            // What this member has promised in an earlier life to the leader's lease, it does not know any more.
            Request::Vote(_) | Request::PreVote(_) if group.is_quiet() => {}
            request => {
                let (shared, from) = (self.clone(), from.clone());
                self.runtime.spawn(async move {
                    let response = ask(&group.inner.raft, request).await;
                    shared.respond(&from, number, &response.unwrap_or(Response::NoGroup));
                });
            }
        }
    }

    /// Does a leader's job for another member, as far as there is room.
    fn serve(self: &Arc<Self>, group: Group, from: Name, number: u64, request: Request) {
        let Ok(permit) = group.inner.serving.clone().try_acquire_owned() else {
            return self.respond(&from, number, &Response::Done(Err(Refusal::Busy)));
        };
        let shared = self.clone();
        if let Request::Propose {
            ttl_ms,
            session,
            command,
        } = request
        {
            if command.len() > group.inner.config.max_command {
                let refusal = Refusal::Invalid("the command is too large".to_owned());
                return shared.respond(&from, number, &Response::Done(Err(refusal)));
            }
            let then = Box::new(move |done| {
                drop(permit);
                shared.respond(&from, number, &Response::Done(done));
            });
            return group.write(session, command, deadline(ttl_ms), then);
        }
        if let Request::Read {
            ttl_ms,
            consistency,
            promised,
            query,
        } = request
        {
            let then = Box::new({
                let from = from.clone();
                move |done| {
                    drop(permit);
                    shared.respond_at_once(&from, number, &Response::Done(done));
                }
            });
            let with = group.lead().is_some_and(|lead| promised <= lead.term);
            return group.read_here(query, consistency, with.then_some(from), deadline(ttl_ms), then);
        }
        self.runtime.spawn(async move {
            let done = match request {
                Request::Change { ttl_ms, change } => group
                    .change_here(change, deadline(ttl_ms))
                    .await
                    .map(|()| Bytes::new()),
                _ => Err(Refusal::Busy),
            };
            drop(permit);
            shared.respond(&from, number, &Response::Done(done));
        });
    }

    pub(crate) fn respond(&self, to: &Name, number: u64, response: &Response) {
        self.outbox
            .push(to, None, false, |out| put_response(out, number, response));
    }

    fn respond_at_once(&self, to: &Name, number: u64, response: &Response) {
        self.outbox
            .push_at_once(to, None, |out| put_response(out, number, response));
    }

    /// Adds a piece to the snapshot that comes from a member, and installs it when it is whole.
    fn take_chunk(self: &Arc<Self>, group: &Group, from: &Name, number: u64, chunk: Chunk) {
        let mut all = group.inner.incoming.lock();
        let incoming = all.entry(from.clone()).or_default();
        if chunk.offset == 0 || incoming.meta.as_ref() != Some(&chunk.meta) {
            *incoming = Incoming {
                meta: Some(chunk.meta.clone()),
                bytes: Vec::new(),
            };
        }
        if chunk.offset == incoming.bytes.len() as u64 {
            incoming.bytes.extend_from_slice(&chunk.data);
        }
        let have = incoming.bytes.len() as u64;
        if have < chunk.total {
            return self.respond(from, number, &Response::Chunk(have));
        }
        let bytes = all.remove(from).unwrap_or_default().bytes;
        drop(all);
        let snapshot = Snapshot {
            meta: chunk.meta,
            snapshot: bytes.into(),
        };
        let (shared, from, raft) = (self.clone(), from.clone(), group.inner.raft.clone());
        self.runtime.spawn(async move {
            let installed = raft.install_full_snapshot(chunk.vote, snapshot).await;
            let response = installed.map_or(Response::NoGroup, |response| Response::Snapshot(response.vote));
            shared.respond(&from, number, &response);
        });
    }
}

fn deadline(ttl_ms: u32) -> tokio::time::Instant {
    tokio::time::Instant::now() + Duration::from_millis(ttl_ms.into())
}

/// Asks Raft; `None` when it has stopped.
async fn ask(raft: &Raft, request: Request) -> Option<Response> {
    match request {
        Request::Heartbeat(append) => raft.append_entries(append).await.ok().map(Response::Append),
        Request::Vote(vote) => raft.vote(vote).await.ok().map(Response::Vote),
        Request::PreVote(vote) => raft.pre_vote(vote).await.ok().map(Response::Vote),
        Request::TransferLeader(from, to, last) => {
            let request = message::transfer(from, to, last);
            let taken = raft.handle_transfer_leader(request).await.ok()?;
            Some(Response::TransferLeader(taken.is_ok()))
        }
        _ => None,
    }
}

impl Group {
    /// Hands an append to the log, behind those of the same leader that came before.
    fn append(&self, from: &Name, number: u64, append: AppendRequest) {
        let mut leaders = self.inner.leaders.lock();
        let queue = leaders.entry(from.clone()).or_insert_with(|| {
            let (sender, receiver) = mpsc::channel(APPENDS);
            let (shared, raft, from) = (self.inner.shared.clone(), self.inner.raft.clone(), from.clone());
            self.inner
                .shared
                .runtime
                .spawn(follow(shared, raft, from, receiver));
            sender
        });
        // A leader has no more than this on their way; what it sends beyond is lost to it like a lost frame.
        let _ = queue.try_send((number, append));
    }
}

type Append = (u64, AppendRequest);

async fn follow(shared: Arc<Shared>, raft: Raft, from: Name, mut queue: mpsc::Receiver<Append>) {
    while let Some(first) = queue.recv().await {
        if follow_until_refused(&shared, &raft, &from, first, &mut queue)
            .await
            .is_none()
        {
            return;
        }
    }
}

/// Passes appends to Raft and its answers back, until it refuses one: those behind it are refused too, and the leader
/// begins anew. `None` when there is nothing more to do.
async fn follow_until_refused(
    shared: &Shared,
    raft: &Raft,
    from: &Name,
    first: Append,
    queue: &mut mpsc::Receiver<Append>,
) -> Option<()> {
    let (feed, requests) = mpsc::channel(APPENDS);
    let requests = stream::unfold(requests, |mut requests| async move {
        let next = requests.recv().await?;
        Some((next, requests))
    });
    let mut answers = std::pin::pin!(raft.stream_append(requests));
    let mut numbers = VecDeque::from([first.0]);
    feed.send(first.1).await.ok()?;
    loop {
        tokio::select! {
            biased;
            answer = answers.next() => {
                let answer = answer?.ok()?;
                let refused = answer.is_err();
                let number = numbers.pop_front()?;
                shared.respond(from, number, &Response::Append(AppendResponse::from(answer)));
                if refused {
                    return Some(());
                }
            }
            next = queue.recv(), if numbers.len() < APPENDS => {
                let (number, append) = next?;
                numbers.push_back(number);
                feed.send(append).await.ok()?;
            }
        }
    }
}
