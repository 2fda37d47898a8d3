//! What waits for a link, and what was sent and is not acknowledged: one lane of a channel to one peer.
//!
//! A state machine: times come in as microseconds of any monotonic clock, frames go out as values. Small messages are
//! gathered in batches of up to 64 KB, which are what is sent, kept and acknowledged; large ones are cut into chunks.
//! Sequence numbers are given when a message's last byte is handed to the link, so that the receiver sees them grow.

mod settle;
mod write;

pub(crate) use super::batch::Batch;
pub use super::batch::Frame;
pub use super::report::{Counts, Settled};
use super::{Reliability, Settings};
use crate::chunk::{Item, Large, Turns};
use crate::error::Error;
use crate::frame::{Grant, MAX_BATCH};
use crate::monotonic::Monotonic;
use bytes::Bytes;
use std::collections::VecDeque;

/// What the caller calls someone who waits.
pub type Token = u64;

/// The longest message that a batch takes.
pub const MAX_SMALL: usize = MAX_BATCH - 4;

#[derive(Debug)]
enum Body {
    Batch(Bytes, u16),
    Large(Vec<Bytes>, u16),
    Gone,
}

/// What was handed to the link and is not acknowledged.
#[derive(Debug)]
struct Sent {
    last: u64,
    messages: u64,
    bytes: u64,
    /// When its oldest message was queued, where the acknowledgement is asked for at once.
    probe: Option<u64>,
    body: Body,
}

/// One lane's queue.
#[derive(Debug)]
pub struct Outbox {
    keeps: bool,
    ordered: bool,
    max_messages: u64,
    max_bytes: u64,
    max_message: u64,
    open: Batch,
    /// How long the batch before was, which the next is expected to be.
    usual: usize,
    sealed: VecDeque<Batch>,
    made: u64,
    written: u64,
    turns: Turns,
    monotonic: Monotonic,
    last: u64,
    unacked: VecDeque<Sent>,
    waiting_acks: VecDeque<(u64, Token)>,
    waiting_room: VecDeque<Token>,
    up: bool,
    /// How many of `unacked` are to be sent again, and what of the first of them was.
    replay: usize,
    replaying: Option<Large>,
    used: Grant,
    granted: Grant,
    their_max: u64,
    probed: u64,
    counts: Counts,
}

impl Outbox {
    /// An empty queue.
    pub fn new(settings: &Settings) -> Self {
        Self {
            keeps: settings.keeps(),
            ordered: settings.reliability == Reliability::Ordered,
            max_messages: settings.max_messages.into(),
            max_bytes: settings.max_bytes,
            max_message: settings.max_message,
            open: Batch::default(),
            usual: 0,
            sealed: VecDeque::new(),
            made: 0,
            written: 0,
            turns: Turns::default(),
            monotonic: Monotonic::default(),
            last: 0,
            unacked: VecDeque::new(),
            waiting_acks: VecDeque::new(),
            waiting_room: VecDeque::new(),
            up: false,
            replay: 0,
            replaying: None,
            used: Grant::default(),
            granted: Grant::default(),
            their_max: u64::MAX,
            probed: 0,
            counts: Counts::default(),
        }
    }

    /// Whether a message would be taken now.
    pub fn has_room(&self) -> bool {
        self.counts.held_messages < self.max_messages && self.counts.held_bytes < self.max_bytes
    }

    /// As [`Outbox::has_room`], counting a refusal.
    pub fn check_room(&mut self) -> Result<(), Error> {
        if self.has_room() {
            return Ok(());
        }
        self.counts.busy += 1;
        Err(Error::Busy)
    }

    /// Whether a message of that length would join others, whose time is that of the first of them.
    pub fn is_gathering(&self, length: usize) -> bool {
        self.open.count > 0 && self.open.takes(length) && self.turns.is_empty()
    }

    /// Asks to be told, by [`Settled::room`], when half of the queue is free. True when it is so already.
    pub fn wait_room(&mut self, token: Token) -> bool {
        if self.has_room() {
            return true;
        }
        self.waiting_room.push_back(token);
        false
    }

