//! Locks, read-write locks and semaphores: each a number of permits, given in the order of asking.
//!
//! A lock has one permit. A read-write lock has as many as can be counted; a reader takes one and a writer all. Who asks
//! for more than there are waits, and everyone behind waits as well, so that nobody is overtaken for ever.

use super::sessions::Due;
use super::{Command, Coordination, Hold, Kind, MAX_WAITING, Name, Object, Refusal, Reply, What};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    size: u32,
    /// Stays when nobody uses it.
    defined: bool,
    used: u32,
    holders: BTreeMap<Hold, Held>,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    token: u64,
    weight: u32,
    expires: Option<u64>,
    /// Whether the holder knows that others wait.
    wanted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Waiter {
    hold: Hold,
    weight: u32,
    lease_ms: u64,
}

/// How a claim is asked for.
pub(super) struct Wish {
    weight: u32,
    lease_ms: u64,
    wait: bool,
}

impl Wish {
    pub(super) fn new(weight: u32, lease_ms: u64, wait: bool) -> Self {
        Self {
            weight,
            lease_ms,
            wait,
        }
    }
}

impl Claim {
    fn new(size: u32, defined: bool) -> Self {
        Self {
            size,
            defined,
            used: 0,
            holders: BTreeMap::new(),
            waiting: VecDeque::new(),
        }
    }

    /// The token, when it is held.
    pub(super) fn token(&self, hold: Hold) -> Option<u64> {
        self.holders.get(&hold).map(|held| held.token)
    }

    pub(super) fn holders(&self) -> impl Iterator<Item = (Hold, u64, u32)> + '_ {
        self.holders
            .iter()
            .map(|(&hold, held)| (hold, held.token, held.weight))
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn size(&self) -> u32 {
        self.size
    }

    fn fits(&self, weight: u32) -> bool {
        weight <= self.size - self.used
    }

    fn idle(&self) -> bool {
        self.holders.is_empty() && self.waiting.is_empty()
    }
}

/// The permits of what needs no definition.
fn natural_size(kind: Kind) -> Option<u32> {
    match kind {
        Kind::Lock => Some(1),
        Kind::RwLock => Some(Command::WRITE),
        _ => None,
    }
}

impl Coordination {
    pub(super) fn define_semaphore(&mut self, name: Name, size: u32) -> Result<Reply, Refusal> {
        let claim = self
            .claims
            .entry((Kind::Semaphore, name))
            .or_insert_with(|| Claim::new(size, true));
        if claim.size == size {
            Ok(Reply::Done)
        } else {
            Err(Refusal::Mismatch(claim.size))
        }
    }

    pub(super) fn remove_semaphore(&mut self, name: Name) -> Result<Reply, Refusal> {
        let object = (Kind::Semaphore, name);
        let claim = self.claims.get(&object).ok_or(Refusal::Undefined)?;
        if !claim.idle() {
            return Err(Refusal::InUse);
        }
        self.claims.remove(&object);
        Ok(Reply::Done)
    }

    pub(super) fn acquire(&mut self, object: Object, hold: Hold, wish: Wish) -> Result<Reply, Refusal> {
        let natural = natural_size(object.0);
        if wish.weight == 0 || !matches!(object.0, Kind::Lock | Kind::RwLock | Kind::Semaphore) {
            return Err(Refusal::Malformed);
        }
        let new = self.claimable(hold, &object)?;
        let known = self.claims.get(&object);
        let size = known
            .map(|claim| claim.size)
            .or(natural)
            .ok_or(Refusal::Undefined)?;
        if wish.weight > size {
            return Err(Refusal::Mismatch(size));
        }
        if let Some(claim) = known
            && !new
        {
            return Ok(again(claim, hold));
        }
        let claim = self
            .claims
            .entry(object.clone())
            .or_insert_with(|| Claim::new(size, false));
        if claim.waiting.is_empty() && claim.fits(wish.weight) {
            let token = self.next_token();
            self.holds.insert(hold, object.clone());
            self.grant(&object, hold, token, wish.weight, wish.lease_ms, false);
            return Ok(Reply::Granted { token, wanted: false });
        }
        if !wish.wait {
            return Ok(Reply::Taken);
        }
        if claim.waiting.len() >= MAX_WAITING {
            return Err(Refusal::Full);
        }
        let ahead = claim.waiting.len() as u64;
        claim.waiting.push_back(Waiter {
            hold,
            weight: wish.weight,
            lease_ms: wish.lease_ms,
        });
        self.holds.insert(hold, object.clone());
        self.want(&object);
        Ok(Reply::Queued { ahead })
    }

