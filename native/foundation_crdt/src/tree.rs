//! The entries of a shard: a tree of named nodes in a slab, found by parent and name, each with its dots.
//!
//! A node is 64 bytes and one allocation that holds its name and the payload of its first dot; further dots, which only
//! concurrent writes bring, are kept aside.

use ahash::RandomState;
use hashbrown::HashTable;

/// The node that everything hangs from; a state without parts has its dots there.
pub(crate) const ROOT: u32 = 0;
const NONE: u32 = u32::MAX;
const CHUNK_BITS: u32 = 8;
const CHUNK: usize = 1 << CHUNK_BITS;

/// In the list of what changed since the last push.
pub(crate) const DIRTY: u8 = 1;
/// In the list of nodes that may hold a mark.
pub(crate) const MARKED: u8 = 2;

/// A dot within a shard: the replica by its place in the shard's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Dot {
    pub(crate) replica: u32,
    pub(crate) counter: u64,
}

#[derive(Debug)]
struct Further(Vec<(Dot, Box<[u8]>)>);

#[derive(Debug)]
pub(crate) struct Node {
    /// The name, then the payload of the first dot.
    bytes: Box<[u8]>,
    further: Option<Box<Further>>,
    /// Of the first dot; 0 when there is none.
    counter: u64,
    replica: u32,
    name: u32,
    parent: u32,
    next: u32,
    prev: u32,
    child: u32,
    hash: u32,
    pub(crate) flags: u8,
}

impl Node {
    pub(crate) fn name(&self) -> &[u8] {
        &self.bytes[..self.name as usize]
    }

    pub(crate) fn has_dots(&self) -> bool {
        self.counter != 0
    }

    /// The dots and their payloads; the order has no meaning.
    pub(crate) fn dots(&self) -> impl Iterator<Item = (Dot, &[u8])> {
        let first = self.has_dots().then(|| {
            let dot = Dot {
                replica: self.replica,
                counter: self.counter,
            };
            (dot, &self.bytes[self.name as usize..])
        });
        let further = self.further.iter().flat_map(|further| &further.0);
        first
            .into_iter()
            .chain(further.map(|(dot, payload)| (*dot, &**payload)))
    }

    pub(crate) fn only_dot(&self) -> Option<Dot> {
        (self.has_dots() && self.further.is_none()).then_some(Dot {
            replica: self.replica,
            counter: self.counter,
        })
    }

    pub(crate) fn dot_count(&self) -> usize {
        usize::from(self.has_dots()) + self.further.as_ref().map_or(0, |further| further.0.len())
    }

    /// Bytes of the name and of all payloads.
    pub(crate) fn size(&self) -> usize {
        let further = self.further.iter().flat_map(|further| &further.0);
        self.bytes.len() + further.map(|(_, payload)| payload.len()).sum::<usize>()
    }

    /// Has one dot in the place of the first.
    pub(crate) fn set_first(&mut self, dot: Dot, payload: &[u8]) {
        let name = self.name as usize;
        if self.bytes.len() == name + payload.len() {
            self.bytes[name..].copy_from_slice(payload);
        } else {
            self.bytes = joined(&self.bytes[..name], payload);
        }
        (self.replica, self.counter) = (dot.replica, dot.counter);
    }

    pub(crate) fn push(&mut self, dot: Dot, payload: &[u8]) {
        if !self.has_dots() {
            return self.set_first(dot, payload);
        }
        let further = self.further.get_or_insert_with(|| Box::new(Further(Vec::new())));
        further.0.push((dot, payload.into()));
    }

    /// Keeps the dots for which `keep` answers true.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(Dot) -> bool) {
        if let Some(further) = &mut self.further {
            further.0.retain(|(dot, _)| keep(*dot));
        }
        let first = Dot {
            replica: self.replica,
            counter: self.counter,
        };
        if self.has_dots() && !keep(first) {
            match self.further.as_mut().and_then(|further| further.0.pop()) {
                Some((dot, payload)) => self.set_first(dot, &payload),
                None => {
                    self.counter = 0;
                    self.bytes = self.name().into();
                }
            }
        }
        if self.further.as_ref().is_some_and(|further| further.0.is_empty()) {
            self.further = None;
        }
    }
}

fn joined(name: &[u8], payload: &[u8]) -> Box<[u8]> {
    let mut bytes = Vec::with_capacity(name.len() + payload.len());
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(payload);
    bytes.into_boxed_slice()
}

