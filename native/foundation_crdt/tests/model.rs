//! The types against their specifications: each operation with the set of those it had observed.

mod support;

use foundation_crdt::{Kind, Op, Push, State};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use support::{Seen, act, copy, read, settle, state};

const REPLICAS: usize = 3;

/// The values of each key of an inner map.
type Inner = BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>;

#[derive(Debug, Clone)]
enum Step {
    /// Replica, key, element, what.
    Do(usize, u8, u8, u8),
    Sync(usize, usize),
    Push(usize),
    Collect(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..REPLICAS, 0u8..3, 0u8..3, 0u8..4).prop_map(|(r, k, e, what)| Step::Do(r, k, e, what)),
        3 => (0..REPLICAS, 0..REPLICAS).prop_map(|(a, b)| Step::Sync(a, b)),
        2 => (0..REPLICAS).prop_map(Step::Push),
        1 => (0..REPLICAS).prop_map(Step::Collect),
    ];
    prop::collection::vec(step, 1..60)
}

/// An operation as the specification sees it.
#[derive(Debug, Clone)]
struct Event {
    key: u8,
    element: u8,
    what: u8,
    observed: BTreeSet<usize>,
}

#[derive(Default)]
struct History {
    events: Vec<Event>,
    known: [BTreeSet<usize>; REPLICAS],
}

impl History {
    fn of(&self, replica: usize) -> Vec<(usize, &Event)> {
        self.known[replica]
            .iter()
            .map(|i| (*i, &self.events[*i]))
            .collect()
    }

    /// The events of that kind that no known one which `hides` them has observed.
    fn left(
        &self,
        replica: usize,
        kept: impl Fn(&Event) -> bool,
        hides: impl Fn(&Event, &Event) -> bool,
    ) -> Vec<(usize, &Event)> {
        let all = self.of(replica);
        let hidden = |i: usize, e: &Event| all.iter().any(|(_, by)| by.observed.contains(&i) && hides(by, e));
        all.iter()
            .filter(|(i, e)| kept(e) && !hidden(*i, e))
            .copied()
            .collect()
    }
}

/// Runs the steps on real replicas and in the history, and compares after each exchange and at the end.
fn run(
    kind: &Kind,
    steps: &[Step],
    act_on: impl Fn(&State, &Event, usize) -> bool,
    spec: impl Fn(&History, usize) -> Seen,
) -> Result<(), TestCaseError> {
    let replicas: Vec<State> = (0..REPLICAS).map(|i| state(kind, i as u64 + 1, 4)).collect();
    let mut history = History::default();
    for (now, step) in steps.iter().enumerate() {
        match *step {
            Step::Do(r, key, element, what) => {
                let event = Event {
                    key,
                    element,
                    what,
                    observed: history.known[r].clone(),
                };
                if act_on(&replicas[r], &event, now) {
                    history.events.push(event);
                    history.known[r].insert(history.events.len() - 1);
                }
            }
            Step::Sync(a, b) if a != b => {
                settle(&replicas[a], &replicas[b], now as u64);
                let union: BTreeSet<usize> = &history.known[a] | &history.known[b];
                history.known[a].clone_from(&union);
                history.known[b] = union;
            }
            // A push brings what changed here last, not all that went before: the others are settled right away, so that
            // what they know stays what the history says.
            Step::Push(a) => {
                let Push { message, more, .. } = replicas[a].push(1 << 20);
                prop_assert!(!more);
                for b in (0..REPLICAS).filter(|b| *b != a) {
                    if let Some(message) = &message {
                        let first = replicas[b]
                            .handle(a as u64 + 1, message, now as u64, 1 << 20)
                            .unwrap();
                        let again = replicas[b]
                            .handle(a as u64 + 1, message, now as u64, 1 << 20)
                            .unwrap();
                        prop_assert!(first.reply.is_none() && !again.changed);
                    }
                    settle(&replicas[a], &replicas[b], now as u64);
                    let union: BTreeSet<usize> = &history.known[a] | &history.known[b];
                    history.known[a].clone_from(&union);
                    history.known[b] = union;
                }
            }
            Step::Collect(a) => {
                let peers: Vec<u64> = (1..=REPLICAS as u64).filter(|id| *id != a as u64 + 1).collect();
                replicas[a].collect(&peers, 100);
            }
            Step::Sync(..) => {}
        }
        for (r, replica) in replicas.iter().enumerate() {
            prop_assert_eq!(read(replica), spec(&history, r), "replica {} after {:?}", r, step);
        }
    }
    laws(&replicas)
}

