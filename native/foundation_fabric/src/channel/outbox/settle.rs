//! What acknowledgements, refusals and the end of a link mean for those who wait.

use super::{Body, Outbox, Sent, Settled};
use crate::chunk::Item;
use crate::frame::Grant;

impl Outbox {
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

    pub(super) fn free(&mut self, settled: &mut Settled) {
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
}
