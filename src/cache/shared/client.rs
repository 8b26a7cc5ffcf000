//! How the Redis client is set up.
//!
//! fred's defaults are unsafe here: no command deadline, three attempts (a write is
//! replayed after a reconnect), an unbounded queue, ten seconds to connect.

use std::{borrow::Cow, fmt, time::Duration};

use fred::{
    clients::{Client, WithOptions},
    error::ErrorKind,
    interfaces::ClientLike as _,
    types::{
        Builder,
        config::{
            Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, TcpConfig, TlsConnector,
            UnresponsiveConfig,
        },
    },
};

use crate::{config, reload::Live, tls};

/// Commands that may be under way at once; the next is refused before fred sees it.
pub(super) const MAX_IN_FLIGHT: usize = 8192;
/// Commands that may wait for fred's task. It must never be full: fred 10.1 counts a
/// command that it refuses for that as queued for ever, and then flushes nothing. What
/// can wait beyond [`MAX_IN_FLIGHT`] are commands that were given up on, a few a second
/// behind an open breaker.
const COMMAND_BUFFER: usize = 4 * MAX_IN_FLIGHT;
/// The least time that a write which nobody's look-up waits for may take, and that a
/// connection may be silent before it is given up: a thousand tombstones may be under way
/// before it, and then each waits for all.
pub(super) const PATIENCE: Duration = Duration::from_millis(250);
const SCHEMES: [&str; 7] =
    ["redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel", "redis+unix"];

/// Why a shared cache cannot be set up. The URL may hold a password and is never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Not one of the schemes.
    #[error(
        "redis.url must begin with redis://, rediss://, redis-cluster://, rediss-cluster://, redis-sentinel://, rediss-sentinel:// or redis+unix://"
    )]
    Scheme,
    /// The rest of the URL.
    #[error("redis.url cannot be read as a Redis URL: check host, port, database number and percent-encoding")]
    Url,
    /// The root certificates of this machine.
    #[error("the root certificates of this machine cannot be loaded, which rediss:// needs without redis.tls_ca")]
    Tls,
    /// They could when the settings were read.
    #[error("the files of redis.tls_ca, redis.tls_cert and redis.tls_key cannot be used any more")]
    Files,
}

/// All that a client is made of.
#[derive(Clone)]
pub(super) struct Blueprint {
    builder: Builder,
    options: Options,
}

// === impl Blueprint ===

impl Blueprint {
    /// `trusted`: whom to trust and what to show, where the settings name files for it.
    pub(super) fn new(config: &config::Redis, trusted: Option<&Live<tls::Material>>) -> Result<Self, StartError> {
        let server = server(config, trusted)?;
        let options = options(config);
        let mut builder = Builder::from_config(server);
        builder
            .set_performance_config(PerformanceConfig {
                default_command_timeout: config.command_timeout,
                ..PerformanceConfig::default()
            })
            .set_connection_config(connection(config))
            .set_policy(reconnect_policy());
        Ok(Self { builder, options })
    }

    /// Whether the keys are spread over several servers.
    pub(super) fn is_clustered(&self) -> bool {
        self.builder.get_config().is_some_and(|config| config.server.is_clustered())
    }

    /// A client that is not connected yet.
    pub(super) fn client(&self) -> WithOptions<Client> {
        self.builder.build().expect("the builder has a configuration").with_options(&self.options)
    }
}

impl fmt::Debug for Blueprint {
    /// The configuration holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blueprint").finish_non_exhaustive()
    }
}

/// 50 ms, doubling to 1 s, with jitter, for ever: after a failover nobody tells us that it is over.
pub(super) fn reconnect_policy() -> ReconnectPolicy {
    let mut policy = ReconnectPolicy::new_exponential(0, 50, 1000, 2);
    policy.set_jitter(50);
    policy
}

/// What every command is sent with: one deadline, no waiting for a connection, no second attempt.
///
/// Redirects are not followed by fred: after ASK, fred 10.1 sends ASKING to the new node and the command to the
/// old one, and ends its client when that leads nowhere. It learns from MOVED all the same, before it reports
/// the redirect, so that the command can be given again.
fn options(config: &config::Redis) -> Options {
    Options {
        max_attempts: Some(1),
        max_redirections: Some(0),
        timeout: Some(config.command_timeout),
        fail_fast: true,
        ..Options::default()
    }
}

