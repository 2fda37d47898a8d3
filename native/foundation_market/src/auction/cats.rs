//! Instances of the distributions of the Combinatorial Auction Test Suite (Leyton-Brown, Pearson, Shoham 2000), by a
//! seed: "regions" and "arbitrary", with the suite's default parameters.
//!
//! Goods have neighbours (in the plane, or wherever chance has it); a bidder grows a bundle from a good to its
//! neighbours, and offers substitutes for it that hold one of its goods, within its budget. Bidders exclude each other's
//! substitutes: the bids of one are XOR. Values are super-additive in the number of goods.

use super::combinatorial::BundleBid;
use crate::{Money, Rng};

/// Which goods belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Plots of land in a grid: the neighbours of a good are the plots that touch it.
    Regions,
    /// Any two goods, each pair as closely as chance says.
    Arbitrary,
}

/// How strongly goods belong together: row by row, 0 for not at all.
struct Ties {
    goods: usize,
    weights: Vec<f64>,
}

/// The chance that a bundle takes in another good.
const ADDITIONAL: f64 = 0.9;
/// The chance that a plot touches one across the corner.
const DIAGONAL: f64 = 0.2;
/// The most that chance adds to a good's common value for one bidder.
const DEVIATION: f64 = 0.5;
/// Values grow with this power of the number of goods.
const ADDITIVITY: f64 = 0.2;
/// A substitute may cost so many times the first bundle, and must be worth at least so much of it.
const BUDGET: f64 = 1.5;
const RESALE: f64 = 0.5;
/// Substitutes of one bidder.
const SUBSTITUTES: usize = 5;

impl Ties {
    fn new(distribution: Distribution, goods: usize, rng: &mut Rng) -> Self {
        let mut ties = Self {
            goods,
            weights: vec![0.0; goods * goods],
        };
        match distribution {
            Distribution::Arbitrary => {
                for a in 0..goods {
                    for b in 0..a {
                        ties.join(a, b, rng.unit());
                    }
                }
            }
            Distribution::Regions => ties.grid(rng),
        }
        ties
    }

    fn join(&mut self, a: usize, b: usize, weight: f64) {
        self.weights[a * self.goods + b] = weight;
        self.weights[b * self.goods + a] = weight;
    }

    fn grid(&mut self, rng: &mut Rng) {
        let width = (self.goods as f64).sqrt().floor().max(1.0) as usize;
        for good in 0..self.goods {
            let column = good % width;
            let below = good + width;
            if column + 1 < width && good + 1 < self.goods {
                self.join(good, good + 1, 1.0);
            }
            if below < self.goods {
                self.join(good, below, 1.0);
                if column + 1 < width && below + 1 < self.goods && rng.unit() < DIAGONAL {
                    self.join(good, below + 1, 1.0);
                }
                if column > 0 && rng.unit() < DIAGONAL {
                    self.join(good, below - 1, 1.0);
                }
            }
        }
    }

    fn row(&self, good: usize) -> &[f64] {
        &self.weights[good * self.goods..(good + 1) * self.goods]
    }

    /// A bundle that grows from a good to its neighbours, by their ties and the bidder's own values.
    fn grow(&self, first: usize, size: usize, values: &[f64], rng: &mut Rng) -> Vec<usize> {
        let mut bundle = vec![first];
        let mut pull: Vec<f64> = self.row(first).to_vec();
        while bundle.len() < size {
            for &good in &bundle {
                pull[good] = 0.0;
            }
            let weights: Vec<f64> = pull.iter().zip(values).map(|(tie, value)| tie * value).collect();
            if weights.iter().all(|weight| *weight <= 0.0) {
                break;
            }
            let next = rng.weighted(&weights);
            bundle.push(next);
            for (pull, tie) in pull.iter_mut().zip(self.row(next)) {
                *pull += tie;
            }
        }
        bundle.sort_unstable();
        bundle
    }
}

/// About `bids` bids on `goods` goods; exactly so many, the last bidder's substitutes cut off.
#[must_use]
pub fn generate(distribution: Distribution, goods: u32, bids: usize, seed: u64) -> Vec<BundleBid> {
    let mut rng = Rng::new(seed);
    let goods = goods as usize;
    let ties = Ties::new(distribution, goods, &mut rng);
    let common: Vec<f64> = (0..goods).map(|_| 1.0 + 99.0 * rng.unit()).collect();
    let mut placed: Vec<BundleBid> = Vec::with_capacity(bids);
    let mut bidder = 0;
    while placed.len() < bids && goods > 0 {
        let own: Vec<f64> = (0..goods).map(|_| DEVIATION * (2.0 * rng.unit() - 1.0)).collect();
        let worth = |bundle: &[usize]| {
            let sum: f64 = bundle.iter().map(|&good| common[good] * (1.0 + own[good])).sum();
            sum + (bundle.len() as f64).powf(1.0 + ADDITIVITY)
        };
        let resale = |bundle: &[usize]| bundle.iter().map(|&good| common[good]).sum::<f64>();
        let wanted: Vec<f64> = own.iter().map(|own| own + DEVIATION).collect();
        let mut size = 1;
        while size < goods && rng.unit() < ADDITIONAL {
            size += 1;
        }
        let first = ties.grow(rng.weighted(&wanted), size, &wanted, &mut rng);
        let (value, sale) = (worth(&first), resale(&first));
        let mut offers = vec![(first.clone(), value)];
        let mut others: Vec<(Vec<usize>, f64)> = first
            .iter()
            .map(|&good| ties.grow(good, first.len(), &wanted, &mut rng))
            .map(|bundle| {
                let value = worth(&bundle);
                (bundle, value)
            })
            .filter(|(bundle, other)| {
                *bundle != first && *other <= BUDGET * value && resale(bundle) >= RESALE * sale
            })
            .collect();
        others.sort_by(|a, b| b.1.total_cmp(&a.1));
        others.dedup();
        offers.extend(others.into_iter().take(SUBSTITUTES));
        for (bundle, value) in offers {
            placed.push(BundleBid {
                bidder,
                items: bundle.into_iter().map(|good| good as u32).collect(),
                price: Money::from_micros((value * 1e6) as i64),
            });
        }
        bidder += 1;
    }
    placed.truncate(bids);
    placed
}
