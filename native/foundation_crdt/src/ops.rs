//! Local changes: what each type writes for an operation.

use crate::Error;
use crate::kind::{At, Leaf};
use crate::leaf;
use crate::shard::{Shard, leaf_at};
use crate::tree::{Dot, MARKED};

/// Largest total of one replica in a counter.
const MAX_COUNT: u64 = 1 << 62;

/// What is done to the value at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op<'a> {
    /// Writes a register, or a key of a last-writer-wins map.
    Assign(&'a [u8]),
    /// Puts an element into a set; its path ends with the element.
    Add,
    /// Takes an element out of a set, or a key out of a map.
    Remove,
    /// Adds to a counter.
    Increment(u64),
    /// Takes from a counter.
    Decrement(u64),
    /// Switches a flag on.
    Enable,
    /// Switches a flag off.
    Disable,
}

/// What a local change did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    /// The node that was written.
    pub(crate) written: Option<u32>,
    /// The dots that went.
    pub(crate) gone: Vec<Dot>,
}

impl Shard {
    /// Whether the operation fits what is at the path.
    pub(crate) fn admit(&self, path: &[&[u8]], op: Op<'_>) -> Result<Leaf, Error> {
        let place = self.kind.place(path.iter().copied())?;
        let at = match place.at {
            At::Leaf(leaf) => leaf,
            // Whatever is below a key goes with it; which leaf that is has no meaning then.
            At::Inner(_) if place.key && op == Op::Remove => return Ok(Leaf::OrElement),
            At::Inner(_) => return Err(Error::WrongPath),
        };
        match (at, op) {
            (_, Op::Remove) if place.key => Ok(Leaf::OrElement),
            (Leaf::OrElement | Leaf::RwElement | Leaf::LwwEntry, Op::Remove)
            | (Leaf::GElement | Leaf::OrElement | Leaf::RwElement, Op::Add)
            | (Leaf::Lww | Leaf::LwwEntry | Leaf::Mv, Op::Assign(_))
            | (Leaf::GCounter | Leaf::PnCounter, Op::Increment(_))
            | (Leaf::PnCounter, Op::Decrement(_))
            | (Leaf::EwFlag | Leaf::DwFlag, Op::Enable | Op::Disable) => Ok(at),
            (Leaf::GCounter, Op::Decrement(_)) | (Leaf::GElement, Op::Remove) => Err(Error::GrowOnly),
            _ => Err(Error::WrongOperation),
        }
    }

    /// Carries an operation out. `tick` gives the time for what is timed; it is called at most once.
    pub(crate) fn apply(
        &mut self,
        path: &[&[u8]],
        op: Op<'_>,
        tick: impl FnOnce() -> u64,
    ) -> Result<Done, Error> {
        let at = self.admit(path, op)?;
        match (at, op) {
            (Leaf::OrElement, Op::Remove) | (Leaf::EwFlag, Op::Disable) => Ok(self.clear(path)),
            (Leaf::GElement, Op::Add) => match self.find(path) {
                Some(_) => Ok(Done::default()),
                None => Ok(self.write(path, &[])),
            },
            (Leaf::OrElement, Op::Add) | (Leaf::EwFlag, Op::Enable) => Ok(self.write(path, &[])),
            (Leaf::RwElement, Op::Add) | (Leaf::DwFlag, Op::Enable) => Ok(self.write(path, &[1])),
            (Leaf::RwElement, Op::Remove) | (Leaf::DwFlag, Op::Disable) => Ok(self.write(path, &[0])),
            (Leaf::Lww | Leaf::LwwEntry, Op::Assign(value)) => {
                Ok(self.write(path, &leaf::put_timed(tick(), Some(value))))
            }
            (Leaf::LwwEntry, Op::Remove) => Ok(self.write(path, &leaf::put_timed(tick(), None))),
            (Leaf::Mv, Op::Assign(value)) => Ok(self.write(path, value)),
            (_, Op::Increment(n)) => self.count(path, n, 0),
            (_, Op::Decrement(n)) => self.count(path, 0, n),
            _ => Err(Error::WrongOperation),
        }
    }

