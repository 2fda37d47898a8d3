//! Whether a history of a register is linearizable: the algorithm of Wing and Gong, with Lowe's memory of
//! configurations that were tried before.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

/// What a client did to the register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It read this value.
    Read(u64),
    /// It wrote this value.
    Write(u64),
    /// It put the second value in the place of the first.
    Swap(u64, u64),
}

/// One operation of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What was done.
    pub action: Action,
    /// When the client began it.
    pub from: Duration,
    /// When the client heard of its end. `None` when it never did: it may have happened at any time since, or never.
    pub to: Option<Duration>,
}

/// What the checker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order of the operations that explains every answer.
    Linearizable,
    /// There is none.
    Not,
    /// It would have taken more steps than allowed.
    Undecided,
}

/// Checks a history that begins with the value 0. Each written value must be written once only.
#[must_use]
pub fn check(history: &[Operation], steps: u64) -> Verdict {
    let seen: BTreeSet<u64> = history
        .iter()
        .filter_map(|operation| match (operation.action, operation.to) {
            (Action::Read(value), Some(_)) => Some(value),
            (Action::Swap(from, _), _) => Some(from),
            _ => None,
        })
        .collect();
    // What nobody may have noticed need not have happened.
    let matters = |operation: &&Operation| match (operation.action, operation.to) {
        (_, Some(_)) => true,
        (Action::Read(_), None) => false,
        (Action::Write(value) | Action::Swap(_, value), None) => seen.contains(&value),
    };
    let mut operations: Vec<Operation> = history.iter().filter(matters).copied().collect();
    operations.sort_by_key(|operation| operation.from);
    Search {
        tried: HashSet::new(),
        done: vec![0; operations.len().div_ceil(64)],
        operations,
        left: steps,
    }
    .run()
}

struct Search {
    operations: Vec<Operation>,
    /// One bit for each operation that has its place.
    done: Vec<u64>,
    tried: HashSet<(Vec<u64>, u64)>,
    left: u64,
}

fn apply(action: Action, value: u64) -> Option<u64> {
    match action {
        Action::Read(read) => (read == value).then_some(value),
        Action::Write(written) => Some(written),
        Action::Swap(from, to) => (from == value).then_some(to),
    }
}

impl Search {
    fn is_done(&self, at: usize) -> bool {
        self.done[at / 64] >> (at % 64) & 1 == 1
    }

    fn flip(&mut self, at: usize) {
        self.done[at / 64] ^= 1 << (at % 64);
    }

    /// The first operation from `from` on that may come next: none that is not done ended before it began.
    fn next(&self, first: usize, from: usize) -> Option<usize> {
        let mut end = Duration::MAX;
        for at in first..self.operations.len() {
            let operation = &self.operations[at];
            if operation.from > end {
                return None;
            }
            if self.is_done(at) {
                continue;
            }
            if at >= from {
                return Some(at);
            }
            end = end.min(operation.to.unwrap_or(Duration::MAX));
        }
        None
    }

    fn finished(&self, first: usize) -> bool {
        (first..self.operations.len()).all(|at| self.is_done(at) || self.operations[at].to.is_none())
    }

