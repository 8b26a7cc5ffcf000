//! Spans for traces, named and labelled by OpenTelemetry's semantic conventions. A leaf: it imports nothing of the project.
//!
//! Without traces, and with a log level above debug, each costs a look at a flag. None has a token, a `token_id`, a key
//! or a statement's values.

use http::{HeaderMap, HeaderName};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Level, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// W3C Trace Context.
const TRACEPARENT: &str = "traceparent";
/// The statuses that are the server's fault.
const FAULTS: [i32; 6] = [2, 4, 12, 13, 14, 15];

struct Headers<'a>(&'a HeaderMap);

/// A call of this path, below what its `traceparent` names.
#[must_use]
pub fn rpc(path: &str, headers: &HeaderMap) -> Span {
    if !tracing::span_enabled!(Level::DEBUG) {
        return Span::none();
    }
    let name = path.trim_start_matches('/');
    let (service, method) = name.split_once('/').unwrap_or((name, ""));
    let span = tracing::debug_span!(
        "rpc",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
    );
    if !span.is_disabled() && headers.contains_key(TRACEPARENT) {
        // It fails where there are no traces, and the span is only for the log.
        let _ = span.set_parent(TraceContextPropagator::new().extract(&Headers(headers)));
    }
    span
}

/// The call has ended with this status.
pub fn ended(rpc: &Span, code: i32) {
    rpc.record("rpc.grpc.status_code", code);
    if FAULTS.contains(&code) {
        rpc.record("otel.status_code", "ERROR");
    }
}

/// What the database is asked during a call; nothing outside of one.
#[must_use]
pub fn database(system: &'static str, query: &'static str) -> Span {
    if !within_a_call() {
        return Span::none();
    }
    // The conventions' name for what sqlx calls postgres.
    let system = if system == "postgres" { "postgresql" } else { system };
    tracing::debug_span!(
        "database",
        otel.name = query,
        otel.kind = "client",
        db.system.name = system,
        db.operation.name = query,
    )
}

/// A command that Redis is given during a call; nothing outside of one.
#[must_use]
pub fn redis(command: &'static str) -> Span {
    if !within_a_call() {
        return Span::none();
    }
    tracing::debug_span!(
        "redis",
        otel.name = command,
        otel.kind = "client",
        db.system.name = "redis",
        db.operation.name = command,
    )
}

fn within_a_call() -> bool {
    tracing::span_enabled!(Level::DEBUG) && !Span::current().is_none()
}

// === impl Headers ===

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
