//! A member as SWIM names it.
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{NodeId, PeerName, Role};

/// What of a peer travels with every SWIM message, behind one pointer: members are kept by the thousand.
#[derive(Clone, Debug)]
pub(crate) struct SwimId {
    key: u128,
    body: Arc<Body>,
}

/// The fields of a [`SwimId`] as they are on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Body {
    pub(crate) id: NodeId,
    /// Rises each time this life of the node was declared gone although it lives.
    pub(crate) renewal: u32,
    pub(crate) addr: SocketAddr,
    pub(crate) role: Role,
    /// Whether there is metadata worth asking for.
    pub(crate) has_meta: bool,
}

impl SwimId {
    pub(crate) fn new(body: Body) -> Self {
        Self {
            key: name_key(&body.id.name),
            body: Arc::new(body),
        }
    }

    pub(crate) fn id(&self) -> &NodeId {
        &self.body.id
    }

    pub(crate) fn name(&self) -> &PeerName {
        &self.body.id.name
    }

    pub(crate) fn body(&self) -> &Body {
        &self.body
    }

    /// Where the name stands in the ring of members, the same on all nodes.
    pub(crate) fn place(&self) -> u64 {
        mix(self.name_word())
    }

    fn name_word(&self) -> u64 {
        (self.key ^ (self.key >> 64)) as u64
    }

    /// Name, life and renewal in one number, the same on all nodes.
    pub(crate) fn digest(&self) -> u64 {
        let name = self.name_word();
        [self.body.id.boot, u64::from(self.body.renewal)]
            .into_iter()
            .fold(mix(name), |hash, word| mix(hash ^ word))
    }

    /// Which of so many parts the name falls into.
    pub(crate) fn part(&self, parts: usize) -> usize {
        (self.place() % parts as u64) as usize
    }

    /// The same life of the same node, believed again.
    pub(crate) fn renewed(&self) -> Self {
        let mut body = (*self.body).clone();
        body.renewal = body.renewal.saturating_add(1);
        Self {
            key: self.key,
            body: Arc::new(body),
        }
    }

    /// What decides between two claims to one name: the later life, then the later renewal.
    fn rank(&self) -> (u64, u32, SocketAddr, Role, bool) {
        let Body {
            id,
            renewal,
            addr,
            role,
            has_meta,
        } = &*self.body;
        (id.boot, *renewal, *addr, *role, *has_meta)
    }
}

/// Spreads a number over all bits (the finaliser of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// A fixed hash (FNV-1a, 128 bits), equal on all nodes and in all runs, so that simulations repeat.
fn name_key(name: &PeerName) -> u128 {
    name.as_str()
        .bytes()
        .fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d, |hash: u128, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        })
}

impl PartialEq for SwimId {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && (Arc::ptr_eq(&self.body, &other.body) || self.body == other.body)
    }
}

impl Eq for SwimId {}

impl Serialize for SwimId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.body.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SwimId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Body::deserialize(deserializer).map(Self::new)
    }
}

impl foca::Identity for SwimId {
    /// The hash of the name: foca finds members by scanning, so the comparison must be cheap.
    type Addr = u128;

    fn renew(&self) -> Option<Self> {
        Some(self.renewed())
    }

    fn addr(&self) -> u128 {
        self.key
    }

    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        self.rank() > adversary.rank()
    }
}