    /// Tells the holders, once each, that somebody waits.
    fn want(&mut self, object: &Object) {
        let Some(claim) = self.claims.get_mut(object) else {
            return;
        };
        let mut told = Vec::new();
        for (&hold, held) in claim.holders.iter_mut().filter(|(_, held)| !held.wanted) {
            held.wanted = true;
            told.push(hold);
        }
        for hold in told {
            self.tell(hold, What::Wanted);
        }
    }

    fn grant(&mut self, object: &Object, hold: Hold, token: u64, weight: u32, lease_ms: u64, wanted: bool) {
        let expires = (lease_ms > 0).then(|| self.clock.now.saturating_add(lease_ms));
        if let Some(claim) = self.claims.get_mut(object) {
            claim.used += weight;
            let held = Held {
                token,
                weight,
                expires,
                wanted,
            };
            claim.holders.insert(hold, held);
        }
        if let Some(expires) = expires {
            self.dues.insert((expires, Due::Lease(hold)));
        }
    }

    pub(super) fn renew(&mut self, hold: Hold, lease_ms: u64) -> Result<Reply, Refusal> {
        let now = self.clock.now;
        let object = self.holds.get(&hold).ok_or(Refusal::NotHeld)?;
        let claim = self.claims.get_mut(object).ok_or(Refusal::NotHeld)?;
        let held = claim.holders.get_mut(&hold).ok_or(Refusal::NotHeld)?;
        if let Some(expires) = held.expires.take() {
            self.dues.remove(&(expires, Due::Lease(hold)));
        }
        if lease_ms > 0 {
            let expires = now.saturating_add(lease_ms);
            held.expires = Some(expires);
            self.dues.insert((expires, Due::Lease(hold)));
        }
        Ok(Reply::Granted {
            token: held.token,
            wanted: held.wanted,
        })
    }

    pub(super) fn release(&mut self, hold: Hold) -> Result<Reply, Refusal> {
        if self.give_back(hold) {
            Ok(Reply::Done)
        } else {
            Err(Refusal::NotHeld)
        }
    }

    /// Takes the hold out, whether it holds or waits, and gives to those who wait what has become free.
    pub(super) fn unclaim(&mut self, object: &Object, hold: Hold) {
        let Some(claim) = self.claims.get_mut(object) else {
            return;
        };
        if let Some(held) = claim.holders.remove(&hold) {
            claim.used -= held.weight;
            if let Some(expires) = held.expires {
                self.dues.remove(&(expires, Due::Lease(hold)));
            }
        } else if let Some(place) = claim.waiting.iter().position(|waiter| waiter.hold == hold) {
            claim.waiting.remove(place);
        }
        self.pump(object);
    }

    fn pump(&mut self, object: &Object) {
        while let Some(claim) = self.claims.get_mut(object) {
            if claim.idle() && !claim.defined {
                self.claims.remove(object);
                return;
            }
            let Some(first) = claim.waiting.front() else {
                return;
            };
            if !claim.fits(first.weight) {
                return;
            }
            let Some(Waiter {
                hold,
                weight,
                lease_ms,
            }) = claim.waiting.pop_front()
            else {
                return;
            };
            let wanted = !claim.waiting.is_empty();
            let token = self.next_token();
            self.grant(object, hold, token, weight, lease_ms, wanted);
            self.tell(hold, What::Granted { token, wanted });
        }
    }
}

/// The answer to who has asked before.
fn again(claim: &Claim, hold: Hold) -> Reply {
    match claim.holders.get(&hold) {
        Some(held) => Reply::Granted {
            token: held.token,
            wanted: held.wanted,
        },
        None => Reply::Queued {
            ahead: claim
                .waiting
                .iter()
                .position(|waiter| waiter.hold == hold)
                .unwrap_or(0) as u64,
        },
    }
}
