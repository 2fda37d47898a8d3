//! One key: its limits, its state, its place below a parent, and how a demand is admitted up the chain.
//!
//! Locks are taken from a key upwards, parent after child, and all are held until the top has decided. The parent
//! relation has no cycle (see `Limits::define`), so two chains never wait for each other.

use crate::cell::{Cell, Wait, Wide};
use crate::definition::{Algorithm, Definition, Dimension};
use crate::error::{LimitError, Limited};
use crate::wait::Queue;
use crate::{MAX_ANCESTORS, PAUSED, QUEUED, amount};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::{Arc, Weak};

pub(crate) type KeyBytes = SmallVec<[u8; 24]>;

/// In this order, so that the lock and what it guards share a cache line.
#[repr(C)]
pub(crate) struct Node {
    pub(crate) state: Mutex<State>,
    pub(crate) key: KeyBytes,
}

pub(crate) struct State {
    /// Seconds, of the same clock as everything else.
    pub(crate) used_at: u32,
    /// Made from a pattern, so that it may go when idle.
    pub(crate) patterned: bool,
    pub(crate) definition: Arc<Definition>,
    pub(crate) parent: Option<Arc<Node>>,
    pub(crate) cells: Cells,
    /// What only a key with reservations, waiters or a pause needs.
    pub(crate) extra: Option<Box<Extra>>,
}

/// The usual numbers of cells in place, more on the heap.
pub(crate) enum Cells {
    One(Cell),
    Few([Cell; FEW]),
    Many(Box<[Cell]>),
}

/// Cells beside a lock, so that one trip to memory brings both.
const FEW: usize = 4;

impl Cells {
    pub(crate) fn new(mut cells: Vec<Cell>) -> Self {
        match <[Cell; FEW]>::try_from(cells) {
            Ok(few) => return Self::Few(few),
            Err(other) => cells = other,
        }
        match cells.pop() {
            Some(cell) if cells.is_empty() => Self::One(cell),
            Some(cell) => {
                cells.push(cell);
                Self::Many(cells.into())
            }
            None => Self::Many(Box::default()),
        }
    }

    #[inline]
    pub(crate) fn get(&mut self) -> &mut [Cell] {
        match self {
            Self::One(cell) => std::slice::from_mut(cell),
            Self::Few(cells) => cells,
            Self::Many(cells) => cells,
        }
    }

    fn into_vec(self) -> Vec<Cell> {
        match self {
            Self::One(cell) => vec![cell],
            Self::Few(cells) => cells.into(),
            Self::Many(cells) => cells.into_vec(),
        }
    }
}

#[derive(Default)]
pub(crate) struct Extra {
    /// Counts definitions and resets while reservations are out.
    pub(crate) epoch: u32,
    /// Numbers reservations and what they return.
    pub(crate) tick: u64,
    pub(crate) holds: u32,
    pub(crate) returned: Vec<Returned>,
    pub(crate) paused_until: u64,
    pub(crate) queue: Queue,
    /// Keys whose first waiter this key keeps waiting.
    pub(crate) blocked: Vec<Weak<Node>>,
}

/// What reservation number `of` gave back to a bucket, as event number `at`, in scaled billionths.
pub(crate) struct Returned {
    pub(crate) name: u64,
    pub(crate) of: u64,
    pub(crate) at: u64,
    pub(crate) scaled: i128,
}

/// What a reservation took from one key.
pub(crate) struct Level {
    pub(crate) node: Arc<Node>,
    pub(crate) epoch: u32,
    pub(crate) seq: u64,
    pub(crate) marks: SmallVec<[Mark; 2]>,
}

/// What a reservation took from one dimension, and where it can be found again.
pub(crate) struct Mark {
    pub(crate) dimension: Dimension,
    pub(crate) cost: i128,
    pub(crate) place: i128,
}

