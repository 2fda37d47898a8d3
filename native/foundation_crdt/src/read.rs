//! Reading: values out of entries, and what changed.

use crate::Error;
use crate::kind::{At, Kind, Leaf};
use crate::leaf::{self, Value};
use crate::shard::{Paths, Shard, leaf_at};
use crate::wire::Reader;

/// A path at which something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The path; of an element of a set it ends with the element.
    pub path: Vec<Vec<u8>>,
    /// Whether the last part of the path is an element of a set.
    pub element: bool,
    /// Whether there was something to see before.
    pub before: bool,
    /// What is to be seen now.
    pub now: Option<Value>,
}

impl Shard {
    pub(crate) fn read(&self, path: &[&[u8]]) -> Result<Option<Value>, Error> {
        let place = self.kind.place(path.iter().copied())?;
        let node = self.find(path);
        Ok(match (place.at, node) {
            (At::Leaf(leaf), None) => absent(leaf, place.key),
            (At::Leaf(leaf), Some(at)) => {
                leaf::value(leaf, self.tree.node(at)).or_else(|| absent(leaf, place.key))
            }
            (At::Inner(kind), Some(at)) => self.inner(kind, at).or_else(|| empty(kind, place.key)),
            (At::Inner(kind), None) => empty(kind, place.key),
        })
    }

    /// What is below a node; none where there is nothing to see.
    fn inner(&self, kind: &Kind, at: u32) -> Option<Value> {
        match kind {
            Kind::GSet | Kind::OrSet | Kind::RwSet => {
                let leaf = leaf_of_parts(kind)?;
                let nodes = self.tree.children(at).map(|at| self.tree.node(at));
                let elements: Vec<Vec<u8>> = nodes
                    .filter(|node| leaf::value(leaf, node).is_some())
                    .map(|node| node.name().to_vec())
                    .collect();
                (!elements.is_empty()).then_some(Value::Set(elements))
            }
            Kind::LwwMap => self.entries(at, |node| leaf::value(Leaf::LwwEntry, self.tree.node(node))),
            Kind::OrMap(inner) => self.entries(at, |node| self.any(inner, node)),
            Kind::Record(fields) => {
                let values: Vec<(Vec<u8>, Value)> = fields
                    .iter()
                    .filter_map(|(name, kind)| {
                        let found = self
                            .tree
                            .children(at)
                            .find(|at| self.tree.node(*at).name() == name);
                        found
                            .and_then(|at| self.any(kind, at))
                            .map(|value| (name.clone(), value))
                    })
                    .collect();
                (!values.is_empty()).then_some(Value::Map(values))
            }
            _ => leaf::value(kind.leaf()?, self.tree.node(at)),
        }
    }

    fn any(&self, kind: &Kind, at: u32) -> Option<Value> {
        match kind.leaf() {
            Some(leaf) => leaf::value(leaf, self.tree.node(at)),
            None => self.inner(kind, at),
        }
    }

    fn entries(&self, at: u32, value: impl Fn(u32) -> Option<Value>) -> Option<Value> {
        let entries: Vec<(Vec<u8>, Value)> = self
            .tree
            .children(at)
            .filter_map(|node| value(node).map(|value| (self.tree.node(node).name().to_vec(), value)))
            .collect();
        (!entries.is_empty()).then_some(Value::Map(entries))
    }

    /// The paths that changed; none when there were more than are kept.
    pub(crate) fn take_changes(&mut self) -> Option<Paths> {
        let Some(changes) = &mut self.changes else {
            return Some(Paths::default());
        };
        let paths = std::mem::take(&mut changes.paths);
        (!std::mem::take(&mut changes.lost)).then_some(paths)
    }

    pub(crate) fn change(&self, key: &[u8], before: bool) -> Option<Change> {
        let mut reader = Reader::new(key);
        let mut path: Vec<&[u8]> = Vec::new();
        while !reader.is_empty() {
            path.push(reader.bytes().ok()?);
        }
        let leaf = leaf_at(&self.kind, &path)?;
        let now = self
            .find(&path)
            .and_then(|at| leaf::value(leaf, self.tree.node(at)));
        let element = leaf.is_element();
        // An element that was there and is, or was not and is not, has not changed.
        if before == now.is_some() && (element || !before) {
            return None;
        }
        let path = path.into_iter().map(<[u8]>::to_vec).collect();
        Some(Change {
            path,
            element,
            before,
            now,
        })
    }
}

fn leaf_of_parts(kind: &Kind) -> Option<Leaf> {
    match kind {
        Kind::GSet => Some(Leaf::GElement),
        Kind::OrSet => Some(Leaf::OrElement),
        Kind::RwSet => Some(Leaf::RwElement),
        _ => None,
    }
}

/// What a leaf that is not there reads as: a key of a map that is not there is nothing, else the empty value.
fn absent(leaf: Leaf, key: bool) -> Option<Value> {
    if key { None } else { leaf::nothing(leaf) }
}

fn empty(kind: &Kind, key: bool) -> Option<Value> {
    match kind {
        _ if key => None,
        Kind::GSet | Kind::OrSet | Kind::RwSet => Some(Value::Set(Vec::new())),
        _ => Some(Value::Map(Vec::new())),
    }
}

/// One value of what several shards hold.
pub(crate) fn merged(at: At<'_>, whole: Option<Value>, part: Option<Value>) -> Option<Value> {
    match (whole, part) {
        (Some(Value::Set(mut all)), Some(Value::Set(some))) => {
            all.extend(some);
            Some(Value::Set(all))
        }
        (Some(Value::Map(mut all)), Some(Value::Map(some))) => {
            let At::Inner(Kind::Record(fields)) = at else {
                all.extend(some);
                return Some(Value::Map(all));
            };
            for (name, value) in some {
                let known = all.iter().position(|(known, _)| *known == name);
                let known = known.map(|at| all.swap_remove(at).1);
                let kind = fields
                    .iter()
                    .find(|(field, _)| *field == name)
                    .map(|(_, kind)| kind);
                let at = kind.map_or(at, |kind| kind.leaf().map_or(At::Inner(kind), At::Leaf));
                all.extend(merged(at, known, Some(value)).map(|value| (name, value)));
            }
            Some(Value::Map(all))
        }
        (whole, part) => whole.or(part),
    }
}
