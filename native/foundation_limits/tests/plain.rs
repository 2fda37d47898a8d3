//! Plain keys against the general form: a key with a long name never is plain, so that two keys of the same
//! limits, one named briefly, must answer alike to everything, whatever form the first one has at the moment.

use foundation_limits::amount::UNIT;
use foundation_limits::{
    Algorithm, Asked, Definition, Dimension, Hot, Learned, LimitError, Limits, Reservation,
};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const BUCKET: u64 = 1;
const OTHER: u64 = 2;
const SHORT: &[u8] = b"short";
const LONG: &[u8] = &[b'l'; 60];
const SECOND: u64 = 1_000_000;

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Acquire {
        name: u64,
        cost: i128,
        way: Way,
    },
    Reserve(i128),
    Settle(prop::sample::Index, Option<i128>),
    Define(Shape),
    Learn(Option<i128>, Option<i128>),
    Reset,
    /// Makes plain what can be.
    Sweep,
    Peek,
}

/// A short cut, by which a demand is made first.
#[derive(Debug, Clone, Copy)]
enum Way {
    None,
    Plain,
    /// By what was kept of the key when it became hot.
    Hot,
}

/// What a thread keeps of a key.
#[derive(Default)]
struct Kept(std::cell::RefCell<Option<Arc<Hot>>>);

