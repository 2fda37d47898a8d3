//! Messages come out as they went in, and bytes that are none are refused.

use bytes::Bytes;
use openraft::{EmptyNode, EntryPayload};
use proptest::prelude::*;

use crate::codec::Reader;
use crate::message::{Change, Chunk, Message, Refusal, Request, Response, next, put_request, put_response};
use crate::read::Consistency;
use crate::types::{
    AppendRequest, AppendResponse, Command, Entry, LogId, Membership, Name, Session, SnapshotMeta,
    StoredMembership, Vote, VoteRequest, VoteResponse, log_id,
};

fn name() -> impl Strategy<Value = Name> {
    "[a-z@é]{1,12}".prop_map(|name| Name::from(name.as_str()))
}

fn id() -> impl Strategy<Value = LogId> {
    any::<(u64, u64)>().prop_map(|(term, index)| log_id(term, index))
}

fn vote() -> impl Strategy<Value = Vote> {
    (any::<u64>(), name(), any::<bool>()).prop_map(|(term, name, committed)| {
        if committed {
            Vote::new_committed(term, name)
        } else {
            Vote::new(term, name)
        }
    })
}

fn bytes() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from)
}

fn membership() -> impl Strategy<Value = Membership> {
    (
        proptest::collection::btree_set(name(), 1..4),
        proptest::collection::vec(name(), 0..3),
    )
        .prop_map(|(voters, others)| {
            let nodes = voters
                .iter()
                .cloned()
                .chain(others)
                .map(|name| (name, EmptyNode {}));
            let nodes: std::collections::BTreeMap<Name, EmptyNode> = nodes.collect();
            Membership::new(vec![voters], nodes).expect("every voter is a node")
        })
}

fn session() -> impl Strategy<Value = Option<Session>> {
    proptest::option::of(any::<(u128, u64)>().prop_map(|(client, seq)| Session { client, seq }))
}

fn entry() -> impl Strategy<Value = Entry> {
    let payload = prop_oneof![
        Just(EntryPayload::Blank),
        (any::<u64>(), session(), bytes()).prop_map(|(time_ms, session, data)| EntryPayload::Normal(
            Command {
                time_ms,
                session,
                data
            }
        )),
        membership().prop_map(EntryPayload::Membership),
    ];
    (id(), payload).prop_map(|(log_id, payload)| Entry { log_id, payload })
}

fn request() -> impl Strategy<Value = Request> {
    let append = || {
        let parts = (vote(), proptest::option::of(id()), proptest::option::of(id()));
        (parts, proptest::collection::vec(entry(), 0..4)).prop_map(
            |((vote, prev_log_id, leader_commit), entries)| AppendRequest {
                vote,
                prev_log_id,
                entries,
                leader_commit,
            },
        )
    };
    let asked = || {
        (vote(), proptest::option::of(id()), any::<bool>()).prop_map(
            |(vote, last_log_id, leadership_transfer)| VoteRequest {
                vote,
                last_log_id,
                leadership_transfer,
            },
        )
    };
    let meta = (
        proptest::option::of(id()),
        proptest::option::of(id()),
        membership(),
    )
        .prop_map(|(last, at, membership)| SnapshotMeta {
            last_log_id: last,
            last_membership: StoredMembership::new(at, membership),
        });
    let change = prop_oneof![
        name().prop_map(Change::AddLearner),
        proptest::collection::vec(name(), 0..4).prop_map(Change::Voters),
        name().prop_map(Change::Transfer),
    ];
    prop_oneof![
        append().prop_map(Request::Append),
        append().prop_map(Request::Heartbeat),
        asked().prop_map(Request::Vote),
        asked().prop_map(Request::PreVote),
        (vote(), name(), proptest::option::of(id()))
            .prop_map(|(from, to, last)| Request::TransferLeader(from, to, last)),
        (vote(), meta, any::<u64>(), any::<u64>(), bytes()).prop_map(|(vote, meta, total, offset, data)| {
            Request::Chunk(Chunk {
                vote,
                meta,
                total,
                offset,
                data,
            })
        }),
        (any::<u32>(), session(), bytes()).prop_map(|(ttl_ms, session, command)| Request::Propose {
            ttl_ms,
            session,
            command
        }),
        (any::<u32>(), any::<u64>(), bytes()).prop_map(|(ttl_ms, promised, query)| {
            Request::Read {
                ttl_ms,
                consistency: Consistency::Lease,
                promised,
                query,
            }
        }),
        any::<u64>().prop_map(Request::Agree),
        (any::<u32>(), change).prop_map(|(ttl_ms, change)| Request::Change { ttl_ms, change }),
    ]
}

fn response() -> impl Strategy<Value = Response> {
    let refusal = prop_oneof![
        proptest::option::of(name()).prop_map(Refusal::NotLeader),
        Just(Refusal::Busy),
        Just(Refusal::Unknown),
        Just(Refusal::Stale),
        Just(Refusal::InProgress),
        "[a-zé ]{0,30}".prop_map(Refusal::Invalid),
    ];
    prop_oneof![
        Just(Response::NoGroup),
        Just(Response::Append(AppendResponse::Success)),
        Just(Response::Append(AppendResponse::Conflict)),
        proptest::option::of(id()).prop_map(|id| Response::Append(AppendResponse::PartialSuccess(id))),
        vote().prop_map(|vote| Response::Append(AppendResponse::HigherVote(vote))),
        (vote(), proptest::option::of(id()), any::<bool>())
            .prop_map(|(vote, id, granted)| Response::Vote(VoteResponse::new(vote, id, granted))),
        any::<bool>().prop_map(Response::TransferLeader),
        any::<u64>().prop_map(Response::Chunk),
        vote().prop_map(Response::Snapshot),
        bytes().prop_map(|reply| Response::Done(Ok(reply))),
        refusal.prop_map(|refusal| Response::Done(Err(refusal))),
    ]
}

proptest! {
    #[test]
    fn frames_come_out_as_they_went_in(requests in proptest::collection::vec((any::<u64>(), request()), 0..4),
                                       responses in proptest::collection::vec((any::<u64>(), response()), 0..4)) {
        let mut frame = Vec::new();
        requests.iter().for_each(|(number, request)| put_request(&mut frame, *number, "group", request));
        responses.iter().for_each(|(number, response)| put_response(&mut frame, *number, response));
        let mut reader = Reader(frame.into());
        for (sent, request) in &requests {
            let Ok(Some(Message::Request { number, group, request: found })) = next(&mut reader) else {
                panic!("a request is expected");
            };
            prop_assert_eq!((number, &group[..]), (*sent, &b"group"[..]));
            prop_assert_eq!(format!("{found:?}"), format!("{request:?}"));
        }
        for (sent, response) in &responses {
            let Ok(Some(Message::Response { number, response: found })) = next(&mut reader) else {
                panic!("a response is expected");
            };
            prop_assert_eq!(number, *sent);
            prop_assert_eq!(format!("{found:?}"), format!("{response:?}"));
        }
        prop_assert!(matches!(next(&mut reader), Ok(None)));
    }

    #[test]
    fn broken_frames_are_refused_or_read(request in request(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut frame = Vec::new();
        put_request(&mut frame, 1, "group", &request);
        let at = at.index(frame.len());
        frame[at] = with;
        let mut reader = Reader(frame.clone().into());
        while let Ok(Some(_)) = next(&mut reader) {}
        let mut reader = Reader(Bytes::from(frame).slice(..at));
        while let Ok(Some(_)) = next(&mut reader) {}
    }
}
