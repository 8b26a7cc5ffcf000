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
mod ext_authz;
mod fault;
mod form;
mod introspection;
mod layers;
mod schema;
mod secret;
mod settings;
mod tiers;
mod validate;

pub use describe::{default_toml, print_json, print_toml, readme_table};
pub use ext_authz::ExtAuthz;
pub use fault::{Fault, Faults, Origin};
pub use introspection::Introspection;
pub use layers::{Flag, Loaded, Purpose, Sources, load};
pub use schema::{DigestForm, SchemaNames, TokenFormat, TokenHash, UserIdType};
pub use secret::SecretText;

/// All settings.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Config {
    /// The gRPC listener and its limits.
    pub server: Server,
    /// The second listener: probes, metrics and status over HTTP/1.1.
    pub http: Http,
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
    /// The door for Envoy: `envoy.service.auth.v3.Authorization`, on the gRPC listener.
    pub ext_authz: ExtAuthz,
    /// The door for OAuth: `POST /introspect` (RFC 7662) and `POST /revoke` (RFC 7009), on the second listener.
    pub introspection: Introspection,
    /// What `grpc.health.v1` reports.
    pub health: Health,
    /// When rows of tokens that have long expired are deleted.
    pub prune: Prune,
    /// Records of who changed what.
    pub audit: Audit,
    /// A Redis that a Django project keeps tokens in with django-rest-knox-redis.
    pub knox_redis: KnoxRedis,
    /// What is logged.
    pub log: Log,
    /// Where calls are traced to.
    pub traces: Traces,
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
    /// Threads that serve connections, each of them on one; 0 for as many as this process may use cores.
    pub threads: u32,
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
    /// Clients that may follow WatchRevocations at once; more are refused. They do not count as requests under way.
    pub max_watchers: u32,
    /// Serve gRPC reflection (v1 and v1alpha).
    pub reflection: bool,
}

/// The second listener: probes, metrics and status over HTTP/1.1.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Http {
    /// Address and port for the status page (`/`), `/livez`, `/readyz`, `/metrics` and `/status.json`, or `unix:PATH`;
    /// port 0 takes a free one. Empty: there is no such listener. They need no credential, and tell no secret, token or
    /// user; a warning at each start says what they do tell, where other hosts can reach it.
    pub listen: String,
    /// Connections open at once; one more takes the place of the longest idle one, else it is closed.
    pub max_connections: u32,
}

/// Who may call.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Callers {
    /// A TOML file with the callers, their credentials and their methods. Not set: whoever connects may call everything.
    pub file: Option<PathBuf>,
    /// Look-ups a second in the database that one caller may cause for tokens that are not active, unless its entry in
    /// the file says otherwise; 0 for any number. Over it, its calls that no cache can answer are refused with
    /// `RESOURCE_EXHAUSTED` until it has recovered. Without a file all callers are one.
    pub max_inactive_per_second: u32,
}

/// The database that holds the tokens.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Database {
    /// `sqlite://PATH`, `postgres://...` or `mysql://...` (also for MariaDB).
    pub url: SecretText,
    /// A file that holds the URL, instead of `url`.
    pub url_file: Option<PathBuf>,
    /// A PEM file with the authorities that sign the server's certificate, beside the public ones; it is read for each
    /// connection. With it, connections are encrypted and the certificate must name the URL's host.
    pub tls_ca: Option<PathBuf>,
    /// A PEM file with the certificate chain to show to the server; likewise.
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with that certificate's private key; likewise.
    pub tls_key: Option<PathBuf>,
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
    /// Look-ups under way or waiting for a connection at once; more are refused at once with UNAVAILABLE. Of several
    /// callers none gets more than it leaves for the others: one alone half of them.
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
    /// A PEM file with the authorities that sign the certificates of Redis and of its Sentinels, instead of the
    /// system's; it is read again when it changes. Needs a URL with TLS (`rediss...`).
    pub tls_ca: Option<PathBuf>,
    /// A PEM file with the certificate chain to show to Redis; likewise. Needs `tls_ca`.
    pub tls_cert: Option<PathBuf>,
    /// A PEM file with that certificate's private key; likewise.
    pub tls_key: Option<PathBuf>,
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

/// Least length of a key for cache entries, in bytes; white space around it does not count.
pub const MIN_MAC_KEY_BYTES: usize = 32;

/// What is kept in front of the database.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Cache {
    /// `auto` (Redis when `redis.url` is set, else memory), `redis`, `memory` (this process's) or `off`.
    pub backend: CacheBackend,
    /// Keep entries in this process's memory too, in front of Redis. Needs `coherence.revoke_ack =
    /// "lease"`, on every replica before this is set on one, or `coherence.max_staleness = "0s"`.
    pub near: bool,
    /// Key that entries in Redis are authenticated with: the same text of at least 32 bytes on every
    /// replica, such as the output of `openssl rand -hex 32`. Needed for Redis, except that with SQLite
    /// one is made and kept beside the database file. To replace it without a gap: set the new key as
    /// `mac_key_previous` on every replica; then the new one as `mac_key` and the old one as
    /// `mac_key_previous`; after `entry_ttl`, unset `mac_key_previous`.
    pub mac_key: SecretText,
    /// A file that holds the key, instead of `mac_key`.
    pub mac_key_file: Option<PathBuf>,
    /// A second key, which entries are accepted with and none is written with.
    pub mac_key_previous: SecretText,
    /// A file that holds the second key, instead of `mac_key_previous`.
    pub mac_key_previous_file: Option<PathBuf>,
    /// Longest life of an entry, at most `24h`. How soon a change is noticed does not depend on it.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub entry_ttl: Duration,
    /// Entries of the in-process cache at most.
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
    /// This process's memory.
    Memory,
    /// Nowhere.
    Off,
}

