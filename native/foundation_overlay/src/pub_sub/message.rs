//! What nodes say to each other about topics.

use serde::{Deserialize, Serialize};

use crate::plumtree;
use crate::types::NodeId;

/// Everything one node subscribes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose subscriptions.
    pub node: NodeId,
    /// Counts the changes; the higher one is right.
    pub version: u64,
    /// The topics, ascending.
    pub topics: Vec<u32>,
}

/// A message between two nodes about topics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// For the tree that everyone shares.
    Shared(plumtree::Message),
    /// For the tree of a topic.
    Topic(u32, plumtree::Message),
    /// Subscriptions, perhaps news.
    Records(Vec<Record>),
    /// A summary of the sender's table of subscriptions, to find what differs.
    Digest {
        /// One number for each part of the table.
        buckets: Vec<u64>,
        /// Whether it answers another digest.
        answer: bool,
    },
}

/// Most topics in the records of one message, a single larger record aside.
const PART: usize = 1024;

/// Splits records among messages of bounded size.
pub(crate) fn parts(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut parts: Vec<Vec<Record>> = Vec::new();
    let mut size = PART;
    for record in records {
        // A name weighs about as much as a few topics.
        let weight = record.topics.len() + 8;
        match parts.last_mut() {
            Some(part) if size + weight <= PART => {
                part.push(record);
                size += weight;
            }
            _ => {
                parts.push(vec![record]);
                size = weight;
            }
        }
    }
    parts
}