    fn admit(&mut self, length: u64) -> Result<(), Error> {
        if length > self.max_message.min(self.their_max) {
            return Err(Error::TooLarge);
        }
        self.check_room()?;
        self.counts.held_messages += 1;
        self.counts.held_bytes += length;
        Ok(())
    }

    /// Queues a message of at most [`MAX_SMALL`] bytes.
    pub fn push(&mut self, flow: u64, message: &[u8], token: Option<Token>, now: u64) -> Result<(), Error> {
        if message.len() > MAX_SMALL {
            return Err(Error::TooLarge);
        }
        self.admit(message.len() as u64)?;
        let flow = if self.ordered { 0 } else { flow };
        if let Some(queue) = self.turns.behind(flow) {
            match queue.back_mut() {
                Some(Item::Small(batch)) if batch.takes(message.len()) => batch.push(message, token, now),
                _ => {
                    let mut batch = Batch::default();
                    batch.push(message, token, now);
                    queue.push_back(Item::Small(batch));
                }
            }
            return Ok(());
        }
        self.append(message, token, now);
        Ok(())
    }

    fn append(&mut self, message: &[u8], token: Option<Token>, now: u64) {
        if !self.open.takes(message.len()) {
            self.seal();
        }
        if self.open.count == 0 {
            self.open.bytes.reserve(self.usual);
        }
        self.open.push(message, token, now);
    }

    fn seal(&mut self) {
        if self.open.count > 0 {
            self.usual = self.open.bytes.len();
            self.sealed.push_back(std::mem::take(&mut self.open));
            self.made += 1;
        }
    }

    /// Queues a message made of `parts`, to be sent in chunks.
    pub fn push_large(
        &mut self,
        flow: u64,
        parts: Vec<Bytes>,
        token: Option<Token>,
        now: u64,
    ) -> Result<(), Error> {
        let large = Large::new(parts, token, now);
        self.admit(large.total)?;
        self.seal();
        let flow = if self.ordered { 0 } else { flow };
        self.turns.push(flow, large, self.made);
        Ok(())
    }

    /// Queues a message that takes the place of one with the same key, where that is not sent yet.
    pub fn push_monotonic(&mut self, key: u128, message: &[u8]) -> Result<(), Error> {
        if message.len() > MAX_SMALL {
            return Err(Error::TooLarge);
        }
        if !self.monotonic.holds(key) {
            self.admit(message.len() as u64)?;
        }
        if let Some(before) = self.monotonic.put(key, message) {
            self.counts.held_bytes = self.counts.held_bytes + message.len() as u64 - before as u64;
        }
        Ok(())
    }

    /// A link is there, and this is the receiver's first word: what it delivered of what we sent in its life before.
    pub fn link_up(&mut self, grant: Grant, their_max: u64, now: u64) -> Settled {
        self.up = true;
        self.used = Grant::default();
        self.granted = grant;
        self.their_max = their_max;
        self.last = self.last.max(grant.delivered);
        let settled = self.acked(grant, now);
        self.replay = self.unacked.len();
        settled
    }

    /// Whether [`Outbox::take`] would give something.
    pub fn is_ready(&self) -> bool {
        self.up && self.may_send() && self.waits()
    }

    /// Whether something may be sent now, and all that waits is one batch of at most `most` bytes.
    pub fn is_light(&self, most: usize) -> bool {
        (1..=most).contains(&self.open.bytes.len())
            && self.up
            && self.may_send()
            && self.replay == 0
            && self.sealed.is_empty()
            && self.turns.is_empty()
            && self.monotonic.is_empty()
    }

    /// Whether anything waits to be sent.
    pub fn waits(&self) -> bool {
        self.replay > 0
            || self.open.count > 0
            || !self.sealed.is_empty()
            || !self.turns.is_empty()
            || !self.monotonic.is_empty()
    }

    /// Whether something was sent and is not acknowledged.
    pub fn expects_ack(&self) -> bool {
        !self.unacked.is_empty()
    }

    fn may_send(&self) -> bool {
        self.used.bytes < self.granted.bytes && self.used.messages < self.granted.messages
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        Counts {
            superseded: self.monotonic.superseded(),
            ..self.counts
        }
    }
}
