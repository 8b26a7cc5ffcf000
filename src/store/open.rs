//! How a database is opened, and why it cannot be.

use std::{io, path::PathBuf, sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};

use super::{
    Database, Inner, audit,
    connect::{Connector, Limits, Session},
    journal, outbox,
    pool::Pool,
    prune,
    schema::Schema,
    statements::Statements,
    upgrade,
};
use crate::{
    config::{Config, TokenHash},
    metrics,
};

/// Why the database cannot be used. The texts name the setting and never hold a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not a URL of a database that is supported.
    #[error("database.url must begin with sqlite://, postgres:// or mysql://")]
    Scheme,
    /// Not a URL; with what the driver says of it, but for what it quotes.
    #[error(
        "database.url cannot be read ({0}): use sqlite://PATH, postgres://USER@HOST/NAME or mysql://USER@HOST/NAME"
    )]
    Url(String),
    /// Each connection would have its own database, gone with it.
    #[error("database.url names a database in memory: use a file, sqlite://PATH")]
    InMemory,
    /// The file is not there and cannot be made.
    #[error("database.url: {} cannot be created: check that its directory exists and can be written", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A name that no database takes, or that the preset has no use for.
    #[error("schema.{key} {remedy}")]
    Schema {
        /// The setting.
        key: &'static str,
        /// What it must be.
        remedy: &'static str,
    },
    /// No connection.
    #[error(
        "database.url: no connection to {target}: check that the database runs, and its address, user and password"
    )]
    Connect {
        /// Host and port, socket or file.
        target: String,
        /// What was tried.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

// === impl Database ===

impl Database {
    /// Connects, within `database.acquire_timeout` + `database.statement_timeout`. Does not look at the schema.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(config: &Config) -> Result<Self, OpenError> {
        let schema = Schema::resolve(config)?;
        let connector = Connector::new(&config.database, Session::of(&schema))?;
        let limits = Limits::of(&config.database);
        let dialect = connector.dialect();
        let database = Self(Arc::new(Inner {
            statements: Statements::new(dialect, &schema),
            pool: Pool::new(connector.clone(), limits),
            probe: Pool::new(connector.clone(), probe_limits(limits)),
            journal: Pool::new(connector.clone(), Limits { connections: 1, ..limits }),
            journal_statements: journal::Statements::new(dialect, &schema),
            listener: journal::Listener::new(&connector, limits, &config.coherence),
            upkeep: Pool::new(connector.clone(), Limits { connections: 1, ..limits }),
            prune_statements: prune::Statements::new(dialect, &schema, config.prune.batch),
            audit_statements: audit::Statements::new(dialect),
            outbox: outbox::Open::new(&config.knox_redis, dialect),
            lookups: Semaphore::new(config.database.max_concurrent_lookups as usize),
            limits,
            limit_per_user: config.tokens.limit_per_user,
            create_on_issue: config.users.create_on_issue,
            upgrade_digests: config.tokens.upgrade_digests,
            digest_chars: if config.tokens.hash == TokenHash::Sha256 { 64 } else { 128 },
            upgrades: Arc::new(Semaphore::new(upgrade::CONCURRENCY)),
            queries: metrics::database_queries(),
            pruned: metrics::counter("pruned_total", "Rows of expired tokens that were deleted."),
            dialect,
            schema,
            connector,
        }));
        database.0.connect().await?;
        journal::warn_of_lost_commits(&database.0).await;
        Ok(database)
    }
}

// === impl Inner ===

impl Inner {
    /// Two processes that open a new SQLite file at once can meet in its change to WAL,
    /// which waits for nobody: so it is tried again.
    async fn connect(&self) -> Result<(), OpenError> {
        let target = || self.connector.target();
        let patience = self.limits.acquire + self.limits.statement;
        let attempts = async {
            loop {
                match self.pool.rows(&self.statements.ping, vec![]).await {
                    Err(error) if error.is_busy_file() => tokio::time::sleep(Duration::from_millis(20)).await,
                    outcome => return outcome,
                }
            }
        };
        match timeout(patience, attempts).await {
            Ok(outcome) => {
                outcome.map(drop).map_err(|error| OpenError::Connect { target: target(), source: error.into() })
            }
            Err(elapsed) => Err(OpenError::Connect { target: target(), source: elapsed.into() }),
        }
    }
}

/// Half for connecting, half for the statement: a ping takes `statement_timeout` in all.
fn probe_limits(limits: Limits) -> Limits {
    Limits { connections: 1, acquire: limits.statement / 2, statement: limits.statement / 2 }
}
