//! The live dots of one replica in the order of their counters, each with the place of its entry, and sums over ranges.
//!
//! Counters grow without end while the live ones stay few, so they are kept in blocks of a bounded number, as the leaves
//! of a B-tree: eight bytes a dot, and a sum of hashes a block from which the sum of a range is made.

/// Most dots of a block.
const BLOCK: usize = 512;
/// A block with fewer looks for a neighbour to join.
const SPARSE: usize = BLOCK / 8;

#[derive(Debug)]
struct Block {
    /// What the offsets are counted from; not above the first counter.
    base: u64,
    sum: u64,
    /// Offset and entry, by offset.
    items: Vec<(u32, u32)>,
}

impl Block {
    fn last(&self) -> u64 {
        self.base + self.items.last().map_or(0, |(offset, _)| u64::from(*offset))
    }

    fn index(&self, counter: u64) -> Result<usize, usize> {
        let offset = counter - self.base;
        self.items.binary_search_by_key(&offset, |(o, _)| u64::from(*o))
    }
}

/// The live dots of one replica.
#[derive(Debug)]
pub(crate) struct DotLog {
    id: u64,
    blocks: Vec<Block>,
}

/// A dot's share of a sum; the same on every machine.
pub(crate) fn hash(replica: u64, counter: u64) -> u64 {
    mix(replica ^ mix(counter))
}

