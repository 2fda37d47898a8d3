//! Large messages on their way out: cut into chunks that take turns.
//!
//! What a sender queued behind its own large message waits until that message is through; what others queued does not.

use bytes::Bytes;
use std::collections::{HashMap, VecDeque};

use crate::channel::outbox::{Batch, Token};
use crate::frame::{CHUNK, MAX_CHUNK};

/// Large messages that may be under way at once.
pub(crate) const ABREAST: usize = 8;

/// A large message, in the parts it was made of.
#[derive(Debug)]
pub(crate) struct Large {
    pub(crate) parts: Vec<Bytes>,
    pub(crate) total: u64,
    pub(crate) token: Option<Token>,
    pub(crate) since: u64,
    pub(crate) sent: u64,
    pub(crate) id: u16,
    part: usize,
    offset: usize,
    /// It may not be through before that many batches are.
    pub(crate) after: u64,
}

impl Large {
    pub(crate) fn new(parts: Vec<Bytes>, token: Option<Token>, since: u64) -> Self {
        let total = parts.iter().map(|part| part.len() as u64).sum();
        Self {
            parts,
            total,
            token,
            since,
            sent: 0,
            id: 0,
            part: 0,
            offset: 0,
            after: 0,
        }
    }

    /// Begins again.
    pub(crate) fn rewind(&mut self) {
        (self.sent, self.part, self.offset) = (0, 0, 0);
    }

    /// How long the next chunk is.
    pub(crate) fn next_length(&self) -> usize {
        let left = self.total - self.sent;
        if left <= MAX_CHUNK as u64 {
            left as usize
        } else {
            CHUNK
        }
    }

    /// Whether the next chunk is the last one.
    pub(crate) fn ends(&self) -> bool {
        self.total - self.sent <= MAX_CHUNK as u64
    }

    /// The bytes of the next chunk, shared with the message.
    pub(crate) fn cut(&mut self) -> Vec<Bytes> {
        let mut left = self.next_length();
        let mut out = Vec::with_capacity(2);
        self.sent += left as u64;
        while left > 0 {
            let part = &self.parts[self.part];
            let length = left.min(part.len() - self.offset);
            if length > 0 {
                out.push(part.slice(self.offset..self.offset + length));
            }
            left -= length;
            self.offset += length;
            if self.offset == part.len() {
                self.part += 1;
                self.offset = 0;
            }
        }
        out
    }
}

/// What a sender queued from its first large message on.
#[derive(Debug)]
pub(crate) enum Item {
    Large(Large),
    Small(Batch),
}

/// The large messages that wait or are under way, by sender.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    flows: HashMap<u64, VecDeque<Item>>,
    /// Senders whose message is under way, in turn.
    active: VecDeque<u64>,
    /// Senders whose turn has not come.
    waiting: VecDeque<u64>,
    next_id: u16,
}

impl Turns {
    pub(crate) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Where the small messages of a sender go that has a large one queued.
    pub(crate) fn behind(&mut self, flow: u64) -> Option<&mut VecDeque<Item>> {
        if self.flows.is_empty() {
            return None;
        }
        self.flows.get_mut(&flow)
    }

    /// Queues a large message; `after` counts the batches that stand before it.
    pub(crate) fn push(&mut self, flow: u64, mut large: Large, after: u64) {
        let queue = self.flows.entry(flow).or_default();
        if queue.is_empty() {
            large.after = after;
            self.waiting.push_back(flow);
        }
        queue.push_back(Item::Large(large));
    }

    /// The message whose turn it is, if its next chunk may be sent now that `written` batches are.
    pub(crate) fn turn(&mut self, written: u64) -> Option<&mut Large> {
        while self.active.len() < ABREAST
            && let Some(flow) = self.waiting.pop_front()
        {
            self.next_id = self.next_id.wrapping_add(1);
            if let Some(Item::Large(large)) = self.flows.get_mut(&flow).and_then(|queue| queue.front_mut()) {
                large.id = self.next_id;
            }
            self.active.push_back(flow);
        }
        for _ in 0..self.active.len() {
            let flow = self.active[0];
            self.active.rotate_left(1);
            let ready = match self.flows.get(&flow).and_then(VecDeque::front) {
                Some(Item::Large(large)) => !large.ends() || large.after <= written,
                _ => false,
            };
            if ready {
                return self.front(flow);
            }
        }
        None
    }

    fn front(&mut self, flow: u64) -> Option<&mut Large> {
        match self.flows.get_mut(&flow)?.front_mut()? {
            Item::Large(large) => Some(large),
            Item::Small(_) => None,
        }
    }

    /// Takes the message out whose turn it was last; `free` gets the small messages that waited behind it, and says how
    /// many batches there are then.
    pub(crate) fn done(&mut self, free: impl FnMut(Batch) -> u64, made: u64) -> Option<Large> {
        let flow = self.active.pop_back()?;
        self.finish(flow, free, made)
    }

    /// Takes the message out that is under way as `id`.
    pub(crate) fn refuse(&mut self, id: u16, free: impl FnMut(Batch) -> u64, made: u64) -> Option<Large> {
        let is_it = |flow: &u64| matches!(self.flows.get(flow).and_then(VecDeque::front), Some(Item::Large(large)) if large.id == id);
        let at = self.active.iter().position(is_it)?;
        let flow = self.active.remove(at)?;
        self.finish(flow, free, made)
    }

    fn finish(&mut self, flow: u64, mut free: impl FnMut(Batch) -> u64, mut made: u64) -> Option<Large> {
        let queue = self.flows.get_mut(&flow)?;
        let Some(Item::Large(through)) = queue.pop_front() else {
            return None;
        };
        while let Some(Item::Small(_)) = queue.front() {
            if let Some(Item::Small(batch)) = queue.pop_front() {
                made = free(batch);
            }
        }
        match queue.front_mut() {
            Some(Item::Large(next)) => {
                next.after = made;
                self.waiting.push_back(flow);
            }
            _ => {
                self.flows.remove(&flow);
            }
        }
        Some(through)
    }

    /// Begins again with every message that is under way.
    pub(crate) fn rewind(&mut self) {
        for queue in self.flows.values_mut() {
            if let Some(Item::Large(large)) = queue.front_mut() {
                large.rewind();
            }
        }
    }

    /// Everything that waits, in no order.
    pub(crate) fn drain(&mut self) -> impl Iterator<Item = Item> {
        self.active.clear();
        self.waiting.clear();
        std::mem::take(&mut self.flows).into_values().flatten()
    }
}
