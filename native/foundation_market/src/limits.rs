//! How long a solver may go on.

use std::cell::Cell;
use std::fmt;

/// A budget of steps, and a check of the caller's that can end the work earlier: a deadline, a cancelled session.
///
/// What a step is stands beside each solver; it is always some microseconds of work at most, so that a check is asked
/// often enough. A budget is used up: give each call its own.
pub struct Limits<'a> {
    left: Cell<u64>,
    stop: Option<&'a dyn Fn() -> bool>,
    stopped: Cell<bool>,
}

impl fmt::Debug for Limits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limits")
            .field("left", &self.left)
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

impl Limits<'static> {
    /// At most that many steps.
    #[must_use]
    pub fn steps(steps: u64) -> Self {
        Self {
            left: Cell::new(steps),
            stop: None,
            stopped: Cell::new(false),
        }
    }

    /// No limit.
    #[must_use]
    pub fn none() -> Self {
        Self::steps(u64::MAX)
    }
}

impl<'a> Limits<'a> {
    /// At most that many steps, and none once `stop` has answered true.
    #[must_use]
    pub fn until(steps: u64, stop: &'a dyn Fn() -> bool) -> Self {
        Self {
            left: Cell::new(steps),
            stop: Some(stop),
            stopped: Cell::new(false),
        }
    }

    /// Takes `steps` from the budget; false when the work must end. Once false it stays false.
    pub fn go_on(&self, steps: u64) -> bool {
        if self.stopped.get() {
            return false;
        }
        let go = match self.left.get().checked_sub(steps) {
            Some(left) => {
                self.left.set(left);
                !self.stop.is_some_and(|stop| stop())
            }
            None => false,
        };
        self.stopped.set(!go);
        go
    }

    /// Whether a budget or check has ended the work.
    #[must_use]
    pub fn ended(&self) -> bool {
        self.stopped.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_and_stays_ended() {
        let limits = Limits::steps(3);
        assert!(limits.go_on(2));
        assert!(!limits.go_on(2));
        assert!(!limits.go_on(1));
        assert!(limits.ended());
    }

    #[test]
    fn the_stop_check_ends_it() {
        let asked = Cell::new(0);
        let stop = || {
            asked.set(asked.get() + 1);
            asked.get() > 2
        };
        let limits = Limits::until(100, &stop);
        assert!(limits.go_on(1) && limits.go_on(1));
        assert!(!limits.go_on(1) && limits.ended());
    }
}
