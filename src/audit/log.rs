//! A record as a line of the log, under a target of its own.

use crate::domain::{AuditRecord, RevocationCause, UserId};

/// What `log.level` switches records by.
const TARGET: &str = "tokenward::audit";

/// Logs a record; what is empty is left out.
pub(super) fn log(record: &AuditRecord) {
    let AuditRecord { time, event, who, what, outcome, suppressed, .. } = record;
    tracing::info!(
        target: TARGET,
        event = event.name(),
        time = %time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        caller = given(&who.caller),
        peer = given(&who.peer),
        certificate = given(&who.certificate),
        request_id = given(&who.request_id),
        method = what.method,
        token_id = what.token_id.map(tracing::field::display),
        successor = what.successor.map(tracing::field::display),
        user_id = what.user_id.as_ref().map(UserId::as_str),
        code = outcome.code,
        reason = given(&outcome.reason),
        revoked = what.revoked,
        revocation_reason = what.cause.map(RevocationCause::name),
        user_active = what.user_active,
        suppressed = (*suppressed > 0).then_some(suppressed),
    );
}

fn given(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}
