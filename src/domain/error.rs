//! What can go wrong, in the terms of the contract; `transport/status.rs` gives each its status.

use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

/// Why a token is not active. An answer, not an error of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InactiveReason {
    /// Not a token this service could have issued.
    Malformed,
    /// No such token.
    Unknown,
    /// Past its expiry.
    Expired,
    /// Revoked.
    Revoked,
    /// Its user is disabled or gone.
    UserDisabled,
    /// It lacks a required scope.
    ScopeMissing,
}

/// A field of a request that breaks the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path from the request, as `google.rpc.BadRequest` spells it: `requests[3].token`.
    pub field: String,
    /// What is wrong and what would be right. Never the value, which may be a secret.
    pub description: String,
}

/// What a request named and was not found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A token, by its `token_id`.
    Token,
    /// A user, by its `user_id`.
    User,
}

/// Why a call has no answer.
///
/// `source` is for logs; what the caller is told is fixed text in `transport/status.rs`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request breaks the contract.
    #[error("the request breaks the contract: {0:?}")]
    Invalid(Vec<Violation>),
    /// No such token or user.
    #[error("no such {0:?}")]
    NotFound(Subject),
    /// The user is disabled, so a token would not be active.
    #[error("the user is disabled")]
    UserDisabled,
    /// The token has ended, or has a successor.
    #[error("the token has ended, or was rotated already")]
    TokenEnded,
    /// The user has as many live tokens as allowed.
    #[error("the user has {limit} live tokens, as many as allowed")]
    LimitReached {
        /// How many are allowed.
        limit: u32,
    },
    /// `request_id` was used with another body.
    #[error("request_id was used with another body")]
    RequestIdReused,
    /// What was asked for needs a change that this database's schema has no place for.
    #[error("not in this schema: {0}")]
    Unsupported(&'static str),
    /// The database gave no answer and no cache could. Safe to retry.
    #[error("the database gave no answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The caller has asked for too many tokens that are not active. Safe to retry after the time given.
    #[error("the caller's quota of look-ups for tokens that are not active is used up")]
    RateLimited {
        /// When to try again.
        retry_after: Duration,
    },
    /// Load is being shed. Safe to retry after the time given.
    #[error("too many look-ups are under way")]
    Overloaded {
        /// When to try again.
        retry_after: Duration,
    },
}

// === impl Error ===

impl Error {
    /// One field that breaks the contract.
    #[must_use]
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation { field: field.into(), description: description.into() }])
    }

    /// The same error for one of several callers.
    #[must_use]
    pub fn shared(error: &Arc<Self>) -> Self {
        match &**error {
            Self::Invalid(violations) => Self::Invalid(violations.clone()),
            Self::NotFound(subject) => Self::NotFound(*subject),
            Self::UserDisabled => Self::UserDisabled,
            Self::TokenEnded => Self::TokenEnded,
            Self::LimitReached { limit } => Self::LimitReached { limit: *limit },
            Self::RequestIdReused => Self::RequestIdReused,
            Self::Unsupported(what) => Self::Unsupported(what),
            Self::Unavailable(_) => Self::Unavailable(Box::new(Shared(Arc::clone(error)))),
            Self::RateLimited { retry_after } => Self::RateLimited { retry_after: *retry_after },
            Self::Overloaded { retry_after } => Self::Overloaded { retry_after: *retry_after },
        }
    }
}

/// An error that several callers have in common.
#[derive(Debug)]
struct Shared(Arc<Error>);

// === impl Shared ===

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Shared {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_error_keeps_its_kind_and_its_source() {
        let shared = Error::shared(&Arc::new(Error::Unavailable(Box::new(Error::UserDisabled))));
        let Error::Unavailable(source) = &shared else { panic!("another kind: {shared:?}") };
        assert_eq!(source.source().expect("a source").to_string(), Error::UserDisabled.to_string());
    }
}
