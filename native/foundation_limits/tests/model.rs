//! The limits against a naive model: the whole history, and every window of it looked at again after each step.

use foundation_limits::amount::UNIT;
use foundation_limits::{Algorithm, Definition, Dimension, Limits, Reservation};
use proptest::prelude::*;
use std::sync::Arc;

const BUCKET: u64 = 1;
const WINDOW: u64 = 2;
const GATE: u64 = 3;
const SECOND: u64 = 1_000_000;

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Acquire {
        low: bool,
        bucket: i128,
        window: i128,
    },
    Reserve {
        low: bool,
        bucket: i128,
        window: i128,
    },
    /// Settles one of those that are out, with so many percent of the estimate used.
    Settle {
        which: prop::sample::Index,
        percent: i128,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let costs = || (any::<bool>(), 0..5_i128, 0..5_i128);
    prop_oneof![
        3 => (0..4 * SECOND).prop_map(Step::Pass),
        4 => costs().prop_map(|(low, bucket, window)| Step::Acquire { low, bucket, window }),
        4 => costs().prop_map(|(low, bucket, window)| Step::Reserve { low, bucket, window }),
        4 => (any::<prop::sample::Index>(), prop_oneof![Just(0), Just(100), 0..=100_i128])
            .prop_map(|(which, percent)| Step::Settle { which, percent }),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    limit: i128,
    /// Of the sliding window: that of the bucket, or so much that only the bucket binds.
    window: i128,
    per: u64,
    burst: i128,
    parts: u16,
    gate: i128,
}

fn shape() -> impl Strategy<Value = Shape> {
    (
        1..12_i128,
        1..10_u64,
        1..12_i128,
        2..12_u16,
        1..5_i128,
        any::<bool>(),
    )
        .prop_map(|(limit, per, burst, parts, gate, loose)| Shape {
            limit: limit * UNIT,
            window: if loose { 1_000 * UNIT } else { limit * UNIT },
            per: per * SECOND + 7,
            burst: burst * UNIT,
            parts,
            gate: if loose { 1_000 * UNIT } else { gate * UNIT },
        })
}

/// One thing admitted: when, how much of bucket and window, on which levels.
struct Entry {
    at: u64,
    low: bool,
    bucket: i128,
    window: i128,
    out: Option<Arc<Reservation>>,
}

struct World {
    limits: Limits,
    shapes: [Shape; 2],
    history: Vec<Entry>,
    now: u64,
}

const KEYS: [&[u8]; 2] = [b"high", b"low"];

impl World {
    fn new(shapes: [Shape; 2]) -> Self {
        let limits = Limits::new(10, Box::new(|| ()));
        for (level, s) in shapes.iter().enumerate() {
            let dimensions = vec![
                Dimension::new(BUCKET, Algorithm::Bucket, s.limit, s.per, Some(s.burst)).unwrap(),
                Dimension::new(WINDOW, Algorithm::Sliding(s.parts), s.window, s.per, None).unwrap(),
                Dimension::new(GATE, Algorithm::Gate, s.gate, 0, None).unwrap(),
            ];
            let definition = Definition::new(dimensions, 0, 0).unwrap();
            let parent = (level == 1).then_some(KEYS[0]);
            limits.define(KEYS[level], definition, parent, false, 0).unwrap();
        }
        Self {
            limits,
            shapes,
            history: Vec::new(),
            now: 0,
        }
    }

    fn run(&mut self, step: &Step) {
        match *step {
            Step::Pass(us) => self.now += us,
            Step::Acquire { low, bucket, window } => {
                let costs = [(BUCKET, bucket * UNIT), (WINDOW, window * UNIT)];
                let none = || None::<&[u8]>;
                if self
                    .limits
                    .acquire(KEYS[usize::from(low)], none, &costs, self.now)
                    .is_ok()
                {
                    self.admitted(low, &costs, None);
                }
            }
            Step::Reserve { low, bucket, window } => {
                let costs = [(BUCKET, bucket * UNIT), (WINDOW, window * UNIT)];
                let none = || None::<&[u8]>;
                let reserved =
                    self.limits
                        .reserve(KEYS[usize::from(low)], none, &costs, u64::MAX / 2, self.now);
                if let Ok(reservation) = reserved {
                    self.admitted(low, &costs, Some(reservation));
                }
            }
            Step::Settle { ref which, percent } => {
                let out: Vec<usize> = (0..self.history.len())
                    .filter(|&i| self.history[i].out.is_some())
                    .collect();
                if let Some(&i) = (!out.is_empty()).then(|| which.get(&out)) {
                    let entry = &mut self.history[i];
                    let actual = [
                        (BUCKET, entry.bucket * percent / 100),
                        (WINDOW, entry.window * percent / 100),
                    ];
                    let reservation = entry.out.take().unwrap();
                    if percent == 0 {
                        self.limits.refund(&reservation, self.now).unwrap();
                    } else {
                        self.limits.commit(&reservation, &actual, self.now).unwrap();
                    }
                    (entry.bucket, entry.window) = (actual[0].1, actual[1].1);
                }
            }
        }
    }

    fn admitted(&mut self, low: bool, costs: &[(u64, i128); 2], out: Option<Arc<Reservation>>) {
        self.history.push(Entry {
            at: self.now,
            low,
            bucket: costs[0].1,
            window: costs[1].1,
            out,
        });
    }

    /// In no window of the history more than the bucket or the window allow; never more out than the gate.
    fn check(&self) -> Result<(), TestCaseError> {
        for (level, s) in self.shapes.iter().enumerate() {
            let on_level = || self.history.iter().filter(|e| level == 0 || e.low);
            let out = on_level().filter(|e| e.out.is_some()).count() as i128;
            prop_assert!(out * UNIT <= s.gate, "gate of level {level}: {out} out");
            for start in on_level().map(|e| e.at) {
                let (mut bucket, mut window) = (0, 0);
                for e in on_level().filter(|e| e.at >= start) {
                    bucket += e.bucket;
                    let room = s.burst * i128::from(s.per) + s.limit * i128::from(e.at - start);
                    prop_assert!(
                        bucket * i128::from(s.per) <= room,
                        "bucket of level {level} from {start}"
                    );
                    if e.at - start < s.per {
                        window += e.window;
                        prop_assert!(
                            window <= s.window,
                            "window of level {level} from {start}: {window}"
                        );
                    }
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_window_ever_holds_more_than_allowed(
        shapes in [shape(), shape()],
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut world = World::new(shapes);
        for step in &steps {
            world.run(step);
            world.check()?;
        }
    }

    /// Without refunds a bucket admits exactly what the definition allows: no more, and no less.
    #[test]
    fn a_bucket_admits_exactly_what_fits(
        s in shape(),
        steps in prop::collection::vec((0..3 * SECOND, 0..5_i128), 1..60),
    ) {
        let world = World::new([s, s]);
        let mut now = 0;
        let mut taken: Vec<(u64, i128)> = Vec::new();
        for (pass, cost) in steps {
            now += pass;
            let cost = cost * UNIT;
            let fits = cost == 0 || taken.iter().map(|t| t.0).chain([now]).all(|start| {
                let sum: i128 = taken.iter().filter(|t| t.0 >= start).map(|t| t.1).sum();
                (sum + cost) * i128::from(s.per) <= s.burst * i128::from(s.per) + s.limit * i128::from(now - start)
            });
            let got = world.limits.acquire(KEYS[0], || None::<&[u8]>, &[(BUCKET, cost)], now).is_ok();
            prop_assert_eq!(got, fits, "{} at {} after {:?}", cost, now, taken);
            if got {
                taken.push((now, cost));
            }
        }
    }

    /// Refunded at once, in any order and mixed with others that stay, reservations leave no trace.
    #[test]
    fn refunds_conserve(costs in prop::collection::vec((0..5_i128, any::<bool>()), 1..40).prop_shuffle()) {
        let s = Shape { limit: 200 * UNIT, window: 200 * UNIT, per: 60 * SECOND, burst: 200 * UNIT, parts: 10, gate: 100 * UNIT };
        let world = World::new([s, s]);
        let reserve = |cost: i128| {
            let costs = [(BUCKET, cost * UNIT), (WINDOW, cost * UNIT)];
            world.limits.reserve(KEYS[1], || None::<&[u8]>, &costs, SECOND, 0).unwrap()
        };
        let out: Vec<_> = costs.iter().map(|&(cost, back)| (reserve(cost), cost, back)).collect();
        let mut stays = 0;
        for (reservation, cost, back) in out.iter().rev().step_by(2).chain(out.iter().rev().skip(1).step_by(2)) {
            if *back {
                world.limits.refund(reservation, 0).unwrap();
            } else {
                world.limits.commit(reservation, &[], 0).unwrap();
                stays += cost * UNIT;
            }
        }
        for key in KEYS {
            let peek = world.limits.peek(key, 0).unwrap();
            let used: Vec<i128> = peek.dimensions.iter().map(|d| d.1).collect();
            prop_assert_eq!(used, vec![stays, stays, 0]);
            prop_assert_eq!(peek.reservations, 0);
        }
    }
}

/// Many threads on one chain and its sibling: exactly the capacity passes, on both levels.
#[test]
fn threads_never_take_more_than_there_is() {
    let limits = Arc::new(Limits::new(10, Box::new(|| ())));
    let define = |key: &[u8], limit: i128, parent: Option<&[u8]>| {
        let dimension = Dimension::new(BUCKET, Algorithm::Bucket, limit * UNIT, SECOND, None).unwrap();
        limits
            .define(
                key,
                Definition::new(vec![dimension], 0, 0).unwrap(),
                parent,
                false,
                0,
            )
            .unwrap();
    };
    define(b"top", 10_000, None);
    define(b"a", 7_000, Some(b"top"));
    define(b"b", 7_000, Some(b"top"));
    let threads: Vec<_> = (0..4_usize)
        .map(|n| {
            let limits = limits.clone();
            std::thread::spawn(move || {
                let key: &[u8] = [b"a", b"b"][n % 2];
                let take = || {
                    limits
                        .acquire(key, || None::<&[u8]>, &[(BUCKET, UNIT)], 0)
                        .is_ok()
                };
                let keep = (0..20_000).filter(|_| take()).count();
                for _ in 0..100 {
                    if let Ok(r) = limits.reserve(key, || None::<&[u8]>, &[(BUCKET, UNIT)], SECOND, 0) {
                        limits.refund(&r, 0).unwrap();
                    }
                }
                keep
            })
        })
        .collect();
    let kept: usize = threads.into_iter().map(|t| t.join().unwrap()).sum();
    assert!((9_990..=10_000).contains(&kept), "{kept}");
    let used = |key: &[u8]| limits.peek(key, 0).unwrap().dimensions[0].1 / UNIT;
    assert_eq!(used(b"top"), used(b"a") + used(b"b"));
    assert_eq!(used(b"top"), kept as i128);
}
