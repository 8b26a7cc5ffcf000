//! What goes wrong with a database, and the one place that says it in the domain's terms.
//!
//! No text here holds the database's URL: `sqlx` reports hosts and user names, never
//! the password it connected with.

use std::time::Duration;

use sea_orm::{
    ConnAcquireErr, DbErr, RuntimeErr,
    sqlx::{self, mysql::MySqlDatabaseError},
};
use tokio::task::JoinError;

use crate::domain;

/// How soon a look-up that was shed may be tried again.
const RETRY_AFTER: Duration = Duration::from_millis(100);

/// Why the database layer has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// The database, or the way to it, reported an error.
    #[error("the database reported an error")]
    Database(#[source] DbErr),
    /// The database did not answer in time.
    #[error("the database did not answer in time")]
    TimedOut,
    /// Every connection of the pool was in use.
    #[error("no connection was free within database.acquire_timeout")]
    PoolExhausted,
    /// As many look-ups are under way as are allowed.
    #[error("database.max_concurrent_lookups look-ups are under way")]
    Shed,
    /// A row holds what no writer of this schema writes.
    #[error("a row does not hold {0}")]
    Row(&'static str),
    /// Another transaction got in the way; nothing was done.
    #[error("another transaction got in the way")]
    Conflict,
    /// The task that wrote did not end by itself.
    #[error("the writing task was stopped")]
    Task(#[source] JoinError),
    /// Not a fault of the database.
    #[error(transparent)]
    Answer(domain::Error),
}

/// What an error says of the connection that it came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// It works.
    Sound,
    /// It is gone, and its siblings with it: the server restarted, say. What was asked did
    /// not run, or its result was lost.
    Lost,
    /// There was none to be had.
    Unreachable,
}

// === impl StoreError ===

impl StoreError {
    /// Whether another transaction got in the way. Once this one is rolled back, it may run again.
    pub(super) fn is_conflict(&self) -> bool {
        match self {
            Self::Conflict => true,
            Self::Database(error) => {
                matches!(sqlstate(error).as_deref(), Some("40001" | "40P01" | "55P03")) || is_lock_timeout(error)
            }
            Self::TimedOut | Self::PoolExhausted | Self::Shed | Self::Row(_) | Self::Task(_) | Self::Answer(_) => false,
        }
    }

    /// Whether SQLite reports that the file is in use (5, in the low byte of its codes).
    pub(super) fn is_busy_file(&self) -> bool {
        let code = match self {
            Self::Database(error) => sqlstate(error),
            _ => None,
        };
        code.and_then(|code| code.parse::<i32>().ok()).is_some_and(|code| code & 0xff == 5)
    }

    /// Whether the connection was lost, so that a read may be tried on a new one.
    pub(super) fn is_connection_lost(&self) -> bool {
        matches!(self, Self::Database(error) if connection(error) == Connection::Lost)
    }
}

impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        Self::Database(error)
    }
}

impl From<domain::Error> for StoreError {
    fn from(error: domain::Error) -> Self {
        Self::Answer(error)
    }
}

impl From<StoreError> for domain::Error {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Answer(answer) => answer,
            StoreError::Shed => Self::Overloaded { retry_after: RETRY_AFTER },
            fault @ (StoreError::Database(_)
            | StoreError::TimedOut
            | StoreError::PoolExhausted
            | StoreError::Row(_)
            | StoreError::Conflict
            | StoreError::Task(_)) => Self::Unavailable(Box::new(fault)),
        }
    }
}

/// What an error says of its connection.
pub(super) fn connection(error: &DbErr) -> Connection {
    match error {
        DbErr::ConnectionAcquire(ConnAcquireErr::Timeout) => Connection::Unreachable,
        // The pool was replaced between being chosen and being asked.
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed) => Connection::Lost,
        _ => match sqlx_error(error) {
            Some(sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolClosed) => Connection::Lost,
            Some(sqlx::Error::Database(_)) if is_shutdown(sqlstate(error).as_deref()) => Connection::Lost,
            _ => Connection::Sound,
        },
    }
}

/// PostgreSQL's "terminating connection" and "shutting down" (57P01 to 57P03), MySQL's connection errors (08).
fn is_shutdown(state: Option<&str>) -> bool {
    state.is_some_and(|state| state.starts_with("08") || matches!(state, "57P01" | "57P02" | "57P03"))
}

/// MySQL has a number for it, 1205, but no state. PostgreSQL's `lock_timeout` gives 55P03.
fn is_lock_timeout(error: &DbErr) -> bool {
    let error = sqlx_error(error).and_then(sqlx::Error::as_database_error);
    error.and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>()).is_some_and(|error| error.number() == 1205)
}

fn sqlstate(error: &DbErr) -> Option<String> {
    Some(sqlx_error(error)?.as_database_error()?.code()?.into_owned())
}

fn sqlx_error(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => Some(error),
        _ => None,
    }
}
