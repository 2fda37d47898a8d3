//! What the nodes of a tree say to each other.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::types::NodeId;

/// Names one broadcast: its origin and the origin's number for it in this tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageId {
    /// The node that broadcast it.
    pub origin: NodeId,
    /// Counts up within one boot of the origin.
    pub seq: u64,
}

/// How a payload travels on from the node that gets it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Push {
    /// To eager neighbours; the rest hear of it.
    Tree,
    /// To all neighbours at once: the shortest way, paid with duplicates.
    Flood,
    /// No further: the sender reaches everyone itself, or repairs one node.
    Direct,
    /// To the members from the receiver up to, but without, `until`, in the ring of node identities.
    Staged {
        /// Where the receiver's part of the ring ends.
        until: NodeId,
    },
    /// To some random neighbours as long as `ttl` lasts; nobody repairs a loss.
    Random {
        /// Hops left.
        ttl: u8,
    },
}

impl Push {
    /// Whether a node keeps the payload and tells its neighbours, so that losses are repaired.
    #[must_use]
    pub fn is_repaired(&self) -> bool {
        !matches!(self, Push::Random { .. })
    }
}

/// A payload on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gossip {
    /// Which broadcast.
    pub id: MessageId,
    /// The topic it was published under.
    pub topic: u32,
    /// Hops behind it when it arrives.
    pub round: u16,
    /// How it travels on.
    pub push: Push,
    /// The bytes of the publisher.
    #[serde(with = "payload")]
    pub payload: Bytes,
}

/// "I have these": broadcasts of one origin that the sender could hand over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Whose broadcasts.
    pub origin: NodeId,
    /// Which, in ascending order of their numbers.
    pub messages: Vec<Held>,
}

/// One broadcast that the sender could hand over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Held {
    /// The origin's number for it.
    pub seq: u64,
    /// Hops from the origin to the sender.
    pub round: u16,
    /// How long ago it reached the sender, in milliseconds, rounded up.
    pub age_ms: u32,
}

/// A message between two nodes of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// A payload.
    Gossip(Gossip),
    /// Announcements.
    Have(Vec<Announced>),
    /// "Send me these, and push to me from now on."
    Graft(Vec<MessageId>),
    /// "Announce to me instead of pushing."
    Prune,
    /// "I lost a link, and perhaps what was on it: announce to me what you have."
    Ask,
}

/// Most identifiers in one message; a message with more is refused.
pub const MAX_IDS: usize = 64;

impl Message {
    /// Whether its lists are within the bounds that every sender keeps.
    #[must_use]
    pub fn is_bounded(&self) -> bool {
        match self {
            Message::Gossip(_) | Message::Prune | Message::Ask => true,
            Message::Have(all) => {
                all.len() <= MAX_IDS && all.iter().map(|each| each.messages.len()).sum::<usize>() <= MAX_IDS
            }
            Message::Graft(ids) => ids.len() <= MAX_IDS,
        }
    }
}

/// A payload as a byte string, without the copy byte by byte that a sequence would cost.
mod payload {
    use std::fmt;

    use bytes::Bytes;
    use serde::de::{Deserializer, Error, Visitor};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(payload: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(payload)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        deserializer.deserialize_bytes(Payload)
    }

    struct Payload;

    impl Visitor<'_> for Payload {
        type Value = Bytes;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("bytes")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
            Ok(Bytes::copy_from_slice(bytes))
        }
    }
}
