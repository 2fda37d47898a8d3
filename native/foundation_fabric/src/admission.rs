//! Bounds what unproven peers can cost: decided before any cryptography, by counting.
//!
//! Handshakes under way are bounded in all and for each source. A source whose handshakes failed too often of late
//! is turned away until its allowance has grown back; when failures are frequent in all, only sources are let in
//! that proved themselves before. A source is an IPv4 address or an IPv6 network of 64 bits.

use crate::transport::Reason;
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdmissionLimits {
    /// Most handshakes under way.
    pub half_open: usize,
    /// Most handshakes under way from one source.
    pub half_open_per_source: usize,
    /// Failures that one source may make at once.
    pub failures_per_source: f64,
    /// Failures that grow back each second for one source.
    pub failures_per_source_second: f64,
    /// Failures of all sources together that are taken before only proven sources are let in.
    pub failures: f64,
    /// Failures of all sources that grow back each second.
    pub failures_second: f64,
    /// How long a source counts as proven after a good handshake.
    pub proven: Duration,
    /// Most sources remembered.
    pub sources: usize,
}

impl Default for AdmissionLimits {
    fn default() -> Self {
        Self {
            half_open: 512,
            half_open_per_source: 128,
            // A failure costs half a millisecond at most, so this is a hundredth of a core for a source, and a
            // misconfigured node does not lock out the others behind its address.
            failures_per_source: 64.0,
            failures_per_source_second: 20.0,
            failures: 512.0,
            failures_second: 200.0,
            proven: Duration::from_secs(3_600),
            sources: 4_096,
        }
    }
}

/// A bucket that failures empty and time fills.
#[derive(Clone, Copy, Debug)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    fn refill(&mut self, now: Instant, most: f64, per_second: f64) {
        let grown = now.saturating_duration_since(self.at).as_secs_f64() * per_second;
        self.left = (self.left + grown).min(most);
        self.at = now;
    }
}

#[derive(Debug)]
struct Source {
    half_open: usize,
    allowance: Allowance,
    proven_at: Option<Instant>,
}

#[derive(Debug)]
struct State {
    half_open: usize,
    allowance: Allowance,
    sources: HashMap<IpAddr, Source>,
    purged_at: Instant,
}

/// Decides who may start a handshake.
#[derive(Clone, Debug)]
pub struct Admission {
    limits: AdmissionLimits,
    state: Arc<Mutex<State>>,
}

/// Leave for one handshake. Dropping it ends the handshake in the books.
#[derive(Debug)]
pub struct Permit {
    admission: Admission,
    source: IpAddr,
}

