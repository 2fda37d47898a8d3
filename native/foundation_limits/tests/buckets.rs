//! The short cut for chains of buckets against the general form: two tables are told the same, one of them by the short
//! cut first, and must answer alike to everything.

use foundation_limits::amount::UNIT;
use foundation_limits::{Algorithm, Definition, Dimension, Learned, LimitError, Limits, Reservation};
use proptest::prelude::*;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const KEYS: [&[u8]; 4] = [b"all", b"tenant", b"user", b"call"];
const SECOND: u64 = 1_000_000;

type Costs = Vec<(u64, i128)>;

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Acquire(usize, Costs),
    Reserve(usize, Costs),
    Refund(prop::sample::Index),
    Define(usize, Vec<Shape>),
    Pause(usize, u64),
    Reset(usize),
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    name: u64,
    algorithm: Algorithm,
    limit: i128,
    per: u64,
}

fn amount() -> impl Strategy<Value = i128> {
    prop_oneof![
        6 => (0..6_i128).prop_map(|n| n * UNIT),
        2 => 0..6 * UNIT,
        1 => Just(-UNIT),
        1 => Just(1_000_000_000_000 * UNIT),
    ]
}

fn costs() -> impl Strategy<Value = Costs> {
    prop::collection::vec((1..6_u64, amount()), 0..6)
}

fn shape(name: u64) -> impl Strategy<Value = Shape> {
    let algorithm = prop_oneof![
        12 => Just(Algorithm::Bucket),
        1 => Just(Algorithm::Sliding(4)),
        1 => Just(Algorithm::Gate),
    ];
    let limit = prop_oneof![8 => 1..20 * UNIT, 1 => Just(0), 1 => Just(1_000_000_000_000 * UNIT)];
    (algorithm, limit, 1..20 * SECOND).prop_map(move |(algorithm, limit, per)| {
        let gate = algorithm == Algorithm::Gate;
        Shape {
            name,
            algorithm,
            limit: if gate { limit.min(9 * UNIT) } else { limit },
            per: if gate { 0 } else { per },
        }
    })
}

/// Any of the five dimensions, most of them on most keys.
fn shapes() -> impl Strategy<Value = Vec<Shape>> {
    let each = |name| prop::option::weighted(0.8, shape(name));
    (each(1), each(2), each(3), each(4), each(5))
        .prop_map(|(a, b, c, d, e)| [c, a, e, b, d].into_iter().flatten().collect())
}

fn definition(shapes: &[Shape]) -> Definition {
    let dimensions = shapes
        .iter()
        .map(|s| Dimension::new(s.name, s.algorithm, s.limit, s.per, None).unwrap());
    Definition::new(dimensions.collect(), u64::MAX / 2, 0).unwrap()
}

fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS.len();
    prop_oneof![
        4 => prop_oneof![0..3 * SECOND, 0..20_u64].prop_map(Step::Pass),
        20 => (key(), costs()).prop_map(|(key, costs)| Step::Acquire(key, costs)),
        1 => (key(), costs()).prop_map(|(key, costs)| Step::Reserve(key, costs)),
        3 => any::<prop::sample::Index>().prop_map(Step::Refund),
        1 => (key(), shapes()).prop_map(|(key, shapes)| Step::Define(key, shapes)),
        1 => (key(), 0..SECOND).prop_map(|(key, us)| Step::Pause(key, us)),
        1 => key().prop_map(Step::Reset),
    ]
}

fn none() -> Option<&'static [u8]> {
    None
}

fn parent(key: usize) -> Option<&'static [u8]> {
    key.checked_sub(1).map(|above| KEYS[above])
}

struct Twins {
    quick: Limits,
    general: Limits,
    out: Vec<[Arc<Reservation>; 2]>,
    now: u64,
}

impl Twins {
    fn new(all: &[Vec<Shape>]) -> Self {
        let twins = Twins {
            quick: Limits::new(10, Box::new(|| ())),
            general: Limits::new(10, Box::new(|| ())),
            out: Vec::new(),
            now: 0,
        };
        for (key, shapes) in all.iter().enumerate() {
            twins.define(key, shapes);
        }
        twins
    }

