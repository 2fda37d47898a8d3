//! The clock of what calls are measured and limited by: that of the system, read off the processor's tick counter
//! where the system itself does so.

use foundation_limits::ticks::Ticks;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static TICKS: Ticks = Ticks::new();
static COUNTED: AtomicBool = AtomicBool::new(false);

/// Decides whether the counter may be used; called while the library is being loaded.
pub(crate) fn load() {
    // The kernel takes time from the counter only when that runs evenly and alike on all processors.
    let source = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    let counted = cfg!(all(target_arch = "x86_64", target_os = "linux"))
        && std::fs::read_to_string(source).is_ok_and(|name| name.trim() == "tsc");
    COUNTED.store(counted, Ordering::Relaxed);
}

/// Nanoseconds on a clock that does not run backwards, but for some nanoseconds between two threads.
#[inline]
pub(crate) fn monotonic() -> u64 {
    TICKS.read(ticks()).unwrap_or_else(asked)
}

/// As [`monotonic`], counted from the first call.
pub(crate) fn now() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    let now = monotonic();
    now.saturating_sub(*START.get_or_init(|| now))
}

#[cold]
fn asked() -> u64 {
    let (before, nanos, after) = (ticks(), system(), ticks());
    // Longer than that, and the thread was interrupted in between: nobody knows where.
    if COUNTED.load(Ordering::Relaxed) && after.wrapping_sub(before) < 2_000 {
        TICKS.learn(before.wrapping_add(after.wrapping_sub(before) / 2), nanos);
    }
    nanos
}

#[inline(always)]
fn ticks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of that architecture has the counter, and reading it does nothing else.
    unsafe {
        std::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    0
}

/// What `Instant` reads too, without its arithmetic on pairs of numbers.
fn system() -> u64 {
    let mut time = MaybeUninit::<libc::timespec>::uninit();
    // SAFETY: the call writes the time; it cannot fail for a clock that every Linux and BSD has.
    let time = unsafe {
        libc::clock_gettime(libc::CLOCK_MONOTONIC, time.as_mut_ptr());
        time.assume_init()
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
