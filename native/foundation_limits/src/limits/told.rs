//! What a key says of itself, and what it is told from outside.

use super::{Learned, Limits, Peek};
use crate::cell::Cell;
use crate::definition::{Algorithm, Definition, Dimension};
use crate::error::LimitError;
use crate::node::State;
use crate::table::Form;
use std::sync::Arc;

impl Limits {
    /// Where `key` stands, without taking anything. O(dimensions).
    pub fn peek(&self, key: &[u8], now: u64) -> Result<Peek, LimitError> {
        let peeked = self.table.with(key, |form| match form {
            Form::Plain(plain) => peek(&mut plain.state(), now),
            Form::Node(node) => peek(&mut node.state.lock(), now),
        });
        peeked.ok_or(LimitError::UnknownKey)
    }

    /// Makes all of `key` free again and ends its pause; what is leased stays as it is. Reservations keep what they hold of
    /// concurrency; of the rest they give nothing back later.
    pub fn reset(&self, key: &[u8], now: u64) -> Result<(), LimitError> {
        let node = self.find(key).ok_or(LimitError::UnknownKey)?;
        let blocked = {
            let mut guard = node.state.lock();
            let state = &mut *guard;
            for (cell, d) in state.cells.get().iter_mut().zip(&state.definition.dimensions) {
                if !matches!(d.algorithm, Algorithm::Gate | Algorithm::Quota) {
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
