//! How often each bucket was hit: a short list while few buckets are in use, then blocks of counters that exist only
//! where something was counted.

/// Entries of the short list at most; beyond, blocks take less time and, soon, less memory.
const SHORT: usize = 16;
/// Counters a block holds.
pub(crate) const BLOCK: usize = 64;

/// Hits by bucket index.
#[derive(Clone, Debug)]
pub struct Counts(Store);

#[derive(Clone, Debug)]
enum Store {
    Short(Vec<(u32, u32)>),
    Blocks(Blocks),
}

/// A directory and the blocks in one stretch of memory, two loads from any counter: the length of the directory; for
/// each block of indices the place of its counters, 0 where there are none, and a bit for each that is not 0; the
/// counters. The bits stand together because the blocks, which are many cache lines, are then found without waiting.
#[derive(Clone, Debug)]
struct Blocks(Vec<u64>);

impl Default for Counts {
    fn default() -> Self {
        Self(Store::Short(Vec::new()))
    }
}

impl Counts {
    /// Adds `n` hits of a bucket. O(1).
    #[inline]
    pub fn add(&mut self, index: usize, n: u64) {
        match &mut self.0 {
            Store::Blocks(blocks) => blocks.add(index, n),
            Store::Short(list) => {
                let key = index as u32;
                if let Some(entry) = list.iter_mut().find(|entry| entry.0 == key)
                    && let Some(sum) = u32::try_from(n).ok().and_then(|n| entry.1.checked_add(n))
                {
                    entry.1 = sum;
                } else {
                    self.add_slowly(index, n);
                }
            }
        }
    }

    /// Adds a hit of a bucket that was hit before; false, with nothing changed, where more is to be done. O(1).
    #[inline]
    pub(crate) fn hit_again(&mut self, index: usize) -> bool {
        match &mut self.0 {
            Store::Blocks(blocks) => {
                let place = blocks.place(index / BLOCK);
                match blocks.0.get_mut(place + index % BLOCK) {
                    Some(counter) if place > 0 && *counter > 0 => {
                        *counter = counter.saturating_add(1);
                        true
                    }
                    _ => false,
                }
            }
            Store::Short(list) => match list.iter_mut().find(|entry| entry.0 == index as u32) {
                Some(entry) if entry.1 < u32::MAX => {
                    entry.1 += 1;
                    true
                }
                _ => false,
            },
        }
    }

    #[cold]
    fn add_slowly(&mut self, index: usize, n: u64) {
        let Store::Short(list) = &mut self.0 else { return };
        let known = list.iter().any(|entry| entry.0 == index as u32);
        if !known
            && list.len() < SHORT
            && let Ok(n) = u32::try_from(n)
        {
            list.push((index as u32, n));
            return;
        }
        let mut blocks = Blocks(vec![0]);
        for &(index, n) in list.iter() {
            blocks.add(index as usize, n.into());
        }
        blocks.add(index, n);
        self.0 = Store::Blocks(blocks);
    }

    /// Adds all that `other` has counted. O(buckets in use), a block of them at a time where both have it.
    pub fn merge(&mut self, other: &Counts) {
        match (&mut self.0, &other.0) {
            (Store::Blocks(all), Store::Blocks(more)) => all.merge(more),
            (Store::Short(list), _) if list.is_empty() => *self = other.clone(),
            _ => other.for_each(|index, n| self.add(index, n)),
        }
    }

    /// The buckets that were hit, in order of the index, and how often.
    pub fn for_each(&self, mut f: impl FnMut(usize, u64)) {
        match &self.0 {
            Store::Short(list) => {
                let mut sorted = list.clone();
                sorted.sort_unstable();
                for (index, n) in sorted {
                    f(index as usize, n.into());
                }
            }
            Store::Blocks(blocks) => blocks.for_each(f),
        }
    }

    /// The blocks that were hit, in order, each with a bit for every bucket of it that was and how often these were.
    pub(crate) fn for_each_block(&self, mut f: impl FnMut(usize, u64, &[u64])) {
        match &self.0 {
            Store::Blocks(blocks) => blocks.for_each_block(f),
            Store::Short(_) => {
                let mut open: Option<(usize, u64, [u64; BLOCK])> = None;
                self.for_each(|index, n| {
                    let block = index / BLOCK;
                    if let Some((last, mask, counters)) = open.take_if(|open| open.0 != block) {
                        f(last, mask, &counters);
                    }
                    let (_, mask, counters) = open.get_or_insert((block, 0, [0; BLOCK]));
                    *mask |= 1 << (index % BLOCK);
                    counters[index % BLOCK] = n;
                });
                if let Some((block, mask, counters)) = open {
                    f(block, mask, &counters);
                }
            }
        }
    }

