//! The nodes, their disks and clocks, and the network between them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use foundation_consensus::{
    Clock, Engine, EngineConfig, Error, Group, GroupConfig, Network, Role, Simulation,
};
use foundation_storage::Error as LogError;
use foundation_storage::memory::MemoryDisk;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Handle;
use tokio::time::Instant;

use super::evidence::Evidence;
use super::machine::Register;
use super::{Bug, GROUP};

/// How fast the slowest clock runs, in hundredths. The fastest does not run half as fast again.
const SLOWEST: usize = 87;
/// How fast the fastest runs.
const FASTEST: usize = 113;

/// What is wrong with the network.
#[derive(Default)]
pub(crate) struct Weather {
    pub(crate) cut: BTreeSet<(usize, usize)>,
    pub(crate) loss: f64,
    pub(crate) doubling: f64,
    pub(crate) slowest_us: u64,
}

struct Node {
    engine: Option<Arc<Engine>>,
    disk: MemoryDisk,
    /// Which life of the node this is: what an earlier one sends is lost.
    life: u64,
}

struct SkewedClock {
    started: Instant,
    skew_ms: AtomicI64,
}

impl Clock for SkewedClock {
    fn now_ms(&self) -> u64 {
        let now = 1_000_000 + self.started.elapsed().as_millis() as i64;
        (now + self.skew_ms.load(Ordering::Relaxed)).max(0) as u64
    }
}

/// See the module.
pub(crate) struct World {
    pub(crate) evidence: Arc<Evidence>,
    pub(crate) weather: Mutex<Weather>,
    pub(crate) started: Instant,
    bug: Option<Bug>,
    dice: Mutex<ChaCha8Rng>,
    nodes: Mutex<Vec<Node>>,
    clocks: Vec<Arc<SkewedClock>>,
    /// How fast the clock of each node runs, by which it waits and keeps its promises.
    rates: Vec<u32>,
}

struct Wire {
    world: Arc<World>,
    me: usize,
    life: u64,
}

pub(crate) fn name(node: usize) -> String {
    format!("n{node}")
}

fn number(name: &str) -> Option<usize> {
    name.strip_prefix('n')?.parse().ok()
}

impl Network for Wire {
    fn send(&self, to: &str, frame: Bytes) -> bool {
        let Some(to) = number(to) else { return false };
        if self.world.life(self.me) != Some(self.life) {
            return false;
        }
        self.world.clone().post(self.me, to, frame);
        true
    }

    fn send_at_once(&self, to: &str, frame: &Bytes) -> bool {
        self.send(to, frame.clone())
    }
}

impl World {
    pub(crate) fn new(size: usize, seed: u64, bug: Option<Bug>) -> Arc<World> {
        let started = Instant::now();
        let node = || Node {
            engine: None,
            disk: MemoryDisk::new(),
            life: 0,
        };
        let clock = || {
            Arc::new(SkewedClock {
                started,
                skew_ms: AtomicI64::new(0),
            })
        };
        let mut dice = ChaCha8Rng::seed_from_u64(seed);
        let rates = (0..size).map(|_| dice.random_range(SLOWEST..=FASTEST) as u32);
        let rates = rates.collect();
        Arc::new(World {
            evidence: Arc::default(),
            weather: Mutex::new(Weather {
                slowest_us: 2_000,
                ..Weather::default()
            }),
            started,
            bug,
            rates,
            dice: Mutex::new(dice),
            nodes: Mutex::new((0..size).map(|_| node()).collect()),
            clocks: (0..size).map(|_| clock()).collect(),
        })
    }

    pub(crate) fn size(&self) -> usize {
        self.clocks.len()
    }

    /// A number below n, by the seed.
    pub(crate) fn below(&self, n: usize) -> usize {
        self.dice.lock().random_range(0..n.max(1))
    }

