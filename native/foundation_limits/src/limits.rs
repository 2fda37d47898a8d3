//! The public face: every call takes the time as an argument, in microseconds of one monotonic clock.

mod sweep;
mod told;
mod waiting;

use crate::MAX_ANCESTORS;
use crate::definition::{Definition, Dimension};
use crate::error::LimitError;
use crate::hold::{Held, Reservation};
use crate::hot::Hot;
use crate::node::{Demand, Hold, Node, State, Verdict, admit, take_buckets};
use crate::plain::{Plain, Said};
use crate::schedule::{Event, Schedule};
use crate::table::{Form, Table};
use crate::wait::Ticket;
use parking_lot::Mutex;
use std::cell::Cell;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Bytes of a cache line.
const LINE: usize = 64;

/// Limits by key. A key is any byte string.
pub struct Limits {
    table: Table,
    schedule: Schedule,
    /// Held while parents change, so that no two changes make a cycle between them.
    kinship: Mutex<()>,
    sweep: Mutex<(usize, u64)>,
    patterned: AtomicUsize,
    /// Shards to sweep until no key that could be plain is left a node.
    loosened: AtomicU32,
}

/// Where a key stands; amounts in billionths, times in microseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peek {
    /// Each dimension, what is used of it and how long until all of it is free.
    pub dimensions: Vec<(Dimension, i128, u64)>,
    /// The parent's key.
    pub parent: Option<Box<[u8]>>,
    /// Callers that wait.
    pub waiting: usize,
    /// Reservations not settled.
    pub reservations: u32,
    /// How long the key is still paused.
    pub paused_us: u64,
}

/// What a provider's response says about a dimension, in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Learned {
    /// The dimension; one that the key does not have is passed over.
    pub name: u64,
    /// The limit.
    pub limit: Option<i128>,
    /// What is left now.
    pub remaining: Option<i128>,
}

/// The outcome of [`Limits::wait`].
pub enum Waiting {
    /// Granted at once.
    Granted(Option<Arc<Reservation>>),
    /// The reply will be called.
    Queued(Arc<Ticket>),
}

impl Limits {
    /// An empty table of at most `max_keys` keys. `bell` is rung when [`Self::tick`] is due earlier than it said.
    pub fn new(max_keys: usize, bell: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            table: Table::new(max_keys),
            schedule: Schedule::new(bell),
            kinship: Mutex::new(()),
            sweep: Mutex::new((0, 0)),
            patterned: AtomicUsize::new(0),
            loosened: AtomicU32::new(0),
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets the limits and the parent of `key`; what is used stays used. Keys made from the pattern `key` follow.
    /// O(dimensions), for a pattern O(keys).
    pub fn define(
        &self,
        key: &[u8],
        definition: Definition,
        parent: Option<&[u8]>,
        pattern: bool,
        now: u64,
    ) -> Result<(), LimitError> {
        let _kinship = self.kinship.lock();
        let parent = match parent {
            Some(parent) => Some(self.find(parent).ok_or(LimitError::UnknownParent)?),
            None => None,
        };
        check_kinship(key, parent.as_ref())?;
        let definition = self.table.intern(definition);
        let node = loop {
            let fresh = || State::new(definition.clone(), parent.clone(), false, now);
            if self.table.insert(key, now, fresh)? {
                return Ok(());
            }
            // Idle, it may have been dropped by now.
            if let Some(node) = self.find(key) {
                break node;
            }
        };
        let (before, before_parent) = {
            let state = node.state.lock();
            (state.definition.clone(), state.parent.clone())
        };
        self.redefine(&node, &definition, &parent, now);
        if pattern {
            let same_parent = |other: &Option<Arc<Node>>| match (other, &before_parent) {
                (None, None) => true,
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                _ => false,
            };
            for shard in 0..self.table.shards() {
                let made_from_it = |other: &Arc<Node>| {
                    let state = other.state.lock();
                    state.patterned && Arc::ptr_eq(&state.definition, &before) && same_parent(&state.parent)
                };
                for other in self.table.scan(shard, made_from_it) {
                    self.redefine(&other, &definition, &parent, now);
                }
                let plain = |other: &Plain<'_>| {
                    *other.patterned && Arc::ptr_eq(other.definition, &before) && same_parent(&None)
                };
                for other in self.table.scan_plain(shard, plain) {
                    if let Some(node) = self.find(&other) {
                        self.redefine(&node, &definition, &parent, now);
                        drop(node);
                        self.table.pack(&other, now);
                    }
                }
            }
        }
        drop(node);
        self.table.pack(key, now);
        Ok(())
    }

