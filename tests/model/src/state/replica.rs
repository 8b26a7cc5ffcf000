//! One replica: its view and lease, its poll, its calls.

use super::{Position, View};
use crate::protocol::Ticks;

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    /// How long ago the poll was sent whose lease was published last.
    pub lease_age: Ticks,
    /// The records that it knows.
    pub view: View,
    /// The poll in progress.
    pub poll: Poll,
    /// Whether its last poll succeeded.
    pub reaches_database: bool,
    /// The fact in its own memory.
    pub memory: Option<Position>,
    /// The shared database read in progress.
    pub flight: Flight,
    /// The Authenticate calls in progress.
    pub calls: [Option<Call>; 2],
    /// How many more may begin.
    pub calls_left: u8,
}

/// A poll of the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Poll {
    /// None is in progress.
    Idle,
    /// Sent and read that long ago; its answer is on the way.
    Answered(Ticks, View),
    /// As above; the first half is published.
    HalfPublished(Ticks, View),
}

/// A shared read of the token's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flight {
    /// None is in progress.
    Idle,
    /// Sent; the database has not seen it.
    Sent,
    /// The database answered: a fact, or that the token is not good.
    Answered(Option<Position>),
}

/// One Authenticate call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// Which answers are right.
    pub standing: Standing,
    /// How far it has got.
    pub stage: Stage,
    /// Strict mode: the poll that it waits for.
    pub cover: Cover,
    /// Whether it began before the flight in progress was sent.
    pub before_flight: bool,
}

/// Which answers to a call are right, judged by the database during the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Valid so far: a refusal is wrong.
    Valid,
    /// It changed during the call: either answer is right.
    Changed,
    /// Ended before the call began.
    Ended {
        /// How long before.
        since: Since,
        /// Whether Revoke had answered COMPLETE by then.
        complete: bool,
    },
}

/// How long before a call the token had ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Since {
    /// Less than `L`.
    Recently,
    /// At least `L`, less than `L + G`.
    PastLease,
    /// At least `L + G`.
    PastGrace,
}

/// How far a call has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It is about to look for a fact.
    Begun,
    /// It has a fact with this stamp; no test is done.
    Found(Position),
    /// Its fact passed the first of two tests, by this right.
    HalfTested(Position, Right),
    /// It needs the database.
    Missed,
}

/// By which right a call accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// A valid lease, or what the protocol takes for one.
    Lease,
    /// A lease that lapsed while the database cannot be reached.
    Grace,
    /// The database itself.
    Database,
}

/// Strict mode: the poll that a call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cover {
    /// Not in strict mode: it goes by the lease.
    Needless,
    /// It has not been sent.
    Wanted,
    /// It is under way.
    Underway,
    /// It has been published.
    Done,
}

// === impl Replica ===

impl Replica {
    /// Whether nothing that happens to it can be seen in an answer any more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.calls_left == 0 && self.calls.iter().all(Option::is_none)
    }
}
