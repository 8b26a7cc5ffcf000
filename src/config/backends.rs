//! The servers behind: the database, Redis and its breaker, and django-rest-knox-redis's Redis.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretText, settings};

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
