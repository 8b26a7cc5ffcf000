//! What the program logs, in which form: always on standard error.

use std::{
    fmt,
    io::{IsTerminal as _, stderr},
    sync::OnceLock,
    time::Duration,
};

use opentelemetry::{
    KeyValue,
    trace::{SpanContext, TraceContextExt as _, TraceId, TracerProvider as _},
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider},
};
use tokio::task::spawn_blocking;
use tracing::{Dispatch, Event, Subscriber, dispatcher, level_filters::LevelFilter};
use tracing_opentelemetry::get_otel_context;
use tracing_subscriber::{
    EnvFilter, Layer as _, Registry,
    filter::filter_fn,
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{self, Compact, Format, Json, Writer},
    },
    layer::SubscriberExt as _,
    registry::LookupSpan,
    reload,
    util::SubscriberInitExt as _,
};

use crate::{
    config::{Log, LogFormat, Traces},
    request,
};

/// Tells of each step of each schema change, which `migrate` prints already.
const QUIET: &str = "sea_orm_migration=warn";

/// Records of the audit trail are logged whatever the level is, unless they are switched off by name.
const AUDIT: &str = "tokenward::audit=info";
const AUDIT_TARGET: &str = "tokenward::audit";
/// Longest time for the collector to take spans.
const EXPORT_LIMIT: Duration = Duration::from_secs(5);
/// Time between two exports.
const EXPORT_PERIOD: Duration = Duration::from_secs(1);
/// Longest time to send the last traces.
const FAREWELL: Duration = Duration::from_secs(1);

/// What is logged, while the program runs.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// What traces go through.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// What keeps the spans, where there are traces.
static TRACED: OnceLock<Dispatch> = OnceLock::new();

/// A line for each event, with the id of the request that it is about, and that of its trace.
enum Lines {
    Human(Format<Compact>),
    Json(Format<Json>),
}

/// Starts logging as configured; without settings, as `RUST_LOG` says, or not at all.
/// `traces` are exported, where there is somebody to tell. Call it inside a tokio runtime.
pub fn start(log: Option<&Log>, traces: Option<&Traces>) {
    match log {
        Some(log) => to_stderr(log.format, &log.level, traces),
        None => from_environment(),
    }
}

/// Logs by another filter from now on. Without [`start`] nothing is logged, whatever the filter.
pub fn relevel(level: &str) {
    if let Some(current) = FILTER.get() {
        // It fails only once there is no subscriber any more, and with it nobody who logs.
        let _ = current.reload(filter(level));
    }
}

fn from_environment() {
    if let Ok(level) = std::env::var(EnvFilter::DEFAULT_ENV) {
        to_stderr(LogFormat::Human, &level, None);
    }
}

/// Sends what is left of the traces, for a second at most. Call it last.
pub async fn flush() {
    let Some(provider) = PROVIDER.get() else { return };
    // The connection to the collector is served by this runtime, which must not be held up.
    let flushed = spawn_blocking(|| provider.shutdown_with_timeout(FAREWELL)).await;
    if !matches!(flushed, Ok(Ok(()))) {
        tracing::warn!("traces.endpoint did not take the last traces");
    }
}

/// Spans wait in a bounded queue for a thread that sends them; what finds no room is dropped.
fn tracer(traces: &Traces) -> SdkTracer {
    let exporter = SpanExporter::builder().with_tonic().with_endpoint(&traces.endpoint).with_timeout(EXPORT_LIMIT);
    let exporter = exporter.build().expect("the endpoint was validated");
    let often = BatchConfigBuilder::default().with_scheduled_delay(EXPORT_PERIOD).build();
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_service_name(traces.service_name.clone()).with_attribute(version).build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(BatchSpanProcessor::builder(exporter).with_batch_config(often).build())
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(traces.ratio))))
        .with_resource(resource)
        .build();
    let source = provider.tracer(env!("CARGO_PKG_NAME"));
    let _first = PROVIDER.set(provider);
    source
}

/// What the operator says about a target comes later and so wins.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::new(format!("{QUIET},{AUDIT},{level}"))
}