/// Spreads a word over all of its bits.
pub(crate) fn mix(word: u64) -> u64 {
    let mut x = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl DotLog {
    pub(crate) fn new(id: u64) -> Self {
        DotLog {
            id,
            blocks: Vec::new(),
        }
    }

    /// The block in which the counter is, or would be.
    fn block(&self, counter: u64) -> Option<usize> {
        self.blocks
            .partition_point(|block| block.base <= counter)
            .checked_sub(1)
    }

    /// Adds a dot that is not there. O(1) behind the last, else O(block).
    pub(crate) fn insert(&mut self, counter: u64, entry: u32) {
        let sum = hash(self.id, counter);
        let at = self.block(counter);
        let fits = at.filter(|at| counter - self.blocks[*at].base <= u64::from(u32::MAX));
        let Some(at) = fits else {
            let items = vec![(0, entry)];
            self.blocks.insert(
                at.map_or(0, |at| at + 1),
                Block {
                    base: counter,
                    sum,
                    items,
                },
            );
            return;
        };
        let block = &mut self.blocks[at];
        if block.items.len() == BLOCK {
            if counter > block.last() {
                let items = vec![(0, entry)];
                self.blocks.insert(
                    at + 1,
                    Block {
                        base: counter,
                        sum,
                        items,
                    },
                );
                return;
            }
            self.split(at);
            return self.insert(counter, entry);
        }
        block.sum = block.sum.wrapping_add(sum);
        let place = block.index(counter).unwrap_or_else(|place| place);
        // The offset fits: it was compared with u32::MAX above.
        block.items.insert(place, ((counter - block.base) as u32, entry));
    }

    fn split(&mut self, at: usize) {
        let block = &mut self.blocks[at];
        let upper = block.items.split_off(BLOCK / 2);
        block.items.shrink_to_fit();
        let first = upper[0].0;
        let base = block.base + u64::from(first);
        let items: Vec<(u32, u32)> = upper.iter().map(|(offset, e)| (offset - first, *e)).collect();
        let sum = items.iter().fold(0u64, |sum, (offset, _)| {
            sum.wrapping_add(hash(self.id, base + u64::from(*offset)))
        });
        self.blocks[at].sum = self.blocks[at].sum.wrapping_sub(sum);
        self.blocks.insert(at + 1, Block { base, sum, items });
    }

    /// The entry of a dot.
    #[cfg(test)]
    pub(crate) fn get(&self, counter: u64) -> Option<u32> {
        let block = &self.blocks[self.block(counter)?];
        block.index(counter).ok().map(|place| block.items[place].1)
    }

    /// Takes a dot out; false when it is not there. O(block).
    pub(crate) fn remove(&mut self, counter: u64) -> bool {
        let Some(at) = self.block(counter) else {
            return false;
        };
        let block = &mut self.blocks[at];
        let Ok(place) = block.index(counter) else {
            return false;
        };
        block.items.remove(place);
        block.sum = block.sum.wrapping_sub(hash(self.id, counter));
        if block.items.is_empty() {
            self.blocks.remove(at);
        } else if block.items.len() < SPARSE {
            self.tidy(at);
        }
        true
    }

    /// Joins a sparse block with the one before it, where both fit one and their counters 32 bits.
    fn tidy(&mut self, at: usize) {
        if at == 0 {
            return;
        }
        let (low, high) = (&self.blocks[at - 1], &self.blocks[at]);
        if low.items.len() + high.items.len() > BLOCK / 2 || high.last() - low.base > u64::from(u32::MAX) {
            return;
        }
        let high = self.blocks.remove(at);
        let low = &mut self.blocks[at - 1];
        let apart = (high.base - low.base) as u32;
        low.items
            .extend(high.items.iter().map(|(offset, e)| (offset + apart, *e)));
        low.items.shrink_to(BLOCK / 2);
        low.sum = low.sum.wrapping_add(high.sum);
    }

    /// The dots from `low` to `high`, both included, in order.
    pub(crate) fn range(&self, low: u64, high: u64) -> impl Iterator<Item = (u64, u32)> + '_ {
        let first = self.block(low).unwrap_or(0);
        self.blocks[first..]
            .iter()
            .take_while(move |block| block.base <= high)
            .flat_map(move |block| {
                let from = block
                    .items
                    .partition_point(|(offset, _)| block.base + u64::from(*offset) < low);
                let items = block.items[from..].iter();
                items.map(move |(offset, entry)| (block.base + u64::from(*offset), *entry))
            })
            .take_while(move |(counter, _)| *counter <= high)
    }

    /// How many dots there are from `low` to `high`, and the sum of their hashes. O(blocks).
    pub(crate) fn sum(&self, low: u64, high: u64) -> (usize, u64) {
        let first = self.block(low).unwrap_or(0);
        let mut total = (0, 0u64);
        for block in self.blocks[first.min(self.blocks.len())..]
            .iter()
            .take_while(|block| block.base <= high)
        {
            if low <= block.base && block.last() <= high {
                total = (total.0 + block.items.len(), total.1.wrapping_add(block.sum));
                continue;
            }
            for (offset, _) in &block.items {
                let counter = block.base + u64::from(*offset);
                if (low..=high).contains(&counter) {
                    total = (total.0 + 1, total.1.wrapping_add(hash(self.id, counter)));
                }
            }
        }
        total
    }

    /// The sum of all. O(blocks).
    pub(crate) fn total(&self) -> u64 {
        self.blocks
            .iter()
            .fold(0, |sum, block| sum.wrapping_add(block.sum))
    }

    /// Cuts the range into at most `parts` of about as many dots each: their ends, both included. They cover the range.
    pub(crate) fn cut(&self, low: u64, high: u64, parts: usize) -> Vec<(u64, u64)> {
        let (count, _) = self.sum(low, high);
        let each = count.div_ceil(parts.max(1)).max(1);
        let mut cuts = Vec::new();
        let mut from = low;
        for (i, (counter, _)) in self.range(low, high).enumerate() {
            if i > 0 && i % each == 0 {
                cuts.push((from, counter - 1));
                from = counter;
            }
        }
        cuts.push((from, high));
        cuts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn check(log: &DotLog, model: &BTreeMap<u64, u32>, low: u64, high: u64) {
        let want: Vec<(u64, u32)> = model.range(low..=high).map(|(c, e)| (*c, *e)).collect();
        assert_eq!(log.range(low, high).collect::<Vec<_>>(), want);
        let sum = want
            .iter()
            .fold(0u64, |sum, (c, _)| sum.wrapping_add(hash(7, *c)));
        assert_eq!(log.sum(low, high), (want.len(), sum));
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map_with_sums(
            steps in prop::collection::vec((prop::bool::weighted(0.6), 1u64..3000, any::<u32>(), any::<bool>()), 1..3000),
            ranges in prop::collection::vec((1u64..3000, 0u64..3000), 5),
        ) {
            let mut log = DotLog::new(7);
            let mut model = BTreeMap::new();
            for (add, counter, entry, far) in steps {
                let counter = if far { counter << 33 } else { counter };
                if add && !model.contains_key(&counter) {
                    log.insert(counter, entry);
                    model.insert(counter, entry);
                } else if !add {
                    prop_assert_eq!(log.remove(counter), model.remove(&counter).is_some());
                }
            }
            prop_assert_eq!(log.sum(0, u64::MAX).0, model.len());
            prop_assert!(log.blocks.windows(2).all(|pair| pair[0].last() < pair[1].base));
            prop_assert_eq!(log.total(), log.sum(0, u64::MAX).1);
            check(&log, &model, 0, u64::MAX);
            for (low, len) in ranges {
                check(&log, &model, low, low + len);
                let cuts = log.cut(low, low + len, 16);
                prop_assert!(cuts.len() <= 16);
                prop_assert_eq!(cuts[0].0, low);
                prop_assert_eq!(cuts[cuts.len() - 1].1, low + len);
                prop_assert!(cuts.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0));
            }
            for (counter, entry) in &model {
                prop_assert_eq!(log.get(*counter), Some(*entry));
            }
        }
    }
}
