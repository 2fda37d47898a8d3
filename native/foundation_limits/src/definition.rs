//! What a key is limited to: its dimensions, checked and brought into the form the arithmetic needs.

use crate::amount;
use crate::error::LimitError;
use crate::plain::Rate;

/// Most dimensions a key may have.
pub const MAX_DIMENSIONS: usize = 16;
/// Longest window: three years, in microseconds.
pub const MAX_PER: u64 = 3 * 366 * 86_400 * 1_000_000;

/// How a dimension counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// A token bucket, kept as the time at which it is full again (GCRA).
    Bucket,
    /// A window of so many sub-windows, each counted whole until it has left.
    Sliding(u16),
    /// A number that reservations hold at a time.
    Gate,
    /// What was leased from a budget that others share ([`crate::Limits::grant_quota`]).
    Quota,
}

/// One dimension of a [`Definition`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Dimension {
    /// The caller's name for it.
    pub name: u64,
    /// How it counts.
    pub algorithm: Algorithm,
    /// How much each window (or at a time) allows, in billionths.
    pub limit: i128,
    /// The window in microseconds; 0 for a gate.
    pub per: u64,
    /// The most that can be taken at once, in billionths.
    pub capacity: i128,
    /// What leaks in a microsecond, in billionths divided by `scale`.
    pub(crate) leak: i128,
    /// See `leak`.
    pub(crate) scale: i128,
    /// Length of a sub-window in microseconds; 0 unless sliding.
    pub(crate) slot: u64,
}

impl Dimension {
    /// A dimension of `limit` billionths in `per` microseconds; `burst` is how much a full bucket holds.
    pub fn new(
        name: u64,
        algorithm: Algorithm,
        limit: i128,
        per: u64,
        burst: Option<i128>,
    ) -> Result<Self, LimitError> {
        let wrong = |what| Err(LimitError::InvalidLimit(name, what));
        if !(0..=amount::MAX).contains(&limit) {
            return wrong("limit");
        }
        let capacity = burst.unwrap_or(limit);
        if !(0..=amount::MAX).contains(&capacity) {
            return wrong("burst");
        }
        let mut dimension = Self {
            name,
            algorithm,
            limit,
            per,
            capacity,
            leak: 0,
            scale: 1,
            slot: 0,
        };
        match algorithm {
            Algorithm::Gate if per != 0 => return wrong("per"),
            Algorithm::Gate if burst.is_some() => return wrong("burst"),
            Algorithm::Gate if i64::try_from(limit).is_err() => return wrong("limit"),
            Algorithm::Gate => {}
            _ if per == 0 || per > MAX_PER => return wrong("per"),
            Algorithm::Bucket => {
                let divisor = gcd(limit, i128::from(per));
                dimension.leak = limit / divisor;
                dimension.scale = i128::from(per) / divisor;
            }
            Algorithm::Sliding(_) | Algorithm::Quota if burst.is_some() => return wrong("burst"),
            Algorithm::Quota => {}
            Algorithm::Sliding(slots) if !(2..=256).contains(&slots) => return wrong("sub_windows"),
            Algorithm::Sliding(slots) => dimension.slot = per.div_ceil(u64::from(slots)),
        }
        Ok(dimension)
    }
}

pub(crate) fn gcd(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The dimensions of a key, and how long a key made from a pattern is kept when idle.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Definition {
    pub(crate) dimensions: Box<[Dimension]>,
    pub(crate) idle_us: u64,
    pub(crate) max_waiters: u32,
    /// What a plain key needs to know of it; `None` when no key with it is plain.
    pub(crate) rate: Option<Rate>,
}

impl Definition {
    /// Checks and keeps `dimensions`: no name twice, at most [`MAX_DIMENSIONS`].
    pub fn new(dimensions: Vec<Dimension>, idle_us: u64, max_waiters: u32) -> Result<Self, LimitError> {
        for (i, d) in dimensions.iter().enumerate() {
            if i >= MAX_DIMENSIONS {
                return Err(LimitError::InvalidLimit(d.name, "too_many_dimensions"));
            }
            if dimensions[..i].iter().any(|other| other.name == d.name) {
                return Err(LimitError::InvalidLimit(d.name, "twice"));
            }
        }
        Ok(Self {
            rate: Rate::new(&dimensions),
            dimensions: dimensions.into(),
            idle_us,
            max_waiters,
        })
    }

    /// The dimensions, in the order given.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    pub(crate) fn position(&self, name: u64) -> Option<usize> {
        self.dimensions.iter().position(|d| d.name == name)
    }
}
