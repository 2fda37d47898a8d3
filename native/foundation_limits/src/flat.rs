//! Where the plain keys of a shard are: sixteen bytes each for what a call reads and writes, four to a cache line, and
//! apart from them what only changes and answers need: the keys themselves.
//!
//! A hundred thousand keys come to some two megabytes that way, which a core's own cache holds, and the line that a
//! key is in is known as soon as its hash is. A key is told by its hash, all 64 bits of it, and by sixteen more that are
//! not made from the hash; two keys of one hash are never here together (see `table`). Only [`Flat::quick`] goes by
//! these 80 bits alone. Everything else compares keys. What a hot key counts stands elsewhere ([`crate::hot`]).

use crate::definition::Definition;
use crate::hot::{Hot, MOVED};
use crate::plain::{MAX_KEY, Plain};
use crate::plans::Plans;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Cells in a cache line.
const CELLS: usize = 4;
/// Least number of lines.
const LINES: usize = 4;

struct Cell {
    /// The key's hash; 0 when free.
    hash: u64,
    /// In units of the key's rate; [`MOVED`] when the key is a hot one.
    full_at: AtomicU64,
}

/// Keys live in the line that their hash says, or in the next that has room.
#[repr(C, align(64))]
struct Line([Cell; CELLS]);

/// What stands beside a cell.
#[derive(Clone, Copy, Default)]
struct Side {
    plan: u16,
    check: u16,
}

#[derive(Clone)]
pub(crate) struct Key {
    len: u8,
    patterned: bool,
    bytes: [u8; MAX_KEY],
}

impl Key {
    /// As [`Plain`] has it.
    #[inline]
    pub(crate) fn parts(&self) -> (&u8, &[u8; MAX_KEY]) {
        (&self.len, &self.bytes)
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    #[inline]
    pub(crate) fn patterned(&self) -> &bool {
        &self.patterned
    }
}

/// The plain keys of a shard. Readers change what a cell counts; for anything else nobody else may be there.
#[derive(Default)]
pub(crate) struct Flat {
    lines: Box<[Line]>,
    sides: Box<[[Side; CELLS]]>,
    keys: Box<[Key]>,
    len: usize,
    plans: Plans,
    /// The hot keys, by hash.
    hot: HashMap<u64, Arc<Hot>>,
}

/// What a plain key is when it is not in its place.
pub(crate) struct Loose {
    pub(crate) full_at: u64,
    pub(crate) definition: Arc<Definition>,
    pub(crate) patterned: bool,
}

/// Sixteen bits that tell keys apart whose hashes are equal.
#[inline]
fn check(key: &[u8]) -> u16 {
    let mut tail = [0; 8];
    match key.last_chunk::<8>() {
        Some(last) => tail = *last,
        None => tail[..key.len()].copy_from_slice(key),
    }
    let mixed = (u64::from_le_bytes(tail) ^ (key.len() as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 48) as u16
}

impl Line {
    fn free() -> Self {
        Self(std::array::from_fn(|_| Cell {
            hash: 0,
            full_at: AtomicU64::new(0),
        }))
    }

    /// A bit for each cell of that hash.
    #[inline]
    fn of(&self, hash: u64) -> u32 {
        let [a, b, c, d] = &self.0;
        u32::from(a.hash == hash)
            | u32::from(b.hash == hash) << 1
            | u32::from(c.hash == hash) << 2
            | u32::from(d.hash == hash) << 3
    }
}

impl Flat {
    /// The line that `hash` belongs to; 0 when there is none.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash & u64::from(u32::MAX)) * self.lines.len() as u64) >> 32) as usize
    }

    /// Where the key of that hash most likely is, and what stands beside it.
    #[inline]
    pub(crate) fn likely(&self, hash: u64) -> (*const u8, *const u8) {
        let home = self.home(hash);
        match (self.lines.get(home), self.sides.get(home)) {
            (Some(line), Some(side)) => (std::ptr::from_ref(line).cast(), std::ptr::from_ref(side).cast()),
            _ => (std::ptr::null(), std::ptr::null()),
        }
    }

    /// The key of that hash and end. One that was never put here may be taken for another with a chance of one in 2
    /// to the power of 80 for each key that was.
    #[inline]
    pub(crate) fn quick(&self, hash: u64, key: &[u8]) -> Option<Plain<'_>> {
        let check = check(key);
        let mut at = self.home(hash);
        loop {
            let (line, sides) = (self.lines.get(at)?, self.sides.get(at)?);
            let found = line.of(hash);
            if found != 0 {
                let i = found.trailing_zeros() as usize % CELLS;
                return (sides[i].check == check).then(|| self.plain(at, i))?;
            }
            if line.of(0) != 0 {
                return None;
            }
            at = self.next(at);
        }
    }

