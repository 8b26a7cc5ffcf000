//! What the database says has ended: records of its journal, as one look finds them.

use super::{
    ports::Position,
    record::{Timestamp, UserId},
    token::Digest,
};

/// One look at the journal, all of it from one snapshot of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll {
    /// How far the journal is numbered. A replica's names no epoch that a primary has.
    pub position: Position,
    /// Facts stamped below it have to be proved again: the journal no longer says what became of them.
    pub floor: u64,
    /// The database's time.
    pub now: Timestamp,
    /// Who answered.
    pub role: Role,
    /// What is new, in no order.
    pub records: Vec<Record>,
}

/// Who answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// The server that takes writes.
    Primary,
    /// One that follows another, or that is read-only: what it holds may be old.
    Replica,
}

/// Something that has ended, or changed so that facts about it are outdated.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Facts stamped below it are outdated; `None`: not numbered yet, it outdates every fact there is.
    pub seq: Option<u64>,
    /// What it is about.
    pub subject: EndedSubject,
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndedSubject {
    /// One token.
    Token(Digest),
    /// All of a user's tokens.
    User(UserId),
    /// Every token, also where a record cannot be read.
    Everything,
}
