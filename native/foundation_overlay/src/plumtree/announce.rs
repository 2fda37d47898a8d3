//! Telling others what is here, hearing what is there, and asking after a lost link.

use std::time::Duration;

use super::message::{Announced, Gossip, Held, MAX_IDS, Message, MessageId, Push};
use super::missing::Noted;
use super::neighbours::Note;
use super::{Effect, Plumtree, STREAK, Targets};
use crate::types::NodeId;

impl Plumtree {
    /// Tells a node what was kept lately.
    pub(super) fn tell(&mut self, now: Duration, peer: &NodeId, out: &mut Vec<Effect>) {
        self.retained.expire(now);
        let kept = self.retained.newest(self.config.tell_new);
        let notes = kept.map(|(id, kept)| (id.clone(), kept.round, kept.at)).collect();
        self.send_announcements(now, peer, notes, out);
    }

    /// Notes for the next batch whom to tell of a payload.
    pub(super) fn announce(&mut self, now: Duration, parent: Option<&NodeId>, gossip: &Gossip) {
        let most = self.config.announce_to;
        let skip = |peer: &NodeId| Some(peer) == parent || *peer == gossip.id.origin;
        let to: Targets = match gossip.push {
            Push::Flood | Push::Random { .. } => return,
            // All of them: a node may have nobody else to hear of it from.
            Push::Tree => self
                .neighbours
                .lazy()
                .filter(|peer| !skip(peer))
                .cloned()
                .collect(),
            Push::Direct | Push::Staged { .. } => self.neighbours.sample(&mut self.rng, most, skip),
        };
        let mut noted = false;
        for peer in &to {
            noted = true;
            self.neighbours.note(peer, (gossip.id.clone(), gossip.round, now));
        }
        if noted && self.flush_at.is_none() {
            self.flush_at = Some(now + self.config.announce_every);
        }
    }

    pub(super) fn flush(&mut self, now: Duration, out: &mut Vec<Effect>) {
        self.flush_at = None;
        for (peer, notes) in self.neighbours.take_notes() {
            self.send_announcements(now, &peer, notes, out);
        }
    }

    pub(super) fn send_announcements(
        &mut self,
        now: Duration,
        to: &NodeId,
        mut notes: Vec<Note>,
        out: &mut Vec<Effect>,
    ) {
        notes.sort_unstable();
        for batch in notes.chunks(MAX_IDS) {
            let mut all: Vec<Announced> = Vec::new();
            for (id, round, at) in batch {
                let age = now.saturating_sub(*at).as_micros().div_ceil(1000);
                let held = Held {
                    seq: id.seq,
                    round: *round,
                    age_ms: u32::try_from(age).unwrap_or(u32::MAX),
                };
                match all.last_mut() {
                    Some(last) if last.origin == id.origin => last.messages.push(held),
                    _ => all.push(Announced {
                        origin: id.origin.clone(),
                        messages: vec![held],
                    }),
                }
            }
            self.send(to, Message::Have(all), out);
        }
    }

    pub(super) fn have(
        &mut self,
        now: Duration,
        from: &NodeId,
        announced: Vec<Announced>,
        out: &mut Vec<Effect>,
    ) {
        let uptime = self
            .started
            .map_or(Duration::ZERO, |started| now.saturating_sub(started));
        for Announced { origin, messages } in announced {
            if origin == self.me {
                continue;
            }
            for Held { seq, round, age_ms } in messages {
                // What was broadcast before this node began would be news to it, and old to everyone else.
                if Duration::from_millis(u64::from(age_ms)) > uptime && !self.seen.knows(&origin) {
                    continue;
                }
                let id = MessageId {
                    origin: origin.clone(),
                    seq,
                };
                if self.seen.contains(&id.origin, seq) {
                    self.shorten(now, from, &id, round, out);
                } else if self.missing.announce(now, &id, from) == Noted::Full {
                    self.stats.overflow += 1;
                }
            }
        }
    }

    /// Exchanges the link a payload came by for the one it was announced by, when that is much nearer to the origin.
    pub(super) fn shorten(
        &mut self,
        now: Duration,
        from: &NodeId,
        id: &MessageId,
        round: u16,
        out: &mut Vec<Effect>,
    ) {
        let Some(kept) = self.retained.get(id) else { return };
        let here = round.saturating_add(1);
        // A way that is shorter for one origin is longer for another: with several, links would be exchanged forever.
        let one_origin = self.streak.1 >= STREAK && self.streak.0.as_ref() == Some(&id.origin);
        if self.config.shorter_by == 0
            || !one_origin
            || kept.push != Push::Tree
            || kept.round < here.saturating_add(self.config.shorter_by)
            || self.neighbours.is_eager(from)
        {
            return;
        }
        let parent = kept.parent.clone();
        if !self.neighbours.may_shorten(now, from) {
            return;
        }
        self.stats.shortened += 1;
        self.neighbours.make_eager(from);
        self.send(from, Message::Graft(Vec::new()), out);
        if let Some(parent) = parent.filter(|parent| self.neighbours.is_eager(parent)) {
            self.neighbours.make_lazy(&parent);
            self.send(&parent, Message::Prune, out);
        }
    }

    /// Asks some neighbours what they have, when it is time after a lost link.
    pub(super) fn ask(&mut self, now: Duration, out: &mut Vec<Effect>) {
        let due = self.ask_at.iter().flatten().any(|at| *at <= now);
        if due {
            self.ask_at = self.ask_at.map(|at| at.filter(|at| *at > now));
            for peer in self.neighbours.sample(&mut self.rng, self.config.ask, |_| false) {
                self.send(&peer, Message::Ask, out);
            }
        }
    }
}
