//! Queues: bounded, each value to one taker, and back to its place when the taker goes before it is done.

use super::{Coordination, Hold, Kind, MAX_VALUE, MAX_WAITING, Name, Refusal, Reply, What};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Queue {
    size: u32,
    /// By the token each was pushed with, which is their order.
    items: BTreeMap<u64, Vec<u8>>,
    taken: BTreeMap<Hold, (u64, Vec<u8>)>,
    waiting: VecDeque<Hold>,
}

impl Queue {
    /// The token of what is taken.
    pub(super) fn token(&self, hold: Hold) -> Option<u64> {
        self.taken.get(&hold).map(|(token, _)| *token)
    }

    pub(super) fn counts(&self) -> (u32, u64, u64, u64) {
        (
            self.size,
            self.items.len() as u64,
            self.taken.len() as u64,
            self.waiting.len() as u64,
        )
    }
}

impl Coordination {
    pub(super) fn define_queue(&mut self, name: Name, size: u32) -> Result<Reply, Refusal> {
        let queue = self.queues.entry(name).or_insert_with(|| Queue {
            size,
            items: BTreeMap::new(),
            taken: BTreeMap::new(),
            waiting: VecDeque::new(),
        });
        if queue.size == size {
            Ok(Reply::Done)
        } else {
            Err(Refusal::Mismatch(queue.size))
        }
    }

    pub(super) fn remove_queue(&mut self, name: &Name) -> Result<Reply, Refusal> {
        let queue = self.queues.get(name).ok_or(Refusal::Undefined)?;
        if !queue.items.is_empty() || !queue.taken.is_empty() || !queue.waiting.is_empty() {
            return Err(Refusal::InUse);
        }
        self.queues.remove(name);
        Ok(Reply::Done)
    }

    pub(super) fn push(&mut self, name: Name, value: Vec<u8>) -> Result<Reply, Refusal> {
        if value.len() > MAX_VALUE {
            return Err(Refusal::TooLarge);
        }
        let queue = self.queues.get_mut(&name).ok_or(Refusal::Undefined)?;
        if queue.items.len() + queue.taken.len() >= queue.size as usize {
            return Err(Refusal::Full);
        }
        self.token += 1;
        queue.items.insert(self.token, value);
        self.hand_out(&name);
        Ok(Reply::Done)
    }

    /// Gives values to those who wait for one.
    fn hand_out(&mut self, name: &Name) {
        while let Some(queue) = self.queues.get_mut(name) {
            if queue.items.is_empty() {
                return;
            }
            let Some(hold) = queue.waiting.pop_front() else {
                return;
            };
            if let Some((token, value)) = queue.items.pop_first() {
                queue.taken.insert(hold, (token, value.clone()));
                self.tell(hold, What::Item { token, value });
            }
        }
    }

    pub(super) fn take(&mut self, name: Name, hold: Hold, wait: bool) -> Result<Reply, Refusal> {
        let object = (Kind::Queue, name);
        let new = self.claimable(hold, &object)?;
        let queue = self.queues.get_mut(&object.1).ok_or(Refusal::Undefined)?;
        if let Some((token, value)) = queue.taken.get(&hold) {
            return Ok(Reply::Item {
                token: *token,
                value: value.clone(),
            });
        }
        if !new {
            let ahead = queue.waiting.iter().position(|waiting| *waiting == hold);
            return Ok(Reply::Queued {
                ahead: ahead.unwrap_or(0) as u64,
            });
        }
        if let Some((token, value)) = queue.items.pop_first() {
            queue.taken.insert(hold, (token, value.clone()));
            self.holds.insert(hold, object);
            return Ok(Reply::Item { token, value });
        }
        if !wait {
            return Ok(Reply::Empty);
        }
        if queue.waiting.len() >= MAX_WAITING {
            return Err(Refusal::Full);
        }
        let ahead = queue.waiting.len() as u64;
        queue.waiting.push_back(hold);
        self.holds.insert(hold, object);
        Ok(Reply::Queued { ahead })
    }

    pub(super) fn acknowledge(&mut self, hold: Hold) -> Result<Reply, Refusal> {
        let name = self.held(hold, Kind::Queue)?;
        let queue = self.queues.get_mut(&name).ok_or(Refusal::NotHeld)?;
        queue.taken.remove(&hold).ok_or(Refusal::NotHeld)?;
        self.holds.remove(&hold);
        Ok(Reply::Done)
    }

    pub(super) fn untake(&mut self, name: &Name, hold: Hold) {
        if let Some(queue) = self.queues.get_mut(name) {
            queue.waiting.retain(|waiting| *waiting != hold);
            if let Some((token, value)) = queue.taken.remove(&hold) {
                queue.items.insert(token, value);
            }
        }
        self.hand_out(name);
    }
}