    fn redefine(&self, node: &Arc<Node>, definition: &Arc<Definition>, parent: &Option<Arc<Node>>, now: u64) {
        let (blocked, waiters) = {
            let mut state = node.state.lock();
            state.redefine(definition.clone(), now);
            state.parent = parent.clone();
            (state.unblock(), state.extra.is_some())
        };
        self.try_again(&blocked, now);
        if waiters {
            self.try_again(&[Arc::downgrade(node)], now);
        }
    }

    /// The node of `key`.
    pub(crate) fn find(&self, key: &[u8]) -> Option<Arc<Node>> {
        let (node, loosened) = self.table.get(key)?;
        if loosened {
            let rounds = 2 * self.table.shards() as u32;
            if self.loosened.swap(rounds, Ordering::Relaxed) == 0 {
                self.schedule.ring();
            }
        }
        Some(node)
    }

    /// Forgets `key`, unless others depend on it.
    pub fn delete(&self, key: &[u8], now: u64) -> Result<(), LimitError> {
        let _kinship = self.kinship.lock();
        if let Some(patterned) = self.table.remove_plain(key, |_| true) {
            self.patterned
                .fetch_sub(usize::from(patterned), Ordering::Relaxed);
            return Ok(());
        }
        let node = self.find(key).ok_or(LimitError::UnknownKey)?;
        let patterned = AtomicUsize::new(0);
        let unused = |state: &mut State| {
            patterned.store(usize::from(state.patterned), Ordering::Relaxed);
            state.tidy(now);
            state.extra.is_none()
        };
        if !self.table.remove(&node, unused) {
            return Err(LimitError::InUse);
        }
        self.patterned
            .fetch_sub(patterned.into_inner(), Ordering::Relaxed);
        Ok(())
    }

