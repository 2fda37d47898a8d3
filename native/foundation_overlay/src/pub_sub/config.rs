//! What can be tuned, and what is refused.

use std::time::Duration;

use crate::plumtree;

/// The topic of broadcasts that every node gets, subscribed or not. It has no tree but the shared one.
pub const EVERYONE: u32 = 0;

/// How broadcasts travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All over the shared tree.
    Shared,
    /// Each topic over a tree of its subscribers.
    Topics,
}

/// How publishing behaves; the same on all nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// All trees.
    pub tree: plumtree::Config,
    /// Rings of a topic's subscribers; each costs a subscriber up to two links.
    pub rings: usize,
    /// Subscribers a publisher links to that is none itself.
    pub entries: usize,
    /// How long links for topics outlive their use.
    pub linger: Duration,
    /// How often tables of subscriptions are compared with a random neighbour.
    pub compare_every: Duration,
    /// Up to so many members a mesh is broadcast to directly, whatever the size of the payload.
    pub direct_members: usize,
    /// Payload bytes a mesh is broadcast to directly, all copies together; beyond it, in stages.
    pub direct_bytes: usize,
    /// Most topics one node may subscribe to.
    pub max_topics: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            tree: plumtree::Config::default(),
            rings: 2,
            entries: 2,
            linger: Duration::from_secs(5),
            compare_every: Duration::from_secs(10),
            direct_members: 16,
            direct_bytes: 1 << 20,
            max_topics: 4096,
        }
    }
}

/// Why a broadcast or a subscription was refused; nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The payload is larger than trees carry.
    #[error("the payload is larger than {max} bytes")]
    TooLarge {
        /// The bound, in bytes.
        max: usize,
    },
    /// The node subscribes to as many topics as it may.
    #[error("more than {max} topics")]
    TooManyTopics {
        /// The bound.
        max: usize,
    },
}
