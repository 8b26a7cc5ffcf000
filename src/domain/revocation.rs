//! The end of tokens: of which, why, and how far the news has spread.

use std::time::Duration;

use super::{
    digest::{Digest, Digests, TokenId},
    reading::Position,
    record::{Timestamp, UserId},
};

/// Which token to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// By its primary key, from the secret itself.
    Digest(Digest),
    /// Likewise, where knox 4.2 may have written the row.
    Digests(Digests),
    /// By its public name.
    Id(TokenId),
}

/// Why tokens are ended; kept with the token (after RFC 5280, section 5.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RevocationCause {
    /// Not given.
    #[default]
    Unspecified,
    /// The owner signed out.
    SignedOut,
    /// The secret leaked, or may have.
    KeyCompromise,
    /// Replaced by another token.
    Superseded,
    /// An administrator withdrew it.
    PrivilegeWithdrawn,
}

/// When and why tokens are ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending {
    /// When.
    pub at: Timestamp,
    /// Why.
    pub cause: RevocationCause,
}

/// A committed change that ended tokens, and how far the news has spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    /// How many active tokens this call ended.
    pub count: u64,
    /// The tokens whose cached facts are outdated by it.
    pub ended: Vec<TokenId>,
    /// Whose the one token was that this call was to end; `None` when it had ended before, or several were.
    pub owner: Option<UserId>,
    /// A place in the journal at or after the change.
    pub position: Position,
    /// How far it has spread.
    pub propagation: Propagation,
}

/// How far a change has spread when the call returns. The database has committed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// Every cache that answers come from has been told.
    Complete,
    /// A cache could not be told yet; it is being retried.
    Pending {
        /// No answer after this long can be the old one.
        max_staleness: Duration,
    },
}

// === impl RevocationCause ===

impl RevocationCause {
    /// As the contract names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "UNSPECIFIED",
            Self::SignedOut => "SIGNED_OUT",
            Self::KeyCompromise => "KEY_COMPROMISE",
            Self::Superseded => "SUPERSEDED",
            Self::PrivilegeWithdrawn => "PRIVILEGE_WITHDRAWN",
        }
    }
}

// === impl Target ===

impl Target {
    /// Whether it means the token of this row.
    #[must_use]
    pub fn names(&self, digest: Digest) -> bool {
        match self {
            Self::Digest(named) => *named == digest,
            Self::Digests(named) => named.names(digest),
            Self::Id(named) => *named == digest.token_id(),
        }
    }

    /// The public names that it may stand for, of which the first is the one it has from now on.
    #[must_use]
    pub fn token_ids(&self) -> Vec<TokenId> {
        match self {
            Self::Digest(digest) => vec![digest.token_id()],
            Self::Digests(digests) => digests.all().map(Digest::token_id).collect(),
            Self::Id(id) => vec![*id],
        }
    }
}

impl From<Digests> for Target {
    fn from(digests: Digests) -> Self {
        if digests.legacy.is_some() { Self::Digests(digests) } else { Self::Digest(digests.current) }
    }
}
