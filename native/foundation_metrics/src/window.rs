//! What was counted in the last minute, five minutes and hour.
//!
//! Time is cut into slots of ten seconds. A slot that is over is frozen into a few bytes a bucket; three of them make
//! one of thirty seconds, ten of those one of five minutes. A window is put together from the slot that is running
//! and the frozen ones it covers, so it begins at most one part (10 s, 30 s, 5 min) after its full length. At most
//! 28 frozen slots exist at any time.

use crate::distribution::Tally;
use crate::encoding::{read_zigzag, write_zigzag};
use crate::layout::Layout;
use std::collections::VecDeque;

/// Milliseconds of the shortest slot.
pub const SLOT_MS: u64 = 10_000;
const TENS_PER_THIRTY: u64 = 3;
const THIRTIES_PER_FIVE: u64 = 10;
const TENS_KEPT: u64 = 6;
const THIRTIES_KEPT: u64 = 10;
const FIVES_KEPT: u64 = 12;

/// A stretch of time that ends now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Since the first value.
    All,
    /// The last 60 s.
    Minute,
    /// The last 5 min.
    FiveMinutes,
    /// The last hour.
    Hour,
}

#[derive(Clone, Debug)]
struct Frozen {
    slot: u64,
    count: u64,
    sum: u128,
    min: u64,
    max: u64,
    buckets: Box<[u8]>,
}

impl Frozen {
    fn new(slot: u64, tally: &Tally) -> Self {
        let mut bytes = Vec::new();
        let mut last = 0;
        tally.counts.for_each(|index, n| {
            write_zigzag(&mut bytes, (index - last) as i64);
            write_zigzag(&mut bytes, i64::try_from(n).unwrap_or(i64::MAX));
            last = index;
        });
        Self {
            slot,
            count: tally.count,
            sum: tally.sum,
            min: tally.min,
            max: tally.max,
            buckets: bytes.into_boxed_slice(),
        }
    }

    fn thaw_into(&self, tally: &mut Tally) {
        tally.count += self.count;
        tally.sum += self.sum;
        tally.min = tally.min.min(self.min);
        tally.max = tally.max.max(self.max);
        let mut rest = &*self.buckets;
        let mut index = 0;
        while let (Ok(step), Ok(n)) = (read_zigzag(&mut rest), read_zigzag(&mut rest)) {
            index += step as usize;
            tally.counts.add(index, n as u64);
        }
    }

    fn relaid(&self, from: &Layout, to: &Layout) -> Self {
        let mut tally = Tally::default();
        self.thaw_into(&mut tally);
        Frozen::new(self.slot, &tally.relaid(from, to))
    }
}

/// The frozen slots of one recorder.
#[derive(Clone, Debug, Default)]
pub(crate) struct Windows {
    tens: VecDeque<Frozen>,
    thirties: VecDeque<Frozen>,
    fives: VecDeque<Frozen>,
}

impl Windows {
    /// Takes what was counted in `slot`, now that `now` is running.
    pub(crate) fn close(&mut self, slot: u64, tally: &Tally, now: u64) {
        self.tens.push_back(Frozen::new(slot, tally));
        let thirty = slot / TENS_PER_THIRTY;
        if thirty != now / TENS_PER_THIRTY {
            let whole = join(&self.tens, |ten| ten.slot / TENS_PER_THIRTY == thirty);
            self.thirties.push_back(Frozen::new(thirty, &whole));
        }
        let five = thirty / THIRTIES_PER_FIVE;
        if five != now / TENS_PER_THIRTY / THIRTIES_PER_FIVE {
            let whole = join(&self.thirties, |t| t.slot / THIRTIES_PER_FIVE == five);
            self.fives.push_back(Frozen::new(five, &whole));
        }
    }

    /// Drops what no window reaches any more.
    pub(crate) fn prune(&mut self, now: u64) {
        let (thirty, five) = parts(now);
        self.tens.retain(|f| f.slot + TENS_KEPT > now);
        self.thirties.retain(|f| f.slot + THIRTIES_KEPT > thirty);
        self.fives.retain(|f| f.slot + FIVES_KEPT > five);
    }

    /// Adds what the window covers, the running slot excepted.
    pub(crate) fn read(&self, window: Window, now: u64, tally: &mut Tally) {
        let (thirty, five) = parts(now);
        let tens = |f: &&Frozen| match window {
            Window::Minute => f.slot + TENS_KEPT > now,
            _ => f.slot / TENS_PER_THIRTY == thirty,
        };
        let thirties = |f: &&Frozen| match window {
            Window::FiveMinutes => f.slot + THIRTIES_KEPT > thirty,
            _ => f.slot / THIRTIES_PER_FIVE == five,
        };
        self.tens.iter().filter(tens).for_each(|f| f.thaw_into(tally));
        if window != Window::Minute {
            self.thirties
                .iter()
                .filter(thirties)
                .for_each(|f| f.thaw_into(tally));
        }
        if window == Window::Hour {
            self.fives
                .iter()
                .filter(|f| f.slot + FIVES_KEPT > five)
                .for_each(|f| f.thaw_into(tally));
        }
    }

    pub(crate) fn relaid(&self, from: &Layout, to: &Layout) -> Self {
        let all = |slots: &VecDeque<Frozen>| slots.iter().map(|f| f.relaid(from, to)).collect();
        Self {
            tens: all(&self.tens),
            thirties: all(&self.thirties),
            fives: all(&self.fives),
        }
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        [&self.tens, &self.thirties, &self.fives]
            .into_iter()
            .map(|q| q.capacity() * size_of::<Frozen>() + q.iter().map(|f| f.buckets.len()).sum::<usize>())
            .sum()
    }
}

fn parts(now: u64) -> (u64, u64) {
    let thirty = now / TENS_PER_THIRTY;
    (thirty, thirty / THIRTIES_PER_FIVE)
}

fn join(slots: &VecDeque<Frozen>, covered: impl Fn(&Frozen) -> bool) -> Tally {
    let mut tally = Tally::default();
    for frozen in slots.iter().filter(|f| covered(f)) {
        frozen.thaw_into(&mut tally);
    }
    tally
}