    pub(crate) fn find(&self, path: &[&[u8]]) -> Option<u32> {
        self.tree.find(path.iter().copied())
    }

    /// One new dot in place of all that is there.
    fn write(&mut self, path: &[&[u8]], payload: &[u8]) -> Done {
        let at = self.tree.ensure(path.iter().copied());
        let dot = self.next_dot();
        self.changing(at);
        let node = self.tree.node_mut(at);
        let only = node.only_dot();
        let gone: Vec<Dot> = match only {
            Some(old) => {
                node.set_first(dot, payload);
                vec![old]
            }
            None => {
                let all = node.dots().map(|(dot, _)| dot).collect();
                node.retain(|_| false);
                node.push(dot, payload);
                all
            }
        };
        self.written(at, dot, gone)
    }

    fn written(&mut self, at: u32, dot: Dot, gone: Vec<Dot>) -> Done {
        for old in &gone {
            self.forget(*old, true);
        }
        self.replicas[0].live.insert(dot.counter, at);
        self.changed(at);
        self.touch(at);
        Done {
            written: Some(at),
            gone,
        }
    }

    /// This replica's share of a counter under a new dot; the shares of others stay.
    fn count(&mut self, path: &[&[u8]], added: u64, taken: u64) -> Result<Done, Error> {
        let known = self.find(path).map(|at| self.tree.node(at));
        let mine = known.and_then(|node| node.dots().find(|(dot, _)| dot.replica == 0));
        let (old_added, old_taken) = mine
            .and_then(|(_, payload)| leaf::counts(payload))
            .unwrap_or((0, 0));
        let sum = |old: u64, n: u64| {
            let sum = old.checked_add(n).filter(|sum| *sum <= MAX_COUNT);
            sum.ok_or(Error::Overflow)
        };
        let payload = leaf::put_counts(sum(old_added, added)?, sum(old_taken, taken)?);
        let gone: Vec<Dot> = mine.map(|(dot, _)| dot).into_iter().collect();
        let at = self.tree.ensure(path.iter().copied());
        let dot = self.next_dot();
        self.changing(at);
        let node = self.tree.node_mut(at);
        node.retain(|old| !gone.contains(&old));
        node.push(dot, &payload);
        Ok(self.written(at, dot, gone))
    }

    /// Takes away every dot at the path and below.
    fn clear(&mut self, path: &[&[u8]]) -> Done {
        let Some(top) = self.find(path) else {
            return Done::default();
        };
        let mut gone = Vec::new();
        for at in self.tree.below(top) {
            gone.extend(self.clear_node(at, true));
        }
        Done { written: None, gone }
    }

    /// Takes away what is dead for good: values whose removal every replica has seen, and the mark with them. Looks at
    /// `most` of the marks at most, the oldest first; answers how many went.
    pub(crate) fn collect(&mut self, most: usize, stable: impl Fn(u64, u64) -> bool) -> usize {
        let mut collected = 0;
        let look = self.marks.len().min(most);
        let candidates: Vec<u32> = self.marks.drain(..look).collect();
        for at in candidates {
            let node = self.tree.node_mut(at);
            if node.flags & MARKED == 0 {
                continue;
            }
            node.flags &= !MARKED;
            match self.settled(at, &stable) {
                Some(true) => {
                    self.clear_node(at, true);
                    collected += 1;
                }
                Some(false) => {
                    self.tree.node_mut(at).flags |= MARKED;
                    self.marks.push(at);
                }
                None => {}
            }
        }
        collected
    }

    /// Whether all marks of a node are stable and nothing is to be seen there; none when it has no marks.
    fn settled(&self, at: u32, stable: &impl Fn(u64, u64) -> bool) -> Option<bool> {
        let node = self.tree.node(at);
        let leaf = leaf_at(&self.kind, &self.tree.path(at)).filter(|leaf| leaf.marks())?;
        let mut marks = node
            .dots()
            .filter(|(_, payload)| leaf::is_mark(leaf, payload))
            .peekable();
        marks.peek()?;
        let all = marks.all(|(dot, _)| stable(self.replicas[dot.replica as usize].id, dot.counter));
        Some(all && leaf::value(leaf, node).is_none())
    }
}