/// The same client with a deadline that leaves room for many commands before this one.
pub(super) fn patient(client: &WithOptions<Client>) -> WithOptions<Client> {
    let timeout = client.options().timeout.map(|timeout| timeout.max(PATIENCE));
    (**client).with_options(&Options { timeout, ..client.options().clone() })
}

/// The files that TLS needs; `None` when the system's authorities are trusted.
pub(super) fn pem(config: &config::Redis) -> Option<tls::Pem> {
    let identity = config.tls_cert.clone().zip(config.tls_key.clone());
    config.tls_ca.clone().map(|ca| tls::Pem { ca, identity })
}

fn server(config: &config::Redis, trusted: Option<&Live<tls::Material>>) -> Result<Config, StartError> {
    let url = config.url.expose();
    let (scheme, _) = url.split_once("://").ok_or(StartError::Scheme)?;
    if !SCHEMES.contains(&scheme) {
        return Err(StartError::Scheme);
    }
    // Another part of the process may have installed it already.
    let _already = rustls::crypto::ring::default_provider().install_default();
    // With authorities of our own the system's are not looked for: fred would fail without them.
    let (plain, encrypted) = match url.strip_prefix("rediss") {
        Some(rest) if trusted.is_some() => (Cow::Owned(format!("redis{rest}")), true),
        Some(_) | None => (Cow::Borrowed(url), false),
    };
    let mut server = Config::from_url(&plain).map_err(|error| match error.kind() {
        ErrorKind::Tls => StartError::Tls,
        _ => StartError::Url,
    })?;
    if encrypted && let Some(trusted) = trusted {
        server.tls = Some(TlsConnector::from(tls::client(trusted)).into());
    }
    // A first connection that fails is reported at once: `link` tries again, and
    // meanwhile commands fail in microseconds instead of waiting.
    server.fail_fast = true;
    server.username = server.username.or_else(|| config.username.clone());
    if server.password.is_none() && !config.password.is_empty() {
        server.password = Some(config.password.expose().to_owned());
    }
    Ok(server)
}

fn connection(config: &config::Redis) -> ConnectionConfig {
    let unresponsive = config.command_timeout.clamp(PATIENCE, Duration::from_secs(1));
    ConnectionConfig {
        connection_timeout: config.connect_timeout,
        internal_command_timeout: config.connect_timeout,
        max_command_attempts: 1,
        max_redirections: 0,
        max_command_buffer_len: COMMAND_BUFFER,
        unresponsive: UnresponsiveConfig { max_timeout: Some(unresponsive), interval: unresponsive / 4 },
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SecretText;

    fn redis(url: &str) -> config::Redis {
        config::Redis { url: SecretText::new(url), ..config::Redis::default() }
    }

    #[test]
    fn every_documented_form_of_url_is_read() {
        for url in [
            "redis://127.0.0.1:6379/1",
            "redis://user:secret@127.0.0.1",
            "rediss://127.0.0.1:6380",
            "redis-cluster://127.0.0.1:7000?node=127.0.0.1:7001",
            "redis-sentinel://127.0.0.1:26379?sentinelServiceName=main&node=127.0.0.1:26380",
            "redis+unix:///run/redis.sock",
        ] {
            assert!(Blueprint::new(&redis(url), None).is_ok(), "{url}");
        }
    }

    #[test]
    fn a_bad_url_is_refused_without_being_shown() {
        for (url, fault) in [
            ("", StartError::Scheme),
            ("localhost:6379", StartError::Scheme),
            ("http://127.0.0.1", StartError::Scheme),
            ("redis://:hunter2@", StartError::Url),
            ("redis://:hunter2@127.0.0.1/zero", StartError::Url),
            ("redis-sentinel://:hunter2@127.0.0.1:26379", StartError::Url),
        ] {
            let error = Blueprint::new(&redis(url), None).expect_err(url);
            assert_eq!(error, fault, "{url}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[test]
    fn credentials_of_the_url_win_over_those_of_the_configuration() {
        let apart = |url| config::Redis {
            username: Some("config".to_owned()),
            password: SecretText::new("apart"),
            ..redis(url)
        };
        let plain = server(&apart("redis://127.0.0.1"), None).expect("a URL");
        assert_eq!((plain.username.as_deref(), plain.password.as_deref()), (Some("config"), Some("apart")));
        let full = server(&apart("redis://user:inside@127.0.0.1"), None).expect("a URL");
        assert_eq!((full.username.as_deref(), full.password.as_deref()), (Some("user"), Some("inside")));
    }
}
