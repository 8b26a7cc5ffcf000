//! The database: pool, timeouts, statements, schema.
//!
//! [`Database`] is the [`TokenStore`] that holds the truth, over SQLite, PostgreSQL and
//! MySQL or MariaDB. There is one code path: `schema.rs` says which tables and columns,
//! `dialect.rs` what a database spells its own way, `statements.rs` puts both into
//! SQL once, and the files named after what they do run it. It knows nothing of caches.
//! What ends a token, whoever ends it, leaves a record in a journal: `triggers.rs` has it
//! written, `journal.rs` numbered, read and kept short.
//!
//! Every call ends within a bound whatever the database does: see `pool.rs`.

use std::{
    future::Future,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus::{IntCounter, core::Collector};
use tokio::{sync::Semaphore, time::timeout};
use tracing::Instrument as _;

use self::{
    connect::{Connector, Limits},
    dialect::Dialect,
    error::StoreError,
    pool::Pool,
    rows::Rows,
    schema::Schema,
    statements::Statements,
    time::Times,
    user_key::UserKey,
};
use crate::{
    domain::{
        Administration, Digests, Ending, Error, Extended, Extension, Inserted, Look, NewToken, Reading, Revocation,
        Rotated, Rotation, Target, Timestamp, TokenChange, TokenId, TokenQuery, TokenRecord, TokenStore, Used, User,
        UserChange, UserId, UserQuery,
    },
    metrics::{Histograms, Label as _, Observed, PoolState, Query, Reading as Sample},
    request::carried,
    spans,
};

mod audit;
mod change;
mod check;
mod chore;
mod connect;
mod dialect;
mod error;
mod extend;
mod extra;
mod find;
mod import;
mod issue;
mod journal;
mod migrate;
mod open;
mod outbox;
mod pool;
mod prune;
mod read;
mod revoke;
mod rotate;
mod rows;
mod schema;
mod statements;
mod time;
mod triggers;
mod upgrade;
mod used;
mod user_key;
mod users;

pub use check::{Finding, Severity};
pub use import::{Import, ImportMode, Imported, Written};
pub use migrate::{MigrationState, MigrationStatus, SchemaError};
pub use open::OpenError;
pub use outbox::Backlog;
pub use prune::{PruneMode, Pruned, Pruning};

/// The tokens and users in a database. Clones share its connections.
#[derive(Clone)]
pub struct Database(Arc<Inner>);

struct Inner {
    connector: Connector,
    dialect: Dialect,
    schema: Schema,
    statements: Statements,
    pool: Pool,
    /// A connection of its own, so that a busy pool does not look like a lost database.
    probe: Pool,
    /// Another, for what keeps the journal in order and may wait for locks.
    journal: Pool,
    journal_statements: journal::Statements,
    listener: journal::Listener,
    /// Another, for what works in the background. Nothing that callers wait for does.
    upkeep: Pool,
    prune_statements: prune::Statements,
    audit_statements: audit::Statements,
    /// `None` where nobody is to be told.
    outbox: Option<outbox::Open>,
    /// Look-ups under way or waiting for a connection.
    lookups: Semaphore,
    limits: Limits,
    /// Live tokens a user may have; 0 for no limit.
    limit_per_user: u32,
    create_on_issue: bool,
    /// Whether rows of knox 4.2 are rewritten, and how many still may be at once.
    upgrade_digests: bool,
    upgrades: Arc<Semaphore>,
    /// Hexadecimal digits of a digest.
    digest_chars: usize,
    queries: Histograms<Query>,
    pruned: IntCounter,
}

// === impl Database ===

impl Database {
    /// The file of a SQLite database.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.0.connector.file()
    }

    /// `sqlite`, `postgres` or `mysql`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.0.dialect.name()
    }

    /// Asks the database for a sign of life, on a connection that nothing else uses,
    /// within `database.statement_timeout`.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    ///
    /// # Cancel safety
    /// Dropping the future loses only the answer.
    pub async fn ping(&self) -> Result<(), Error> {
        self.timed(Query::Ping, self.0.probe.rows(&self.0.statements.ping, vec![])).await?;
        Ok(())
    }

    /// Forgets every `request_id` that was used before a time; gives how many.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    ///
    /// # Cancel safety
    /// As [`TokenStore::revoke`].
    pub async fn purge_requests(&self, before: Timestamp) -> Result<u64, Error> {
        let before = time::bind(self.0.dialect, before);
        self.write(async move |inner| inner.pool.execute(&inner.statements.requests_purge, vec![before]).await).await
    }

    /// Closes every connection, within 10 seconds.
    pub async fn close(&self) {
        self.0.listener.close();
        tokio::join!(self.0.pool.close(), self.0.probe.close(), self.0.journal.close(), self.0.upkeep.close());
    }

    /// What is counted of it.
    #[must_use]
    pub fn collectors(&self) -> Vec<Box<dyn Collector>> {
        let inner = self.0.clone();
        let help = "Connections of the pool that callers wait for.";
        let connections = Observed::new("database_pool_connections", help, &["state"], move || {
            let (open, idle) = inner.pool.sizes();
            let states = [(PoolState::Idle, idle), (PoolState::Used, open.saturating_sub(idle))];
            states.map(|(state, count)| Sample::new([state.word()], count.into())).into()
        });
        vec![Box::new(self.0.queries.clone()), Box::new(self.0.pruned.clone()), Box::new(connections)]
    }

    /// Measures how long it takes.
    async fn timed<T>(&self, query: Query, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let outcome = work.instrument(spans::database(self.kind(), query.word())).await;
        self.0.queries.of(query).observe(began.elapsed().as_secs_f64());
        outcome
    }

    /// Runs a write in a task of its own: once polled it runs to its end, within a bound,
    /// although the caller may be dropped at its deadline.
    async fn write<T, W, F>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: FnOnce(Arc<Inner>) -> F,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let bounded = timeout(self.0.write_bound(), work(self.0.clone())).in_current_span();
        let outcome = match tokio::spawn(carried(bounded)).await {
            Ok(outcome) => outcome.unwrap_or(Err(StoreError::TimedOut)),
            Err(stopped) => Err(StoreError::Task(stopped)),
        };
        Ok(outcome?)
    }
}

