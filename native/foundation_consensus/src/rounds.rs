//! Rounds: a leader asks the voters whether it still leads, and knows it when a majority agrees.
//!
//! Who agrees has, at that moment, voted in no later term and followed no later leader. A later leader needs the votes of a
//! majority, and two majorities share a member: there was none when the round began. Neither Raft's own task nor a clock has
//! a part in it: the vote is that of the log, which is set before anybody hears of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::ServerState;
use openraft_rt::WatchReceiver;
use parking_lot::Mutex;
use rand::Rng;
use tokio::time::{Duration, Instant};

use crate::engine::Shared;
use crate::group::Group;
use crate::message::{Request, Response};
use crate::runtime::Dice;
use crate::types::{LogId, Name};

/// Rounds of a group on their way; who asks meanwhile waits for the next.
const UNDER_WAY: usize = 2;

/// That this member led a term, with the voters of that place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lead {
    pub(crate) term: u64,
    pub(crate) membership: Option<LogId>,
}

/// Told the outcome of a round, on any thread: `None` when this member does not lead, or is not known to.
pub(crate) type Heard = Box<dyn FnOnce(Option<Lead>) + Send>;

/// Who votes: a majority of each set decides.
#[derive(Debug, Default)]
struct Voters {
    membership: Option<LogId>,
    sets: Vec<Vec<Name>>,
}

impl Voters {
    fn agree(&self, who: &[Name]) -> bool {
        self.sets.iter().all(|set| {
            let agreed = set.iter().filter(|voter| who.contains(voter)).count();
            agreed * 2 > set.len()
        })
    }

    fn others(&self, me: &Name) -> Vec<Name> {
        let mut all: Vec<Name> = self.sets.iter().flatten().cloned().collect();
        all.sort();
        all.dedup();
        all.retain(|voter| voter != me);
        all
    }
}

struct Round {
    group: Group,
    lead: Lead,
    voters: Arc<Voters>,
    agreed: Vec<Name>,
    heard: Vec<Heard>,
    begun: Instant,
}

/// The rounds of all groups, by number.
pub(crate) struct Rounds(Mutex<Book>);

struct Book {
    next: u64,
    open: BTreeMap<u64, Round>,
}

/// The rounds of one group.
#[derive(Default)]
pub(crate) struct Asking {
    voters: Arc<Voters>,
    under_way: usize,
    next: Vec<Heard>,
}

impl Default for Rounds {
    /// Numbers begin at random: an answer to an earlier life of this node fits no round of this one.
    fn default() -> Self {
        Rounds(Mutex::new(Book {
            next: Dice.next_u64(),
            open: BTreeMap::new(),
        }))
    }
}

impl Rounds {
    fn open(&self, round: Round) -> u64 {
        let mut book = self.0.lock();
        book.next = book.next.wrapping_add(1);
        let number = book.next;
        book.open.insert(number, round);
        number
    }

    /// A voter agrees; the round, when that decides it.
    fn agreed(&self, from: &Name, number: u64) -> Option<Round> {
        let mut book = self.0.lock();
        let round = book.open.get_mut(&number)?;
        if !round.agreed.contains(from) {
            round.agreed.push(from.clone());
        }
        let decided = round.voters.agree(&round.agreed);
        decided.then(|| book.open.remove(&number)).flatten()
    }

    /// Those that were begun before.
    fn begun_before(&self, then: Instant) -> Vec<Round> {
        let mut book = self.0.lock();
        let old = book.open.iter().filter(|(_, round)| round.begun <= then);
        let old: Vec<u64> = old.map(|(number, _)| *number).collect();
        old.iter().filter_map(|number| book.open.remove(number)).collect()
    }
}

impl Shared {
    /// A voter agrees with that round.
    pub(crate) fn agreed(&self, from: &Name, number: u64) {
        if let Some(round) = self.rounds.agreed(from, number) {
            let lead = round.lead;
            round.end(Some(lead));
        }
    }

    /// Ends the rounds that have been open for so long: a message was lost, or there is no majority.
    pub(crate) fn end_rounds(&self, older_than: Duration) {
        let Some(then) = Instant::now().checked_sub(older_than) else {
            return;
        };
        for round in self.rounds.begun_before(then) {
            round.end(None);
        }
    }

    /// Says something short to another engine, at once where the network can.
    fn say(&self, to: &Name, put: impl FnOnce(&mut Vec<u8>)) {
        self.outbox.push_at_once(to, None, put);
    }

    /// Answers a leader that asks whether this member has promised nobody else.
    pub(crate) fn agree(&self, group: &Group, with: &Name, number: u64, term: u64) {
        if group.promised() <= term {
            self.say(with, |out| {
                crate::message::put_response(out, number, &Response::Agreed);
            });
        }
    }
}

