//! What goes wrong: loss, duplicates, disorder, cuts between groups of nodes, slow nodes and clocks that run off.

use std::time::Duration;

use rand::{Rng, RngExt};

use crate::latency::Latency;

/// Groups that can be cut from each other.
pub const GROUPS: usize = 16;

/// What the network does to messages.
#[derive(Clone, Debug)]
pub struct Faults {
    /// How long messages are under way.
    pub latency: Latency,
    /// The share of datagrams lost; a link sends again what it loses, which takes longer.
    pub loss: f64,
    /// The share of datagrams that arrive twice.
    pub duplicates: f64,
    /// The share of datagrams that take up to ten times as long, and so arrive out of order.
    pub disorder: f64,
    /// How long a link that nothing gets through stays open.
    pub link_timeout: Duration,
    /// The wait before a link sends again; it doubles with each loss of the same frame.
    pub resend: Duration,
    cuts: [[bool; GROUPS]; GROUPS],
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            latency: Latency::LAN,
            loss: 0.0,
            duplicates: 0.0,
            disorder: 0.0,
            link_timeout: Duration::from_secs(2),
            resend: Duration::from_millis(200),
            cuts: [[false; GROUPS]; GROUPS],
        }
    }
}

impl Faults {
    /// Lets nothing through from one group to another; the way back is another cut.
    pub fn cut(&mut self, from: u8, to: u8) {
        self.cuts[usize::from(from) % GROUPS][usize::from(to) % GROUPS] = true;
    }

    /// Ends all cuts.
    pub fn heal(&mut self) {
        self.cuts = [[false; GROUPS]; GROUPS];
    }

    /// Whether nothing gets through from one group to another.
    #[must_use]
    pub fn is_cut(&self, from: u8, to: u8) -> bool {
        self.cuts[usize::from(from) % GROUPS][usize::from(to) % GROUPS]
    }

    /// When the copies of a datagram arrive, if any does.
    pub(crate) fn datagram(&self, rng: &mut impl Rng, from: usize, to: usize) -> [Option<Duration>; 2] {
        let mut copy = |often: f64| {
            if often <= 0.0 || !rng.random_bool(often.min(1.0)) {
                return None;
            }
            let delay = self.latency.draw(rng, from, to);
            let late = self.disorder > 0.0 && rng.random_bool(self.disorder);
            Some(if late {
                delay.mul_f64(1.0 + 9.0 * rng.random::<f64>())
            } else {
                delay
            })
        };
        [copy(1.0 - self.loss), copy(self.duplicates)]
    }

    /// When a frame arrives, loss and sending again included.
    pub(crate) fn frame(&self, rng: &mut impl Rng, from: usize, to: usize) -> Duration {
        let mut delay = self.latency.draw(rng, from, to);
        let mut wait = self.resend;
        // A sender that hears of later frames sends again after a round trip, but at the latest after the wait.
        let mut lost = 0;
        while self.loss > 0.0 && lost < 8 && rng.random_bool(self.loss) {
            delay += wait.min(self.link_timeout);
            wait *= 2;
            lost += 1;
        }
        delay
    }
}

/// How a node itself is off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Handicap {
    /// It stops for this long …
    pub pause: Duration,
    /// … once in such a while.
    pub every: Duration,
    /// Its clock runs this much faster than it should, in parts per million.
    pub drift_ppm: i32,
    /// Its clock is ahead by this much.
    pub ahead: Duration,
}

impl Handicap {
    /// None at all.
    pub const NONE: Self = Self {
        pause: Duration::ZERO,
        every: Duration::ZERO,
        drift_ppm: 0,
        ahead: Duration::ZERO,
    };

    /// When a node that pauses is awake again; `None` when it is awake now. Nodes pause at different times.
    pub(crate) fn wakes(&self, now: Duration, node: usize) -> Option<Duration> {
        let every = self.every.as_micros() as u64;
        if self.pause.is_zero() || every == 0 {
            return None;
        }
        let offset = (node as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) % every;
        let phase = (now.as_micros() as u64 + offset) % every;
        let pause = self.pause.as_micros() as u64;
        (phase < pause).then(|| now + Duration::from_micros(pause - phase))
    }

    /// What its clock says.
    pub(crate) fn local(&self, now: Duration) -> Duration {
        let drift = i128::from(self.drift_ppm) * now.as_nanos() as i128 / 1_000_000;
        let drifted = (now.as_nanos() as i128 + drift).max(0);
        Duration::from_nanos(u64::try_from(drifted).unwrap_or(u64::MAX)) + self.ahead
    }

    /// How long a wait by its clock really takes.
    pub(crate) fn real(&self, wait: Duration) -> Duration {
        if self.drift_ppm == 0 {
            return wait;
        }
        wait.mul_f64(1_000_000.0 / (1_000_000.0 + f64::from(self.drift_ppm)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_has_a_direction() {
        let mut faults = Faults::default();
        faults.cut(1, 2);
        assert!(faults.is_cut(1, 2) && !faults.is_cut(2, 1));
        faults.heal();
        assert!(!faults.is_cut(1, 2));
    }

    #[test]
    fn a_pause_ends() {
        let ms = Duration::from_millis;
        let slow = Handicap {
            pause: ms(300),
            every: ms(1000),
            ..Handicap::NONE
        };
        assert_eq!(slow.wakes(ms(0), 0), Some(ms(300)));
        assert_eq!(slow.wakes(ms(299), 0), Some(ms(300)));
        assert_eq!(slow.wakes(ms(300), 0), None);
        assert_eq!(slow.wakes(ms(1100), 0), Some(ms(1300)));
    }

    #[test]
    fn a_fast_clock_waits_shorter() {
        let fast = Handicap {
            drift_ppm: 100_000,
            ahead: Duration::from_secs(5),
            ..Handicap::NONE
        };
        assert_eq!(fast.local(Duration::from_secs(10)), Duration::from_secs(16));
        assert_eq!(fast.real(Duration::from_secs(11)).as_millis(), 10_000);
    }
}
