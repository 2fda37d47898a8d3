//! Reservations: what was taken, and how it is settled.
//!
//! A refund may give back only what still counts. A sliding window knows: the sub-window it was counted in. A bucket
//! leaks its oldest contents first, so of a reservation that filled it up to a level, what is above the amount
//! leaked since is still in it; returns of earlier reservations have lowered that level, and are remembered until
//! the reservations they concern are settled. By this rule no sequence of reservations and refunds lets more through
//! any window than the bucket would have admitted had the refunded part never been asked for.

use crate::definition::{Algorithm, Dimension};
use crate::error::LimitError;
use crate::node::{Extra, Level, Mark, Node, Returned};
use parking_lot::Mutex;
use std::sync::Weak;

/// Most remembered returns of a key; beyond, two neighbours become one.
const MAX_RETURNED: usize = 256;

/// Something taken for a while; settled once, by commit, refund or expiry.
pub struct Reservation {
    pub(crate) held: Mutex<Option<Held>>,
    pub(crate) expires: (u64, u64),
}

pub(crate) struct Held {
    pub(crate) levels: Vec<Level>,
    pub(crate) since: u64,
}

impl Reservation {
    /// Whether it is not settled yet.
    pub fn is_open(&self) -> bool {
        self.held.lock().is_some()
    }

    /// When it expires, in microseconds of the table's clock.
    pub fn expires_at(&self) -> u64 {
        self.expires.0
    }
}

impl Held {
    /// Whether `actual` names only dimensions that some level has, and no negative amount.
    pub(crate) fn check(&self, actual: &[(u64, i128)]) -> Result<(), LimitError> {
        for &(name, cost) in actual {
            if cost < 0 {
                return Err(LimitError::InvalidCost(name));
            }
            let known = self.levels.iter().any(|level| {
                level.marks.iter().any(|mark| mark.dimension.name == name)
                    || level.node.state.lock().definition.position(name).is_some()
            });
            if !known {
                return Err(LimitError::UnknownDimension(name));
            }
        }
        Ok(())
    }

    /// Gives everything back, or with `actual` the difference to it. Answers the keys to try again.
    pub(crate) fn settle(&self, actual: Option<&[(u64, i128)]>, now: u64) -> Vec<Weak<Node>> {
        self.levels
            .iter()
            .flat_map(|level| settle_level(level, actual, self.since, now))
            .collect()
    }
}

fn settle_level(level: &Level, actual: Option<&[(u64, i128)]>, since: u64, now: u64) -> Vec<Weak<Node>> {
    let mut guard = level.node.state.lock();
    let state = &mut *guard;
    let definition = state.definition.clone();
    let cells = state.cells.get();
    let extra = state.extra.get_or_insert_default();
    for mark in &level.marks {
        let Some(at) = definition.position(mark.dimension.name) else {
            continue;
        };
        let (d, cell) = (&definition.dimensions[at], &mut cells[at]);
        if mark.dimension.algorithm == Algorithm::Gate {
            cell.release_gate(mark.cost, now.saturating_sub(since));
            continue;
        }
        let charged = match actual {
            None => 0,
            Some(actual) => amount_of(actual, d.name).unwrap_or(mark.cost),
        };
        if charged > mark.cost {
            cell.take(d, charged - mark.cost, now);
        } else if charged < mark.cost {
            let moved = GiveBack {
                level,
                mark,
                since,
                now,
                amount: mark.cost - charged,
            };
            moved.to(d, cell, extra);
        }
    }
    for &(name, cost) in actual.unwrap_or_default() {
        let unmarked = !level.marks.iter().any(|mark| mark.dimension.name == name);
        if let Some(at) = definition.position(name).filter(|_| unmarked) {
            let d = &definition.dimensions[at];
            if d.algorithm != Algorithm::Gate {
                cells[at].take(d, cost, now);
            }
        }
    }
    extra.holds = extra.holds.saturating_sub(1);
    if extra.holds == 0 {
        extra.returned.clear();
    }
    state.used_at = (now / 1_000_000) as u32;
    let blocked = state.unblock();
    state.tidy(now);
    blocked
}

