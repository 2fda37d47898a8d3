//! What each cluster may ask of this one: calls and bytes in a second, and calls at a time.

use foundation_limits::amount::from_integer;
use foundation_limits::{Algorithm, Definition, Dimension, LimitError, Limits, Reservation};
use std::sync::Arc;
use std::time::Instant;

const CALLS: u64 = 1;
const BYTES: u64 = 2;
const AT_A_TIME: u64 = 3;
const SECOND: u64 = 1_000_000;
/// Nothing is held for longer; held calls end by their answer, or by the loss of it.
const FOR: u64 = 24 * 3_600 * SECOND;

/// The bounds for one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Calls in a second; as many may come at once.
    pub calls: u32,
    /// Bytes of requests in a second; as many may come at once.
    pub bytes: u32,
    /// Calls under way.
    pub at_a_time: u32,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            calls: 1_000,
            bytes: 16 << 20,
            at_a_time: 64,
        }
    }
}

pub(super) struct Quotas {
    limits: Limits,
    origin: Instant,
}

/// A call under way. Gives its place back when dropped.
pub(super) struct Held {
    quotas: Arc<Quotas>,
    reservation: Arc<Reservation>,
}

impl Quotas {
    pub(super) fn new<'a>(
        clusters: impl ExactSizeIterator<Item = (&'a str, Quota)>,
    ) -> Result<Self, LimitError> {
        // Nothing here expires by time alone, so nobody needs to be woken.
        let limits = Limits::new(clusters.len().max(1), Box::new(|| {}));
        let amount = |value: u32| from_integer(value.into()).ok_or(LimitError::InvalidLimit(0, "limit"));
        for (cluster, quota) in clusters {
            let bucket = |name, value| Dimension::new(name, Algorithm::Bucket, amount(value)?, SECOND, None);
            let dimensions = vec![
                bucket(CALLS, quota.calls)?,
                bucket(BYTES, quota.bytes)?,
                Dimension::new(AT_A_TIME, Algorithm::Gate, amount(quota.at_a_time)?, 0, None)?,
            ];
            limits.define(
                cluster.as_bytes(),
                Definition::new(dimensions, 0, 0)?,
                None,
                false,
                0,
            )?;
        }
        Ok(Self {
            limits,
            origin: Instant::now(),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Takes a call of so many bytes, or says in how many ms it may be tried again.
    pub(super) fn take(self: &Arc<Self>, cluster: &str, bytes: usize) -> Result<Held, u64> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let costs = [(CALLS, from_integer(1)), (BYTES, from_integer(bytes))];
        let costs = costs.map(|(name, cost)| (name, cost.unwrap_or(i128::MAX)));
        let taken = self
            .limits
            .reserve(cluster.as_bytes(), || None::<&[u8]>, &costs, FOR, self.now());
        match taken {
            Ok(reservation) => Ok(Held {
                quotas: self.clone(),
                reservation,
            }),
            Err(LimitError::Limited(limited)) => Err(limited.wait_us.div_ceil(1_000).max(1)),
            Err(_) => Err(u64::MAX),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Settled once, here.
        let _ = self
            .quotas
            .limits
            .commit(&self.reservation, &[], self.quotas.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(calls: u32, bytes: u32, at_a_time: u32) -> Arc<Quotas> {
        Arc::new(
            Quotas::new(
                [(
                    "ai",
                    Quota {
                        calls,
                        bytes,
                        at_a_time,
                    },
                )]
                .into_iter(),
            )
            .unwrap(),
        )
    }

    #[test]
    fn calls_at_a_time_are_bounded() {
        let quotas = quotas(100, 100, 2);
        let held = [quotas.take("ai", 1), quotas.take("ai", 1)];
        assert!(held.iter().all(Result::is_ok));
        assert!(quotas.take("ai", 1).is_err());
        drop(held);
        assert!(quotas.take("ai", 1).is_ok());
    }

    #[test]
    fn calls_and_bytes_in_a_second_are_bounded() {
        let few = quotas(3, 1_000, 10);
        assert_eq!((0..5).filter(|_| few.take("ai", 1).is_ok()).count(), 3);
        assert!(few.take("ai", 1).is_err_and(|ms| (1..=1_000).contains(&ms)));
        let small = quotas(100, 1_000, 10);
        assert!(small.take("ai", 600).is_ok());
        assert!(small.take("ai", 600).is_err_and(|ms| (1..=1_000).contains(&ms)));
        assert!(small.take("ai", 400).is_ok());
        // More than there can ever be.
        assert!(small.take("ai", 1_001).is_err());
    }

    #[test]
    fn a_cluster_without_a_quota_has_none() {
        assert!(quotas(1, 1, 1).take("bank", 1).is_err());
    }
}
