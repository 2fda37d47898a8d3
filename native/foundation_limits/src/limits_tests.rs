//! Single behaviours, one by one, with the time given by hand. The model-based tests are in `tests/`.

use crate::amount::UNIT;
use crate::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};

const A: u64 = 1;
const B: u64 = 2;
const C: u64 = 3;
const SECOND: u64 = 1_000_000;

fn table() -> Limits {
    Limits::new(1_000, Box::new(|| ()))
}

fn bucket(name: u64, limit: i128, per: u64) -> Dimension {
    Dimension::new(name, Algorithm::Bucket, limit * UNIT, per, None).unwrap()
}

fn sliding(name: u64, limit: i128, per: u64, parts: u16) -> Dimension {
    Dimension::new(name, Algorithm::Sliding(parts), limit * UNIT, per, None).unwrap()
}

fn gate(name: u64, limit: i128) -> Dimension {
    Dimension::new(name, Algorithm::Gate, limit * UNIT, 0, None).unwrap()
}

fn define(limits: &Limits, key: &str, dimensions: Vec<Dimension>, parent: Option<&str>) {
    let definition = Definition::new(dimensions, SECOND, 4).unwrap();
    limits
        .define(key.as_bytes(), definition, parent.map(str::as_bytes), false, 0)
        .unwrap();
}

fn acquire(limits: &Limits, key: &str, costs: &[(u64, i128)], now: u64) -> Result<(), LimitError> {
    let costs: Vec<_> = costs.iter().map(|&(n, c)| (n, c * UNIT)).collect();
    limits.acquire(key.as_bytes(), || None::<Vec<u8>>, &costs, now)
}

fn reserve(
    limits: &Limits,
    key: &str,
    costs: &[(u64, i128)],
    now: u64,
) -> Result<Arc<Reservation>, LimitError> {
    let costs: Vec<_> = costs.iter().map(|&(n, c)| (n, c * UNIT)).collect();
    limits.reserve(key.as_bytes(), || None::<Vec<u8>>, &costs, 60 * SECOND, now)
}

fn used(limits: &Limits, key: &str, at: usize, now: u64) -> i128 {
    limits.peek(key.as_bytes(), now).unwrap().dimensions[at].1 / UNIT
}

fn wait(
    limits: &Limits,
    key: &str,
    cost: i128,
    options: WaitOptions,
    now: u64,
) -> (Receiver<Answer>, Result<Waiting, LimitError>) {
    let (sender, receiver) = channel();
    let reply: Reply = Box::new(move |answer| sender.send(answer).unwrap());
    let waiting = limits.wait(
        key.as_bytes(),
        || None::<Vec<u8>>,
        &[(A, cost * UNIT)],
        options,
        reply,
        now,
    );
    (receiver, waiting)
}

const PATIENT: WaitOptions = WaitOptions {
    priority: 0,
    deadline: 1_000 * SECOND,
    reserve_us: None,
};

#[test]
fn a_bucket_fills_at_its_rate_without_drift() {
    let limits = table();
    define(&limits, "k", vec![bucket(A, 7, 10 * SECOND)], None);
    acquire(&limits, "k", &[(A, 7)], 0).unwrap();
    // 7 in 10 s: each takes 1,428,571 and 3/7 us; a million of them end exactly where they should.
    let mut now = 0;
    for i in 1..=70_000_u64 {
        let due = (i * 10 * SECOND).div_ceil(7);
        match acquire(&limits, "k", &[(A, 1)], now) {
            Err(LimitError::Limited(l)) => assert_eq!(now + l.wait_us, due),
            other => panic!("{other:?}"),
        }
        now = due;
        acquire(&limits, "k", &[(A, 1)], now).unwrap();
    }
}

