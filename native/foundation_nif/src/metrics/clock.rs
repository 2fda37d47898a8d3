//! The clock that windows turn by: a thread that reads the time ten times a second, so that recording need not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(100);

static NOW: AtomicU64 = AtomicU64::new(0);

/// Starts the thread; called once, when the library is loaded.
pub(super) fn start() {
    let start = Instant::now();
    let thread = std::thread::Builder::new().name("foundation-clock".into());
    let started = thread.spawn(move || {
        loop {
            std::thread::sleep(TICK);
            NOW.store(start.elapsed().as_millis() as u64, Ordering::Relaxed);
        }
    });
    if let Err(error) = started {
        tracing::error!("windows of metrics do not turn, their clock cannot start: {error}");
    }
}

/// Milliseconds since the library was loaded, up to 100 ms late.
#[inline]
pub(super) fn now_ms() -> u64 {
    NOW.load(Ordering::Relaxed)
}