impl Round {
    fn end(self, lead: Option<Lead>) {
        self.group.round_over();
        for heard in self.heard {
            heard(lead);
        }
    }
}

impl Group {
    /// The latest term that this member has a part in; in none before it will it have one again.
    pub(crate) fn promised(&self) -> u64 {
        let simulated = self.inner.shared.config.simulated;
        if simulated.is_some_and(|simulation| simulation.agree_always) {
            return 0;
        }
        self.inner.log.promised()
    }

    /// The term that this member leads and who votes in it, as far as Raft has told.
    fn lead_and_voters(&self) -> Option<(Lead, Arc<Voters>)> {
        let metrics = self.inner.metrics.borrow_watched();
        if metrics.state != ServerState::Leader || metrics.running_state.is_err() {
            return None;
        }
        let membership = *metrics.membership_config.log_id();
        let lead = Lead {
            term: metrics.current_term,
            membership,
        };
        let mut asking = self.inner.asking.lock();
        if asking.voters.membership != membership || asking.voters.sets.is_empty() {
            let sets = metrics.membership_config.membership().get_joint_config();
            asking.voters = Arc::new(Voters {
                membership,
                sets: sets.iter().map(|set| set.iter().cloned().collect()).collect(),
            });
        }
        Some((lead, asking.voters.clone()))
    }

    /// The term that this member leads, as far as Raft has told.
    pub(crate) fn lead(&self) -> Option<Lead> {
        self.lead_and_voters().map(|(lead, _)| lead)
    }

    /// Asks the voters whether this member leads, from now on. `with` has agreed after whoever asks began to.
    pub(crate) fn ask_voters(&self, with: Option<Name>, heard: Heard) {
        let Some((lead, voters)) = self.lead_and_voters() else {
            return heard(None);
        };
        let mut agreed = vec![self.inner.shared.me.clone()];
        agreed.extend(with);
        if voters.agree(&agreed) || self.inner.shared.asks_nobody() {
            return heard(Some(lead));
        }
        {
            let mut asking = self.inner.asking.lock();
            if asking.under_way >= UNDER_WAY {
                return asking.next.push(heard);
            }
            asking.under_way += 1;
        }
        self.begin_round(lead, voters, agreed, vec![heard]);
    }

    fn begin_round(&self, lead: Lead, voters: Arc<Voters>, agreed: Vec<Name>, heard: Vec<Heard>) {
        let shared = &self.inner.shared;
        let others = voters.others(&shared.me);
        let number = shared.rounds.open(Round {
            group: self.clone(),
            lead,
            voters,
            agreed,
            heard,
            begun: Instant::now(),
        });
        let request = Request::Agree(lead.term);
        for other in others {
            shared.say(&other, |out| {
                crate::message::put_request(out, number, self.inner.name.as_str(), &request);
            });
        }
    }

    /// One round has ended; those who waited for it begin the next.
    fn round_over(&self) {
        let waiting = {
            let mut asking = self.inner.asking.lock();
            if asking.next.is_empty() {
                asking.under_way -= 1;
                return;
            }
            std::mem::take(&mut asking.next)
        };
        match self.lead_and_voters() {
            Some((lead, voters)) => {
                let agreed = vec![self.inner.shared.me.clone()];
                self.begin_round(lead, voters, agreed, waiting);
            }
            None => {
                self.inner.asking.lock().under_way -= 1;
                for heard in waiting {
                    heard(None);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<Name> {
        names.iter().map(|name| Name::from(*name)).collect()
    }

    fn voters(sets: &[&[&str]]) -> Voters {
        Voters {
            membership: None,
            sets: sets.iter().map(|set| names(set)).collect(),
        }
    }

    #[test]
    fn more_than_half_of_each_set_agree() {
        let five = voters(&[&["a", "b", "c", "d", "e"]]);
        assert!(!five.agree(&names(&["a", "b"])));
        assert!(!five.agree(&names(&["a", "b", "x", "y"])));
        assert!(five.agree(&names(&["a", "b", "e"])));
        let four = voters(&[&["a", "b", "c", "d"]]);
        assert!(!four.agree(&names(&["a", "b"])));
        let joint = voters(&[&["a", "b", "c"], &["c", "d", "e"]]);
        assert!(!joint.agree(&names(&["a", "b", "c"])));
        assert!(joint.agree(&names(&["a", "c", "e"])));
        assert_eq!(joint.others(&Name::from("c")), names(&["a", "b", "d", "e"]));
    }
}
