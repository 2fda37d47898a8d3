//! Replicas on a network that loses, repeats, delays and cuts, with crashes, durable copies and clocks that disagree; one
//! seed decides everything. `CRDT_SEED=n cargo test -p foundation_crdt --test simulation` runs one seed again.

mod support;

use foundation_crdt::{Bounds, Error, Kind, Op, State, Sync, Value};
use std::collections::{BTreeMap, BTreeSet};
use support::{BUDGET, Seen, read};

/// Runs of each test, more by `CRDT_RUNS`.
const RUNS: u64 = 60;

struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Copy)]
struct Rules {
    /// Whether a replica comes back from its journal, or from nothing.
    durable: bool,
    /// The planted bug: a replica that lost everything goes on under its old id, and so uses dots a second time.
    same_id: bool,
}

struct Node {
    state: State,
    skew: i64,
    dir: Option<tempfile::TempDir>,
}

struct World {
    kind: Kind,
    rules: Rules,
    chance: Chance,
    nodes: Vec<Node>,
    next_id: u64,
    now: u64,
    /// Due time, from, to, bytes.
    wire: Vec<(u64, usize, usize, Vec<u8>)>,
    cut: BTreeSet<(usize, usize)>,
    lossy: bool,
}

/// What was done, for the invariants: by whom, and whether that may have gone with the memory of who did it.
#[derive(Default)]
struct Done {
    added: BTreeMap<Vec<u8>, (usize, bool)>,
    removed: BTreeMap<Vec<u8>, (usize, bool)>,
    crashed: BTreeSet<usize>,
}

impl Done {
    fn crash(&mut self, at: usize) {
        self.crashed.insert(at);
        for (by, risky) in self.added.values_mut().chain(self.removed.values_mut()) {
            *risky |= *by == at;
        }
    }
}

impl World {
    fn new(kind: Kind, seed: u64, rules: Rules) -> Self {
        let mut world = World {
            kind,
            rules,
            chance: Chance(seed),
            nodes: Vec::new(),
            next_id: 1,
            now: 1_000_000,
            wire: Vec::new(),
            cut: BTreeSet::new(),
            lossy: true,
        };
        for _ in 0..3 + world.chance.below(3) {
            let skew = world.chance.below(4_000) as i64 - 2_000;
            let dir = rules.durable.then(|| tempfile::tempdir().unwrap());
            let state = world.start(dir.as_ref(), None);
            world.nodes.push(Node { state, skew, dir });
        }
        world
    }

    fn start(&mut self, dir: Option<&tempfile::TempDir>, id: Option<u64>) -> State {
        self.next_id += 1;
        let id = id.unwrap_or(self.next_id);
        let bounds = Bounds {
            max_drift_ms: 3_000,
            ..Bounds::default()
        };
        let state = State::new(self.kind.clone(), id, 2, bounds).unwrap();
        if let Some(dir) = dir {
            state.open_journal(dir.path(), Sync::Os).unwrap();
        }
        state
    }

    fn crash(&mut self, at: usize) {
        let id = self.rules.same_id.then(|| self.nodes[at].state.id());
        let dir = self.nodes[at].dir.take();
        // The old one lets go of its directory first; nothing is flushed by that which was not written before.
        self.nodes[at].state = State::new(self.kind.clone(), 1, 2, Bounds::default()).unwrap();
        let state = self.start(dir.as_ref(), id);
        self.nodes[at].state = state;
        self.nodes[at].dir = dir;
    }

    fn wall(&self, at: usize) -> u64 {
        self.now.saturating_add_signed(self.nodes[at].skew)
    }

    fn send(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        if self.lossy && (self.cut.contains(&(from.min(to), from.max(to))) || self.chance.one_in(5)) {
            return;
        }
        let copies = if self.lossy && self.chance.one_in(6) { 2 } else { 1 };
        for _ in 0..copies {
            let delay = 1 + if self.lossy {
                self.chance.below(400) as u64
            } else {
                0
            };
            self.wire.push((self.now + delay, from, to, bytes.clone()));
        }
    }

    fn push(&mut self, from: usize) {
        let message = self.nodes[from].state.push(300 + self.chance.below(2000)).message;
        for to in (0..self.nodes.len()).filter(|to| *to != from) {
            if let Some(message) = &message {
                self.send(from, to, message.clone());
            }
        }
    }

