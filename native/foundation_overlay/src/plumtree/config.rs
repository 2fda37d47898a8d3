//! What can be tuned, and what is counted.

use std::time::Duration;

use super::missing::Waits;
use super::retained::RetainLimits;
use crate::seen::SeenLimits;

/// How a tree behaves; the same on all its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long announcements are collected before they are sent.
    pub announce_every: Duration,
    /// Most neighbours that a direct or staged broadcast is announced to; one by the tree is, to all lazy ones.
    pub announce_to: usize,
    /// A link that would have been this many hops shorter takes the place of the one that was used; 0 for never.
    pub shorter_by: u16,
    /// Neighbours that a [`Push::Random`] goes to at each hop.
    pub random_fanout: usize,
    /// Parts that a node of a [`Push::Staged`] splits its part into.
    pub staged_fanout: usize,
    /// Kept payloads a new neighbour is told of.
    pub tell_new: usize,
    /// How long after it lost a link a node asks others what it may have missed, and then asks once more.
    pub ask_after: [Duration; 2],
    /// How many random neighbours it asks.
    pub ask: usize,
    /// Largest payload, in bytes.
    pub max_payload: usize,
    /// Waits for what was announced.
    pub waits: Waits,
    /// Bounds of the payloads kept for repair.
    pub retain: RetainLimits,
    /// Bounds of the memory of what was seen.
    pub seen: SeenLimits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            announce_every: Duration::from_millis(50),
            announce_to: 8,
            shorter_by: 4,
            random_fanout: 4,
            staged_fanout: 8,
            tell_new: 1024,
            ask_after: [Duration::from_millis(200), Duration::from_secs(3)],
            ask: 4,
            max_payload: 1 << 20,
            waits: Waits::default(),
            retain: RetainLimits::default(),
            seen: SeenLimits::default(),
        }
    }
}

/// What a tree has counted since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Broadcasts of this node.
    pub broadcast: u64,
    /// Broadcasts of others handed over.
    pub delivered: u64,
    /// Payloads that came again.
    pub duplicates: u64,
    /// Payloads sent, each destination counted.
    pub payloads_sent: u64,
    /// Other messages sent, each destination counted.
    pub control_sent: u64,
    /// Requests sent, one for each broadcast asked for.
    pub grafts: u64,
    /// Links made lazy.
    pub prunes: u64,
    /// Links exchanged for a shorter one.
    pub shortened: u64,
    /// Payloads sent again because they were asked for.
    pub repaired: u64,
    /// Announced broadcasts that nobody gave.
    pub given_up: u64,
    /// Requests and announcements for which there was no room.
    pub overflow: u64,
    /// Messages refused because they break the protocol.
    pub malformed: u64,
    /// Payloads kept now, in bytes.
    pub kept_bytes: usize,
    /// Payloads kept now.
    pub kept: usize,
    /// Broadcasts waited for now.
    pub missing: usize,
}