impl TokenStore for Database {
    async fn find(&self, digests: impl Into<Digests> + Send, look: impl Into<Look> + Send) -> Result<Reading, Error> {
        let (digests, look) = (digests.into(), look.into());
        Ok(self.timed(Query::Find, find::find(&self.0, digests, &look)).await?)
    }

    async fn find_all(&self, batch: Vec<(Digests, Look)>) -> Vec<Result<Reading, Error>> {
        self.timed(Query::FindAll, find::find_all(&self.0, &batch)).await
    }

    async fn insert(&self, token: NewToken) -> Result<Inserted, Error> {
        self.timed(Query::Issue, self.write(async move |inner| issue::insert(&inner, &token).await)).await
    }

    async fn extend(&self, extension: Extension) -> Result<Extended, Error> {
        self.timed(Query::Extend, self.write(async move |inner| extend::extend(&inner, &extension).await)).await
    }

    async fn revoke(&self, target: Target, ending: Ending) -> Result<Revocation, Error> {
        self.timed(Query::Revoke, self.write(async move |inner| revoke::revoke(&inner, target, ending).await)).await
    }

    async fn revoke_all(&self, user: UserId, except: Option<Target>, ending: Ending) -> Result<Revocation, Error> {
        let work = self.write(async move |inner| revoke::revoke_all(&inner, &user, except, ending).await);
        self.timed(Query::RevokeAll, work).await
    }

    async fn get(&self, token_id: TokenId) -> Result<TokenRecord, Error> {
        Ok(self.timed(Query::Get, read::get(&self.0, token_id)).await?)
    }

    async fn list(&self, query: TokenQuery) -> Result<Vec<TokenRecord>, Error> {
        Ok(self.timed(Query::List, read::list(&self.0, &query)).await?)
    }

    async fn user(&self, user: UserId) -> Result<User, Error> {
        Ok(self.timed(Query::User, read::user(&self.0, &user)).await?)
    }

    async fn upsert_user(&self, change: UserChange) -> Result<(User, Revocation), Error> {
        self.timed(Query::UpsertUser, self.write(async move |inner| users::upsert(&inner, &change).await)).await
    }

    async fn delete_user(&self, user: UserId, ending: Ending) -> Result<Revocation, Error> {
        let work = self.write(async move |inner| users::delete(&inner, &user, ending).await);
        self.timed(Query::DeleteUser, work).await
    }
}

impl Administration for Database {
    async fn update(&self, change: TokenChange) -> Result<(TokenRecord, Revocation), Error> {
        self.timed(Query::Update, self.write(async move |inner| change::update(&inner, &change).await)).await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error> {
        self.timed(Query::Rotate, self.write(async move |inner| rotate::rotate(&inner, &rotation).await)).await
    }

    async fn users(&self, query: UserQuery) -> Result<Vec<User>, Error> {
        Ok(self.timed(Query::Users, read::users(&self.0, &query)).await?)
    }

    async fn note_used(&self, used: Vec<Used>) -> Result<u64, Error> {
        self.timed(Query::NoteUsed, self.write(async move |inner| used::note(&inner, used).await)).await
    }
}

// === impl Inner ===

impl Inner {
    /// Of the token table, and of the user table.
    fn rows(&self) -> Rows<'_> {
        Rows { dialect: self.dialect, schema: &self.schema, times: self.times() }
    }

    /// Of the detail table.
    fn detail_rows(&self) -> Rows<'_> {
        Rows { times: Times::ours(self.dialect), ..self.rows() }
    }

    /// How the token table keeps times.
    fn times(&self) -> Times {
        self.schema.token.times(self.dialect)
    }

    /// `None` when the user table can hold no such key.
    fn user_key(&self, id: &UserId) -> Option<UserKey> {
        UserKey::of(id, self.schema.user.id_type, self.dialect)
    }

    /// Longest time that a write may take with all its statements and repetitions.
    fn write_bound(&self) -> Duration {
        self.limits.acquire + 5 * self.limits.statement
    }
}

#[cfg(test)]
mod tests;