fn amount_of(costs: &[(u64, i128)], name: u64) -> Option<i128> {
    costs.iter().find(|(n, _)| *n == name).map(|(_, cost)| *cost)
}

struct GiveBack<'a> {
    level: &'a Level,
    mark: &'a Mark,
    since: u64,
    now: u64,
    amount: i128,
}

impl GiveBack<'_> {
    fn to(&self, d: &Dimension, cell: &mut crate::cell::Cell, extra: &mut Extra) {
        let age = extra.epoch.saturating_sub(self.level.epoch);
        match (self.mark.dimension.algorithm, d.algorithm) {
            (Algorithm::Bucket, Algorithm::Bucket) if age == 0 => {
                let earlier: i128 = extra
                    .returned
                    .iter()
                    .filter(|r| r.name == d.name && r.of < self.level.seq && r.at > self.level.seq)
                    .map(|r| r.scaled)
                    .sum();
                let still_in = self.mark.place - earlier - i128::from(self.now) * d.leak;
                let scaled = cell.lower_bucket(d, still_in.min(self.amount * d.scale), self.now);
                if scaled > 0 && extra.holds > 1 {
                    extra.remember(Returned {
                        name: d.name,
                        of: self.level.seq,
                        at: 0,
                        scaled,
                    });
                }
            }
            (Algorithm::Sliding(_), Algorithm::Sliding(_)) if age == 0 => {
                let slot = u64::try_from(self.mark.place).unwrap_or(0);
                cell.lower_sliding(d, slot, self.amount, self.now);
            }
            (Algorithm::Quota, Algorithm::Quota) => {
                if let crate::cell::Cell::Quota(quota) = cell {
                    quota.lower(self.mark.place, self.amount);
                }
            }
            // The limits changed once while this was out: back goes what neither the old rate nor the new one can
            // have let go since. After several changes nothing is known for sure, and nothing goes back.
            (_, Algorithm::Bucket) if age == 1 => {
                let still_in = self.still_in_after_change(d);
                cell.lower_bucket(d, still_in.min(self.amount) * d.scale, self.now);
            }
            (_, Algorithm::Sliding(_)) if age == 1 => {
                let still_in = self.still_in_after_change(d).clamp(0, self.amount);
                if let crate::cell::Cell::Sliding(ring) = cell {
                    let origin = ring.origin;
                    cell.lower_sliding(d, origin, still_in, self.now);
                }
            }
            _ => {}
        }
    }

    /// In billionths, rounded down: as if the reservation had been first to leak, at the faster of both rates.
    fn still_in_after_change(&self, after: &Dimension) -> i128 {
        let out = self.now.saturating_sub(self.since);
        let before = &self.mark.dimension;
        if out >= before.per.min(after.per) {
            return 0;
        }
        let leaked = |d: &Dimension| (i128::from(out) * d.leak + d.scale - 1) / d.scale;
        (self.mark.cost - leaked(before).max(leaked(after))).max(0)
    }
}

impl Extra {
    fn remember(&mut self, mut returned: Returned) {
        self.tick += 1;
        returned.at = self.tick;
        let at = self.returned.partition_point(|r| r.of < returned.of);
        self.returned.insert(at, returned);
        if self.returned.len() > MAX_RETURNED {
            self.merge();
        }
    }

    /// Makes one of the two neighbours of the least sum. The result counts as the earlier reservation's, returned at
    /// the later time: whoever it concerns gets less back, never more.
    fn merge(&mut self) {
        let least = (1..self.returned.len())
            .filter(|&i| self.returned[i - 1].name == self.returned[i].name)
            .min_by_key(|&i| self.returned[i - 1].scaled + self.returned[i].scaled);
        if let Some(i) = least {
            let later = self.returned.remove(i);
            let earlier = &mut self.returned[i - 1];
            earlier.scaled += later.scaled;
            earlier.at = earlier.at.max(later.at);
        }
    }
}
