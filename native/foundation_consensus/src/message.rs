//! What engines say to each other. A frame is any number of messages, one after the other:
//! `length u32 | kind u8 | number u64 | body`. A reply carries the number of its request.

use bytes::Bytes;
use openraft::raft::TransferLeaderRequest;

use crate::codec::{
    self, Malformed, Reader, put_bytes, put_optional_log_id, put_session, put_stored_membership, put_text,
    put_vote,
};
use crate::read::Consistency;
use crate::types::{
    AppendRequest, AppendResponse, LogId, Name, Session, SnapshotMeta, Types, Vote, VoteRequest, VoteResponse,
};

/// A piece of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunk {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) total: u64,
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
}

/// A change of the group, done by its leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    AddLearner(Name),
    Voters(Vec<Name>),
    Transfer(Name),
}

/// What is asked of a group.
#[derive(Debug)]
pub(crate) enum Request {
    Append(AppendRequest),
    /// An append that overtakes those on their way.
    Heartbeat(AppendRequest),
    Vote(VoteRequest),
    PreVote(VoteRequest),
    TransferLeader(Vote, Name, Option<LogId>),
    Chunk(Chunk),
    Propose {
        ttl_ms: u32,
        session: Option<Session>,
        command: Bytes,
    },
    Read {
        ttl_ms: u32,
        consistency: Consistency,
        /// The latest term that who asks has voted in.
        promised: u64,
        query: Bytes,
    },
    Change {
        ttl_ms: u32,
        change: Change,
    },
    /// Whether who is asked has voted in no term after this one.
    Agree(u64),
}

/// Why a leader's job was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Not the leader; perhaps this one is. Nothing was done.
    NotLeader(Option<Name>),
    /// Nothing was done.
    Busy,
    /// It may have been done.
    Unknown,
    /// The number of the session is forgotten.
    Stale,
    /// Another change is under way.
    InProgress,
    /// The change makes no sense.
    Invalid(String),
}

/// The answer to a request.
#[derive(Debug, Clone)]
pub(crate) enum Response {
    /// There is no such group, or it is stopping.
    NoGroup,
    Append(AppendResponse),
    Vote(VoteResponse),
    TransferLeader(bool),
    /// The chunk is here; the next one begins at this offset.
    Chunk(u64),
    /// The snapshot is installed or refused: the vote of the receiver.
    Snapshot(Vote),
    Done(Result<Bytes, Refusal>),
    Agreed,
}

/// One message of a frame.
pub(crate) enum Message {
    Request {
        number: u64,
        group: Bytes,
        request: Request,
    },
    Response {
        number: u64,
        response: Response,
    },
}

/// Adds a request to a frame.
pub(crate) fn put_request(out: &mut Vec<u8>, number: u64, group: &str, request: &Request) {
    framed(out, request_kind(request), number, |out| {
        put_text(out, group);
        match request {
            Request::Append(append) | Request::Heartbeat(append) => put_append(out, append),
            Request::Vote(vote) | Request::PreVote(vote) => {
                put_vote(out, &vote.vote);
                put_optional_log_id(out, vote.last_log_id.as_ref());
                out.push(u8::from(vote.leadership_transfer));
            }
            Request::TransferLeader(from, to, last) => {
                put_vote(out, from);
                put_text(out, to.as_str());
                put_optional_log_id(out, last.as_ref());
            }
            Request::Chunk(chunk) => put_chunk(out, chunk),
            Request::Propose {
                ttl_ms,
                session,
                command,
            } => {
                out.extend_from_slice(&ttl_ms.to_le_bytes());
                put_session(out, session.as_ref());
                put_bytes(out, command);
            }
            Request::Read {
                ttl_ms,
                consistency,
                promised,
                query,
            } => {
                out.extend_from_slice(&ttl_ms.to_le_bytes());
                out.push(*consistency as u8);
                out.extend_from_slice(&promised.to_le_bytes());
                put_bytes(out, query);
            }
            Request::Change { ttl_ms, change } => {
                out.extend_from_slice(&ttl_ms.to_le_bytes());
                put_change(out, change);
            }
            Request::Agree(term) => out.extend_from_slice(&term.to_le_bytes()),
        }
    });
}

