//! A histogram that many threads record into at once.
//!
//! A value is counted under a lock that is held for a few instructions. A recorder whose lock was found taken too
//! often spreads over one part for each core, of which a thread always takes the same; reading puts the parts
//! together.

use crate::distribution::{Distribution, Tally};
use crate::layout::{Buckets, HIGHEST, Layout, Number};
use crate::pack::{pack, pack_both};
use crate::window::{SLOT_MS, Window, Windows};
use crossbeam_utils::CachePadded;
use spin::Yield;
use spin::mutex::{SpinMutex, SpinMutexGuard};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Held for some nanoseconds by those who record: letting go costs one plain store, and who waits yields its core.
type Mutex<T> = SpinMutex<T, Yield>;

/// How often the lock is found taken before the recorder spreads.
const PATIENCE: u32 = 64;
/// Most parts of one recorder.
const MAX_PARTS: usize = 16;
/// The resolution a recorder of undeclared values goes over to when a fraction comes.
const FRACTION: f64 = 1e-6;

static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// A small number of its own for each thread.
pub(crate) fn thread_number() -> usize {
    THREAD.with(|cell| {
        if cell.get() == usize::MAX {
            cell.set(NEXT_THREAD.fetch_add(1, Ordering::Relaxed));
        }
        cell.get()
    })
}

/// How many parts something hot is spread over: the cores, as a power of two.
pub(crate) fn parts() -> usize {
    static PARTS: OnceLock<usize> = OnceLock::new();
    *PARTS.get_or_init(|| {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        cores.next_power_of_two().min(MAX_PARTS)
    })
}

/// A whole number and its bucket, worked out before the lock is taken; the largest number of all for anything else.
#[derive(Clone, Copy)]
struct Whole {
    units: u64,
    index: usize,
}

impl Whole {
    #[inline]
    fn of(number: Number, buckets: Buckets) -> Self {
        let units = match number {
            Number::Int(n) => u64::try_from(n).unwrap_or(u64::MAX),
            Number::Float(_) => u64::MAX,
        };
        Self {
            units,
            index: buckets.index(units),
        }
    }
}

struct Part {
    layout: Layout,
    whole_below: u64,
    slot: u64,
    clamped: u64,
    running: Tally,
    past: Tally,
    windows: Option<Box<Windows>>,
}

impl Part {
    fn new(layout: Layout) -> Self {
        Self {
            layout,
            whole_below: layout.whole_below(),
            slot: 0,
            clamped: 0,
            running: Tally::default(),
            past: Tally::default(),
            windows: None,
        }
    }

    #[inline]
    fn record(&mut self, number: Number, whole: Whole, adapts: bool, slot: u64) {
        if slot > self.slot {
            self.turn(slot);
        }
        if whole.units < self.whole_below {
            self.running.hit(whole.index, whole.units);
        } else {
            self.record_scaled(number, adapts);
        }
    }

    #[inline(never)]
    fn record_scaled(&mut self, number: Number, adapts: bool) {
        if adapts && let Number::Float(x) = number {
            self.adapt(x);
        }
        let scaled = self.layout.scale(number);
        self.clamped += u64::from(scaled.clamped);
        self.running.add(&self.layout, scaled.units);
    }

    /// Closes the slot that was running.
    #[cold]
    fn turn(&mut self, slot: u64) {
        if self.running.count > 0 {
            let over = std::mem::take(&mut self.running);
            let windows = self.windows.get_or_insert_default();
            windows.close(self.slot, &over, slot);
            if self.past.count == 0 {
                self.past = over;
            } else {
                self.past.merge(&over);
            }
        }
        if let Some(windows) = &mut self.windows {
            windows.prune(slot);
        }
        self.slot = slot;
    }

    /// Goes over to millionths when a fraction comes while whole numbers are counted, if the range allows.
    fn adapt(&mut self, x: f64) {
        if self.layout.resolution() != 1.0 || x.fract() == 0.0 || x < 0.0 {
            return;
        }
        let largest = self.running.max.max(self.past.max) as f64;
        if largest.max(x) < HIGHEST as f64 * FRACTION
            && let Ok(to) = Layout::of_units(self.layout.digits(), FRACTION, HIGHEST)
        {
            self.relay(to);
        }
    }

    #[cold]
    fn relay(&mut self, to: Layout) {
        self.running = self.running.relaid(&self.layout, &to);
        self.past = self.past.relaid(&self.layout, &to);
        if let Some(windows) = &mut self.windows {
            **windows = windows.relaid(&self.layout, &to);
        }
        self.layout = to;
        self.whole_below = to.whole_below();
    }

