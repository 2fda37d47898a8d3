//! What a pool remembers.

use ahash::AHashMap;
use std::collections::{BTreeMap, VecDeque};

/// A right to a worker, or a place in the queue for one. Never used twice.
pub type Lease = u64;

/// Bounds of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Workers that are kept whatever the demand.
    pub min: usize,
    /// Workers there are at most.
    pub max: usize,
    /// How many may wait at once.
    pub max_waiting: usize,
    /// How long a worker above `min` stays idle before it goes, in nanoseconds; 0 lets it go at once.
    pub linger: u64,
    /// Hand out the worker that came back last, rather than the one that has been idle longest.
    pub lifo: bool,
}

/// Sum of times, in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Span {
    /// How many there were.
    pub count: u64,
    /// Their sum.
    pub total: u64,
    /// The longest.
    pub longest: u64,
}

impl Span {
    pub(super) fn add(&mut self, time: u64) {
        self.count += 1;
        self.total = self.total.saturating_add(time);
        self.longest = self.longest.max(time);
    }
}

/// What a pool looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// The bounds.
    pub settings: Settings,
    /// Workers alive.
    pub workers: usize,
    /// Workers that wait for work.
    pub idle: usize,
    /// Workers in use.
    pub busy: usize,
    /// Workers being looked at.
    pub aside: usize,
    /// Workers being started.
    pub starting: usize,
    /// Clients that wait.
    pub waiting: usize,
    /// How long clients waited for a worker.
    pub waited: Span,
    /// How long they held it.
    pub held: Span,
    /// Nothing is handed out any more.
    pub closed: bool,
}

#[derive(Debug)]
pub(super) struct Waiter<C> {
    pub(super) client: C,
    pub(super) since: u64,
    /// It was woken, and somebody else was faster.
    pub(super) late: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Holding<W> {
    pub(super) worker: W,
    pub(super) since: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Worker {
    pub(super) lease: Option<Lease>,
    pub(super) aside: bool,
}

#[derive(Debug)]
pub(super) struct State<W, C> {
    pub(super) settings: Settings,
    pub(super) workers: AHashMap<W, Worker>,
    /// Idle workers and since when, longest first.
    pub(super) idle: VecDeque<(W, u64)>,
    pub(super) leases: AHashMap<Lease, Holding<W>>,
    /// Leases are handed out in order, so the first one has waited longest.
    pub(super) waiting: BTreeMap<Lease, Waiter<C>>,
    /// Waiters that were told to fetch an idle worker and have not come yet.
    pub(super) woken: BTreeMap<Lease, Waiter<C>>,
    pub(super) aside: usize,
    pub(super) starting: usize,
    pub(super) growth_asked: bool,
    pub(super) closed: bool,
    pub(super) draining: bool,
    pub(super) next_lease: u64,
    pub(super) waited: Span,
    pub(super) held: Span,
}

impl<W, C> State<W, C> {
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            settings: self.settings,
            workers: self.workers.len(),
            idle: self.idle.len(),
            busy: self.leases.len(),
            aside: self.aside,
            starting: self.starting,
            waiting: self.waiting.len() + self.woken.len(),
            waited: self.waited,
            held: self.held,
            closed: self.closed,
        }
    }
}
