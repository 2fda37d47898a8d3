//! How far this node should trust its own clockwork.
use std::time::Duration;

/// The most the score rises to: timeouts then are nine times as long.
const WORST: u32 = 8;

/// The local health multiplier of Lifeguard (Dadgar, Phillips, Currey, 2018): a node that is slow itself
/// misses answers that did arrive, so it must give others more time before it accuses them.
///
/// The score rises with late timers, with being suspected, and with probes that fail while every node
/// asked to help stays silent too; it falls with each probe that succeeds.
#[derive(Debug, Default)]
pub(crate) struct Health {
    score: u32,
    slow: bool,
}

impl Health {
    pub(crate) fn worse(&mut self, by: u32) {
        self.score = (self.score + by).min(WORST);
    }

    pub(crate) fn better(&mut self) {
        self.score = self.score.saturating_sub(1);
    }

    /// The owner says so: it knows of long pauses we cannot see.
    pub(crate) fn set_slow(&mut self, slow: bool) {
        self.slow = slow;
    }

    pub(crate) fn score(&self) -> u32 {
        if self.slow {
            self.score.max(WORST / 2)
        } else {
            self.score
        }
    }

    /// A timeout as this node should measure it.
    pub(crate) fn stretch(&self, timeout: Duration) -> Duration {
        timeout * (1 + self.score())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_to_a_bound_and_falls_to_zero() {
        let mut health = Health::default();
        let second = Duration::from_secs(1);
        assert_eq!(health.stretch(second), second);
        (0..100).for_each(|_| health.worse(1));
        assert_eq!(health.stretch(second), second * 9);
        (0..100).for_each(|_| health.better());
        assert_eq!(health.score(), 0);
        health.set_slow(true);
        assert_eq!(health.stretch(second), second * 5);
        health.set_slow(false);
        assert_eq!(health.stretch(second), second);
    }
}
