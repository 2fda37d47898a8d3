//! Random commands against a naive model of who holds what, and against what must hold of any state.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const SESSIONS: u64 = 3;
const PERMITS: u32 = 3;

/// Every claim as a list in the order of asking; who holds is found by walking it.
#[derive(Default)]
struct Model {
    queues: BTreeMap<Object, Vec<(Hold, u32, bool)>>,
}

impl Model {
    fn size(kind: Kind) -> u32 {
        match kind {
            Kind::Lock => 1,
            Kind::RwLock => Command::WRITE,
            _ => PERMITS,
        }
    }

    /// Gives to those at the front what is left.
    fn settle(&mut self) {
        for ((kind, _), queue) in &mut self.queues {
            let mut left = u64::from(Self::size(*kind));
            left -= queue
                .iter()
                .filter(|entry| entry.2)
                .map(|entry| u64::from(entry.1))
                .sum::<u64>();
            for entry in queue.iter_mut().filter(|entry| !entry.2) {
                if u64::from(entry.1) > left {
                    break;
                }
                left -= u64::from(entry.1);
                entry.2 = true;
            }
        }
    }

    fn knows(&self, hold: Hold) -> bool {
        self.queues.values().flatten().any(|entry| entry.0 == hold)
    }

    fn acquire(&mut self, object: Object, hold: Hold, weight: u32, wait: bool) {
        if weight > Self::size(object.0) || self.knows(hold) {
            return;
        }
        self.queues
            .entry(object.clone())
            .or_default()
            .push((hold, weight, false));
        self.settle();
        if !wait {
            self.queues
                .entry(object)
                .or_default()
                .retain(|entry| entry.0 != hold || entry.2);
        }
    }

    fn drop_where(&mut self, gone: impl Fn(Hold) -> bool) {
        for queue in self.queues.values_mut() {
            queue.retain(|entry| !gone(entry.0));
        }
        self.settle();
    }

    fn holders(&self, object: &Object) -> Vec<Hold> {
        let queue = self.queues.get(object).into_iter().flatten();
        let mut holders: Vec<Hold> = queue.filter(|entry| entry.2).map(|entry| entry.0).collect();
        holders.sort_unstable();
        holders
    }
}

fn hold() -> impl Strategy<Value = Hold> {
    (1..=SESSIONS, 0..6u64).prop_map(|(session, number)| Hold { session, number })
}

fn claim() -> impl Strategy<Value = Object> {
    let kind = prop::sample::select(vec![Kind::Lock, Kind::RwLock, Kind::Semaphore]);
    (kind, 0..2u8).prop_map(|(kind, name)| (kind, vec![name]))
}

fn claiming() -> impl Strategy<Value = Command> {
    let weight = prop::sample::select(vec![1, 1, 2, 3, Command::WRITE]);
    let acquire = (claim(), hold(), weight, any::<bool>());
    prop_oneof![
        6 => acquire.prop_map(|((kind, name), hold, weight, wait)| Command::Acquire {
            kind, name, hold, weight, lease_ms: 0, wait,
        }),
        3 => hold().prop_map(|hold| Command::Release { hold }),
        1 => prop::collection::vec(hold(), 0..4).prop_map(|holds| Command::Drop { holds }),
        1 => (1..=SESSIONS).prop_map(|session| Command::Close { session }),
    ]
}

fn anything() -> impl Strategy<Value = Command> {
    let kind = prop::sample::select(vec![
        Kind::Semaphore,
        Kind::Barrier,
        Kind::DoubleBarrier,
        Kind::Queue,
    ]);
    let barrier = prop::sample::select(vec![Kind::Barrier, Kind::DoubleBarrier]);
    let expect = prop_oneof![
        Just(Expect::Any),
        Just(Expect::Absent),
        (0..40u64).prop_map(Expect::Version)
    ];
    let name = || (0..2u8).prop_map(|name| vec![name]);
    prop_oneof![
        6 => claiming(),
        2 => (claim(), hold(), 1..400u64).prop_map(|((kind, name), hold, lease_ms)| Command::Acquire {
            kind, name, hold, weight: 1, lease_ms, wait: true,
        }),
        1 => (hold(), 0..400u64).prop_map(|(hold, lease_ms)| Command::Renew { hold, lease_ms }),
        2 => (1..=SESSIONS).prop_map(|session| Command::KeepAlive { session }),
        2 => (1..=SESSIONS).prop_map(|session| Command::Open { session, node: format!("n{session}"), ttl_ms: 500 }),
        1 => (kind.clone(), name(), 1..4u32).prop_map(|(kind, name, size)| Command::Define { kind, name, size }),
        1 => (kind, name()).prop_map(|(kind, name)| Command::Remove { kind, name }),
        2 => (name(), hold(), -2..3i32, any::<bool>()).prop_map(|(name, hold, priority, preempt)| {
            Command::Campaign { name, hold, priority, preempt, metadata: vec![] }
        }),
        2 => (barrier, name(), hold()).prop_map(|(kind, name, hold)| Command::Enter { kind, name, hold }),
        1 => hold().prop_map(|hold| Command::Leave { hold }),
        2 => (name(), any::<u8>()).prop_map(|(name, value)| Command::Push { name, value: vec![value] }),
        2 => (name(), hold(), any::<bool>()).prop_map(|(name, hold, wait)| Command::Take { name, hold, wait }),
        1 => hold().prop_map(|hold| Command::Acknowledge { hold }),
        1 => (name(), any::<i64>()).prop_map(|(name, by)| Command::Add { name, by }),
        1 => (name(), 0..9u64).prop_map(|(name, count)| Command::Next { name, count }),
        2 => (name(), expect.clone(), prop::option::of(hold())).prop_map(|(key, expect, hold)| Command::Put {
            key, value: vec![1], expect, hold,
        }),
        1 => (name(), expect).prop_map(|(key, expect)| Command::Delete { key, expect }),
        1 => Just(Command::Tick),
    ]
}