/// Joining is commutative, associative and idempotent; whatever the way, the outcome is the same.
fn laws(replicas: &[State]) -> Result<(), TestCaseError> {
    let [a, b, c] = [0, 1, 2].map(|i: usize| &replicas[i]);
    let join = |x: &State, y: &State, id: u64| {
        let joined = copy(x, id);
        settle(&joined, &copy(y, id + 1), 0);
        joined
    };
    let ab = join(a, b, 100);
    prop_assert_eq!(ab.root(), join(b, a, 200).root());
    prop_assert_eq!(join(a, a, 300).root(), a.root());
    let left = join(&ab, c, 400);
    let right = join(a, &join(b, c, 500), 600);
    prop_assert_eq!(left.root(), right.root());
    prop_assert_eq!(read(&left), read(&right));
    Ok(())
}

fn set(elements: impl IntoIterator<Item = u8>) -> Seen {
    Seen::Set(elements.into_iter().map(|e| vec![e]).collect())
}

fn removes(event: &Event) -> bool {
    event.what == 0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_add_wins_over_a_concurrent_removal(steps in steps()) {
        let act_on = |s: &State, e: &Event, now: usize| {
            act(s, &[&[e.element]], if removes(e) { Op::Remove } else { Op::Add }, now as u64);
            true
        };
        run(&Kind::OrSet, &steps, act_on, |history, r| {
            let adds = history.left(r, |e| !removes(e), |by, e| removes(by) && by.element == e.element);
            set(adds.iter().map(|(_, e)| e.element))
        })?;
    }

    #[test]
    fn a_removal_wins_over_a_concurrent_add(steps in steps()) {
        let act_on = |s: &State, e: &Event, now: usize| {
            act(s, &[&[e.element]], if removes(e) { Op::Remove } else { Op::Add }, now as u64);
            true
        };
        run(&Kind::RwSet, &steps, act_on, |history, r| {
            let last = history.left(r, |_| true, |by, e| by.element == e.element);
            let here = |n: u8| last.iter().any(|(_, e)| e.element == n) && !last.iter().any(|(_, e)| e.element == n && removes(e));
            set((0..3).filter(|n| here(*n)))
        })?;
    }

    #[test]
    fn flags(steps in steps(), enable_wins: bool) {
        let kind = if enable_wins { Kind::EwFlag } else { Kind::DwFlag };
        let act_on = |s: &State, e: &Event, now: usize| {
            act(s, &[], if removes(e) { Op::Disable } else { Op::Enable }, now as u64);
            true
        };
        run(&kind, &steps, act_on, |history, r| {
            let last = history.left(r, |_| true, |by, e| !enable_wins || removes(by) || !removes(e));
            let on = last.iter().any(|(_, e)| !removes(e));
            Seen::Flag(on && (enable_wins || !last.iter().any(|(_, e)| removes(e))))
        })?;
    }

    #[test]
    fn registers(steps in steps(), last_wins: bool) {
        let kind = if last_wins { Kind::Lww } else { Kind::Mv };
        let act_on = |s: &State, e: &Event, now: usize| {
            act(s, &[], Op::Assign(&[e.element, now as u8]), now as u64);
            true
        };
        // The wall clock is the number of the step, so the last write is the last event.
        let stamped = |steps: &[Step]| -> Vec<Vec<u8>> {
            steps.iter().enumerate().filter_map(|(now, step)| match step {
                Step::Do(_, _, element, _) => Some(vec![*element, now as u8]),
                _ => None,
            }).collect()
        };
        let values = stamped(&steps);
        run(&kind, &steps, act_on, |history, r| {
            if last_wins {
                history.known[r].last().map_or(Seen::Nothing, |i| Seen::One(values[*i].clone()))
            } else {
                let mut now: Vec<Vec<u8>> = history.left(r, |_| true, |_, _| true).iter().map(|(i, _)| values[*i].clone()).collect();
                now.sort();
                Seen::Many(now)
            }
        })?;
    }

    #[test]
    fn a_last_writer_wins_map_with_removals(steps in steps()) {
        let act_on = |s: &State, e: &Event, now: usize| {
            let op = if removes(e) { Op::Remove } else { Op::Assign(std::slice::from_ref(&e.element)) };
            act(s, &[&[e.key]], op, now as u64);
            true
        };
        run(&Kind::LwwMap, &steps, act_on, |history, r| {
            let mut map = BTreeMap::new();
            for (_, e) in history.of(r) {
                if removes(e) { map.remove(&vec![e.key]); } else { map.insert(vec![e.key], Seen::One(vec![e.element])); }
            }
            Seen::Map(map)
        })?;
    }

    #[test]
    fn what_only_grows(steps in steps()) {
        let act_on = |s: &State, e: &Event, now: usize| { act(s, &[&[e.element]], Op::Add, now as u64); true };
        run(&Kind::GSet, &steps, act_on, |history, r| set(history.of(r).iter().map(|(_, e)| e.element)))?;
    }

    #[test]
    fn counters_count_each_step_once(steps in steps()) {
        let act_on = |s: &State, e: &Event, now: usize| {
            let n = u64::from(e.element);
            act(s, &[], if removes(e) { Op::Decrement(n) } else { Op::Increment(n) }, now as u64);
            true
        };
        run(&Kind::PnCounter, &steps, act_on, |history, r| {
            let steps = history.of(r).into_iter().map(|(_, e)| i128::from(e.element) * if removes(e) { -1 } else { 1 });
            Seen::Integer(steps.sum())
        })?;
    }

    #[test]
    fn sets_in_a_map_go_with_what_was_seen_of_them(steps in steps()) {
        let act_on = |s: &State, e: &Event, now: usize| {
            match e.what {
                0 => act(s, &[&[e.key]], Op::Remove, now as u64),
                1 => act(s, &[&[e.key], &[e.element]], Op::Remove, now as u64),
                _ => act(s, &[&[e.key], &[e.element]], Op::Add, now as u64),
            }
            true
        };
        run(&Kind::OrMap(Box::new(Kind::OrSet)), &steps, act_on, |history, r| {
            let hides = |by: &Event, e: &Event| by.key == e.key && (by.what == 0 || by.what == 1 && by.element == e.element);
            let mut map: BTreeMap<Vec<u8>, Seen> = BTreeMap::new();
            for (_, e) in history.left(r, |e| e.what > 1, hides) {
                let set = map.entry(vec![e.key]).or_insert_with(|| Seen::Set(BTreeSet::new()));
                if let Seen::Set(set) = set { set.insert(vec![e.element]); }
            }
            Seen::Map(map)
        })?;
    }

    #[test]
    fn a_map_of_maps_of_registers(steps in steps()) {
        let kind = Kind::OrMap(Box::new(Kind::OrMap(Box::new(Kind::Mv))));
        let act_on = |s: &State, e: &Event, now: usize| {
            match e.what {
                0 => act(s, &[&[e.key]], Op::Remove, now as u64),
                1 => act(s, &[&[e.key], &[e.element]], Op::Remove, now as u64),
                n => act(s, &[&[e.key], &[e.element]], Op::Assign(&[n]), now as u64),
            }
            true
        };
        run(&kind, &steps, act_on, |history, r| {
            let hides = |by: &Event, e: &Event| by.key == e.key && (by.what == 0 || by.element == e.element);
            let mut map: BTreeMap<Vec<u8>, Inner> = BTreeMap::new();
            for (_, e) in history.left(r, |e| e.what > 1, hides) {
                map.entry(vec![e.key]).or_default().entry(vec![e.element]).or_default().insert(vec![e.what]);
            }
            let inner = |m: Inner| Seen::Map(m.into_iter().map(|(k, v)| (k, Seen::Many(v.into_iter().collect()))).collect());
            Seen::Map(map.into_iter().map(|(k, m)| (k, inner(m))).collect())
        })?;
    }

    #[test]
    fn no_step_of_a_counter_in_a_map_is_lost_that_nobody_removed(steps in steps()) {
        let kind = Kind::OrMap(Box::new(Kind::GCounter));
        let replicas: Vec<State> = (0..REPLICAS).map(|i| state(&kind, i as u64 + 1, 4)).collect();
        let mut history = History::default();
        for (now, step) in steps.iter().enumerate() {
            match *step {
                Step::Do(r, key, element, what) => {
                    let event = Event { key, element, what, observed: history.known[r].clone() };
                    let op = if removes(&event) { Op::Remove } else { Op::Increment(u64::from(element) + 1) };
                    act(&replicas[r], &[&[key]], op, now as u64);
                    history.events.push(event);
                    history.known[r].insert(history.events.len() - 1);
                }
                Step::Sync(a, b) if a != b => {
                    settle(&replicas[a], &replicas[b], now as u64);
                    let union: BTreeSet<usize> = &history.known[a] | &history.known[b];
                    history.known[a].clone_from(&union);
                    history.known[b] = union;
                }
                _ => {}
            }
        }
        for (r, replica) in replicas.iter().enumerate() {
            for key in 0..3u8 {
                let value = match support::seen(replica.read(&[&[key]]).unwrap()) { Seen::Integer(n) => n, _ => 0 };
                let sum = |events: Vec<(usize, &Event)>| -> i128 { events.iter().map(|(_, e)| i128::from(e.element) + 1).sum() };
                let least = sum(history.left(r, |e| e.key == key && !removes(e), |by, e| removes(by) && by.key == e.key));
                let most = sum(history.left(r, |e| e.key == key && !removes(e), |_, _| false));
                prop_assert!((least..=most).contains(&value), "{} not in {}..={}", value, least, most);
            }
        }
        laws(&replicas)?;
    }
}