    #[inline]
    fn next(&self, at: usize) -> usize {
        if at + 1 < self.lines.len() { at + 1 } else { 0 }
    }

    #[inline]
    fn plain(&self, at: usize, i: usize) -> Option<Plain<'_>> {
        let key = self.keys.get(at * CELLS + i)?;
        let cell = &self.lines[at].0[i];
        let full_at = match cell.full_at.load(Ordering::Relaxed) {
            MOVED => self.hot.get(&cell.hash)?.full_at(),
            _ => &cell.full_at,
        };
        Some(Plain {
            full_at,
            definition: self.plans.get(self.sides[at][i].plan)?,
            key: key.parts(),
            patterned: key.patterned(),
        })
    }

    /// The place of the only key of that hash.
    fn place(&self, hash: u64) -> Option<(usize, usize)> {
        let mut at = self.home(hash);
        loop {
            let line = self.lines.get(at)?;
            let found = line.of(hash);
            if found != 0 {
                return Some((at, found.trailing_zeros() as usize));
            }
            if line.of(0) != 0 {
                return None;
            }
            at = self.next(at);
        }
    }

    /// The key, if it is here.
    pub(crate) fn find(&self, hash: u64, key: &[u8]) -> Option<Plain<'_>> {
        self.of_hash(hash).filter(|plain| plain.key() == key)
    }

    /// Whichever key of that hash is here.
    pub(crate) fn of_hash(&self, hash: u64) -> Option<Plain<'_>> {
        let (at, i) = self.place(hash)?;
        self.plain(at, i)
    }

    /// Puts a key here; false when there are too many definitions. No other key of the hash may be here.
    pub(crate) fn insert(&mut self, hash: u64, key: &[u8], loose: &Loose) -> bool {
        debug_assert!(key.len() <= MAX_KEY && self.place(hash).is_none());
        let Some(plan) = self.plans.enter(&loose.definition) else {
            return false;
        };
        // At most seven eighths are taken.
        if (self.len + 1) * 8 > self.lines.len() * CELLS * 7 {
            self.resize((self.lines.len() * 3 / 2).max(LINES));
        }
        let mut bytes = [0; MAX_KEY];
        bytes[..key.len()].copy_from_slice(key);
        let side = Side {
            plan,
            check: check(key),
        };
        let key = Key {
            len: key.len() as u8,
            patterned: loose.patterned,
            bytes,
        };
        self.put(hash, loose.full_at, side, key);
        self.len += 1;
        true
    }

    fn put(&mut self, hash: u64, full_at: u64, side: Side, key: Key) {
        let mut at = self.home(hash);
        while self.lines[at].of(0) == 0 {
            at = self.next(at);
        }
        let i = self.lines[at].of(0).trailing_zeros() as usize;
        self.lines[at].0[i] = Cell {
            hash,
            full_at: AtomicU64::new(full_at),
        };
        self.sides[at][i] = side;
        self.keys[at * CELLS + i] = key;
    }

    fn resize(&mut self, lines: usize) {
        let none = Key {
            len: 0,
            patterned: false,
            bytes: [0; MAX_KEY],
        };
        let old = std::mem::replace(&mut self.lines, (0..lines).map(|_| Line::free()).collect());
        let sides = std::mem::replace(&mut self.sides, vec![[Side::default(); CELLS]; lines].into());
        let keys = std::mem::replace(&mut self.keys, vec![none; lines * CELLS].into());
        let cells = old.into_iter().flat_map(|line| line.0);
        let sides = sides.into_iter().flatten();
        for ((cell, side), key) in cells.zip(sides).zip(keys) {
            if cell.hash != 0 {
                self.put(cell.hash, cell.full_at.into_inner(), side, key);
            }
        }
    }

    /// The hot key, if it is one.
    pub(crate) fn hot(&self, hash: u64, key: &[u8]) -> Option<Arc<Hot>> {
        self.hot.get(&hash).filter(|hot| hot.key() == key).cloned()
    }

    /// Makes a key that is here a hot one.
    pub(crate) fn heat(&mut self, hash: u64, key: &[u8]) -> Option<Arc<Hot>> {
        if let Some(hot) = self.hot(hash, key) {
            return Some(hot);
        }
        let (at, i) = self.place(hash)?;
        let bytes = self.keys[at * CELLS + i].clone();
        if bytes.bytes() != key {
            return None;
        }
        let definition = self.plans.get(self.sides[at][i].plan)?.clone();
        let full_at = std::mem::replace(self.lines[at].0[i].full_at.get_mut(), MOVED);
        let hot = Arc::new(Hot::new(full_at, definition, bytes));
        self.hot.insert(hash, hot.clone());
        Some(hot)
    }

    /// Makes the key of that hash one as all others are.
    pub(crate) fn cool(&mut self, hash: u64) {
        let Some(hot) = self.hot.remove(&hash) else { return };
        let full_at = hot.end();
        if let Some((at, i)) = self.place(hash) {
            *self.lines[at].0[i].full_at.get_mut() = full_at;
        }
    }

    /// How many are hot.
    pub(crate) fn heated(&self) -> usize {
        self.hot.len()
    }

    /// Cools those of which nobody took anything since this was called last.
    pub(crate) fn cool_rested(&mut self) {
        let rested = self.hot.iter().filter(|(_, hot)| hot.rested());
        for hash in rested.map(|(hash, _)| *hash).collect::<Vec<_>>() {
            self.cool(hash);
        }
    }

    /// Takes the key of that hash out.
    pub(crate) fn remove(&mut self, hash: u64) -> Option<Loose> {
        self.cool(hash);
        let (at, i) = self.place(hash)?;
        let definition = self.plans.get(self.sides[at][i].plan)?.clone();
        let cell = &mut self.lines[at].0[i];
        cell.hash = 0;
        let loose = Loose {
            full_at: *cell.full_at.get_mut(),
            definition,
            patterned: self.keys[at * CELLS + i].patterned,
        };
        self.plans.leave(self.sides[at][i].plan);
        self.len -= 1;
        self.close(at);
        if self.len * 4 < self.lines.len() * CELLS && self.lines.len() > LINES {
            self.resize((self.lines.len() / 2).max(LINES));
        }
        Some(loose)
    }

    /// Puts those anew that may have had to pass by the line, if that was full until now.
    fn close(&mut self, gap: usize) {
        if self.lines[gap].of(0).count_ones() > 1 {
            return;
        }
        let mut at = self.next(gap);
        while at != gap {
            let was_full = self.lines[at].of(0) == 0;
            for i in 0..CELLS {
                let cell = &mut self.lines[at].0[i];
                let (hash, full_at) = (cell.hash, *cell.full_at.get_mut());
                if hash != 0 && self.home(hash) != at {
                    self.lines[at].0[i].hash = 0;
                    let key = self.keys[at * CELLS + i].clone();
                    self.put(hash, full_at, self.sides[at][i], key);
                }
            }
            // What is behind a gap has not passed by.
            if !was_full {
                return;
            }
            at = self.next(at);
        }
    }

    /// All keys, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Plain<'_>> {
        let places = (0..self.lines.len()).flat_map(|at| (0..CELLS).map(move |i| (at, i)));
        places
            .filter(|&(at, i)| self.lines[at].0[i].hash != 0)
            .filter_map(|(at, i)| self.plain(at, i))
    }
}

