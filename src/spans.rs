//! Spans for traces, named and labelled by OpenTelemetry's semantic conventions. A leaf: it imports nothing of the project.
//!
//! Without traces, and with a log level above debug, no span is made: each costs a look at a flag, and neither the
//! headers nor the names of what is asked are read. None has a token, a `token_id`, a key
//! or a statement's values.
//!
//! What is above a span is read from W3C Trace Context's `traceparent`; what a span was is told in `traceresponse`, as
//! [a later draft](https://w3c.github.io/trace-context/#traceresponse-header) has it.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{
    propagation::{Extractor, TextMapPropagator as _},
    trace::TraceContextExt as _,
};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing::{Level, Span, field::Empty};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Names the span above.
pub const TRACEPARENT: &str = "traceparent";
/// Names the span that an answer comes from.
const TRACERESPONSE: HeaderName = HeaderName::from_static("traceresponse");
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
    put_below(&span, &Headers(headers));
    span
}

/// A `POST` of this path, likewise.
#[must_use]
pub fn post(path: &str, headers: &HeaderMap) -> Span {
    if !tracing::span_enabled!(Level::DEBUG) {
        return Span::none();
    }
    let span = tracing::debug_span!(
        "http",
        otel.name = format_args!("POST {path}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = "POST",
        http.route = path,
        http.response.status_code = Empty,
    );
    put_below(&span, &Headers(headers));
    span
}

/// Puts the running call below what these headers name, which came in its message. It is too late once something was
/// asked or logged during the call.
pub fn carry_on(headers: &impl Extractor) {
    if tracing::span_enabled!(Level::DEBUG) {
        put_below(&Span::current(), headers);
    }
}

/// The call has ended with this status. The headers of its answer tell which span it was.
pub fn ended(rpc: &Span, code: i32, answer: &mut HeaderMap) {
    if rpc.is_disabled() {
        return;
    }
    rpc.record("rpc.grpc.status_code", code);
    if FAULTS.contains(&code) {
        rpc.record("otel.status_code", "ERROR");
    }
    tell(rpc, answer);
}

/// The same of a `POST`, by HTTP's status.
pub fn answered(post: &Span, status: u16, answer: &mut HeaderMap) {
    if post.is_disabled() {
        return;
    }
    post.record("http.response.status_code", status);
    if status >= 500 {
        post.record("otel.status_code", "ERROR");
    }
    tell(post, answer);
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

fn put_below(span: &Span, headers: &impl Extractor) {
    if !span.is_disabled() && headers.get(TRACEPARENT).is_some() {
        // It fails where there are no traces, and the span is only for the log.
        let _ = span.set_parent(TraceContextPropagator::new().extract(headers));
    }
}

/// Says nothing of a span that is not kept: nobody could look it up.
fn tell(span: &Span, answer: &mut HeaderMap) {
    let context = span.context();
    let known = context.span().span_context().clone();
    if !known.is_sampled() {
        return;
    }
    let text = format!("00-{}-{}-{:02x}", known.trace_id(), known.span_id(), known.trace_flags());
    answer.insert(TRACERESPONSE, HeaderValue::try_from(text).expect("it is hexadecimal"));
}

/// Whether a call that is being traced is what the running task works for.
#[must_use]
pub fn within_a_call() -> bool {
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

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tracing::{Subscriber, level_filters::LevelFilter, subscriber::with_default};
    use tracing_subscriber::{Layer, Registry, layer::SubscriberExt as _};

    use super::*;

    /// Counts spans that are made.
    struct Made(Arc<AtomicUsize>);

    impl<S: Subscriber> Layer<S> for Made {
        fn on_new_span(
            &self,
            _: &tracing::span::Attributes<'_>,
            _: &tracing::span::Id,
            _: tracing_subscriber::layer::Context<'_, S>,
        ) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// All spans of one call that is answered from Redis and the database; how many were made, and are kept at all.
    fn of_a_call(level: LevelFilter) -> (usize, usize) {
        let made = Arc::new(AtomicUsize::new(0));
        let mut headers = HeaderMap::new();
        headers
            .insert(TRACEPARENT, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".parse().expect("a value"));
        let kept = with_default(Registry::default().with(Made(Arc::clone(&made)).with_filter(level)), || {
            let call = rpc("/tokenward.v1.TokenService/Authenticate", &headers);
            let (command, query) = call.in_scope(|| {
                carry_on(&Headers(&headers));
                (redis("GETRANGE"), database("sqlite", "find"))
            });
            let posted = post("/introspect", &headers);
            let mut answer = HeaderMap::new();
            ended(&call, 0, &mut answer);
            answered(&posted, 200, &mut answer);
            assert!(answer.is_empty(), "nobody exports them");
            [call, command, query, posted].iter().filter(|span| !span.is_none()).count()
        });
        (made.load(Ordering::Relaxed), kept)
    }

    /// As it is without traces, at the log level that is the default.
    #[test]
    fn no_span_is_made_while_nobody_wants_one() {
        assert_eq!(of_a_call(LevelFilter::INFO), (0, 0));
        assert_eq!(of_a_call(LevelFilter::DEBUG), (4, 4));
    }
}
