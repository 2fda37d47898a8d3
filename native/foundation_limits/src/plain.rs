//! Plain keys: one bucket, no parent, no reservation, waiter or pause, and a short name.
//!
//! Most keys are like that, so they get a form of their own: the state is one atomic word that an acquire changes by
//! compare-and-swap, in a table of such words ([`crate::flat`]). All numbers are those of [`crate::cell`] divided by a
//! unit that divides every one of them, so both forms decide alike to the last billionth; what does not divide, or does
//! not fit the word, is left to the general form, which the table turns a plain key into when it has to.

use crate::amount::UNIT;
use crate::cell::{Cell, Wait, Wide};
use crate::definition::{Algorithm, Definition, Dimension};
use crate::error::{LimitError, Limited};
use crate::flat::Loose;
use crate::hot::MOVED;
use crate::node::{Cells, State};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Longest key that [`crate::Limits::acquire_plain`] knows, in bytes.
pub const MAX_KEY: usize = 42;
/// The end of the time line; the sum of a point below it and a capacity fits a word.
const END: u64 = 1 << 63;
/// The fastest leak, at which the time line lasts a hundred days.
const MAX_LEAK: i128 = 1 << 20;
/// A leak at which it lasts five years. The unit is made no finer than that.
const LONG_LEAK: i128 = 1 << 16;
const MAX_CAPACITY: i128 = 1 << 62;

/// The one bucket of a definition, in units.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Rate {
    name: u64,
    /// In a microsecond.
    leak: u64,
    capacity: u64,
    /// A cost of `divisor` billionths is one of `factor` units.
    divisor: u64,
    factor: u64,
    unit: i128,
    /// The largest cost, in billionths.
    most: i128,
    /// What the most usual cost, one of the user's, is in units; 0 when it is above what the bucket holds.
    one: u64,
}

impl Rate {
    /// `None` when there is more than one bucket to it, or the numbers do not fit.
    pub(crate) fn new(dimensions: &[Dimension]) -> Option<Self> {
        let [d] = dimensions else { return None };
        // Without a leak there is no telling when a key was used.
        if d.algorithm != Algorithm::Bucket || d.leak == 0 {
            return None;
        }
        let whole = d.capacity * d.scale;
        let mut unit = crate::definition::gcd(d.leak, UNIT * d.scale);
        while unit % 10 == 0 && d.leak / (unit / 10) <= LONG_LEAK && whole / (unit / 10) <= MAX_CAPACITY {
            unit /= 10;
        }
        if d.leak / unit > MAX_LEAK || whole / unit > MAX_CAPACITY {
            return None;
        }
        let common = crate::definition::gcd(d.scale, unit);
        Some(Self {
            name: d.name,
            leak: u64::try_from(d.leak / unit).ok()?,
            capacity: u64::try_from(whole / unit).ok()?,
            divisor: u64::try_from(unit / common).ok()?,
            factor: u64::try_from(d.scale / common).ok()?,
            unit,
            most: d.capacity,
            one: if d.capacity >= UNIT {
                u64::try_from(UNIT * d.scale / unit).ok()?
            } else {
                0
            },
        })
    }

    /// `cost` in units; `None` when it is no whole number of them or above what the bucket holds.
    #[inline]
    fn units(&self, cost: i128) -> Option<u64> {
        if cost == UNIT && self.one > 0 {
            return Some(self.one);
        }
        if cost > self.most {
            return None;
        }
        let cost = u64::try_from(cost).ok()?;
        if self.divisor == 1 {
            return cost.checked_mul(self.factor);
        }
        (cost % self.divisor == 0)
            .then(|| cost / self.divisor)?
            .checked_mul(self.factor)
    }

    /// The present on the time line of the bucket, `None` beyond its end.
    #[inline]
    fn present(&self, now: u64) -> Option<u64> {
        now.checked_mul(self.leak).filter(|point| *point < END)
    }
}

/// What a plain key says to a demand.
pub(crate) enum Said {
    Granted,
    Denied(LimitError),
    /// Only the general form can tell.
    Unsuited,
    /// The key is not in that place any more.
    Moved,
}

/// A plain key in its place.
#[derive(Clone, Copy)]
pub(crate) struct Plain<'a> {
    /// In units of its rate.
    pub(crate) full_at: &'a AtomicU64,
    pub(crate) definition: &'a Arc<Definition>,
    /// As much of the bytes as the first says.
    pub(crate) key: (&'a u8, &'a [u8; MAX_KEY]),
    pub(crate) patterned: &'a bool,
}

