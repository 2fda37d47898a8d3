use super::*;
use proptest::prelude::*;

fn limiter(algorithm: Algorithm) -> Adaptive {
    Adaptive::new(Settings {
        algorithm,
        initial: 20,
        min: 2,
        max: 200,
    })
    .expect("valid settings")
}

/// A server of `capacity` parallel slots: beyond them a call waits its turn.
fn served(capacity: u32, in_flight: u32) -> u64 {
    let queued = u64::from(in_flight.saturating_sub(capacity));
    1_000_000 + 1_000_000 * queued / u64::from(capacity)
}

fn drive(limiter: &Adaptive, capacity: u32, calls: u32) {
    for _ in 0..calls {
        let mut taken = 0;
        while limiter.acquire().is_some() {
            taken += 1;
        }
        for _ in 0..taken {
            limiter.release_with(Sample {
                rtt: served(capacity, taken),
                in_flight: taken,
                dropped: false,
            });
        }
    }
}

#[test]
fn vegas_settles_near_the_capacity() {
    let limiter = limiter(Algorithm::Vegas);
    drive(&limiter, 40, 50);
    let mut sum = 0;
    for _ in 0..100 {
        drive(&limiter, 40, 1);
        sum += limiter.snapshot().limit;
    }
    let mean = sum / 100;
    assert!((25..=100).contains(&mean), "{mean}");
}

#[test]
fn gradient2_grows_while_calls_take_their_usual_time_and_yields_when_they_take_longer() {
    let limiter = limiter(Algorithm::Gradient2);
    drive(&limiter, 1_000, 20);
    let grown = limiter.snapshot().limit;
    assert!(grown > 100, "{grown}");
    for _ in 0..40 {
        limiter.acquire().expect("nothing is under way");
        limiter.release_with(Sample {
            rtt: 4_000_000,
            in_flight: grown,
            dropped: false,
        });
    }
    let yielded = limiter.snapshot().limit;
    assert!(yielded < grown / 2, "{grown} to {yielded}");
}

#[test]
fn drops_bring_the_limit_to_its_floor() {
    for algorithm in [Algorithm::Gradient2, Algorithm::Vegas] {
        let limiter = limiter(algorithm);
        let mut before = limiter.snapshot().limit;
        for _ in 0..200 {
            let in_flight = limiter.acquire().expect("nothing is under way");
            let limit = limiter.release_with(Sample {
                rtt: 1_000_000,
                in_flight,
                dropped: true,
            });
            assert!(limit <= before, "{algorithm:?}");
            before = limit;
        }
        assert_eq!(limiter.snapshot().limit, 2, "{algorithm:?}");
    }
}

#[test]
fn an_idle_limiter_does_not_grow() {
    for algorithm in [Algorithm::Gradient2, Algorithm::Vegas] {
        let limiter = limiter(algorithm);
        for _ in 0..500 {
            let in_flight = limiter.acquire().expect("nothing is under way");
            limiter.release_with(Sample {
                rtt: 1_000_000,
                in_flight,
                dropped: false,
            });
        }
        assert_eq!(limiter.snapshot().limit, 20, "{algorithm:?}");
    }
}

#[test]
fn it_refuses_at_the_limit_and_counts() {
    let limiter = limiter(Algorithm::Gradient2);
    for n in 1..=20 {
        assert_eq!(limiter.acquire(), Some(n));
    }
    assert_eq!(limiter.acquire(), None);
    assert_eq!(limiter.snapshot().refused, 1);
    limiter.release();
    assert_eq!(limiter.acquire(), Some(20));
}

#[test]
fn wrong_bounds_are_refused() {
    let settings = Settings {
        algorithm: Algorithm::Vegas,
        initial: 1,
        min: 2,
        max: 3,
    };
    assert_eq!(
        Adaptive::new(settings).expect_err("min above initial"),
        SettingsError::Bounds
    );
}

proptest! {
    #[test]
    fn the_limit_stays_within_its_bounds(
        gradient: bool,
        samples in prop::collection::vec((any::<u64>(), any::<u32>(), any::<bool>()), 1..300),
    ) {
        let limiter = limiter(if gradient { Algorithm::Gradient2 } else { Algorithm::Vegas });
        for (rtt, in_flight, dropped) in samples {
            if limiter.acquire().is_some() {
                let limit = limiter.release_with(Sample { rtt, in_flight, dropped });
                prop_assert!((2..=200).contains(&limit));
            }
        }
        prop_assert_eq!(limiter.snapshot().in_flight, 0);
    }
}
