//! A group as its user holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use openraft::{Instant as _, RaftMetrics, ServerState, SnapshotPolicy};
use openraft_rt::{WatchReceiver, WatchSender};
use parking_lot::Mutex;
use rand::RngExt;
use tokio::sync::{Mutex as AsyncMutex, Semaphore, mpsc, watch};
use tokio::time::Instant;

use crate::applier::{Applier, StateMachine};
use crate::engine::Shared;
use crate::group_log::GroupLog;
use crate::log_store::LogStore;
use crate::network::Links;
use crate::rounds::Asking;
use crate::runtime::Dice;
use crate::types::{AppendRequest, Name, Raft, SnapshotMeta, Types};
use crate::{Error, GroupConfig, Leader, Machine, Role, Status};

/// A member's handle on its group. Cheap to clone.
#[derive(Clone)]
pub struct Group {
    pub(crate) inner: Arc<Inner>,
}

/// A snapshot that is on its way here.
#[derive(Default)]
pub(crate) struct Incoming {
    pub(crate) meta: Option<SnapshotMeta>,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) struct Inner {
    pub(crate) name: Name,
    pub(crate) shared: Arc<Shared>,
    pub(crate) raft: Raft,
    pub(crate) config: GroupConfig,
    pub(crate) applier: Arc<AsyncMutex<Applier>>,
    pub(crate) proposing: Arc<Semaphore>,
    pub(crate) reading: Arc<Semaphore>,
    /// For what other members ask of this one as the leader.
    pub(crate) serving: Arc<Semaphore>,
    pub(crate) leader: crate::watch::Receiver<Leader>,
    /// The same, for users.
    told: watch::Receiver<Leader>,
    pub(crate) leaders: Mutex<BTreeMap<Name, mpsc::Sender<(u64, AppendRequest)>>>,
    pub(crate) incoming: Mutex<BTreeMap<Name, Incoming>>,
    /// The state of Raft, for who wants to know without asking it.
    pub(crate) metrics: crate::watch::Receiver<RaftMetrics<Types>>,
    /// The last term in which this member has offered its lead to another.
    pub(crate) ceded: AtomicU64,
    pub(crate) ceding: AsyncMutex<()>,
    pub(crate) asking: Mutex<Asking>,
    /// Until then this member has no voice in elections: it may have promised, before it was started again, to follow a
    /// leader for so long.
    quiet_until: Option<Instant>,
    pub(crate) log: Arc<GroupLog>,
    sessions: Arc<AtomicUsize>,
}

/// Starts a group on the runtime.
pub(crate) async fn start(
    shared: Arc<Shared>,
    config: GroupConfig,
    machine: Box<dyn Machine>,
) -> Result<Group, Error> {
    let name = Name::from(config.name.as_str());
    let failed = |what: String| Error::Group {
        group: config.name.clone(),
        what,
    };
    let log = shared
        .journal
        .group(&name)
        .map_err(|error| failed(error.to_string()))?;
    let snapshots = shared.snapshots(&name);
    let content = snapshots
        .load()
        .map_err(|(path, what)| Error::Snapshot { path, what })?;
    let covered = content.as_ref().and_then(|content| content.last);
    if log.purged() > covered {
        return Err(failed("its log begins behind its snapshot".to_owned()));
    }
    let is_new = log.is_new() && covered.is_none();
    let applier = Arc::new(AsyncMutex::new(Applier::start(machine, content).await?));
    let sessions = Arc::new(AtomicUsize::new(0));
    let state = StateMachine {
        applier: applier.clone(),
        snapshots,
        inline: shared.inline(),
        sessions: sessions.clone(),
    };
    let store = LogStore {
        journal: shared.journal.clone(),
        log: log.clone(),
    };
    let links = Links {
        shared: shared.clone(),
        group: name.clone(),
    };
    let raft_config = Arc::new(
        raft_config(&shared, &config, is_new)
            .validate()
            .map_err(|error| failed(error.to_string()))?,
    );
    let raft = Raft::new(shared.me.clone(), raft_config, links, store, state).await;
    let raft = raft.map_err(|error| failed(error.to_string()))?;
    if is_new && config.members.iter().any(|member| member == shared.me.as_str()) {
        let members: BTreeSet<Name> = config
            .members
            .iter()
            .map(|member| Name::from(member.as_str()))
            .collect();
        raft.initialize(members)
            .await
            .map_err(|error| failed(error.to_string()))?;
    }
    let metrics = raft.metrics();
    let quiet_until = if is_new {
        None
    } else {
        speak_later(&shared, &raft).await
    };
    let (sender, leader) = crate::watch::channel(Leader::default());
    let (teller, told) = watch::channel(Leader::default());
    shared.runtime.spawn(tell_leader(raft.clone(), sender, teller));
    Ok(Group {
        inner: Arc::new(Inner {
            name,
            raft,
            applier,
            proposing: Arc::new(Semaphore::new(config.max_in_flight)),
            reading: Arc::new(Semaphore::new(config.max_in_flight)),
            serving: Arc::new(Semaphore::new(config.max_in_flight)),
            leader,
            told,
            leaders: Mutex::default(),
            incoming: Mutex::default(),
            metrics,
            ceded: AtomicU64::new(0),
            ceding: AsyncMutex::default(),
            asking: Mutex::default(),
            quiet_until,
            log,
            sessions,
            config,
            shared,
        }),
    })
}

