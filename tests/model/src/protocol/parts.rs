//! Each part of the protocol, with what a mutant puts in its place.

use super::Ticks;

/// What a fact is stamped with, and what numbers a journal record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    /// No journal at all: the usual cache.
    Absent,
    /// The journal's position, read in one statement with the row; records are
    /// numbered after their commit (I1).
    CommitOrder,
    /// An auto-increment id, taken at INSERT: a record may commit after a record
    /// with a higher id.
    InsertOrder,
}

/// How a hit is tested before it is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// The lease, then the view (I3).
    LeaseThenView,
    /// The view, then the lease: a poll may land between the two.
    ViewThenLease,
    /// The view alone, however old it is.
    ViewOnly,
    /// `L` = 0: a poll that begins after the call, then the view.
    Strict,
    /// As `Strict`, but a poll that is already under way will do.
    StrictJoinsPoll,
}

/// In which order a poll publishes what it read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    /// In one step. For a hit that reads the lease first this is the same as
    /// `ViewThenLease`, as a run of its own shows.
    AtOnce,
    /// The view first, the lease second (I3).
    ViewThenLease,
    /// The lease first: for a moment it vouches for the older view.
    LeaseThenView,
}

/// From which moment a lease of length `L` counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseStart {
    /// Before the poll is sent (I2).
    BeforeSending,
    /// When its answer is applied: a commit in between is older than it seems.
    AtAnswer,
}

/// What a revocation writes to the token's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A value that `put` does not replace, for that long (I4: at least `L + G`).
    Tombstone(Ticks),
    /// DEL: the key is free for the fill of a call that read before the commit.
    Delete,
}

/// What `put` does when the key holds a tombstone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It leaves it (I4).
    KeepsTombstone,
    /// It is a plain SET.
    Overwrites,
}

/// `revoke_ack`: when an acknowledged tombstone is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// At once: Redis is trusted to keep what it acknowledged.
    Cache,
    /// Never: always wait, and trust Redis for nothing.
    Lease,
}

/// What is answered when the wait `L` after the commit is over (I5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barrier {
    /// COMPLETE without grace, PENDING with it.
    Waits,
    /// There is no wait: COMPLETE although Redis failed.
    Skipped,
    /// COMPLETE even with grace, when facts may still be used for `G`.
    ForgetsGrace,
}

/// What a revocation does whose statement changed no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// All of it again: tombstone, and the wait if that fails.
    Repeats,
    /// The wait alone: a second `RevokeAll` no longer finds the digests to mark.
    Waits,
    /// Nothing: "there is no such token" is answered as COMPLETE.
    AnswersAtOnce,
}

/// What follows a tombstone that was not acknowledged (a full Redis refuses a
/// write but obeys a delete).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Delete the key unless it holds a tombstone.
    DeleteFact,
    /// DEL: it may arrive late and remove the tombstone of a retry.
    Delete,
}

/// Facts in the replica's own memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// None are kept.
    Empty,
    /// They are kept, and no tombstone reaches them (I7).
    Facts,
}

/// How calls of one replica share a read of the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flights {
    /// Not at all. With one call at a time this is the same as sharing.
    Alone,
    /// A call uses a read only if it began before the read was sent; otherwise
    /// it goes back to the cache when that read has returned.
    Shared,
    /// A call uses whichever read returns next.
    LateJoin,
}

/// What a purge of old journal records leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    /// A floor: facts stamped below it are proved again (I6).
    RaisesFloor,
    /// Nothing.
    Forgets,
}
