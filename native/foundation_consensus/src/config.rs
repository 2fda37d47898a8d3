//! How an engine and its groups behave.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use foundation_storage::disk::{Disk, LocalDisk};

use crate::Error;

/// Milliseconds since 1970, for the time that commands carry.
pub trait Clock: Send + Sync + 'static {
    /// The present time. May jump: what commands carry never goes back in a log all the same.
    fn now_ms(&self) -> u64;
}

/// The clock of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64)
    }
}

/// Runs the log on the clock of the runtime instead of on a thread of its own: each write takes a time drawn from the
/// seed. And bugs that a simulation must find.
#[derive(Debug, Clone, Copy)]
pub struct Simulation {
    /// The shortest time of a write.
    pub fastest: Duration,
    /// The longest time of a write.
    pub slowest: Duration,
    /// Says that a record is stored before it is.
    pub acknowledge_early: bool,
    /// A leader takes itself for a majority when it is to ask whether it still leads.
    pub ask_nobody: bool,
    /// A member agrees with every leader that asks, whatever it has promised to another since.
    pub agree_always: bool,
}

/// How an engine behaves. One engine a virtual machine: its groups share one log and one tick.
#[derive(Clone)]
pub struct EngineConfig {
    /// The name of this node, as the members of groups and the network know it.
    pub me: String,
    /// Where log and snapshots are kept. `None` keeps them in memory: a member that starts again has forgotten its
    /// votes, so that is for tests and for groups whose members never come back under the same name.
    pub dir: Option<PathBuf>,
    /// Whether a record counts as stored when the disk has confirmed it (a power cut takes nothing), or when the system
    /// took it (only the death of the process takes nothing).
    pub sync: bool,
    /// How often a leader says that it is there.
    pub heartbeat: Duration,
    /// The shortest time without a leader after which a member stands for election.
    pub election_min: Duration,
    /// The longest. Also the lease of a leader: for so long after its last word no member votes for another.
    pub election_max: Duration,
    /// How long a snapshot chunk may take to be answered.
    pub snapshot_timeout: Duration,
    /// Bytes of a snapshot that travel in one message.
    pub snapshot_chunk: usize,
    /// Bytes of log files that are kept before those no group needs are removed.
    pub log_bytes: u64,
    /// Bytes of one log file.
    pub segment_bytes: u64,
    /// The clock of the time that commands carry.
    pub clock: Arc<dyn Clock>,
    /// The file system.
    pub disk: Arc<dyn Disk>,
    /// For simulation only.
    pub simulated: Option<Simulation>,
}

impl EngineConfig {
    /// The usual behaviour for a node of this name, in memory until `dir` is set.
    pub fn new(me: impl Into<String>) -> Self {
        EngineConfig {
            me: me.into(),
            dir: None,
            sync: true,
            heartbeat: Duration::from_millis(75),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(400),
            snapshot_timeout: Duration::from_secs(5),
            snapshot_chunk: 512 << 10,
            log_bytes: 128 << 20,
            segment_bytes: 32 << 20,
            clock: Arc::new(SystemClock),
            disk: Arc::new(LocalDisk),
            simulated: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let fault = if self.me.is_empty() || self.me.len() > u16::MAX as usize {
            "the name of the node must have 1 to 65,535 bytes"
        } else if self.heartbeat < Duration::from_millis(5) {
            "the heartbeat must be 5 ms or more"
        } else if self.election_min < 2 * self.heartbeat {
            "the shortest election timeout must be two heartbeats or more"
        } else if self.election_max <= self.election_min {
            "the longest election timeout must be above the shortest"
        } else if !(1_024..=16 << 20).contains(&self.snapshot_chunk) {
            "a snapshot chunk must have 1 KiB to 16 MiB"
        } else if self.segment_bytes < 64 << 10 {
            "a log file must have 64 KiB or more"
        } else {
            return Ok(());
        };
        Err(Error::Config(fault.to_owned()))
    }
}

/// How a group behaves.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    /// Its name, the same on every member.
    pub name: String,
    /// The voters it begins with, the same on each of them. Empty: this member waits until a leader adds it. Ignored
    /// when the log of this node knows the group already.
    pub members: Vec<String>,
    /// Proposals of this node that may be on their way before `Busy`; queries are counted apart by the same number.
    pub max_in_flight: usize,
    /// Largest command in bytes.
    pub max_command: usize,
    /// A snapshot is taken after so many entries.
    pub snapshot_entries: u64,
    /// Or after so many bytes of entries: what is not yet in a snapshot is kept in memory.
    pub snapshot_bytes: u64,
    /// Entries kept beyond a snapshot, for members that are a little behind.
    pub keep_entries: u64,
}

impl GroupConfig {
    /// The usual behaviour for a group of this name and these voters.
    pub fn new(name: impl Into<String>, members: impl IntoIterator<Item = impl Into<String>>) -> Self {
        GroupConfig {
            name: name.into(),
            members: members.into_iter().map(Into::into).collect(),
            max_in_flight: 16_384,
            max_command: 4 << 20,
            snapshot_entries: 50_000,
            snapshot_bytes: 64 << 20,
            keep_entries: 2_000,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let fault = if self.name.is_empty() || self.name.len() > 1_024 {
            "the name of a group must have 1 to 1,024 bytes"
        } else if self
            .members
            .iter()
            .any(|name| name.is_empty() || name.len() > u16::MAX as usize)
        {
            "the name of a member must have 1 to 65,535 bytes"
        } else if !(1..=1 << 20).contains(&self.max_in_flight) {
            "max_in_flight must be 1 to 1,048,576"
        } else if !(1..=12 << 20).contains(&self.max_command) {
            "max_command must be 1 byte to 12 MiB"
        } else if self.snapshot_entries == 0 || self.snapshot_bytes == 0 {
            "snapshot_entries and snapshot_bytes must be 1 or more"
        } else {
            return Ok(());
        };
        Err(Error::Config(fault.to_owned()))
    }
}
