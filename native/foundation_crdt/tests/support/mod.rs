//! What the tests share: replicas and lossless conversations between them.
#![allow(dead_code)]

use foundation_crdt::{Bounds, Kind, Op, State, Value};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) const BUDGET: usize = 1 << 16;

pub(crate) fn state(kind: &Kind, id: u64, shards: usize) -> State {
    State::new(kind.clone(), id, shards, Bounds::default()).unwrap()
}

/// Lets two replicas talk until both are silent; the bytes they sent.
pub(crate) fn sync(a: &State, b: &State, now: u64) -> usize {
    let mut bytes = 0;
    let mut queue = VecDeque::from([(true, a.roots())]);
    let mut turns = 0;
    while let Some((to_b, message)) = queue.pop_front() {
        bytes += message.len();
        let (from, to) = if to_b { (a, b) } else { (b, a) };
        let handled = to.handle(from.id(), &message, now, BUDGET).unwrap();
        queue.extend(handled.reply.map(|reply| (!to_b, reply)));
        turns += 1;
        assert!(turns < 100_000, "they never stop");
    }
    bytes
}

/// Has `to` know all that `from` does, and the other way round.
pub(crate) fn settle(a: &State, b: &State, now: u64) {
    for _ in 0..4 {
        sync(a, b, now);
        if a.root() == b.root() {
            return;
        }
    }
    panic!("two replicas differ after four rounds");
}

/// A replica of its own with the same content.
pub(crate) fn copy(of: &State, id: u64) -> State {
    let copy = state(of.kind(), id, of.shard_count());
    settle(&copy, of, 0);
    copy
}

pub(crate) fn act(state: &State, path: &[&[u8]], op: Op<'_>, now: u64) {
    state.mutate(path, op, now).unwrap();
}

/// A value in an order of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Nothing,
    Integer(i128),
    Flag(bool),
    One(Vec<u8>),
    Many(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Map(BTreeMap<Vec<u8>, Seen>),
}

pub(crate) fn seen(value: Option<Value>) -> Seen {
    match value {
        None => Seen::Nothing,
        Some(Value::Integer(n)) => Seen::Integer(n),
        Some(Value::Flag(on)) => Seen::Flag(on),
        Some(Value::One(value)) => Seen::One(value),
        Some(Value::Many(values)) => Seen::Many(values),
        Some(Value::Set(elements)) => Seen::Set(elements.into_iter().collect()),
        Some(Value::Map(entries)) => Seen::Map(
            entries
                .into_iter()
                .map(|(name, value)| (name, seen(Some(value))))
                .collect(),
        ),
    }
}

pub(crate) fn read(state: &State) -> Seen {
    seen(state.read(&[]).unwrap())
}
