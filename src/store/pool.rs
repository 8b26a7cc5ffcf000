//! A pool of connections that a hung or vanished server cannot exhaust.
//!
//! `sqlx` returns every connection to its pool by way of a ping that has no time limit.
//! While a server hangs, connections whose caller gave up are stuck in that ping and still
//! count against the pool; a peer that never answers keeps them for ever. So whenever a
//! connection was lost or did not answer in time, the whole `sqlx` pool is *replaced*:
//! the old one is closed, which makes it close what comes back instead of pinging it,
//! and the next caller connects anew. Where no connection could be *had*, that is done only
//! when the pool has been of no use for a while: it may be full of such pings, but where
//! connecting is merely slow its other connections are sound.
//!
//! [`Pool::permits`] bounds the connections in use,
//! whichever pool they are of, and tells waiting for a free connection (load, which
//! replaces nothing) from waiting for the server.
//!
//! The server's own limits end a statement before the client's does (`connect.rs`), so
//! that a slow statement is an error on a sound connection and not a replacement.

use std::{
    mem,
    pin::pin,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbErr, QueryResult, SqliteTransactionMode,
    Statement, TransactionOptions, TransactionTrait as _, Value,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout, timeout_at},
};

use super::{
    connect::{Connector, Limits},
    dialect::Dialect,
    error::{self, Connection, StoreError},
};

/// Age at which a pool is replaced when it has no connection to give, whatever it answers:
/// some of its connections may be stuck.
const RENEWAL: Duration = Duration::from_secs(10);
/// How long a replaced pool is given to say goodbye.
const FAREWELL: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Pool {
    connector: Connector,
    limits: Limits,
    current: RwLock<Generation>,
    /// One for each connection in use.
    permits: Semaphore,
    /// One for each transaction: SQLite has one writer at a time, and a queue here is
    /// fairer and quicker than its polling for the file's lock.
    turns: Semaphore,
}

#[derive(Clone)]
struct Generation {
    number: u64,
    connection: DatabaseConnection,
    born: Instant,
    /// When it last gave an answer, in milliseconds after `born`.
    answered: Arc<AtomicU64>,
}

/// The right to use one connection.
struct Lease<'p> {
    pool: &'p Pool,
    generation: Generation,
    deadline: Instant,
    _permit: SemaphorePermit<'p>,
}

/// A transaction. Dropped without a commit, it is rolled back.
pub(super) struct Transaction<'p> {
    inner: DatabaseTransaction,
    lease: Lease<'p>,
    _turn: SemaphorePermit<'p>,
}

// === impl Pool ===

impl Pool {
    pub(super) fn new(connector: Connector, limits: Limits) -> Self {
        let connections = limits.connections as usize;
        Self {
            current: RwLock::new(Generation::new(0, connector.pool(limits))),
            permits: Semaphore::new(connections),
            turns: Semaphore::new(if connector.dialect() == Dialect::Sqlite { 1 } else { connections }),
            connector,
            limits,
        }
    }

    /// The rows of one statement. Tried once more on a new connection when the first one
    /// turns out to be lost: after a restart of the server all idle ones are.
    pub(super) async fn rows(&self, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, StoreError> {
        let statement = self.statement(sql, values);
        let mut lease = self.lease().await?;
        match lease.run(lease.generation.connection.query_all_raw(statement.clone())).await {
            Err(error) if error.is_connection_lost() => {
                lease.generation = self.current();
                lease.run(lease.generation.connection.query_all_raw(statement)).await
            }
            outcome => outcome,
        }
    }

    /// The first row of one statement.
    pub(super) async fn row(&self, sql: &str, values: Vec<Value>) -> Result<Option<QueryResult>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Runs one statement that may not run twice; gives the rows affected.
    pub(super) async fn execute(&self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        let lease = self.lease().await?;
        let outcome = lease.run(lease.generation.connection.execute_raw(self.statement(sql, values))).await?;
        Ok(outcome.rows_affected())
    }

    /// Begins a transaction; on SQLite it holds the file's write lock from here on.
    pub(super) async fn begin(&self) -> Result<Transaction<'_>, StoreError> {
        let turn = acquire(&self.turns, self.limits.acquire + self.limits.statement).await?;
        let mut lease = self.lease().await?;
        let inner = match lease.begin().await {
            Err(error) if error.is_connection_lost() => {
                lease.generation = self.current();
                lease.begin().await?
            }
            outcome => outcome?,
        };
        Ok(Transaction { inner, lease, _turn: turn })
    }

    /// Closes the connections; what is under way ends in an error or by itself.
    pub(super) async fn close(&self) {
        let connection = self.current().connection;
        let _ = timeout(FAREWELL, connection.close_by_ref()).await;
    }

    /// Connections that are open, and how many of them wait for work.
    pub(super) fn sizes(&self) -> (u32, u32) {
        let connection = self.current().connection;
        let (open, idle) = match self.connector.dialect() {
            Dialect::Sqlite => {
                let pool = connection.get_sqlite_connection_pool();
                (pool.size(), pool.num_idle())
            }
            Dialect::Postgres => {
                let pool = connection.get_postgres_connection_pool();
                (pool.size(), pool.num_idle())
            }
            Dialect::Mysql => {
                let pool = connection.get_mysql_connection_pool();
                (pool.size(), pool.num_idle())
            }
        };
        (open, u32::try_from(idle).unwrap_or(open))
    }

