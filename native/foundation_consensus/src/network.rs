//! The network between engines, and how the requests of Raft go over it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt, Stream, StreamExt};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption};

use openraft::raft::{SnapshotResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse};
use openraft::{EmptyNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use crate::calls::{Call, CallError};
use crate::engine::Shared;
use crate::message::{Chunk, Request, Response, put_request};
use crate::types::{AppendRequest, AppendResponse, Name, Snapshot, Types, Vote, VoteRequest, VoteResponse};

/// Carries frames between engines.
pub trait Network: Send + Sync + 'static {
    /// Sends a frame one way, without waiting. Frames may be lost, doubled or overtaken; the fewer the better. False says
    /// that nothing has left and nothing will.
    fn send(&self, to: &str, frame: Bytes) -> bool;
    /// As `send` for a short frame, on any thread, even one that may not send otherwise; false when that cannot be done.
    fn send_at_once(&self, _to: &str, _frame: &Bytes) -> bool {
        false
    }
}

/// Appends on their way to one follower.
const PIPELINE: usize = 32;
/// Failures in a row after which a snapshot is given up.
const SNAPSHOT_TRIES: u32 = 5;

/// Makes links for one group.
pub(crate) struct Links {
    pub(crate) shared: Arc<Shared>,
    pub(crate) group: Name,
}

/// One group's requests to one member.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    group: Name,
    to: Name,
    heartbeat: bool,
}

impl RaftNetworkFactory<Types> for Links {
    type Network = Link;

    async fn new_client(&mut self, target: Name, _node: &EmptyNode) -> Link {
        Link {
            shared: self.shared.clone(),
            group: self.group.clone(),
            to: target,
            heartbeat: false,
        }
    }

    async fn new_heartbeat_client(&mut self, target: Name, node: &EmptyNode) -> Link {
        let mut link = self.new_client(target, node).await;
        link.heartbeat = true;
        link
    }
}

impl Link {
    fn start(&self, request: &Request) -> Call {
        let patient = self.heartbeat && self.shared.gathers_heartbeats();
        self.shared.call(&self.to, &self.group, request, patient)
    }

    fn append(
        &self,
        request: AppendRequest,
    ) -> impl Future<Output = Result<StreamAppendResult<Types>, RPCError<Types>>> + use<> {
        let prev = request.prev_log_id;
        let last = request.entries.last().map(|entry| entry.log_id).or(prev);
        let request = if self.heartbeat {
            Request::Heartbeat(request)
        } else {
            Request::Append(request)
        };
        let call = self.start(&request);
        let ttl = self.shared.config.election_max;
        async move {
            match call.wait(ttl).await {
                Ok(Response::Append(AppendResponse::Conflict)) if prev.is_none() => Err(unexpected()),
                Ok(Response::Append(response)) => Ok(response.into_stream_result(prev, last)),
                other => Err(failed(other)),
            }
        }
    }
}

fn unexpected() -> RPCError<Types> {
    RPCError::Network(NetworkError::from_string("an answer of the wrong kind"))
}

/// Nothing left, or nobody is there: wait before the next try. Otherwise the waiting is done.
fn failed(answer: Result<Response, CallError>) -> RPCError<Types> {
    match answer {
        Err(CallError::NotSent) => RPCError::Unreachable(Unreachable::from_string("not connected")),
        Ok(Response::NoGroup) => {
            RPCError::Unreachable(Unreachable::from_string("the group does not run there"))
        }
        Err(CallError::NoAnswer) => RPCError::Network(NetworkError::from_string("no answer")),
        Ok(_) => unexpected(),
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = Bytes;

    async fn append_entries(
        &mut self,
        rpc: AppendRequest,
        _option: RPCOption,
    ) -> Result<AppendResponse, RPCError<Types>> {
        let call = self.start(&Request::Append(rpc));
        match call.wait(self.shared.config.election_max).await {
            Ok(Response::Append(response)) => Ok(response),
            other => Err(failed(other)),
        }
    }

    /// Requests leave as they come; answers are given in their order.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>, RPCError<Types>>,
    >
    where
        S: Stream<Item = AppendRequest> + OptionalSend + Unpin + 'static,
    {
        let link = self.clone();
        let answers = input.map(move |request| link.append(request)).buffered(PIPELINE);
        async move { Ok(answers.boxed()) }.boxed()
    }

    async fn vote(&mut self, rpc: VoteRequest, option: RPCOption) -> Result<VoteResponse, RPCError<Types>> {
        match self.start(&Request::Vote(rpc)).wait(option.hard_ttl()).await {
            Ok(Response::Vote(response)) => Ok(response),
            other => Err(failed(other)),
        }
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest,
        option: RPCOption,
    ) -> Result<VoteResponse, RPCError<Types>> {
        match self.start(&Request::PreVote(rpc)).wait(option.hard_ttl()).await {
            Ok(Response::Vote(response)) => Ok(response),
            other => Err(failed(other)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = self.send_snapshot(vote, snapshot);
        tokio::select! {
            biased;
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sending => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let (from, to) = (req.from_leader().clone(), req.to_node_id().clone());
        let request = Request::TransferLeader(from, to, req.last_log_id().cloned());
        match self.start(&request).wait(option.hard_ttl()).await {
            Ok(Response::TransferLeader(true)) => Ok(Ok(())),
            Ok(Response::TransferLeader(false)) => {
                Err(RPCError::Network(NetworkError::from_string("it refuses")))
            }
            other => Err(failed(other)),
        }
    }

    fn backoff(&self) -> Option<Backoff> {
        let longest = self.shared.config.election_max;
        let shortest = self.shared.config.heartbeat / 4;
        let doubled = std::iter::successors(Some(shortest), move |wait: &Duration| {
            Some((*wait * 2).min(longest))
        });
        Some(Backoff::new(doubled))
    }
}

impl Link {
    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let total = snapshot.snapshot.len() as u64;
        let (mut offset, mut failures) = (0u64, 0);
        while failures < SNAPSHOT_TRIES {
            let end = total.min(offset + self.shared.config.snapshot_chunk as u64);
            let chunk = Chunk {
                vote: vote.clone(),
                meta: snapshot.meta.clone(),
                total,
                offset,
                data: snapshot.snapshot.slice(offset as usize..end as usize),
            };
            let answer = self
                .start(&Request::Chunk(chunk))
                .wait(self.shared.config.snapshot_timeout)
                .await;
            match answer {
                Ok(Response::Snapshot(vote)) => return Ok(SnapshotResponse::new(vote)),
                Ok(Response::Chunk(next)) if next <= total => {
                    failures = if next > offset { 0 } else { failures + 1 };
                    offset = next.min(total.saturating_sub(1));
                }
                Ok(Response::NoGroup) | Err(CallError::NotSent) => break,
                Ok(_) | Err(CallError::NoAnswer) => failures += 1,
            }
        }
        Err(StreamingError::Unreachable(Unreachable::from_string(
            "a snapshot did not arrive",
        )))
    }
}

impl Shared {
    /// Sends a request; its answer is waited for with what this returns.
    pub(crate) fn call(&self, to: &Name, group: &Name, request: &Request, patient: bool) -> Call {
        let call = self.calls.start();
        let number = call.number;
        if matches!(request, Request::Read { .. }) {
            self.outbox.push_at_once(to, Some(number), |out| {
                put_request(out, number, group.as_str(), request);
            });
            return call;
        }
        self.outbox.push(to, Some(number), patient, |out| {
            put_request(out, number, group.as_str(), request);
        });
        call
    }
}
