//! A distribution of values: what a histogram holds at one moment.

use crate::counts::Counts;
use crate::layout::Layout;

/// What was counted, in units of a resolution.
#[derive(Clone, Debug)]
pub struct Tally {
    pub(crate) count: u64,
    pub(crate) sum: u128,
    pub(crate) min: u64,
    pub(crate) max: u64,
    pub(crate) counts: Counts,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            count: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
            counts: Counts::default(),
        }
    }
}

impl Tally {
    /// Counts a value. O(1).
    #[inline]
    pub(crate) fn add(&mut self, layout: &Layout, units: u64) {
        self.hit(layout.index(units), units);
    }

    /// Counts a value whose bucket is known. O(1).
    #[inline]
    pub(crate) fn hit(&mut self, index: usize, units: u64) {
        self.note(units);
        self.counts.add(index, 1);
    }

    /// Counts a value whose bucket was hit before; false, with nothing changed, for any other. O(1).
    #[inline]
    pub(crate) fn hit_again(&mut self, index: usize, units: u64) -> bool {
        let again = self.counts.hit_again(index);
        if again {
            self.note(units);
        }
        again
    }

    #[inline]
    fn note(&mut self, units: u64) {
        self.count += 1;
        self.sum += u128::from(units);
        self.min = self.min.min(units);
        self.max = self.max.max(units);
    }

    /// Counts all that `other`, of the same layout, has counted.
    pub(crate) fn merge(&mut self, other: &Tally) {
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.counts.merge(&other.counts);
    }

    /// The same values in another layout; each bucket goes where its middle belongs.
    pub(crate) fn relaid(&self, from: &Layout, to: &Layout) -> Tally {
        let factor = from.resolution() / to.resolution();
        let convert = |units: f64| ((units * factor).round() as u64).min(to.highest());
        let mut tally = Tally {
            count: self.count,
            sum: (self.sum as f64 * factor).round() as u128,
            ..Tally::default()
        };
        if self.count > 0 {
            tally.min = convert(self.min as f64);
            tally.max = convert(self.max as f64);
        }
        self.counts.for_each(|index, n| {
            let middle = from.middle_of(index).clamp(self.min, self.max);
            tally.counts.add(to.index(convert(middle as f64)), n);
        });
        tally
    }
}

/// A distribution that stands still: quantiles, moments, merging.
#[derive(Clone, Debug)]
pub struct Distribution {
    pub(crate) layout: Layout,
    pub(crate) tally: Tally,
    pub(crate) clamped: u64,
}

