//! How far one distribution has moved from another.

use crate::distribution::Distribution;

/// The two-sample Kolmogorov–Smirnov test, and how the quantiles shifted.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The largest distance between the two cumulative distributions, 0 to 1.
    pub statistic: f64,
    /// How likely a distance of at least that is when both come from the same distribution (asymptotic).
    pub p_value: f64,
    /// Per quantile asked for: its value before and now.
    pub quantiles: Vec<(f64, f64, f64)>,
}

/// Compares two distributions; `None` when either is empty. The distance is taken at the edges of buckets, so it may
/// fall short by what lies within one bucket. O(buckets in use).
#[must_use]
pub fn compare(before: &Distribution, now: &Distribution, quantiles: &[f64]) -> Option<Comparison> {
    if before.count() == 0 || now.count() == 0 {
        return None;
    }
    let statistic = distance(before, now);
    let values = before
        .quantiles(quantiles)
        .into_iter()
        .zip(now.quantiles(quantiles));
    Some(Comparison {
        statistic,
        p_value: p_value(statistic, before.count() as f64, now.count() as f64),
        quantiles: quantiles
            .iter()
            .zip(values)
            .map(|(&q, (a, b))| (q, a, b))
            .collect(),
    })
}

fn distance(a: &Distribution, b: &Distribution) -> f64 {
    // Both in the same layout, so that a bucket of one is a bucket of the other.
    let mut base = Distribution::new(*a.layout());
    base.merge(a);
    base.merge(b);
    let layout = *base.layout();
    let relaid = |d: &Distribution| {
        let mut counts = Vec::new();
        let tally = if d.layout().same_buckets(&layout) {
            d.tally.clone()
        } else {
            d.tally.relaid(d.layout(), &layout)
        };
        tally.counts.for_each(|index, n| counts.push((index, n)));
        counts
    };
    let (xs, ys) = (relaid(a), relaid(b));
    let (nx, ny) = (a.count() as f64, b.count() as f64);
    let (mut i, mut j, mut cx, mut cy, mut most) = (0, 0, 0_u64, 0_u64, 0.0_f64);
    while i < xs.len() || j < ys.len() {
        let x = xs.get(i).map_or(usize::MAX, |e| e.0);
        let y = ys.get(j).map_or(usize::MAX, |e| e.0);
        if x <= y {
            cx += xs[i].1;
            i += 1;
        }
        if y <= x {
            cy += ys[j].1;
            j += 1;
        }
        most = most.max((cx as f64 / nx - cy as f64 / ny).abs());
    }
    most
}

/// Kolmogorov's limiting distribution with Stephens' correction for finite samples.
fn p_value(statistic: f64, n: f64, m: f64) -> f64 {
    let root = (n * m / (n + m)).sqrt();
    let lambda = (root + 0.12 + 0.11 / root) * statistic;
    if lambda < 0.2 {
        return 1.0;
    }
    let mut sum = 0.0;
    let mut sign = 1.0;
    for k in 1..=100 {
        let term = (-2.0 * lambda * lambda * f64::from(k * k)).exp();
        sum += sign * term;
        if term < 1e-12 {
            break;
        }
        sign = -sign;
    }
    (2.0 * sum).clamp(0.0, 1.0)
}
