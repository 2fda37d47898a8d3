//! Who has which worker, and who waits for one: the book-keeping of a worker pool.
//!
//! A pool knows neither processes nor clocks. A worker and a waiter are whatever the caller says they are (`W`, `C`);
//! times are nanoseconds on the caller's clock. Every change answers with [`Effects`]: whom to hand a worker, and what
//! the pool's keeper must do (start a worker, stop one). The caller carries them out after the pool's lock is gone.
//!
//! A worker that comes back is not put aside for the first waiter: it is idle, and the waiter is woken to fetch it. Until
//! the waiter runs, whoever runs already may use the worker, so that a busy pool does not change processes at every
//! checkin. A waiter that comes too late gets the next worker handed to it, and cannot lose twice.
//!
//! A lease is a number that is never used twice. Giving back a lease that is not held changes nothing, so that a
//! lease can be given back by its holder and, too late, by whoever cleans up after a dead holder.

mod state;

#[cfg(test)]
#[path = "pool/pool_tests.rs"]
mod tests;

use ahash::AHashMap;
use parking_lot::Mutex;
use smallvec::SmallVec;
use state::{Holding, State, Waiter, Worker};
pub use state::{Lease, Settings, Snapshot, Span};

/// What follows from a change, to be carried out by the caller.
#[derive(Debug)]
pub struct Effects<W, C> {
    /// Hand these workers to these waiters.
    pub grants: SmallVec<[(C, W); 1]>,
    /// Tell these waiters to ask again ([`Pool::retry`]).
    pub wakes: SmallVec<[C; 1]>,
    /// The keeper ought to start workers ([`Pool::demand`] says how many).
    pub grow: bool,
    /// The keeper must stop this worker; it is already out of the pool.
    pub retire: Option<W>,
    /// The last worker came back to a pool that is being drained.
    pub drained: bool,
}

impl<W, C> Default for Effects<W, C> {
    fn default() -> Self {
        Self {
            grants: SmallVec::new(),
            wakes: SmallVec::new(),
            grow: false,
            retire: None,
            drained: false,
        }
    }
}

/// The answer to who asks for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkout<W> {
    /// Here is one.
    Ready(Lease, W),
    /// None is idle; wait for one if you like.
    Empty,
    /// As many wait as may.
    Full,
    /// The pool hands out nothing any more.
    Closed,
}

/// The answer to who wants to wait.
#[derive(Debug)]
pub enum Wait<W, C> {
    /// A worker became idle in the meantime.
    Ready(Lease, W),
    /// Wait; the lease counts as held from the moment it is granted.
    Queued(Lease, Effects<W, C>),
    /// As many wait as may.
    Full,
    /// The pool hands out nothing any more.
    Closed,
}

/// What became of a lease whose holder is gone.
#[derive(Debug)]
pub enum Abandoned<W, C> {
    /// It was not held any more.
    Nothing,
    /// It was waiting; nobody waits for it now.
    Waiter(Effects<W, C>),
    /// This worker was in use. It is set aside until the keeper restores or removes it.
    Worker(W),
}

/// The book-keeping of one pool. Every operation is O(1) or O(log waiters) unless said otherwise.
#[derive(Debug)]
pub struct Pool<W, C> {
    state: Mutex<State<W, C>>,
}

impl<W: Copy + Eq + std::hash::Hash, C: Clone> Pool<W, C> {
    /// An empty pool.
    pub fn new(settings: Settings) -> Self {
        Self {
            state: Mutex::new(State::new(settings)),
        }
    }

    /// Takes an idle worker.
    pub fn checkout(&self, now: u64) -> Checkout<W> {
        let state = &mut *self.state.lock();
        if state.closed {
            return Checkout::Closed;
        }
        match state.take_idle(now) {
            Some((lease, worker)) => {
                state.waited.add(0);
                Checkout::Ready(lease, worker)
            }
            None if state.waiters() >= state.settings.max_waiting => Checkout::Full,
            None => Checkout::Empty,
        }
    }

    /// Takes an idle worker, or queues for the next one.
    pub fn wait(&self, now: u64, client: C) -> Wait<W, C> {
        let state = &mut *self.state.lock();
        if state.closed {
            return Wait::Closed;
        }
        if let Some((lease, worker)) = state.take_idle(now) {
            state.waited.add(0);
            return Wait::Ready(lease, worker);
        }
        if state.waiters() >= state.settings.max_waiting {
            return Wait::Full;
        }
        let lease = state.fresh_lease();
        let waiter = Waiter {
            client,
            since: now,
            late: false,
        };
        state.waiting.insert(lease, waiter);
        let mut effects = Effects::default();
        state.ask_growth(&mut effects);
        Wait::Queued(lease, effects)
    }

