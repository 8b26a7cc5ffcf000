//! Every setting, its unit, its default and what is refused.
//!
//! A setting is one field here: its doc comment is its line in the README and in
//! `tokenward config default`. Its default stands in `config/defaults.rs`, what is
//! refused in `config/validate.rs`. [`load`] (`config/layers.rs`) puts the sources
//! together: flags over environment over file over defaults.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod coerce;
mod defaults;
mod describe;
mod fault;
mod layers;
mod secret;
mod settings;
mod validate;

pub use describe::{default_toml, print_json, print_toml, readme_table};
pub use fault::{Fault, Faults, Origin};
pub use layers::{Flag, Loaded, Purpose, Sources, load};
pub use secret::SecretText;

/// All settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The gRPC listener and its limits.
    pub server: Server,
    /// Who may call.
    pub callers: Callers,
    /// The database that holds the tokens.
    pub database: Database,
    /// Table and column names, where they differ from the preset that `database.schema` names.
    pub schema: SchemaNames,
    /// The shared cache's server.
    pub redis: Redis,
    /// What is kept in front of the database.
    pub cache: Cache,
    /// How soon a change takes effect that another program, or another replica, made in the database.
    pub coherence: Coherence,
    /// When Redis is left alone.
    pub breaker: Breaker,
    /// The tokens that are issued.
    pub tokens: Tokens,
    /// The owners of tokens.
    pub users: Users,
    /// What `grpc.health.v1` reports.
    pub health: Health,
    /// What is logged.
    pub log: Log,
}

/// The gRPC listener and its limits.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Server {
    /// Address and port to listen on, or `unix:PATH`; port 0 takes a free one.
    pub listen: String,
    /// Listen on an address other hosts can reach although callers are not authenticated, or their keys not encrypted.
    pub insecure: bool,
    /// A PEM file with the certificate chain to serve TLS with; it is read again when it changes.
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with the certificate's private key; likewise.
    pub tls_key: Option<PathBuf>,
    /// A PEM file with the authorities that sign callers' certificates; likewise.
    pub tls_client_ca: Option<PathBuf>,
    /// Longest time a request may take; a shorter `grpc-timeout` of the client wins.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub request_timeout: Duration,
    /// Requests under way at once, over all connections; more are refused with UNAVAILABLE.
    pub max_concurrent_requests: u32,
    /// Connections open at once; one more takes the place of the longest idle one, else it is closed.
    pub max_connections: u32,
    /// Streams a client may have open on one connection.
    pub max_concurrent_streams: u32,
    /// Largest request message, in bytes.
    pub max_message_bytes: u32,
    /// Silence after which a connection is probed with an HTTP/2 PING.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub keepalive_interval: Duration,
    /// Time a probed peer has to answer before its connection is closed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub keepalive_timeout: Duration,
    /// Age at which a connection is told to go away, so that clients spread over new replicas.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub max_connection_age: Duration,
    /// Time that requests on such a connection have to finish.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub max_connection_age_grace: Duration,
    /// Time after which a connection without a request is told to go away.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub max_connection_idle: Duration,
    /// Time that a peer may leave an answer unread; after up to twice as long its connection is closed.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub delivery_timeout: Duration,
    /// Time between reporting NOT_SERVING and refusing connections, for load balancers to notice.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub drain_delay: Duration,
    /// Time that requests under way have to finish after that.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub drain_timeout: Duration,
    /// Serve gRPC reflection (v1 and v1alpha).
    pub reflection: bool,
}

/// Who may call.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Callers {
    /// A TOML file with the callers, their credentials and their methods. Not set: whoever connects may call everything.
    pub file: Option<PathBuf>,
}

/// The database that holds the tokens.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Database {
    /// `sqlite://PATH`, `postgres://...` or `mysql://...` (also for MariaDB).
    pub url: SecretText,
    /// A file that holds the URL, instead of `url`.
    pub url_file: Option<PathBuf>,
    /// Table layout: `native` (our own tables) or `knox` (django-rest-knox's).
    pub schema: SchemaPreset,
    /// Connections in the pool.
    pub max_connections: u32,
    /// Longest wait for a connection from the pool, the time to open one included.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub acquire_timeout: Duration,
    /// Longest time for one statement.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub statement_timeout: Duration,
    /// Look-ups under way or waiting for a connection at once; more are refused at once with UNAVAILABLE.
    pub max_concurrent_lookups: u32,
}

/// Table layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SchemaPreset {
    /// Our own tables.
    #[default]
    Native,
    /// django-rest-knox's tables.
    Knox,
}

