//! Idle keys go, and keys that could be plain become so, a few shards at a time; hot ones that rest are hot no more.

use super::Limits;
use crate::node::State;
use std::sync::atomic::Ordering;

/// Shards looked through for idle keys at each sweep.
const SWEPT: usize = 4;
/// Time between two sweeps, in microseconds.
const SWEEP_EVERY: u64 = 1_000_000;

impl Limits {
    /// Drops the keys made from a pattern that are unused and have been idle for long, a few shards at a time.
    pub(super) fn sweep(&self, now: u64) -> Option<u64> {
        let loosened = self.loosened.load(Ordering::Relaxed);
        if self.patterned.load(Ordering::Relaxed) == 0 && loosened == 0 && !self.table.heated() {
            return None;
        }
        let mut sweep = self.sweep.lock();
        if now >= sweep.1 {
            self.table.cool();
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
        self.table.cool();
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
}
