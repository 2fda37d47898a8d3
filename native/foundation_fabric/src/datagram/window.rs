//! Which counters of one sender were taken: the newest, and a bit for each of the 1,024 up to it.

const WORDS: usize = 16;
const BITS: u64 = 64 * WORDS as u64;

/// Accepts each counter once.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    /// One above the newest counter taken; 0 before the first.
    next: u64,
    /// Bit `counter % BITS` of the last `BITS` counters.
    taken: [u64; WORDS],
}

impl Window {
    /// Whether `counter` may still be taken.
    pub(super) fn is_new(&self, counter: u64) -> bool {
        counter >= self.next || (self.next - counter <= BITS && !self.bit(counter))
    }

    /// Takes `counter`, which [`Window::is_new`] allowed.
    pub(super) fn take(&mut self, counter: u64) {
        if counter >= self.next {
            let skipped = counter - self.next;
            if skipped >= BITS {
                self.taken = [0; WORDS];
            } else {
                for between in self.next..counter {
                    self.clear(between);
                }
            }
            self.next = counter.saturating_add(1);
        }
        let (word, bit) = place(counter);
        self.taken[word] |= bit;
    }

    fn bit(&self, counter: u64) -> bool {
        let (word, bit) = place(counter);
        self.taken[word] & bit != 0
    }

    fn clear(&mut self, counter: u64) {
        let (word, bit) = place(counter);
        self.taken[word] &= !bit;
    }
}

const fn place(counter: u64) -> (usize, u64) {
    let place = counter % BITS;
    ((place / 64) as usize, 1 << (place % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    proptest! {
        #[test]
        fn like_a_set_that_forgets_what_is_far_behind(
            steps in proptest::collection::vec((0..3u8, 0..2_500u64), 1..400),
        ) {
            let (mut window, mut taken, mut newest) = (Window::default(), HashSet::new(), 0_u64);
            for (kind, by) in steps {
                let counter = match kind {
                    0 => newest + by % 4,
                    1 => newest + by,
                    _ => newest.saturating_sub(by),
                };
                let fresh = !taken.contains(&counter)
                    && (taken.is_empty() || counter > newest || newest - counter < BITS);
                prop_assert_eq!(window.is_new(counter), fresh, "{} newest {}", counter, newest);
                if fresh {
                    window.take(counter);
                    taken.insert(counter);
                    newest = newest.max(counter);
                    prop_assert!(!window.is_new(counter));
                }
            }
        }
    }

    #[test]
    fn the_last_counter_of_all_is_taken_once() {
        let mut window = Window::default();
        assert!(window.is_new(u64::MAX - 1));
        window.take(u64::MAX - 1);
        assert!(!window.is_new(u64::MAX - 1));
        assert!(window.is_new(u64::MAX - 2));
    }
}
