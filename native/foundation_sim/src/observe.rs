//! What happened, and what must never happen.

use std::collections::BTreeMap;
use std::time::Duration;

use foundation_overlay::{Error, MemberEvent, Topology};

/// Something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A node delivered a broadcast that it had delivered, or its own.
    #[error("node {node} delivered broadcast {broadcast} twice, or its own")]
    Repeated {
        /// Which node.
        node: usize,
        /// Which broadcast.
        broadcast: usize,
    },
    /// A node delivered something that nobody broadcast.
    #[error("node {node} delivered what nobody broadcast")]
    Invented {
        /// Which node.
        node: usize,
    },
    /// A datagram was larger than allowed.
    #[error("node {node} sent a datagram of {size} bytes")]
    Oversized {
        /// Which node.
        node: usize,
        /// Its size.
        size: usize,
    },
    /// A node counted itself among the others.
    #[error("node {node} is a member to itself")]
    Myself {
        /// Which node.
        node: usize,
    },
    /// A member came up that was up, or went down that was not.
    #[error("node {node} saw {subject} {event} out of order")]
    Disorder {
        /// Which node.
        node: usize,
        /// Of whom.
        subject: usize,
        /// What it saw.
        event: &'static str,
    },
    /// Something that the scenario demands did not come true.
    #[error("{0}")]
    Expected(String),
}

/// One broadcast and who got it.
#[derive(Clone, Debug)]
pub struct Broadcast {
    /// Who sent it.
    pub origin: usize,
    /// When.
    pub sent: Duration,
    /// How many got it.
    pub count: usize,
    /// When the last of them did.
    pub last: Duration,
    /// When each got it, in the order they did.
    pub times: Vec<Duration>,
    got: Vec<u64>,
}

impl Broadcast {
    /// Whether this node got it.
    #[must_use]
    pub fn got(&self, at: usize) -> bool {
        self.got
            .get(at / 64)
            .is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn take(&mut self, at: usize) -> bool {
        if self.got.len() <= at / 64 {
            self.got.resize(at / 64 + 1, 0);
        }
        let fresh = !self.got(at);
        self.got[at / 64] |= 1 << (at % 64);
        fresh
    }
}

/// A node was declared gone by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detection {
    /// When.
    pub at: Duration,
    /// By whom.
    pub observer: usize,
    /// Who.
    pub subject: usize,
    /// How long the subject had been dead; `None` when it lives.
    pub after: Option<Duration>,
}

/// Everything seen in a run. Violations are found as they happen.
#[derive(Debug, Default)]
pub struct Observed {
    /// All broadcasts.
    pub broadcasts: Vec<Broadcast>,
    /// Members declared gone.
    pub detections: Vec<Detection>,
    /// Suspicions of living nodes.
    pub false_suspicions: u64,
    /// What must not happen and did.
    pub violations: Vec<Violation>,
    /// Inputs that the overlay refused, by reason.
    pub refused: BTreeMap<String, u64>,
    /// The topology each node is in, and whether it has settled.
    pub topologies: BTreeMap<usize, (Topology, bool, Duration)>,
    /// When nodes changed their topology.
    pub adopted: Vec<Duration>,
    known: Vec<BTreeMap<u32, u64>>,
    died: BTreeMap<usize, Duration>,
    born: Vec<Duration>,
}

/// Most violations kept; one is enough to fail.
const MOST: usize = 20;

impl Observed {
    /// How many members a node sees.
    #[must_use]
    pub fn known(&self, at: usize) -> usize {
        self.known[at].len()
    }

    /// When a node died.
    #[must_use]
    pub fn died_at(&self, at: usize) -> Option<Duration> {
        self.died.get(&at).copied()
    }

    /// Members declared gone that lived.
    #[must_use]
    pub fn false_positives(&self) -> usize {
        self.detections.iter().filter(|each| each.after.is_none()).count()
    }

    /// Notes that something demanded did not come true.
    pub fn expect(&mut self, true_: bool, what: impl FnOnce() -> String) {
        if !true_ {
            self.violate(Violation::Expected(what()));
        }
    }

    pub(crate) fn violate(&mut self, violation: Violation) {
        if self.violations.len() < MOST {
            self.violations.push(violation);
        }
    }

    pub(crate) fn add_node(&mut self, now: Duration) {
        self.known.push(BTreeMap::new());
        self.born.push(now);
    }

    pub(crate) fn died(&mut self, at: usize, now: Duration) {
        self.died.insert(at, now);
    }

    pub(crate) fn thawed(&mut self, at: usize) {
        self.died.remove(&at);
    }

    pub(crate) fn restarted(&mut self, at: usize, now: Duration) {
        self.died.remove(&at);
        self.known[at].clear();
        self.born[at] = now;
    }

    pub(crate) fn announce(&mut self, origin: usize, now: Duration) -> usize {
        let times = Vec::new();
        self.broadcasts.push(Broadcast {
            origin,
            sent: now,
            count: 0,
            last: now,
            times,
            got: Vec::new(),
        });
        self.broadcasts.len() - 1
    }

    pub(crate) fn deliver(&mut self, now: Duration, at: usize, number: usize) {
        let born = self.born[at];
        let Some(broadcast) = self.broadcasts.get_mut(number) else {
            return self.violate(Violation::Invented { node: at });
        };
        // A later life of the node knows nothing of what an earlier one delivered.
        let earlier = broadcast.sent < born;
        let fresh = broadcast.take(at);
        if fresh && at != broadcast.origin {
            broadcast.count += 1;
            broadcast.last = now;
            broadcast.times.push(now - broadcast.sent);
        } else if !earlier {
            self.violate(Violation::Repeated {
                node: at,
                broadcast: number,
            });
        }
    }

    pub(crate) fn member(
        &mut self,
        now: Duration,
        observer: usize,
        (subject, boot): (usize, u64),
        event: MemberEvent,
        living: bool,
    ) {
        if observer == subject {
            return self.violate(Violation::Myself { node: observer });
        }
        let known = &mut self.known[observer];
        let key = subject as u32;
        match event {
            MemberEvent::Up => {
                if known.insert(key, boot) == Some(boot) {
                    self.violate(Violation::Disorder {
                        node: observer,
                        subject,
                        event: "up",
                    });
                }
            }
            MemberEvent::Down { .. } | MemberEvent::Left => {
                if known.get(&key) != Some(&boot) {
                    self.violate(Violation::Disorder {
                        node: observer,
                        subject,
                        event: "down",
                    });
                } else {
                    known.remove(&key);
                    let died = self.died.get(&subject);
                    let after = if living {
                        None
                    } else {
                        Some(died.map_or(Duration::ZERO, |died| now - *died))
                    };
                    self.detections.push(Detection {
                        at: now,
                        observer,
                        subject,
                        after,
                    });
                }
            }
            MemberEvent::Suspect if living => self.false_suspicions += 1,
            MemberEvent::Suspect | MemberEvent::Alive | MemberEvent::Meta => {}
        }
    }

    pub(crate) fn topology(&mut self, now: Duration, at: usize, current: Topology, settled: bool) {
        if !settled {
            self.adopted.push(now);
        }
        self.topologies.insert(at, (current, settled, now));
    }

    pub(crate) fn refused(&mut self, error: &Error) {
        let reason = match error {
            Error::Malformed(what) => format!("malformed {what}"),
            other => other.to_string(),
        };
        *self.refused.entry(reason).or_default() += 1;
    }
}
