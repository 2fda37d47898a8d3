//! What overlay nodes say to each other: a version byte, a kind byte, and the rest by kind.
use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::swim_id::SwimId;
use crate::swim_rumours::Accusation;
use crate::{Error, NodeId, Peer, Role, Topology};

/// Both sides must say this.
pub(crate) const VERSION: u8 = 1;
/// Bytes before the body.
pub(crate) const HEADER: usize = 2;

/// Kinds of datagrams and frames. One space for both, so that neither is ever taken for the other.
pub(crate) mod kind {
    pub(crate) const SWIM: u8 = 1;
    pub(crate) const PROBE: u8 = 2;
    pub(crate) const SHUFFLE_REPLY: u8 = 3;
    pub(crate) const VIEWS: u8 = 16;
    pub(crate) const TREE: u8 = 17;
    pub(crate) const CONTROL: u8 = 18;
    pub(crate) const SERVERS: u8 = 19;
    pub(crate) const ROUTE: u8 = 20;
    /// Said by nobody.
    pub(crate) const NONE: u8 = 255;
}

/// A peer as it is on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WirePeer {
    pub(crate) id: SwimId,
    pub(crate) meta: Vec<u8>,
}

impl WirePeer {
    pub(crate) fn into_peer(self) -> Result<(SwimId, Peer), Error> {
        if self.meta.len() > crate::MAX_META {
            return Err(Error::Malformed("metadata"));
        }
        let body = self.id.body();
        let peer = Peer {
            id: body.id.clone(),
            addr: body.addr,
            role: body.role,
            meta: Bytes::from(self.meta),
        };
        Ok((self.id, peer))
    }
}

/// How to reach a node, without what its owner says of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contact {
    pub(crate) id: NodeId,
    pub(crate) addr: SocketAddr,
    pub(crate) role: Role,
}

impl Contact {
    pub(crate) fn of(peer: &Peer) -> Self {
        Self {
            id: peer.id.clone(),
            addr: peer.addr,
            role: peer.role,
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        Peer {
            id: self.id.clone(),
            addr: self.addr,
            role: self.role,
            meta: Bytes::new(),
        }
    }
}

/// The cluster's decision on a topology. The greater one wins, everywhere.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Decision {
    /// One more than any the decider knew of.
    pub(crate) epoch: u64,
    /// Breaks the tie between two deciders that did not know of each other.
    pub(crate) by: Option<NodeId>,
    pub(crate) topology: Topology,
}

/// Small questions and answers beside SWIM's own, as datagrams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Probe {
    /// Who are you?
    Knock,
    /// This is me, and the topology here is this.
    Door { me: WirePeer, decision: Decision },
    /// You are suspected in this incarnation: say that you live.
    Challenge { suspect: SwimId, incarnation: u16 },
    /// I live, in this incarnation.
    Refute { me: SwimId, incarnation: u16 },
    /// I leave.
    Leave { me: SwimId },
    /// The topology shall be this.
    Decided(Decision),
    /// I suspect this member: see for yourself, and tell me.
    Witness { suspect: SwimId, incarnation: u16 },
    /// I saw for myself, and it does not answer.
    Accused(Accusation),
    /// You suspect this member, or asked me of it: this is what I know that is later.
    Known(Standing),
}

/// A member and what is thought of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) id: SwimId,
    pub(crate) incarnation: u16,
    pub(crate) state: State,
}

/// What is thought of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Alive,
    Suspect,
    Down,
    Left,
}

/// Everything on links that is neither views nor trees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Control {
    /// The first frame on every link: who I am and what the topology is.
    Greeting { me: WirePeer, decision: Decision },
    /// A newer decision on the topology.
    Switch(Decision),
    /// A part of what I think of the members.
    Members(Vec<Standing>),
    /// I leave.
    Leave,
    /// Whom I hold for alive, a number for each part of the members.
    Digest(Vec<u64>),
    /// In these parts, a bit each, I hold others for alive than you.
    Differ(u16),
}

pub(crate) fn encode<T: Serialize>(kind: u8, message: &T) -> Bytes {
    let mut buffer = vec![VERSION, kind];
    // Serialising plain data into a growing vector cannot fail.
    buffer = postcard::to_extend(message, buffer).expect("plain data into a vector");
    Bytes::from(buffer)
}

pub(crate) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8], what: &'static str) -> Result<T, Error> {
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        _ => Err(Error::Malformed(what)),
    }
}

/// Prefixes bytes another codec produced.
pub(crate) fn wrap(kind: u8, body: &[u8]) -> Bytes {
    let mut buffer = Vec::with_capacity(HEADER + body.len());
    buffer.extend_from_slice(&[VERSION, kind]);
    buffer.extend_from_slice(body);
    Bytes::from(buffer)
}

/// The kind and the body.
pub(crate) fn open(bytes: &[u8]) -> Result<(u8, &[u8]), Error> {
    match bytes {
        [VERSION, kind, body @ ..] => Ok((*kind, body)),
        [version, _, ..] => Err(Error::Version(*version)),
        _ => Err(Error::Malformed("header")),
    }
}