#[test]
fn nothing_is_taken_unless_all_is() {
    let limits = table();
    define(&limits, "tenant", vec![bucket(C, 1, SECOND)], None);
    define(
        &limits,
        "key",
        vec![bucket(A, 10, SECOND), bucket(B, 5, SECOND)],
        Some("tenant"),
    );
    let denied = |result: Result<(), LimitError>| match result {
        Err(LimitError::Limited(l)) => (l.dimension, String::from_utf8(l.key.into()).unwrap(), l.wait_us),
        other => panic!("{other:?}"),
    };
    acquire(&limits, "key", &[(A, 1), (B, 5), (C, 1)], 0).unwrap();
    assert_eq!(
        denied(acquire(&limits, "key", &[(A, 10), (B, 1), (C, 1)], 0)),
        (C, "tenant".into(), SECOND)
    );
    assert_eq!(
        denied(acquire(&limits, "key", &[(A, 1), (B, 5)], 0)),
        (B, "key".into(), SECOND)
    );
    assert_eq!(
        (
            used(&limits, "key", 0, 0),
            used(&limits, "key", 1, 0),
            used(&limits, "tenant", 0, 0)
        ),
        (1, 5, 1)
    );
    assert_eq!(
        acquire(&limits, "key", &[(A, 1), (9, 1)], 0),
        Err(LimitError::UnknownDimension(9))
    );
    assert_eq!(
        acquire(&limits, "key", &[(A, 11), (B, 1)], 0),
        Err(LimitError::Never(A))
    );
    assert_eq!(
        acquire(&limits, "key", &[(A, -1)], 0),
        Err(LimitError::InvalidCost(A))
    );
    assert_eq!(
        acquire(&limits, "other", &[(A, 1)], 0),
        Err(LimitError::UnknownKey)
    );
    acquire(&limits, "key", &[(A, 0), (B, 0), (C, 0)], 0).unwrap();
    assert_eq!(used(&limits, "key", 0, 0), 1);
}

#[test]
fn a_sliding_window_never_holds_more_than_the_limit() {
    let limits = table();
    define(&limits, "k", vec![sliding(A, 4, 10 * SECOND, 10)], None);
    for now in [0, 3, 6, 9] {
        acquire(&limits, "k", &[(A, 1)], now * SECOND).unwrap();
    }
    let Err(LimitError::Limited(l)) = acquire(&limits, "k", &[(A, 1)], 9 * SECOND) else {
        panic!()
    };
    assert_eq!(l.wait_us, 2 * SECOND);
    assert!(acquire(&limits, "k", &[(A, 1)], 11 * SECOND - 1).is_err());
    acquire(&limits, "k", &[(A, 1)], 11 * SECOND).unwrap();
}

#[test]
fn gates_are_taken_by_reservations_only() {
    let limits = table();
    define(&limits, "k", vec![gate(A, 2), bucket(B, 100, SECOND)], None);
    assert_eq!(
        acquire(&limits, "k", &[(A, 1)], 0),
        Err(LimitError::ReserveOnly(A))
    );
    acquire(&limits, "k", &[(B, 1)], 0).unwrap();
    let first = reserve(&limits, "k", &[(B, 1)], 0).unwrap();
    let _second = reserve(&limits, "k", &[], 0).unwrap();
    assert!(matches!(reserve(&limits, "k", &[], 0), Err(LimitError::Limited(l)) if l.dimension == A));
    reserve(&limits, "k", &[(A, 0)], 0).unwrap();
    limits.commit(&first, &[], 10).unwrap();
    assert_eq!(limits.commit(&first, &[], 10), Err(LimitError::Settled));
    reserve(&limits, "k", &[], 10).unwrap();
}

#[test]
fn commits_charge_the_difference_and_may_leave_debt() {
    let limits = table();
    define(&limits, "k", vec![bucket(A, 10, 10 * SECOND)], None);
    let r = reserve(&limits, "k", &[(A, 8)], 0).unwrap();
    limits.commit(&r, &[(A, 3 * UNIT)], 0).unwrap();
    assert_eq!(used(&limits, "k", 0, 0), 3);
    let r = reserve(&limits, "k", &[(A, 1)], 0).unwrap();
    assert_eq!(
        limits.commit(&r, &[(B, 1)], 0),
        Err(LimitError::UnknownDimension(B))
    );
    assert_eq!(limits.commit(&r, &[(A, -1)], 0), Err(LimitError::InvalidCost(A)));
    limits.commit(&r, &[(A, 20 * UNIT)], 0).unwrap();
    assert_eq!(used(&limits, "k", 0, 0), 23);
    let Err(LimitError::Limited(l)) = acquire(&limits, "k", &[(A, 1)], 0) else {
        panic!()
    };
    assert_eq!(l.wait_us, 14 * SECOND);
}

#[test]
fn refunds_give_back_only_what_still_counts() {
    let limits = table();
    define(&limits, "k", vec![bucket(A, 10, 10 * SECOND)], None);
    // All leaked: a refund must not erase what others took since.
    let old = reserve(&limits, "k", &[(A, 10)], 0).unwrap();
    acquire(&limits, "k", &[(A, 10)], 10 * SECOND).unwrap();
    limits.refund(&old, 10 * SECOND).unwrap();
    assert_eq!(used(&limits, "k", 0, 10 * SECOND), 10);
    // An earlier return moves the later reservation forward.
    let t = 100 * SECOND;
    let (a, b) = (
        reserve(&limits, "k", &[(A, 5)], t).unwrap(),
        reserve(&limits, "k", &[(A, 5)], t).unwrap(),
    );
    limits.refund(&a, t).unwrap();
    acquire(&limits, "k", &[(A, 5)], t + 5 * SECOND).unwrap();
    limits.refund(&b, t + 5 * SECOND).unwrap();
    assert_eq!(used(&limits, "k", 0, t + 5 * SECOND), 5);
}

