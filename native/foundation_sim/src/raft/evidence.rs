//! What was seen of the group, and what of it must never be.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Mutex;

use foundation_consensus::{Applied, Group, Leader};

use super::linear::Operation;

/// A lock that was granted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grant {
    pub(crate) token: u64,
    pub(crate) time_ms: u64,
    pub(crate) ttl_ms: u64,
    pub(crate) from: std::time::Duration,
    pub(crate) to: std::time::Duration,
    /// When its holder began to give it back.
    pub(crate) released: Option<std::time::Duration>,
}

#[derive(Default)]
struct Seen {
    /// Each applied entry: its term and a checksum of what else it holds.
    applied: BTreeMap<u64, (u64, u64)>,
    leaders: BTreeMap<u64, String>,
    violations: Vec<String>,
    history: Vec<Operation>,
    grants: Vec<Grant>,
    trace: DefaultHasher,
    events: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Evidence {
    seen: Mutex<Seen>,
}

fn checksum(entry: &Applied) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&entry.command);
    hasher.write_u64(entry.time_ms);
    hasher.finish()
}

impl Evidence {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn violation(&self, what: String) {
        self.seen().violations.push(what);
    }

    /// Notes an event: runs of one seed note the same ones in the same order.
    pub(crate) fn trace(&self, what: &[u64]) {
        let mut seen = self.seen();
        seen.events += 1;
        what.iter().for_each(|word| seen.trace.write_u64(*word));
    }

    /// State machine safety: at one index every member ever applies the same.
    pub(crate) fn applied(&self, node: usize, entry: &Applied) {
        let fact = (entry.term, checksum(entry));
        self.trace(&[1, node as u64, entry.index, fact.0, fact.1]);
        let mut seen = self.seen();
        let known = *seen.applied.entry(entry.index).or_insert(fact);
        if known != fact {
            let what = format!(
                "state machine safety: n{node} applied {fact:?} at {}, not {known:?}",
                entry.index
            );
            seen.violations.push(what);
        }
    }

    /// Election safety: a term has one leader. Leader completeness: it has all that was applied before.
    pub(crate) fn leader(&self, node: &str, leader: &Leader, group: &Group) {
        let Some(name) = &leader.node else { return };
        let mut seen = self.seen();
        let known = seen
            .leaders
            .entry(leader.term)
            .or_insert_with(|| name.clone())
            .clone();
        if known != *name {
            let what = format!("election safety: {known} and {name} lead in term {}", leader.term);
            seen.violations.push(what);
        }
        if node == name {
            let log: BTreeMap<u64, u64> = group.terms(0).into_iter().collect();
            let purged = group.status().purged.unwrap_or(0);
            let missing = seen.applied.iter().find(|(index, (term, _))| {
                **index > purged && *term < leader.term && log.get(index).is_none_or(|found| found != term)
            });
            if let Some((index, _)) = missing {
                let what = format!(
                    "leader completeness: {name} leads in term {} without {index}",
                    leader.term
                );
                seen.violations.push(what);
            }
        }
    }

    /// Log matching: where two logs have an entry of one index and term, they agree on all before it.
    pub(crate) fn logs(&self, groups: &[Group]) {
        let logs: Vec<BTreeMap<u64, u64>> = groups
            .iter()
            .map(|group| group.terms(0).into_iter().collect())
            .collect();
        for (i, one) in logs.iter().enumerate() {
            for other in &logs[i + 1..] {
                let mut common = one
                    .iter()
                    .rev()
                    .filter_map(|(index, term)| Some((index, term, other.get(index)?)));
                let agreed = common.find(|(_, term, found)| term == found);
                if agreed.is_some()
                    && let Some((index, term, found)) = common.find(|(_, term, found)| term != found)
                {
                    self.violation(format!(
                        "log matching: at {index} one log has term {term}, another {found}"
                    ));
                }
            }
        }
    }

    pub(crate) fn operation(&self, operation: Operation) {
        self.seen().history.push(operation);
    }

    pub(crate) fn granted(&self, grant: Grant) -> usize {
        let mut seen = self.seen();
        seen.grants.push(grant);
        seen.grants.len() - 1
    }

    pub(crate) fn released(&self, grant: usize, at: std::time::Duration) {
        self.seen().grants[grant].released = Some(at);
    }

    pub(crate) fn history(&self) -> Vec<Operation> {
        self.seen().history.clone()
    }

    /// Mutual exclusion: a token is given once, later ones are higher, and between two either the first was given back
    /// or its lease had ended by the time of the log.
    pub(crate) fn check_grants(&self) {
        let mut seen = self.seen();
        let mut grants = seen.grants.clone();
        grants.sort_by_key(|grant| grant.token);
        let mut wrong = Vec::new();
        for pair in grants.windows(2) {
            let (one, next) = (pair[0], pair[1]);
            let expired = one.time_ms + one.ttl_ms <= next.time_ms;
            if one.token == next.token {
                wrong.push(format!("mutual exclusion: token {} was given twice", one.token));
            } else if next.to < one.from {
                wrong.push(format!(
                    "mutual exclusion: {} was given before {}",
                    next.token, one.token
                ));
            } else if !expired && one.released.is_none_or(|at| at > next.to) {
                wrong.push(format!(
                    "mutual exclusion: {} was given while {} was held",
                    next.token, one.token
                ));
            }
        }
        seen.violations.append(&mut wrong);
    }

    pub(crate) fn finish(&self) -> (Vec<String>, u64, u64, usize, usize, usize) {
        let mut seen = self.seen();
        let violations = std::mem::take(&mut seen.violations);
        (
            violations,
            seen.trace.finish(),
            seen.events,
            seen.leaders.len(),
            seen.applied.len(),
            seen.grants.len(),
        )
    }
}