/// The plain form of `state`; `None` when it has none now.
pub(crate) fn pack(key: &[u8], state: &State, now: u64) -> Option<Loose> {
    Some(Loose {
        full_at: place(key, state, now)?,
        definition: state.definition.clone(),
        patterned: state.patterned,
    })
}

/// The general form.
pub(crate) fn unpack(loose: Loose) -> State {
    let (unit, leak) = match &loose.definition.rate {
        Some(rate) => (rate.unit, rate.leak),
        None => (1, 1),
    };
    State {
        used_at: (loose.full_at / leak / 1_000_000) as u32,
        patterned: loose.patterned,
        definition: loose.definition,
        parent: None,
        cells: Cells::One(Cell::Bucket {
            full_at: Wide::new(i128::from(loose.full_at) * unit),
        }),
        extra: None,
    }
}

impl Plain<'_> {
    pub(crate) fn key(&self) -> &[u8] {
        let (len, bytes) = self.key;
        &bytes[..usize::from(*len)]
    }

    /// The general form of what the key is now.
    pub(crate) fn state(&self) -> State {
        unpack(Loose {
            full_at: self.full_at.load(Ordering::Acquire),
            definition: self.definition.clone(),
            patterned: *self.patterned,
        })
    }

    /// Takes `costs`, or nothing. Lock-free.
    #[inline]
    pub(crate) fn acquire(&self, costs: &[(u64, i128)], now: u64) -> Said {
        let (Some(rate), &[(name, cost)]) = (&self.definition.rate, costs) else {
            return Said::Unsuited;
        };
        let (true, Some(units), Some(present)) = (name == rate.name, rate.units(cost), rate.present(now))
        else {
            return self.refuse(rate, name, cost);
        };
        let mut full_at = self.full_at.load(Ordering::Relaxed);
        loop {
            if full_at == MOVED {
                return Said::Moved;
            }
            let after = full_at.max(present) + units;
            if units > 0 && after - present > rate.capacity {
                return self.deny(rate, after - present);
            }
            match self
                .full_at
                .compare_exchange_weak(full_at, after, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(moved) => full_at = moved,
            }
        }
        Said::Granted
    }

    #[cold]
    fn refuse(&self, rate: &Rate, name: u64, cost: i128) -> Said {
        if cost < 0 {
            Said::Denied(LimitError::InvalidCost(name))
        } else if name != rate.name {
            Said::Denied(LimitError::UnknownDimension(name))
        } else if cost > rate.most {
            Said::Denied(LimitError::Never(name))
        } else {
            Said::Unsuited
        }
    }

    /// The bucket would hold `level`, which is above what it may.
    #[cold]
    fn deny(&self, rate: &Rate, level: u64) -> Said {
        let d = &self.definition.dimensions[0];
        let over = i128::from(level) * rate.unit - d.capacity * d.scale;
        match Wait::until_leaked(over, d) {
            Wait::For(wait_us) => Said::Denied(LimitError::Limited(Limited {
                dimension: rate.name,
                key: self.key().into(),
                wait_us,
            })),
            _ => Said::Denied(LimitError::Never(rate.name)),
        }
    }

    /// Made from a pattern, and all free for as long as its definition says. Whoever takes anything, or nothing, of a
    /// full bucket moves the time at which it was full last; so nobody did in that time.
    pub(crate) fn idle(&self, now: u64) -> bool {
        let full_at = self.full_at.load(Ordering::Acquire);
        let rate = self.definition.rate.as_ref();
        *self.patterned
            && rate.is_some_and(|rate| match rate.present(now) {
                Some(present) => {
                    let idle = self.definition.idle_us.saturating_mul(rate.leak);
                    full_at <= present && present - full_at >= idle
                }
                None => false,
            })
    }
}

/// Where the bucket of `state` is full again, in units, if the plain form can say it.
fn place(key: &[u8], state: &State, now: u64) -> Option<u64> {
    let rate = state.definition.rate.as_ref()?;
    let Cells::One(Cell::Bucket { full_at }) = &state.cells else {
        return None;
    };
    if key.len() > MAX_KEY || state.parent.is_some() || state.extra.is_some() {
        return None;
    }
    let (full_at, present) = (full_at.get(), i128::from(rate.present(now)?) * rate.unit);
    // What has leaked already may be rounded: nobody can tell. What has not must be exact.
    if full_at > present && full_at % rate.unit != 0 {
        return None;
    }
    let units = (full_at.max(present) + rate.unit - 1) / rate.unit;
    u64::try_from(units).ok().filter(|units| *units < END)
}
