//! A way out when the majority of a group is lost for ever.

use std::collections::BTreeSet;

use openraft::{EntryPayload, LogIdOptionExt};
use tokio::sync::oneshot;

use crate::journal::Records;
use crate::types::{Entry, Membership, Name, Vote, log_id};
use crate::{Engine, Error};

/// The words that `Engine::recover` wants to hear.
pub const IF_MAJORITY_IS_LOST: &str = "the majority is lost";

impl Engine {
    /// Makes this node the only voter of a stopped group, with the log it has: what was committed and is not in this
    /// log is lost. For when a majority will never come back; choose the survivor with the highest term and last index.
    /// The other survivors must forget the group and are added again. Start the group afterwards: it elects itself.
    ///
    /// # Errors
    /// `Config` when the words are not [`IF_MAJORITY_IS_LOST`], `Running`, `Group` when nothing is stored of it or the
    /// disk refuses. Nothing changed.
    pub async fn recover(&self, group: &str, words: &str) -> Result<(), Error> {
        if words != IF_MAJORITY_IS_LOST {
            return Err(Error::Config(format!("to recover, say: {IF_MAJORITY_IS_LOST}")));
        }
        let shared = self.shared();
        if shared.group(group).is_some() {
            return Err(Error::Running(group.to_owned()));
        }
        let failed = |what: &str| Error::Group {
            group: group.to_owned(),
            what: what.to_owned(),
        };
        let log = shared
            .journal
            .groups
            .lock()
            .by_name
            .get(&Name::from(group))
            .cloned();
        let log = log
            .filter(|log| !log.is_new())
            .ok_or_else(|| failed("nothing is stored of it here"))?;
        let covered = shared.snapshots(&Name::from(group)).load();
        let covered = covered.map_err(|(path, what)| Error::Snapshot { path, what })?;
        let last = log.last().max(covered.and_then(|content| content.last));
        if log.last() < last {
            return Err(failed(
                "its snapshot is newer than its log: start it and take a snapshot first",
            ));
        }
        let voted = log.vote().map_or(0, |vote| vote.leader_id.term);
        let term = voted.max(last.as_ref().map_or(0, |last| **last.committed_leader_id())) + 1;
        let me = shared.me.clone();
        let members = Membership::new_with_defaults(vec![BTreeSet::from([me.clone()])], []);
        let entry = Entry {
            log_id: log_id(term, last.next_index()),
            payload: EntryPayload::Membership(members),
        };
        let vote = Vote::new(term, me);
        let mut records = Records::default();
        records.vote(log.id, &vote);
        records.entry(log.id, &entry);
        let (done, stored) = oneshot::channel();
        let index = entry.log_id.index();
        {
            let _order = log.order.lock();
            let placed = log.clone();
            let appended = shared.journal.append(records, move |result| {
                let result = result.map(|range| {
                    placed.placed_vote(range.start);
                    placed.placed_append(index, range.start + 1);
                });
                let _ = done.send(result);
            });
            appended.map_err(|error| failed(&error.to_string()))?;
            log.set_vote(vote);
            log.append([entry]);
        }
        let stored = stored.await.map_err(|_| failed("the log is closed"))?;
        stored.map_err(|error| failed(&error.to_string()))
    }
}
