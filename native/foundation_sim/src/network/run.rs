//! What happens next, and what the nodes make of it.

use std::time::Duration;

use foundation_overlay::{Effect, Input};

use super::{Event, Network, address, identity, index};
use crate::hasher::spread;

impl Network {
    /// Runs for this long.
    pub fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while let Some((at, (node, event))) = self.queue.pop(until) {
            self.now = at;
            self.step(node as usize, event);
        }
        self.now = until;
    }

    /// Runs until the condition holds, looking each `look`; the time it took, or `None` after `limit`.
    pub fn run_until(
        &mut self,
        limit: Duration,
        look: Duration,
        mut done: impl FnMut(&mut Self) -> bool,
    ) -> Option<Duration> {
        let start = self.now;
        while !done(self) {
            if self.now - start >= limit {
                return None;
            }
            self.run(look);
        }
        Some(self.now - start)
    }

    fn step(&mut self, at: usize, event: Event) {
        if let Event::Stalled { peer, link } = event {
            return self.give_up(at, peer as usize, link);
        }
        let node = &mut self.nodes[at];
        if !node.alive {
            return;
        }
        if node.frozen {
            return node.parked.push(event);
        }
        if let Some(wakes) = node.handicap.wakes(self.now, at) {
            return self.queue.push(wakes, (at as u32, event));
        }
        self.traffic.events += 1;
        self.handle(at, event);
    }

    fn handle(&mut self, at: usize, event: Event) {
        match event {
            Event::Datagram { from, bytes } => {
                self.mix(at, 1, u64::from(from), &bytes);
                self.input(
                    at,
                    Input::Datagram {
                        from: address(from as usize),
                        bytes: &bytes,
                    },
                );
            }
            Event::Frame { from, link, bytes } => {
                if let Some(from) = self.links.sender(at, from as usize, link).cloned() {
                    self.mix(at, 2, link, &bytes);
                    self.input(
                        at,
                        Input::Frame {
                            from: &from,
                            bytes: &bytes,
                        },
                    );
                }
            }
            Event::Up { peer, boot, link } => {
                self.mix(at, 3, link, &[]);
                let Some(arrival) = self.links.arrive(at, peer as usize, link) else {
                    self.input(at, Input::LinkDown(identity(peer as usize, boot)));
                    return;
                };
                if let Some(old) = arrival.replaced {
                    self.input(at, Input::LinkDown(old));
                }
                self.input(at, Input::LinkUp(arrival.peer));
            }
            Event::Down { peer, link } => {
                if let Some(id) = self.links.close(at, peer as usize, link) {
                    self.mix(at, 4, link, &[]);
                    self.input(at, Input::LinkDown(id));
                }
            }
            Event::Failed { peer, boot } => {
                self.mix(at, 6, u64::from(peer), &[]);
                self.input(at, Input::LinkDown(identity(peer as usize, boot)));
            }
            Event::Timer { timer, boot } if boot == self.nodes[at].boot => {
                self.mix(at, 5, 0, &[]);
                self.input(at, Input::Timer(timer));
            }
            Event::Timer { .. } | Event::Stalled { .. } => {}
        }
    }

    pub(super) fn input(&mut self, at: usize, input: Input<'_>) -> bool {
        let mut out = std::mem::take(&mut self.out);
        let node = &mut self.nodes[at];
        let local = node.handicap.local(self.now);
        let accepted = match node.overlay.handle(local, input, &mut out) {
            Ok(()) => true,
            Err(error) => {
                self.observed.refused(&error);
                false
            }
        };
        for effect in out.drain(..) {
            self.perform(at, effect);
        }
        self.out = out;
        accepted
    }

    fn perform(&mut self, at: usize, effect: Effect) {
        match effect {
            Effect::Datagram { to, bytes } => self.datagram(at, to, bytes),
            Effect::Frame { to, bytes } => self.frame(at, &to, bytes),
            Effect::Connect(peer) => self.connect(at, &peer),
            Effect::Disconnect(id) => self.disconnect(at, &id),
            Effect::Timer { timer, after } => {
                let node = &self.nodes[at];
                let (due, boot) = (self.now + node.handicap.real(after), node.boot);
                self.queue.push(due, (at as u32, Event::Timer { timer, boot }));
            }
            Effect::Member(event, peer) => {
                let subject = index(&peer.id);
                let living = self
                    .nodes
                    .get(subject)
                    .is_some_and(|node| node.alive && !node.frozen && node.boot == peer.id.boot);
                let subject = (subject, peer.id.boot);
                self.observed.member(self.now, at, subject, event, living);
            }
            Effect::Goodbye(_) => {}
            Effect::Deliver { payload, .. } => {
                let number = payload
                    .first_chunk::<8>()
                    .map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
                self.observed.deliver(self.now, at, number as usize);
            }
            Effect::Topology { current, settled, .. } => {
                self.observed.topology(self.now, at, current, settled)
            }
        }
    }

    /// Adds an event to the hash of the run.
    fn mix(&mut self, at: usize, kind: u64, what: u64, bytes: &[u8]) {
        let mut hash = self.hash ^ self.now.as_nanos() as u64;
        for word in [at as u64, kind, what] {
            hash = spread(hash ^ word);
        }
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            hash = spread(hash ^ u64::from_le_bytes(word));
        }
        self.hash = hash;
    }
}
