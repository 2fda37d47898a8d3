use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, VecDeque};

type Tested = Pool<u32, u32>;

fn pool(min: usize, max: usize, linger: u64) -> Tested {
    let pool = Pool::new(Settings {
        min,
        max,
        max_waiting: 3,
        linger,
        lifo: true,
    });
    for worker in 0..pool.demand() {
        pool.add(worker as u32, 0);
    }
    pool
}

fn take(pool: &Tested, now: u64) -> (Lease, u32) {
    match pool.checkout(now) {
        Checkout::Ready(lease, worker) => (lease, worker),
        other => panic!("{other:?}"),
    }
}

fn queue(pool: &Tested, client: u32) -> (Lease, bool) {
    match pool.wait(0, client) {
        Wait::Queued(lease, effects) => (lease, effects.grow),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_waiter_is_woken_and_cannot_lose_twice() {
    let pool = pool(1, 1, 0);
    let (lease, worker) = take(&pool, 0);
    assert_eq!(pool.checkout(0), Checkout::Empty);
    let (first, _) = queue(&pool, 7);
    let (second, _) = queue(&pool, 8);
    let effects = pool.checkin(lease, 10).expect("held");
    assert_eq!(effects.wakes.as_slice(), &[7]);
    assert!(pool.checkin(lease, 11).is_none(), "not held twice");
    let (faster, _) = take(&pool, 12);
    assert_eq!(pool.retry(second, 12), None, "was not woken");
    assert_eq!(pool.retry(first, 13), None, "came too late");
    let effects = pool.checkin(faster, 14).expect("held");
    assert_eq!(effects.grants.as_slice(), &[(7, worker)]);
    let effects = pool.checkin(first, 20).expect("granted");
    assert_eq!(effects.wakes.as_slice(), &[8]);
    assert_eq!(pool.retry(second, 21), Some(worker));
}

#[test]
fn a_woken_waiter_that_leaves_wakes_the_next() {
    let pool = pool(1, 1, 0);
    let (lease, _) = take(&pool, 0);
    let (first, _) = queue(&pool, 7);
    let (second, _) = queue(&pool, 8);
    pool.checkin(lease, 1).expect("held");
    assert!(pool.cancel(first).is_none(), "it has a message on its way");
    let Abandoned::Waiter(effects) = pool.abandon(first) else {
        panic!("it waits");
    };
    assert_eq!(effects.wakes.as_slice(), &[8]);
    assert!(matches!(pool.abandon(second), Abandoned::Waiter(_)));
    assert_eq!(pool.snapshot().idle, 1);
}

#[test]
fn it_grows_to_its_maximum_and_shrinks_at_once_or_later() {
    for linger in [0, 50] {
        let pool = pool(1, 2, linger);
        let (base, _) = take(&pool, 0);
        let (extra, grow) = queue(&pool, 1);
        assert!(grow);
        assert_eq!(pool.demand(), 1);
        let (other, grow) = queue(&pool, 2);
        assert!(!grow, "two is the most");
        assert_eq!(pool.add(9, 0).wakes.as_slice(), &[1]);
        assert_eq!(pool.retry(extra, 0), Some(9));
        pool.checkin(base, 0).expect("held");
        assert_eq!(pool.retry(other, 0), Some(0));
        let effects = pool.checkin(extra, 10).expect("held");
        if linger == 0 {
            assert_eq!(effects.retire, Some(9));
            assert_eq!(pool.snapshot().workers, 1);
        } else {
            assert_eq!(effects.retire, None);
            assert_eq!(pool.expire(59), []);
            assert_eq!(pool.expire(60), [9]);
        }
    }
}

#[test]
fn the_queue_is_bounded_and_a_waiter_can_leave() {
    let pool = pool(1, 1, 0);
    let _held = take(&pool, 0);
    let leases: Vec<_> = (0..3).map(|n| queue(&pool, n).0).collect();
    assert_eq!(pool.checkout(0), Checkout::Full);
    assert!(pool.cancel(leases[1]).is_some());
    assert!(pool.cancel(leases[1]).is_none());
    assert_eq!(pool.checkout(0), Checkout::Empty);
}

#[test]
fn a_worker_of_a_dead_holder_is_set_aside_until_restored() {
    let pool = pool(1, 1, 0);
    let (lease, worker) = take(&pool, 0);
    assert!(matches!(pool.abandon(lease), Abandoned::Worker(w) if w == worker));
    assert!(matches!(pool.abandon(lease), Abandoned::Nothing));
    assert_eq!(pool.checkout(0), Checkout::Empty);
    assert_eq!(pool.snapshot().aside, 1);
    pool.restore(worker, 0);
    assert_eq!(take(&pool, 0).1, worker);
}

#[test]
fn a_dead_worker_is_replaced() {
    let pool = pool(2, 2, 0);
    let (lease, worker) = take(&pool, 0);
    let (known, effects) = pool.remove(worker);
    assert!(known && effects.grow);
    assert_eq!(pool.demand(), 1);
    assert!(pool.checkin(lease, 0).is_none());
    assert_eq!(pool.snapshot().busy, 0);
}

#[test]
fn a_drained_pool_says_so_once_everyone_is_served() {
    let pool = pool(1, 1, 0);
    let (lease, _) = take(&pool, 0);
    let (waiting, _) = queue(&pool, 1);
    assert!(!pool.drain());
    assert_eq!(pool.checkout(0), Checkout::Closed);
    assert!(!pool.checkin(lease, 0).expect("held").drained);
    assert!(pool.retry(waiting, 0).is_some());
    assert!(pool.checkin(waiting, 0).expect("granted").drained);
}

#[derive(Debug, Clone)]
enum Step {
    Take,
    Return(usize),
    Abandon(usize),
    Kill(usize),
    Start,
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Take),
        4 => any::<usize>().prop_map(Step::Return),
        1 => any::<usize>().prop_map(Step::Abandon),
        1 => any::<usize>().prop_map(Step::Kill),
        2 => Just(Step::Start),
        1 => Just(Step::Expire),
    ]
}