#[derive(Debug)]
pub(crate) struct Tree {
    /// Nodes in chunks, so that growing moves none.
    chunks: Vec<Vec<Node>>,
    len: u32,
    free: Vec<u32>,
    index: HashTable<u32>,
    state: RandomState,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let mut tree = Tree {
            chunks: Vec::new(),
            len: 0,
            free: Vec::new(),
            index: HashTable::new(),
            state: RandomState::new(),
        };
        tree.add(NONE, &[], 0);
        tree
    }

    pub(crate) fn node(&self, at: u32) -> &Node {
        &self.chunks[(at >> CHUNK_BITS) as usize][at as usize & (CHUNK - 1)]
    }

    pub(crate) fn node_mut(&mut self, at: u32) -> &mut Node {
        &mut self.chunks[(at >> CHUNK_BITS) as usize][at as usize & (CHUNK - 1)]
    }

    fn hash(&self, parent: u32, name: &[u8]) -> u32 {
        self.state.hash_one((parent, name)) as u32
    }

    fn add(&mut self, parent: u32, name: &[u8], hash: u32) -> u32 {
        let node = Node {
            bytes: name.into(),
            further: None,
            counter: 0,
            replica: 0,
            name: name.len() as u32,
            parent,
            next: NONE,
            prev: NONE,
            child: NONE,
            hash,
            flags: 0,
        };
        if let Some(at) = self.free.pop() {
            *self.node_mut(at) = node;
            return at;
        }
        let at = self.len;
        if at as usize & (CHUNK - 1) == 0 {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        self.chunks[(at >> CHUNK_BITS) as usize].push(node);
        self.len += 1;
        at
    }

    fn child(&self, parent: u32, name: &[u8], hash: u32) -> Option<u32> {
        let found = self.index.find(spread(hash), |at| {
            let node = self.node(*at);
            node.hash == hash && node.parent == parent && node.name() == name
        });
        found.copied()
    }

    /// The node of a path.
    pub(crate) fn find<'p>(&self, path: impl IntoIterator<Item = &'p [u8]>) -> Option<u32> {
        path.into_iter()
            .try_fold(ROOT, |at, name| self.child(at, name, self.hash(at, name)))
    }

    /// The node of a path, made where it is not there.
    pub(crate) fn ensure<'p>(&mut self, path: impl IntoIterator<Item = &'p [u8]>) -> u32 {
        path.into_iter().fold(ROOT, |parent, name| {
            let hash = self.hash(parent, name);
            if let Some(at) = self.child(parent, name, hash) {
                return at;
            }
            let at = self.add(parent, name, hash);
            let head = std::mem::replace(&mut self.node_mut(parent).child, at);
            self.node_mut(at).next = head;
            if head != NONE {
                self.node_mut(head).prev = at;
            }
            let chunks = &self.chunks;
            self.index.insert_unique(spread(hash), at, |at| {
                spread(chunks[(*at >> CHUNK_BITS) as usize][*at as usize & (CHUNK - 1)].hash)
            });
            at
        })
    }

    /// Frees the node and those above it that hold nothing any more.
    pub(crate) fn prune(&mut self, mut at: u32) {
        while at != ROOT && !self.node(at).has_dots() && self.node(at).child == NONE {
            let node = self.node(at);
            let (parent, next, prev, hash) = (node.parent, node.next, node.prev, node.hash);
            match prev {
                NONE => self.node_mut(parent).child = next,
                _ => self.node_mut(prev).next = next,
            }
            if next != NONE {
                self.node_mut(next).prev = prev;
            }
            if let Ok(entry) = self.index.find_entry(spread(hash), |other| *other == at) {
                entry.remove();
            }
            let node = self.node_mut(at);
            (node.bytes, node.flags, node.parent) = (Box::default(), 0, NONE);
            self.free.push(at);
            at = parent;
        }
    }

    /// The children of a node; the order has no meaning.
    pub(crate) fn children(&self, at: u32) -> impl Iterator<Item = u32> + '_ {
        let first = self.node(at).child;
        std::iter::successors((first != NONE).then_some(first), |at| {
            let next = self.node(*at).next;
            (next != NONE).then_some(next)
        })
    }

    /// The node and all below it that have dots.
    pub(crate) fn below(&self, at: u32) -> Vec<u32> {
        let mut found = Vec::new();
        let mut open = vec![at];
        while let Some(at) = open.pop() {
            if self.node(at).has_dots() {
                found.push(at);
            }
            open.extend(self.children(at));
        }
        found
    }

    /// The names from the root down to a node.
    pub(crate) fn path(&self, mut at: u32) -> smallvec::SmallVec<[&[u8]; 4]> {
        let mut path = smallvec::SmallVec::new();
        while at != ROOT {
            let node = self.node(at);
            path.push(node.name());
            at = node.parent;
        }
        path.reverse();
        path
    }
}

/// The table looks at the upper bits first.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(counter: u64) -> Dot {
        Dot { replica: 0, counter }
    }

    #[test]
    fn a_node_is_64_bytes() {
        assert_eq!(size_of::<Node>(), 64);
    }

    #[test]
    fn nodes_come_and_go_with_their_dots() {
        let mut tree = Tree::new();
        let mut places = Vec::new();
        for i in 0..1000u32 {
            let name = i.to_be_bytes();
            let at = tree.ensure([&b"a"[..], &name[..]]);
            tree.node_mut(at).push(dot(u64::from(i) + 1), b"payload");
            places.push(at);
        }
        let above = tree.find([&b"a"[..]]).unwrap();
        assert_eq!(tree.children(above).count(), 1000);
        assert_eq!(tree.below(ROOT).len(), 1000);
        for (i, at) in places.iter().enumerate() {
            assert_eq!(tree.path(*at)[1], (i as u32).to_be_bytes());
            tree.node_mut(*at).retain(|_| false);
            tree.prune(*at);
        }
        assert_eq!(tree.find([&b"a"[..]]), None);
        assert_eq!(tree.free.len(), 1001);
        assert!(tree.index.is_empty());
    }

    #[test]
    fn dots_are_kept_beside_each_other() {
        let mut tree = Tree::new();
        let at = tree.ensure([&b"k"[..]]);
        let node = tree.node_mut(at);
        node.push(dot(1), b"one");
        node.push(dot(2), b"three");
        node.push(dot(3), b"");
        assert_eq!((node.dot_count(), node.size()), (3, 1 + 3 + 5));
        node.retain(|d| d.counter != 1);
        let mut left: Vec<_> = node.dots().map(|(d, p)| (d.counter, p.to_vec())).collect();
        left.sort();
        assert_eq!(left, [(2, b"three".to_vec()), (3, vec![])]);
        node.retain(|d| d.counter == 2);
        assert_eq!(node.only_dot(), Some(dot(2)));
        assert_eq!(node.name(), b"k");
    }
}
