//! Who holds a place, and since when it has been silent.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// The places for links.
pub(super) struct Table {
    places: Mutex<HashMap<u64, Place>>,
    most: usize,
    idle: Duration,
    next: AtomicU64,
    evicted: AtomicU64,
    origin: Instant,
}

struct Place {
    /// Milliseconds since the origin at which bytes moved last.
    moved: Arc<AtomicU64>,
    closing: watch::Sender<bool>,
}

/// A link's place. Given back when dropped.
pub(super) struct Slot {
    table: Arc<Table>,
    number: u64,
    moved: Arc<AtomicU64>,
    closing: watch::Receiver<bool>,
}

impl Table {
    pub(super) fn new(most: usize, idle: Duration) -> Self {
        Self {
            places: Mutex::default(),
            most,
            idle,
            next: AtomicU64::new(0),
            evicted: AtomicU64::new(0),
            origin: Instant::now(),
        }
    }

    pub(super) const fn most(&self) -> usize {
        self.most
    }

    pub(super) fn open(&self) -> usize {
        self.places.lock().len()
    }

    pub(super) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A place, if need be that of the link that has been silent longest. Looks at every place only when all are
    /// taken.
    pub(super) fn take(self: &Arc<Self>) -> Option<Slot> {
        let now = self.now();
        let mut places = self.places.lock();
        if places.len() >= self.most {
            let (number, moved) = places
                .iter()
                .map(|(number, place)| (*number, place.moved.load(Ordering::Relaxed)))
                .min_by_key(|(_, moved)| *moved)?;
            if u128::from(now.saturating_sub(moved)) < self.idle.as_millis() {
                return None;
            }
            if let Some(place) = places.remove(&number) {
                place.closing.send_replace(true);
            }
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let moved = Arc::new(AtomicU64::new(now));
        let (closing, receiver) = watch::channel(false);
        places.insert(
            number,
            Place {
                moved: moved.clone(),
                closing,
            },
        );
        Some(Slot {
            table: self.clone(),
            number,
            moved,
            closing: receiver,
        })
    }
}

impl Slot {
    /// Bytes moved.
    pub(super) fn touch(&self) {
        self.moved.store(self.table.now(), Ordering::Relaxed);
    }

    /// Ends when the place is taken away.
    pub(super) fn closing(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut closing = self.closing.clone();
        async move {
            // The sender goes only when the place does.
            let _ = closing.wait_for(|closing| *closing).await;
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.table.places.lock().remove(&self.number);
    }
}
