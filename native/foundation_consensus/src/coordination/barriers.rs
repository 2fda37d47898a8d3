//! Barriers: who arrives waits until enough have; at a double one they also leave together.

use super::{Coordination, Hold, Kind, MAX_WAITING, Object, Refusal, Reply, What};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Barrier {
    size: u32,
    /// How often it has opened.
    pub(super) generation: u64,
    arrived: Vec<Hold>,
    inside: BTreeSet<Hold>,
    leaving: Vec<Hold>,
}

impl Barrier {
    pub(super) fn inside(&self, hold: Hold) -> bool {
        self.inside.contains(&hold)
    }

    pub(super) fn counts(&self) -> (u32, u64, u64, u64) {
        (
            self.size,
            self.generation,
            self.arrived.len() as u64,
            (self.inside.len() + self.leaving.len()) as u64,
        )
    }
}

impl Coordination {
    pub(super) fn define_barrier(&mut self, object: Object, size: u32) -> Result<Reply, Refusal> {
        let barrier = self.barriers.entry(object).or_insert_with(|| Barrier {
            size,
            generation: 0,
            arrived: Vec::new(),
            inside: BTreeSet::new(),
            leaving: Vec::new(),
        });
        if barrier.size == size {
            Ok(Reply::Done)
        } else {
            Err(Refusal::Mismatch(barrier.size))
        }
    }

    pub(super) fn remove_barrier(&mut self, object: &Object) -> Result<Reply, Refusal> {
        let barrier = self.barriers.get(object).ok_or(Refusal::Undefined)?;
        if !barrier.arrived.is_empty() || !barrier.inside.is_empty() || !barrier.leaving.is_empty() {
            return Err(Refusal::InUse);
        }
        self.barriers.remove(object);
        Ok(Reply::Done)
    }

    pub(super) fn enter(&mut self, object: Object, hold: Hold) -> Result<Reply, Refusal> {
        if !matches!(object.0, Kind::Barrier | Kind::DoubleBarrier) {
            return Err(Refusal::Malformed);
        }
        let new = self.claimable(hold, &object)?;
        let barrier = self.barriers.get_mut(&object).ok_or(Refusal::Undefined)?;
        if new {
            if barrier.arrived.len() >= MAX_WAITING {
                return Err(Refusal::Full);
            }
            barrier.arrived.push(hold);
            self.holds.insert(hold, object.clone());
        }
        let before = barrier.generation;
        self.fill(&object, Some(hold));
        let barrier = self.barriers.get(&object).ok_or(Refusal::Undefined)?;
        if barrier.generation != before || barrier.inside(hold) {
            return Ok(Reply::Granted {
                token: barrier.generation,
                wanted: false,
            });
        }
        Ok(Reply::Queued {
            ahead: barrier
                .arrived
                .iter()
                .position(|arrived| *arrived == hold)
                .unwrap_or(0) as u64,
        })
    }

    /// Opens the barrier when enough have arrived and nobody is inside.
    fn fill(&mut self, object: &Object, asking: Option<Hold>) {
        let Some(barrier) = self.barriers.get_mut(object) else {
            return;
        };
        let size = barrier.size as usize;
        if barrier.arrived.len() < size || !barrier.inside.is_empty() || !barrier.leaving.is_empty() {
            return;
        }
        barrier.generation += 1;
        let token = barrier.generation;
        let passed: Vec<Hold> = barrier.arrived.drain(..size).collect();
        if object.0 == Kind::DoubleBarrier {
            barrier.inside.extend(&passed);
        } else {
            for hold in &passed {
                self.holds.remove(hold);
            }
        }
        for hold in passed.into_iter().filter(|hold| asking != Some(*hold)) {
            self.tell(hold, What::Granted { token, wanted: false });
        }
    }

    pub(super) fn leave(&mut self, hold: Hold) -> Result<Reply, Refusal> {
        let object = (Kind::DoubleBarrier, self.held(hold, Kind::DoubleBarrier)?);
        let barrier = self.barriers.get_mut(&object).ok_or(Refusal::NotHeld)?;
        if barrier.inside.remove(&hold) {
            barrier.leaving.push(hold);
        } else if !barrier.leaving.contains(&hold) {
            return Err(Refusal::NotHeld);
        }
        let generation = barrier.generation;
        let ahead = barrier.inside.len() as u64;
        if ahead > 0 {
            return Ok(Reply::Queued { ahead });
        }
        self.empty(&object, Some(hold));
        Ok(Reply::Granted {
            token: generation,
            wanted: false,
        })
    }

    /// Lets those who leave go when nobody is inside any more, and the next ones in.
    fn empty(&mut self, object: &Object, asking: Option<Hold>) {
        let Some(barrier) = self.barriers.get_mut(object) else {
            return;
        };
        if barrier.inside.is_empty() {
            let token = barrier.generation;
            for hold in std::mem::take(&mut barrier.leaving) {
                self.holds.remove(&hold);
                if asking != Some(hold) {
                    self.tell(hold, What::Granted { token, wanted: false });
                }
            }
            self.fill(object, None);
        }
    }

    pub(super) fn desert(&mut self, object: &Object, hold: Hold) {
        let Some(barrier) = self.barriers.get_mut(object) else {
            return;
        };
        barrier.arrived.retain(|arrived| *arrived != hold);
        barrier.leaving.retain(|leaving| *leaving != hold);
        barrier.inside.remove(&hold);
        self.empty(object, None);
    }
}
