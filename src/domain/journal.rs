//! The journal of everything that ended a token, as the database keeps it.
//!
//! Triggers append a [`Record`] in the transaction that ends a token; it gets its number
//! later, in commit order. A fact that was read at sequence `s` reflects every record
//! with a number of at most `s`, and none without a number.

use std::future::Future;

use super::{
    digest::TokenId,
    error::Error,
    reading::Position,
    record::{Timestamp, UserId},
};

/// The journal of one database. Implemented by the store.
///
/// # Cancel safety
/// The caller drops a future that takes too long. What the call does in the database
/// then happens wholly or not at all, and no later call sees anything of its answer.
pub trait Journal: Send + Sync + 'static {
    /// Reads the clock and the records after a place, in one statement: every record
    /// that was committed before the call and has no number, or a greater one than `after`.
    ///
    /// `None`, or a place in another epoch: everything that is retained.
    ///
    /// # Errors
    /// Any: nothing is known then.
    fn poll(&self, after: Option<Position>) -> impl Future<Output = Result<Poll, Error>> + Send;

    /// Numbers the records that have no number, and returns how many those were.
    ///
    /// # Errors
    /// Any; it is tried again while a poll shows a record without a number.
    fn sequence(&self) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Removes all but the newest `keep` records, raising the floor, and returns how many it removed.
    ///
    /// # Errors
    /// Any; it is tried again later.
    fn purge(&self, keep: u64) -> impl Future<Output = Result<u64, Error>> + Send;

    /// Whether the triggers that write the journal are there and enabled.
    ///
    /// # Errors
    /// When that could not be found out. That they are missing is an answer, not an error.
    fn intact(&self) -> impl Future<Output = Result<Triggers, Error>> + Send;

    /// Stores and deletes a token in one transaction, so that nobody ever sees it, and gives
    /// its id: a poll that begins after this call must show a record of it, or ends of tokens go
    /// unrecorded. `None` where there is no user, and so no token to lose.
    ///
    /// # Errors
    /// Any: nothing is known then.
    fn canary(&self) -> impl Future<Output = Result<Option<TokenId>, Error>> + Send;

    /// Writes a record of [`Ended::Everything`] and numbers it, so that every fact is proved again on every replica.
    ///
    /// # Errors
    /// Any; it is tried again while it is needed. A second such record does no harm.
    fn note_everything(&self) -> impl Future<Output = Result<(), Error>> + Send;

    /// Waits until the journal may have changed since the last such wait; for ever where nothing
    /// tells. A hint: it may come without a change, late, or not at all. For one caller at a time.
    fn changed(&self) -> impl Future<Output = ()> + Send;
}

/// What one statement found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The epoch, and the greatest number given in it.
    pub position: Position,
    /// Records below it may have been purged, so facts below it have to be proved again.
    pub floor: u64,
    /// The database's time.
    pub now: Timestamp,
    /// What answered.
    pub role: Role,
    /// The records, in any order.
    pub records: Vec<Record>,
}

/// What kind of server answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The one that takes writes.
    Primary,
    /// One that only follows, or that takes no writes for another reason.
    Replica,
}

/// A committed change that ended tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number; `None` until it has one, and it counts as greater than any then.
    pub seq: Option<u64>,
    /// What ended.
    pub ended: Ended,
}

/// What a [`Record`] outdates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Ended {
    /// Facts about this token.
    Token(TokenId),
    /// Facts about every token of this user.
    User(UserId),
    /// Every fact.
    Everything,
}

/// Whether changes are recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Triggers {
    /// They are.
    Enabled,
    /// Some are not; the text names the triggers.
    Missing(String),
}
