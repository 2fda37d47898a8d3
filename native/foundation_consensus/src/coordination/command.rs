//! What members agree on, what comes back to the one who asked, and what others are told.

use serde::{Deserialize, Serialize};

/// The name of a lock, an election and the like: bytes that its users agree on.
pub type Name = Vec<u8>;
/// A value, opaque here.
pub type Bytes = Vec<u8>;

/// What something is held or awaited under: a number that the session's node gives once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Hold {
    /// The session.
    pub session: u64,
    /// The number within it.
    pub number: u64,
}

/// The kinds of things; each has names of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// One holder.
    Lock,
    /// One writer (of weight [`Command::WRITE`]) or any number of readers (of weight 1).
    RwLock,
    /// As many permits as were defined.
    Semaphore,
    /// One leader among candidates.
    Election,
    /// Opens when enough have arrived, and is closed again at once.
    Barrier,
    /// As a barrier; who was let in leaves together with the others.
    DoubleBarrier,
    /// Values in order, bounded.
    Queue,
    /// A value with a version.
    Value,
}

/// What must be there for a value to be changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expect {
    /// Anything.
    Any,
    /// Nothing.
    Absent,
    /// This version.
    Version(u64),
}

/// What is agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are named by what they hold")]
pub enum Command {
    /// Time goes on: sessions and leases that have ended are ended.
    Tick,
    /// Begins a session of a node; done as well when it has begun before.
    Open { session: u64, node: String, ttl_ms: u64 },
    /// The session lives for its time from now.
    KeepAlive { session: u64 },
    /// Ends a session and gives back what is under its holds.
    Close { session: u64 },
    /// Gives back what is under the holds, of whatever kind.
    Drop { holds: Vec<Hold> },
    /// Gives a semaphore its permits, a barrier its parties, a queue its room.
    Define { kind: Kind, name: Name, size: u32 },
    /// Forgets a definition that nobody uses.
    Remove { kind: Kind, name: Name },
    /// Asks for a lock, or for permits. `lease_ms` 0: as long as the session.
    Acquire {
        kind: Kind,
        name: Name,
        hold: Hold,
        weight: u32,
        lease_ms: u64,
        wait: bool,
    },
    /// The lease lasts that long from now.
    Renew { hold: Hold, lease_ms: u64 },
    /// Gives a lock or permits back.
    Release { hold: Hold },
    /// Stands for election.
    Campaign {
        name: Name,
        hold: Hold,
        priority: i32,
        preempt: bool,
        metadata: Bytes,
    },
    /// Changes the metadata of a candidate.
    Describe { hold: Hold, metadata: Bytes },
    /// Arrives at a barrier.
    Enter { kind: Kind, name: Name, hold: Hold },
    /// Leaves a double barrier.
    Leave { hold: Hold },
    /// Appends to a queue.
    Push { name: Name, value: Bytes },
    /// Takes the first value of a queue; it comes back to the front when the hold is given back before it is acknowledged.
    Take { name: Name, hold: Hold, wait: bool },
    /// The value that was taken is done with.
    Acknowledge { hold: Hold },
    /// Adds to a counter.
    Add { name: Name, by: i64 },
    /// Sets a counter, when it has the expected value or none is expected.
    SetCounter {
        name: Name,
        value: i64,
        expect: Option<i64>,
    },
    /// The next numbers of a sequence.
    Next { name: Name, count: u64 },
    /// Sets a value; with a hold, until that is given back.
    Put {
        key: Name,
        value: Bytes,
        expect: Expect,
        hold: Option<Hold>,
    },
    /// Removes a value.
    Delete { key: Name, expect: Expect },
}

impl Command {
    /// The weight of a writer.
    pub const WRITE: u32 = u32::MAX;
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are named by what they hold")]
pub enum Reply {
    /// It is done.
    Done,
    /// It is held, or the barrier is open; `wanted`: others wait for it.
    Granted { token: u64, wanted: bool },
    /// It is awaited, behind that many.
    Queued { ahead: u64 },
    /// It is held by others, and `wait` was not set.
    Taken,
    /// The counter's value now.
    Number(i64),
    /// The counter's value, which was not the expected one.
    Unexpected(i64),
    /// The numbers are `first..first + count`.
    Range { first: u64, count: u64 },
    /// A value was taken.
    Item { token: u64, value: Bytes },
    /// The queue has none.
    Empty,
    /// The version of the value that was set or removed.
    Version(u64),
    /// What is there instead of what was expected; version 0 is nothing.
    Conflict { version: u64, value: Option<Bytes> },
    /// Nothing was done.
    Refused(Refusal),
}

/// Why nothing was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The session has ended, or has never begun.
    NoSession,
    /// Nothing of that name was defined.
    Undefined,
    /// It was defined with this size.
    Mismatch(u32),
    /// The hold holds nothing of that kind.
    NotHeld,
    /// The hold is under something else.
    HoldInUse,
    /// The result is no 64-bit number.
    Overflow,
    /// There is no room.
    Full,
    /// A name or a value is too large.
    TooLarge,
    /// The command makes no sense.
    Malformed,
    /// Somebody uses it.
    InUse,
}

/// What a node is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named by what they hold")]
pub enum Event {
    /// About something under a hold of its own.
    Hold { hold: Hold, what: What },
    /// Everything under a session of its own, after some events may have been missed.
    Holdings {
        session: u64,
        /// What is held, and by what token.
        held: Vec<(u64, u64)>,
        /// Numbers of the holds that wait.
        waiting: Vec<u64>,
    },
    /// The leader of an election, told to everyone.
    Leader {
        name: Name,
        leader: Option<Hold>,
        node: Option<String>,
        token: u64,
        metadata: Bytes,
    },
    /// A value was set or removed, told to everyone.
    Value {
        key: Name,
        version: u64,
        value: Option<Bytes>,
    },
}

/// What became of something under a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named by what they hold")]
pub enum What {
    /// The wait is over.
    Granted { token: u64, wanted: bool },
    /// A value for who waited for one.
    Item { token: u64, value: Bytes },
    /// Another one waits for what is held here.
    Wanted,
    /// Nothing is under the hold any more.
    Lost(Loss),
}

/// Why something was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The session has ended.
    Session,
    /// The lease has ended.
    Lease,
    /// A candidate of a higher priority leads; this one is a candidate still.
    Deposed,
}