#[test]
fn unsettled_reservations_expire() {
    let limits = table();
    define(&limits, "k", vec![gate(A, 1)], None);
    let r = reserve(&limits, "k", &[], 0).unwrap();
    assert_eq!(limits.tick(59 * SECOND), Some(60 * SECOND));
    assert!(r.is_open() && reserve(&limits, "k", &[], 59 * SECOND).is_err());
    limits.tick(60 * SECOND);
    assert_eq!(limits.refund(&r, 60 * SECOND), Err(LimitError::Settled));
    reserve(&limits, "k", &[], 60 * SECOND).unwrap();
}

#[test]
fn waiters_are_served_by_priority_then_in_order() {
    let limits = table();
    define(&limits, "k", vec![bucket(A, 1, SECOND)], None);
    acquire(&limits, "k", &[(A, 1)], 0).unwrap();
    let (first, _) = wait(&limits, "k", 1, PATIENT, 0);
    let (second, _) = wait(&limits, "k", 1, PATIENT, 0);
    let (urgent, _) = wait(
        &limits,
        "k",
        1,
        WaitOptions {
            priority: 1,
            ..PATIENT
        },
        0,
    );
    let (hasty, _) = wait(
        &limits,
        "k",
        1,
        WaitOptions {
            deadline: SECOND / 2,
            ..PATIENT
        },
        0,
    );
    let (_, fifth) = wait(&limits, "k", 1, PATIENT, 0);
    assert_eq!(fifth.err(), Some(LimitError::QueueFull));
    let next = limits.tick(0).unwrap();
    assert_eq!(next, SECOND / 2);
    limits.tick(next);
    assert_eq!(hasty.try_recv().unwrap().err(), Some(WaitError::Timeout));
    assert_eq!(limits.tick(next), Some(SECOND));
    assert!(
        matches!(acquire(&limits, "k", &[(A, 1)], SECOND), Err(LimitError::Limited(l)) if l.dimension == QUEUED)
    );
    for (i, receiver) in [urgent, first, second].iter().enumerate() {
        assert!(receiver.try_recv().is_err());
        limits.tick((i as u64 + 1) * SECOND);
        assert!(receiver.try_recv().unwrap().is_ok());
    }
    assert_eq!(limits.peek(b"k", 0).unwrap().reservations, 0);
}

#[test]
fn what_comes_back_wakes_the_waiter_at_once_also_from_an_ancestor() {
    let rings = Arc::new(AtomicUsize::new(0));
    let heard = rings.clone();
    let limits = Limits::new(
        10,
        Box::new(move || {
            heard.fetch_add(1, Ordering::Relaxed);
        }),
    );
    define(&limits, "tenant", vec![gate(B, 1)], None);
    define(&limits, "k", vec![bucket(A, 9, SECOND)], Some("tenant"));
    define(&limits, "sibling", vec![bucket(A, 9, SECOND)], Some("tenant"));
    let held = reserve(&limits, "sibling", &[], 0).unwrap();
    let (receiver, waiting) = wait(
        &limits,
        "k",
        1,
        WaitOptions {
            reserve_us: Some(SECOND),
            ..PATIENT
        },
        0,
    );
    assert!(matches!(waiting, Ok(Waiting::Queued(_))));
    limits.tick(0);
    assert!(receiver.try_recv().is_err());
    let before = rings.load(Ordering::Relaxed);
    limits.refund(&held, 5).unwrap();
    assert!(rings.load(Ordering::Relaxed) > before);
    limits.tick(5);
    let reservation = receiver.try_recv().unwrap().unwrap().unwrap();
    assert!(reservation.is_open());
}

#[test]
fn cancelled_waiters_take_nothing_and_let_others_pass() {
    let limits = table();
    define(&limits, "k", vec![bucket(A, 3, SECOND)], None);
    acquire(&limits, "k", &[(A, 3)], 0).unwrap();
    let (big, waiting) = wait(&limits, "k", 3, PATIENT, 0);
    let (small, _) = wait(&limits, "k", 1, PATIENT, 0);
    limits.tick(SECOND / 2);
    let Ok(Waiting::Queued(ticket)) = waiting else {
        panic!()
    };
    assert!(limits.cancel(&ticket, SECOND / 2));
    assert!(!limits.cancel(&ticket, SECOND / 2));
    limits.tick(SECOND / 2);
    assert!(small.try_recv().unwrap().is_ok());
    assert!(big.try_recv().is_err());
}