    fn deliver(&mut self) {
        let (due, later) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition(|(at, ..)| *at <= self.now);
        self.wire = later;
        for (_, from, to, bytes) in due {
            let wall = self.wall(to);
            match self.nodes[to]
                .state
                .handle(from as u64, &bytes, wall, 600 + self.chance.below(BUDGET))
            {
                Ok(handled) => {
                    if let Some(reply) = handled.reply {
                        self.send(to, from, reply);
                    }
                }
                Err(Error::Drift(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// One moment of trouble.
    fn trouble(&mut self, done: &mut Done) {
        self.now += 1 + self.chance.below(50) as u64;
        let at = self.chance.below(self.nodes.len());
        match self.chance.below(40) {
            0 => {
                let other = self.chance.below(self.nodes.len());
                self.cut.insert((at.min(other), at.max(other)));
            }
            1 => self.cut.clear(),
            2 => {
                done.crash(at);
                self.crash(at);
            }
            3..=8 => self.push(at),
            9..=14 => {
                let to = self.chance.below(self.nodes.len());
                if to != at {
                    let roots = self.nodes[at].state.roots();
                    self.send(at, to, roots);
                }
            }
            15 if self.rules.durable => {
                self.nodes[at].state.compact().unwrap();
            }
            _ => {}
        }
        self.deliver();
    }

    /// The network works again and everyone talks to everyone until all are the same.
    fn heal(&mut self) {
        self.lossy = false;
        self.cut.clear();
        // Clocks that were ahead are waited for.
        self.now += 10_000;
        for _ in 0..30 {
            for from in 0..self.nodes.len() {
                for to in (0..self.nodes.len()).filter(|to| *to != from) {
                    let roots = self.nodes[from].state.roots();
                    self.send(from, to, roots);
                }
            }
            while !self.wire.is_empty() {
                self.now += 1;
                self.deliver();
            }
            let first = self.nodes[0].state.root();
            if self.nodes.iter().all(|node| node.state.root() == first) {
                return;
            }
        }
        panic!("the replicas do not converge");
    }
}

fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    match number("CRDT_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("CRDT_RUNS").unwrap_or(RUNS)).collect(),
    }
}

fn each_seed(run: impl Fn(u64)) {
    for seed in seeds() {
        if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(seed))) {
            eprintln!("CRDT_SEED={seed} cargo test --release -p foundation_crdt --test simulation");
            std::panic::resume_unwind(panic);
        }
    }
}

/// Elements that are added once each, and some removed again. What is wrong in the end, if anything.
fn sets(kind: Kind, seed: u64, rules: Rules) -> Result<(), String> {
    let mut world = World::new(kind, seed, rules);
    let mut done = Done::default();
    let mut made = 0u32;
    for _ in 0..300 {
        world.trouble(&mut done);
        let at = world.chance.below(world.nodes.len());
        let wall = world.wall(at);
        let state = &world.nodes[at].state;
        if world.chance.one_in(3) {
            let Seen::Set(here) = read(state) else { continue };
            if !here.is_empty() {
                let element = here
                    .iter()
                    .nth(world.chance.below(here.len()))
                    .cloned()
                    .unwrap_or_default();
                state.mutate(&[&element], Op::Remove, wall).unwrap();
                done.removed.insert(element, (at, false));
            }
        } else {
            made += 1;
            let element = made.to_be_bytes().to_vec();
            state.mutate(&[&element], Op::Add, wall).unwrap();
            done.added.insert(element, (at, false));
        }
    }
    world.heal();
    let Seen::Set(end) = read(&world.nodes[0].state) else {
        return Err("no set".into());
    };
    if world
        .nodes
        .iter()
        .any(|node| read(&node.state) != Seen::Set(end.clone()))
    {
        return Err("equal roots, other elements".into());
    }
    for (element, (at, risky)) in &done.added {
        let may_be_lost = !rules.durable && *risky;
        if !end.contains(element) && !done.removed.contains_key(element) && !may_be_lost {
            return Err(format!("the add of {element:?} at {at} is lost"));
        }
    }
    for element in &end {
        let removed = done
            .removed
            .get(element)
            .is_some_and(|(_, risky)| rules.durable || !risky);
        if !done.added.contains_key(element) || removed {
            return Err(format!("{element:?} is back"));
        }
    }
    Ok(())
}

#[test]
fn no_add_is_lost_and_no_removal_undone() {
    each_seed(|seed| {
        for kind in [Kind::OrSet, Kind::RwSet] {
            for durable in [seed % 5 == 0, false] {
                sets(
                    kind.clone(),
                    seed,
                    Rules {
                        durable,
                        same_id: false,
                    },
                )
                .unwrap();
            }
        }
    });
}

#[test]
fn a_replica_that_uses_its_dots_again_is_found_out() {
    let rules = Rules {
        durable: false,
        same_id: true,
    };
    let found = (0..40).any(|seed| {
        let outcome = std::panic::catch_unwind(|| sets(Kind::OrSet, seed, rules));
        !matches!(outcome, Ok(Ok(())))
    });
    assert!(found, "the planted bug was not found in 40 runs");
}

#[test]
fn counters_count_what_was_not_lost_with_a_replica() {
    each_seed(|seed| {
        let rules = Rules {
            durable: seed % 4 == 0,
            same_id: false,
        };
        let mut world = World::new(Kind::PnCounter, seed, rules);
        let mut done = Done::default();
        let mut by = vec![0i128; world.nodes.len()];
        for _ in 0..200 {
            world.trouble(&mut done);
            let at = world.chance.below(world.nodes.len());
            let n = world.chance.below(9) as u64;
            world.nodes[at]
                .state
                .mutate(&[], Op::Increment(n), world.wall(at))
                .unwrap();
            by[at] += i128::from(n);
        }
        world.heal();
        let Some(Value::Integer(sum)) = world.nodes[0].state.read(&[]).unwrap() else {
            panic!()
        };
        let sure: i128 = by
            .iter()
            .enumerate()
            .filter(|(at, _)| rules.durable || !done.crashed.contains(at))
            .map(|(_, n)| n)
            .sum();
        assert!(
            (sure..=by.iter().sum()).contains(&sum),
            "{sum} of {by:?}, sure {sure}"
        );
    });
}

#[test]
fn nested_types_converge() {
    let record = vec![
        (b"tags".to_vec(), Kind::RwSet),
        (b"name".to_vec(), Kind::Lww),
        (b"seen".to_vec(), Kind::PnCounter),
        (b"on".to_vec(), Kind::DwFlag),
        (b"notes".to_vec(), Kind::LwwMap),
        (b"drafts".to_vec(), Kind::OrMap(Box::new(Kind::Mv))),
    ];
    let kind = Kind::OrMap(Box::new(Kind::Record(record)));
    each_seed(|seed| {
        let mut world = World::new(
            kind.clone(),
            seed,
            Rules {
                durable: seed % 7 == 0,
                same_id: false,
            },
        );
        let mut done = Done::default();
        for step in 0..250u32 {
            world.trouble(&mut done);
            let at = world.chance.below(world.nodes.len());
            let (key, element) = ([world.chance.below(4) as u8], [world.chance.below(3) as u8]);
            let value = step.to_be_bytes();
            let wall = world.wall(at);
            let state = &world.nodes[at].state;
            let key = &key[..];
            let done: Result<bool, Error> = match world.chance.below(9) {
                0 => state.mutate(&[key], Op::Remove, wall),
                1 => state.mutate(&[key, b"tags", &element], Op::Add, wall),
                2 => state.mutate(&[key, b"tags", &element], Op::Remove, wall),
                3 => state.mutate(&[key, b"name"], Op::Assign(&value), wall),
                4 => state.mutate(&[key, b"seen"], Op::Increment(1), wall),
                5 => state.mutate(
                    &[key, b"on"],
                    if step % 2 == 0 { Op::Enable } else { Op::Disable },
                    wall,
                ),
                6 => state.mutate(&[key, b"notes", &element], Op::Assign(&value), wall),
                7 => state.mutate(&[key, b"notes", &element], Op::Remove, wall),
                _ => state.mutate(&[key, b"drafts", &element], Op::Assign(&value), wall),
            };
            done.unwrap();
            if step % 50 == 49 {
                let peers: Vec<u64> = (0..world.nodes.len() as u64)
                    .filter(|peer| *peer != at as u64)
                    .collect();
                world.nodes[at].state.collect(&peers, 10);
            }
        }
        world.heal();
        let first = read(&world.nodes[0].state);
        assert!(world.nodes.iter().all(|node| read(&node.state) == first));
    });
}
