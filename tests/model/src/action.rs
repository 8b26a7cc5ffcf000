//! One variant for each step of the protocol, and of what surrounds it. Between
//! any two of them anything else may happen.

use crate::state::Position;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The clock advances by one tick for everybody.
    Tick,
    /// A step of the poll of this replica.
    Poll(usize, PollStep),
    /// A step of the Authenticate call in this slot of this replica.
    Call(usize, usize, CallStep),
    /// A step of the shared database read of this replica.
    Flight(usize, FlightStep),
    /// `put`: a fact that a replica has read reaches Redis, however late.
    Put(Position),
    /// A step of Revoke.
    Revoke(RevokeStep),
    /// A step of the journal's upkeep.
    Journal(JournalStep),
    /// A step of a writer that never calls the service.
    Write(WriteStep),
}

/// **Poll**: each replica, again and again, on its own connection to the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollStep {
    /// `T0 = now`, then the statement is sent and executed: one snapshot of
    /// position, records and floor. The model does this in one moment: a poll that
    /// is executed later has the same records, and a shorter lease, as one that is
    /// sent later.
    Reads,
    /// The answer has arrived: the view and `lease := T0 + L` are published. Calls
    /// that wait for the lease go on.
    Publishes,
    /// The same in two steps: "view first" ...
    PublishesFirstHalf,
    /// ... "lease second".
    PublishesSecondHalf,
    /// The database cannot be reached.
    Fails,
}

/// **Authenticate**.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStep {
    /// The call begins. What is right to answer is judged from here on.
    Begins,
    /// `v = GETRANGE key(d) 0 N`, in a Redis that keeps its word.
    Gets,
    /// The same in a Redis that does not: any fact that ever existed.
    GetsAny(Position),
    /// The same, failing, or finding nothing where there was something.
    GetsNothing,
    /// The replica's own memory is asked instead of Redis.
    FindsInMemory,
    /// "lease first": a call whose lease has lapsed has no such step until a poll
    /// has renewed the lease, or failed while grace lasts (it is parked).
    TakesFirstTest,
    /// "then the view": accept, or go to the database.
    TakesSecondTest,
    /// "one statement on the primary reads clock, token and user together": its
    /// snapshot decides, and becomes a fact to put.
    ReadsDatabase,
    /// The same, when calls share: the read is sent for whoever waits.
    SendsFlight,
}

/// A database read that several calls of one replica share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlightStep {
    /// The database executes it.
    IsRead,
    /// The answer has arrived: it is every waiting call's that began before the
    /// read was sent; the others go back to the cache.
    Returns,
}

/// **Revoke**.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokeStep {
    /// The transaction takes the record's auto-increment id (a mutant's stamp).
    Inserts,
    /// 1. Delete the row, append the record, COMMIT: the linearization point.
    Commits,
    /// 2. The tombstone is set and acknowledged. 3. COMPLETE, or wait.
    MarksRedis,
    /// 2. The tombstone is not set. 3. Try to delete; wait.
    FailsToMark,
    /// 2. The tombstone is set, the acknowledgement is lost. 3. As above.
    MarksUnheard,
    /// The fallback delete reaches Redis.
    DeleteArrives,
    /// 3. `L` has passed since the commit: COMPLETE, or PENDING with grace.
    EndsWait,
    /// The service is killed.
    Dies,
    /// The client asks again, after silence or after PENDING: no row changes.
    Retries,
}

/// The journal's upkeep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalStep {
    /// The sequencer locks the clock and numbers a committed record.
    Numbers(usize),
    /// A numbered record is removed, and the floor raised to its number.
    Purges(usize),
}

/// A writer that never calls the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteStep {
    /// It switches the user off: the trigger appends a record.
    SwitchesOff,
    /// It switches the user on: no record, since no fact says otherwise.
    SwitchesOn,
    /// It changes an attribute that answers carry: a record.
    Renames,
    /// It revokes another token: the journal's position moves on.
    RevokesAnother,
}