pub(crate) struct Demand<'a> {
    pub(crate) costs: &'a [(u64, i128)],
    pub(crate) now: u64,
    /// Takes gates, one of each unless the costs say otherwise, and keeps marks.
    pub(crate) hold: Hold,
    /// Of whom the first waiter asks; it passes its own queue and is told when something comes back.
    pub(crate) waiter: Option<&'a Arc<Node>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    Nothing,
    /// Marks without gates: an acquire that may still be cancelled.
    Rates,
    All,
}

/// What the levels seen so far say.
#[derive(Default)]
pub(crate) struct Verdict {
    known: u32,
    error: Option<LimitError>,
    worst: Option<Worst>,
    /// The longest wait of those whose end is known; `None` when there is none.
    pub(crate) timed: Option<u64>,
    pub(crate) levels: Vec<Level>,
}

struct Worst {
    node: Arc<Node>,
    dimension: u64,
    wait_us: u64,
}

impl Verdict {
    fn wait(&mut self, node: &Arc<Node>, dimension: u64, wait: Wait) -> bool {
        let wait_us = match wait {
            Wait::Now => return true,
            Wait::Never => {
                self.error.get_or_insert(LimitError::Never(dimension));
                return false;
            }
            Wait::For(us) => {
                self.timed = self.timed.max(Some(us));
                us
            }
            Wait::Release(us) => us,
        };
        if self.worst.as_ref().is_none_or(|w| w.wait_us < wait_us) {
            self.worst = Some(Worst {
                node: node.clone(),
                dimension,
                wait_us,
            });
        }
        false
    }

    fn decide(&mut self, costs: &[(u64, i128)]) -> bool {
        for (i, &(name, cost)) in costs.iter().enumerate() {
            if cost < 0 {
                self.error = Some(LimitError::InvalidCost(name));
                return false;
            }
            if self.known & (1 << i) == 0 {
                self.error = Some(LimitError::UnknownDimension(name));
                return false;
            }
        }
        self.error.is_none() && self.worst.is_none()
    }

    pub(crate) fn denial(self) -> LimitError {
        match (self.error, self.worst) {
            (Some(error), _) => error,
            (None, Some(worst)) => LimitError::Limited(Limited {
                dimension: worst.dimension,
                key: worst.node.key.as_slice().into(),
                wait_us: worst.wait_us,
            }),
            (None, None) => LimitError::UnknownKey,
        }
    }
}

/// Which dimension pays which cost; [`ONE`] stands for one unit of a gate that the costs do not name.
type Claims = SmallVec<[(u8, u8); 12]>;

const ONE: u8 = u8::MAX;

impl Demand<'_> {
    #[inline]
    fn cost(&self, d: &Dimension, which: u8) -> i128 {
        match self.costs.get(usize::from(which)) {
            Some(&(_, cost)) => cost,
            None => amount::UNIT.min(d.limit.max(1)),
        }
    }
}

/// Takes what `demand` asks for from `node` and all its ancestors, or nothing.
pub(crate) fn admit(node: &Arc<Node>, demand: &Demand<'_>, depth: usize, verdict: &mut Verdict) -> bool {
    let mut guard = node.state.lock();
    let state = &mut *guard;
    if depth > MAX_ANCESTORS {
        verdict.error = Some(LimitError::TooManyAncestors);
        return false;
    }
    if let Some(extra) = &state.extra {
        extra.hinder(node, demand, depth, verdict);
    }
    let definition = &*state.definition;
    let cells = state.cells.get();
    let mut claims = Claims::new();
    claim(definition, demand, verdict, &mut claims);
    let mut free = true;
    for &(at, which) in &claims {
        let d = &definition.dimensions[usize::from(at)];
        let cost = demand.cost(d, which);
        if cost >= 0 {
            free &= verdict.wait(node, d.name, cells[usize::from(at)].wait(d, cost, demand.now));
        }
    }
    if !free && let Some(waiter) = demand.waiter {
        let waiter = Arc::downgrade(waiter);
        let blocked = &mut state.extra.get_or_insert_default().blocked;
        if !blocked.iter().any(|other| other.ptr_eq(&waiter)) {
            blocked.push(waiter);
        }
    }
    let granted = match &state.parent {
        Some(parent) => admit(parent, demand, depth + 1, verdict),
        None => verdict.decide(demand.costs),
    };
    if granted {
        state.used_at = (demand.now / 1_000_000) as u32;
        if demand.hold == Hold::Nothing {
            for &(at, which) in &claims {
                let at = usize::from(at);
                let d = &definition.dimensions[at];
                cells[at].take(d, demand.cost(d, which), demand.now);
            }
        } else {
            let level = hold(
                node,
                definition,
                cells,
                state.extra.get_or_insert_default(),
                &claims,
                demand,
            );
            verdict.levels.push(level);
        }
    }
    granted
}