/// Lets a member that was here before stand for election when its promises of then are over, and until when it has no
/// voice; at once when there is nobody else.
async fn speak_later(shared: &Shared, raft: &Raft) -> Option<Instant> {
    let me = shared.me.clone();
    let alone = raft.with_raft_state(move |state| {
        let mut voters = state.membership_state.effective().voter_ids().peekable();
        voters.peek().is_some() && voters.all(|voter| voter == me)
    });
    if alone.await.unwrap_or(false) {
        raft.runtime_config().elect(true);
        return None;
    }
    let promised = shared.config.election_max;
    // Members that were started together do not stand together.
    let spread = (promised - shared.config.election_min).as_micros() as u64;
    let more = Duration::from_micros(Dice.random_range(0..=spread));
    let raft = raft.clone();
    shared.runtime.spawn(async move {
        tokio::time::sleep(promised + more).await;
        raft.runtime_config().elect(true);
    });
    Some(Instant::now() + promised)
}

fn raft_config(shared: &Shared, config: &GroupConfig, is_new: bool) -> openraft::Config {
    let engine = &shared.config;
    openraft::Config {
        cluster_name: config.name.clone(),
        heartbeat_interval: engine.heartbeat.as_millis() as u64,
        election_timeout_min: engine.election_min.as_millis() as u64,
        election_timeout_max: engine.election_max.as_millis() as u64,
        install_snapshot_timeout: engine.snapshot_timeout.as_millis() as u64,
        max_payload_entries: 2_048,
        replication_lag_threshold: config.snapshot_entries.saturating_mul(2),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_entries),
        max_in_snapshot_log_to_keep: config.keep_entries,
        purge_batch_size: (config.keep_entries / 2).max(1),
        // The tick of the engine sends those of all groups.
        enable_heartbeat: false,
        // A member that was here before stands later.
        enable_elect: is_new,
        // Entries leave for followers while they are still on their way to the disk here. A leader that lost some of
        // them in a crash must not go on in its old term: it would give their places to others.
        enable_leader_restore: Some(false),
        enable_pre_vote: Some(true),
        ..openraft::Config::default()
    }
}

/// Tells watchers who leads, until the group stops.
async fn tell_leader(raft: Raft, sender: crate::watch::Sender<Leader>, teller: watch::Sender<Leader>) {
    let mut metrics = raft.server_metrics();
    loop {
        let now = {
            let metrics = metrics.borrow_watched();
            Leader {
                node: metrics.current_leader.as_ref().map(ToString::to_string),
                term: metrics.vote.leader_id.term,
            }
        };
        if sender.send_if_different(now.clone()) {
            teller.send_replace(now);
        }
        if metrics.changed().await.is_err() {
            break;
        }
    }
    let term = sender.borrow_watched().term;
    sender.send_if_different(Leader { node: None, term });
    teller.send_modify(|known| known.node = None);
}

