//! The engine: what all groups of a node share.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::runtime::Handle;

use crate::calls::Calls;
use crate::group::{self, Group};
use crate::inbound::Served;
use crate::journal::Journal;
use crate::network::Network;
use crate::outbox::Outbox;
use crate::rounds::Rounds;
use crate::snapshots::Snapshots;
use crate::types::Name;
use crate::waiting::Waiting;
use crate::{EngineConfig, Error, GroupConfig, Machine};

/// How often the log is looked after.
const CLEANING: Duration = Duration::from_secs(5);
/// Milliseconds that the last tasks of stopped groups are given before their log is closed.
const LAST_TASKS: u32 = 500;

/// What all groups of a node share.
pub(crate) struct Shared {
    pub(crate) me: Name,
    pub(crate) config: EngineConfig,
    pub(crate) runtime: Handle,
    pub(crate) calls: Arc<Calls>,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) waiting: Arc<Waiting>,
    pub(crate) rounds: Rounds,
    groups: RwLock<HashMap<Name, Group>>,
    /// Names that are being started.
    starting: Mutex<Vec<Name>>,
    snapshots: Mutex<HashMap<Name, Arc<Snapshots>>>,
    pub(crate) served: Mutex<Served>,
    ticking: AtomicBool,
    led: AtomicUsize,
    stopped: AtomicBool,
}

impl Shared {
    pub(crate) fn group(&self, name: &str) -> Option<Group> {
        self.groups.read().get(name).cloned()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    /// Whether the heartbeats of several groups are leaving now.
    pub(crate) fn gathers_heartbeats(&self) -> bool {
        self.ticking.load(Ordering::Relaxed) && self.led.load(Ordering::Relaxed) > 1
    }

    pub(crate) fn inline(&self) -> bool {
        self.config.simulated.is_some()
    }

    /// See [`Simulation::ask_nobody`](crate::Simulation).
    pub(crate) fn asks_nobody(&self) -> bool {
        self.config
            .simulated
            .is_some_and(|simulation| simulation.ask_nobody)
    }

    pub(crate) fn snapshots(&self, group: &Name) -> Arc<Snapshots> {
        let mut all = self.snapshots.lock();
        let fresh = || {
            let dir = self.config.dir.as_ref().map(|dir| dir.join("snapshots"));
            let place = dir.map(|dir| (self.config.disk.clone(), dir));
            Arc::new(Snapshots::new(place, group))
        };
        all.entry(group.clone()).or_insert_with(fresh).clone()
    }

    fn running(&self) -> Vec<Group> {
        let mut groups: Vec<_> = self.groups.read().values().cloned().collect();
        groups.sort_by(|a, b| a.inner.name.cmp(&b.inner.name));
        groups
    }

    /// One heartbeat of all groups that are led here, and what is to be done now and then.
    async fn tick(&self) {
        let groups = self.running();
        let leading = groups.iter().filter(|group| group.leads()).count();
        self.led.store(leading, Ordering::Relaxed);
        self.ticking.store(true, Ordering::Relaxed);
        self.end_rounds(self.config.heartbeat);
        for group in &groups {
            group.tick();
        }
    }

    async fn clean(&self) {
        let (journal, bytes) = (self.journal.clone(), self.config.log_bytes);
        let cleaned = if self.inline() {
            journal.clean(bytes)
        } else {
            let cleaning = tokio::task::spawn_blocking(move || journal.clean(bytes));
            cleaning.await.unwrap_or(Ok(()))
        };
        if let Err(error) = cleaned {
            tracing::warn!("the log could not be cleaned: {error}");
        }
    }
}

/// One node's part in all its groups. Dropping it stops it without waiting for the end.
pub struct Engine {
    shared: Arc<Shared>,
}

impl Engine {
    /// Opens the log, reads it, and starts the tick. Takes as long as the disk needs for the log.
    ///
    /// # Errors
    /// `Config`, `Log`, `Record`: nothing runs then.
    pub fn start(config: EngineConfig, runtime: Handle, network: Arc<dyn Network>) -> Result<Engine, Error> {
        config.check()?;
        let calls = Calls::new();
        let shared = Arc::new(Shared {
            me: Name::from(config.me.as_str()),
            journal: Arc::new(Journal::open(&config, runtime.clone())?),
            outbox: Outbox::new(runtime.clone(), network, calls.clone()),
            config,
            runtime,
            calls,
            waiting: Arc::default(),
            rounds: Rounds::default(),
            groups: RwLock::default(),
            starting: Mutex::default(),
            snapshots: Mutex::default(),
            served: Mutex::default(),
            ticking: AtomicBool::new(false),
            led: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        });
        shared
            .runtime
            .spawn(tick(Arc::downgrade(&shared), shared.config.heartbeat));
        shared.runtime.spawn(shared.waiting.clone().watch());
        Ok(Engine { shared })
    }