/// How soon a change takes effect that another program, or another replica, made in the database.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct Coherence {
    /// How long a committed change may go unnoticed by a cached answer; `0s` asks the database's
    /// journal, in batches, before each cached answer. With the in-process cache alone it is taken
    /// for `0s`, unless `revoke_ack` is `lease`.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub max_staleness: Duration,
    /// How much longer answers from Redis are given when the database cannot be reached; `0s` for not
    /// at all. Those from the in-process cache never are.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub outage_grace: Duration,
    /// Time between two looks into the database's journal; a quarter of `max_staleness` where that is less.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub poll_interval: Duration,
    /// Look sooner when PostgreSQL says that the journal has grown (LISTEN, on a connection of its own). Useless on other
    /// databases, and behind a PgBouncer that pools transactions; nothing depends on it.
    pub listen: bool,
    /// What Revoke waits for before it answers COMPLETE: `cache` (Redis has taken the
    /// tombstones) or `lease` (`max_staleness` has passed; Redis is trusted for nothing). `lease`
    /// with an `outage_grace` answers PENDING, since a replica that is cut off may go on for the grace.
    pub revoke_ack: RevokeAck,
    /// Share of the cached answers that are compared with the database afterwards, in the background,
    /// 0 to 1. What the database has ended without a record in its journal is logged as an error,
    /// counted, and dropped from Redis and this process.
    pub reproof_ratio: f64,
    /// The least time between two of these comparisons, which are left out meanwhile.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub reproof_interval: Duration,
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
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own, on or off")]
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
    /// Have a token end `ttl` after its latest use, as knox's `AUTO_REFRESH`. It is never brought back, and
    /// one of a disabled user or without end is left alone.
    pub auto_refresh: bool,
    /// Time that an expiry must gain to be written: one write a token in this time, over all replicas.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub refresh_interval: Duration,
    /// Longest time after its issue that a token can come to so, which no first lifetime exceeds
    /// either; `0s` for no limit.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub refresh_max_ttl: Duration,
    /// Allow tokens that never expire.
    pub allow_never_expires: bool,
    /// Head of every issued token, at most 10 visible ASCII characters.
    pub prefix: String,
    /// What follows it: `knox` (64 hexadecimal digits) or `checksummed` (43 digits of base 62, and 6 of their
    /// CRC32, as in GitHub's tokens). With a checksum, a token that begins with the prefix and has neither a
    /// right checksum nor knox's form is answered `MALFORMED` without a look-up. That needs a prefix whose last
    /// character is none of 0-9 and a-f, and with which no token of another, longer prefix begins.
    pub format: TokenFormat,
    /// Live tokens a user may have; 0 for no limit.
    pub limit_per_user: u32,
    /// Hash function of digests, as knox's `SECURE_HASH_ALGORITHM`: `sha512`, `sha256`, `sha3-512` or `blake2b-512`.
    pub hash: TokenHash,
    /// Digests by which tokens are found: `knox5`, and `knox4` for rows that knox 4.2 wrote. Where unset,
    /// both with schema `knox`, `knox5` alone with `native`.
    pub accept_digests: Option<Vec<DigestForm>>,
    /// Rewrite a row of knox 4.2, once its token was presented, as knox 5 would have written it. Only when
    /// every Django is on knox 5.
    pub upgrade_digests: bool,
    /// How long a client may go on with an answer that a token is active (`cacheable_for`), never beyond its expiry; at
    /// most `5m`. A client that does accepts a revoked token for so much longer, unless it follows `WatchRevocations`.
    /// `0s`: it is told not to.
    #[serde(with = "humantime_serde")]
    #[schemars(with = "settings::DurationText")]
    pub client_cache_ttl: Duration,
    /// Keep when a token was last accepted, to about a minute: at most one write a token in this time, in the background.
    pub track_last_used: bool,
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

/// A Redis that a Django project keeps tokens in with django-rest-knox-redis.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default)]
pub struct KnoxRedis {
    /// The Redis of django-rest-knox-redis, as `redis.url`: what we revoke is deleted there too. Empty: there is none.
    pub url: SecretText,
    /// A file that holds the URL, instead of `url`.
    pub url_file: Option<PathBuf>,
    /// Password, where the URL has none.
    pub password: SecretText,
    /// A file that holds the password, instead of `password`.
    pub password_file: Option<PathBuf>,
    /// Head of the keys that django-rest-knox-redis writes.
    pub prefix: String,
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
