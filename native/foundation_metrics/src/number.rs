//! Counters and gauges.

use crate::layout::Number;
use crate::recorder::{parts, thread_number};
use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

/// How often an addition meets another before the counter spreads.
const PATIENCE: u32 = 64;

#[derive(Default)]
struct Cell {
    whole: AtomicI64,
    fraction: AtomicU64,
}

impl Cell {
    /// Adds; says how often it had to try again.
    #[inline]
    fn add(&self, number: Number) -> u32 {
        match number {
            Number::Int(n) => retry(
                self.whole.load(Ordering::Relaxed),
                |old| old.saturating_add(n),
                |old, new| {
                    self.whole
                        .compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed)
                },
            ),
            Number::Float(x) => retry(
                self.fraction.load(Ordering::Relaxed),
                |old| (f64::from_bits(old) + x).clamp(f64::MIN, f64::MAX).to_bits(),
                |old, new| {
                    self.fraction
                        .compare_exchange_weak(old, new, Ordering::Relaxed, Ordering::Relaxed)
                },
            ),
        }
    }
}

#[inline]
fn retry<T: Copy>(mut old: T, next: impl Fn(T) -> T, swap: impl Fn(T, T) -> Result<T, T>) -> u32 {
    let mut tries = 0;
    while let Err(now) = swap(old, next(old)) {
        old = now;
        tries += 1;
    }
    tries
}

/// A number that is added to. One that threads contend for spreads over the cores.
#[derive(Default)]
pub struct Counter {
    first: Cell,
    waits: AtomicU32,
    spread: OnceLock<Box<[CachePadded<Cell>]>>,
}

impl Counter {
    /// Adds a number; sums stop at the ends of their range. O(1), never waits.
    #[inline]
    pub fn add(&self, number: Number) {
        match self.spread.get() {
            Some(parts) => {
                parts[thread_number() & (parts.len() - 1)].add(number);
            }
            None => {
                let tries = self.first.add(number);
                if tries > 0 {
                    self.contended(tries);
                }
            }
        }
    }

    #[cold]
    fn contended(&self, tries: u32) {
        if parts() > 1 && self.waits.fetch_add(tries, Ordering::Relaxed) > PATIENCE {
            self.spread
                .get_or_init(|| (0..parts()).map(|_| CachePadded::default()).collect());
        }
    }

    /// The sum: an integer as long as nothing but integers was added.
    #[must_use]
    pub fn value(&self) -> Number {
        let mut whole = 0_i128;
        let mut fraction = 0.0;
        let spread = self.spread.get().into_iter().flatten().map(|cell| &**cell);
        for cell in spread.chain([&self.first]) {
            whole += i128::from(cell.whole.load(Ordering::Relaxed));
            fraction += f64::from_bits(cell.fraction.load(Ordering::Relaxed));
        }
        if fraction == 0.0 {
            let end = if whole < 0 { i64::MIN } else { i64::MAX };
            Number::Int(i64::try_from(whole).unwrap_or(end))
        } else {
            Number::Float((whole as f64 + fraction).clamp(f64::MIN, f64::MAX))
        }
    }
}

/// A number that is set.
pub struct Gauge(Mutex<Option<Number>>);

impl Default for Gauge {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl Gauge {
    /// Sets the number. O(1).
    pub fn set(&self, number: Number) {
        *self.0.lock() = Some(number);
    }

    /// The number last set.
    #[must_use]
    pub fn value(&self) -> Option<Number> {
        *self.0.lock()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn nothing_is_lost_when_threads_contend() {
        let counter = Arc::new(Counter::default());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || (0..50_000).for_each(|_| counter.add(Number::Int(3))))
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        assert_eq!(counter.value(), Number::Int(600_000));
    }

    #[test]
    fn fractions_make_a_float_and_ends_hold() {
        let counter = Counter::default();
        counter.add(Number::Int(i64::MAX));
        counter.add(Number::Int(5));
        assert_eq!(counter.value(), Number::Int(i64::MAX));
        let counter = Counter::default();
        counter.add(Number::Int(2));
        counter.add(Number::Float(0.5));
        assert_eq!(counter.value(), Number::Float(2.5));
    }
}