impl Admission {
    /// Starts with nothing under way.
    pub fn new(limits: AdmissionLimits, now: Instant) -> Self {
        let state = State {
            half_open: 0,
            allowance: Allowance {
                left: limits.failures,
                at: now,
            },
            sources: HashMap::new(),
            purged_at: now,
        };
        Self {
            limits,
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Leave for a handshake with `ip`, or [`Reason::TooMany`]. Costs one look into a table.
    pub fn admit(&self, ip: IpAddr, now: Instant) -> Result<Permit, Reason> {
        let limits = &self.limits;
        let mut state = self.state.lock();
        if state.half_open >= limits.half_open {
            return Err(Reason::TooMany);
        }
        state
            .allowance
            .refill(now, limits.failures, limits.failures_second);
        let strained = state.allowance.left < 1.0;
        let key = state.key(source(ip), now, limits);
        let entry = state.source(key, now, limits);
        entry
            .allowance
            .refill(now, limits.failures_per_source, limits.failures_per_source_second);
        let proven = entry
            .proven_at
            .is_some_and(|at| now.saturating_duration_since(at) < limits.proven);
        let full = entry.half_open >= limits.half_open_per_source;
        if full || entry.allowance.left < 1.0 || (strained && !proven) {
            return Err(Reason::TooMany);
        }
        entry.half_open += 1;
        state.half_open += 1;
        Ok(Permit {
            admission: self.clone(),
            source: key,
        })
    }

    /// How many handshakes are under way.
    pub fn half_open(&self) -> usize {
        self.state.lock().half_open
    }
}

impl State {
    /// The table's key for a source: a new source goes under a common key when the table is full.
    fn key(&mut self, source: IpAddr, now: Instant, limits: &AdmissionLimits) -> IpAddr {
        if self.sources.contains_key(&source) {
            return source;
        }
        let a_second_ago = now.saturating_duration_since(self.purged_at) >= Duration::from_secs(1);
        if self.sources.len() >= limits.sources && a_second_ago {
            self.purged_at = now;
            self.sources.retain(|_, source| {
                source
                    .allowance
                    .refill(now, limits.failures_per_source, limits.failures_per_source_second);
                let proven = source
                    .proven_at
                    .is_some_and(|at| now.saturating_duration_since(at) < limits.proven);
                source.half_open > 0 || proven || source.allowance.left < limits.failures_per_source
            });
        }
        if self.sources.len() < limits.sources {
            source
        } else {
            IpAddr::from([0; 4])
        }
    }

    fn source(&mut self, key: IpAddr, now: Instant, limits: &AdmissionLimits) -> &mut Source {
        let allowance = Allowance {
            left: limits.failures_per_source,
            at: now,
        };
        self.sources.entry(key).or_insert(Source {
            half_open: 0,
            allowance,
            proven_at: None,
        })
    }
}

impl Permit {
    /// The handshake proved the peer: its source is trusted for a while.
    pub fn proven(self, now: Instant) {
        if let Some(source) = self.admission.state.lock().sources.get_mut(&self.source) {
            source.proven_at = Some(now);
        }
    }

    /// The handshake failed by the peer's fault: takes from its source's allowance, and from that of all.
    pub fn failed(self, now: Instant) {
        let limits = self.admission.limits;
        let mut state = self.admission.state.lock();
        state
            .allowance
            .refill(now, limits.failures, limits.failures_second);
        state.allowance.left = (state.allowance.left - 1.0).max(0.0);
        if let Some(source) = state.sources.get_mut(&self.source) {
            source
                .allowance
                .refill(now, limits.failures_per_source, limits.failures_per_source_second);
            source.allowance.left = (source.allowance.left - 1.0).max(0.0);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.admission.state.lock();
        state.half_open -= 1;
        if let Some(source) = state.sources.get_mut(&self.source) {
            source.half_open -= 1;
        }
    }
}

fn source(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
    }
}

/// Remembers the random values of recent client hellos, so that a recorded one is known before any cryptography.
#[derive(Debug, Default)]
pub struct Recent(Mutex<[HashSet<[u8; 32]>; 2]>);

impl Recent {
    const EACH: usize = 4_096;

    /// Whether `random` is new. Remembers at least the last 4,096 values.
    pub fn is_new(&self, random: [u8; 32]) -> bool {
        let mut sets = self.0.lock();
        if sets[1].contains(&random) || !sets[0].insert(random) {
            return false;
        }
        if sets[0].len() >= Self::EACH {
            sets.swap(0, 1);
            sets[0].clear();
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: AdmissionLimits = AdmissionLimits {
        half_open: 4,
        half_open_per_source: 2,
        failures_per_source: 3.0,
        failures_per_source_second: 1.0,
        failures: 5.0,
        failures_second: 1.0,
        proven: Duration::from_secs(60),
        sources: 8,
    };

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn handshakes_under_way_are_bounded_for_each_source_and_in_all() {
        let now = Instant::now();
        let admission = Admission::new(LIMITS, now);
        let first = admission.admit(ip(1), now).unwrap();
        let _second = admission.admit(ip(1), now).unwrap();
        assert_eq!(admission.admit(ip(1), now).unwrap_err(), Reason::TooMany);
        let _others = [
            admission.admit(ip(2), now).unwrap(),
            admission.admit(ip(3), now).unwrap(),
        ];
        assert_eq!(admission.admit(ip(4), now).unwrap_err(), Reason::TooMany);
        drop(first);
        assert_eq!(admission.half_open(), 3);
        assert!(admission.admit(ip(1), now).is_ok());
    }

    #[test]
    fn a_source_that_fails_often_waits_for_its_allowance() {
        let now = Instant::now();
        let admission = Admission::new(LIMITS, now);
        (0..3).for_each(|_| admission.admit(ip(1), now).unwrap().failed(now));
        assert!(admission.admit(ip(1), now).is_err());
        assert!(admission.admit(ip(2), now).is_ok());
        assert!(admission.admit(ip(1), now + Duration::from_millis(1_100)).is_ok());
    }

    #[test]
    fn under_strain_proven_sources_are_still_let_in() {
        let now = Instant::now();
        let admission = Admission::new(LIMITS, now);
        admission.admit(ip(1), now).unwrap().proven(now);
        for last in 2..7 {
            admission.admit(ip(last), now).unwrap().failed(now);
        }
        assert!(admission.admit(ip(1), now).is_ok());
        assert!(admission.admit(ip(100), now).is_err());
        assert!(admission.admit(ip(100), now + Duration::from_secs(2)).is_ok());
    }

    #[test]
    fn the_table_stays_bounded_and_its_overflow_shares_one_entry() {
        let now = Instant::now();
        let limits = AdmissionLimits {
            failures: 1e9,
            ..LIMITS
        };
        let admission = Admission::new(limits, now);
        for last in 0..200 {
            if let Ok(permit) = admission.admit(ip(last), now) {
                permit.failed(now);
            }
        }
        let sources = admission.state.lock().sources.len();
        assert!(sources <= limits.sources + 1, "{sources}");
        // Once the allowances have grown back the entries make room.
        let later = now + Duration::from_secs(60);
        assert!(admission.admit(ip(201), later).is_ok());
        assert!(admission.state.lock().sources.contains_key(&ip(201)));
    }

    #[test]
    fn a_v6_network_is_one_source_and_a_mapped_v4_address_is_itself() {
        assert_eq!(
            source("2001:db8::1".parse().unwrap()),
            source("2001:db8::2".parse().unwrap())
        );
        assert_ne!(
            source("2001:db8:0:1::1".parse().unwrap()),
            source("2001:db8::1".parse().unwrap())
        );
        assert_eq!(source("::ffff:10.0.0.1".parse().unwrap()), ip(1));
    }

    #[test]
    fn a_random_value_is_new_once() {
        let recent = Recent::default();
        let value = |n: u32| {
            let mut bytes = [0; 32];
            bytes[..4].copy_from_slice(&n.to_be_bytes());
            bytes
        };
        for n in 0..20_000 {
            assert!(recent.is_new(value(n)));
            assert!(!recent.is_new(value(n)));
            assert!(!recent.is_new(value(n.saturating_sub(4_000))));
        }
        let sets = recent.0.lock();
        assert!(sets[0].len() + sets[1].len() <= 2 * Recent::EACH);
    }
}
