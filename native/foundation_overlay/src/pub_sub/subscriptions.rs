//! Who subscribes to what, as far as this node knows, and how two nodes find what differs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::message::Record;
use super::rings::mix;
use crate::types::NodeId;

/// Parts of the table that are compared on their own.
const BUCKETS: usize = 64;
/// How long the records of a node that is gone are refused.
const GONE: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(crate) struct Subscriptions {
    me: NodeId,
    records: BTreeMap<NodeId, (u64, BTreeSet<u32>)>,
    by_topic: BTreeMap<u32, BTreeSet<NodeId>>,
    buckets: Vec<u64>,
    gone: BTreeMap<NodeId, Duration>,
}

impl Subscriptions {
    pub(crate) fn new(me: NodeId) -> Self {
        Self {
            me,
            records: BTreeMap::new(),
            by_topic: BTreeMap::new(),
            buckets: vec![0; BUCKETS],
            gone: BTreeMap::new(),
        }
    }

    pub(crate) fn subscribes(&self, topic: u32) -> bool {
        self.records
            .get(&self.me)
            .is_some_and(|(_, topics)| topics.contains(&topic))
    }

    /// How many topics this node subscribes to.
    pub(crate) fn mine(&self) -> usize {
        self.records.get(&self.me).map_or(0, |(_, topics)| topics.len())
    }

    pub(crate) fn subscribe(&mut self, topic: u32) -> Record {
        self.change(|topics| topics.insert(topic))
    }

    /// The changed record; `None` when there was no such subscription.
    pub(crate) fn unsubscribe(&mut self, topic: u32) -> Option<Record> {
        self.subscribes(topic)
            .then(|| self.change(|topics| topics.remove(&topic)))
    }

    pub(crate) fn subscribers(&self, topic: u32) -> impl Iterator<Item = &NodeId> + Clone {
        self.by_topic.get(&topic).into_iter().flatten()
    }

    /// Takes a record if it is news; `touched` gains the topics it changes.
    pub(crate) fn learn(&mut self, record: &Record, touched: &mut BTreeSet<u32>) -> bool {
        let known = self.records.get(&record.node).map_or(0, |(version, _)| *version);
        if record.version <= known || record.node == self.me || self.gone.contains_key(&record.node) {
            return false;
        }
        self.put(
            record.node.clone(),
            record.version,
            record.topics.iter().copied().collect(),
            touched,
        );
        true
    }

    /// Forgets a node that is gone, and its record until its news have died out; the topics it had.
    pub(crate) fn remove(&mut self, now: Duration, node: &NodeId) -> BTreeSet<u32> {
        let mut touched = BTreeSet::new();
        if *node != self.me {
            self.gone.insert(node.clone(), now + GONE);
            self.take(node, &mut touched);
        }
        touched
    }

    /// A node that was gone is not.
    pub(crate) fn returned(&mut self, node: &NodeId) {
        self.gone.remove(node);
    }

    pub(crate) fn expire(&mut self, now: Duration) {
        self.gone.retain(|_, until| *until > now);
    }

    pub(crate) fn digest(&self) -> Vec<u64> {
        self.buckets.clone()
    }

    /// The records of all parts that differ from another node's; `None` when none does or the digest is not one.
    pub(crate) fn differing(&self, buckets: &[u64]) -> Option<Vec<Record>> {
        if buckets.len() != BUCKETS || buckets == self.buckets {
            return None;
        }
        let differs = |node: &NodeId| {
            let at = bucket(hash(node));
            buckets[at] != self.buckets[at]
        };
        let record = |(node, (version, topics)): (&NodeId, &(u64, BTreeSet<u32>))| Record {
            node: node.clone(),
            version: *version,
            topics: topics.iter().copied().collect(),
        };
        Some(
            self.records
                .iter()
                .filter(|(node, _)| differs(node))
                .map(record)
                .collect(),
        )
    }

    fn change(&mut self, change: impl FnOnce(&mut BTreeSet<u32>) -> bool) -> Record {
        let (version, mut topics) = self.records.get(&self.me).cloned().unwrap_or_default();
        change(&mut topics);
        let node = self.me.clone();
        self.put(node.clone(), version + 1, topics.clone(), &mut BTreeSet::new());
        Record {
            node,
            version: version + 1,
            topics: topics.into_iter().collect(),
        }
    }

    fn put(&mut self, node: NodeId, version: u64, topics: BTreeSet<u32>, touched: &mut BTreeSet<u32>) {
        let mut before = BTreeSet::new();
        self.take(&node, &mut before);
        touched.extend(before.symmetric_difference(&topics));
        for topic in &topics {
            self.by_topic.entry(*topic).or_default().insert(node.clone());
        }
        let hash = hash(&node);
        self.buckets[bucket(hash)] ^= mix(hash ^ mix(version));
        self.records.insert(node, (version, topics));
    }

    fn take(&mut self, node: &NodeId, touched: &mut BTreeSet<u32>) {
        let Some((version, topics)) = self.records.remove(node) else {
            return;
        };
        let hash = hash(node);
        self.buckets[bucket(hash)] ^= mix(hash ^ mix(version));
        for topic in topics {
            touched.insert(topic);
            if let Some(nodes) = self.by_topic.get_mut(&topic) {
                nodes.remove(node);
                if nodes.is_empty() {
                    self.by_topic.remove(&topic);
                }
            }
        }
    }
}

fn bucket(hash: u64) -> usize {
    (hash % BUCKETS as u64) as usize
}

fn hash(node: &NodeId) -> u64 {
    node.name
        .as_str()
        .bytes()
        .fold(mix(node.boot), |hash, byte| mix(hash ^ u64::from(byte)))
}
