//! The schema's changes: which are applied, and applying or undoing them, one process at a time.

use std::{fmt, time::Duration};

use sea_orm::{
    ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, DbErr, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait as _,
};
use tokenward_migrations::{Migrator, Step};
use tokio::time::timeout;

use super::{Database, Inner, connect::Limits, dialect::Dialect};

/// How long one process waits for another that is changing the schema.
const PATIENCE: Duration = Duration::from_mins(1);
/// Longest time for one statement of a change, which may rewrite a large table.
const LONGEST_STATEMENT: Duration = Duration::from_hours(1);
/// `tokenwar` in ASCII: PostgreSQL's advisory locks have numbers.
const ADVISORY_LOCK: i64 = 0x746f_6b65_6e77_6172;

/// One change of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Its name, which begins with its date.
    pub name: String,
    /// Whether the database has it.
    pub state: MigrationState,
}

/// Whether a database has a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationState {
    /// It has.
    Applied,
    /// It has not.
    Pending,
}

/// A connection of its own, which no time limit of the service cuts off.
struct Change {
    transaction: DatabaseTransaction,
    pool: DatabaseConnection,
}

/// Why the schema is not, or cannot be brought, as this version needs it.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Changes are missing.
    #[error("the database's schema is behind this version by {}: run `tokenward migrate up`", .pending.join(", "))]
    Behind {
        /// Their names.
        pending: Vec<String>,
    },
    /// Another process holds the lock.
    #[error("another process has been changing the schema for over 60 seconds: try again when it is done")]
    Busy,
    /// The database failed.
    #[error("the database's schema could not be read or changed")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
}

// === impl MigrationState ===

impl fmt::Display for MigrationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Applied => "applied",
            Self::Pending => "pending",
        })
    }
}

// === impl Database ===

impl Database {
    /// Every change that this version knows, in order.
    ///
    /// # Errors
    /// [`SchemaError::Database`].
    pub async fn schema_status(&self) -> Result<Vec<MigrationStatus>, SchemaError> {
        let bound = self.0.limits.acquire + 3 * self.0.limits.statement;
        let steps = timeout(bound, steps(&self.0)).await.map_err(|elapsed| SchemaError::Database(elapsed.into()))??;
        Ok(steps.into_iter().map(MigrationStatus::from).collect())
    }

    /// Applies what is pending; gives the names of what was applied. Triggers of the journal
    /// that are gone, disabled or made for another configuration are put up again.
    /// Processes that do so at once wait for each other.
    ///
    /// # Errors
    /// [`SchemaError::Busy`], [`SchemaError::Database`].
    pub async fn migrate_up(&self) -> Result<Vec<String>, SchemaError> {
        let schema = Change::begin_alone(&self.0).await?;
        let applied = migrator(&self.0, &schema.transaction).await?.apply(&schema.transaction).await?;
        schema.commit().await?;
        Ok(applied)
    }

    /// Undoes the last `steps` changes, with the data that they hold; gives the names of what was undone.
    ///
    /// # Errors
    /// As [`Self::migrate_up`]; also when a newer version has changed the schema since.
    pub async fn migrate_down(&self, steps: u32) -> Result<Vec<String>, SchemaError> {
        let schema = Change::begin_alone(&self.0).await?;
        let undone = migrator(&self.0, &schema.transaction).await?.undo(&schema.transaction, steps).await?;
        schema.commit().await?;
        Ok(undone)
    }

    /// Refuses a database that lacks a change. One that has more is fine: changes add
    /// first and take away a version later.
    ///
    /// # Errors
    /// [`SchemaError::Behind`] with the command to run, [`SchemaError::Database`].
    pub async fn require_current_schema(&self) -> Result<(), SchemaError> {
        let steps = self.schema_status().await?.into_iter();
        let pending: Vec<_> =
            steps.filter(|step| step.state == MigrationState::Pending).map(|step| step.name).collect();
        if pending.is_empty() { Ok(()) } else { Err(SchemaError::Behind { pending }) }
    }
}

async fn steps(inner: &Inner) -> Result<Vec<Step>, SchemaError> {
    let schema = Change::begin(inner, inner.limits).await?;
    let steps = migrator(inner, &schema.transaction).await?.steps(&schema.transaction).await?;
    schema.commit().await?;
    Ok(steps)
}

/// The side tables are, or will be, in the schema that PostgreSQL creates tables in.
async fn migrator(inner: &Inner, transaction: &DatabaseTransaction) -> Result<Migrator, DbErr> {
    let home = match inner.dialect {
        Dialect::Sqlite | Dialect::Mysql => String::new(),
        Dialect::Postgres => {
            let current = Statement::from_string(inner.dialect.backend(), "SELECT current_schema()::text");
            let row = transaction.query_one_raw(current).await?;
            let name = row.map(|row| row.try_get_by_index::<Option<String>>(0)).transpose()?.flatten();
            name.map_or_else(String::new, |name| inner.dialect.quote(&name))
        }
    };
    Ok(inner.schema.migrator(inner.dialect, &home))
}

// === impl MigrationStatus ===

impl From<Step> for MigrationStatus {
    fn from(step: Step) -> Self {
        let state = if step.applied { MigrationState::Applied } else { MigrationState::Pending };
        Self { name: step.name, state }
    }
}

// === impl SchemaError ===

impl From<DbErr> for SchemaError {
    fn from(error: DbErr) -> Self {
        Self::Database(error.into())
    }
}

// === impl Change ===

impl Change {
    /// For a look.
    async fn begin(inner: &Inner, limits: Limits) -> Result<Self, SchemaError> {
        let pool = inner.connector.pool(Limits { connections: 1, ..limits });
        let transaction = pool.begin().await?;
        Ok(Self { transaction, pool })
    }

    /// For a change: nobody else is changing the schema until it ends. On SQLite the
    /// transaction itself sees to that.
    async fn begin_alone(inner: &Inner) -> Result<Self, SchemaError> {
        let pool = inner.connector.pool(Limits { connections: 1, statement: LONGEST_STATEMENT, ..inner.limits });
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let alone = async {
            let transaction = pool.begin_with_options(options).await?;
            lock(&transaction, inner.dialect).await?;
            Ok::<_, DbErr>(transaction)
        };
        let transaction = timeout(PATIENCE, alone).await.map_err(|_| SchemaError::Busy)??;
        Ok(Self { transaction, pool })
    }

    /// Closing the connection gives MySQL's lock back.
    async fn commit(self) -> Result<(), SchemaError> {
        self.transaction.commit().await?;
        self.pool.close().await?;
        Ok(())
    }
}

/// PostgreSQL's lock ends with the transaction, MySQL's with the connection, since there
/// each change of the schema ends the transaction.
async fn lock(transaction: &DatabaseTransaction, dialect: Dialect) -> Result<(), DbErr> {
    let sql = match dialect {
        Dialect::Sqlite => return Ok(()),
        Dialect::Postgres => format!("SELECT pg_advisory_xact_lock({ADVISORY_LOCK})"),
        Dialect::Mysql => {
            format!("SELECT GET_LOCK(CONCAT('tokenward.', SHA1(DATABASE())), {})", 2 * PATIENCE.as_secs())
        }
    };
    transaction.query_one_raw(Statement::from_string(dialect.backend(), sql)).await?;
    Ok(())
}