    /// How often the connections were replaced.
    #[cfg(test)]
    pub(super) fn generation(&self) -> u64 {
        self.current().number
    }

    fn statement(&self, sql: &str, values: Vec<Value>) -> Statement {
        Statement::from_sql_and_values(self.connector.dialect().backend(), sql, values)
    }

    async fn lease(&self) -> Result<Lease<'_>, StoreError> {
        let deadline = Instant::now() + self.limits.acquire + self.limits.statement;
        let permit = acquire(&self.permits, self.limits.acquire).await?;
        Ok(Lease { pool: self, generation: self.current(), deadline, _permit: permit })
    }

    fn current(&self) -> Generation {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new pool in the place of generation `number`, once however many notice.
    fn replace(&self, number: u64) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        if current.number != number {
            return;
        }
        let next = Generation::new(number + 1, self.connector.pool(self.limits));
        let old = mem::replace(&mut *current, next);
        drop(current);
        tracing::debug!(target = self.connector.target(), "the database's connections are replaced");
        retire(old.connection, self.connector.dialect());
    }
}

async fn acquire(semaphore: &Semaphore, limit: Duration) -> Result<SemaphorePermit<'_>, StoreError> {
    match timeout(limit, semaphore.acquire()).await {
        Ok(permit) => Ok(permit.expect("the pool's semaphores are never closed")),
        Err(_) => Err(StoreError::PoolExhausted),
    }
}

/// Marks a pool closed before this returns, so that no connection dropped afterwards is
/// pinged, and lets it say goodbye in the background.
fn retire(connection: DatabaseConnection, dialect: Dialect) {
    match dialect {
        Dialect::Sqlite => drop(connection.get_sqlite_connection_pool().close()),
        Dialect::Postgres => drop(connection.get_postgres_connection_pool().close()),
        Dialect::Mysql => drop(connection.get_mysql_connection_pool().close()),
    }
    tokio::spawn(async move { timeout(FAREWELL, connection.close_by_ref()).await.is_ok() });
}

// === impl Lease ===

impl Lease<'_> {
    async fn begin(&self) -> Result<DatabaseTransaction, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        self.run(self.generation.connection.begin_with_options(options)).await
    }

    async fn run<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, StoreError> {
        self.run_until(self.deadline, work).await
    }

    async fn run_until<T>(
        &self,
        deadline: Instant,
        work: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, StoreError> {
        // Pinned out here, so that the pool is replaced before `work` drops its connection.
        let mut work = pin!(work);
        let outcome = timeout_at(deadline, work.as_mut())
            .await
            .map_or(Err(StoreError::TimedOut), |done| done.map_err(StoreError::Database));
        match &outcome {
            Ok(_) => self.generation.note_answer(),
            Err(error) if self.is_doubtful(error) => self.pool.replace(self.generation.number),
            Err(_) => {}
        }
        outcome
    }

    /// Whether an error casts doubt on the pool's connections.
    fn is_doubtful(&self, error: &StoreError) -> bool {
        match error {
            StoreError::TimedOut => true,
            StoreError::Database(error) => match error::connection(error) {
                Connection::Sound => false,
                Connection::Lost => true,
                Connection::Unreachable => {
                    self.generation.is_stale(self.pool.limits.acquire + self.pool.limits.statement)
                }
            },
            StoreError::PoolExhausted
            | StoreError::Shed
            | StoreError::Row(_)
            | StoreError::Conflict
            | StoreError::Task(_)
            | StoreError::Answer(_) => false,
        }
    }
}

// === impl Generation ===

impl Generation {
    fn new(number: u64, connection: DatabaseConnection) -> Self {
        Self { number, connection, born: Instant::now(), answered: Arc::default() }
    }

    fn note_answer(&self) {
        let age = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.answered.store(age, Ordering::Relaxed);
    }

    /// Whether it has given no answer for so long, or is old.
    fn is_stale(&self, silence: Duration) -> bool {
        let age = self.born.elapsed();
        let answered = Duration::from_millis(self.answered.load(Ordering::Relaxed));
        age >= RENEWAL || age.saturating_sub(answered) >= silence
    }
}

// === impl Transaction ===

impl Transaction<'_> {
    /// The rows of one statement.
    pub(super) async fn rows(&self, sql: &str, values: Vec<Value>) -> Result<Vec<QueryResult>, StoreError> {
        self.run(self.inner.query_all_raw(self.lease.pool.statement(sql, values))).await
    }

    /// The first row of one statement.
    pub(super) async fn row(&self, sql: &str, values: Vec<Value>) -> Result<Option<QueryResult>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Runs one statement; gives the rows affected.
    pub(super) async fn execute(&self, sql: &str, values: Vec<Value>) -> Result<u64, StoreError> {
        let outcome = self.run(self.inner.execute_raw(self.lease.pool.statement(sql, values))).await?;
        Ok(outcome.rows_affected())
    }

    pub(super) async fn commit(self) -> Result<(), StoreError> {
        let Self { inner, lease, .. } = self;
        lease.run_until(Instant::now() + lease.pool.limits.statement, inner.commit()).await
    }

    pub(super) async fn rollback(self) -> Result<(), StoreError> {
        let Self { inner, lease, .. } = self;
        lease.run_until(Instant::now() + lease.pool.limits.statement, inner.rollback()).await
    }

    async fn run<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, StoreError> {
        self.lease.run_until(Instant::now() + self.lease.pool.limits.statement, work).await
    }
}
