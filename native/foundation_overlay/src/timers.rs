//! The overlay's own queue of deadlines, seen from outside as one alarm.
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::{Effect, Timer};

/// Deadlines in order. The driver is asked to wake us for the earliest one only; what is due then is
/// taken out one by one, with how late it is.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    heap: BinaryHeap<Reverse<Entry<K>>>,
    seq: u64,
    /// The earliest alarm the driver has been asked for.
    armed: Option<(Duration, Timer)>,
}

#[derive(Debug)]
struct Entry<K> {
    due: Duration,
    seq: u64,
    kind: K,
}

impl<K> PartialEq for Entry<K> {
    fn eq(&self, other: &Self) -> bool {
        (self.due, self.seq) == (other.due, other.seq)
    }
}

impl<K> Eq for Entry<K> {}

impl<K> PartialOrd for Entry<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Entry<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.seq).cmp(&(other.due, other.seq))
    }
}

impl<K> Timers<K> {
    pub(crate) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            seq: 0,
            armed: None,
        }
    }

    /// Remembers `kind` for the time `due`.
    pub(crate) fn at(&mut self, due: Duration, kind: K) {
        self.seq += 1;
        self.heap.push(Reverse(Entry {
            due,
            seq: self.seq,
            kind,
        }));
    }

    /// The alarm rang, perhaps a little early by our clock, or another one after it was due; the next
    /// [`arm`](Self::arm) may ask for another.
    pub(crate) fn rang(&mut self, now: Duration, timer: Timer) {
        if self.armed.is_some_and(|(at, armed)| armed == timer || at <= now) {
            self.armed = None;
        }
    }

    /// Takes the next thing due, with how late it is.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<(Duration, K)> {
        if self.heap.peek().is_none_or(|Reverse(entry)| entry.due > now) {
            return None;
        }
        let Reverse(entry) = self.heap.pop()?;
        Some((now - entry.due, entry.kind))
    }

    /// Asks the driver for an alarm if the earliest deadline is earlier than any asked for.
    pub(crate) fn arm(&mut self, now: Duration, out: &mut Vec<Effect>) {
        let Some(Reverse(first)) = self.heap.peek() else {
            return;
        };
        if self.armed.is_none_or(|(at, _)| first.due < at) {
            let timer = Timer(first.seq);
            self.armed = Some((first.due, timer));
            out.push(Effect::Timer {
                timer,
                after: first.due.saturating_sub(now),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn asks_for_the_earliest_alarm_only() {
        let mut timers = Timers::new();
        let mut out = Vec::new();
        timers.at(secs(5), 'b');
        timers.arm(secs(0), &mut out);
        timers.at(secs(9), 'c');
        timers.arm(secs(0), &mut out);
        timers.at(secs(2), 'a');
        timers.arm(secs(0), &mut out);
        let after: Vec<_> = out
            .iter()
            .map(|e| {
                if let Effect::Timer { after, .. } = e {
                    *after
                } else {
                    secs(99)
                }
            })
            .collect();
        assert_eq!(after, [secs(5), secs(2)]);
    }

    #[test]
    fn an_alarm_that_rings_early_is_asked_for_again() {
        let mut timers = Timers::new();
        let mut out = Vec::new();
        timers.at(secs(5), 'a');
        timers.arm(secs(0), &mut out);
        let Some(Effect::Timer { timer, .. }) = out.pop() else {
            panic!("an alarm")
        };
        // By our clock it is not five yet.
        timers.rang(secs(4), timer);
        assert_eq!(timers.pop(secs(4)), None);
        timers.arm(secs(4), &mut out);
        assert!(matches!(out[..], [Effect::Timer { after, .. }] if after == secs(1)));
    }

    #[test]
    fn another_alarm_that_rings_late_counts_as_well() {
        let mut timers = Timers::new();
        let mut out = Vec::new();
        timers.at(secs(5), 'b');
        timers.arm(secs(0), &mut out);
        timers.at(secs(2), 'a');
        timers.arm(secs(0), &mut out);
        let first = out.iter().find_map(|effect| match effect {
            Effect::Timer { timer, .. } => Some(*timer),
            _ => None,
        });
        out.clear();
        // The driver kept the timer it was given first and rings it at the time of the second.
        timers.rang(secs(2), first.unwrap());
        assert!(timers.pop(secs(2)).is_some());
        timers.arm(secs(2), &mut out);
        assert!(matches!(out[..], [Effect::Timer { after, .. }] if after == secs(3)));
    }

    #[test]
    fn hands_out_what_is_due_in_order_and_says_how_late() {
        let mut timers = Timers::new();
        timers.at(secs(2), 'b');
        timers.at(secs(1), 'a');
        timers.at(secs(2), 'c');
        timers.at(secs(7), 'd');
        assert_eq!(timers.pop(secs(3)), Some((secs(2), 'a')));
        assert_eq!(timers.pop(secs(3)), Some((secs(1), 'b')));
        assert_eq!(timers.pop(secs(3)), Some((secs(1), 'c')));
        assert_eq!(timers.pop(secs(3)), None);
    }
}
