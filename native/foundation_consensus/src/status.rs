//! How a group is doing.

/// What a member is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes in commands.
    Leader,
    /// It follows a leader.
    Follower,
    /// It stands for election.
    Candidate,
    /// It gets the log and has no vote.
    Learner,
    /// It has stopped: `Status::error` says why.
    Stopped,
}

/// Who leads, as far as this member knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leader {
    /// The leader, when there is one that this member follows or is.
    pub node: Option<String>,
    /// The term.
    pub term: u64,
}

/// How a group is doing, seen from one member. Indexes are places in the log, from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The group.
    pub group: String,
    /// This member.
    pub me: String,
    /// What it is.
    pub role: Role,
    /// Who leads.
    pub leader: Option<String>,
    /// The term.
    pub term: u64,
    /// The last entry of the log here.
    pub last_index: Option<u64>,
    /// The last entry this member knows to be committed.
    pub committed: Option<u64>,
    /// The last entry its machine has applied.
    pub applied: Option<u64>,
    /// The last entry in the snapshot.
    pub snapshot: Option<u64>,
    /// The last entry removed from the log.
    pub purged: Option<u64>,
    /// The voters; in a joint membership those of both.
    pub voters: Vec<String>,
    /// Members without a vote.
    pub learners: Vec<String>,
    /// Whether a change of the voters is under way.
    pub joint: bool,
    /// On the leader: the last entry each other member is known to have.
    pub replication: Vec<(String, Option<u64>)>,
    /// On the leader: milliseconds since a majority has answered.
    pub quorum_ms: Option<u64>,
    /// Proposals of this node on their way.
    pub in_flight: usize,
    /// Clients with remembered replies.
    pub sessions: usize,
    /// Bytes of entries in memory.
    pub log_bytes: u64,
    /// Why the member has stopped.
    pub error: Option<String>,
}