// Threads may keep a hot key for longer than its table is there.
impl Drop for Flat {
    fn drop(&mut self) {
        for hot in self.hot.values() {
            hot.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{Algorithm, Dimension};
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::atomic::Ordering;

    fn definitions() -> Vec<Arc<Definition>> {
        let of = |limit| Dimension::new(1, Algorithm::Bucket, limit, 1_000_000, None).unwrap();
        (1..4)
            .map(|limit| Arc::new(Definition::new(vec![of(limit)], 0, 0).unwrap()))
            .collect()
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64, usize),
        Remove(u64),
        Add(u64),
        Heat(u64),
        Cool(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            5 => (1..400_u64, 0..3_usize).prop_map(|(n, d)| Step::Insert(n, d)),
            3 => (1..400_u64).prop_map(Step::Remove),
            3 => (1..400_u64).prop_map(Step::Add),
            2 => (1..400_u64).prop_map(Step::Heat),
            1 => (1..400_u64).prop_map(Step::Cool),
        ];
        prop::collection::vec(step, 1..1_500)
    }

    /// Hashes that crowd into few lines, and the last lines among them, so that keys pass lines by and go round.
    fn hash(n: u64, crowded: bool) -> u64 {
        let low = match (crowded, n % 3) {
            (false, _) => n.wrapping_mul(0x9e37_79b9) & u64::from(u32::MAX),
            (true, 0) => u64::from(u32::MAX),
            (true, 1) => u64::from(u32::MAX) - (1 << 28),
            (true, _) => 1 << 20,
        };
        n << 32 | low
    }

    fn key(n: u64) -> Vec<u8> {
        format!("key {n}").into_bytes()
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(steps in steps(), crowded in any::<bool>()) {
            let definitions = definitions();
            let (mut flat, mut model) = (Flat::default(), HashMap::<u64, (u64, usize)>::new());
            // Those that a thread keeps, and what each was made of.
            let mut kept = Vec::<(u64, Arc<Hot>)>::new();
            for (i, step) in steps.iter().enumerate() {
                match *step {
                    Step::Insert(n, d) if !model.contains_key(&n) => {
                        let loose = Loose { full_at: i as u64, definition: definitions[d].clone(), patterned: n % 2 == 0 };
                        prop_assert!(flat.insert(hash(n, crowded), &key(n), &loose));
                        model.insert(n, (i as u64, d));
                    }
                    Step::Insert(..) => {}
                    Step::Remove(n) => {
                        let removed = flat.remove(hash(n, crowded)).map(|loose| {
                            let d = definitions.iter().position(|d| Arc::ptr_eq(d, &loose.definition)).unwrap();
                            assert_eq!(loose.patterned, n % 2 == 0);
                            (loose.full_at, d)
                        });
                        prop_assert_eq!(removed, model.remove(&n));
                    }
                    Step::Add(n) => {
                        if let Some(plain) = flat.quick(hash(n, crowded), &key(n)) {
                            plain.full_at.fetch_add(1_000_000, Ordering::Relaxed);
                        }
                        if let Some((full_at, _)) = model.get_mut(&n) {
                            *full_at += 1_000_000;
                        }
                    }
                    Step::Heat(n) => {
                        let hot = flat.heat(hash(n, crowded), &key(n));
                        prop_assert_eq!(hot.is_some(), model.contains_key(&n));
                        prop_assert!(flat.heat(hash(n, crowded), b"another").is_none());
                        kept.extend(hot.map(|hot| (n, hot)));
                    }
                    Step::Cool(n) => flat.cool(hash(n, crowded)),
                }
                if let Some((n, hot)) = kept.get(i % kept.len().max(1)) {
                    // What is gone stays gone; what is not is the key itself.
                    let full_at = hot.full_at().load(Ordering::Relaxed);
                    prop_assert_eq!(full_at == MOVED, hot.gone());
                    prop_assert_eq!(hot.key(), &key(*n)[..]);
                    if !hot.gone() {
                        hot.full_at().fetch_add(1_000_000, Ordering::Relaxed);
                        let entry = model.get_mut(n);
                        prop_assert!(entry.is_some(), "a key that is not here answers");
                        entry.unwrap().0 += 1_000_000;
                    }
                }
                prop_assert_eq!(flat.len, model.len());
                prop_assert!(flat.lines.len() <= (flat.len * 2 + 16), "{} lines", flat.lines.len());
            }
            for n in 1..400 {
                let found = |plain: Plain<'_>| {
                    assert_eq!(plain.key(), key(n));
                    let d = definitions.iter().position(|d| Arc::ptr_eq(d, plain.definition)).unwrap();
                    (plain.full_at.load(Ordering::Relaxed), d)
                };
                let wanted = model.get(&n).copied();
                prop_assert_eq!(flat.quick(hash(n, crowded), &key(n)).map(found), wanted);
                prop_assert_eq!(flat.find(hash(n, crowded), &key(n)).map(found), wanted);
                prop_assert!(flat.find(hash(n, crowded), b"another").is_none());
                prop_assert!(flat.quick(hash(n, crowded), b"another").is_none());
            }
            prop_assert_eq!(flat.iter().count(), model.len());
            // Twice, as what was taken since is what counts.
            flat.cool_rested();
            flat.cool_rested();
            prop_assert_eq!(flat.heated(), 0);
            prop_assert!(kept.iter().all(|(_, hot)| hot.gone()));
            kept.clear();
            for (d, definition) in definitions.iter().enumerate() {
                let used = model.values().any(|(_, with)| *with == d);
                prop_assert_eq!(Arc::strong_count(definition), 1 + usize::from(used));
            }
        }
    }