    /// Makes `key` from `pattern`, or answers [`LimitError::UnknownKey`].
    fn instantiate(&self, key: &[u8], pattern: Option<impl AsRef<[u8]>>, now: u64) -> Result<(), LimitError> {
        let described = |form: Form<'_>| match form {
            Form::Plain(plain) => (plain.definition.clone(), None),
            Form::Node(node) => {
                let state = node.state.lock();
                (state.definition.clone(), state.parent.clone())
            }
        };
        let (definition, parent) = pattern
            .and_then(|p| self.table.with(p.as_ref(), described))
            .ok_or(LimitError::UnknownKey)?;
        let made = self
            .table
            .insert(key, now, || State::new(definition, parent, true, now))?;
        if made && self.patterned.fetch_add(1, Ordering::Relaxed) == 0 {
            self.schedule.ring();
        }
        Ok(())
    }

    fn node<P: AsRef<[u8]>>(
        &self,
        key: &[u8],
        pattern: impl FnOnce() -> Option<P>,
        now: u64,
    ) -> Result<Arc<Node>, LimitError> {
        if let Some(node) = self.find(key) {
            return Ok(node);
        }
        let pattern = pattern();
        loop {
            self.instantiate(key, pattern.as_ref(), now)?;
            if let Some(node) = self.find(key) {
                return Ok(node);
            }
        }
    }

    /// Takes `costs` from `key` and all its ancestors, or nothing. O(dimensions of the chain).
    #[inline]
    pub fn acquire<P: AsRef<[u8]>>(
        &self,
        key: &[u8],
        pattern: impl FnOnce() -> Option<P>,
        costs: &[(u64, i128)],
        now: u64,
    ) -> Result<(), LimitError> {
        if let Some(said) = self.take(key, costs, now) {
            return said;
        }
        let pattern = pattern();
        loop {
            self.instantiate(key, pattern.as_ref(), now)?;
            if let Some(said) = self.take(key, costs, now) {
                return said;
            }
        }
    }

    /// Takes one cost from `key` when that is a key of its own with this one dimension, named briefly, and there is
    /// room. False otherwise; nothing was taken then, and [`Self::acquire`] knows more. Lock-free but for the lock that
    /// readers share. O(1).
    ///
    /// `demand` is called at most once, for dimension, cost and time, and first of all with the addresses of what will
    /// be written and of what will be read, if the key is where it most likely is: whoever asks the processor to fetch
    /// them there has them by the time the demand is made.
    #[inline]
    pub fn acquire_plain(
        &self,
        key: &[u8],
        demand: impl FnOnce(*const u8, *const u8) -> Option<(u64, i128, u64)>,
    ) -> bool {
        let demanded = Cell::new(None);
        let ahead = |place: *const u8, beside: *const u8| demanded.set(demand(place, beside));
        let took = |plain: Plain<'_>| match demanded.get() {
            Some((name, cost, now)) => matches!(plain.acquire(&[(name, cost)], now), Said::Granted),
            None => false,
        };
        self.table.with_plain(key, ahead, took).unwrap_or(false)
    }

    /// Whether any key is hot, so that it is worth looking among those that the caller keeps. O(1).
    #[inline]
    pub fn any_hot(&self) -> bool {
        self.table.heated()
    }

    /// An object that answers for `key` until it says that it is gone: soon after nobody asks it any more, and whenever
    /// the key changes. For keys that a thread asks for again and again; it takes what [`Self::acquire_plain`] takes,
    /// without a lock. `None` when the key is no plain one, or when there are too many hot ones. O(1).
    pub fn heat(&self, key: &[u8]) -> Option<Arc<Hot>> {
        let (hot, first) = self.table.heat(key)?;
        if first {
            self.schedule.ring();
        }
        Some(hot)
    }

    /// Takes costs from `key`, which is no plain key, and all its ancestors when all that is asked for are buckets with
    /// room and nobody reserves, waits or pauses. False otherwise; nothing was taken then, and [`Self::acquire`] knows
    /// more. O(dimensions of the chain).
    ///
    /// `ahead` is called first of all with the addresses where the key most likely is, and after that `demand`, at most
    /// once, for the costs and the time: whoever asks the processor to fetch what is there has it by then.
    #[inline]
    pub fn acquire_buckets<C: AsRef<[(u64, i128)]>>(
        &self,
        key: &[u8],
        ahead: impl Fn(*const u8),
        demand: impl FnOnce() -> Option<(C, u64)>,
    ) -> bool {
        let (demand, demanded) = (Cell::new(Some(demand)), Cell::new(None));
        let fetched = |node: *const u8| {
            (0..size_of::<Node>())
                .step_by(LINE)
                .for_each(|at| ahead(node.wrapping_add(at)));
            if let Some(demand) = demand.take() {
                demanded.set(demand());
            }
        };
        let took = |node: &Arc<Node>| {
            let demanded = demanded.take();
            demanded.is_some_and(|(costs, now)| take_buckets(node, costs.as_ref(), now, 0, 0))
        };
        self.table.with_node(key, fetched, took).unwrap_or(false)
    }

    /// `None` when there is no such key.
    fn take(&self, key: &[u8], costs: &[(u64, i128)], now: u64) -> Option<Result<(), LimitError>> {
        let said = self.table.with(key, |form| match form {
            Form::Plain(plain) => match plain.acquire(costs, now) {
                Said::Granted => Some(Ok(())),
                Said::Denied(error) => Some(Err(error)),
                Said::Unsuited | Said::Moved => None,
            },
            Form::Node(node) => Some(spend(node, costs, now)),
        })?;
        said.or_else(|| Some(spend(&self.find(key)?, costs, now)))
    }

    /// Takes `costs`, and one of each concurrency dimension unless `costs` says how many, until the reservation is
    /// settled or `for_us` microseconds are over. O(dimensions of the chain + log reservations).
    pub fn reserve<P: AsRef<[u8]>>(
        &self,
        key: &[u8],
        pattern: impl FnOnce() -> Option<P>,
        costs: &[(u64, i128)],
        for_us: u64,
        now: u64,
    ) -> Result<Arc<Reservation>, LimitError> {
        let node = self.node(key, pattern, now)?;
        let demand = Demand {
            costs,
            now,
            hold: Hold::All,
            waiter: None,
        };
        let mut verdict = Verdict::default();
        if admit(&node, &demand, 0, &mut verdict) {
            Ok(self.reservation(verdict, for_us, now))
        } else {
            Err(verdict.denial())
        }
    }

    fn reservation(&self, verdict: Verdict, for_us: u64, now: u64) -> Arc<Reservation> {
        let expires = self.schedule.place(now.saturating_add(for_us));
        let held = Held {
            levels: verdict.levels,
            since: now,
        };
        let reservation = Arc::new(Reservation {
            held: Mutex::new(Some(held)),
            expires,
        });
        self.schedule.put(expires, Event::Expire(reservation.clone()));
        reservation
    }

    /// Settles with what was really used; a dimension that `actual` leaves out counts as estimated. Less than the
    /// estimate goes back, more is charged even when there is no room: later callers wait until the debt is paid.
    pub fn commit(
        &self,
        reservation: &Reservation,
        actual: &[(u64, i128)],
        now: u64,
    ) -> Result<(), LimitError> {
        let held = {
            let mut slot = reservation.held.lock();
            slot.as_ref().ok_or(LimitError::Settled)?.check(actual)?;
            slot.take().ok_or(LimitError::Settled)?
        };
        self.schedule.remove(reservation.expires);
        self.try_again(&held.settle(Some(actual), now), now);
        Ok(())
    }

    /// Gives all of a reservation back.
    pub fn refund(&self, reservation: &Reservation, now: u64) -> Result<(), LimitError> {
        let held = reservation.held.lock().take().ok_or(LimitError::Settled)?;
        self.schedule.remove(reservation.expires);
        self.try_again(&held.settle(None, now), now);
        Ok(())
    }

    pub(crate) fn try_again(&self, nodes: &[Weak<Node>], now: u64) {
        for node in nodes {
            self.schedule
                .put(self.schedule.place(now), Event::Try(node.clone()));
        }
    }
}

/// Takes `costs` from `node` and its ancestors, or nothing.
fn spend(node: &Arc<Node>, costs: &[(u64, i128)], now: u64) -> Result<(), LimitError> {
    let demand = Demand {
        costs,
        now,
        hold: Hold::Nothing,
        waiter: None,
    };
    let mut verdict = Verdict::default();
    if admit(node, &demand, 0, &mut verdict) {
        Ok(())
    } else {
        Err(verdict.denial())
    }
}

fn check_kinship(key: &[u8], parent: Option<&Arc<Node>>) -> Result<(), LimitError> {
    let mut ancestor = parent.cloned();
    let mut depth = 0;
    while let Some(node) = ancestor {
        depth += 1;
        if node.key.as_slice() == key {
            return Err(LimitError::ParentCycle);
        }
        if depth > MAX_ANCESTORS {
            return Err(LimitError::TooManyAncestors);
        }
        ancestor = node.state.lock().parent.clone();
    }
    Ok(())
}
