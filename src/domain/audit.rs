//! What was done, by whom, and how it ended: the records of the audit trail.

use std::{fmt, future::Future, sync::Arc};

use uuid::Uuid;

use super::{
    digest::TokenId,
    error::Error,
    record::{Timestamp, UserId},
    revocation::RevocationCause,
};

/// One record. It holds no secret: a token is named by its `token_id`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Names the record, so that none is stored twice; grows with time (RFC 9562, version 7).
    pub id: Uuid,
    /// When it ended.
    pub time: Timestamp,
    /// What was called.
    pub event: AuditEvent,
    /// Who called.
    pub who: Who,
    /// What it was about, as far as that became known.
    pub what: What,
    /// How it ended.
    pub outcome: Outcome,
    /// Refused calls of this kind that no record was made of, since the last one that was.
    pub suppressed: u64,
}

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuditEvent {
    /// A token was, or was to be, issued.
    IssueToken,
    /// One token was to end.
    Revoke,
    /// All tokens of a user were to end.
    RevokeAll,
    /// A token's label or expiry was to change.
    UpdateToken,
    /// A token was to be replaced.
    RotateToken,
    /// A user was to be made or changed.
    UpsertUser,
    /// A user was to be removed, with all tokens.
    DeleteUser,
    /// Every cached fact was to be proved again.
    FlushCache,
    /// A call was not let through, whatever its method.
    CallRefused,
    /// A token of another program was, or was to be, made good here by `tokenward import`.
    ImportToken,
}

/// Who called, and from where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Who {
    /// The caller's name; empty where it has none, or is not known.
    pub caller: Arc<str>,
    /// `ADDRESS:PORT`, `unix:uid=NUMBER`, or `cli:uid=NUMBER` for a command on this host; an `ADDRESS`, or a `/64`, alone where it stands for several calls.
    pub peer: String,
    /// The names in the certificate that it showed, with a space between them; empty without one.
    pub certificate: String,
    /// Its `x-request-id`; empty without one.
    pub request_id: String,
}

/// What a call was about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct What {
    /// The token.
    pub token_id: Option<TokenId>,
    /// The token that takes its place.
    pub successor: Option<TokenId>,
    /// The owner.
    pub user_id: Option<UserId>,
    /// How many active tokens it ended.
    pub revoked: Option<u64>,
    /// Why.
    pub cause: Option<RevocationCause>,
    /// Whether the user is to be active, where that was asked for.
    pub user_active: Option<bool>,
    /// The method of a call that was refused, such as `TokenService/Revoke`; `unknown` for none of ours.
    pub method: Option<&'static str>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// gRPC's name of its status code, such as `OK` or `NOT_FOUND`.
    pub code: &'static str,
    /// The reason of its `google.rpc.ErrorInfo`; empty when it is OK and the caller was told so.
    pub reason: String,
}

/// The reason of what was done although its caller could not be told.
const CALLER_NOT_TOLD: &str = "CALLER_NOT_TOLD";

/// Where records are kept. Implemented by the store.
pub trait AuditTrail: Send + Sync + 'static {
    /// Adds records. Those that are there already are left.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: some may have been added; a retry is safe. It does not tell a table that is away from one
    /// that takes other records than these.
    ///
    /// # Cancel safety
    /// Once polled, it runs to its end whether or not the future is dropped.
    fn append(&self, records: Vec<AuditRecord>) -> impl Future<Output = Result<(), Error>> + Send;
}

// === impl AuditEvent ===

impl AuditEvent {
    /// The method's name in the contract.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::IssueToken => "IssueToken",
            Self::Revoke => "Revoke",
            Self::RevokeAll => "RevokeAll",
            Self::UpdateToken => "UpdateToken",
            Self::RotateToken => "RotateToken",
            Self::UpsertUser => "UpsertUser",
            Self::DeleteUser => "DeleteUser",
            Self::FlushCache => "FlushCache",
            Self::CallRefused => "CallRefused",
            Self::ImportToken => "ImportToken",
        }
    }
}

impl fmt::Display for AuditEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl Outcome ===

impl Outcome {
    /// It was done.
    #[must_use]
    pub fn ok() -> Self {
        Self { code: "OK", reason: String::new() }
    }

    /// Nobody waited for the answer any more, and nothing had been done.
    #[must_use]
    pub fn cancelled() -> Self {
        Self { code: "CANCELLED", reason: String::new() }
    }

    /// The same, of a call whose deadline had passed, or whose caller had gone: it was told something else, or nothing.
    #[must_use]
    pub fn untold(self) -> Self {
        let reason = if self.code == "OK" { CALLER_NOT_TOLD.to_owned() } else { self.reason };
        Self { reason, ..self }
    }
}