    /// Adds to the buckets of a block: for each bit of the mask, lowest first, what `next` gives.
    pub(crate) fn add_block<E>(
        &mut self,
        block: usize,
        mask: u64,
        mut next: impl FnMut() -> Result<u64, E>,
    ) -> Result<(), E> {
        let mut left = mask;
        // A short list may become blocks on the way.
        while left != 0 && matches!(self.0, Store::Short(_)) {
            self.add(block * BLOCK + left.trailing_zeros() as usize, next()?);
            left &= left - 1;
        }
        if let Store::Blocks(blocks) = &mut self.0
            && left != 0
        {
            let (hit, counters) = blocks.block(block);
            while left != 0 {
                let i = left.trailing_zeros();
                let n = next()?;
                counters[i as usize] = counters[i as usize].saturating_add(n);
                *hit |= u64::from(n > 0) << i;
                left &= left - 1;
            }
        }
        Ok(())
    }

    /// The blocks of both together, as [`Counts::for_each_block`] has those of one.
    pub(crate) fn for_each_block_with(&self, other: &Counts, mut f: impl FnMut(usize, u64, &[u64])) {
        match (&self.0, &other.0) {
            (Store::Blocks(a), Store::Blocks(b)) => a.for_each_block_with(b, f),
            (_, Store::Short(list)) if list.is_empty() => self.for_each_block(f),
            (Store::Short(list), _) if list.is_empty() => other.for_each_block(f),
            _ => {
                let mut all = self.clone();
                all.merge(other);
                all.for_each_block(&mut f);
            }
        }
    }

    /// Forgets everything, but keeps its room.
    pub(crate) fn clear(&mut self) {
        match &mut self.0 {
            Store::Short(list) => list.clear(),
            Store::Blocks(blocks) => blocks.clear(),
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.0, Store::Short(list) if list.is_empty())
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Store::Short(list) => list.capacity() * 8,
            Store::Blocks(blocks) => blocks.0.capacity() * 8,
        }
    }
}

impl Blocks {
    #[inline]
    fn add(&mut self, index: usize, n: u64) {
        let (hit, counters) = self.block(index / BLOCK);
        let counter = &mut counters[index % BLOCK];
        *counter = counter.saturating_add(n);
        *hit |= u64::from(n > 0) << (index % BLOCK);
    }

    /// Where the counters of a block begin, or 0.
    #[inline]
    fn place(&self, block: usize) -> usize {
        if block < self.blocks() {
            self.0[1 + 2 * block] as usize
        } else {
            0
        }
    }

    /// How many blocks the directory knows.
    #[inline]
    fn blocks(&self) -> usize {
        self.0[0] as usize
    }

    #[cold]
    fn grow(&mut self, block: usize) -> usize {
        let known = self.blocks();
        if block >= known {
            // All counters move up for it: each time it grows by a good part, so that this happens a few times only.
            let more = (block + 1 - known).max(known / 4);
            let end = 1 + 2 * known;
            let places = self.0[1..end].iter_mut().step_by(2);
            places
                .filter(|place| **place > 0)
                .for_each(|place| *place += 2 * more as u64);
            self.0.splice(end..end, std::iter::repeat_n(0, 2 * more));
            self.0[0] = (known + more) as u64;
        }
        let place = self.0.len();
        self.0.resize(place + BLOCK, 0);
        self.0[1 + 2 * block] = place as u64;
        place
    }

    /// The bits and the counters of a block, made when there is none.
    #[inline]
    fn block(&mut self, block: usize) -> (&mut u64, &mut [u64]) {
        let place = match self.place(block) {
            0 => self.grow(block),
            place => place,
        };
        let (directory, counters) = self.0.split_at_mut(place);
        (&mut directory[2 + 2 * block], &mut counters[..BLOCK])
    }

    /// The bits and the counters of a block; no bit where there is none.
    #[inline]
    fn get(&self, block: usize) -> (u64, &[u64]) {
        match self.place(block) {
            0 => (0, &[]),
            place => (self.0[2 + 2 * block], &self.0[place..place + BLOCK]),
        }
    }

