//! The clock of what measures calls: breakers, adaptive limits and pools.

use std::sync::OnceLock;
use std::time::Instant;

/// Nanoseconds on a clock that does not run backwards.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}