impl Distribution {
    /// A distribution of nothing.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        Self {
            layout,
            tally: Tally::default(),
            clamped: 0,
        }
    }

    /// The layout.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Counts a value. O(1).
    pub fn record(&mut self, number: crate::layout::Number) {
        let scaled = self.layout.scale(number);
        self.clamped += u64::from(scaled.clamped);
        self.tally.add(&self.layout, scaled.units);
    }

    /// Adds all values of `other`. Without loss when both have the same digits and resolution; otherwise this one
    /// goes over to the finer resolution and the larger number of digits first, if its range allows.
    pub fn merge(&mut self, other: &Distribution) {
        self.clamped = self.clamped.saturating_add(other.clamped);
        if other.tally.count == 0 {
            return;
        }
        if self.tally.count == 0 {
            self.layout = other.layout;
            self.tally = other.tally.clone();
        } else if self.layout.same_buckets(&other.layout) {
            self.tally.merge(&other.tally);
        } else {
            let finer = finer(&self.layout, &other.layout);
            self.tally = self.tally.relaid(&self.layout, &finer);
            self.tally.merge(&other.tally.relaid(&other.layout, &finer));
            self.layout = finer;
        }
    }

    /// Counts, sum and bounds of `other`, whose buckets are added apart.
    pub(crate) fn merge_totals(&mut self, other: &Distribution) {
        self.clamped = self.clamped.saturating_add(other.clamped);
        let (tally, more) = (&mut self.tally, &other.tally);
        tally.count = tally.count.saturating_add(more.count);
        tally.sum = tally.sum.saturating_add(more.sum);
        tally.min = tally.min.min(more.min);
        tally.max = tally.max.max(more.max);
    }

    /// How many values there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.tally.count
    }

    /// How many of them lay outside of the range and were counted at its end.
    #[must_use]
    pub fn clamped(&self) -> u64 {
        self.clamped
    }

    /// The sum of all values, rounded to the resolution each.
    #[must_use]
    pub fn sum(&self) -> f64 {
        self.layout.unscale(self.tally.sum as f64)
    }

    /// The sum in units of the resolution, exact.
    #[must_use]
    pub fn sum_units(&self) -> u128 {
        self.tally.sum
    }

    /// The least value.
    #[must_use]
    pub fn min(&self) -> Option<f64> {
        (self.tally.count > 0).then(|| self.layout.unscale(self.tally.min as f64))
    }

    /// The largest value.
    #[must_use]
    pub fn max(&self) -> Option<f64> {
        (self.tally.count > 0).then(|| self.layout.unscale(self.tally.max as f64))
    }

    /// The mean, from the exact sum.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.tally.count > 0).then(|| self.sum() / self.tally.count as f64)
    }

    /// The standard deviation of the values (not of a sample), with the middle of each bucket for its values.
    #[must_use]
    pub fn stddev(&self) -> Option<f64> {
        let mean = self.mean()? / self.layout.resolution();
        let mut squares = 0.0;
        self.tally.counts.for_each(|index, n| {
            let middle = self.layout.middle_of(index).clamp(self.tally.min, self.tally.max);
            squares += (middle as f64 - mean).powi(2) * n as f64;
        });
        Some(self.layout.unscale((squares / self.tally.count as f64).sqrt()))
    }

    /// For each of the ascending quantiles (0 to 1) the least value that at least that share of all values do not
    /// exceed, within the width of a bucket. O(buckets in use + quantiles).
    #[must_use]
    pub fn quantiles(&self, quantiles: &[f64]) -> Vec<f64> {
        let count = self.tally.count;
        let ranks: Vec<u64> = quantiles
            .iter()
            .map(|q| ((q * count as f64).ceil() as u64).clamp(1, count.max(1)))
            .collect();
        let mut values = Vec::with_capacity(ranks.len());
        let mut below = 0_u64;
        self.tally.counts.for_each(|index, n| {
            below = below.saturating_add(n);
            while values.len() < ranks.len() && ranks[values.len()] <= below {
                let value = self
                    .layout
                    .highest_of(index)
                    .clamp(self.tally.min, self.tally.max);
                values.push(self.layout.unscale(value as f64));
            }
        });
        values
    }

    /// How many values do not exceed each of the ascending bounds, a bucket that holds a bound counting whole.
    #[must_use]
    pub fn cumulative(&self, bounds: &[f64]) -> Vec<u64> {
        let limits: Vec<Option<usize>> = bounds
            .iter()
            .map(|&bound| {
                let units = ((bound / self.layout.resolution()) * (1.0 + 1e-12)).floor();
                (units >= 0.0).then(|| self.layout.index((units as u64).min(crate::layout::HIGHEST)))
            })
            .collect();
        let mut sums = vec![0_u64; bounds.len()];
        self.tally.counts.for_each(|index, n| {
            let first = limits.partition_point(|limit| limit.is_none_or(|limit| limit < index));
            if let Some(sum) = sums.get_mut(first) {
                *sum += n;
            }
        });
        sums.iter()
            .scan(0, |total, n| {
                *total += n;
                Some(*total)
            })
            .collect()
    }

    /// The middle of each bucket in use, ascending, and how many values it has.
    #[must_use]
    pub fn buckets(&self) -> Vec<(f64, u64)> {
        let mut all = Vec::new();
        self.tally.counts.for_each(|index, n| {
            let middle = self.layout.middle_of(index).clamp(self.tally.min, self.tally.max);
            all.push((self.layout.unscale(middle as f64), n));
        });
        all
    }

    /// What this distribution has counted since it was `earlier`; both of the same recorder. Least and largest value
    /// are then known within the width of a bucket.
    #[must_use]
    pub fn since(&self, earlier: &Distribution) -> Distribution {
        let earlier_tally = if self.layout.same_buckets(&earlier.layout) {
            earlier.tally.clone()
        } else {
            earlier.tally.relaid(&earlier.layout, &self.layout)
        };
        let mut old = std::collections::HashMap::new();
        earlier_tally.counts.for_each(|index, n| {
            old.insert(index, n);
        });
        let mut tally = Tally {
            sum: self.tally.sum.saturating_sub(earlier_tally.sum),
            ..Tally::default()
        };
        self.tally.counts.for_each(|index, n| {
            let more = n.saturating_sub(old.get(&index).copied().unwrap_or(0));
            if more > 0 {
                tally.count += more;
                tally.min = tally.min.min(self.layout.lowest_of(index).max(self.tally.min));
                tally.max = tally.max.max(self.layout.highest_of(index).min(self.tally.max));
                tally.counts.add(index, more);
            }
        });
        Distribution {
            layout: self.layout,
            tally,
            clamped: self.clamped.saturating_sub(earlier.clamped),
        }
    }

    /// A distribution made of counts by bucket, with all else worked out from them.
    pub(crate) fn of_counts(layout: Layout, buckets: impl IntoIterator<Item = (usize, u64)>) -> Distribution {
        let mut tally = Tally::default();
        for (index, n) in buckets {
            tally.count = tally.count.saturating_add(n);
            tally.sum = tally
                .sum
                .saturating_add(u128::from(layout.middle_of(index)) * u128::from(n));
            tally.min = tally.min.min(layout.lowest_of(index));
            tally.max = tally
                .max
                .max(layout.highest_of(index).min(crate::layout::HIGHEST));
            tally.counts.add(index, n);
        }
        Distribution {
            layout,
            tally,
            clamped: 0,
        }
    }
}

/// The layout that loses nothing of either, as far as one range can hold both.
fn finer(a: &Layout, b: &Layout) -> Layout {
    let digits = a.digits().max(b.digits());
    let resolution = a.resolution().min(b.resolution());
    let top = (a.highest() as f64 * a.resolution()).max(b.highest() as f64 * b.resolution());
    Layout::new(digits, resolution, Some(top.max(resolution * 2.0))).unwrap_or(*a)
}
