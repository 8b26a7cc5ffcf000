//! What operators see of it, and what is kept for how long: health, audit, logs, traces, pruning.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings;

/// What `grpc.health.v1` reports.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Health {
    /// Report the services NOT_SERVING while Redis is lost.
    pub redis_required: bool,
    /// How long the database may be lost before the services are NOT_SERVING.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub database_grace: Duration,
    /// Time between two looks at each component.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub interval: Duration,
}

/// When rows of tokens that have long expired are deleted.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Prune {
    /// How long the rows of an expired token are kept, at least `1h`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub keep_expired: Duration,
    /// Rows that are looked at, and at most deleted, in one transaction; at most 1000.
    pub batch: u32,
    /// Time from the end of one pruning to the next, by whichever replica; `0s`: only by `tokenward prune`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub interval: Duration,
}

/// Records of who changed what.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Audit {
    /// Keep audit records in the table `tokenward_audit` too, written behind; they are logged in any case.
    pub table: bool,
    /// Time after which they are deleted from it, at least `1h`; `0s` for never.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub retention: Duration,
}

/// What is logged.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Log {
    /// `human` or `json`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,tokenward=debug`. Audit records are logged
    /// whatever it is, unless it has `tokenward::audit=off`. Read again on SIGHUP.
    pub level: String,
}

/// Where calls are traced to.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Traces {
    /// An OpenTelemetry collector that takes OTLP over gRPC, such as `http://127.0.0.1:4317`. Empty: no traces.
    pub endpoint: String,
    /// Share of the calls that are traced, 0 to 1. A call whose `traceparent` says whether it is sampled is traced as
    /// that says.
    pub ratio: f64,
    /// What the collector is told as `service.name`.
    pub service_name: String,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}
