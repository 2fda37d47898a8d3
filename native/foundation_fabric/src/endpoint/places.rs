//! Which lane each sender takes.
//!
//! A sender stays on its lane as long as anything of it is under way there, which keeps its messages in order. Once all
//! of it has arrived, and others fill that lane, it moves to an emptier one: chance alone would put three or four of
//! eight busy senders on one of four lanes, and the others would wait for that one.

use super::remote::Lane;
use crate::channel::Settings;
use crate::channel::outbox::Outbox;
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Senders share this many places; two on one place move together.
const PLACES: usize = 256;
/// Bits of a place that say how many messages its lane had taken when the last one of the place was queued; those above
/// are the lane's number.
const TAKEN: u32 = 48;
/// From so many messages on a lane, one without a link is preferred to it.
const BUSY: u64 = 64;

/// The lane of every sender of one channel to one node.
pub(super) struct Places(Box<[AtomicU64]>);

/// A sender's place, while the queue of its lane is locked.
pub(super) struct Seat<'p>(Option<(&'p AtomicU64, u64)>);

impl Seat<'_> {
    /// Its last message is the last of so many that the lane has taken.
    pub(super) fn keep(self, taken: u64) {
        if let Some((place, lane)) = self.0 {
            place.store(lane << TAKEN | taken & ((1 << TAKEN) - 1), Ordering::Relaxed);
        }
    }
}

impl Places {
    pub(super) fn new(settings: &Settings) -> Self {
        // Only acknowledgements tell that a message has arrived.
        let count = if settings.lanes > 1 { PLACES } else { 0 };
        let spread = |place: usize| AtomicU64::new((place as u64 % u64::from(settings.lanes)) << TAKEN);
        Self((0..count).map(spread).collect())
    }

    fn place(&self, flow: u64) -> Option<&AtomicU64> {
        // A sender's number may count up in steps; its upper bits after a multiplication do not.
        let mixed = flow.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        self.0.get((mixed as usize * self.0.len()) >> 32)
    }

    /// The lane that a sender takes, as things stand.
    pub(super) fn lane(&self, flow: u64) -> usize {
        self.place(flow)
            .map_or(0, |place| (place.load(Ordering::Relaxed) >> TAKEN) as usize)
    }

    /// The lane for a sender's next message, and its queue, locked.
    pub(super) fn take<'l>(
        &self,
        lanes: &'l [Arc<Lane>],
        flow: u64,
    ) -> (&'l Lane, MutexGuard<'l, Outbox>, Seat<'_>) {
        let Some(place) = self.place(flow) else {
            return (&lanes[0], lanes[0].outbox.lock(), Seat(None));
        };
        let mut moved = false;
        loop {
            let seen = place.load(Ordering::Relaxed);
            let number = seen >> TAKEN;
            let lane = &lanes[number as usize];
            let outbox = lane.outbox.lock();
            // A place changes only under the lock of the lane that it names.
            if place.load(Ordering::Relaxed) >> TAKEN != number {
                continue;
            }
            if !moved
                && outbox.held() > 0
                && outbox.is_through(seen & ((1 << TAKEN) - 1))
                && let Some(emptier) = emptier(lanes, lane, &outbox)
            {
                moved = true;
                place.store(u64::from(emptier) << TAKEN, Ordering::Relaxed);
                continue;
            }
            return (lane, outbox, Seat(Some((place, number))));
        }
    }
}

/// A lane with less than half as much on it.
fn emptier(lanes: &[Arc<Lane>], than: &Lane, outbox: &Outbox) -> Option<u16> {
    let others = lanes.iter().filter(|lane| lane.number != than.number);
    others
        .filter(|lane| lane.linked.load(Ordering::Relaxed) || outbox.held() >= BUSY)
        .filter_map(|lane| Some((lane.outbox.try_lock()?.held(), lane.number)))
        .min()
        .filter(|(held, _)| held * 2 < outbox.held())
        .map(|(_, number)| number)
}
