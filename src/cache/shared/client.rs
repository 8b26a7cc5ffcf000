//! How the Redis client is set up, and what keeps it connected.
//!
//! fred's defaults are unsafe here: no command deadline, three attempts (a write is
//! replayed after a reconnect), an unbounded queue, ten seconds to connect.

use std::{convert::Infallible, sync::Arc, time::Duration};

use fred::{
    clients::{Client, Pool},
    interfaces::ClientLike as _,
    types::{
        Builder, ConnectHandle,
        config::{
            Config, ConnectionConfig, Options, PerformanceConfig, ReconnectPolicy, TcpConfig, UnresponsiveConfig,
        },
    },
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::{
    cache::breaker::{Breaker, BreakerState},
    config,
};

/// Commands that may wait for the client's task at once; more are refused.
const COMMAND_BUFFER: usize = 8192;
/// A connection that lasted this long was a good one: the next attempt comes soon.
const SETTLED: Duration = Duration::from_secs(2);
/// A connection that stands and answers nothing for this long is replaced.
const WEDGED: Duration = Duration::from_secs(3);
/// The least time between two reconnects to a server that has become read-only.
const REJOIN_EVERY: Duration = Duration::from_secs(10);

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
    #[error("the root certificates of this machine cannot be loaded, which rediss:// needs")]
    Tls,
}

/// A connection that ends when it is dropped.
struct Connection(ConnectHandle);

/// The client, not yet connected.
pub(super) fn build(config: &config::Redis) -> Result<Pool, StartError> {
    let mut builder = Builder::from_config(server(config)?);
    builder
        .set_performance_config(PerformanceConfig {
            default_command_timeout: config.command_timeout,
            ..PerformanceConfig::default()
        })
        .set_connection_config(connection(config))
        .set_policy(reconnect_policy());
    let connections = usize::try_from(config.connections.max(1)).expect("a usize has 32 bits here");
    builder.build_pool(connections).map_err(|_| StartError::Url)
}

/// What every command is sent with: one deadline, no waiting for a connection, no second attempt.
pub(super) fn options(pool: &Pool, config: &config::Redis) -> Options {
    // On a cluster, fred counts a redirect as an attempt. A second one stays safe: with
    // `fail_fast`, a command that was in flight when its connection broke is never sent again.
    let attempts = if pool.is_clustered() { 2 } else { 1 };
    Options {
        max_attempts: Some(attempts),
        max_redirections: Some(1),
        timeout: Some(config.command_timeout),
        fail_fast: true,
        ..Options::default()
    }
}

/// Keeps one client connected for ever.
///
/// fred reconnects by itself after most losses. It gives up when the first connection
/// fails, and on errors that it takes for faults of configuration; then it is started again.
pub(super) async fn supervise(client: Client, breaker: Arc<Breaker>, demoted: Arc<Notify>) {
    let mut pause = reconnect_policy();
    loop {
        let started = Instant::now();
        let mut connection = Connection(client.connect());
        tokio::select! {
            ended = &mut connection.0 => log_end(ended),
            () = wedged(&client, &breaker) => tracing::warn!("nothing succeeds over the connection to Redis: replaced"),
            never = rejoin(&client, &demoted) => match never {},
        }
        drop(connection);
        if started.elapsed() > SETTLED {
            pause = reconnect_policy();
        }
        sleep(Duration::from_millis(pause.next_delay().unwrap_or_default())).await;
    }
}

fn server(config: &config::Redis) -> Result<Config, StartError> {
    let url = config.url.expose();
    let (scheme, _) = url.split_once("://").ok_or(StartError::Scheme)?;
    if !SCHEMES.contains(&scheme) {
        return Err(StartError::Scheme);
    }
    // Another part of the process may have installed it already.
    let _already = rustls::crypto::ring::default_provider().install_default();
    let mut server = Config::from_url(url).map_err(|error| match error.kind() {
        fred::error::ErrorKind::Tls => StartError::Tls,
        _ => StartError::Url,
    })?;
    // A first connection that fails is reported at once: `supervise` tries again, and
    // meanwhile commands fail in microseconds instead of waiting.
    server.fail_fast = true;
    server.username = server.username.or_else(|| config.username.clone());
    if server.password.is_none() && !config.password.is_empty() {
        server.password = Some(config.password.expose().to_owned());
    }
    Ok(server)
}

fn connection(config: &config::Redis) -> ConnectionConfig {
    let unresponsive = config.command_timeout.clamp(Duration::from_millis(60), Duration::from_secs(1));
    ConnectionConfig {
        connection_timeout: config.connect_timeout,
        internal_command_timeout: config.connect_timeout,
        max_command_attempts: 1,
        max_redirections: 1,
        max_command_buffer_len: COMMAND_BUFFER,
        unresponsive: UnresponsiveConfig { max_timeout: Some(unresponsive), interval: unresponsive / 4 },
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    }
}

/// 50 ms, doubling to 2 s, with jitter, for ever.
fn reconnect_policy() -> ReconnectPolicy {
    let mut policy = ReconnectPolicy::new_exponential(0, 50, 2000, 2);
    policy.set_jitter(50);
    policy
}

fn log_end(ended: <ConnectHandle as Future>::Output) {
    match ended {
        Ok(Ok(())) => tracing::debug!("the connection to Redis was closed"),
        Ok(Err(error)) => tracing::debug!(%error, "no connection to Redis"),
        Err(error) => tracing::warn!(%error, "the Redis client failed"),
    }
}

/// Returns when the client believes in a connection over which nothing is answered.
///
/// fred looks for unresponsive connections only between two writes: a write that blocks
/// on a full socket, to a host that has vanished, holds it until TCP gives up.
async fn wedged(client: &Client, breaker: &Breaker) {
    let mut since = Instant::now();
    loop {
        if breaker.status().state == BreakerState::Closed || !client.is_connected() {
            since = Instant::now();
        }
        if since.elapsed() >= WEDGED {
            return;
        }
        sleep(WEDGED / 6).await;
    }
}

/// Looks for the new primary when the server that we talk to has become a replica.
async fn rejoin(client: &Client, demoted: &Notify) -> Infallible {
    loop {
        demoted.notified().await;
        tracing::warn!("Redis has become read-only: reconnecting, in case that another is the primary now");
        let _outcome = timeout(WEDGED, client.force_reconnection()).await;
        sleep(REJOIN_EVERY).await;
    }
}

// === impl Connection ===

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
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
            assert!(build(&redis(url)).is_ok(), "{url}");
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
            let error = build(&redis(url)).expect_err(url);
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
        let plain = server(&apart("redis://127.0.0.1")).expect("a URL");
        assert_eq!((plain.username.as_deref(), plain.password.as_deref()), (Some("config"), Some("apart")));
        let full = server(&apart("redis://user:inside@127.0.0.1")).expect("a URL");
        assert_eq!((full.username.as_deref(), full.password.as_deref()), (Some("user"), Some("inside")));
    }
}
