//! Elections: the candidate of the highest priority leads, of several the one that came first, until it goes.

use super::{Coordination, Event, Hold, Kind, Loss, MAX_VALUE, MAX_WAITING, Name, Refusal, Reply, What};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Election {
    /// In the order of coming.
    candidates: Vec<Candidate>,
    leader: Option<(Hold, u64)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Candidate {
    hold: Hold,
    priority: i32,
    metadata: Vec<u8>,
}

impl Election {
    /// The token, when it leads.
    pub(super) fn token(&self, hold: Hold) -> Option<u64> {
        self.leader
            .filter(|(leader, _)| *leader == hold)
            .map(|(_, token)| token)
    }

    pub(super) fn leader(&self) -> Option<(Hold, u64)> {
        self.leader
    }

    pub(super) fn candidates(&self) -> impl Iterator<Item = (Hold, i32, &[u8])> {
        self.candidates
            .iter()
            .map(|candidate| (candidate.hold, candidate.priority, candidate.metadata.as_slice()))
    }

    fn find(&self, hold: Hold) -> Option<&Candidate> {
        self.candidates.iter().find(|candidate| candidate.hold == hold)
    }

    /// Of the highest priority, the first.
    fn best(&self) -> Option<&Candidate> {
        self.candidates
            .iter()
            .reduce(|best, next| if next.priority > best.priority { next } else { best })
    }
}

impl Coordination {
    pub(super) fn campaign(
        &mut self,
        name: Name,
        hold: Hold,
        priority: i32,
        preempt: bool,
        metadata: Vec<u8>,
    ) -> Result<Reply, Refusal> {
        let object = (Kind::Election, name.clone());
        if metadata.len() > MAX_VALUE {
            return Err(Refusal::TooLarge);
        }
        if self.claimable(hold, &object)? {
            let election = self.elections.entry(name.clone()).or_default();
            if election.candidates.len() >= MAX_WAITING {
                return Err(Refusal::Full);
            }
            election.candidates.push(Candidate {
                hold,
                priority,
                metadata,
            });
            self.holds.insert(hold, object);
            if self.may_take_over(&name, priority, preempt) {
                self.depose(&name);
                self.elect(&name, Some(hold));
            }
        }
        let election = self.elections.get(&name).ok_or(Refusal::NotHeld)?;
        Ok(match election.token(hold) {
            Some(token) => Reply::Granted {
                token,
                wanted: election.candidates.len() > 1,
            },
            None => Reply::Queued {
                ahead: election.candidates.len() as u64 - 1,
            },
        })
    }

    fn may_take_over(&self, name: &Name, priority: i32, preempt: bool) -> bool {
        let Some(election) = self.elections.get(name) else {
            return false;
        };
        match election.leader.and_then(|(leader, _)| election.find(leader)) {
            None => true,
            Some(leader) => preempt && priority > leader.priority,
        }
    }

    fn depose(&mut self, name: &Name) {
        let leader = self
            .elections
            .get_mut(name)
            .and_then(|election| election.leader.take());
        if let Some((leader, _)) = leader {
            self.tell(leader, What::Lost(Loss::Deposed));
        }
    }

    /// Makes the best candidate lead; `asking` learns it from its reply.
    fn elect(&mut self, name: &Name, asking: Option<Hold>) {
        let token = self.token + 1;
        if let Some(election) = self.elections.get_mut(name)
            && let Some(hold) = election.best().map(|best| best.hold)
        {
            election.leader = Some((hold, token));
            let wanted = election.candidates.len() > 1;
            self.token = token;
            if asking != Some(hold) {
                self.tell(hold, What::Granted { token, wanted });
            }
        }
        self.tell_leader(name);
    }

    pub(super) fn describe(&mut self, hold: Hold, metadata: Vec<u8>) -> Result<Reply, Refusal> {
        if metadata.len() > MAX_VALUE {
            return Err(Refusal::TooLarge);
        }
        let name = self.held(hold, Kind::Election)?;
        let election = self.elections.get_mut(&name).ok_or(Refusal::NotHeld)?;
        let leads = election.token(hold).is_some();
        if let Some(candidate) = election.candidates.iter_mut().find(|it| it.hold == hold) {
            candidate.metadata = metadata;
        }
        if leads {
            self.tell_leader(&name);
        }
        Ok(Reply::Done)
    }

    pub(super) fn withdraw(&mut self, name: &Name, hold: Hold) {
        let Some(election) = self.elections.get_mut(name) else {
            return;
        };
        election.candidates.retain(|candidate| candidate.hold != hold);
        if election.token(hold).is_some() {
            election.leader = None;
            self.elect(name, None);
        }
        if self
            .elections
            .get(name)
            .is_some_and(|election| election.candidates.is_empty())
        {
            self.elections.remove(name);
        }
    }

    /// Tells everyone who leads, or that nobody does.
    fn tell_leader(&mut self, name: &Name) {
        let Some(election) = self.elections.get(name) else {
            return;
        };
        let leader = election.leader.map(|(hold, _)| hold);
        let token = election.leader.map_or(0, |(_, token)| token);
        let metadata = leader
            .and_then(|hold| election.find(hold))
            .map(|candidate| candidate.metadata.clone());
        let node = leader
            .and_then(|hold| self.sessions.get(&hold.session))
            .map(|session| session.node.clone());
        self.events.push(Event::Leader {
            name: name.clone(),
            leader,
            node,
            token,
            metadata: metadata.unwrap_or_default(),
        });
    }

    pub(super) fn tell_leaders(&mut self) {
        let names: Vec<Name> = self.elections.keys().cloned().collect();
        for name in names {
            self.tell_leader(&name);
        }
    }
}
