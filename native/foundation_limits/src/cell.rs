//! The state of one dimension of one key. Time is microseconds, amounts are billionths, all arithmetic is exact.
//!
//! A bucket keeps one number, the point on its own time line at which it is full again: the line runs `leak` a
//! microsecond and a cost of `c` moves the point by `c × scale`, with `leak / scale` = limit / window in lowest
//! terms, so there is no rounding to drift. A sliding window counts `n + 1` sub-windows of at least a nth of
//! the window each, so that every moment of the last window is in it: what is counted leaves up to one sub-window late,
//! and never early.

use crate::definition::{Algorithm, Dimension};
use crate::quota::Quota;

/// How long a cost has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    Now,
    /// So many microseconds.
    For(u64),
    /// Until a reservation is settled; the estimate in microseconds.
    Release(u64),
    Never,
}

impl Wait {
    /// Until `over`, in scaled billionths, has leaked from the bucket `d`.
    #[inline]
    pub(crate) fn until_leaked(over: i128, d: &Dimension) -> Self {
        if over <= 0 {
            Self::Now
        } else if d.leak == 0 {
            Self::Never
        } else {
            Self::For(clamp((over + d.leak - 1) / d.leak))
        }
    }
}

/// 120 bits, so that a cell with its tag takes 16 bytes. What lies beyond (21 years of the steepest rate there can
/// be) stays at the end of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wide([u8; 15]);

impl Wide {
    const MOST: i128 = (1 << 119) - 1;

    #[inline]
    pub(crate) fn new(value: i128) -> Self {
        let value = value.clamp(-Self::MOST, Self::MOST);
        let mut bytes = [0; 15];
        bytes[..8].copy_from_slice(&(value as u64).to_le_bytes());
        bytes[7..].copy_from_slice(&((value >> 56) as u64).to_le_bytes());
        Self(bytes)
    }

    #[inline]
    pub(crate) fn get(self) -> i128 {
        // Two words that overlap in a byte, straight from where they are: put together in memory first, they would be
        // read before they are all written, and wait for that.
        let (mut low, mut high) = ([0; 8], [0; 8]);
        low.copy_from_slice(&self.0[..8]);
        high.copy_from_slice(&self.0[7..]);
        i128::from(i64::from_le_bytes(high) >> 8) << 64 | i128::from(u64::from_le_bytes(low))
    }
}

#[derive(Debug)]
pub(crate) enum Cell {
    Bucket { full_at: Wide },
    Sliding(Box<Ring>),
    Gate { used: i64, mean_hold_us: u32 },
    Quota(Box<Quota>),
}

/// The sub-windows; slot `k` of time is kept at `k % len`.
#[derive(Debug)]
pub(crate) struct Ring {
    newest: u64,
    /// The slot in which the ring was made, with what had been used before in it.
    pub(crate) origin: u64,
    sum: i128,
    slots: Box<[i128]>,
}

impl Ring {
    fn advance(&mut self, to: u64) {
        if to <= self.newest {
            return;
        }
        let len = self.slots.len() as u64;
        if to - self.newest >= len {
            self.slots.fill(0);
            self.sum = 0;
        } else {
            for k in self.newest + 1..=to {
                let slot = &mut self.slots[(k % len) as usize];
                self.sum -= std::mem::take(slot);
            }
        }
        self.newest = to;
    }

    fn holds(&self, slot: u64) -> bool {
        slot <= self.newest && self.newest - slot < self.slots.len() as u64
    }

    fn at(&mut self, slot: u64) -> &mut i128 {
        let len = self.slots.len() as u64;
        &mut self.slots[(slot % len) as usize]
    }
}

impl Cell {
    pub(crate) fn new(dimension: &Dimension, now: u64) -> Self {
        match dimension.algorithm {
            Algorithm::Bucket => Self::Bucket {
                full_at: Wide::new(0),
            },
            Algorithm::Gate => Self::Gate {
                used: 0,
                mean_hold_us: 0,
            },
            Algorithm::Quota => Self::Quota(Box::default()),
            Algorithm::Sliding(slots) => {
                let newest = now / dimension.slot;
                let slots = vec![0; usize::from(slots) + 1].into();
                Self::Sliding(Box::new(Ring {
                    newest,
                    origin: newest,
                    sum: 0,
                    slots,
                }))
            }
        }
    }

    /// How long `cost` would have to wait now.
    #[inline]
    pub(crate) fn wait(&mut self, d: &Dimension, cost: i128, now: u64) -> Wait {
        if cost == 0 {
            return Wait::Now;
        }
        if cost > d.capacity {
            return Wait::Never;
        }
        match self {
            Self::Bucket { full_at } => {
                let level = full_at.get() - i128::from(now) * d.leak;
                Wait::until_leaked(level.max(0) + (cost - d.capacity) * d.scale, d)
            }
            Self::Sliding(ring) => {
                ring.advance(now / d.slot);
                sliding_wait(ring, d, cost, now)
            }
            Self::Gate { used, mean_hold_us } => {
                if i128::from(*used) + cost <= d.limit {
                    Wait::Now
                } else {
                    let at_a_time = u64::try_from(d.limit / crate::amount::UNIT).unwrap_or(1).max(1);
                    Wait::Release((u64::from(*mean_hold_us) / at_a_time).max(1_000))
                }
            }
            Self::Quota(quota) => quota.wait(cost, now),
        }
    }