    fn define(&self, key: usize, shapes: &[Shape]) {
        for limits in [&self.quick, &self.general] {
            let told = limits.define(KEYS[key], definition(shapes), parent(key), false, self.now);
            assert_eq!(told, Ok(()));
        }
    }

    fn acquire(&self, key: usize, costs: &Costs) -> Result<(), TestCaseError> {
        let (asked, fetched) = (Cell::new(0), Cell::new(false));
        let took = self.quick.acquire_buckets(
            KEYS[key],
            |_| fetched.set(true),
            || {
                assert!(fetched.get());
                asked.set(asked.get() + 1);
                Some((costs, self.now))
            },
        );
        prop_assert!(asked.get() <= 1);
        let quick = if took {
            Ok(())
        } else {
            self.quick.acquire(KEYS[key], none, costs, self.now)
        };
        prop_assert_eq!(quick, self.general.acquire(KEYS[key], none, costs, self.now));
        Ok(())
    }

    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let now = self.now;
        match step {
            Step::Pass(us) => self.now += us,
            Step::Acquire(key, costs) => self.acquire(*key, costs)?,
            Step::Reserve(key, costs) => {
                let reserve = |limits: &Limits| limits.reserve(KEYS[*key], none, costs, u64::MAX / 2, now);
                match (reserve(&self.quick), reserve(&self.general)) {
                    (Ok(quick), Ok(general)) => self.out.push([quick, general]),
                    (quick, general) => prop_assert_eq!(quick.err(), general.err()),
                }
            }
            Step::Refund(which) if !self.out.is_empty() => {
                let [quick, general] = self.out.swap_remove(which.index(self.out.len()));
                prop_assert_eq!(self.quick.refund(&quick, now), self.general.refund(&general, now));
            }
            Step::Refund(_) => {}
            Step::Define(key, shapes) => self.define(*key, shapes),
            Step::Pause(key, us) => {
                for limits in [&self.quick, &self.general] {
                    prop_assert_eq!(
                        limits.learn(KEYS[*key], &Vec::<Learned>::new(), Some(*us), now),
                        Ok(())
                    );
                }
            }
            Step::Reset(key) => {
                prop_assert_eq!(
                    self.quick.reset(KEYS[*key], now),
                    self.general.reset(KEYS[*key], now)
                );
            }
        }
        for key in KEYS {
            prop_assert_eq!(self.quick.peek(key, self.now), self.general.peek(key, self.now));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn the_short_cut_answers_as_the_general_form(
        all in prop::collection::vec(shapes(), KEYS.len()),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let mut twins = Twins::new(&all);
        for step in &steps {
            twins.run(step)?;
        }
    }
}

/// Two children of one parent, from two threads, one by the short cut: what the parent has is given out once.
#[test]
fn both_ways_together_never_give_out_more_than_there_is() {
    const LIMIT: u64 = 20_000;
    let limits = Limits::new(10, Box::new(|| ()));
    let buckets = |limit: u64| {
        let of = |name| {
            let limit = i128::from(limit) * UNIT;
            Dimension::new(name, Algorithm::Bucket, limit, 3_600 * SECOND, None).unwrap()
        };
        Definition::new(vec![of(1), of(2)], 0, 0).unwrap()
    };
    limits.define(b"all", buckets(LIMIT), None, false, 0).unwrap();
    for key in [b"a", b"b"] {
        limits
            .define(key, buckets(10 * LIMIT), Some(b"all"), false, 0)
            .unwrap();
    }
    let (taken, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
    let costs = [(2, UNIT), (1, UNIT)];
    std::thread::scope(|scope| {
        for key in [b"a", b"b"] {
            let (limits, taken, stopped) = (&limits, &taken, &stopped);
            scope.spawn(move || {
                while !stopped.load(Ordering::Relaxed) {
                    let quick = key == b"a" && limits.acquire_buckets(key, |_| (), || Some((costs, 0)));
                    if quick || limits.acquire(key, none, &costs, 0).is_ok() {
                        taken.fetch_add(1, Ordering::Relaxed);
                    } else {
                        stopped.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(taken.into_inner(), LIMIT);
    let denied = limits.acquire(b"b", none, &costs, 0);
    assert!(matches!(denied, Err(LimitError::Limited(limited)) if *limited.key == *b"all"));
}
