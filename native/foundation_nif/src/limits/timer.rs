//! The clock of the limits, and the thread that does what is due: expiry, waiters, idle keys.

use crate::clock::monotonic;
use crate::handle::held;
use foundation_limits::{FixedWindows, Limits};
use parking_lot::{Condvar, Mutex};
use rustler::{Error, NifResult};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

/// What the handle, the reservations and the thread share.
pub(crate) struct Core {
    pub(super) limits: Limits,
    pub(super) windows: FixedWindows,
    epoch: u64,
}

impl Core {
    /// Microseconds of the monotonic clock.
    #[inline]
    pub(super) fn now(&self) -> u64 {
        monotonic().saturating_sub(self.epoch) / 1000
    }
}

/// The handle; the thread ends with it.
pub(crate) struct LimitsRef {
    pub(super) core: Arc<Core>,
    bell: Arc<Bell>,
}

held!(LimitsRef, c"foundation_limits");

// State is changed under locks, and each step leaves it valid: a panic cannot leave broken limits.
impl std::panic::RefUnwindSafe for LimitsRef {}

impl Drop for LimitsRef {
    fn drop(&mut self) {
        self.bell.ring(Signal::Stop);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    None,
    Due,
    Stop,
}

struct Bell {
    signal: Mutex<Signal>,
    rung: Condvar,
}

impl Bell {
    fn ring(&self, signal: Signal) {
        let mut state = self.signal.lock();
        if *state == Signal::None || signal == Signal::Stop {
            *state = signal;
            self.rung.notify_one();
        }
    }
}

pub(super) fn start(max_keys: usize) -> NifResult<LimitsRef> {
    let bell = Arc::new(Bell {
        signal: Mutex::new(Signal::None),
        rung: Condvar::new(),
    });
    let ringer = bell.clone();
    let core = Arc::new(Core {
        limits: Limits::new(max_keys, Box::new(move || ringer.ring(Signal::Due))),
        windows: FixedWindows::default(),
        epoch: monotonic(),
    });
    let (shared, heard) = (core.clone(), bell.clone());
    std::thread::Builder::new()
        .name("foundation-limit".into())
        .spawn(move || run(&shared, &heard))
        .map_err(|_| Error::RaiseAtom("system_limit"))?;
    Ok(LimitsRef { core, bell })
}

fn run(core: &Core, bell: &Bell) {
    loop {
        // A panic has been logged by the hook; the next round goes on with what is left.
        let next = catch_unwind(AssertUnwindSafe(|| core.limits.tick(core.now()))).unwrap_or(None);
        let mut signal = bell.signal.lock();
        if *signal == Signal::None {
            match next {
                Some(due) => {
                    let left = Duration::from_micros(due.saturating_sub(core.now()));
                    bell.rung.wait_for(&mut signal, left);
                }
                None => bell.rung.wait(&mut signal),
            }
        }
        if *signal == Signal::Stop {
            drop(signal);
            return core.limits.close(core.now());
        }
        *signal = Signal::None;
    }
}