/// Adds a response to a frame.
pub(crate) fn put_response(out: &mut Vec<u8>, number: u64, response: &Response) {
    let kind = match response {
        Response::NoGroup => 64,
        Response::Append(_) => 65,
        Response::Vote(_) => 66,
        Response::TransferLeader(_) => 67,
        Response::Chunk(_) => 68,
        Response::Snapshot(_) => 69,
        Response::Done(_) => 70,
        Response::Agreed => 71,
    };
    framed(out, kind, number, |out| match response {
        Response::NoGroup | Response::Agreed => {}
        Response::Append(AppendResponse::Success) => out.push(0),
        Response::Append(AppendResponse::PartialSuccess(id)) => {
            out.push(1);
            put_optional_log_id(out, id.as_ref());
        }
        Response::Append(AppendResponse::Conflict) => out.push(2),
        Response::Append(AppendResponse::HigherVote(vote)) => {
            out.push(3);
            put_vote(out, vote);
        }
        Response::Vote(vote) => {
            put_vote(out, &vote.vote);
            out.push(u8::from(vote.vote_granted));
            put_optional_log_id(out, vote.last_log_id.as_ref());
        }
        Response::TransferLeader(accepted) => out.push(u8::from(*accepted)),
        Response::Chunk(next) => out.extend_from_slice(&next.to_le_bytes()),
        Response::Snapshot(vote) => put_vote(out, vote),
        Response::Done(Ok(reply)) => {
            out.push(0);
            put_bytes(out, reply);
        }
        Response::Done(Err(refusal)) => put_refusal(out, refusal),
    });
}

fn framed(out: &mut Vec<u8>, kind: u8, number: u64, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    out.extend_from_slice(&number.to_le_bytes());
    body(out);
    let len = (out.len() - start - 4) as u32;
    out[start..start + 4].copy_from_slice(&len.to_le_bytes());
}

fn request_kind(request: &Request) -> u8 {
    match request {
        Request::Append(_) => 1,
        Request::Heartbeat(_) => 2,
        Request::Vote(_) => 3,
        Request::PreVote(_) => 4,
        Request::TransferLeader(..) => 5,
        Request::Chunk(_) => 6,
        Request::Propose { .. } => 7,
        Request::Read { .. } => 8,
        Request::Change { .. } => 9,
        Request::Agree(_) => 10,
    }
}

fn put_append(out: &mut Vec<u8>, append: &AppendRequest) {
    put_vote(out, &append.vote);
    put_optional_log_id(out, append.prev_log_id.as_ref());
    put_optional_log_id(out, append.leader_commit.as_ref());
    out.extend_from_slice(&(append.entries.len() as u32).to_le_bytes());
    out.reserve(append.entries.iter().map(codec::entry_size).sum());
    for entry in &append.entries {
        codec::put_entry(out, entry);
    }
}

fn put_chunk(out: &mut Vec<u8>, chunk: &Chunk) {
    put_vote(out, &chunk.vote);
    put_optional_log_id(out, chunk.meta.last_log_id.as_ref());
    put_stored_membership(out, &chunk.meta.last_membership);
    out.extend_from_slice(&chunk.total.to_le_bytes());
    out.extend_from_slice(&chunk.offset.to_le_bytes());
    put_bytes(out, &chunk.data);
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    match change {
        Change::AddLearner(name) => {
            out.push(0);
            put_text(out, name.as_str());
        }
        Change::Voters(names) => {
            out.push(1);
            out.extend_from_slice(&(names.len() as u32).to_le_bytes());
            names.iter().for_each(|name| put_text(out, name.as_str()));
        }
        Change::Transfer(name) => {
            out.push(2);
            put_text(out, name.as_str());
        }
    }
}

fn put_refusal(out: &mut Vec<u8>, refusal: &Refusal) {
    match refusal {
        Refusal::NotLeader(hint) => {
            out.push(1);
            out.push(u8::from(hint.is_some()));
            if let Some(hint) = hint {
                put_text(out, hint.as_str());
            }
        }
        Refusal::Busy => out.push(2),
        Refusal::Unknown => out.push(3),
        Refusal::Stale => out.push(4),
        Refusal::InProgress => out.push(5),
        Refusal::Invalid(what) => {
            out.push(6);
            put_text(out, &what[..what.floor_char_boundary(1_000)]);
        }
    }
}

/// Takes the next message off a frame.
pub(crate) fn next(frame: &mut Reader) -> Result<Option<Message>, Malformed> {
    if frame.left() == 0 {
        return Ok(None);
    }
    let mut body = Reader(frame.bytes()?);
    let kind = body.u8()?;
    let number = body.u64()?;
    let message = if kind < 64 {
        let group = body.text()?;
        let request = read_request(kind, &mut body)?;
        Message::Request {
            number,
            group,
            request,
        }
    } else {
        let response = read_response(kind, &mut body)?;
        Message::Response { number, response }
    };
    if body.left() == 0 {
        Ok(Some(message))
    } else {
        Err(Malformed)
    }
}

