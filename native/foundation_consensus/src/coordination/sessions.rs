//! Sessions, and what ends with them.

use super::{Coordination, Event, Hold, Kind, Loss, Refusal, Reply, What};
use serde::{Deserialize, Serialize};

/// The longest life of a session without a sign of its node: a day.
const MAX_TTL_MS: u64 = 86_400_000;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Session {
    pub(super) node: String,
    ttl_ms: u64,
    expires: u64,
}

/// What ends at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Due {
    Session(u64),
    Lease(Hold),
}

impl Coordination {
    pub(super) fn open(&mut self, session: u64, node: String, ttl_ms: u64) -> Result<Reply, Refusal> {
        if ttl_ms == 0 || ttl_ms > MAX_TTL_MS {
            return Err(Refusal::Malformed);
        }
        if node.len() > super::MAX_NAME {
            return Err(Refusal::TooLarge);
        }
        if let Some(known) = self.sessions.get(&session) {
            return if known.node == node {
                Ok(Reply::Done)
            } else {
                Err(Refusal::InUse)
            };
        }
        let expires = self.clock.now + ttl_ms;
        self.sessions.insert(
            session,
            Session {
                node,
                ttl_ms,
                expires,
            },
        );
        self.dues.insert((expires, Due::Session(session)));
        Ok(Reply::Done)
    }

    pub(super) fn keep_alive(&mut self, id: u64) -> Result<Reply, Refusal> {
        let now = self.clock.now;
        let session = self.sessions.get_mut(&id).ok_or(Refusal::NoSession)?;
        self.dues.remove(&(session.expires, Due::Session(id)));
        session.expires = now + session.ttl_ms;
        self.dues.insert((session.expires, Due::Session(id)));
        Ok(Reply::Done)
    }

    pub(super) fn close(&mut self, id: u64) -> Result<Reply, Refusal> {
        self.end_session(id, None).ok_or(Refusal::NoSession)?;
        Ok(Reply::Done)
    }

    /// Ends what has come to its end by now.
    pub(super) fn expire(&mut self) {
        while let Some(&(at, due)) = self.dues.first() {
            if at > self.clock.now {
                break;
            }
            self.dues.pop_first();
            match due {
                Due::Session(id) => {
                    self.end_session(id, Some(Loss::Session));
                }
                Due::Lease(hold) => {
                    self.tell(hold, What::Lost(Loss::Lease));
                    self.give_back(hold);
                }
            }
        }
    }

    fn end_session(&mut self, id: u64, loss: Option<Loss>) -> Option<()> {
        let expires = self.sessions.get(&id)?.expires;
        let holds: Vec<Hold> = self.holds_of(id).collect();
        // All are told before any of them is given to another one of the same session.
        if let Some(loss) = loss {
            for &hold in &holds {
                self.tell(hold, What::Lost(loss));
            }
        }
        self.dues.remove(&(expires, Due::Session(id)));
        self.sessions.remove(&id);
        // Those that wait go first, so that nothing is given to a session that has ended.
        let (waiting, held): (Vec<Hold>, Vec<Hold>) = holds.iter().partition(|&&hold| self.waits(hold));
        for hold in waiting.into_iter().chain(held) {
            self.give_back(hold);
        }
        Some(())
    }

    /// The holds of a session, in order.
    pub(super) fn holds_of(&self, session: u64) -> impl Iterator<Item = Hold> + '_ {
        let number = |number| Hold { session, number };
        self.holds
            .range(number(0)..=number(u64::MAX))
            .map(|(&hold, _)| hold)
    }

    pub(super) fn drop_holds(&mut self, holds: &[Hold]) -> Result<Reply, Refusal> {
        for &hold in holds {
            self.give_back(hold);
        }
        Ok(Reply::Done)
    }

    /// Gives back whatever is under the hold; false when nothing is.
    pub(super) fn give_back(&mut self, hold: Hold) -> bool {
        let Some(object) = self.holds.remove(&hold) else {
            return false;
        };
        match object.0 {
            Kind::Lock | Kind::RwLock | Kind::Semaphore => self.unclaim(&object, hold),
            Kind::Election => self.withdraw(&object.1, hold),
            Kind::Barrier | Kind::DoubleBarrier => self.desert(&object, hold),
            Kind::Queue => self.untake(&object.1, hold),
            Kind::Value => self.vanish(&object.1),
        }
        true
    }

    /// Whether the hold waits for something that another one's end could give it.
    pub(super) fn waits(&self, hold: Hold) -> bool {
        match self.holds.get(&hold) {
            Some(object @ (Kind::Lock | Kind::RwLock | Kind::Semaphore, _)) => self
                .claims
                .get(object)
                .is_some_and(|claim| claim.token(hold).is_none()),
            Some((Kind::Election, name)) => self
                .elections
                .get(name)
                .is_some_and(|election| election.token(hold).is_none()),
            Some((Kind::Queue, name)) => self
                .queues
                .get(name)
                .is_some_and(|queue| queue.token(hold).is_none()),
            Some(object @ (Kind::Barrier | Kind::DoubleBarrier, _)) => self
                .barriers
                .get(object)
                .is_some_and(|barrier| !barrier.inside(hold)),
            Some((Kind::Value, _)) | None => false,
        }
    }

    fn token_of(&self, hold: Hold) -> u64 {
        match self.holds.get(&hold) {
            Some(object @ (Kind::Lock | Kind::RwLock | Kind::Semaphore, _)) => {
                self.claims.get(object).and_then(|claim| claim.token(hold))
            }
            Some((Kind::Election, name)) => self.elections.get(name).and_then(|it| it.token(hold)),
            Some((Kind::Queue, name)) => self.queues.get(name).and_then(|queue| queue.token(hold)),
            Some((Kind::Value, name)) => self.values.get(name).map(|value| value.version),
            Some(object) => self.barriers.get(object).map(|barrier| barrier.generation),
            None => None,
        }
        .unwrap_or(0)
    }

    /// Tells the node of everything under its sessions.
    pub(super) fn tell_holdings(&mut self) {
        let ours = |session: &Session| self.node.as_ref().is_none_or(|node| *node == session.node);
        let sessions: Vec<u64> = self
            .sessions
            .iter()
            .filter(|(_, session)| ours(session))
            .map(|(&id, _)| id)
            .collect();
        for session in sessions {
            let (waiting, held): (Vec<Hold>, Vec<Hold>) =
                self.holds_of(session).partition(|&hold| self.waits(hold));
            let held = held
                .into_iter()
                .map(|hold| (hold.number, self.token_of(hold)))
                .collect();
            let waiting = waiting.into_iter().map(|hold| hold.number).collect();
            self.events.push(Event::Holdings {
                session,
                held,
                waiting,
            });
        }
    }
}
