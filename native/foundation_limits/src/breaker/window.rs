//! What a closed breaker remembers: the times of its failures, and calls by slices of the window.

use super::Settings;
use std::collections::VecDeque;

/// Slices of a window; the oldest one leaves the count as a whole.
const SLICES: u64 = 10;

#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    number: u64,
    calls: u32,
    failures: u32,
    slow: u32,
}

/// Counts over the window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that reported.
    pub calls: u32,
    /// Failed ones of them.
    pub failures: u32,
    /// Slow ones of them.
    pub slow: u32,
}

/// The failure log is exact; it holds at most `tolerance + 1` times. The slices are exact to a tenth of the window.
#[derive(Debug, Default)]
pub(crate) struct Window {
    failures: VecDeque<u64>,
    slices: [Slice; SLICES as usize],
}

impl Window {
    /// Notes a call and says whether the breaker must open.
    pub(crate) fn note(&mut self, settings: &Settings, failed: bool, slow: bool, now: u64) -> bool {
        let too_many = failed && self.note_failure(settings, now);
        let too_often = settings.counts_calls() && {
            self.note_call(settings, failed, slow, now);
            self.over_rate(settings, now)
        };
        too_many || too_often
    }

    fn note_failure(&mut self, settings: &Settings, now: u64) -> bool {
        let Some(tolerance) = settings.tolerance else {
            return false;
        };
        let from = now.saturating_sub(settings.window);
        while self.failures.front().is_some_and(|&t| t < from) {
            self.failures.pop_front();
        }
        self.failures.push_back(now);
        self.failures.len() as u64 > u64::from(tolerance)
    }

    fn width(settings: &Settings) -> u64 {
        (settings.window / SLICES).max(1)
    }

    fn note_call(&mut self, settings: &Settings, failed: bool, slow: bool, now: u64) {
        let number = now / Self::width(settings);
        let slice = &mut self.slices[(number % SLICES) as usize];
        if slice.number != number {
            *slice = Slice {
                number,
                ..Slice::default()
            };
        }
        slice.calls = slice.calls.saturating_add(1);
        slice.failures = slice.failures.saturating_add(u32::from(failed));
        slice.slow = slice.slow.saturating_add(u32::from(slow));
    }

    fn sum(&self, settings: &Settings, now: u64) -> Counts {
        let newest = now / Self::width(settings);
        let mut counts = Counts::default();
        for slice in &self.slices {
            if slice.number <= newest && newest - slice.number < SLICES {
                counts.calls = counts.calls.saturating_add(slice.calls);
                counts.failures = counts.failures.saturating_add(slice.failures);
                counts.slow = counts.slow.saturating_add(slice.slow);
            }
        }
        counts
    }

    fn over_rate(&self, settings: &Settings, now: u64) -> bool {
        let counts = self.sum(settings, now);
        if counts.calls < settings.minimum_calls.max(1) {
            return false;
        }
        let over = |rate: Option<f64>, part: u32| {
            rate.is_some_and(|rate| f64::from(part) >= rate * f64::from(counts.calls))
        };
        over(settings.failure_rate, counts.failures) || over(settings.slow_rate, counts.slow)
    }

    /// What is in the window now; failures come from the exact log where there is one.
    pub(crate) fn counts(&self, settings: &Settings, now: u64) -> Counts {
        let mut counts = self.sum(settings, now);
        if settings.tolerance.is_some() {
            let from = now.saturating_sub(settings.window);
            let logged = self.failures.iter().filter(|&&t| t >= from).count();
            counts.failures = u32::try_from(logged).unwrap_or(u32::MAX);
        }
        counts
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