impl Group {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.name.as_str()
    }

    /// Who leads, and every change of it.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Leader> {
        self.inner.told.clone()
    }

    pub(crate) fn leads(&self) -> bool {
        self.inner.leader.borrow_watched().node.as_deref() == Some(self.inner.shared.me.as_str())
    }

    /// Whether this member has no voice in elections yet.
    pub(crate) fn is_quiet(&self) -> bool {
        self.inner.quiet_until.is_some_and(|until| Instant::now() < until)
    }

    /// Part of the tick of the engine.
    pub(crate) fn tick(&self) {
        if self.leads() {
            // Full of work, it says by that that it is there.
            let _ = self.inner.raft.trigger().heartbeat().now_or_never();
        }
        if self.inner.log.bytes() > self.inner.config.snapshot_bytes {
            let _ = self.inner.raft.trigger().snapshot().now_or_never();
        }
    }

    pub(crate) async fn stop(&self) {
        self.inner.leaders.lock().clear();
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!("the group {} did not stop in order: {error}", self.inner.name);
        }
        self.inner.leaders.lock().clear();
    }

    /// Takes a snapshot of this member's state and removes from its log what the snapshot covers, soon.
    ///
    /// # Errors
    /// `Stopped`.
    pub async fn snapshot(&self) -> Result<(), crate::ChangeError> {
        let asked = self.inner.raft.trigger().snapshot().await;
        asked.map_err(|_| crate::ChangeError::Stopped)
    }

    /// How the group is doing, seen from here.
    #[must_use]
    pub fn status(&self) -> Status {
        let receiver = self.inner.raft.metrics();
        let metrics = receiver.borrow_watched();
        let membership = metrics.membership_config.membership();
        let role = match metrics.state {
            _ if metrics.running_state.is_err() => Role::Stopped,
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner => Role::Learner,
            ServerState::Follower => Role::Follower,
            ServerState::Shutdown => Role::Stopped,
        };
        let replication = metrics.replication.iter().flatten();
        let index = |id: &Option<crate::types::LogId>| id.as_ref().map(|id| id.index());
        let in_flight = self.inner.config.max_in_flight - self.inner.proposing.available_permits();
        Status {
            group: self.inner.name.to_string(),
            me: self.inner.shared.me.to_string(),
            role,
            leader: metrics.current_leader.as_ref().map(ToString::to_string),
            term: metrics.current_term,
            last_index: metrics.last_log_index,
            committed: index(&metrics.local_committed),
            applied: index(&metrics.last_applied),
            snapshot: index(&metrics.snapshot),
            purged: index(&metrics.purged),
            voters: membership.voter_ids().map(|name| name.to_string()).collect(),
            learners: membership.learner_ids().map(|name| name.to_string()).collect(),
            joint: membership.get_joint_config().len() > 1,
            replication: replication
                .map(|(name, id)| (name.to_string(), index(id)))
                .collect(),
            quorum_ms: metrics
                .last_quorum_acked
                .map(|at| at.elapsed().as_millis() as u64),
            in_flight,
            sessions: self.inner.sessions.load(Ordering::Relaxed),
            log_bytes: self.inner.log.bytes(),
            error: metrics.running_state.as_ref().err().map(ToString::to_string),
        }
    }

    /// The terms of the entries in memory from this index on, for those who compare the logs of members.
    #[must_use]
    pub fn terms(&self, from: u64) -> Vec<(u64, u64)> {
        let entries = self.inner.log.read(from..u64::MAX, usize::MAX);
        let pair = |entry: &crate::types::Entry| (entry.log_id.index(), **entry.log_id.committed_leader_id());
        entries.iter().map(pair).collect()
    }
}