impl Kept {
    /// Takes from the key that is kept; false when it refused. A key that is not kept, or not any more, is made hot.
    fn acquire(&self, limits: &Limits, name: u64, cost: i128, now: u64) -> bool {
        let mut kept = self.0.borrow_mut();
        if kept.as_ref().is_none_or(|hot| hot.gone()) {
            *kept = limits.heat(SHORT);
        }
        let Some(hot) = kept.as_ref() else { return false };
        match hot.acquire(name, cost, now) {
            Asked::Granted => true,
            Asked::Refused => false,
            Asked::Gone => {
                assert!(hot.gone());
                false
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    limit: i128,
    per: u64,
    burst: Option<i128>,
}

impl Shape {
    fn definition(self) -> Definition {
        let bucket = Dimension::new(BUCKET, Algorithm::Bucket, self.limit, self.per, self.burst).unwrap();
        Definition::new(vec![bucket], u64::MAX / 2, 0).unwrap()
    }
}

/// Whole amounts, halves, billionths, none, and more than any bucket has.
fn amount() -> impl Strategy<Value = i128> {
    prop_oneof![
        6 => (0..20_i128).prop_map(|n| n * UNIT),
        2 => (0..20_i128).prop_map(|n| n * UNIT / 2),
        2 => 0..20 * UNIT,
        1 => Just(1_000_000_000_000 * UNIT),
        1 => (0..1_000_000_000_000_i128).prop_map(|n| n * UNIT),
    ]
}

fn shape() -> impl Strategy<Value = Shape> {
    let per = prop_oneof![
        3 => Just(SECOND),
        2 => 1..20 * SECOND,
        1 => Just(86_400 * SECOND),
        1 => Just(1_u64),
    ];
    (amount(), per, prop::option::of(amount())).prop_map(|(limit, per, burst)| Shape { limit, per, burst })
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop_oneof![20 => Just(BUCKET), 1 => Just(OTHER)];
    let cost = prop_oneof![20 => amount(), 1 => Just(-UNIT)];
    let way = prop_oneof![Just(Way::None), Just(Way::Plain), Just(Way::Hot)];
    prop_oneof![
        4 => prop_oneof![0..3 * SECOND, 0..20_u64, Just(400 * 86_400 * SECOND)].prop_map(Step::Pass),
        8 => (name, cost, way).prop_map(|(name, cost, way)| Step::Acquire { name, cost, way }),
        1 => amount().prop_map(Step::Reserve),
        2 => (any::<prop::sample::Index>(), prop::option::of(amount())).prop_map(|(i, a)| Step::Settle(i, a)),
        1 => shape().prop_map(Step::Define),
        1 => (prop::option::of(amount()), prop::option::of(amount())).prop_map(|(l, r)| Step::Learn(l, r)),
        1 => Just(Step::Reset),
        2 => Just(Step::Sweep),
        2 => Just(Step::Peek),
    ]
}

/// A result without the key's name in it.
fn nameless<T>(result: Result<T, LimitError>) -> Result<T, LimitError> {
    result.map_err(|error| match error {
        LimitError::Limited(mut limited) => {
            limited.key = Box::default();
            LimitError::Limited(limited)
        }
        other => other,
    })
}

fn none() -> Option<&'static [u8]> {
    None
}

struct Pair {
    limits: Limits,
    now: u64,
    out: Vec<[Arc<Reservation>; 2]>,
    kept: Kept,
}

impl Pair {
    fn both<T: PartialEq + std::fmt::Debug>(
        &self,
        f: impl Fn(&Limits, &[u8]) -> Result<T, LimitError>,
    ) -> Result<(), TestCaseError> {
        let short = nameless(f(&self.limits, SHORT));
        let long = nameless(f(&self.limits, LONG));
        prop_assert_eq!(short, long);
        Ok(())
    }

    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let now = self.now;
        match *step {
            Step::Pass(us) => self.now += us,
            Step::Acquire { name, cost, way } => self.both(|limits, key| {
                let took = match way {
                    Way::Plain => limits.acquire_plain(key, |_, _| Some((name, cost, now))),
                    Way::Hot if key == SHORT => self.kept.acquire(limits, name, cost, now),
                    Way::None | Way::Hot => false,
                };
                if took {
                    return Ok(());
                }
                limits.acquire(key, none, &[(name, cost)], now)
            })?,
            Step::Reserve(cost) => {
                let take = |key| {
                    nameless(
                        self.limits
                            .reserve(key, none, &[(BUCKET, cost)], u64::MAX / 2, now),
                    )
                };
                match (take(SHORT), take(LONG)) {
                    (Ok(a), Ok(b)) => self.out.push([a, b]),
                    (a, b) => prop_assert_eq!(a.err(), b.err()),
                }
            }
            Step::Settle(ref which, actual) => {
                if self.out.is_empty() {
                    return Ok(());
                }
                let pair = self.out.swap_remove(which.index(self.out.len()));
                for reservation in &pair {
                    match actual {
                        Some(actual) => self.limits.commit(reservation, &[(BUCKET, actual)], now).unwrap(),
                        None => self.limits.refund(reservation, now).unwrap(),
                    }
                }
            }
            Step::Define(shape) => {
                self.both(|limits, key| limits.define(key, shape.definition(), None, false, now))?
            }
            Step::Learn(limit, remaining) => {
                let learned = Learned {
                    name: BUCKET,
                    limit,
                    remaining,
                };
                self.both(|limits, key| limits.learn(key, &[learned], None, now))?;
            }
            Step::Reset => self.both(|limits, key| limits.reset(key, now))?,
            Step::Sweep => {
                self.limits.sweep_all(now);
            }
            Step::Peek => {}
        }
        self.both(|limits, key| limits.peek(key, self.now))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_plain_key_answers_as_any_other(shape in shape(), steps in prop::collection::vec(step(), 1..80)) {
        let limits = Limits::new(10, Box::new(|| ()));
        let mut pair = Pair { limits, now: 0, out: Vec::new(), kept: Kept::default() };
        pair.both(|limits, key| limits.define(key, shape.definition(), None, false, 0))?;
        for step in &steps {
            pair.run(step)?;
        }
    }
}

/// Threads take from one key while another thread makes it plain and a node again, over and over, by everything that
/// does so, and some of them make it hot: in the end exactly the capacity is gone, no token more or less.
#[test]
fn no_token_is_lost_or_made_when_the_form_changes_under_way() {
    const CAPACITY: i128 = 200_000;
    let limits = Arc::new(Limits::new(10, Box::new(|| ())));
    let shape = |per| Shape {
        limit: CAPACITY * UNIT,
        per,
        burst: None,
    };
    limits
        .define(SHORT, shape(SECOND).definition(), None, false, 0)
        .unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let changer = {
        let (limits, done) = (limits.clone(), done.clone());
        std::thread::spawn(move || {
            let mut round = 0_u64;
            while !done.load(Ordering::Relaxed) {
                round += 1;
                if let Ok(r) = limits.reserve(SHORT, none, &[(BUCKET, UNIT)], SECOND, 0) {
                    limits.refund(&r, 0).unwrap();
                }
                limits.sweep_all(0);
                limits
                    .define(SHORT, shape(SECOND + round % 2).definition(), None, false, 0)
                    .unwrap();
            }
            round
        })
    };
    let takers: Vec<_> = (0..4)
        .map(|n| {
            let limits = limits.clone();
            std::thread::spawn(move || {
                let kept = Kept::default();
                let take = || {
                    let took = match n {
                        0 => false,
                        1 => limits.acquire_plain(SHORT, |_, _| Some((BUCKET, UNIT, 0))),
                        _ => kept.acquire(&limits, BUCKET, UNIT, 0),
                    };
                    took || limits.acquire(SHORT, none, &[(BUCKET, UNIT)], 0).is_ok()
                };
                (0..48_000).filter(|_| take()).count() as i128
            })
        })
        .collect();
    let mut taken: i128 = takers.into_iter().map(|t| t.join().unwrap()).sum();
    done.store(true, Ordering::Relaxed);
    assert!(changer.join().unwrap() > 0);
    let used = limits.peek(SHORT, 0).unwrap().dimensions[0].1;
    assert_eq!(used, taken * UNIT);
    while limits.acquire(SHORT, none, &[(BUCKET, UNIT)], 0).is_ok() {
        taken += 1;
    }
    assert_eq!(taken, CAPACITY);
}

/// Threads take from a hot key while it is made another one all the time: nothing is taken from what is gone.
#[test]
fn what_is_gone_grants_nothing() {
    let limits = Limits::new(10, Box::new(|| ()));
    let define = |per| {
        let shape = Shape {
            limit: 1_000_000_000 * UNIT,
            per,
            burst: None,
        };
        limits.define(SHORT, shape.definition(), None, false, 0).unwrap();
    };
    define(SECOND);
    let start = std::sync::Barrier::new(3);
    let left = std::sync::atomic::AtomicUsize::new(2);
    let taken: usize = std::thread::scope(|scope| {
        let take = || {
            let kept = Kept::default();
            start.wait();
            let taken = (0..400_000)
                .filter(|_| kept.acquire(&limits, BUCKET, UNIT, 0))
                .count();
            left.fetch_sub(1, Ordering::Relaxed);
            taken
        };
        let threads = [scope.spawn(take), scope.spawn(take)];
        start.wait();
        let mut round = 0;
        while left.load(Ordering::Relaxed) > 0 {
            round += 1;
            define(SECOND + round % 2);
        }
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert!(taken > 1_000, "{taken} were taken");
    assert_eq!(
        limits.peek(SHORT, 0).unwrap().dimensions[0].1,
        taken as i128 * UNIT
    );
}

/// Many threads, one key, one moment: what two of them see free at once goes to one.
#[test]
fn threads_share_exactly_the_capacity() {
    let limits = Limits::new(10, Box::new(|| ()));
    let shape = Shape {
        limit: 2_500_000 * UNIT,
        per: SECOND,
        burst: None,
    };
    limits.define(SHORT, shape.definition(), None, false, 0).unwrap();
    // They begin together and go on for some time slices, so that they do meet on two loaded cores.
    let start = std::sync::Barrier::new(4);
    let take = |hot: bool| {
        let kept = Kept::default();
        start.wait();
        let take = || match hot {
            true => kept.acquire(&limits, BUCKET, UNIT, 7),
            false => limits.acquire_plain(SHORT, |_, _| Some((BUCKET, UNIT, 7))),
        };
        (0..1_000_000).filter(|_| take()).count()
    };
    let take = &take;
    let taken: usize = std::thread::scope(|scope| {
        let threads = [true, false, true, false].map(|hot| scope.spawn(move || take(hot)));
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    assert_eq!(taken, 2_500_000);
}

/// A key that nobody asks for is hot no more after two rounds; what was taken stays taken.
#[test]
fn a_key_that_rests_is_hot_no_more() {
    let limits = Limits::new(2_000, Box::new(|| ()));
    let shape = Shape {
        limit: 100 * UNIT,
        per: SECOND,
        burst: None,
    };
    let key = |n: usize| format!("key {n}").into_bytes();
    for n in 0..1_100 {
        limits
            .define(&key(n), shape.definition(), None, false, 0)
            .unwrap();
    }
    assert!(!limits.any_hot());
    let hot: Vec<_> = (0..1_100).filter_map(|n| limits.heat(&key(n))).collect();
    assert_eq!(hot.len(), 1_024, "hot keys are bounded");
    assert!(limits.heat(b"nobody").is_none());

    limits.sweep_all(0);
    assert_eq!(hot[7].acquire(BUCKET, UNIT, 0), Asked::Granted);
    limits.sweep_all(0);
    assert!(limits.any_hot());
    let kept: Vec<_> = hot
        .iter()
        .filter(|hot| !hot.gone())
        .map(|hot| hot.key())
        .collect();
    assert_eq!(kept, [b"key 7"]);
    assert_eq!(hot[8].acquire(BUCKET, UNIT, 0), Asked::Gone);
    limits.sweep_all(0);
    assert!(!limits.any_hot());
    assert_eq!(limits.peek(b"key 7", 0).unwrap().dimensions[0].1, UNIT);
    assert!(limits.heat(&key(1_099)).is_some(), "there is room again");
}