    /// Takes a frame from another engine. Does not wait, and may be called on any thread.
    pub fn receive(&self, from: &str, frame: Bytes) {
        self.shared.receive(from, frame);
    }

    /// Starts a group, from what the disk has of it, or as a new one.
    ///
    /// # Errors
    /// `Config`, `Running`, `Log`, `Snapshot`, `Machine`, `Group`, `Stopped`: the group does not run then.
    pub async fn start_group(&self, config: GroupConfig, machine: Box<dyn Machine>) -> Result<Group, Error> {
        config.check()?;
        let name = Name::from(config.name.as_str());
        let shared = self.shared.clone();
        if shared.is_stopped() {
            return Err(Error::Stopped);
        }
        {
            let mut starting = shared.starting.lock();
            if shared.groups.read().contains_key(&name) || starting.contains(&name) {
                return Err(Error::Running(config.name));
            }
            starting.push(name.clone());
        }
        let task = shared
            .runtime
            .spawn(group::start(shared.clone(), config, machine));
        let started = task.await;
        shared.starting.lock().retain(|other| *other != name);
        let group = started.map_err(|error| Error::Group {
            group: name.to_string(),
            what: error.to_string(),
        })??;
        shared.groups.write().insert(name, group.clone());
        Ok(group)
    }

    /// The group, when it runs.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<Group> {
        self.shared.group(name)
    }

    /// The groups that run, in order of name.
    #[must_use]
    pub fn groups(&self) -> Vec<Group> {
        self.shared.running()
    }

    /// The names of all groups the log knows, running or not.
    #[must_use]
    pub fn stored_groups(&self) -> Vec<String> {
        let groups = self.shared.journal.groups.lock();
        groups.by_name.keys().map(ToString::to_string).collect()
    }

    /// Stops a group and waits for its end; false when it did not run. What it has stored stays.
    pub async fn stop_group(&self, name: &str) -> bool {
        let group = self.shared.groups.write().remove(name);
        match group {
            Some(group) => {
                group.stop().await;
                true
            }
            None => false,
        }
    }

    /// Stops a group and deletes what is stored of it here. A member that forgets must have been removed from the group
    /// before, and may come back under this name only as a new member.
    ///
    /// # Errors
    /// `Group` when the disk refuses; the group is stopped all the same.
    pub async fn forget_group(&self, name: &str) -> Result<(), Error> {
        self.stop_group(name).await;
        let key = Name::from(name);
        let snapshots = self.shared.snapshots(&key);
        self.shared.snapshots.lock().remove(&key);
        let forgotten = snapshots.remove().and_then(|()| self.shared.journal.forget(&key));
        forgotten.map_err(|error| Error::Group {
            group: name.to_owned(),
            what: error.to_string(),
        })
    }

    /// Stops all groups, and waits for their end. Nothing is sent or received after this, and the directory is free for
    /// another engine when this returns, whoever still holds on to this one or to one of its groups.
    pub async fn stop(&self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.outbox.stop();
        let groups: Vec<Group> = self
            .shared
            .groups
            .write()
            .drain()
            .map(|(_, group)| group)
            .collect();
        for group in groups {
            group.stop().await;
        }
        self.shared.end_rounds(Duration::ZERO);
        self.shared.waiting.end();
        // The last tasks of Raft let go of the log; a snapshot that is being written may take longer than this waits.
        for _ in 0..LAST_TASKS {
            if Arc::strong_count(&self.shared.journal) == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        if !self.shared.inline() {
            let journal = self.shared.journal.clone();
            // It fails only by a panic in the thread of the log, which says so itself.
            let _ = tokio::task::spawn_blocking(move || journal.close()).await;
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.shared.outbox.stop();
        self.shared.waiting.end();
        let groups: Vec<Group> = self
            .shared
            .groups
            .write()
            .drain()
            .map(|(_, group)| group)
            .collect();
        if !groups.is_empty() {
            let shared = self.shared.clone();
            self.shared.runtime.spawn(async move {
                for group in groups {
                    group.stop().await;
                }
                shared.end_rounds(Duration::ZERO);
            });
        }
    }
}

async fn tick(shared: std::sync::Weak<Shared>, every: Duration) {
    let mut interval = tokio::time::interval(every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut cleaned = tokio::time::Instant::now();
    loop {
        interval.tick().await;
        let Some(shared) = shared.upgrade() else { return };
        if shared.is_stopped() {
            return;
        }
        shared.tick().await;
        tokio::time::sleep(Duration::from_millis(2).min(every / 4)).await;
        shared.ticking.store(false, Ordering::Relaxed);
        if cleaned.elapsed() >= CLEANING {
            shared.clean().await;
            cleaned = tokio::time::Instant::now();
        }
    }
}