    /// Takes `cost`, whether or not there is room. Answers the mark by which it can be given back.
    #[inline]
    pub(crate) fn take(&mut self, d: &Dimension, cost: i128, now: u64) -> i128 {
        match self {
            Self::Bucket { full_at } => {
                let start = full_at.get().max(i128::from(now) * d.leak);
                let mark = start.saturating_add(cost * d.scale);
                *full_at = Wide::new(mark);
                mark
            }
            Self::Sliding(ring) => {
                let slot = now / d.slot;
                ring.advance(slot);
                let newest = ring.newest;
                *ring.at(newest) += cost;
                ring.sum += cost;
                i128::from(newest)
            }
            Self::Gate { used, .. } => {
                *used = used.saturating_add(i64::try_from(cost).unwrap_or(i64::MAX));
                0
            }
            Self::Quota(quota) => quota.take(cost),
        }
    }

    /// Takes `amount` (already scaled) off a bucket, at most what is in it. Answers what was taken off.
    pub(crate) fn lower_bucket(&mut self, d: &Dimension, scaled: i128, now: u64) -> i128 {
        let Self::Bucket { full_at } = self else { return 0 };
        let level = (full_at.get() - i128::from(now) * d.leak).max(0);
        let off = scaled.clamp(0, level);
        *full_at = Wide::new(full_at.get() - off);
        off
    }

    /// Takes `cost` out of the sub-window it was counted in, unless that one has left.
    pub(crate) fn lower_sliding(&mut self, d: &Dimension, slot: u64, cost: i128, now: u64) {
        let Self::Sliding(ring) = self else { return };
        ring.advance(now / d.slot);
        if ring.holds(slot) {
            let off = cost.min(*ring.at(slot));
            *ring.at(slot) -= off;
            ring.sum -= off;
        }
    }

    /// Ends a hold of a gate that lasted `held_us`.
    pub(crate) fn release_gate(&mut self, cost: i128, held_us: u64) {
        let Self::Gate { used, mean_hold_us } = self else {
            return;
        };
        *used = used
            .saturating_sub(i64::try_from(cost).unwrap_or(i64::MAX))
            .max(0);
        let held = u32::try_from(held_us).unwrap_or(u32::MAX);
        *mean_hold_us = if *mean_hold_us == 0 {
            held
        } else {
            ((u64::from(*mean_hold_us) * 7 + u64::from(held)) / 8) as u32
        };
    }

    /// What is used now, in billionths, rounded up.
    pub(crate) fn used(&mut self, d: &Dimension, now: u64) -> i128 {
        match self {
            Self::Bucket { full_at } => {
                let level = (full_at.get() - i128::from(now) * d.leak).max(0);
                (level + d.scale - 1) / d.scale
            }
            Self::Sliding(ring) => {
                ring.advance(now / d.slot);
                ring.sum
            }
            Self::Gate { used, .. } => i128::from(*used),
            Self::Quota(quota) => d.capacity - quota.left(now),
        }
    }

    /// How long until all is free again, in microseconds, if nobody takes any; 0 for a gate and a quota.
    pub(crate) fn full_in(&mut self, d: &Dimension, now: u64) -> u64 {
        match self {
            Self::Bucket { full_at } => {
                let level = (full_at.get() - i128::from(now) * d.leak).max(0);
                if level == 0 || d.leak == 0 {
                    0
                } else {
                    clamp((level + d.leak - 1) / d.leak)
                }
            }
            Self::Sliding(ring) => {
                ring.advance(now / d.slot);
                (0..ring.slots.len() as u64)
                    .map_while(|back| ring.newest.checked_sub(back))
                    .find(|slot| ring.slots[(slot % ring.slots.len() as u64) as usize] > 0)
                    .map_or(0, |slot| leaves_in(ring, d, slot, now))
            }
            Self::Gate { .. } | Self::Quota(_) => 0,
        }
    }
}

fn sliding_wait(ring: &Ring, d: &Dimension, cost: i128, now: u64) -> Wait {
    let mut over = ring.sum + cost - d.limit;
    if over <= 0 {
        return Wait::Now;
    }
    let len = ring.slots.len() as u64;
    for back in (0..len).rev() {
        let Some(slot) = ring.newest.checked_sub(back) else {
            continue;
        };
        over -= ring.slots[(slot % len) as usize];
        if over <= 0 {
            return Wait::For(leaves_in(ring, d, slot, now));
        }
    }
    Wait::Never
}

/// Microseconds until `slot` is counted no more.
fn leaves_in(ring: &Ring, d: &Dimension, slot: u64, now: u64) -> u64 {
    ((slot + ring.slots.len() as u64) * d.slot)
        .saturating_sub(now)
        .max(1)
}

fn clamp(us: i128) -> u64 {
    u64::try_from(us).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_small_and_hold_what_they_should() {
        assert_eq!(std::mem::size_of::<Cell>(), 16);
        for value in [
            0,
            1,
            -1,
            1 << 64,
            -(1 << 64),
            10_i128.pow(35),
            Wide::MOST,
            -Wide::MOST,
        ] {
            assert_eq!(Wide::new(value).get(), value);
        }
        assert_eq!(Wide::new(i128::MAX).get(), Wide::MOST);
    }
}
