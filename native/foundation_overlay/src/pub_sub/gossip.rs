//! How nodes learn who subscribes to what: changes are passed on, and digests of the tables are compared.

use std::collections::BTreeSet;
use std::time::Duration;

use rand::RngExt;
use smallvec::SmallVec;

use super::{Effect, Message, PubSub, Record, message};
use crate::plumtree::Targets;
use crate::types::NodeId;

impl PubSub {
    pub(super) fn learn(
        &mut self,
        now: Duration,
        from: &NodeId,
        records: Vec<Record>,
        out: &mut Vec<Effect>,
    ) {
        let mut touched = BTreeSet::new();
        let mut news = Vec::new();
        for record in records {
            if record.topics.len() <= self.config.max_topics && self.table.learn(&record, &mut touched) {
                news.push(record);
            }
        }
        if !news.is_empty() {
            self.tell(Some(from), news, out);
            self.rearrange(now, &touched, out);
        }
    }

    /// Passes records on to the overlay's neighbours.
    pub(super) fn tell(&self, except: Option<&NodeId>, records: Vec<Record>, out: &mut Vec<Effect>) {
        let to: Targets = self
            .neighbours
            .iter()
            .filter(|peer| Some(*peer) != except)
            .cloned()
            .collect();
        if !to.is_empty() {
            for part in message::parts(records) {
                out.push(Effect::Send {
                    to: to.clone(),
                    message: Message::Records(part),
                });
            }
        }
    }

    pub(super) fn compare_with(&self, peer: &NodeId, answer: bool, out: &mut Vec<Effect>) {
        let message = Message::Digest {
            buckets: self.table.digest(),
            answer,
        };
        out.push(Effect::Send {
            to: SmallVec::from_iter([peer.clone()]),
            message,
        });
    }

    /// Sends what differs, and asks for the same unless this is the answer already.
    pub(super) fn compare(&mut self, from: &NodeId, buckets: &[u64], answer: bool, out: &mut Vec<Effect>) {
        let Some(records) = self.table.differing(buckets) else {
            return;
        };
        if !answer {
            self.compare_with(from, true, out);
        }
        for part in message::parts(records) {
            let to = SmallVec::from_iter([from.clone()]);
            out.push(Effect::Send {
                to,
                message: Message::Records(part),
            });
        }
    }

    pub(super) fn random_neighbour(&mut self) -> Option<NodeId> {
        let count = self.neighbours.len();
        (count > 0)
            .then(|| self.rng.random_range(0..count))
            .and_then(|at| self.neighbours.iter().nth(at).cloned())
    }
}
