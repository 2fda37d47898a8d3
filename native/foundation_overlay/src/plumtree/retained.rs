//! Payloads kept for a while, so that a node that missed one can ask for it.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use hashbrown::HashMap;

use super::message::{MessageId, Push};
use crate::types::NodeId;

/// Bounds of what is kept; the oldest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetainLimits {
    /// Most payload bytes.
    pub bytes: usize,
    /// Most payloads.
    pub messages: usize,
    /// Longest time.
    pub age: Duration,
}

impl Default for RetainLimits {
    fn default() -> Self {
        Self {
            bytes: 16 << 20,
            messages: 4096,
            age: Duration::from_secs(30),
        }
    }
}

/// One payload kept.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) topic: u32,
    pub(crate) round: u16,
    pub(crate) push: Push,
    pub(crate) payload: Bytes,
    pub(crate) parent: Option<NodeId>,
    pub(crate) at: Duration,
}

#[derive(Debug)]
pub(crate) struct Retained {
    limits: RetainLimits,
    kept: HashMap<MessageId, Kept>,
    order: VecDeque<MessageId>,
    bytes: usize,
}

impl Retained {
    pub(crate) fn new(limits: RetainLimits) -> Self {
        Self {
            limits,
            kept: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        }
    }

    /// Keeps a payload that is not kept yet. One larger than the whole bound is not kept.
    pub(crate) fn keep(&mut self, id: MessageId, kept: Kept) {
        if kept.payload.len() > self.limits.bytes || self.limits.messages == 0 {
            return;
        }
        self.bytes += kept.payload.len();
        self.order.push_back(id.clone());
        self.kept.insert(id, kept);
        while self.bytes > self.limits.bytes || self.order.len() > self.limits.messages {
            self.drop_oldest();
        }
    }

    pub(crate) fn get(&self, id: &MessageId) -> Option<&Kept> {
        self.kept.get(id)
    }

    /// Drops what is older than the bound.
    pub(crate) fn expire(&mut self, now: Duration) {
        while self.oldest().is_some_and(|at| at + self.limits.age <= now) {
            self.drop_oldest();
        }
    }

    /// When the oldest payload expires.
    pub(crate) fn expiry(&self) -> Option<Duration> {
        self.oldest().map(|at| at + self.limits.age)
    }

    /// The newest first, at most `most`.
    pub(crate) fn newest(&self, most: usize) -> impl Iterator<Item = (&MessageId, &Kept)> {
        self.order
            .iter()
            .rev()
            .take(most)
            .filter_map(|id| self.kept.get(id).map(|kept| (id, kept)))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    fn oldest(&self) -> Option<Duration> {
        self.order
            .front()
            .and_then(|id| self.kept.get(id))
            .map(|kept| kept.at)
    }

    fn drop_oldest(&mut self) {
        if let Some(kept) = self.order.pop_front().and_then(|id| self.kept.remove(&id)) {
            self.bytes -= kept.payload.len();
        }
    }
}
