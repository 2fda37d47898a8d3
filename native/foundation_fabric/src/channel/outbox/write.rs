//! From the queue to the link: which frames are next.

use super::{Body, Frame, Outbox, Sent, Settled};
use crate::channel::batch::{batch_frame, chunk_frame};
use crate::chunk::Large;
use crate::frame::URGENT;
use bytes::Bytes;

/// Microseconds between two frames whose way is measured.
const PROBE: u64 = 20_000;

impl Outbox {
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
}
