//! Sessions against a model that forgets nothing.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use crate::codec::Reader;
use crate::sessions::{Known, Sessions, WINDOW};
use crate::types::Session;

proptest! {
    #[test]
    fn a_number_is_new_once(numbers in proptest::collection::vec((0u128..3, 0u64..600), 1..300)) {
        let mut sessions = Sessions::default();
        let mut model: BTreeMap<(u128, u64), Bytes> = BTreeMap::new();
        let mut highest: BTreeMap<u128, u64> = BTreeMap::new();
        for (i, (client, seq)) in numbers.into_iter().enumerate() {
            let session = Session { client, seq };
            let top = *highest.get(&client).unwrap_or(&0);
            let expected = match model.get(&(client, seq)) {
                _ if highest.contains_key(&client) && seq + WINDOW <= top => Known::Forgotten,
                Some(reply) => Known::Reply(reply.clone()),
                None => Known::New,
            };
            prop_assert_eq!(sessions.known(session), expected.clone());
            if expected == Known::New {
                let reply = Bytes::from(format!("{i}"));
                sessions.applied(session, i as u64, reply.clone());
                model.insert((client, seq), reply);
                highest.insert(client, top.max(seq));
            }
            if i % 37 == 0 {
                let mut bytes = Vec::new();
                sessions.put(&mut bytes);
                let again = Sessions::read(&mut Reader(bytes.into())).expect("it was just written");
                prop_assert_eq!(&again, &sessions);
                sessions = again;
            }
        }
    }
}

#[test]
fn idle_clients_go_when_there_are_too_many() {
    let mut sessions = Sessions::default();
    let of = |client: u128| Session { client, seq: 1 };
    for client in 0..70_000u128 {
        sessions.applied(of(client), client as u64, Bytes::new());
    }
    assert!(sessions.len() <= 65_536);
    assert_eq!(sessions.known(of(0)), Known::New);
    assert_eq!(sessions.known(of(69_999)), Known::Reply(Bytes::new()));
    sessions.applied(of(100_000), 10_000_000, Bytes::new());
    sessions.applied(of(100_001), 10_000_000, Bytes::new());
    assert!(
        sessions.len() < 65_536,
        "those who were idle for an hour are gone"
    );
}