    /// Gives a lease back: a worker in use becomes idle or goes to the next waiter, a waiter stops waiting.
    /// `None` when the lease is not held.
    pub fn checkin(&self, lease: Lease, now: u64) -> Option<Effects<W, C>> {
        let state = &mut *self.state.lock();
        let mut effects = Effects::default();
        if let Some(held) = state.leases.remove(&lease) {
            state.held.add(now.saturating_sub(held.since));
            state.settle(held.worker, now, &mut effects);
        } else if !state.leave(lease, &mut effects) {
            return None;
        }
        Some(effects)
    }

    /// A waiter that was woken asks for its worker; `None`: wait on, the next one is handed over.
    pub fn retry(&self, lease: Lease, now: u64) -> Option<W> {
        let state = &mut *self.state.lock();
        let mut waiter = state.woken.remove(&lease)?;
        let idle = if state.settings.lifo {
            state.idle.pop_back()
        } else {
            state.idle.pop_front()
        };
        match idle {
            Some((worker, _)) => {
                state.waited.add(now.saturating_sub(waiter.since));
                state.hold(lease, worker, now);
                Some(worker)
            }
            None => {
                waiter.late = true;
                state.waiting.insert(lease, waiter);
                None
            }
        }
    }

    /// Stops waiting. `None` when the lease is not waiting (any more): it was granted or woken, or the pool is closed.
    pub fn cancel(&self, lease: Lease) -> Option<Effects<W, C>> {
        let state = &mut *self.state.lock();
        let mut effects = Effects::default();
        state.waiting.remove(&lease)?;
        effects.drained = state.drained();
        Some(effects)
    }

    /// Takes a lease from a holder that is gone.
    pub fn abandon(&self, lease: Lease) -> Abandoned<W, C> {
        let state = &mut *self.state.lock();
        let mut effects = Effects::default();
        if state.leave(lease, &mut effects) {
            return Abandoned::Waiter(effects);
        }
        match state.leases.remove(&lease) {
            Some(held) => {
                state.aside += 1;
                if let Some(worker) = state.workers.get_mut(&held.worker) {
                    worker.lease = None;
                    worker.aside = true;
                }
                Abandoned::Worker(held.worker)
            }
            None => Abandoned::Nothing,
        }
    }

    /// How many workers the keeper ought to start now; they count as being started.
    pub fn demand(&self) -> usize {
        let state = &mut *self.state.lock();
        state.growth_asked = false;
        let wanted = state.wanted();
        state.starting += wanted;
        wanted
    }

    /// A worker that [`Pool::demand`] counted did not start.
    pub fn start_failed(&self) {
        let state = &mut *self.state.lock();
        state.starting = state.starting.saturating_sub(1);
    }

    /// A worker that [`Pool::demand`] counted has started.
    pub fn add(&self, worker: W, now: u64) -> Effects<W, C> {
        let state = &mut *self.state.lock();
        let mut effects = Effects::default();
        state.starting = state.starting.saturating_sub(1);
        state.workers.insert(worker, Worker::default());
        state.settle(worker, now, &mut effects);
        effects
    }

    /// Takes a worker out for good: it died, or is about to be stopped. False when it is not known. O(idle workers).
    pub fn remove(&self, worker: W) -> (bool, Effects<W, C>) {
        let state = &mut *self.state.lock();
        let mut effects = Effects::default();
        let known = state.workers.remove(&worker);
        if let Some(known) = known {
            match known.lease {
                Some(lease) => {
                    state.leases.remove(&lease);
                }
                None if known.aside => state.aside -= 1,
                None => state.idle.retain(|idle| idle.0 != worker),
            }
            state.ask_growth(&mut effects);
            effects.drained = state.drained();
        }
        (known.is_some(), effects)
    }

    /// Sets an idle worker aside, to be looked at. False when it is not idle. O(idle workers).
    pub fn set_aside(&self, worker: W) -> bool {
        let state = &mut *self.state.lock();
        let Some(at) = state.idle.iter().position(|idle| idle.0 == worker) else {
            return false;
        };
        state.idle.remove(at);
        state.aside += 1;
        if let Some(known) = state.workers.get_mut(&worker) {
            known.aside = true;
        }
        true
    }

    /// Puts a worker that was set aside back to work.
    pub fn restore(&self, worker: W, now: u64) -> Effects<W, C> {
        let state = &mut *self.state.lock();
        let mut effects = Effects::default();
        if state.workers.get(&worker).is_some_and(|w| w.aside) {
            state.aside -= 1;
            state.settle(worker, now, &mut effects);
        }
        effects
    }

    /// Takes out the workers above the minimum that have been idle longer than the linger time.
    pub fn expire(&self, now: u64) -> Vec<W> {
        let state = &mut *self.state.lock();
        let mut expired = Vec::new();
        while state.workers.len() > state.settings.min
            && let Some(&(worker, since)) = state.idle.front()
            && now.saturating_sub(since) >= state.settings.linger
        {
            state.idle.pop_front();
            state.workers.remove(&worker);
            expired.push(worker);
        }
        expired
    }

    /// Changes the bounds; the keeper asks [`Pool::demand`] and [`Pool::expire`] after it.
    pub fn resize(&self, min: usize, max: usize) {
        let state = &mut *self.state.lock();
        state.settings.min = min;
        state.settings.max = max.max(min);
    }

