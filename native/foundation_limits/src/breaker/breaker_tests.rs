use super::*;
use proptest::prelude::*;

const MS: u64 = 1_000_000;

fn breaker(change: impl FnOnce(&mut Settings)) -> Breaker {
    let mut settings = Settings {
        tolerance: Some(2),
        window: 100 * MS,
        open_for: 100 * MS,
        ..Settings::default()
    };
    change(&mut settings);
    Breaker::new(settings).expect("valid settings")
}

fn permit(breaker: &Breaker, now: u64) -> Permit {
    match breaker.admit(|| now).0 {
        Admission::Admitted(p) | Admission::Probe(p) => p,
        Admission::Refused { .. } => panic!("refused at {now}"),
    }
}

fn refused(breaker: &Breaker, now: u64) -> bool {
    matches!(breaker.admit(|| now).0, Admission::Refused { .. })
}

fn call(breaker: &Breaker, outcome: Outcome, now: u64) -> Option<Change> {
    breaker.record(permit(breaker, now), outcome, 0, || now)
}

#[test]
fn it_tolerates_n_failures_and_opens_at_the_next() {
    let b = breaker(|_| {});
    assert_eq!(call(&b, Outcome::Failure, 0), None);
    assert_eq!(call(&b, Outcome::Failure, 1), None);
    let change = call(&b, Outcome::Failure, 2).expect("opens");
    assert_eq!((change.from, change.to), (State::Closed, State::Open));
    assert!(refused(&b, 2 + 99 * MS));
    assert_eq!(b.snapshot(2 + 99 * MS).retry_after, MS);
}

#[test]
fn failures_leave_the_window() {
    let b = breaker(|_| {});
    for k in 0..50 {
        assert_eq!(call(&b, Outcome::Failure, k * 51 * MS), None, "failure {k}");
    }
}

#[test]
fn probes_close_it_and_a_failed_one_opens_it_again() {
    let b = breaker(|s| {
        s.tolerance = Some(0);
        s.probes = 2;
    });
    call(&b, Outcome::Failure, 0);
    let at = 100 * MS;
    assert_eq!(b.snapshot(at).state, State::HalfOpen);
    let (first, second) = (permit(&b, at), permit(&b, at));
    assert!(refused(&b, at), "both slots are taken");
    assert_eq!(b.record(first, Outcome::Success, 0, || at), None);
    assert!(refused(&b, at), "a success does not free a slot");
    let change = b.record(second, Outcome::Success, 0, || at);
    assert_eq!(change.map(|c| c.to), Some(State::Closed));
    call(&b, Outcome::Failure, at);
    let change = call(&b, Outcome::Failure, 2 * at);
    assert_eq!(change.map(|c| c.to), Some(State::Open));
}

#[test]
fn an_ignored_or_lost_probe_gives_its_slot_back() {
    let b = breaker(|s| {
        s.tolerance = Some(0);
        s.probe_timeout = 10 * MS;
    });
    call(&b, Outcome::Failure, 0);
    let at = 100 * MS;
    assert_eq!(call(&b, Outcome::Ignored, at), None);
    let lost = permit(&b, at);
    assert!(refused(&b, at + 9 * MS));
    let next = permit(&b, at + 10 * MS);
    assert_eq!(b.record(lost, Outcome::Failure, 0, || at + 11 * MS), None);
    assert!(b.record(next, Outcome::Success, 0, || at + 11 * MS).is_some());
}

#[test]
fn an_outcome_of_an_older_generation_changes_nothing() {
    let b = breaker(|s| s.tolerance = Some(0));
    let old = permit(&b, 0);
    call(&b, Outcome::Failure, 0);
    let probe = permit(&b, 100 * MS);
    assert_eq!(b.record(old, Outcome::Failure, 0, || 100 * MS), None);
    assert!(b.record(probe, Outcome::Success, 0, || 100 * MS).is_some());
    assert_eq!(b.record(old, Outcome::Failure, 0, || 100 * MS), None);
    assert_eq!(b.snapshot(100 * MS).state, State::Closed);
}

#[test]
fn the_failure_rate_counts_from_the_minimum_on() {
    let b = breaker(|s| {
        s.tolerance = None;
        s.failure_rate = Some(0.5);
        s.minimum_calls = 4;
    });
    assert_eq!(call(&b, Outcome::Failure, 0), None);
    assert_eq!(call(&b, Outcome::Failure, 0), None);
    assert_eq!(call(&b, Outcome::Success, 0), None);
    assert!(call(&b, Outcome::Success, 0).is_some(), "2 of 4 failed");
}

