//! How long a message is under way.

use std::time::Duration;

use rand::{Rng, RngExt};

/// A distribution of one-way delays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// Always the same.
    Constant(Duration),
    /// Anything between the two, alike.
    Uniform(Duration, Duration),
    /// Log-normal: half of the delays are below the median, and `sigma` (0.3 to 1.0 for networks) makes the tail.
    LogNormal {
        /// The median.
        median: Duration,
        /// The standard deviation of the logarithm.
        sigma: f64,
    },
    /// Two datacentres, nodes with even and odd numbers: short ways within, long ones between.
    TwoDatacentres {
        /// The median within one.
        near: Duration,
        /// The median from one to the other.
        far: Duration,
        /// The standard deviation of the logarithm of both.
        sigma: f64,
    },
}

impl Latency {
    /// A local network: 0.1 to 1 ms.
    pub const LAN: Self = Self::Uniform(Duration::from_micros(100), Duration::from_millis(1));

    /// Draws a delay for a message between these nodes, at least a microsecond and at most ten seconds.
    pub fn draw(&self, rng: &mut impl Rng, from: usize, to: usize) -> Duration {
        let drawn = match *self {
            Self::Constant(delay) => delay,
            Self::Uniform(least, most) => least + (most.saturating_sub(least)).mul_f64(rng.random::<f64>()),
            Self::LogNormal { median, sigma } => log_normal(rng, median, sigma),
            Self::TwoDatacentres { near, far, sigma } => {
                log_normal(rng, if from % 2 == to % 2 { near } else { far }, sigma)
            }
        };
        drawn.clamp(Duration::from_micros(1), Duration::from_secs(10))
    }

    /// The typical delay between these nodes.
    #[must_use]
    pub fn typical(&self, from: usize, to: usize) -> Duration {
        match *self {
            Self::Constant(delay) => delay,
            Self::Uniform(least, most) => (least + most) / 2,
            Self::LogNormal { median, .. } => median,
            Self::TwoDatacentres { near, far, .. } => {
                if from % 2 == to % 2 {
                    near
                } else {
                    far
                }
            }
        }
    }
}

/// By the Box-Muller transform: two uniform numbers make one that is normally distributed.
fn log_normal(rng: &mut impl Rng, median: Duration, sigma: f64) -> Duration {
    let (radius, angle) = (1.0 - rng.random::<f64>(), rng.random::<f64>());
    let normal = (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos();
    median.mul_f64((sigma * normal).clamp(-20.0, 20.0).exp())
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn draws(latency: Latency, from: usize, to: usize) -> Vec<Duration> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut all: Vec<_> = (0..4001).map(|_| latency.draw(&mut rng, from, to)).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn half_of_a_log_normal_is_below_its_median() {
        let ms = Duration::from_millis;
        let all = draws(
            Latency::LogNormal {
                median: ms(20),
                sigma: 0.5,
            },
            0,
            1,
        );
        assert!((ms(19)..ms(21)).contains(&all[2000]), "{:?}", all[2000]);
        // One sigma above the median: e^0.5 times as long.
        assert!((ms(31)..ms(35)).contains(&all[3366]), "{:?}", all[3366]);
    }

    #[test]
    fn datacentres_are_far_from_each_other() {
        let ms = Duration::from_millis;
        let latency = Latency::TwoDatacentres {
            near: ms(1),
            far: ms(40),
            sigma: 0.1,
        };
        assert!(draws(latency, 2, 4)[4000] < ms(2));
        assert!(draws(latency, 2, 5)[0] > ms(25));
    }

    #[test]
    fn a_uniform_delay_stays_within_its_bounds() {
        let all = draws(Latency::LAN, 0, 1);
        assert!(all[0] >= Duration::from_micros(100) && all[4000] <= Duration::from_millis(1));
    }
}
