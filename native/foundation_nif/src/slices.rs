//! How the system shares the processors out to the library's own threads.
//!
//! Linux 6.12 and later let a thread say how long it wants to run at a time: one that wakes and wants less than the one
//! that runs goes first. Elsewhere, and where the system refuses, everything works as before, only with less regard.

/// The calling thread does little at a time, and soon.
pub(crate) fn short() {
    #[cfg(target_os = "linux")]
    linux::set(SHORT, 0);
}

/// The calling thread does much at a time, and others go first.
pub(crate) fn long() {
    #[cfg(target_os = "linux")]
    linux::set(LONG, NICE);
}

/// Nanoseconds: the least that the system takes.
#[cfg(target_os = "linux")]
const SHORT: u64 = 100_000;
/// Nanoseconds.
#[cfg(target_os = "linux")]
const LONG: u64 = 3_000_000;
/// Steps below the process: a third of a processor that another of its threads wants too, all of it when none does.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

#[cfg(target_os = "linux")]
mod linux {
    pub(super) fn set(slice: u64, below: i32) {
        // SAFETY: asks for the calling thread's own, which it got from the process.
        let nice = unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) } + below;
        let attributes = libc::sched_attr {
            size: size_of::<libc::sched_attr>() as u32,
            sched_policy: libc::SCHED_OTHER as u32,
            sched_flags: libc::SCHED_FLAG_KEEP_POLICY as u64,
            sched_nice: nice.min(19),
            sched_priority: 0,
            sched_runtime: slice,
            sched_deadline: 0,
            sched_period: 0,
        };
        // SAFETY: the attributes are of the size that they say; they change nothing but the calling thread's share.
        unsafe {
            libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0);
        }
    }
}
