//! Which numbers of which origin have been seen: exact, and small as long as few are missing.

use std::collections::BTreeSet;
use std::time::Duration;

use hashbrown::DefaultHashBuilder;
use hashbrown::HashMap;
use smallvec::SmallVec;

use crate::types::NodeId;

/// Bounds of a [`Seen`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenLimits {
    /// Most origins remembered; the one idle longest is forgotten first.
    pub origins: usize,
    /// Most gaps remembered for one origin; the oldest gap is closed first, as if it had been seen.
    pub gaps: usize,
}

impl Default for SeenLimits {
    fn default() -> Self {
        Self {
            origins: 16_384,
            gaps: 512,
        }
    }
}

/// Remembers, for each origin, the ranges of sequence numbers seen.
///
/// An origin without gaps costs one range however many messages it sent. Both bounds only ever turn a message that
/// was not seen into one that counts as seen, or forget an origin that has long been silent.
#[derive(Debug)]
pub struct Seen {
    limits: SeenLimits,
    origins: HashMap<NodeId, Origin, DefaultHashBuilder>,
    idle: BTreeSet<(Duration, NodeId)>,
    closed_gaps: u64,
    forgotten_origins: u64,
}

#[derive(Debug)]
struct Origin {
    used: Duration,
    ranges: Ranges,
}

/// Inclusive ranges in ascending order that neither touch nor overlap.
#[derive(Debug, Default)]
struct Ranges(SmallVec<[(u64, u64); 2]>);

impl Ranges {
    fn contains(&self, seq: u64) -> bool {
        let after = self.0.partition_point(|&(first, _)| first <= seq);
        after > 0 && self.0[after - 1].1 >= seq
    }

    /// Adds a number; false when it was there.
    fn insert(&mut self, seq: u64) -> bool {
        let after = self.0.partition_point(|&(first, _)| first <= seq);
        if after > 0 && self.0[after - 1].1 >= seq {
            return false;
        }
        let joins_left = after > 0 && self.0[after - 1].1 + 1 == seq;
        let joins_right = after < self.0.len() && self.0[after].0 - 1 == seq;
        match (joins_left, joins_right) {
            (true, true) => {
                self.0[after - 1].1 = self.0[after].1;
                self.0.remove(after);
            }
            (true, false) => self.0[after - 1].1 = seq,
            (false, true) => self.0[after].0 = seq,
            (false, false) => self.0.insert(after, (seq, seq)),
        }
        true
    }

    /// Closes the oldest gaps until at most `gaps` are left; how many were closed.
    fn bound(&mut self, gaps: usize) -> u64 {
        let mut closed = 0;
        while self.0.len() > gaps + 1 {
            self.0[0].1 = self.0[1].1;
            self.0.remove(1);
            closed += 1;
        }
        closed
    }
}

impl Seen {
    /// Remembers nothing yet.
    #[must_use]
    pub fn new(limits: SeenLimits) -> Self {
        Self {
            limits,
            origins: HashMap::default(),
            idle: BTreeSet::new(),
            closed_gaps: 0,
            forgotten_origins: 0,
        }
    }

    /// Whether the number was seen, or lies in a gap that was closed.
    #[must_use]
    pub fn contains(&self, origin: &NodeId, seq: u64) -> bool {
        self.origins
            .get(origin)
            .is_some_and(|known| known.ranges.contains(seq))
    }

    /// Whether anything of this origin was seen.
    #[must_use]
    pub fn knows(&self, origin: &NodeId) -> bool {
        self.origins.contains_key(origin)
    }

    /// Marks a number as seen; true the first time. O(log gaps + log origins).
    pub fn insert(&mut self, now: Duration, origin: &NodeId, seq: u64) -> bool {
        if let Some(known) = self.origins.get_mut(origin) {
            if !known.ranges.insert(seq) {
                return false;
            }
            self.closed_gaps += known.ranges.bound(self.limits.gaps);
            if known.used != now {
                self.idle.remove(&(known.used, origin.clone()));
                self.idle.insert((now, origin.clone()));
                known.used = now;
            }
            return true;
        }
        if self.origins.len() >= self.limits.origins.max(1)
            && let Some((_, oldest)) = self.idle.pop_first()
        {
            self.origins.remove(&oldest);
            self.forgotten_origins += 1;
        }
        let mut ranges = Ranges::default();
        ranges.insert(seq);
        self.idle.insert((now, origin.clone()));
        self.origins.insert(origin.clone(), Origin { used: now, ranges });
        true
    }

    /// Origins remembered now.
    #[must_use]
    pub fn origins(&self) -> usize {
        self.origins.len()
    }

    /// Gaps closed so far because there were too many.
    #[must_use]
    pub fn closed_gaps(&self) -> u64 {
        self.closed_gaps
    }

    /// Origins forgotten so far because there were too many.
    #[must_use]
    pub fn forgotten_origins(&self) -> u64 {
        self.forgotten_origins
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn node(name: &str) -> NodeId {
        crate::plumtree::tests::node(name)
    }

    #[test]
    fn a_stream_without_gaps_is_one_range() {
        let mut seen = Seen::new(SeenLimits::default());
        let origin = node("a");
        for seq in (0..1000).rev() {
            assert!(seen.insert(Duration::ZERO, &origin, seq));
            assert!(!seen.insert(Duration::ZERO, &origin, seq));
        }
        assert_eq!(seen.origins[&origin].ranges.0.as_slice(), &[(0, 999)]);
    }

    #[test]
    fn too_many_gaps_close_the_oldest() {
        let mut seen = Seen::new(SeenLimits { origins: 4, gaps: 2 });
        let origin = node("a");
        for seq in [0, 10, 20, 30] {
            assert!(seen.insert(Duration::ZERO, &origin, seq));
        }
        assert!(seen.contains(&origin, 5), "the gap 1..=9 is closed");
        assert!(!seen.contains(&origin, 15));
        assert!(!seen.contains(&origin, 25));
        assert_eq!(seen.closed_gaps(), 1);
    }

    #[test]
    fn the_origin_idle_longest_goes_first() {
        let mut seen = Seen::new(SeenLimits { origins: 2, gaps: 2 });
        seen.insert(Duration::from_secs(1), &node("a"), 0);
        seen.insert(Duration::from_secs(2), &node("b"), 0);
        seen.insert(Duration::from_secs(3), &node("a"), 1);
        seen.insert(Duration::from_secs(4), &node("c"), 0);
        assert!(seen.knows(&node("a")) && !seen.knows(&node("b")) && seen.knows(&node("c")));
        assert_eq!((seen.origins(), seen.forgotten_origins()), (2, 1));
    }

    #[test]
    fn the_ends_of_the_range_of_numbers_are_safe() {
        let mut seen = Seen::new(SeenLimits::default());
        for seq in [u64::MAX, 0, u64::MAX - 1, 1] {
            assert!(seen.insert(Duration::ZERO, &node("a"), seq));
        }
        assert!(!seen.insert(Duration::ZERO, &node("a"), u64::MAX));
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(numbers in proptest::collection::vec(0u64..200, 0..400)) {
            let mut seen = Seen::new(SeenLimits::default());
            let mut model = BTreeSet::new();
            let origin = node("a");
            for seq in numbers {
                prop_assert_eq!(seen.insert(Duration::ZERO, &origin, seq), model.insert(seq));
            }
            for seq in 0..201 {
                prop_assert_eq!(seen.contains(&origin, seq), model.contains(&seq));
            }
        }
    }
}