fn opened(node: Option<String>) -> Coordination {
    let mut machine = Coordination::new(node);
    for session in 1..=SESSIONS {
        let open = Command::Open {
            session,
            node: format!("n{session}"),
            ttl_ms: 1_000,
        };
        machine.apply(0, 1, 1, open);
    }
    for name in 0..2 {
        let define = Command::Define {
            kind: Kind::Semaphore,
            name: vec![name],
            size: PERMITS,
        };
        machine.apply(0, 1, 1, define);
    }
    machine
}

fn holders(machine: &Coordination, (kind, name): &Object) -> Vec<Hold> {
    let query = Query::Claim {
        kind: *kind,
        name: name.clone(),
    };
    match machine.query(query) {
        Answer::Claim { holders, .. } => holders.into_iter().map(|(_, hold, _, _)| hold).collect(),
        _ => Vec::new(),
    }
}

/// What must be so whatever has happened.
fn check(machine: &Coordination) -> Result<(), TestCaseError> {
    for (&hold, object) in &machine.holds {
        prop_assert!(
            machine.sessions.contains_key(&hold.session),
            "{hold:?} of no session"
        );
        let kept = match object.0 {
            Kind::Lock | Kind::RwLock | Kind::Semaphore => machine.claims.contains_key(object),
            Kind::Election => machine.elections.contains_key(&object.1),
            Kind::Barrier | Kind::DoubleBarrier => machine.barriers.contains_key(object),
            Kind::Queue => machine.queues.contains_key(&object.1),
            Kind::Value => machine.values.contains_key(&object.1),
        };
        prop_assert!(kept, "{hold:?} of {object:?}, which is not there");
    }
    let mut tokens = BTreeSet::new();
    for (object, claim) in &machine.claims {
        let weights: u64 = claim.holders().map(|(_, _, weight)| u64::from(weight)).sum();
        prop_assert!(
            weights <= u64::from(claim.size()),
            "{object:?} is given out too often"
        );
        for (hold, token, _) in claim.holders() {
            prop_assert_eq!(machine.holds.get(&hold), Some(object));
            prop_assert!(tokens.insert(token), "token {} twice", token);
            prop_assert!(token <= machine.token);
        }
    }
    for (name, election) in &machine.elections {
        prop_assert!(
            election.leader().is_some(),
            "candidates of {name:?}, and none leads"
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn who_holds_is_who_the_naive_model_says(commands in prop::collection::vec(claiming(), 0..60)) {
        let mut machine = opened(None);
        let mut model = Model::default();
        let mut closed = BTreeSet::new();
        for (index, command) in commands.into_iter().enumerate() {
            match &command {
                Command::Acquire { kind, name, hold, weight, wait, .. } if !closed.contains(&hold.session) => {
                    model.acquire((*kind, name.clone()), *hold, *weight, *wait);
                }
                Command::Release { hold } => model.drop_where(|it| it == *hold),
                Command::Drop { holds } => model.drop_where(|it| holds.contains(&it)),
                Command::Close { session } => {
                    closed.insert(*session);
                    model.drop_where(|it| it.session == *session);
                }
                _ => {}
            }
            machine.apply(index as u64, 1, 1, command);
            for kind in [Kind::Lock, Kind::RwLock, Kind::Semaphore] {
                for name in 0..2 {
                    let object = (kind, vec![name]);
                    prop_assert_eq!(holders(&machine, &object), model.holders(&object));
                }
            }
        }
    }

    #[test]
    fn members_agree_and_nothing_is_given_out_twice(
        commands in prop::collection::vec((anything(), 0..200u64, 0..20u8), 0..120),
    ) {
        let mut members = [opened(None), opened(Some("n1".into()))];
        let (mut time, mut term, mut greatest) = (1, 1, 0);
        for (index, (command, passed, chance)) in commands.into_iter().enumerate() {
            time += passed;
            term += u64::from(chance == 0);
            let replies = members
                .each_mut()
                .map(|member| member.apply(index as u64, term, time, command.clone()));
            prop_assert_eq!(&replies[0], &replies[1]);
            prop_assert_eq!(members[0].snapshot().unwrap(), members[1].snapshot().unwrap());
            check(&members[0])?;
            for event in members[0].events() {
                if let Event::Hold { hold, what: What::Granted { token, .. } } = event
                    && machine_claims(&members[0], hold)
                {
                    prop_assert!(token > greatest, "token {} after {}", token, greatest);
                    greatest = token;
                }
            }
            // A member that begins again from a snapshot is no other member.
            if chance == 1 {
                let snapshot = members[0].snapshot().unwrap();
                let mut restored = Coordination::new(None);
                restored.restore(&snapshot).unwrap();
                restored.events();
                members[0] = restored;
            }
        }
    }
}

fn machine_claims(machine: &Coordination, hold: Hold) -> bool {
    matches!(
        machine.holds.get(&hold),
        Some((Kind::Lock | Kind::RwLock | Kind::Semaphore | Kind::Election, _))
    )
}