#[test]
fn slow_calls_open_it() {
    let b = breaker(|s| {
        s.tolerance = None;
        s.slow_rate = Some(1.0);
        s.slow_after = 5 * MS;
        s.minimum_calls = 2;
    });
    for last in [false, true] {
        let change = b.record(permit(&b, 0), Outcome::Success, 5 * MS, || 0);
        assert_eq!(change.is_some(), last);
    }
}

#[test]
fn the_ramp_admits_exactly_its_share() {
    let b = breaker(|s| {
        s.tolerance = Some(0);
        s.ramp = 100 * MS;
        s.ramp_start = 0.5;
    });
    call(&b, Outcome::Failure, 0);
    let change = call(&b, Outcome::Success, 100 * MS);
    assert_eq!(change.map(|c| c.to), Some(State::Restoring));
    let admitted = |at: u64| (0..100).filter(|_| !refused(&b, at)).count();
    assert_eq!(admitted(100 * MS), 50);
    assert_eq!(admitted(150 * MS), 75);
    assert_eq!(admitted(200 * MS), 100);
    assert_eq!(b.snapshot(200 * MS).state, State::Closed);
}

#[test]
fn force_wins_over_time_and_outcomes() {
    let b = breaker(|s| s.tolerance = Some(0));
    b.force(State::ForcedOpen, 0);
    assert!(refused(&b, u64::MAX / 2));
    b.force(State::ForcedClosed, 0);
    for _ in 0..10 {
        assert_eq!(call(&b, Outcome::Failure, 0), None);
    }
    b.reset(0);
    assert!(call(&b, Outcome::Failure, 0).is_some());
}

#[test]
fn a_retired_breaker_stays_so() {
    let b = breaker(|s| s.tolerance = Some(0));
    let permit = permit(&b, 0);
    b.force(State::Retired, 0);
    assert!(b.is_retired() && refused(&b, u64::MAX / 2));
    assert_eq!(b.record(permit, Outcome::Failure, 0, || 0), None);
    assert_eq!(b.reset(0), None);
    assert!(b.is_retired());
}

#[test]
fn settings_are_checked() {
    let with = |change: fn(&mut Settings)| {
        let mut s = Settings::default();
        change(&mut s);
        s.check().err()
    };
    assert_eq!(with(|_| {}), None);
    assert_eq!(with(|s| s.probes = 0), Some(SettingsError::Probes));
    assert_eq!(
        with(|s| s.failure_rate = Some(f64::NAN)),
        Some(SettingsError::Rate)
    );
    assert_eq!(with(|s| s.slow_rate = Some(1.1)), Some(SettingsError::Rate));
    assert_eq!(with(|s| s.ramp_start = 0.0), Some(SettingsError::RampStart));
    assert_eq!(with(|s| s.tolerance = None), Some(SettingsError::NoThreshold));
}

/// The plainest breaker there is: a list of failure times and the moment it opened.
#[derive(Default)]
struct Model {
    failures: Vec<u64>,
    opened: Option<u64>,
    half_open: bool,
}

impl Model {
    fn admits(&mut self, now: u64) -> bool {
        match self.opened {
            Some(at) if now < at + 100 * MS => false,
            Some(_) => {
                self.half_open = true;
                true
            }
            None => true,
        }
    }

    fn outcome(&mut self, failed: bool, now: u64) {
        if self.half_open {
            self.half_open = false;
            self.failures.clear();
            self.opened = failed.then_some(now);
        } else if failed {
            self.failures.push(now);
            let recent = self.failures.iter().filter(|t| now - **t <= 100 * MS);
            if recent.count() > 2 {
                self.failures.clear();
                self.opened = Some(now);
            }
        }
    }
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(steps in prop::collection::vec((0u64..60, any::<bool>()), 1..300)) {
        let b = breaker(|_| {});
        let mut model = Model::default();
        let mut now = 0;
        for (wait, failed) in steps {
            now += wait * MS;
            let expected = model.admits(now);
            match b.admit(|| now).0 {
                Admission::Refused { .. } => prop_assert!(!expected, "refused at {}", now),
                Admission::Admitted(p) | Admission::Probe(p) => {
                    prop_assert!(expected, "admitted at {}", now);
                    let outcome = if failed { Outcome::Failure } else { Outcome::Success };
                    b.record(p, outcome, 0, || now);
                    model.outcome(failed, now);
                }
            }
        }
    }
}
