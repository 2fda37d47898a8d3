//! How often each bucket was hit: a short list while few buckets are in use, then blocks of counters that exist only
//! where something was counted.

/// Entries of the short list at most; beyond, blocks take less time and, soon, less memory.
const SHORT: usize = 16;
/// Counters a block holds.
const BLOCK: usize = 64;

/// Hits by bucket index.
#[derive(Clone, Debug)]
pub struct Counts(Store);

#[derive(Clone, Debug)]
enum Store {
    Short(Vec<(u32, u32)>),
    Blocks(Box<Blocks>),
}

#[derive(Clone, Debug, Default)]
struct Blocks {
    /// For each block of indices, one more than its place in `counters`; 0 where there is none.
    directory: Vec<u32>,
    counters: Vec<[u64; BLOCK]>,
}

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
        let mut blocks = Box::<Blocks>::default();
        for &(index, n) in list.iter() {
            blocks.add(index as usize, n.into());
        }
        blocks.add(index, n);
        self.0 = Store::Blocks(blocks);
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
            Store::Blocks(b) => {
                size_of::<Blocks>() + b.directory.capacity() * 4 + b.counters.capacity() * BLOCK * 8
            }
        }
    }
}

impl Blocks {
    #[inline]
    fn add(&mut self, index: usize, n: u64) {
        let at = match self.directory.get(index / BLOCK) {
            Some(&at) if at > 0 => at,
            _ => self.grow(index / BLOCK),
        };
        let counter = &mut self.counters[at as usize - 1][index % BLOCK];
        *counter = counter.saturating_add(n);
    }

    #[cold]
    fn grow(&mut self, block: usize) -> u32 {
        if self.directory.len() <= block {
            self.directory.resize(block + 1, 0);
        }
        self.counters.push([0; BLOCK]);
        let at = self.counters.len() as u32;
        self.directory[block] = at;
        at
    }

    fn for_each(&self, mut f: impl FnMut(usize, u64)) {
        for (block, &at) in self.directory.iter().enumerate() {
            if at > 0 {
                for (i, &n) in self.counters[at as usize - 1].iter().enumerate() {
                    if n > 0 {
                        f(block * BLOCK + i, n);
                    }
                }
            }
        }
    }
}