    fn run(mut self) -> Verdict {
        let (mut value, mut first, mut from) = (0, 0, 0);
        // The places given so far: the operation, and value and first open operation before it.
        let mut places: Vec<(usize, u64, usize)> = Vec::new();
        loop {
            if self.finished(first) {
                return Verdict::Linearizable;
            }
            let Some(steps) = self.left.checked_sub(1) else {
                return Verdict::Undecided;
            };
            self.left = steps;
            if let Some(at) = self.next(first, from) {
                from = at + 1;
                let Some(after) = apply(self.operations[at].action, value) else {
                    continue;
                };
                self.flip(at);
                if self.tried.insert((self.done.clone(), after)) {
                    places.push((at, value, first));
                    value = after;
                    while first < self.operations.len() && self.is_done(first) {
                        first += 1;
                    }
                    from = first;
                } else {
                    self.flip(at);
                }
            } else {
                let Some((at, before, open)) = places.pop() else {
                    return Verdict::Not;
                };
                self.flip(at);
                (value, first, from) = (before, open, at + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn op(action: Action, from: u64, to: impl Into<Option<u64>>) -> Operation {
        Operation {
            action,
            from: Duration::from_millis(from),
            to: to.into().map(Duration::from_millis),
        }
    }

    #[test]
    fn what_is_read_was_written_and_not_overwritten() {
        use Action::{Read, Swap, Write};
        let good = [
            op(Write(1), 0, 10),
            op(Read(0), 5, 7),
            op(Read(1), 6, 20),
            op(Swap(1, 2), 21, 30),
            op(Read(2), 31, 32),
        ];
        assert_eq!(check(&good, 1_000), Verdict::Linearizable);
        let stale = [op(Write(1), 0, 10), op(Read(0), 11, 12)];
        assert_eq!(check(&stale, 1_000), Verdict::Not);
        let back = [op(Write(1), 0, 10), op(Read(1), 1, 2), op(Read(0), 3, 4)];
        assert_eq!(check(&back, 1_000), Verdict::Not);
        let late = [op(Write(1), 0, None), op(Read(0), 50, 51), op(Read(1), 60, 61)];
        assert_eq!(check(&late, 1_000), Verdict::Linearizable);
        let twice = [op(Swap(0, 1), 0, 10), op(Swap(0, 2), 0, 10)];
        assert_eq!(check(&twice, 1_000), Verdict::Not);
    }

    fn orders(count: usize) -> Vec<Vec<usize>> {
        if count == 0 {
            return vec![vec![]];
        }
        let mut all = Vec::new();
        for order in orders(count - 1) {
            for at in 0..=order.len() {
                let mut longer = order.clone();
                longer.insert(at, count - 1);
                all.push(longer);
            }
        }
        all
    }

    /// Tries every order, and for operations without an end also leaving them out.
    fn naive(history: &[Operation]) -> bool {
        let fits = |order: &[usize]| {
            let ordered = |(i, a): (usize, &usize)| {
                order[i + 1..]
                    .iter()
                    .all(|b| history[*b].to.is_none_or(|to| to >= history[*a].from))
            };
            let mut value = Some(0);
            for at in order {
                value = value.and_then(|value| apply(history[*at].action, value));
            }
            value.is_some() && order.iter().enumerate().all(ordered)
        };
        (0..1usize << history.len()).any(|chosen| {
            let left_out = |at: &usize| chosen >> at & 1 == 0;
            (0..history.len())
                .filter(left_out)
                .all(|at| history[at].to.is_none())
                && orders(history.len()).iter().any(|order| {
                    let order: Vec<usize> = order.iter().copied().filter(|at| !left_out(at)).collect();
                    fits(&order)
                })
        })
    }

    fn history() -> impl Strategy<Value = Vec<Operation>> {
        let one = (
            0u8..3,
            0u64..4,
            0u64..12,
            proptest::option::weighted(0.8, 1u64..8),
        );
        proptest::collection::vec(one, 0..6).prop_map(|all| {
            let numbered = all
                .into_iter()
                .enumerate()
                .map(|(i, (kind, value, from, lasting))| {
                    let unique = i as u64 + 1;
                    let action = match kind {
                        0 => Action::Read(value),
                        1 => Action::Write(unique),
                        _ => Action::Swap(value, unique),
                    };
                    // Ends are odd and begins even: a tie has no order.
                    op(
                        action,
                        from * 2,
                        lasting.map(|lasting| from * 2 + lasting * 2 - 1),
                    )
                });
            numbered.collect()
        })
    }

    proptest! {
        #[test]
        fn agrees_with_trying_every_order(history in history()) {
            let expected = if naive(&history) { Verdict::Linearizable } else { Verdict::Not };
            prop_assert_eq!(check(&history, 1_000_000), expected);
        }
    }
}