    /// True so many times in a hundred.
    pub(crate) fn chance(&self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn life(&self, node: usize) -> Option<u64> {
        let nodes = self.nodes.lock();
        nodes[node].engine.as_ref().map(|_| nodes[node].life)
    }

    fn post(self: Arc<Self>, from: usize, to: usize, frame: Bytes) {
        let (lost, twice, slowest) = {
            let weather = self.weather.lock();
            let mut dice = self.dice.lock();
            let lost = weather.cut.contains(&(from, to)) || dice.random_bool(weather.loss);
            (lost, dice.random_bool(weather.doubling), weather.slowest_us)
        };
        if lost {
            return;
        }
        for _ in 0..1 + usize::from(twice) {
            let wait = Duration::from_micros(100 + self.below(slowest as usize) as u64);
            let (world, frame) = (self.clone(), frame.clone());
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                if world.weather.lock().cut.contains(&(from, to)) {
                    return;
                }
                let engine = world.nodes.lock()[to].engine.clone();
                if let Some(engine) = engine {
                    let at = world.now().as_micros() as u64;
                    world
                        .evidence
                        .trace(&[0, at, from as u64, to as u64, frame.len() as u64]);
                    engine.receive(&name(from), frame);
                }
            });
        }
    }

    fn config(&self, node: usize) -> EngineConfig {
        let mut config = EngineConfig::new(name(node));
        // A member without a disk forgets its votes.
        config.dir = (self.bug != Some(Bug::ForgetVotes)).then(|| PathBuf::from("/raft"));
        // On a clock that runs fast, less time passes until it has counted as much.
        let rate = self.rates[node];
        for wait in [
            &mut config.heartbeat,
            &mut config.election_min,
            &mut config.election_max,
        ] {
            *wait = *wait * 100 / rate;
        }
        config.segment_bytes = 64 << 10;
        config.log_bytes = 128 << 10;
        config.snapshot_chunk = 1_024;
        config.snapshot_timeout = Duration::from_millis(300);
        config.clock = self.clocks[node].clone();
        config.disk = Arc::new(self.nodes.lock()[node].disk.clone());
        config.simulated = Some(Simulation {
            fastest: Duration::from_micros(100),
            slowest: Duration::from_millis(8),
            acknowledge_early: self.bug == Some(Bug::AcknowledgeEarly),
            ask_nobody: self.bug == Some(Bug::AskNobody),
            agree_always: self.bug == Some(Bug::AgreeAlways),
        });
        config
    }

    /// Starts a node that is down. A disk that fails meanwhile is tried again; one that was damaged is a violation.
    pub(crate) async fn boot(self: &Arc<Self>, node: usize) {
        for again in [true, true, false] {
            if self.life(node).is_some() {
                return;
            }
            let life = self.nodes.lock()[node].life;
            let Err(error) = self.try_boot(node, life).await else {
                return;
            };
            if self.nodes.lock()[node].life != life {
                // It crashed while it started, and somebody else starts it again.
                return;
            }
            let damaged = matches!(
                error,
                Error::Log(LogError::Damaged(_)) | Error::Record { .. } | Error::Snapshot { .. }
            );
            if damaged || !again {
                return self
                    .evidence
                    .violation(format!("n{node} does not start again: {error}"));
            }
            self.crash(node, false);
        }
    }

    async fn try_boot(self: &Arc<Self>, node: usize, life: u64) -> Result<(), Error> {
        let wire = Wire {
            world: self.clone(),
            me: node,
            life,
        };
        let engine = Arc::new(Engine::start(
            self.config(node),
            Handle::current(),
            Arc::new(wire),
        )?);
        self.nodes.lock()[node].engine = Some(engine.clone());
        let mut config = GroupConfig::new(GROUP, (0..self.size()).map(name));
        config.snapshot_entries = 25;
        config.keep_entries = 6;
        let machine = Box::new(Register::new(node, self.evidence.clone()));
        let group = engine.start_group(config, machine).await?;
        tokio::spawn(watch(self.evidence.clone(), name(node), group));
        Ok(())
    }

    /// Ends a node at once. A power cut takes what its disk had not confirmed; the death of the process does not.
    pub(crate) fn crash(&self, node: usize, power: bool) {
        let engine = {
            let mut nodes = self.nodes.lock();
            let node = &mut nodes[node];
            node.life += 1;
            node.disk = if power {
                let mut dice = self.dice.lock();
                node.disk.power_cut(&mut |n| dice.random_range(0..n.max(1)))
            } else {
                node.disk.killed()
            };
            node.engine.take()
        };
        self.evidence.trace(&[2, node as u64, u64::from(power)]);
        if let Some(engine) = engine {
            tokio::spawn(async move { engine.stop().await });
        }
    }

    /// Makes the next writes of a node's disk fail half way, or its next syncs.
    pub(crate) fn fail_disk(&self, node: usize, writes: bool) {
        let disk = self.nodes.lock()[node].disk.clone();
        if writes {
            disk.fail_writes(1)
        } else {
            disk.fail_syncs(1)
        }
    }

    pub(crate) fn skew(&self, node: usize, skew_ms: i64) {
        self.clocks[node].skew_ms.store(skew_ms, Ordering::Relaxed);
    }

    pub(crate) fn group(&self, node: usize) -> Option<Group> {
        let engine = self.nodes.lock()[node].engine.clone();
        engine.and_then(|engine| engine.group(GROUP))
    }

    pub(crate) fn groups(&self) -> Vec<Group> {
        (0..self.size()).filter_map(|node| self.group(node)).collect()
    }

    /// Who leads, of those who believe so in the latest term.
    pub(crate) fn leader(&self) -> Option<usize> {
        let status = |node| self.group(node).map(|group| (group.status(), node));
        let leading = (0..self.size())
            .filter_map(status)
            .filter(|(status, _)| status.role == Role::Leader);
        leading
            .max_by_key(|(status, _)| status.term)
            .map(|(_, node)| node)
    }

    pub(crate) async fn stop(&self) {
        for node in 0..self.size() {
            let engine = self.nodes.lock()[node].engine.take();
            if let Some(engine) = engine {
                engine.stop().await;
            }
        }
    }
}

async fn watch(evidence: Arc<Evidence>, me: String, group: Group) {
    let mut watch = group.watch();
    loop {
        let leader = watch.borrow_and_update().clone();
        evidence.leader(&me, &leader, &group);
        if watch.changed().await.is_err() {
            return;
        }
    }
}