    fn merge(&mut self, other: &Blocks) {
        other.for_each_block(|block, mask, counters| {
            let (hit, all) = self.block(block);
            *hit |= mask;
            for (sum, n) in all.iter_mut().zip(counters) {
                *sum = sum.saturating_add(*n);
            }
        });
    }

    fn clear(&mut self) {
        for block in 0..self.blocks() {
            let (mut left, _) = self.get(block);
            if left != 0 {
                let (hit, counters) = self.block(block);
                *hit = 0;
                while left != 0 {
                    counters[left.trailing_zeros() as usize] = 0;
                    left &= left - 1;
                }
            }
        }
    }

    fn for_each_block(&self, mut f: impl FnMut(usize, u64, &[u64])) {
        for block in 0..self.blocks() {
            let (mask, counters) = self.get(block);
            if mask != 0 {
                f(block, mask, counters);
            }
        }
    }

    fn for_each_block_with(&self, other: &Blocks, mut f: impl FnMut(usize, u64, &[u64])) {
        for block in 0..self.blocks().max(other.blocks()) {
            match (self.get(block), other.get(block)) {
                ((0, _), (0, _)) => {}
                ((mask, counters), (0, _)) | ((0, _), (mask, counters)) => f(block, mask, counters),
                ((one, some), (two, more)) => {
                    let mut sums = [0; BLOCK];
                    for (sum, (a, b)) in sums.iter_mut().zip(some.iter().zip(more)) {
                        *sum = a.saturating_add(*b);
                    }
                    f(block, one | two, &sums);
                }
            }
        }
    }

    fn for_each(&self, mut f: impl FnMut(usize, u64)) {
        self.for_each_block(|block, mut mask, counters| {
            while mask != 0 {
                let i = mask.trailing_zeros() as usize;
                f(block * BLOCK + i, counters[i]);
                mask &= mask - 1;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn counts_as_a_map_does(
            hits in prop::collection::vec((0_usize..60_000, 1_u64..u64::MAX / 1000), 0..200),
            dense in prop::collection::vec(0_usize..300, 0..200),
        ) {
            let mut counts = Counts::default();
            let mut model = BTreeMap::<usize, u64>::new();
            for (index, n) in hits.into_iter().chain(dense.into_iter().map(|index| (index, 1))) {
                counts.add(index, n);
                *model.entry(index).or_default() += n;
            }
            let mut seen = Vec::new();
            counts.for_each(|index, n| seen.push((index, n)));
            prop_assert_eq!(seen, model.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn merging_is_counting_all_into_one(
            a in prop::collection::vec((0_usize..6_000, 1_u64..1_000), 0..200),
            b in prop::collection::vec((0_usize..60_000, 1_u64..1_000), 0..200),
        ) {
            let of = |hits: &[(usize, u64)]| {
                let mut counts = Counts::default();
                hits.iter().for_each(|&(index, n)| counts.add(index, n));
                counts
            };
            let all = |counts: &Counts| {
                let mut seen = Vec::new();
                counts.for_each(|index, n| seen.push((index, n)));
                seen
            };
            let together = all(&of(&[a.clone(), b.clone()].concat()));
            let mut merged = of(&a);
            merged.merge(&of(&b));
            prop_assert_eq!(all(&merged), together.clone());
            let mut read = Vec::new();
            of(&a).for_each_block_with(&of(&b), |block, mask, counters| {
                let hit = (0..BLOCK).filter(|i| mask >> i & 1 == 1);
                read.extend(hit.map(|i| (block * BLOCK + i, counters[i])));
            });
            prop_assert_eq!(read, together);
        }

        #[test]
        fn what_was_cleared_counts_as_a_new_one(
            a in prop::collection::vec((0_usize..6_000, 1_u64..1_000), 0..200),
            b in prop::collection::vec((0_usize..60_000, 1_u64..1_000), 0..200),
        ) {
            let mut counts = Counts::default();
            a.iter().for_each(|&(index, n)| counts.add(index, n));
            counts.clear();
            let mut model = BTreeMap::<usize, u64>::new();
            for (index, n) in b {
                if !(n == 1 && counts.hit_again(index)) {
                    counts.add(index, n);
                }
                *model.entry(index).or_default() += n;
            }
            let mut seen = Vec::new();
            counts.for_each(|index, n| seen.push((index, n)));
            prop_assert_eq!(seen, model.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_full_counter_stays_full() {
        let mut counts = Counts::default();
        counts.add(3, u64::MAX - 1);
        counts.add(3, 5);
        counts.for_each(|index, n| assert_eq!((index, n), (3, u64::MAX)));
    }
}
