//! Vector clocks: what each of several parties had done when something happened.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A vector clock over parties named by `K`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VectorClock<K: Ord>(BTreeMap<K, u64>);

impl<K: Ord> Default for VectorClock<K> {
    fn default() -> Self {
        VectorClock(BTreeMap::new())
    }
}

impl<K: Ord + Clone> VectorClock<K> {
    /// What the party has done; 0 when nothing is known of it.
    pub fn get(&self, party: &K) -> u64 {
        self.0.get(party).copied().unwrap_or(0)
    }

    /// Counts one more event of the party, and answers its number.
    pub fn increment(&mut self, party: K) -> u64 {
        let n = self.0.entry(party).or_insert(0);
        *n += 1;
        *n
    }

    /// The least clock that descends from both.
    pub fn merge(&mut self, other: &Self) {
        for (party, n) in &other.0 {
            let mine = self.0.entry(party.clone()).or_insert(0);
            *mine = (*mine).max(*n);
        }
    }

    /// Whether everything the other has seen is in this one.
    pub fn descends(&self, other: &Self) -> bool {
        other.0.iter().all(|(party, n)| self.get(party) >= *n)
    }

    /// Before, after or equal; none when the two are concurrent.
    pub fn compare(&self, other: &Self) -> Option<Ordering> {
        match (self.descends(other), other.descends(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clock() -> impl Strategy<Value = VectorClock<u8>> {
        prop::collection::btree_map(0u8..4, 1u64..4, 0..4).prop_map(VectorClock)
    }

    proptest! {
        #[test]
        fn merge_is_the_least_upper_bound(a in clock(), b in clock(), c in clock()) {
            let join = |x: &VectorClock<u8>, y: &VectorClock<u8>| { let mut z = x.clone(); z.merge(y); z };
            let ab = join(&a, &b);
            prop_assert!(ab.descends(&a) && ab.descends(&b));
            prop_assert_eq!(&ab, &join(&b, &a));
            prop_assert_eq!(join(&ab, &c), join(&a, &join(&b, &c)));
            prop_assert_eq!(join(&a, &a), a.clone());
            if c.descends(&a) && c.descends(&b) {
                prop_assert!(c.descends(&ab));
            }
            prop_assert_eq!(a.compare(&b), b.compare(&a).map(Ordering::reverse));
        }

        #[test]
        fn an_event_comes_after_what_it_has_seen(a in clock(), party in 0u8..4) {
            let mut next = a.clone();
            prop_assert_eq!(next.increment(party), a.get(&party) + 1);
            prop_assert_eq!(a.compare(&next), Some(Ordering::Less));
        }
    }
}
