//! Random numbers that a seed decides.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng};
use serde::{Deserialize, Serialize};

/// A stream of random numbers: the same for the same seed, on every machine, before and after it was stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "Position", into = "Position")]
pub struct Rng {
    seed: u64,
    stream: ChaCha8Rng,
}

#[derive(Clone, Serialize, Deserialize)]
struct Position {
    seed: u64,
    words: u64,
}

impl From<Position> for Rng {
    fn from(at: Position) -> Self {
        let mut rng = Self::new(at.seed);
        rng.stream.set_word_pos(u128::from(at.words));
        rng
    }
}

impl From<Rng> for Position {
    fn from(rng: Rng) -> Self {
        Self {
            seed: rng.seed,
            // 2^64 words are more than any run draws.
            words: rng.stream.get_word_pos() as u64,
        }
    }
}

impl Rng {
    /// The stream of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            stream: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.stream.next_u64()
    }

    /// A number below `n`, each as likely as any other; 0 for an `n` of 0.
    pub fn below(&mut self, n: u64) -> u64 {
        // Lemire's multiplication with rejection of the short remainder.
        let threshold = if n == 0 { 0 } else { n.wrapping_neg() % n };
        loop {
            let wide = u128::from(self.bits()) * u128::from(n);
            if wide as u64 >= threshold {
                return (wide >> 64) as u64;
            }
        }
    }

    /// An index below `n`.
    pub fn index(&mut self, n: usize) -> usize {
        self.below(n as u64) as usize
    }

    /// A number of [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A number of the standard normal distribution (Box and Muller 1958).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// A number of the gamma distribution of that shape and scale 1 (Marsaglia and Tsang 2000).
    pub fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = (1.0 - self.unit()).powf(1.0 / shape);
            return self.gamma(shape + 1.0) * boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 {
                let u = 1.0 - self.unit();
                if u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                    return d * v;
                }
            }
        }
    }

    /// A number of the beta distribution.
    pub fn beta(&mut self, a: f64, b: f64) -> f64 {
        let x = self.gamma(a);
        let y = self.gamma(b);
        if x + y > 0.0 { x / (x + y) } else { 0.5 }
    }

    /// Puts the items into random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// An index, each as likely as its weight says; the last one with weight when rounding leaves a rest.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        let mut chosen = 0;
        for (index, weight) in weights.iter().enumerate() {
            if *weight > 0.0 {
                chosen = index;
                if left < *weight {
                    break;
                }
                left -= weight;
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_stream_goes_on_where_it_was() {
        let mut rng = Rng::new(7);
        for _ in 0..5 {
            rng.bits();
        }
        let stored = postcard::to_allocvec(&rng).unwrap();
        let mut again: Rng = postcard::from_bytes(&stored).unwrap();
        for _ in 0..100 {
            assert_eq!(rng.bits(), again.bits());
        }
    }

    #[test]
    fn the_moments_are_those_of_the_distributions() {
        let mut rng = Rng::new(1);
        let n = 100_000;
        let mean = |sample: Vec<f64>| sample.iter().sum::<f64>() / f64::from(n);
        assert!((mean((0..n).map(|_| rng.unit()).collect()) - 0.5).abs() < 0.005);
        assert!(mean((0..n).map(|_| rng.normal()).collect()).abs() < 0.02);
        assert!((mean((0..n).map(|_| rng.normal().powi(2)).collect()) - 1.0).abs() < 0.03);
        assert!((mean((0..n).map(|_| rng.gamma(2.5)).collect()) - 2.5).abs() < 0.03);
        assert!((mean((0..n).map(|_| rng.gamma(0.3)).collect()) - 0.3).abs() < 0.02);
        assert!((mean((0..n).map(|_| rng.beta(2.0, 6.0)).collect()) - 0.25).abs() < 0.005);
        assert!((mean((0..n).map(|_| rng.below(10) as f64).collect()) - 4.5).abs() < 0.05);
        assert_eq!(rng.below(0), 0);
    }
}
