//! What is read of a token, how fresh it is, and its place in the order of all that ended one.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use super::record::TokenRecord;

/// How fresh an answer must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Any cache within its bound.
    #[default]
    Any,
    /// The shared cache or the database, never this process's memory.
    Shared,
    /// The primary database.
    Primary,
}

/// What a look-up found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No such token.
    Unknown,
    /// A token that was revoked.
    Revoked,
    /// A token with its row, not revoked; it may be expired, or its user disabled.
    Token(Arc<TokenRecord>),
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Decided from the token's shape alone.
    TokenFormat,
    /// This process's memory.
    LocalCache,
    /// The shared cache.
    SharedCache,
    /// The database.
    Database,
}

/// A look-up's answer.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What was found.
    pub found: Found,
    /// The place in the journal that the row and the place were read at, in one statement.
    pub position: Position,
    /// Where it came from.
    pub source: Source,
    /// Upper bound on how old the underlying read is.
    pub age: Duration,
}

/// A place in the order of everything that ever ended a token: the database's
/// incarnation, and how many invalidations it had committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Names the database's incarnation; positions of two epochs do not compare.
    pub epoch: u128,
    /// Invalidations committed.
    pub seq: u64,
}

/// Why a string is not a [`Position`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a revision is one that this service returned")]
pub struct InvalidRevision;

// === impl Position ===

impl Position {
    /// Whether the other place comes later in the same epoch.
    #[must_use]
    pub fn precedes(self, other: Self) -> bool {
        self.epoch == other.epoch && self.seq < other.seq
    }
}

impl fmt::Display for Position {
    /// The `revision` of the contract: opaque to clients.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{}", self.epoch, self.seq)
    }
}

impl FromStr for Position {
    type Err = InvalidRevision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let read = || {
            let (epoch, seq) = text.split_once('-')?;
            let position = Self { epoch: u128::from_str_radix(epoch, 16).ok()?, seq: seq.parse().ok()? };
            (position.to_string() == text).then_some(position)
        };
        read().ok_or(InvalidRevision)
    }
}