#[test]
fn new_limits_keep_what_is_used_and_what_is_out() {
    let limits = table();
    define(&limits, "k", vec![bucket(A, 10, 10 * SECOND), gate(B, 4)], None);
    let r = reserve(&limits, "k", &[(A, 6)], 0).unwrap();
    define(
        &limits,
        "k",
        vec![gate(B, 1), bucket(A, 20, 10 * SECOND), bucket(C, 1, SECOND)],
        None,
    );
    assert_eq!((used(&limits, "k", 0, 0), used(&limits, "k", 1, 0)), (1, 6));
    limits.commit(&r, &[(A, 2 * UNIT)], 0).unwrap();
    assert_eq!((used(&limits, "k", 0, 0), used(&limits, "k", 1, 0)), (0, 2));
    define(&limits, "k", vec![sliding(A, 20, 10 * SECOND, 10)], None);
    assert_eq!(used(&limits, "k", 0, 0), 2);
}

#[test]
fn parents_must_exist_and_may_not_form_a_cycle() {
    let limits = table();
    let set = |key: &str, parent: &str| {
        let definition = Definition::new(vec![], 0, 0).unwrap();
        limits.define(key.as_bytes(), definition, Some(parent.as_bytes()), false, 0)
    };
    define(&limits, "0", vec![], None);
    assert_eq!(set("1", "none"), Err(LimitError::UnknownParent));
    for i in 1..=MAX_ANCESTORS {
        set(&i.to_string(), &(i - 1).to_string()).unwrap();
    }
    assert_eq!(set("9", "8"), Err(LimitError::TooManyAncestors));
    assert_eq!(set("0", "3"), Err(LimitError::ParentCycle));
    assert_eq!(set("0", "0"), Err(LimitError::ParentCycle));
    assert_eq!(limits.delete(b"3", 0), Err(LimitError::InUse));
    limits.delete(b"8", 0).unwrap();
}

#[test]
fn keys_of_a_pattern_are_made_follow_it_and_go_when_idle() {
    let limits = table();
    let definition = |limit| Definition::new(vec![bucket(A, limit, SECOND)], 5 * SECOND, 1).unwrap();
    limits.define(b"pattern", definition(2), None, true, 0).unwrap();
    let take =
        |key: &str, cost, now| limits.acquire(key.as_bytes(), || Some("pattern"), &[(A, cost * UNIT)], now);
    take("a", 2, 0).unwrap();
    assert!(take("a", 1, 0).is_err());
    limits.define(b"pattern", definition(4), None, true, 0).unwrap();
    take("a", 2, 0).unwrap();
    assert_eq!((limits.len(), limits.sweep_all(4 * SECOND)), (2, 0));
    assert_eq!((limits.sweep_all(6 * SECOND), limits.len()), (1, 1));
}

#[test]
fn learned_limits_lower_what_is_left_and_pause() {
    let limits = table();
    define(&limits, "k", vec![bucket(A, 10, 10 * SECOND)], None);
    let said = |limit, remaining| Learned {
        name: A,
        limit,
        remaining,
    };
    limits
        .learn(b"k", &[said(Some(20 * UNIT), Some(5 * UNIT))], None, 0)
        .unwrap();
    assert_eq!(used(&limits, "k", 0, 0), 15);
    limits
        .learn(b"k", &[said(None, Some(19 * UNIT))], Some(SECOND), 0)
        .unwrap();
    assert_eq!(used(&limits, "k", 0, 0), 15);
    assert!(
        matches!(acquire(&limits, "k", &[(A, 1)], 0), Err(LimitError::Limited(l)) if l.dimension == PAUSED)
    );
    acquire(&limits, "k", &[(A, 1)], SECOND).unwrap();
}

#[test]
fn fixed_windows_count_denied_hits_and_forget_what_is_over() {
    let windows = FixedWindows::default();
    for n in 1..=3 {
        assert_eq!(
            windows.hit(b"k", 1_000, 1, Some(2), 5_500),
            Hit {
                count: n,
                left_ms: 500
            }
        );
    }
    windows.hit(b"k", 60_000, 2, None, 5_500);
    assert_eq!(
        (windows.get(b"k", 1_000, 5_999), windows.get(b"k", 1_000, 6_000)),
        (3, 0)
    );
    assert_eq!(
        windows.latest(b"k", 5_500).map(|c| (c.scale, c.count)),
        Some((60_000, 2))
    );
    assert_eq!((windows.clean(6_000), windows.len()), (0, 1));
    assert_eq!((windows.clean(60_000), windows.len()), (1, 0));
    windows.set(b"k", 1_000, 7, 0);
    assert!(windows.clear(b"k") && !windows.clear(b"k"));
}