    #[test]
    fn cells_are_what_they_should_be() {
        assert_eq!(size_of::<Line>(), 64);
        assert_eq!(
            size_of::<Line>() / CELLS + size_of::<Side>() + size_of::<Key>(),
            64
        );
    }

    #[test]
    fn who_keeps_a_key_of_a_table_that_is_gone_is_told() {
        let mut flat = Flat::default();
        let definition = definitions().swap_remove(0);
        let loose = Loose {
            full_at: 0,
            definition,
            patterned: false,
        };
        assert!(flat.insert(1, b"key", &loose));
        let hot = flat.heat(1, b"key").unwrap();
        assert!(!hot.gone());
        drop(flat);
        assert!(hot.gone());
    }

    #[test]
    fn a_definition_that_no_key_has_makes_room() {
        let mut flat = Flat::default();
        for n in 0..200_000_u64 {
            let definition = definitions().swap_remove(0);
            let loose = Loose {
                full_at: 0,
                definition,
                patterned: false,
            };
            assert!(flat.insert(n + 1, b"key", &loose));
            assert!(flat.remove(n + 1).is_some());
        }
        let insert = |flat: &mut Flat, n: u64| {
            let definition = definitions().swap_remove(0);
            flat.insert(
                n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
                b"key",
                &Loose {
                    full_at: 0,
                    definition,
                    patterned: false,
                },
            )
        };
        let fitted = (0..70_000_u64).filter(|n| insert(&mut flat, 2 * n + 1)).count();
        assert_eq!(fitted, 65_536);
    }
}
