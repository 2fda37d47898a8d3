//! Causal contexts: which dots a replica has seen, kept as runs of consecutive counters.
//!
//! A version vector is the case of one run from 1 for each replica; a dot that came before its predecessors begins a
//! run of its own, which melts into its neighbours when the gap is filled. A removal leaves nothing behind but this.

use crate::Error;
use crate::wire::{self, Reader};
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// A set of counters of one replica: sorted runs that neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs(SmallVec<[(u64, u64); 1]>);

impl Runs {
    /// The counters from `low` to `high`, both included.
    pub fn of(low: u64, high: u64) -> Self {
        Runs(SmallVec::from_elem((low, high), 1))
    }

    /// Whether the counter is in the set. O(log runs).
    pub fn contains(&self, n: u64) -> bool {
        let at = self.0.partition_point(|(_, high)| *high < n);
        self.0.get(at).is_some_and(|(low, _)| *low <= n)
    }

    /// Adds a counter; false when it was there. O(1) behind the last, else O(runs).
    pub fn insert(&mut self, n: u64) -> bool {
        if let Some((_, high)) = self.0.last_mut().filter(|(_, high)| *high + 1 == n) {
            *high = n;
            return true;
        }
        let new = !self.contains(n);
        if new {
            self.insert_run(n, n);
        }
        new
    }

    /// Adds all counters from `low` to `high`. O(runs).
    pub fn insert_run(&mut self, low: u64, high: u64) {
        let from = self.0.partition_point(|(_, end)| end.saturating_add(1) < low);
        let to = from + self.0[from..].partition_point(|(start, _)| *start <= high.saturating_add(1));
        if from == to {
            self.0.insert(from, (low, high));
            return;
        }
        self.0[from] = (low.min(self.0[from].0), high.max(self.0[to - 1].1));
        self.0.drain(from + 1..to);
    }

    /// Adds what the other has.
    pub fn merge(&mut self, other: &Runs) {
        for (low, high) in other.iter() {
            self.insert_run(low, high);
        }
    }

    /// The largest counter; 0 when there is none.
    pub fn max(&self) -> u64 {
        self.0.last().map_or(0, |(_, high)| *high)
    }

    /// Whether there is no counter in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many runs there are; 1 where nothing is missing.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The runs in order, both ends included.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.0.iter().copied()
    }

    /// What this has and the other has not, in order.
    pub fn without(&self, other: &Runs) -> Runs {
        let mut left = Runs::default();
        for (mut low, high) in self.iter() {
            let mut at = other.0.partition_point(|(_, end)| *end < low);
            while let Some((start, end)) = other.0.get(at).copied().filter(|(start, _)| *start <= high) {
                if start > low {
                    left.0.push((low, start - 1));
                }
                low = end.saturating_add(1);
                at += 1;
            }
            if low <= high {
                left.0.push((low, high));
            }
        }
        left
    }

    /// The part of it from `low` to `high`.
    pub fn clip(&self, low: u64, high: u64) -> Runs {
        let inside = self.iter().filter(|(start, end)| *end >= low && *start <= high);
        Runs(
            inside
                .map(|(start, end)| (start.max(low), end.min(high)))
                .collect(),
        )
    }

    /// Whether the other has all that this has.
    pub fn within(&self, other: &Runs) -> bool {
        self.iter().all(|(low, high)| {
            let at = other.0.partition_point(|(_, end)| *end < low);
            other
                .0
                .get(at)
                .is_some_and(|(start, end)| *start <= low && high <= *end)
        })
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        wire::put_u64(out, self.0.len() as u64);
        let mut last = 0;
        for (low, high) in self.iter() {
            wire::put_u64(out, low - last);
            wire::put_u64(out, high - low);
            last = high;
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let mut runs = SmallVec::new();
        let mut last = 0u64;
        for i in 0..reader.count(2)? {
            let low = last.checked_add(reader.u64()?).ok_or(Error::Malformed)?;
            let high = low.checked_add(reader.u64()?).ok_or(Error::Malformed)?;
            if low == 0 || (i > 0 && low < last + 2) || high >= u64::MAX - 1 {
                return Err(Error::Malformed);
            }
            runs.push((low, high));
            last = high;
        }
        Ok(Runs(runs))
    }
}

/// A set of dots: for each replica, by its id, the counters that were seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context(BTreeMap<u64, Runs>);

impl Context {
    /// Whether the dot was seen.
    pub fn contains(&self, replica: u64, counter: u64) -> bool {
        self.0.get(&replica).is_some_and(|runs| runs.contains(counter))
    }

    /// Adds a dot; false when it was there.
    pub fn insert(&mut self, replica: u64, counter: u64) -> bool {
        self.0.entry(replica).or_default().insert(counter)
    }

    /// Adds a run of dots.
    pub fn insert_run(&mut self, replica: u64, low: u64, high: u64) {
        self.0.entry(replica).or_default().insert_run(low, high);
    }

    /// Adds runs of one replica.
    pub fn insert_runs(&mut self, replica: u64, runs: &Runs) {
        if !runs.is_empty() {
            self.0.entry(replica).or_default().merge(runs);
        }
    }

    /// Adds what the other has.
    pub fn merge(&mut self, other: &Context) {
        for (replica, runs) in &other.0 {
            self.insert_runs(*replica, runs);
        }
    }

    /// The counters of one replica that were seen.
    pub fn of(&self, replica: u64) -> Option<&Runs> {
        self.0.get(&replica)
    }

    /// Whether the other has seen all of it.
    pub fn within(&self, other: &Context) -> bool {
        self.0
            .iter()
            .all(|(replica, runs)| other.of(*replica).is_some_and(|seen| runs.within(seen)))
    }

    /// Whether nothing was seen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replicas in the order of their ids, and what was seen of each.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Runs)> {
        self.0.iter().map(|(replica, runs)| (*replica, runs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn runs(counters: &BTreeSet<u64>) -> Runs {
        let mut runs = Runs::default();
        for n in counters {
            runs.insert(*n);
        }
        runs
    }

    fn counters(runs: &Runs) -> BTreeSet<u64> {
        runs.iter().flat_map(|(low, high)| low..=high).collect()
    }

    proptest! {
        #[test]
        fn runs_are_a_set(a in prop::collection::vec(1u64..60, 0..40), b in prop::collection::btree_set(1u64..60, 0..40), low in 1u64..60, len in 0u64..20) {
            let mut left = Runs::default();
            let mut model = BTreeSet::new();
            for n in a {
                prop_assert_eq!(left.insert(n), model.insert(n));
            }
            let right = runs(&b);
            prop_assert_eq!(counters(&left), model.clone());
            prop_assert!(left.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
            prop_assert_eq!(counters(&left.without(&right)), &model - &b);
            prop_assert_eq!(left.within(&right), model.is_subset(&b));
            prop_assert_eq!(counters(&left.clip(low, low + len)), model.range(low..=low + len).copied().collect::<BTreeSet<_>>());
            for n in 0..70 {
                prop_assert_eq!(left.contains(n), model.contains(&n));
            }
            let mut bytes = Vec::new();
            left.encode(&mut bytes);
            prop_assert_eq!(&Runs::decode(&mut Reader::new(&bytes)).unwrap(), &left);
            left.merge(&right);
            prop_assert_eq!(counters(&left), &model | &b);
            left.insert_run(low, low + len);
            prop_assert!(left.0.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0));
        }
    }
}
