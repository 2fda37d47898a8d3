//! A dimension whose budget is leased, slice by slice, from one that several processes share.
//!
//! Whoever leases tells what was spent and adds what it got. What was told is spent for good: a refund gives back only
//! what nobody has been told of yet, for what was told is counted elsewhere, from then on, for a window's time.

use crate::cell::{Cell, Wait};
use crate::error::LimitError;
use crate::limits::Limits;
use crate::node::State;

/// What a demand that finds too little waits for, unless the lessor has said when there will be more.
const RETRY_US: u64 = 20_000;

/// The state of such a dimension; amounts in billionths.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    /// Below 0 when more was charged than there was.
    left: i128,
    /// Since the last report.
    spent: i128,
    /// The most that a demand lacked since the last report.
    short: i128,
    until: u64,
    retry_at: u64,
    reports: u64,
}

/// What a report says, in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Spent since the last report.
    pub spent: i128,
    /// Given back with this report.
    pub returned: i128,
    /// What may still be spent.
    pub left: i128,
    /// The most that a demand lacked since the last report.
    pub short: i128,
}

/// What was leased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// In billionths, beside what is left.
    pub amount: i128,
    /// All of it may be spent for so many microseconds from now; `None`: as long as before.
    pub lease_us: Option<u64>,
    /// There will be no more for so many microseconds.
    pub retry_us: u64,
}

impl Quota {
    pub(crate) fn wait(&mut self, cost: i128, now: u64) -> Wait {
        let left = self.left(now);
        if cost <= left {
            return Wait::Now;
        }
        self.short = self.short.max(cost - left);
        match self.retry_at.saturating_sub(now) {
            0 => Wait::For(RETRY_US),
            us => Wait::For(us),
        }
    }

    pub(crate) fn left(&self, now: u64) -> i128 {
        if now < self.until {
            self.left
        } else {
            self.left.min(0)
        }
    }

    pub(crate) fn take(&mut self, cost: i128) -> i128 {
        self.left -= cost;
        self.spent += cost;
        i128::from(self.reports)
    }

    /// Gives back what was taken under `mark`, unless it was told of.
    pub(crate) fn lower(&mut self, mark: i128, amount: i128) {
        if mark == i128::from(self.reports) {
            let off = amount.min(self.spent);
            self.left += off;
            self.spent -= off;
        }
    }

    fn report(&mut self, keep: Option<i128>, now: u64) -> Usage {
        let returned = keep.map_or(0, |keep| (self.left - keep.max(0)).max(0));
        self.left -= returned;
        self.reports += 1;
        Usage {
            spent: std::mem::take(&mut self.spent),
            returned,
            left: self.left(now),
            short: std::mem::take(&mut self.short),
        }
    }

    fn look(&self, now: u64) -> Usage {
        Usage {
            spent: self.spent,
            returned: 0,
            left: self.left(now),
            short: self.short,
        }
    }

    fn grant(&mut self, grant: Grant, now: u64) {
        self.left += grant.amount;
        if let Some(us) = grant.lease_us {
            self.until = now.saturating_add(us);
        }
        self.retry_at = now.saturating_add(grant.retry_us);
    }
}

impl Limits {
    /// Tells what was spent of a leased dimension, and gives back what is left above `keep`. O(dimensions).
    pub fn report_quota(
        &self,
        key: &[u8],
        name: u64,
        keep: Option<i128>,
        now: u64,
    ) -> Result<Usage, LimitError> {
        let node = self.find(key).ok_or(LimitError::UnknownKey)?;
        let mut state = node.state.lock();
        Ok(quota(&mut state, name)?.report(keep, now))
    }

    /// What the next report would say, without making one. O(dimensions).
    pub fn look_quota(&self, key: &[u8], name: u64, now: u64) -> Result<Usage, LimitError> {
        let node = self.find(key).ok_or(LimitError::UnknownKey)?;
        let mut state = node.state.lock();
        Ok(quota(&mut state, name)?.look(now))
    }

    /// Adds what was leased to a dimension; those that wait for it are tried again. O(dimensions).
    pub fn grant_quota(&self, key: &[u8], name: u64, grant: Grant, now: u64) -> Result<(), LimitError> {
        let node = self.find(key).ok_or(LimitError::UnknownKey)?;
        let blocked = {
            let mut state = node.state.lock();
            quota(&mut state, name)?.grant(grant, now);
            state.unblock()
        };
        self.try_again(&blocked, now);
        Ok(())
    }
}

fn quota(state: &mut State, name: u64) -> Result<&mut Quota, LimitError> {
    let unknown = LimitError::UnknownDimension(name);
    let Some(at) = state.definition.position(name) else {
        return Err(unknown);
    };
    match &mut state.cells.get()[at] {
        Cell::Quota(quota) => Ok(quota),
        _ => Err(unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LEASE: Grant = Grant {
        amount: 10,
        lease_us: Some(100),
        retry_us: 0,
    };

    #[test]
    fn a_lease_is_spent_until_it_ends() {
        let mut quota = Quota::default();
        assert_eq!(quota.wait(1, 0), Wait::For(RETRY_US));
        quota.grant(LEASE, 0);
        assert_eq!(quota.wait(10, 99), Wait::Now);
        quota.take(4);
        assert_eq!(quota.wait(7, 99), Wait::For(RETRY_US));
        assert_eq!(quota.wait(6, 100), Wait::For(RETRY_US));
        let usage = quota.report(Some(2), 100);
        assert_eq!(
            (usage.spent, usage.returned, usage.left, usage.short),
            (4, 4, 0, 6)
        );
        let more = Grant {
            amount: 3,
            retry_us: 50,
            ..LEASE
        };
        quota.grant(more, 100);
        assert_eq!(
            (quota.wait(5, 150), quota.wait(6, 120)),
            (Wait::Now, Wait::For(30))
        );
    }

    #[test]
    fn a_refund_gives_back_only_what_was_not_told() {
        let mut quota = Quota::default();
        quota.grant(LEASE, 0);
        let (early, late) = (quota.take(3), quota.take(2));
        quota.lower(late, 2);
        assert_eq!(quota.report(None, 0).spent, 3);
        quota.take(1);
        quota.lower(early, 3);
        assert_eq!(quota.left(0), 6);
        assert_eq!(quota.report(None, 0).spent, 1);
    }

    #[test]
    fn a_debt_is_paid_by_the_next_lease() {
        let mut quota = Quota::default();
        quota.take(4);
        assert_eq!(quota.report(Some(0), 0).spent, 4);
        quota.grant(LEASE, 0);
        assert_eq!(quota.left(0), 6);
    }

    proptest! {
        /// What was granted is what was told as spent or returned, and what is left.
        #[test]
        fn nothing_is_lost(steps in prop::collection::vec((0..4u8, 0..20i128), 0..60)) {
            let mut quota = Quota::default();
            let (mut granted, mut told, mut marks) = (0, 0, Vec::new());
            for (what, n) in steps {
                match what {
                    0 => {
                        quota.grant(Grant { amount: n, ..LEASE }, 0);
                        granted += n;
                    }
                    1 if quota.wait(n, 0) == Wait::Now => marks.push((quota.take(n), n)),
                    2 => {
                        let usage = quota.report((n % 2 == 0).then_some(n), 0);
                        told += usage.spent + usage.returned;
                    }
                    3 => {
                        if let Some((mark, n)) = marks.pop() {
                            quota.lower(mark, n);
                        }
                    }
                    _ => {}
                }
                prop_assert!(quota.left(0) >= 0 && quota.spent >= 0);
                prop_assert_eq!(granted, told + quota.spent + quota.left);
            }
        }
    }
}