/// Who should hold and wait, kept in plain lists.
#[derive(Default)]
struct Model {
    held: HashMap<u32, Lease>,
    waiting: VecDeque<(u32, Lease)>,
}

impl Model {
    fn grant(&mut self, pool: &Tested, effects: Effects<u32, u32>) -> Result<(), TestCaseError> {
        prop_assert!(effects.grants.is_empty(), "nobody came too late");
        for client in effects.wakes {
            let (expected, lease) = self.waiting.pop_front().expect("someone waits");
            prop_assert_eq!(client, expected, "first come, first served");
            let worker = pool.retry(lease, 0).expect("nobody was faster");
            prop_assert!(self.held.insert(worker, lease).is_none(), "held by one only");
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_worker_has_one_holder_and_waiters_keep_their_order(
        steps in prop::collection::vec(step(), 1..200),
        linger in prop::sample::select(vec![0u64, 5]),
    ) {
        let pool = pool(2, 4, linger);
        let (mut model, mut fresh) = (Model::default(), 100);
        for (now, step) in steps.into_iter().enumerate() {
            let now = now as u64;
            let nth = |n: usize, of: &Model| {
                let mut leases: Vec<_> = of.held.iter().map(|(w, l)| (*w, *l)).collect();
                leases.sort_unstable();
                (!leases.is_empty()).then(|| leases[n % leases.len()])
            };
            match step {
                Step::Take => match pool.wait(now, now as u32) {
                    Wait::Ready(lease, worker) => {
                        prop_assert!(model.waiting.is_empty(), "nobody is overtaken");
                        prop_assert!(model.held.insert(worker, lease).is_none());
                    }
                    Wait::Queued(lease, _) => model.waiting.push_back((now as u32, lease)),
                    Wait::Full => prop_assert_eq!(model.waiting.len(), 3),
                    Wait::Closed => prop_assert!(false),
                },
                Step::Return(n) => if let Some((worker, lease)) = nth(n, &model) {
                    model.held.remove(&worker);
                    model.grant(&pool, pool.checkin(lease, now).expect("held"))?;
                },
                Step::Abandon(n) => if let Some((worker, lease)) = nth(n, &model) {
                    model.held.remove(&worker);
                    prop_assert!(matches!(pool.abandon(lease), Abandoned::Worker(w) if w == worker));
                    model.grant(&pool, pool.restore(worker, now))?;
                },
                Step::Kill(n) => if let Some((worker, _)) = nth(n, &model) {
                    model.held.remove(&worker);
                    prop_assert!(pool.remove(worker).0);
                },
                Step::Start => for _ in 0..pool.demand() {
                    fresh += 1;
                    model.grant(&pool, pool.add(fresh, now))?;
                },
                Step::Expire => {
                    for worker in pool.expire(now) {
                        prop_assert!(!model.held.contains_key(&worker));
                    }
                }
            }
            let seen = pool.snapshot();
            prop_assert_eq!(seen.busy, model.held.len());
            prop_assert_eq!(seen.waiting, model.waiting.len());
            prop_assert!(seen.workers <= 4);
            prop_assert_eq!(seen.idle + seen.busy + seen.aside, seen.workers);
        }
    }
}
