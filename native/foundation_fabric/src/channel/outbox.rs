//! What waits for a link, and what was sent and is not acknowledged: one lane of a channel to one peer.
//!
//! A state machine: times come in as microseconds of any monotonic clock, frames go out as values. Small messages are
//! gathered in batches of up to 64 KB, which are what is sent, kept and acknowledged; large ones are cut into chunks.
//! Sequence numbers are given when a message's last byte is handed to the link, so that the receiver sees them grow.

pub(crate) use super::batch::Batch;
pub use super::batch::Frame;
use super::batch::{batch_frame, chunk_frame};
pub use super::report::{Counts, Settled};
use super::{Reliability, Settings};
use crate::chunk::{Item, Large, Turns};
use crate::error::Error;
use crate::frame::{Grant, MAX_BATCH, URGENT};
use crate::monotonic::Monotonic;
use bytes::Bytes;
use std::collections::VecDeque;

/// What the caller calls someone who waits.
pub type Token = u64;

/// Microseconds between two frames whose way is measured.
const PROBE: u64 = 20_000;
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
        self.open.push(message, token, now);
    }

    fn seal(&mut self) {
        if self.open.count > 0 {
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

    /// The link broke. What is kept will be sent again.
    pub fn link_down(&mut self) -> Settled {
        let mut settled = Settled::default();
        self.up = false;
        self.turns.rewind();
        self.replaying = None;
        self.replay = 0;
        if !self.keeps {
            settled.lost = self.unacked.drain(..).map(|sent| sent.messages).sum();
            self.counts.lost += settled.lost;
            settled
                .failed
                .extend(self.waiting_acks.drain(..).map(|(_, token)| token));
        }
        settled
    }

    /// The receiver acknowledged and granted.
    pub fn acked(&mut self, grant: Grant, now: u64) -> Settled {
        let mut settled = Settled::default();
        self.granted.bytes = self.granted.bytes.max(grant.bytes);
        self.granted.messages = self.granted.messages.max(grant.messages);
        while self
            .unacked
            .front()
            .is_some_and(|sent| sent.last <= grant.delivered)
        {
            // The front was just seen.
            let Some(sent) = self.unacked.pop_front() else {
                break;
            };
            settled
                .latencies
                .extend(sent.probe.map(|since| now.saturating_sub(since)));
            // It was seen before its turn to be sent again.
            if self.replay > self.unacked.len() {
                self.replay = self.unacked.len();
                self.replaying = None;
            }
            if self.keeps {
                self.counts.held_messages -= sent.messages;
                self.counts.held_bytes -= sent.bytes;
            }
        }
        while self
            .waiting_acks
            .front()
            .is_some_and(|(seq, _)| *seq <= grant.delivered)
        {
            settled
                .delivered
                .extend(self.waiting_acks.pop_front().map(|(_, token)| token));
        }
        self.free(&mut settled);
        settled
    }

    /// Lets go everyone who waits for room.
    pub fn release_room(&mut self) -> Settled {
        Settled {
            room: self.waiting_room.drain(..).collect(),
            ..Settled::default()
        }
    }

    fn free(&mut self, settled: &mut Settled) {
        if !self.waiting_room.is_empty()
            && self.counts.held_messages <= self.max_messages / 2
            && self.counts.held_bytes <= self.max_bytes / 2
        {
            settled.room.extend(self.waiting_room.drain(..));
        }
    }

    /// The receiver does not take the message under way as `id`.
    pub fn refused(&mut self, id: u16) -> Settled {
        let mut settled = Settled::default();
        let (sealed, made) = (&mut self.sealed, &mut self.made);
        let so_far = *made;
        let free = |batch| {
            sealed.push_back(batch);
            *made += 1;
            *made
        };
        if let Some(large) = self.turns.refuse(id, free, so_far) {
            self.counts.held_messages -= 1;
            self.counts.held_bytes -= large.total;
            self.counts.lost += 1;
            settled.lost = 1;
            settled.too_large.extend(large.token);
            self.free(&mut settled);
            return settled;
        }
        // All of it was on its way already: its acknowledgement will say no more than that it was seen.
        let is_it = |sent: &&mut Sent| matches!(sent.body, Body::Large(_, there) if there == id);
        if let Some(sent) = self.unacked.iter_mut().rev().find(is_it) {
            sent.body = Body::Gone;
            self.counts.lost += 1;
            settled.lost = 1;
            if let Some(at) = self.waiting_acks.iter().position(|(seq, _)| *seq == sent.last) {
                settled
                    .too_large
                    .extend(self.waiting_acks.remove(at).map(|(_, token)| token));
            }
        }
        settled
    }

    /// Whether [`Outbox::take`] would give something.
    pub fn is_ready(&self) -> bool {
        self.up && self.may_send() && self.waits()
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

    /// The frames to write next, of about `budget` bytes at most, and who gets room by them; small and large messages
    /// take turns.
    pub fn take(&mut self, budget: usize, now: u64, out: &mut Vec<Frame>) -> Settled {
        let mut settled = Settled::default();
        let from = self.used.bytes;
        while self.is_ready() && self.used.bytes - from < budget as u64 {
            let before = out.len();
            if self.replay > 0 {
                self.take_replay(out);
            } else {
                self.take_batch(now, out);
                if self.may_send() {
                    self.take_chunk(now, out);
                }
            }
            if out.len() == before {
                break;
            }
        }
        if !self.keeps {
            self.free(&mut settled);
        }
        settled
    }

    fn charge(&mut self, bytes: usize, messages: u64) {
        self.used.bytes += bytes as u64;
        self.used.messages += messages;
        self.counts.frames += 1;
    }

    fn take_batch(&mut self, now: u64, out: &mut Vec<Frame>) {
        while self.open.takes(0)
            && let Some(message) = self.monotonic.pop()
        {
            self.append(&message, None, now);
        }
        if self.sealed.is_empty() {
            self.seal();
        }
        let Some(batch) = self.sealed.pop_front() else {
            return;
        };
        self.written += 1;
        let first = self.last + 1;
        self.last += u64::from(batch.count);
        let bytes = Bytes::from(batch.bytes);
        let probe = self.probe(now, batch.since, !batch.tokens.is_empty());
        let flags = if probe.is_some() { URGENT } else { 0 };
        let tokens = batch.tokens.iter();
        self.waiting_acks
            .extend(tokens.map(|(index, token)| (first + u64::from(*index), *token)));
        let messages = u64::from(batch.count);
        let held = bytes.len() as u64 - 4 * messages;
        self.keep(Body::Batch(bytes.clone(), batch.count), messages, held, probe);
        self.charge(bytes.len(), messages);
        out.push(batch_frame(bytes, batch.count, first, flags));
    }

    fn take_chunk(&mut self, now: u64, out: &mut Vec<Frame>) {
        let Some(large) = self.turns.turn(self.written) else {
            return;
        };
        let ends = large.ends();
        let mut frame = chunk_frame(large, self.last + 1);
        let (since, asked) = (large.since, large.token.is_some());
        self.charge(frame.header.length as usize, u64::from(ends));
        if ends {
            self.last += 1;
            let probe = self.probe(now, since, asked);
            frame.header.flags |= if probe.is_some() { URGENT } else { 0 };
            self.finish_large(probe);
        }
        out.push(frame);
    }

    /// Whether to ask for the acknowledgement at once, and since when the message has been on its way.
    fn probe(&mut self, now: u64, since: u64, asked: bool) -> Option<u64> {
        if now.saturating_sub(self.probed) >= PROBE {
            self.probed = now;
        } else if !asked {
            return None;
        }
        Some(since)
    }

    fn finish_large(&mut self, probe: Option<u64>) {
        let (sealed, made) = (&mut self.sealed, &mut self.made);
        let so_far = *made;
        let free = |batch| {
            sealed.push_back(batch);
            *made += 1;
            *made
        };
        if let Some(large) = self.turns.done(free, so_far) {
            self.waiting_acks
                .extend(large.token.map(|token| (self.last, token)));
            self.keep(Body::Large(large.parts, large.id), 1, large.total, probe);
        }
    }

    fn keep(&mut self, body: Body, messages: u64, bytes: u64, probe: Option<u64>) {
        self.counts.messages += messages;
        self.counts.bytes += bytes;
        let body = if self.keeps { body } else { Body::Gone };
        if !self.keeps {
            self.counts.held_messages -= messages;
            self.counts.held_bytes -= bytes;
        }
        self.unacked.push_back(Sent {
            last: self.last,
            messages,
            bytes,
            probe,
            body,
        });
    }

    /// What was sent over an earlier link goes first, one after the other.
    fn take_replay(&mut self, out: &mut Vec<Frame>) {
        let at = self.unacked.len() - self.replay;
        let Some(sent) = self.unacked.get(at) else { return };
        let (last, messages) = (sent.last, sent.messages);
        match &sent.body {
            Body::Batch(bytes, count) => {
                let (bytes, count) = (bytes.clone(), *count);
                self.charge(bytes.len(), messages);
                out.push(batch_frame(bytes, count, last + 1 - messages, URGENT));
            }
            Body::Large(parts, _) => {
                let large = self
                    .replaying
                    .get_or_insert_with(|| Large::new(parts.clone(), None, 0));
                let ends = large.ends();
                out.push(chunk_frame(large, last));
                let length = out.last().map_or(0, |frame| frame.header.length as usize);
                self.charge(length, u64::from(ends));
                if !ends {
                    return;
                }
            }
            Body::Gone => {}
        }
        self.counts.resent += messages;
        self.replaying = None;
        self.replay -= 1;
    }

    /// Gives everything up: nothing waits any more, and who waited is told.
    pub fn clear(&mut self) -> Settled {
        let mut settled = Settled::default();
        let kept = self
            .unacked
            .drain(..)
            .filter(|_| self.keeps)
            .map(|sent| sent.messages);
        settled.lost = kept.sum();
        settled
            .failed
            .extend(self.waiting_acks.drain(..).map(|(_, token)| token));
        let queued = self.turns.drain().chain(
            self.sealed
                .drain(..)
                .chain([std::mem::take(&mut self.open)])
                .map(Item::Small),
        );
        for item in queued {
            match item {
                Item::Small(batch) => {
                    settled.lost += u64::from(batch.count);
                    settled
                        .failed
                        .extend(batch.tokens.iter().map(|(_, token)| *token));
                }
                Item::Large(large) => {
                    settled.lost += 1;
                    settled.failed.extend(large.token);
                }
            }
        }
        while self.monotonic.pop().is_some() {
            settled.lost += 1;
        }
        (self.replay, self.replaying) = (0, None);
        self.written = self.made;
        self.counts.lost += settled.lost;
        (self.counts.held_messages, self.counts.held_bytes) = (0, 0);
        settled.room.extend(self.waiting_room.drain(..));
        settled
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        Counts {
            superseded: self.monotonic.superseded(),
            ..self.counts
        }
    }
}
