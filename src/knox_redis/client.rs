//! The connection to django-rest-knox-redis's Redis: a client of its own, so that its
//! troubles do not touch the cache.

use std::{collections::BTreeMap, fmt, time::Duration};

use fred::{
    clients::Client,
    error::{Error as FredError, ErrorKind},
    interfaces::{ClientLike as _, KeysInterface as _, SetsInterface as _, TransactionInterface as _},
    types::{
        Builder, ConnectHandle, Value,
        config::{Config, ConnectionConfig, PerformanceConfig, TcpConfig},
    },
};
use futures::future::try_join_all;
use tokio::time::timeout;

use super::keys::Keys;
use crate::{config, domain::Notice};

/// Longest time to connect, and for the commands of one batch. Nobody waits for them.
const DEADLINE: Duration = Duration::from_secs(5);

/// Why the client cannot be set up. The URL may hold a password and is never shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Not a Redis URL.
    #[error(
        "knox_redis.url cannot be read as a Redis URL: check scheme, host, port, database number and percent-encoding"
    )]
    Url,
    /// The root certificates of this machine.
    #[error("the root certificates of this machine cannot be loaded, which rediss:// needs")]
    Tls,
}

/// Why Redis has not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// No answer in time.
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Timeout,
    /// What the client or the server said, without the arguments that it may quote.
    #[error("{0}")]
    Redis(String),
}

/// All that a client is made of.
#[derive(Clone)]
pub(super) struct Blueprint(Config);

/// A connected client; its task ends when this is dropped.
#[derive(Debug)]
pub(super) struct Connection {
    client: Client,
    task: ConnectHandle,
}

// === impl Blueprint ===

impl Blueprint {
    pub(super) fn new(config: &config::KnoxRedis) -> Result<Self, StartError> {
        // Another part of the process may have installed it already.
        let _already = rustls::crypto::ring::default_provider().install_default();
        let mut server = Config::from_url(config.url.expose()).map_err(|error| match error.kind() {
            ErrorKind::Tls => StartError::Tls,
            _ => StartError::Url,
        })?;
        server.fail_fast = true;
        if server.password.is_none() && !config.password.is_empty() {
            server.password = Some(config.password.expose().to_owned());
        }
        Ok(Self(server))
    }

    pub(super) async fn connect(&self) -> Result<Connection, DeliveryError> {
        let client = self.client();
        let task = client.connect();
        let connection = Connection { client, task };
        within(connection.client.wait_for_connect()).await?;
        Ok(connection)
    }

    /// One that does not reconnect: the courier takes another.
    fn client(&self) -> Client {
        let performance = PerformanceConfig { default_command_timeout: DEADLINE, ..PerformanceConfig::default() };
        let connection = ConnectionConfig {
            connection_timeout: DEADLINE,
            internal_command_timeout: DEADLINE,
            max_command_attempts: 1,
            tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
            ..ConnectionConfig::default()
        };
        let mut builder = Builder::from_config(self.0.clone());
        builder.set_performance_config(performance).set_connection_config(connection);
        builder.build().expect("the builder has a configuration")
    }
}

impl fmt::Debug for Blueprint {
    /// The configuration holds the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blueprint").finish_non_exhaustive()
    }
}

// === impl Connection ===

impl Connection {
    /// Whether it is worth a try: a server closes what is idle for long.
    pub(super) fn is_open(&self) -> bool {
        self.client.is_connected()
    }

    /// Deletes the tokens and takes them out of their users' sets.
    pub(super) async fn delete(&self, keys: &Keys, notices: &[Notice]) -> Result<(), DeliveryError> {
        let tokens = notices.iter().map(|notice| keys.token(&notice.token_key)).collect();
        let mut sets = BTreeMap::<String, Vec<&str>>::new();
        for notice in notices {
            sets.entry(keys.user(&notice.user)).or_default().push(&notice.token_key);
        }
        if self.client.is_clustered() { self.one_by_one(tokens, sets).await } else { self.at_once(tokens, sets).await }
    }

    /// One transaction, sent in one piece, whatever the number of tokens.
    async fn at_once(&self, tokens: Vec<String>, sets: BTreeMap<String, Vec<&str>>) -> Result<(), DeliveryError> {
        let transaction = self.client.multi();
        within(async {
            transaction.del::<(), _>(tokens).await?;
            for (set, members) in sets {
                transaction.srem::<(), _, _>(set, members).await?;
            }
            lenient(transaction.exec::<Value>(true).await)
        })
        .await
    }

    /// A cluster has the keys in different slots, so there is no transaction of them. First
    /// the tokens, which are what lets anybody in.
    async fn one_by_one(&self, tokens: Vec<String>, sets: BTreeMap<String, Vec<&str>>) -> Result<(), DeliveryError> {
        let client = &self.client;
        within(async {
            try_join_all(tokens.into_iter().map(|token| client.del::<(), _>(token))).await?;
            let remove = async |(set, members)| lenient(client.srem::<Value, _, _>(set, members).await);
            try_join_all(sets.into_iter().map(remove)).await.map(drop)
        })
        .await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Where a set should be stands a value of another type: there is nothing to remove, and no
/// sense in trying again. The other commands of its transaction were carried out.
fn lenient(answer: Result<Value, FredError>) -> Result<(), FredError> {
    match answer {
        Err(error) if error.details().starts_with("WRONGTYPE") => Ok(()),
        answer => answer.map(drop),
    }
}

async fn within<T>(work: impl Future<Output = Result<T, FredError>>) -> Result<T, DeliveryError> {
    match timeout(DEADLINE, work).await {
        Ok(answer) => answer.map_err(|error| DeliveryError::Redis(told(&error))),
        Err(_) => Err(DeliveryError::Timeout),
    }
}

/// The kind, and the server's code when there is one; the rest of the text may quote a key.
fn told(error: &FredError) -> String {
    let word = error.details().split_whitespace().next().unwrap_or_default();
    let is_code = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase());
    if is_code { format!("Redis answered {word}") } else { format!("{:?} error", error.kind()) }
}