/// Table and column names, where they differ from the preset that `database.schema` names.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct SchemaNames {
    /// The token table.
    pub token_table: Option<String>,
    /// The token table's primary key column.
    pub token_digest: Option<String>,
    /// The token table's selector column.
    pub token_key: Option<String>,
    /// The token table's owner column.
    pub token_user: Option<String>,
    /// The token table's creation column.
    pub token_created: Option<String>,
    /// The token table's expiry column.
    pub token_expiry: Option<String>,
    /// The user table.
    pub user_table: Option<String>,
    /// The user table's primary key column.
    pub user_id: Option<String>,
    /// Type of the user table's primary key.
    pub user_id_type: Option<UserIdType>,
    /// The user table's active column; empty where there is none.
    pub user_active: Option<String>,
    /// Columns of the user table that Authenticate returns as attributes.
    pub user_attributes: Option<Vec<String>>,
}

/// Type of a user table's primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UserIdType {
    /// 32-bit integer.
    Int,
    /// 64-bit integer.
    Bigint,
    /// A database UUID.
    Uuid,
    /// A UUID as 32 hexadecimal characters.
    Char32,
    /// Text.
    Text,
}

/// The shared cache's server.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Redis {
    /// `redis://`, `rediss://`, `redis-cluster://`, `redis-sentinel://` or `redis+unix://`. Empty: no shared cache.
    pub url: SecretText,
    /// A file that holds the URL, instead of `url`.
    pub url_file: Option<PathBuf>,
    /// User name, where the URL has none.
    pub username: Option<String>,
    /// Password, where the URL has none.
    pub password: SecretText,
    /// A file that holds the password, instead of `password`.
    pub password_file: Option<PathBuf>,
    /// Head of every key, so that deployments can share a server.
    pub key_prefix: String,
    /// Longest time for one command.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub command_timeout: Duration,
    /// Longest time to open a connection.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub connect_timeout: Duration,
    /// Connections to each server.
    pub connections: u32,
}

/// What is kept in front of the database.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Cache {
    /// `auto` (Redis when `redis.url` is set, else memory), `redis`, `memory` (one replica only) or `off`.
    pub backend: CacheBackend,
    /// Longest life of an entry, at most `60s`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub entry_ttl: Duration,
    /// Entries of the in-process cache.
    pub memory_entries: u32,
    /// How long an unknown token is remembered in this process, at most `2s`; `0s` for not at all.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub negative_ttl: Duration,
    /// Unknown tokens that are remembered at most.
    pub negative_entries: u32,
}

/// Where entries are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CacheBackend {
    /// Redis when there is a URL, else memory.
    #[default]
    Auto,
    /// Redis.
    Redis,
    /// This process's memory; for one replica only.
    Memory,
    /// Nowhere.
    Off,
}

/// How soon a change takes effect that another program, or another replica, made in the database.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Coherence {
    /// How long a committed change may go unnoticed by a cached answer; `0s` asks the database's
    /// journal, in batches, before each cached answer. The in-process cache always does.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub max_staleness: Duration,
    /// How much longer cached answers are given when the database cannot be reached; `0s` for not at all.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub outage_grace: Duration,
    /// Time between two looks into the database's journal.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "String")]
    pub poll_interval: Duration,
    /// What Revoke waits for before it answers COMPLETE: `cache` (Redis has taken the
    /// tombstones) or `lease` (`max_staleness` has passed; Redis is trusted for nothing).
    pub revoke_ack: RevokeAck,
}

/// What Revoke waits for before it answers COMPLETE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RevokeAck {
    /// Redis has taken the tombstones.
    #[default]
    Cache,
    /// `max_staleness` has passed.
    Lease,
}

/// When Redis is left alone.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Breaker {
    /// Time over which failures are counted.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub window: Duration,
    /// Share of failed commands in the window that opens the breaker, 0 to 1.
    pub failure_ratio: f64,
    /// Commands in the window below which the ratio says nothing.
    pub min_commands: u32,
    /// Time-outs in a row that open the breaker whatever the ratio.
    pub consecutive_timeouts: u32,
    /// First time that the breaker stays open; it doubles with each failed probe.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub open_min: Duration,
    /// Longest time that the breaker stays open before it probes again.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub open_max: Duration,
}

/// The tokens that are issued.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Tokens {
    /// Lifetime of a token whose issuer asks for none.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub ttl: Duration,
    /// Longest lifetime that may be asked for; `0s` for no limit.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub max_ttl: Duration,
    /// Allow tokens that never expire.
    pub allow_never_expires: bool,
    /// Head of every issued token, at most 10 visible ASCII characters.
    pub prefix: String,
    /// Live tokens a user may have; 0 for no limit.
    pub limit_per_user: u32,
    /// How long a `request_id` makes a retry return the first token.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub request_id_retention: Duration,
}

/// The owners of tokens.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Users {
    /// Create an unknown user at its first IssueToken (schema `native` only).
    pub create_on_issue: bool,
}

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

/// What is logged.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Log {
    /// `human` or `json`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a filter such as `info,tokenward=debug`.
    pub level: String,
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