fn to_stderr(form: LogFormat, level: &str, traces: Option<&Traces>) {
    let colours = stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (filter, current) = reload::Layer::new(filter(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(stderr)
        .with_ansi(colours)
        .event_format(Lines::new(form))
        .with_filter(filter);
    let traces = traces.filter(|traces| !traces.endpoint.is_empty()).map(|traces| {
        let layer = tracing_opentelemetry::layer().with_tracer(tracer(traces));
        let layer = layer.with_location(false).with_threads(false).with_level(false).with_target(false);
        // Spans of ours alone: an event's text is for the log.
        let ours = filter_fn(|of| of.is_span() && of.target().starts_with(env!("CARGO_PKG_NAME")));
        // A span begins when something is asked below it and not when it is entered, so that a call may read in its
        // message what it is below of. Spans are tracing's; nobody asks for OpenTelemetry's current one.
        let layer = layer.with_context_activation(false).with_tracked_inactivity(false);
        layer.with_filter(ours.with_max_level_hint(LevelFilter::DEBUG))
    });
    let with_traces = traces.is_some();
    tracing_subscriber::registry().with(lines).with(traces).init();
    if with_traces {
        let _first = TRACED.set(dispatcher::get_default(Dispatch::clone));
    }
    let _first = FILTER.set(current);
}

/// What the running thread works for.
fn ids() -> Vec<(&'static str, String)> {
    let request = request::current().map(|id| ("request_id", id));
    let trace = trace_id().map(|id| ("trace_id", id.to_string()));
    request.into_iter().chain(trace).collect()
}

/// The trace that the running thread works for, if it is one that is exported.
fn trace_id() -> Option<TraceId> {
    let dispatch = TRACED.get()?;
    // Not by `Span::current`: within an event there may be no default subscriber.
    let context = get_otel_context(dispatch.current_span().id()?, dispatch)?;
    let span = context.span();
    Some(span.span_context()).filter(|span| span.is_sampled()).map(SpanContext::trace_id)
}

// === impl Lines ===

impl Lines {
    fn new(form: LogFormat) -> Self {
        match form {
            LogFormat::Human => Self::Human(format::format().compact()),
            LogFormat::Json => {
                Self::Json(format::format().json().flatten_event(true).with_current_span(false).with_span_list(false))
            }
        }
    }

    fn write<S, N>(&self, context: &FmtContext<'_, S, N>, to: Writer<'_>, event: &Event<'_>) -> fmt::Result
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
        N: for<'a> FormatFields<'a> + 'static,
    {
        match self {
            Self::Human(form) => form.format_event(context, to, event),
            Self::Json(form) => form.format_event(context, to, event),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        // A record of the audit trail names its request itself, unless the id is a secret (`transport::record`).
        if event.metadata().target() == AUDIT_TARGET {
            return self.write(context, to, event);
        }
        let ids = ids();
        if ids.is_empty() {
            return self.write(context, to, event);
        }
        let mut line = String::new();
        self.write(context, Writer::new(&mut line), event)?;
        let line = line.trim_end();
        if let (Self::Json(_), Some(rest)) = (self, line.strip_prefix('{')) {
            to.write_char('{')?;
            ids.iter().try_for_each(|(name, id)| write!(to, "\"{name}\":\"{id}\","))?;
            return writeln!(to, "{rest}");
        }
        to.write_str(line)?;
        ids.iter().try_for_each(|(name, id)| write!(to, " {name}={id}"))?;
        writeln!(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_changes_are_quiet_unless_asked_for() {
        assert!(filter("info").to_string().contains(QUIET));
        let asked = filter("info,sea_orm_migration=debug").to_string();
        assert!(asked.contains("sea_orm_migration=debug") && !asked.contains(QUIET), "{asked}");
    }

    #[test]
    fn audit_records_are_logged_unless_they_are_switched_off_by_name() {
        for level in ["info", "error", "off", "tokenward=warn"] {
            assert!(filter(level).to_string().contains(AUDIT), "{level}");
        }
        assert!(filter("info,tokenward::audit=off").to_string().contains("tokenward::audit=off"));
        assert!(!filter("info,tokenward::audit=off").to_string().contains(AUDIT));
    }
}
