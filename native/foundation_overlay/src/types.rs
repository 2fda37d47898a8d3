//! The words of the overlay: who a node is, what comes in, what goes out.
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{Error, Workload};

/// The longest peer name, in bytes.
pub const MAX_NAME: usize = 255;
/// The longest metadata of a peer, in bytes.
pub const MAX_META: usize = 512;

/// A node's name: UTF-8, 1 to 255 bytes, no control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName(Arc<str>);

impl PeerName {
    /// Checks and takes a name. [`Error::BadName`] when it is empty, too long or holds control characters.
    pub fn new(name: &str) -> Result<Self, Error> {
        if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
            return Err(Error::BadName);
        }
        Ok(Self(Arc::from(name)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for PeerName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for PeerName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl de::Visitor<'_> for Name {
            type Value = PeerName;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a peer name")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<PeerName, E> {
                PeerName::new(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Name)
    }
}

/// One life of a node: its name and when that life began. A later boot replaces an earlier one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// The node's name, unique in the cluster.
    pub name: PeerName,
    /// Microseconds since the epoch when the node started.
    pub boot: u64,
}

impl NodeId {
    /// Names one life of a node. [`Error::BadName`] for a bad name.
    pub fn new(name: &str, boot: u64) -> Result<Self, Error> {
        Ok(Self {
            name: PeerName::new(name)?,
            boot,
        })
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.boot)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What a node is in a client-server topology. In the others it makes no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// An equal among equals; serves when no node is a server.
    Peer,
    /// Relays for clients.
    Server,
    /// Links to servers only.
    Client,
}

/// A node that can be spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Who it is.
    pub id: NodeId,
    /// Where it listens.
    pub addr: SocketAddr,
    /// What it is in a client-server topology.
    pub role: Role,
    /// What its owner says of it, at most 512 bytes.
    pub meta: Bytes,
}

/// How nodes are linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Topology {
    /// A link between every two nodes.
    FullMesh,
    /// Partial views of bounded size, kept random and connected.
    HyParView,
    /// Clients link to servers, servers link to each other and relay.
    ClientServer,
    /// Partial views, and a broadcast tree for each topic on them.
    PubSub,
}

impl Topology {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::FullMesh, Self::HyParView, Self::ClientServer, Self::PubSub];

    /// The name users know.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FullMesh => "full_mesh",
            Self::HyParView => "hyparview",
            Self::ClientServer => "client_server",
            Self::PubSub => "pub_sub",
        }
    }

    /// The topology with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|topology| topology.name() == name)
    }
}

/// How much a broadcast may cost to be early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Urgency {
    /// To every link at once: fewest hops, most copies.
    Urgent,
    /// Over the tree, or directly in a small mesh.
    Normal,
    /// To a few random neighbours at each hop: nothing is kept or repaired.
    Background,
}

/// A point in time the overlay asked to be woken at. Opaque to who drives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timer(pub(crate) u64);

/// Something that happened to the overlay. Time and randomness come from outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// An authenticated datagram arrived.
    Datagram {
        /// Where it came from.
        from: SocketAddr,
        /// What it holds.
        bytes: &'a [u8],
    },
    /// A frame arrived over a link.
    Frame {
        /// The authenticated sender.
        from: &'a NodeId,
        /// What it holds.
        bytes: &'a [u8],
    },
    /// A link to this node is open, whoever opened it.
    LinkUp(NodeId),
    /// The link to this node closed, or the attempt to open one failed.
    LinkDown(NodeId),
    /// A round trip over the link was measured.
    Rtt {
        /// To whom.
        peer: &'a NodeId,
        /// Microseconds.
        micros: u32,
    },
    /// Payload moved over the link, for [`Overlay::analyze`](crate::Overlay::analyze).
    Traffic {
        /// With whom.
        peer: &'a NodeId,
        /// Bytes sent since the last report.
        sent: u64,
        /// Bytes received since the last report.
        received: u64,
        /// Messages that had to be sent again or were lost.
        lost: u32,
    },
    /// A timer came due.
    Timer(Timer),
    /// Nodes that may already be in the cluster live at these addresses.
    Join(&'a [SocketAddr]),
    /// This node goes away for good.
    Leave,
    /// Deliver this once to every node that subscribed to the topic.
    Broadcast {
        /// What it is about.
        topic: u32,
        /// What it says.
        payload: Bytes,
        /// Cost against earliness.
        urgency: Urgency,
    },
    /// Deliver broadcasts of this topic here.
    Subscribe(u32),
    /// Deliver no more broadcasts of this topic here.
    Unsubscribe(u32),
    /// Change the topology of the whole cluster.
    Switch(Topology),
    /// Choose the topology for this workload by measurement from now on, or do so no more. Of all the nodes that
    /// are told so, the one that has been up longest decides.
    Automatic(Option<Workload>),
    /// This node knows itself to be slow (or no more): it then trusts its own suspicions less.
    Slow(bool),
}

/// Something the overlay wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send a datagram; it may be lost.
    Datagram {
        /// To where.
        to: SocketAddr,
        /// What.
        bytes: Bytes,
    },
    /// Send a frame over the link, reliably and in order. Only asked for while the link is up.
    Frame {
        /// To whom.
        to: NodeId,
        /// What.
        bytes: Bytes,
    },
    /// Try once to open a link. Answered by `LinkUp` or `LinkDown`.
    Connect(Peer),
    /// The overlay needs this link no more. Answered by nothing: the overlay already counts it as closed.
    Disconnect(NodeId),
    /// Wake me: `Input::Timer(timer)` after this long.
    Timer {
        /// What to hand back.
        timer: Timer,
        /// How long from now.
        after: Duration,
    },
    /// The view of a member changed.
    Member(MemberEvent, Peer),
    /// This life of a node said good-bye, whether it was a member here, had been taken for dead, or was never heard of.
    Goodbye(NodeId),
    /// A broadcast for this node, once.
    Deliver {
        /// Who broadcast it.
        from: NodeId,
        /// What it is about.
        topic: u32,
        /// What it says.
        payload: Bytes,
    },
    /// The cluster's topology changed.
    Topology {
        /// What it is now.
        current: Topology,
        /// The number of the decision.
        epoch: u64,
        /// Whether the links of the former topology have been let go.
        settled: bool,
    },
}

/// What happened to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberEvent {
    /// It is part of the cluster.
    Up,
    /// It failed a probe and has to answer soon.
    Suspect,
    /// It answered after all.
    Alive,
    /// Its metadata arrived.
    Meta,
    /// It is gone.
    Down {
        /// Why.
        reason: DownReason,
    },
    /// It said good-bye.
    Left,
}

/// Why a member is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DownReason {
    /// It answered neither directly nor through others in time.
    Silent,
    /// A later life of the same node took its place.
    Replaced,
}

/// How to reach a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// Over the open link.
    Direct,
    /// Through this linked node, which knows the way on.
    Via(NodeId),
    /// Open a link on demand.
    Dial(Peer),
    /// Nobody knows.
    Unknown,
}