/// Most costs that [`take_buckets`] knows.
const QUICK: usize = 4;

/// Takes `costs`, none below 0, from `node` and its ancestors as [`admit`] does, in the usual case: every dimension is a
/// bucket with room, and no key has a reservation, waiter or pause. False otherwise; nothing was taken then, and
/// [`admit`] finds out what there is to say. `known` are the costs that a key below has a dimension for.
pub(crate) fn take_buckets(
    node: &Node,
    costs: &[(u64, i128)],
    now: u64,
    mut known: u32,
    depth: usize,
) -> bool {
    let mut guard = node.state.lock();
    let state = &mut *guard;
    if state.extra.is_some() || costs.len() > QUICK || depth > MAX_ANCESTORS {
        return false;
    }
    let cells = state.cells.get();
    let mut marks = [(0, 0); QUICK];
    let mut count = 0;
    for (i, &(name, cost)) in costs.iter().enumerate() {
        let Some(at) = state.definition.position(name) else {
            continue;
        };
        let (d, Cell::Bucket { full_at }) = (&state.definition.dimensions[at], &cells[at]) else {
            return false;
        };
        let present = i128::from(now) * d.leak;
        let mark = full_at.get().max(present) + cost * d.scale;
        let room = cost == 0 || mark - present <= d.capacity * d.scale;
        if !room || !(0..=d.capacity).contains(&cost) || marks[..count].iter().any(|mark| mark.0 == at) {
            return false;
        }
        marks[count] = (at, mark);
        known |= 1 << i;
        count += 1;
    }
    let granted = match &state.parent {
        Some(parent) => take_buckets(parent, costs, now, known, depth + 1),
        None => known == (1 << costs.len()) - 1,
    };
    if granted {
        state.used_at = (now / 1_000_000) as u32;
        for &(at, mark) in &marks[..count] {
            cells[at] = Cell::Bucket {
                full_at: Wide::new(mark),
            };
        }
    }
    granted
}

/// Which dimensions of this key are asked for how much.
#[inline]
fn claim(definition: &Definition, demand: &Demand<'_>, verdict: &mut Verdict, claims: &mut Claims) {
    for (i, &(name, _)) in demand.costs.iter().enumerate() {
        if let Some(at) = definition.position(name) {
            verdict.known |= 1 << i;
            if definition.dimensions[at].algorithm == Algorithm::Gate && demand.hold != Hold::All {
                verdict.error.get_or_insert(LimitError::ReserveOnly(name));
            }
            claims.push((at as u8, i as u8));
        }
    }
    if demand.hold == Hold::All {
        for (at, d) in definition.dimensions.iter().enumerate() {
            if d.algorithm == Algorithm::Gate && !demand.costs.iter().any(|&(name, _)| name == d.name) {
                claims.push((at as u8, ONE));
            }
        }
    }
}

fn hold(
    node: &Arc<Node>,
    definition: &Definition,
    cells: &mut [Cell],
    extra: &mut Extra,
    claims: &Claims,
    demand: &Demand<'_>,
) -> Level {
    extra.tick += 1;
    extra.holds += 1;
    let marks = claims
        .iter()
        .map(|&(at, which)| {
            let dimension = definition.dimensions[usize::from(at)].clone();
            let cost = demand.cost(&dimension, which);
            let place = cells[usize::from(at)].take(&dimension, cost, demand.now);
            Mark {
                dimension,
                cost,
                place,
            }
        })
        .collect();
    Level {
        node: node.clone(),
        epoch: extra.epoch,
        seq: extra.tick,
        marks,
    }
}

