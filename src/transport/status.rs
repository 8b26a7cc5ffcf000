//! The only place that makes a [`tonic::Status`].
//!
//! Every status that is not OK carries a `google.rpc.ErrorInfo` whose reason is one of
//! the contract's `ErrorReason` and whose domain is `tokenward.v1`. Messages are fixed
//! texts: what went wrong inside goes to the log.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    callers::Refused,
    domain::{Error, Subject, Violation, WatchEnd},
    proto::ErrorReason,
};

/// `google.rpc.ErrorInfo.domain`.
pub const ERROR_DOMAIN: &str = "tokenward.v1";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        tracing::debug!(error = &error as &dyn std::error::Error, "the call has no answer");
        match error {
            Error::Invalid(violations) => invalid(violations),
            Error::NotFound(Subject::Token) => plain(Code::NotFound, "no such token", ErrorReason::NotFound),
            Error::NotFound(Subject::User) => plain(Code::NotFound, "no such user", ErrorReason::NotFound),
            Error::UserDisabled => plain(
                Code::FailedPrecondition,
                "the user is disabled; enable it before a token is issued to it",
                ErrorReason::UserDisabled,
            ),
            Error::TokenEnded => plain(
                Code::FailedPrecondition,
                "the token has ended, or was rotated already; what was asked would bring it back",
                ErrorReason::TokenEnded,
            ),
            Error::LimitReached { limit } => limit_reached(limit),
            Error::RequestIdReused => plain(
                Code::AlreadyExists,
                "request_id was used with another request; choose a new one",
                ErrorReason::RequestIdReused,
            ),
            Error::Unsupported(what) => plain(Code::FailedPrecondition, what, ErrorReason::SchemaUnsupported),
            Error::Unavailable(_) => plain(
                Code::Unavailable,
                "the database gave no answer and no cache could; retry with backoff",
                ErrorReason::StoreUnavailable,
            ),
            Error::RateLimited { retry_after } => rate_limited(retry_after),
            Error::Overloaded { retry_after } => overloaded(retry_after),
        }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Unauthenticated => unauthenticated(),
            Refused::NotAllowed(_) => not_allowed(),
        }
    }
}

impl From<WatchEnd> for Status {
    fn from(end: WatchEnd) -> Self {
        match end {
            WatchEnd::StartOver => plain(
                Code::OutOfRange,
                "what ended since that revision cannot be told; drop what is cached and watch without start_revision",
                ErrorReason::StartOver,
            ),
            WatchEnd::Slow => plain(
                Code::ResourceExhausted,
                "the events were not read as fast as they came; watch anew from the last revision",
                ErrorReason::SlowReader,
            ),
            WatchEnd::Lost => plain(
                Code::Unavailable,
                "this replica cannot read what ends; watch anew from the last revision",
                ErrorReason::StoreUnavailable,
            ),
        }
    }
}

/// A request whose fields break the contract.
fn invalid(violations: Vec<Violation>) -> Status {
    let mut details = info(ErrorReason::InvalidRequest);
    for Violation { field, description } in violations {
        details.add_bad_request_violation(field, description);
    }
    Status::with_error_details(
        Code::InvalidArgument,
        "the request breaks the contract; see its field violations",
        details,
    )
}

/// A request that could not be read at all.
pub(super) fn unreadable(why: &str) -> Status {
    plain(Code::InvalidArgument, why, ErrorReason::InvalidRequest)
}

/// Load is being shed.
pub(super) fn overloaded(retry_after: Duration) -> Status {
    let mut details = info(ErrorReason::Overloaded);
    details.set_retry_info(Some(retry_after));
    Status::with_error_details(Code::Unavailable, "too many requests are under way; retry with backoff", details)
}

/// The process ends.
pub(super) fn draining() -> Status {
    plain(Code::Unavailable, "this replica is shutting down; ask another one", ErrorReason::Draining)
}

/// The caller's look-ups have found too few active tokens.
fn rate_limited(retry_after: Duration) -> Status {
    let mut details = info(ErrorReason::RateLimited);
    details.set_retry_info(Some(retry_after));
    let message = "this caller has asked for too many tokens that are not active; retry after the time given";
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// No caller credential, or a wrong one.
fn unauthenticated() -> Status {
    let message = "this call needs a caller's credential: a key as `authorization: Bearer`, or a certificate";
    plain(Code::Unauthenticated, message, ErrorReason::CallerUnauthenticated)
}

/// The caller is known, and the method is not among its own.
fn not_allowed() -> Status {
    plain(Code::PermissionDenied, "this caller may not use this method", ErrorReason::CallerNotAllowed)
}

/// The shorter of the caller's and the server's deadline passed.
pub(super) fn deadline_exceeded() -> Status {
    plain(Code::DeadlineExceeded, "the deadline passed before there was an answer", ErrorReason::DeadlineExceeded)
}

/// No such method.
pub(super) fn unimplemented() -> Status {
    plain(Code::Unimplemented, "no such method in this version", ErrorReason::MethodUnknown)
}

/// The request is compressed. The code is gRPC's for it (compression.md of its specification).
pub(super) fn uncompressed_only() -> Status {
    plain(Code::Unimplemented, "compressed requests are not taken; send it uncompressed", ErrorReason::InvalidRequest)
}

fn limit_reached(limit: u32) -> Status {
    let mut details = info(ErrorReason::TokenLimitReached);
    details.add_quota_failure_violation("tokens_per_user", format!("{limit} live tokens are allowed"));
    Status::with_error_details(Code::ResourceExhausted, "the user has as many live tokens as allowed", details)
}

fn plain(code: Code, message: &str, reason: ErrorReason) -> Status {
    Status::with_error_details(code, message, info(reason))
}

fn info(reason: ErrorReason) -> ErrorDetails {
    let name = reason.as_str_name();
    let name = name.strip_prefix("ERROR_REASON_").unwrap_or(name);
    ErrorDetails::with_error_info(name, ERROR_DOMAIN, HashMap::new())
}
