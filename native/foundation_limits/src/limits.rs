//! The public face: every call takes the time as an argument, in microseconds of one monotonic clock.

use crate::MAX_ANCESTORS;
use crate::cell::Cell;
use crate::definition::{Algorithm, Definition, Dimension};
use crate::error::LimitError;
use crate::hold::{Held, Reservation};
use crate::node::{Demand, Hold, Node, State, Verdict, admit};
use crate::plain::{Plain, Said};
use crate::schedule::{Event, Schedule};
use crate::table::{Form, Table};
use crate::wait::{Reply, Ticket, WaitError, WaitOptions, Waiter};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Shards looked through for idle keys at each sweep.
const SWEPT: usize = 4;
/// Time between two sweeps, in microseconds.
const SWEEP_EVERY: u64 = 1_000_000;

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
                let plain = |other: &Plain| {
                    other.patterned && Arc::ptr_eq(other.definition(), &before) && same_parent(&None)
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
    fn find(&self, key: &[u8]) -> Option<Arc<Node>> {
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
            Form::Plain(plain) => (plain.definition().clone(), None),
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

    /// `None` when there is no such key.
    #[inline]
    fn take(&self, key: &[u8], costs: &[(u64, i128)], now: u64) -> Option<Result<(), LimitError>> {
        let said = self.table.with(key, |form| match form {
            Form::Plain(plain) => match plain.acquire(costs, now) {
                Said::Granted => Some(Ok(())),
                Said::Denied(error) => Some(Err(error)),
                Said::Unsuited => None,
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

    fn try_again(&self, nodes: &[Weak<Node>], now: u64) {
        for node in nodes {
            self.schedule
                .put(self.schedule.place(now), Event::Try(node.clone()));
        }
    }

    /// Takes `costs` at once when nobody waits and there is room; otherwise queues and calls `reply` later.
    pub fn wait<P: AsRef<[u8]>>(
        &self,
        key: &[u8],
        pattern: impl FnOnce() -> Option<P>,
        costs: &[(u64, i128)],
        options: WaitOptions,
        reply: Reply,
        now: u64,
    ) -> Result<Waiting, LimitError> {
        let node = self.node(key, pattern, now)?;
        let hold = if options.reserve_us.is_some() {
            Hold::All
        } else {
            Hold::Nothing
        };
        let mut verdict = Verdict::default();
        if admit(
            &node,
            &Demand {
                costs,
                now,
                hold,
                waiter: None,
            },
            0,
            &mut verdict,
        ) {
            return Ok(Waiting::Granted(
                options.reserve_us.map(|us| self.reservation(verdict, us, now)),
            ));
        }
        match verdict.denial() {
            LimitError::Limited(_) => {}
            error => return Err(error),
        }
        let ticket = {
            let mut state = node.state.lock();
            let most = state.definition.max_waiters as usize;
            let queue = &mut state.extra.get_or_insert_default().queue;
            if queue.len() >= most {
                return Err(LimitError::QueueFull);
            }
            let ticket = Arc::new(Ticket {
                node: node.clone(),
                order: queue.place(options.priority),
                reply: Mutex::new(Some(reply)),
                deadline: self.schedule.place(options.deadline),
            });
            queue.push(Waiter {
                ticket: ticket.clone(),
                costs: costs.into(),
                reserve_us: options.reserve_us,
            });
            ticket
        };
        self.schedule
            .put(ticket.deadline, Event::Deadline(ticket.clone()));
        self.try_again(&[Arc::downgrade(&node)], now);
        Ok(Waiting::Queued(ticket))
    }

    /// Takes a waiter out of its queue; its reply is never called. False when it was answered before.
    pub fn cancel(&self, ticket: &Ticket, now: u64) -> bool {
        self.withdraw(ticket, now).is_some()
    }

    fn withdraw(&self, ticket: &Ticket, now: u64) -> Option<Reply> {
        let reply = ticket.reply.lock().take()?;
        self.schedule.remove(ticket.deadline);
        {
            let mut state = ticket.node.state.lock();
            if let Some(extra) = &mut state.extra {
                extra.queue.remove(ticket.order);
            }
            state.tidy(now);
        }
        self.try_again(&[Arc::downgrade(&ticket.node)], now);
        Some(reply)
    }

    /// Does what is due: expires reservations, serves and times out waiters, drops idle keys. Answers when it is due
    /// next.
    pub fn tick(&self, now: u64) -> Option<u64> {
        while let Some(event) = self.schedule.pop(now) {
            match event {
                Event::Expire(reservation) => drop(self.refund(&reservation, now)),
                Event::Try(node) => {
                    if let Some(node) = node.upgrade() {
                        self.serve(&node, now);
                    }
                }
                Event::Deadline(ticket) => {
                    if let Some(reply) = self.withdraw(&ticket, now) {
                        reply(Err(WaitError::Timeout));
                    }
                }
            }
        }
        let swept = self.sweep(now);
        match (self.schedule.next_due(), swept) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Answers all who wait with [`WaitError::Closed`] and forgets what was due.
    pub fn close(&self, now: u64) {
        while let Some(event) = self.schedule.pop(u64::MAX) {
            if let Event::Deadline(ticket) = event
                && let Some(reply) = self.withdraw(&ticket, now)
            {
                reply(Err(WaitError::Closed));
            }
        }
    }

    /// Serves the waiters of `node` in order, up to the first that has to wait on.
    fn serve(&self, node: &Arc<Node>, now: u64) {
        loop {
            let (ticket, costs, reserve_us) = {
                let mut state = node.state.lock();
                match state.extra.as_ref().and_then(|e| e.queue.first()) {
                    Some(w) => (w.ticket.clone(), w.costs.clone(), w.reserve_us),
                    None => return state.tidy(now),
                }
            };
            let hold = if reserve_us.is_some() {
                Hold::All
            } else {
                Hold::Rates
            };
            let mut verdict = Verdict::default();
            let demand = Demand {
                costs: &costs,
                now,
                hold,
                waiter: Some(node),
            };
            if admit(node, &demand, 0, &mut verdict) {
                self.grant(&ticket, verdict, reserve_us, now);
                continue;
            }
            let timed = verdict.timed;
            match verdict.denial() {
                LimitError::Limited(limited) => return self.postpone(node, limited.wait_us, timed, now),
                error => {
                    if let Some(reply) = self.withdraw(&ticket, now) {
                        reply(Err(error.into()));
                    }
                }
            }
        }
    }

    /// Hands over what was taken for `ticket`, or gives it back when the caller has left meanwhile.
    fn grant(&self, ticket: &Ticket, verdict: Verdict, reserve_us: Option<u64>, now: u64) {
        if let Some(extra) = &mut ticket.node.state.lock().extra {
            extra.queue.remove(ticket.order);
        }
        let reply = ticket.reply.lock().take();
        self.schedule.remove(ticket.deadline);
        match (reply, reserve_us) {
            (Some(reply), Some(us)) => reply(Ok(Some(self.reservation(verdict, us, now)))),
            (reply, _) => {
                let held = Held {
                    levels: verdict.levels,
                    since: now,
                };
                let spent = reply.is_some().then_some(&[][..]);
                self.try_again(&held.settle(spent, now), now);
                if let Some(reply) = reply {
                    reply(Ok(None));
                }
            }
        }
    }

    fn postpone(&self, node: &Arc<Node>, wait_us: u64, timed: Option<u64>, now: u64) {
        if let Some(extra) = &mut node.state.lock().extra {
            extra.queue.due = now.saturating_add(wait_us);
        }
        if let Some(us) = timed {
            self.schedule.put(
                self.schedule.place(now.saturating_add(us)),
                Event::Try(Arc::downgrade(node)),
            );
        }
    }

    /// Drops the keys made from a pattern that are unused and have been idle for long, a few shards at a time.
    fn sweep(&self, now: u64) -> Option<u64> {
        let loosened = self.loosened.load(Ordering::Relaxed);
        if self.patterned.load(Ordering::Relaxed) == 0 && loosened == 0 {
            return None;
        }
        let mut sweep = self.sweep.lock();
        if now >= sweep.1 {
            for _ in 0..SWEPT {
                self.sweep_shard(sweep.0, now);
                sweep.0 = sweep.0.wrapping_add(1);
            }
            sweep.1 = now.saturating_add(SWEEP_EVERY);
            let less = loosened.saturating_sub(SWEPT as u32);
            // Fails when more was loosened meanwhile, which starts the count again.
            let _ = self
                .loosened
                .compare_exchange(loosened, less, Ordering::Relaxed, Ordering::Relaxed);
        }
        Some(sweep.1)
    }

    /// Looks through all shards at once. Answers how many keys were dropped.
    pub fn sweep_all(&self, now: u64) -> usize {
        (0..self.table.shards())
            .map(|shard| self.sweep_shard(shard, now))
            .sum()
    }

    fn sweep_shard(&self, shard: usize, now: u64) -> usize {
        let idle = |state: &mut State| {
            let rest = (now / 1_000_000).saturating_sub(u64::from(state.used_at));
            state.patterned && rest >= state.definition.idle_us.div_ceil(1_000_000) && state.idle(now)
        };
        let candidates = self.table.scan(shard, |node| {
            node.state.try_lock().is_some_and(|mut s| idle(&mut s))
        });
        let mut dropped = candidates
            .iter()
            .filter(|node| self.table.remove(node, idle))
            .count();
        drop(candidates);
        for key in self.table.scan_plain(shard, |plain| plain.idle(now)) {
            dropped += usize::from(self.table.remove_plain(&key, |plain| plain.idle(now)).is_some());
        }
        for key in self.table.loose(shard) {
            self.table.pack(&key, now);
        }
        self.patterned.fetch_sub(dropped, Ordering::Relaxed);
        dropped
    }

    /// Where `key` stands, without taking anything. O(dimensions).
    pub fn peek(&self, key: &[u8], now: u64) -> Result<Peek, LimitError> {
        let peeked = self.table.with(key, |form| match form {
            Form::Plain(plain) => peek(&mut plain.unpack(), now),
            Form::Node(node) => peek(&mut node.state.lock(), now),
        });
        peeked.ok_or(LimitError::UnknownKey)
    }

    /// Makes all of `key` free again and ends its pause. Reservations keep what they hold of concurrency; of the rest
    /// they give nothing back later.
    pub fn reset(&self, key: &[u8], now: u64) -> Result<(), LimitError> {
        let node = self.find(key).ok_or(LimitError::UnknownKey)?;
        let blocked = {
            let mut guard = node.state.lock();
            let state = &mut *guard;
            for (cell, d) in state.cells.get().iter_mut().zip(&state.definition.dimensions) {
                if d.algorithm != Algorithm::Gate {
                    *cell = Cell::new(d, now);
                }
            }
            if let Some(extra) = &mut state.extra {
                extra.epoch = extra.epoch.saturating_add(2);
                extra.returned.clear();
                extra.paused_until = 0;
            }
            state.unblock()
        };
        self.try_again(&blocked, now);
        drop(node);
        self.table.pack(key, now);
        Ok(())
    }

    /// Takes over what a provider says: its limits, what is left when that is less than what is left here, and a
    /// pause before which nothing is granted.
    pub fn learn(
        &self,
        key: &[u8],
        learned: &[Learned],
        pause_us: Option<u64>,
        now: u64,
    ) -> Result<(), LimitError> {
        let node = self.find(key).ok_or(LimitError::UnknownKey)?;
        let definition = node.state.lock().definition.clone();
        let changed = with_limits(&definition, learned)?;
        let blocked = {
            let mut guard = node.state.lock();
            let state = &mut *guard;
            if let Some(changed) = changed
                && Arc::ptr_eq(&definition, &state.definition)
            {
                state.redefine(self.table.intern(changed), now);
            }
            let definition = state.definition.clone();
            for (cell, d) in state.cells.get().iter_mut().zip(&definition.dimensions) {
                let said = learned
                    .iter()
                    .find(|l| l.name == d.name)
                    .and_then(|l| l.remaining);
                if let Some(remaining) = said.filter(|_| d.algorithm != Algorithm::Gate) {
                    let missing = d.capacity - remaining - cell.used(d, now);
                    if missing > 0 {
                        cell.take(d, missing, now);
                    }
                }
            }
            if let Some(us) = pause_us {
                let extra = state.extra.get_or_insert_default();
                extra.paused_until = extra.paused_until.max(now.saturating_add(us));
            }
            state.unblock()
        };
        self.try_again(&blocked, now);
        drop(node);
        self.table.pack(key, now);
        Ok(())
    }
}

fn peek(state: &mut State, now: u64) -> Peek {
    let dimensions = state
        .cells
        .get()
        .iter_mut()
        .zip(&state.definition.dimensions)
        .map(|(cell, d)| (d.clone(), cell.used(d, now), cell.full_in(d, now)))
        .collect();
    let extra = state.extra.as_ref();
    Peek {
        dimensions,
        parent: state.parent.as_ref().map(|p| p.key.as_slice().into()),
        waiting: extra.map_or(0, |e| e.queue.len()),
        reservations: extra.map_or(0, |e| e.holds),
        paused_us: extra.map_or(0, |e| e.paused_until.saturating_sub(now)),
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

/// The definition with the limits that differ from what was learned, if any does.
fn with_limits(definition: &Definition, learned: &[Learned]) -> Result<Option<Definition>, LimitError> {
    let mut dimensions = definition.dimensions.to_vec();
    for d in &mut dimensions {
        let Some(limit) = learned.iter().find(|l| l.name == d.name).and_then(|l| l.limit) else {
            continue;
        };
        if limit != d.limit {
            let burst = (d.algorithm == Algorithm::Bucket).then(|| {
                if d.capacity == d.limit {
                    limit
                } else {
                    d.capacity.min(limit)
                }
            });
            *d = Dimension::new(d.name, d.algorithm, limit, d.per, burst)?;
        }
    }
    if dimensions[..] == definition.dimensions[..] {
        return Ok(None);
    }
    Definition::new(dimensions, definition.idle_us, definition.max_waiters).map(Some)
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
