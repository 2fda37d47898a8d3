//! Raft groups under every kind of fault, on one thread and in virtual time: engines, storage and messages are those of
//! `foundation_consensus`; network, disks, clocks and the runtime's time are made here. tokio runs on one thread with its
//! clock stopped, so that time moves only when nothing is left to do, and everything random comes from the seed: two
//! runs of a seed are equal event for event.

mod clients;
mod evidence;
mod faults;
pub mod linear;
mod machine;
mod world;

use std::time::Duration;

use foundation_consensus::{Role, Status};
use tokio::time::{Instant, sleep};

use clients::Client;
use linear::Verdict;
use world::World;

const GROUP: &str = "register";
/// Virtual time in which things go wrong.
const TROUBLE: Duration = Duration::from_secs(6);
/// Steps of the checker before it gives up.
const STEPS: u64 = 3_000_000;

/// A bug that is planted to see whether it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A record counts as stored before the disk has it.
    AcknowledgeEarly,
    /// A node that starts again has forgotten its log and whom it voted for.
    ForgetVotes,
    /// A leader does not ask the voters whether it still leads before it answers a query.
    AskNobody,
    /// A member agrees with every leader that asks it so, whatever it has promised to another since.
    AgreeAlways,
}

/// What a run found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What must not happen and did.
    pub violations: Vec<String>,
    /// Equal for equal runs.
    pub trace: u64,
    /// Messages, crashes and applied entries.
    pub events: u64,
    /// Terms with a leader.
    pub terms: usize,
    /// Entries that were applied.
    pub applied: usize,
    /// Locks that were granted.
    pub grants: usize,
    /// Operations on the register.
    pub operations: usize,
    /// The checker gave up on the history of the register.
    pub undecided: bool,
    /// Virtual time.
    pub simulated: Duration,
}

/// Runs a group of so many nodes by a seed.
///
/// # Panics
/// When the system gives no runtime.
#[must_use]
pub fn run(size: usize, seed: u64, bug: Option<Bug>) -> Outcome {
    foundation_consensus::seed_this_thread(seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime on this thread needs no more than memory");
    let outcome = runtime.block_on(live(size, seed, bug));
    runtime.shutdown_background();
    outcome
}

async fn live(size: usize, seed: u64, bug: Option<Bug>) -> Outcome {
    let world = World::new(size, seed, bug);
    for node in 0..size {
        world.boot(node).await;
    }
    let until = Instant::now() + TROUBLE;
    let clients = (1..=6).map(|id| {
        let client = Client {
            world: world.clone(),
            id,
            count: 0,
        };
        // Some only read: nothing holds them up for long.
        tokio::spawn(client.work(until, id > 4))
    });
    let clients: Vec<_> = clients.collect();
    let trouble = tokio::spawn(faults::trouble(world.clone(), until));
    while Instant::now() < until {
        sleep(Duration::from_millis(200)).await;
        world.evidence.logs(&world.groups());
    }
    for task in clients.into_iter().chain([trouble]) {
        if let Err(error) = task.await {
            world
                .evidence
                .violation(format!("a task of the simulation: {error}"));
        }
    }
    faults::calm(&world).await;
    settle(&world).await;
    world.evidence.logs(&world.groups());
    world.evidence.check_grants();
    let history = world.evidence.history();
    let verdict = linear::check(&history, STEPS);
    if verdict == Verdict::Not {
        world
            .evidence
            .violation(format!("the register is not linearizable: {history:?}"));
    }
    let simulated = world.now();
    world.stop().await;
    let (violations, trace, events, terms, applied, grants) = world.evidence.finish();
    Outcome {
        violations,
        trace,
        events,
        terms,
        applied,
        grants,
        operations: history.len(),
        undecided: verdict == Verdict::Undecided,
        simulated,
    }
}

/// With all nodes up and connected, every one of them answers again, and all come to the same state.
async fn settle(world: &std::sync::Arc<World>) {
    let until = Instant::now() + Duration::from_secs(20);
    let everybody: Vec<String> = (0..world.size()).map(world::name).collect();
    let mut client = Client {
        world: world.clone(),
        id: 9,
        count: 0,
    };
    let mut joined = false;
    loop {
        sleep(Duration::from_millis(200)).await;
        let groups = world.groups();
        let statuses: Vec<_> = groups.iter().map(|group| group.status()).collect();
        let applied = statuses.first().map(|status| status.applied);
        let equal = statuses.iter().all(|status| Some(status.applied) == applied);
        if joined && equal && groups.len() == world.size() {
            for group in &groups {
                client.read(group).await;
            }
            return;
        }
        // Members that were removed may not know of a leader.
        let leading = |status: &&Status| status.role == Role::Leader;
        let leader = statuses.iter().filter(leading).max_by_key(|status| status.term);
        let leader = leader.and_then(|leader| groups.iter().find(|group| group.status().me == leader.me));
        if let Some(leader) = leader.filter(|_| !joined) {
            let deadline = Instant::now() + Duration::from_secs(2);
            joined = leader.change_members(&everybody, deadline).await.is_ok();
        }
        if Instant::now() > until {
            let what = format!("the group does not come together again: {joined}, {statuses:#?}");
            return world.evidence.violation(what);
        }
    }
}
