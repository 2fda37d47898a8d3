//! One shard: entries, what it has seen, and what changed since it was last asked.
//!
//! Everything a state holds is a set of dots (replica and counter of the write) at paths, each with a payload; the types
//! differ in what they write and how they read. Two sets are joined by the rule of the optimised observed-remove set: a
//! dot stays when both have it, or when one has it and the other has not seen it.

use crate::context::{Context, Runs};
use crate::dots::{self, DotLog};
use crate::kind::{At, Kind, Leaf};
use crate::tree::{DIRTY, Dot, MARKED, Node, Tree};
use crate::{leaf, wire};
use std::collections::HashMap;
use std::sync::Arc;

/// Changes that are kept for the next push, and for those who watch; with more, all is gone through.
const MAX_NOTED: usize = 1 << 14;

/// What a shard knows of one replica.
#[derive(Debug)]
pub(crate) struct Replica {
    pub(crate) id: u64,
    pub(crate) seen: Runs,
    pub(crate) live: DotLog,
}

/// Written-out paths, and whether there was something to see before.
pub(crate) type Paths = HashMap<Box<[u8]>, bool, ahash::RandomState>;

/// Changed paths and whether there was something to see before; none when nobody watches.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) paths: Paths,
    /// More changed than was kept.
    pub(crate) lost: bool,
}

#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) kind: Arc<Kind>,
    pub(crate) tree: Tree,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) dirty: Vec<u32>,
    /// Dots that went since the last push.
    pub(crate) gone: Vec<Dot>,
    /// More changed than was kept for a push; the digests will find it.
    pub(crate) overflow: bool,
    pub(crate) changes: Option<Changes>,
    /// Nodes that may hold the mark of a removal.
    pub(crate) marks: Vec<u32>,
    pub(crate) has_marks: bool,
    /// Entries, and bytes of their names and payloads.
    pub(crate) keys: usize,
    pub(crate) bytes: usize,
}

impl Shard {
    pub(crate) fn new(kind: Arc<Kind>, me: u64) -> Self {
        let mut shard = Shard {
            has_marks: kind.has_marks(),
            kind,
            tree: Tree::new(),
            replicas: Vec::new(),
            dirty: Vec::new(),
            gone: Vec::new(),
            overflow: false,
            changes: None,
            marks: Vec::new(),
            keys: 0,
            bytes: 0,
        };
        shard.intern(me);
        shard
    }

    /// The place of a replica in the table.
    pub(crate) fn intern(&mut self, id: u64) -> u32 {
        let known = self.replicas.iter().position(|replica| replica.id == id);
        known.unwrap_or_else(|| {
            self.replicas.push(Replica {
                id,
                seen: Runs::default(),
                live: DotLog::new(id),
            });
            self.replicas.len() - 1
        }) as u32
    }

    pub(crate) fn replica(&self, id: u64) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.id == id)
    }

    pub(crate) fn seen(&self, dot: Dot) -> bool {
        self.replicas[dot.replica as usize].seen.contains(dot.counter)
    }

    /// The next dot of this replica, which is the first of the table.
    pub(crate) fn next_dot(&mut self) -> Dot {
        let seen = &mut self.replicas[0].seen;
        let counter = seen.max() + 1;
        seen.insert(counter);
        Dot { replica: 0, counter }
    }

    /// Everything that was seen.
    pub(crate) fn context(&self) -> Context {
        let mut context = Context::default();
        for replica in &self.replicas {
            context.insert_runs(replica.id, &replica.seen);
        }
        context
    }

    /// Hashes of what was seen and of what is live: equal where two shards are.
    pub(crate) fn roots(&self) -> (u64, u64) {
        self.replicas.iter().fold((0, 0), |(seen, live), replica| {
            let runs = replica.seen.iter().fold(0u64, |sum, (low, high)| {
                sum.wrapping_add(dots::mix(low ^ dots::mix(high)))
            });
            let share = if replica.seen.is_empty() {
                0
            } else {
                dots::hash(replica.id, runs)
            };
            (seen.wrapping_add(share), live.wrapping_add(replica.live.total()))
        })
    }

    /// One hash of both.
    pub(crate) fn root(&self) -> u64 {
        let (seen, live) = self.roots();
        seen ^ dots::mix(live)
    }

    /// To be called before the dots of a node change, and `changed` after.
    pub(crate) fn changing(&mut self, at: u32) {
        let node = self.tree.node(at);
        self.bytes -= size(node);
        self.keys -= usize::from(node.has_dots());
        self.note(at);
    }

    pub(crate) fn changed(&mut self, at: u32) {
        let node = self.tree.node(at);
        self.bytes += size(node);
        self.keys += usize::from(node.has_dots());
        if self.has_marks && node.flags & MARKED == 0 {
            self.note_mark(at);
        }
        self.tree.prune(at);
    }

    fn note(&mut self, at: u32) {
        let Some(changes) = &mut self.changes else { return };
        if changes.lost {
            return;
        }
        let path = self.tree.path(at);
        let mut key = Vec::new();
        path.iter().for_each(|name| wire::put_bytes(&mut key, name));
        if changes.paths.contains_key(&*key) {
            return;
        }
        if changes.paths.len() == MAX_NOTED {
            changes.lost = true;
            changes.paths.clear();
            return;
        }
        let leaf = leaf_at(&self.kind, &path);
        let visible = leaf.is_some_and(|leaf| leaf::value(leaf, self.tree.node(at)).is_some());
        changes.paths.insert(key.into_boxed_slice(), visible);
    }

    fn note_mark(&mut self, at: u32) {
        let node = self.tree.node(at);
        let leaf = leaf_at(&self.kind, &self.tree.path(at));
        let marks = leaf.is_some_and(|leaf| node.dots().any(|(_, payload)| leaf::is_mark(leaf, payload)));
        if marks {
            self.tree.node_mut(at).flags |= MARKED;
            self.marks.push(at);
        }
    }

    /// Has the node be part of the next push.
    pub(crate) fn touch(&mut self, at: u32) {
        let node = self.tree.node_mut(at);
        if node.flags & DIRTY != 0 {
            return;
        }
        if self.dirty.len() < MAX_NOTED {
            node.flags |= DIRTY;
            self.dirty.push(at);
        } else {
            self.overflow = true;
        }
    }

    /// Forgets a live dot. `told` when the next push is to say so.
    pub(crate) fn forget(&mut self, dot: Dot, told: bool) {
        self.replicas[dot.replica as usize].live.remove(dot.counter);
        if told {
            if self.gone.len() < MAX_NOTED {
                self.gone.push(dot);
            } else {
                self.overflow = true;
            }
        }
    }

    /// Takes all dots of a node away, and the node with them.
    pub(crate) fn clear_node(&mut self, at: u32, told: bool) -> Vec<Dot> {
        let dots: Vec<Dot> = self.tree.node(at).dots().map(|(dot, _)| dot).collect();
        self.changing(at);
        for dot in &dots {
            self.forget(*dot, told);
        }
        self.tree.node_mut(at).retain(|_| false);
        self.changed(at);
        dots
    }
}

/// The leaf at a path; none where the path has parts below.
pub(crate) fn leaf_at(kind: &Kind, path: &[&[u8]]) -> Option<Leaf> {
    match kind.place(path.iter().copied()).ok()?.at {
        At::Leaf(leaf) => Some(leaf),
        At::Inner(_) => None,
    }
}

fn size(node: &Node) -> usize {
    if node.has_dots() { node.size() } else { 0 }
}
