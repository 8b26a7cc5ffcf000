//! The two listeners, and who may call.

use std::{path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings;

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
    /// `RESOURCE_EXHAUSTED` until it has recovered. As many Revokes of tokens that are not active are allowed besides.
    /// Without a file all callers are one.
    pub max_inactive_per_second: u32,
}