fn read_request(kind: u8, body: &mut Reader) -> Result<Request, Malformed> {
    Ok(match kind {
        1 => Request::Append(read_append(body)?),
        2 => Request::Heartbeat(read_append(body)?),
        3 => Request::Vote(read_vote(body)?),
        4 => Request::PreVote(read_vote(body)?),
        5 => Request::TransferLeader(body.vote()?, body.name()?, body.optional_log_id()?),
        6 => Request::Chunk(read_chunk(body)?),
        7 => Request::Propose {
            ttl_ms: body.u32()?,
            session: body.optional(Reader::session)?,
            command: body.bytes()?,
        },
        8 => Request::Read {
            ttl_ms: body.u32()?,
            consistency: Consistency::from_code(body.u8()?).ok_or(Malformed)?,
            promised: body.u64()?,
            query: body.bytes()?,
        },
        9 => Request::Change {
            ttl_ms: body.u32()?,
            change: read_change(body)?,
        },
        10 => Request::Agree(body.u64()?),
        _ => return Err(Malformed),
    })
}

fn read_append(body: &mut Reader) -> Result<AppendRequest, Malformed> {
    let vote = body.vote()?;
    let prev_log_id = body.optional_log_id()?;
    let leader_commit = body.optional_log_id()?;
    let count = body.count(17)?;
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        entries.push(body.entry()?);
    }
    Ok(AppendRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit,
    })
}

fn read_vote(body: &mut Reader) -> Result<VoteRequest, Malformed> {
    Ok(VoteRequest {
        vote: body.vote()?,
        last_log_id: body.optional_log_id()?,
        leadership_transfer: body.u8()? == 1,
    })
}

fn read_chunk(body: &mut Reader) -> Result<Chunk, Malformed> {
    Ok(Chunk {
        vote: body.vote()?,
        meta: SnapshotMeta {
            last_log_id: body.optional_log_id()?,
            last_membership: body.stored_membership()?,
        },
        total: body.u64()?,
        offset: body.u64()?,
        data: body.bytes()?,
    })
}

fn read_change(body: &mut Reader) -> Result<Change, Malformed> {
    Ok(match body.u8()? {
        0 => Change::AddLearner(body.name()?),
        1 => {
            let count = body.count(2)?;
            let names = (0..count).map(|_| body.name());
            Change::Voters(names.collect::<Result<_, _>>()?)
        }
        2 => Change::Transfer(body.name()?),
        _ => return Err(Malformed),
    })
}

fn read_response(kind: u8, body: &mut Reader) -> Result<Response, Malformed> {
    Ok(match kind {
        64 => Response::NoGroup,
        65 => Response::Append(match body.u8()? {
            0 => AppendResponse::Success,
            1 => AppendResponse::PartialSuccess(body.optional_log_id()?),
            2 => AppendResponse::Conflict,
            3 => AppendResponse::HigherVote(body.vote()?),
            _ => return Err(Malformed),
        }),
        66 => {
            let vote = body.vote()?;
            let granted = body.u8()? == 1;
            Response::Vote(VoteResponse::new(vote, body.optional_log_id()?, granted))
        }
        67 => Response::TransferLeader(body.u8()? == 1),
        68 => Response::Chunk(body.u64()?),
        69 => Response::Snapshot(body.vote()?),
        70 => Response::Done(match body.u8()? {
            0 => Ok(body.bytes()?),
            kind => Err(read_refusal(kind, body)?),
        }),
        71 => Response::Agreed,
        _ => return Err(Malformed),
    })
}

fn read_refusal(kind: u8, body: &mut Reader) -> Result<Refusal, Malformed> {
    Ok(match kind {
        1 => Refusal::NotLeader(body.optional(Reader::name)?),
        2 => Refusal::Busy,
        3 => Refusal::Unknown,
        4 => Refusal::Stale,
        5 => Refusal::InProgress,
        6 => Refusal::Invalid(String::from_utf8_lossy(&body.text()?).into_owned()),
        _ => return Err(Malformed),
    })
}

/// The request of Raft from its parts.
pub(crate) fn transfer(from: Vote, to: Name, last: Option<LogId>) -> TransferLeaderRequest<Types> {
    TransferLeaderRequest::new(from, to, last)
}
