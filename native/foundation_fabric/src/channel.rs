//! What a channel is: how it delivers, how much it may hold, and how many links it takes.

mod batch;
pub mod inbox;
#[cfg(test)]
mod lane_tests;
pub mod outbox;
mod report;

use crate::error::Error;
use std::sync::Arc;

/// What a channel promises of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reliability {
    /// Sent once. What is on the way when a link breaks is lost, and counted.
    BestEffort,
    /// Kept until acknowledged, sent again over a new link, and delivered once to each life of the receiver.
    AtLeastOnce,
    /// As [`Reliability::AtLeastOnce`], and in one order for all senders of the node.
    Ordered,
}

/// The settings of a channel, checked by [`Settings::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What is promised.
    pub reliability: Reliability,
    /// A greater one goes first; above [`USUAL_PRIORITY`](crate::config::USUAL_PRIORITY) it has threads of its own.
    pub priority: u8,
    /// Links to each peer; a sender's messages always take the same one. 1 to 64.
    pub lanes: u16,
    /// Messages held for each peer and lane, those not yet acknowledged included. 1 to 100 million.
    pub max_messages: u32,
    /// Bytes held for each peer and lane. At least 64 KB. A message is taken while there is room for a byte.
    pub max_bytes: u64,
    /// The largest message, in bytes. 1 KB to 16 GB.
    pub max_message: u64,
    /// Bytes a sender may have on the way to us on one lane before we take them. At least 256 KB.
    pub window_bytes: u64,
    /// Messages a sender may have on the way to us on one lane. At least 16.
    pub window_messages: u32,
    /// Frames from this many bytes on are compressed, where that makes them smaller.
    pub compress_above: Option<u32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reliability: Reliability::AtLeastOnce,
            priority: 128,
            lanes: 1,
            max_messages: 100_000,
            max_bytes: 32 << 20,
            max_message: 64 << 20,
            window_bytes: 8 << 20,
            window_messages: 16_384,
            compress_above: None,
        }
    }
}

impl Settings {
    /// Whether messages are kept until acknowledged.
    pub fn keeps(&self) -> bool {
        self.reliability != Reliability::BestEffort
    }

    /// Names the first setting that is out of range.
    pub fn check(&self) -> Result<(), Error> {
        let rules = [
            ("lanes", (1..=64).contains(&self.lanes)),
            (
                "lanes",
                self.reliability != Reliability::Ordered || self.lanes == 1,
            ),
            ("max_messages", (1..=100_000_000).contains(&self.max_messages)),
            ("max_bytes", self.max_bytes >= 64 << 10),
            ("max_message", (1 << 10..=16u64 << 30).contains(&self.max_message)),
            ("window_bytes", self.window_bytes >= 256 << 10),
            ("window_messages", self.window_messages >= 16),
            ("compress_above", self.compress_above.is_none_or(|n| n >= 64)),
        ];
        match rules.iter().find(|(_, kept)| !kept) {
            Some((name, _)) => Err(Error::Range(name)),
            None => Ok(()),
        }
    }

    /// Which lane the messages of a sender take.
    pub fn lane(&self, flow: u64) -> usize {
        if self.lanes == 1 {
            return 0;
        }
        // The sender's number may count up in steps; its upper bits after a multiplication do not.
        let mixed = flow.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        ((mixed * u64::from(self.lanes)) >> 32) as usize
    }
}

/// An open channel.
#[derive(Debug)]
pub struct Channel {
    /// Its name.
    pub name: Arc<str>,
    /// Its settings.
    pub settings: Settings,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range() {
        assert!(Settings::default().check().is_ok());
    }

    #[test]
    fn what_is_out_of_range_is_named() {
        let bad = Settings {
            lanes: 0,
            ..Settings::default()
        };
        assert!(matches!(bad.check(), Err(Error::Range("lanes"))));
        let bad = Settings {
            reliability: Reliability::Ordered,
            lanes: 2,
            ..Settings::default()
        };
        assert!(matches!(bad.check(), Err(Error::Range("lanes"))));
    }

    #[test]
    fn lanes_are_used_evenly() {
        let settings = Settings {
            lanes: 8,
            ..Settings::default()
        };
        for step in [1, 2, 8, 16, 1024] {
            let mut used = [0; 8];
            (0..800).for_each(|n| used[settings.lane(n * step)] += 1);
            assert!(used.iter().all(|n| *n > 40), "{step}: {used:?}");
        }
    }
}
