//! What carries messages: datagrams and links, and what they suffer on the way.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use foundation_overlay::{NodeId, Peer};

use super::{Event, Network, index, index_of};
use crate::links::Opened;
use crate::observe::Violation;

impl Network {
    pub(super) fn datagram(&mut self, at: usize, to: SocketAddr, bytes: Bytes) {
        self.traffic.datagrams += 1;
        self.traffic.datagram_bytes += bytes.len() as u64;
        if bytes.len() > self.config.max_datagram {
            self.observed.violate(Violation::Oversized {
                node: at,
                size: bytes.len(),
            });
        }
        let Some(to) = index_of(to).filter(|to| *to < self.nodes.len()) else {
            return;
        };
        if !self.passes(at, to) {
            return;
        }
        for delay in self.faults.datagram(&mut self.rng, at, to).into_iter().flatten() {
            let event = Event::Datagram {
                from: at as u32,
                bytes: bytes.clone(),
            };
            self.queue.push(self.now + delay, (to as u32, event));
        }
    }

    pub(super) fn frame(&mut self, at: usize, to: &NodeId, bytes: Bytes) {
        self.traffic.frames += 1;
        self.traffic.frame_bytes += bytes.len() as u64;
        let to = index(to);
        let Some(link) = self.links.current(at, to) else {
            return;
        };
        // What waits is not passed by what comes later.
        if !self.passes(at, to) || self.links.holds(at, to) {
            self.links.hold(at, to, bytes);
            self.watch(at, to);
        } else {
            self.deliver(at, to, link, bytes);
        }
    }

    /// Whether a message from one node to another gets through.
    fn passes(&self, from: usize, to: usize) -> bool {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        !to.vanished && !from.vanished && !self.faults.is_cut(from.group, to.group)
    }

    pub(super) fn deliver(&mut self, from: usize, to: usize, link: u64, bytes: Bytes) {
        let due = self.arrival(from, to);
        self.queue.push(
            due,
            (
                to as u32,
                Event::Frame {
                    from: from as u32,
                    link,
                    bytes,
                },
            ),
        );
    }

    /// When what is sent over a link now arrives.
    fn arrival(&mut self, from: usize, to: usize) -> Duration {
        let delay = self.faults.frame(&mut self.rng, from, to);
        self.links.in_order(from, to, self.now + delay)
    }

    /// Looks later whether the link lets something through again.
    pub(super) fn watch(&mut self, at: usize, peer: usize) {
        if let Some(link) = self.links.watch(at, peer) {
            let due = self.now + self.faults.link_timeout;
            self.queue.push(
                due,
                (
                    at as u32,
                    Event::Stalled {
                        peer: peer as u32,
                        link,
                    },
                ),
            );
        }
    }

    pub(super) fn give_up(&mut self, at: usize, peer: usize, link: u64) {
        if self.links.current(at, peer) != Some(link) {
            return;
        }
        if self.passes(at, peer) && self.passes(peer, at) {
            return self.links.unwatch(at, peer);
        }
        self.links.disagree(at, peer, link);
        for (node, other) in [(at, peer), (peer, at)] {
            self.queue.push(
                self.now,
                (
                    node as u32,
                    Event::Down {
                        peer: other as u32,
                        link,
                    },
                ),
            );
        }
    }

    pub(super) fn connect(&mut self, at: usize, peer: &Peer) {
        self.traffic.connects += 1;
        let to = index(&peer.id);
        let (boot, mine) = (peer.id.boot, self.nodes[at].boot);
        let failed = Event::Failed {
            peer: to as u32,
            boot,
        };
        let other = &self.nodes[to];
        if other.frozen || !self.passes(at, to) || !self.passes(to, at) {
            return self
                .queue
                .push(self.now + self.faults.link_timeout, (at as u32, failed));
        }
        // A handshake of three messages; both ends know of the link at its end.
        let trips: Duration = (0..3).map(|_| self.faults.frame(&mut self.rng, at, to)).sum();
        let due = self.now + trips;
        if !other.alive || other.boot != boot {
            return self.queue.push(due, (at as u32, failed));
        }
        let ids = [self.nodes[at].overlay.me().id.clone(), peer.id.clone()];
        let opened = self.links.open(at, to, ids);
        let (Opened::New(link) | Opened::Same(link)) = opened;
        self.queue.push(
            due,
            (
                at as u32,
                Event::Up {
                    peer: to as u32,
                    boot,
                    link,
                },
            ),
        );
        if let Opened::New(_) = opened {
            self.queue.push(
                due,
                (
                    to as u32,
                    Event::Up {
                        peer: at as u32,
                        boot: mine,
                        link,
                    },
                ),
            );
        }
    }

    pub(super) fn disconnect(&mut self, at: usize, id: &NodeId) {
        let peer = index(id);
        if self.links.is_to(at, id, peer) {
            self.close(at, peer);
        }
    }

    /// Closes one end; the other hears of it after what was sent before.
    fn close(&mut self, at: usize, peer: usize) {
        let due = self.arrival(at, peer);
        if let Some(link) = self.links.drop_end(at, peer)
            && self.passes(at, peer)
        {
            self.queue.push(
                due,
                (
                    peer as u32,
                    Event::Down {
                        peer: at as u32,
                        link,
                    },
                ),
            );
        } else if self.links.current(peer, at).is_some() {
            self.watch(peer, at);
        }
    }

    pub(super) fn close_all(&mut self, at: usize) {
        for peer in self.links.of(at) {
            self.close(at, peer as usize);
        }
    }
}
