//! What the payloads of a leaf mean.
//!
//! Grow-only counter: a total of the replica. Counter: what was added and what was taken away. Elements and flags: nothing, or
//! where removals win 1 for an add and 0 for the mark of a removal. Timed values: the time, 1 and the value, or 0.

use crate::kind::Leaf;
use crate::tree::Node;
use crate::wire::{self, Reader};

/// What is read from a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A counter.
    Integer(i128),
    /// A flag, or whether an element is in a set.
    Flag(bool),
    /// A register that keeps one value.
    One(Vec<u8>),
    /// A register that keeps all concurrent values, in the order of their bytes.
    Many(Vec<Vec<u8>>),
    /// The elements of a set; the order has no meaning.
    Set(Vec<Vec<u8>>),
    /// The entries of a map or record; the order has no meaning.
    Map(Vec<(Vec<u8>, Value)>),
}

/// What a replica has added and taken away.
pub(crate) fn counts(payload: &[u8]) -> Option<(u64, u64)> {
    let mut reader = Reader::new(payload);
    let counts = (reader.u64().ok()?, reader.u64().ok()?);
    reader.is_empty().then_some(counts)
}

pub(crate) fn put_counts(added: u64, taken: u64) -> Vec<u8> {
    let mut payload = Vec::with_capacity(4);
    wire::put_u64(&mut payload, added);
    wire::put_u64(&mut payload, taken);
    payload
}

/// The time of a timed payload, and the value behind it; none for the mark of a removal.
pub(crate) fn timed(payload: &[u8]) -> Option<(u64, Option<&[u8]>)> {
    let (time, rest) = payload.split_at_checked(8)?;
    let time = time.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
    match rest.split_first()? {
        (0, []) => Some((time, None)),
        (1, value) => Some((time, Some(value))),
        _ => None,
    }
}

pub(crate) fn put_timed(time: u64, value: Option<&[u8]>) -> Vec<u8> {
    let mut payload = Vec::with_capacity(9 + value.map_or(0, <[u8]>::len));
    wire::put_word(&mut payload, time);
    payload.push(u8::from(value.is_some()));
    payload.extend_from_slice(value.unwrap_or_default());
    payload
}

/// Whether a payload is one that the leaf may have.
pub(crate) fn valid(leaf: Leaf, payload: &[u8]) -> bool {
    match leaf {
        Leaf::GCounter => counts(payload).is_some_and(|(_, taken)| taken == 0),
        Leaf::PnCounter => counts(payload).is_some(),
        Leaf::Lww => timed(payload).is_some_and(|(_, value)| value.is_some()),
        Leaf::LwwEntry => timed(payload).is_some(),
        Leaf::Mv => true,
        Leaf::EwFlag | Leaf::GElement | Leaf::OrElement => payload.is_empty(),
        Leaf::DwFlag | Leaf::RwElement => matches!(payload, [0] | [1]),
    }
}

/// Whether a payload is the mark of a removal.
pub(crate) fn is_mark(leaf: Leaf, payload: &[u8]) -> bool {
    match leaf {
        Leaf::DwFlag | Leaf::RwElement => payload == [0],
        Leaf::LwwEntry => timed(payload).is_some_and(|(_, value)| value.is_none()),
        _ => false,
    }
}

/// The payload that wins where the last write does. Times are the same only for writes of replicas that knew nothing of
/// each other; then the bytes decide, on each replica alike.
fn last(node: &Node) -> Option<&[u8]> {
    node.dots().map(|(_, payload)| payload).max()
}

/// What is to be seen at a node; none where there is nothing.
pub(crate) fn value(leaf: Leaf, node: &Node) -> Option<Value> {
    if !node.has_dots() {
        return None;
    }
    match leaf {
        Leaf::GCounter | Leaf::PnCounter => {
            let shares = node.dots().filter_map(|(_, payload)| counts(payload));
            let sum = shares
                .map(|(added, taken)| i128::from(added) - i128::from(taken))
                .sum();
            Some(Value::Integer(sum))
        }
        Leaf::Lww | Leaf::LwwEntry => {
            let (_, value) = timed(last(node)?)?;
            Some(Value::One(value?.to_vec()))
        }
        Leaf::Mv => {
            let mut values: Vec<Vec<u8>> = node.dots().map(|(_, payload)| payload.to_vec()).collect();
            values.sort_unstable();
            values.dedup();
            Some(Value::Many(values))
        }
        Leaf::EwFlag | Leaf::GElement | Leaf::OrElement => Some(Value::Flag(true)),
        Leaf::RwElement | Leaf::DwFlag => {
            let wins = node.dots().all(|(_, payload)| payload == [1]);
            wins.then_some(Value::Flag(true))
        }
    }
}

/// What a leaf reads as where there is nothing.
pub(crate) fn nothing(leaf: Leaf) -> Option<Value> {
    match leaf {
        Leaf::GCounter | Leaf::PnCounter => Some(Value::Integer(0)),
        Leaf::Mv => Some(Value::Many(Vec::new())),
        Leaf::EwFlag | Leaf::DwFlag => Some(Value::Flag(false)),
        Leaf::GElement | Leaf::OrElement | Leaf::RwElement => Some(Value::Flag(false)),
        Leaf::Lww | Leaf::LwwEntry => None,
    }
}