impl Extra {
    fn hinder(&self, node: &Arc<Node>, demand: &Demand<'_>, depth: usize, verdict: &mut Verdict) {
        if self.paused_until > demand.now {
            verdict.wait(node, PAUSED, Wait::For(self.paused_until - demand.now));
        }
        if depth == 0 && demand.waiter.is_none() && !self.queue.is_empty() {
            let wait = self.queue.due.saturating_sub(demand.now).max(1_000);
            verdict.wait(node, QUEUED, Wait::Release(wait));
        }
    }

    fn idle(&self, now: u64) -> bool {
        self.holds == 0 && self.queue.is_empty() && self.blocked.is_empty() && self.paused_until <= now
    }
}

impl State {
    pub(crate) fn new(
        definition: Arc<Definition>,
        parent: Option<Arc<Node>>,
        patterned: bool,
        now: u64,
    ) -> Self {
        let cells = definition.dimensions.iter().map(|d| Cell::new(d, now)).collect();
        let used_at = (now / 1_000_000) as u32;
        Self {
            used_at,
            patterned,
            definition,
            parent,
            cells: Cells::new(cells),
            extra: None,
        }
    }

    /// Changes the definition; what is used stays used.
    pub(crate) fn redefine(&mut self, definition: Arc<Definition>, now: u64) {
        let old = std::mem::replace(&mut self.definition, definition);
        let cells = std::mem::replace(&mut self.cells, Cells::new(Vec::new())).into_vec();
        let mut cells: Vec<Option<Cell>> = cells.into_iter().map(Some).collect();
        let fresh = self.definition.dimensions.iter().map(|d| {
            let Some(at) = old.position(d.name) else {
                return Cell::new(d, now);
            };
            let (before, cell) = (&old.dimensions[at], cells[at].take());
            match cell {
                Some(cell)
                    if before == d
                        || matches!((&cell, d.algorithm), (Cell::Gate { .. }, Algorithm::Gate))
                        || matches!((&cell, d.algorithm), (Cell::Quota(_), Algorithm::Quota)) =>
                {
                    cell
                }
                Some(mut cell) => convert(&mut cell, before, d, now),
                None => Cell::new(d, now),
            }
        });
        self.cells = Cells::new(fresh.collect());
        if let Some(extra) = &mut self.extra {
            extra.epoch = extra.epoch.saturating_add(1);
            extra.returned.clear();
        }
    }

    /// Everything free and nothing pending.
    pub(crate) fn idle(&mut self, now: u64) -> bool {
        if self.extra.as_ref().is_some_and(|e| !e.idle(now)) {
            return false;
        }
        let definition = self.definition.clone();
        self.cells
            .get()
            .iter_mut()
            .zip(&definition.dimensions)
            .all(|(cell, d)| cell.used(d, now) == 0)
    }

    /// Drops what no reservation, waiter or pause needs any more.
    pub(crate) fn tidy(&mut self, now: u64) {
        if self.extra.as_ref().is_some_and(|e| e.idle(now)) {
            self.extra = None;
        }
    }

    /// Those to try again now that something came back.
    pub(crate) fn unblock(&mut self) -> Vec<Weak<Node>> {
        self.extra
            .as_mut()
            .map(|e| std::mem::take(&mut e.blocked))
            .unwrap_or_default()
    }
}

fn convert(cell: &mut Cell, before: &Dimension, after: &Dimension, now: u64) -> Cell {
    let mut fresh = Cell::new(after, now);
    let counts = |d: &Dimension| !matches!(d.algorithm, Algorithm::Gate | Algorithm::Quota);
    if counts(before) && counts(after) {
        fresh.take(after, cell.used(before, now), now);
    }
    fresh
}