    fn read(&mut self, window: Window, now_ms: u64) -> Distribution {
        let slot = now_ms / SLOT_MS;
        if slot > self.slot {
            self.turn(slot);
        }
        // The larger of the two is copied, the other added.
        let all_past = window == Window::All && self.past.count > self.running.count;
        let base = if all_past { &self.past } else { &self.running };
        let mut distribution = Distribution {
            layout: self.layout,
            tally: base.clone(),
            clamped: self.clamped,
        };
        match window {
            Window::All if all_past => distribution.tally.merge(&self.running),
            Window::All => distribution.tally.merge(&self.past),
            window => {
                if let Some(windows) = &self.windows {
                    windows.read(window, self.slot, &mut distribution.tally);
                }
            }
        }
        distribution
    }

    /// What `read` gives, packed, where that takes no copy of it.
    fn pack(&mut self, window: Window, now_ms: u64) -> Option<Vec<u8>> {
        let slot = now_ms / SLOT_MS;
        if slot > self.slot {
            self.turn(slot);
        }
        let all = || pack_both(&self.layout, self.clamped, &self.past, &self.running);
        (window == Window::All).then(all)
    }

    fn heap_bytes(&self) -> usize {
        let windows = self
            .windows
            .as_ref()
            .map_or(0, |w| size_of::<Windows>() + w.heap_bytes());
        self.running.counts.heap_bytes() + self.past.counts.heap_bytes() + windows
    }
}

/// A histogram, all time and windows.
pub struct Recorder {
    first: Mutex<Part>,
    waits: AtomicU32,
    adapts: bool,
    /// Those of every layout this recorder will have: only its resolution changes.
    buckets: Buckets,
    spread: OnceLock<Box<[CachePadded<Mutex<Part>>]>>,
}

impl Recorder {
    /// An empty one. One that `adapts` counts in ones until a fraction comes, then in millionths.
    #[must_use]
    pub fn new(layout: Layout, adapts: bool) -> Self {
        Self {
            first: Mutex::new(Part::new(layout)),
            waits: AtomicU32::new(0),
            adapts,
            buckets: layout.buckets_of(),
            spread: OnceLock::new(),
        }
    }

    /// Counts a value at that time, in milliseconds of a clock that never goes back. O(1), and once in ten seconds
    /// O(buckets in use).
    #[inline]
    pub fn record(&self, number: Number, now_ms: u64) {
        let whole = Whole::of(number, self.buckets);
        self.part().record(number, whole, self.adapts, now_ms / SLOT_MS);
    }

    /// Counts a whole number when that is a matter of a few instructions, as it nearly always is: nobody else is
    /// recording, no slot ends, the bucket exists. False, with nothing changed, when it is not: `record` does it then.
    #[inline]
    #[must_use]
    pub fn record_at_once(&self, n: i64, now_ms: u64) -> bool {
        let slot = now_ms / SLOT_MS;
        let whole = Whole::of(Number::Int(n), self.buckets);
        let part = match self.spread.get() {
            Some(parts) => parts[thread_number() & (parts.len() - 1)].try_lock(),
            None => self.first.try_lock(),
        };
        part.is_some_and(|mut part| {
            slot <= part.slot
                && whole.units < part.whole_below
                && part.running.hit_again(whole.index, whole.units)
        })
    }

    #[inline]
    fn part(&self) -> SpinMutexGuard<'_, Part> {
        match self.spread.get() {
            Some(parts) => parts[thread_number() & (parts.len() - 1)].lock(),
            None => match self.first.try_lock() {
                Some(part) => part,
                None => self.wait(),
            },
        }
    }

    #[cold]
    fn wait(&self) -> SpinMutexGuard<'_, Part> {
        if parts() > 1 && self.waits.fetch_add(1, Ordering::Relaxed) == PATIENCE {
            let layout = self.first.lock().layout;
            let parts = (0..parts()).map(|_| CachePadded::new(Mutex::new(Part::new(layout))));
            let _ = self.spread.set(parts.collect());
        }
        self.first.lock()
    }

    /// What was counted in the window that ends now. O(buckets in use).
    #[must_use]
    pub fn read(&self, window: Window, now_ms: u64) -> Distribution {
        let mut all = self.first.lock().read(window, now_ms);
        for part in self.spread.get().into_iter().flatten() {
            all.merge(&part.lock().read(window, now_ms));
        }
        all
    }

    /// What [`pack`] makes of what `read` gives. O(buckets in use).
    #[must_use]
    pub fn pack(&self, window: Window, now_ms: u64) -> Vec<u8> {
        let whole = match self.spread.get() {
            None => self.first.lock().pack(window, now_ms),
            Some(_) => None,
        };
        whole.unwrap_or_else(|| pack(&self.read(window, now_ms)))
    }

    /// Bytes this recorder takes, heap included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let spread = self.spread.get().into_iter().flatten();
        size_of::<Self>()
            + self.first.lock().heap_bytes()
            + spread
                .map(|part| size_of::<CachePadded<Mutex<Part>>>() + part.lock().heap_bytes())
                .sum::<usize>()
    }
}