    /// Hands out nothing more; true when nobody holds or awaits a worker already. Waiters are served still.
    pub fn drain(&self) -> bool {
        let state = &mut *self.state.lock();
        state.closed = true;
        state.draining = true;
        state.drained()
    }

    /// Hands out nothing more; answers those who wait.
    pub fn close(&self) -> Vec<C> {
        let state = &mut *self.state.lock();
        state.closed = true;
        let waiting = std::mem::take(&mut state.waiting).into_values();
        let woken = std::mem::take(&mut state.woken).into_values();
        waiting.chain(woken).map(|waiter| waiter.client).collect()
    }

    /// Every worker of the pool, whatever it does.
    pub fn workers(&self) -> Vec<W> {
        self.state.lock().workers.keys().copied().collect()
    }

    /// The workers that are idle, longest first.
    pub fn idle(&self) -> Vec<W> {
        self.state.lock().idle.iter().map(|idle| idle.0).collect()
    }

    /// Counts and times.
    pub fn snapshot(&self) -> Snapshot {
        self.state.lock().snapshot()
    }
}

impl<W: Copy + Eq + std::hash::Hash, C: Clone> State<W, C> {
    fn take_idle(&mut self, now: u64) -> Option<(Lease, W)> {
        let (worker, _) = if self.settings.lifo {
            self.idle.pop_back()
        } else {
            self.idle.pop_front()
        }?;
        let lease = self.fresh_lease();
        self.hold(lease, worker, now);
        Some((lease, worker))
    }

    fn hold(&mut self, lease: Lease, worker: W, now: u64) {
        if let Some(known) = self.workers.get_mut(&worker) {
            known.lease = Some(lease);
            known.aside = false;
        }
        self.leases.insert(lease, Holding { worker, since: now });
    }

    /// A worker is free: it goes to whoever has waited longest, or is idle, or is one too many.
    fn settle(&mut self, worker: W, now: u64, effects: &mut Effects<W, C>) {
        if let Some(first) = self.waiting.first_entry()
            && first.get().late
        {
            let (lease, waiter) = first.remove_entry();
            self.waited.add(now.saturating_sub(waiter.since));
            self.hold(lease, worker, now);
            effects.grants.push((waiter.client, worker));
            return;
        }
        let surplus = self.workers.len() > self.settings.min && self.waiters() == 0;
        if surplus && self.settings.linger == 0 {
            self.workers.remove(&worker);
            effects.retire = Some(worker);
        } else if let Some(known) = self.workers.get_mut(&worker) {
            known.lease = None;
            known.aside = false;
            self.idle.push_back((worker, now));
        }
        self.wake(effects);
        effects.drained = self.drained();
    }

    /// Keeps the promise that an idle worker with someone waiting has a waiter on its way to fetch it.
    fn wake(&mut self, effects: &mut Effects<W, C>) {
        while self.idle.len() > self.woken.len()
            && let Some((lease, waiter)) = self.waiting.pop_first()
        {
            effects.wakes.push(waiter.client.clone());
            self.woken.insert(lease, waiter);
        }
    }

    /// A waiter goes away; false when it does not wait.
    fn leave(&mut self, lease: Lease, effects: &mut Effects<W, C>) -> bool {
        if self.waiting.remove(&lease).is_none() && self.woken.remove(&lease).is_none() {
            return false;
        }
        self.wake(effects);
        effects.drained = self.drained();
        true
    }

    fn wanted(&self) -> usize {
        let alive = self.workers.len() + self.starting;
        let missing = self.settings.min.saturating_sub(alive);
        let room = self.settings.max.saturating_sub(alive);
        let awaited = self.waiting.len().saturating_sub(self.starting);
        if self.closed && self.waiters() == 0 {
            0
        } else {
            missing.max(room.min(awaited))
        }
    }

    fn ask_growth(&mut self, effects: &mut Effects<W, C>) {
        if !self.growth_asked && self.wanted() > 0 {
            self.growth_asked = true;
            effects.grow = true;
        }
    }

    fn drained(&self) -> bool {
        self.draining && self.leases.is_empty() && self.waiters() == 0
    }
}

impl<W, C> State<W, C> {
    fn waiters(&self) -> usize {
        self.waiting.len() + self.woken.len()
    }

    fn fresh_lease(&mut self) -> Lease {
        self.next_lease += 1;
        self.next_lease
    }

    fn new(settings: Settings) -> Self {
        Self {
            settings,
            workers: AHashMap::new(),
            idle: std::collections::VecDeque::new(),
            leases: AHashMap::new(),
            waiting: std::collections::BTreeMap::new(),
            woken: std::collections::BTreeMap::new(),
            aside: 0,
            starting: 0,
            growth_asked: false,
            closed: false,
            draining: false,
            next_lease: 0,
            waited: Span::default(),
            held: Span::default(),
        }
    }
}
