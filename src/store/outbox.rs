//! The outbox of django-rest-knox-redis: written in the transactions that end tokens, read
//! and emptied by whoever delivers it.
//!
//! Nothing is written unless `knox_redis.url` is set. It runs on a connection of its own, so
//! that look-ups do not wait for it.

use std::time::Duration;

use sea_orm::Value;
use tokenward_migrations::OUTBOX_TABLE;
use tokio::sync::Notify;

use super::{
    Database, Inner, chore, dialect::Dialect, error::StoreError, issue::repeat, pool::Transaction, rows::EndedRow,
};
use crate::{
    config::KnoxRedis,
    domain::{Error, Notice, Outbox},
};

/// Notices in one statement.
const ROWS_PER_STATEMENT: usize = 300;

/// The outbox of a deployment that has one.
pub(super) struct Open {
    written: Notify,
    dialect: Dialect,
}

/// What has not been delivered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// How many notices.
    pub pending: u64,
    /// How old the oldest one is, to the second; zero when there is none.
    pub oldest_age: Duration,
}

// === impl Open ===

impl Open {
    /// `None` where there is nobody to tell.
    pub(super) fn new(config: &KnoxRedis, dialect: Dialect) -> Option<Self> {
        (!config.url.is_empty()).then(|| Self { written: Notify::new(), dialect })
    }

    fn insert(&self, rows: usize) -> String {
        let values = vec![format!("(?, ?, {})", chore::unix_now(self.dialect)); rows].join(", ");
        self.dialect.sql(&format!("INSERT INTO {OUTBOX_TABLE} (token_key, user_id, created) VALUES {values}"))
    }
}

/// Writes a notice for each token that a transaction ends.
pub(super) async fn note(inner: &Inner, transaction: &Transaction<'_>, ended: &[EndedRow]) -> Result<(), StoreError> {
    let Some(outbox) = &inner.outbox else { return Ok(()) };
    let named: Vec<_> = ended.iter().filter(|row| !row.key.is_empty()).collect();
    for chunk in named.chunks(ROWS_PER_STATEMENT) {
        let values = chunk.iter().flat_map(|row| [row.key.as_str().into(), row.user.as_str().into()]).collect();
        transaction.execute(&outbox.insert(chunk.len()), values).await?;
    }
    Ok(())
}

/// Wakes who delivers, once the transaction of [`note`] is committed.
pub(super) fn wake(inner: &Inner) {
    if let Some(outbox) = &inner.outbox {
        outbox.written.notify_one();
    }
}

// === impl Database ===

impl Database {
    /// How much django-rest-knox-redis has yet to be told.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    ///
    /// # Cancel safety
    /// Dropping the future loses only the answer.
    pub async fn outbox_backlog(&self) -> Result<Backlog, Error> {
        Ok(backlog(&self.0).await?)
    }
}

/// Each call runs to its end in a task of its own, as the journal's do.
impl Outbox for Database {
    async fn oldest(&self, limit: u32) -> Result<Vec<Notice>, Error> {
        self.write(async move |inner| oldest(&inner, limit).await).await
    }

    async fn delivered(&self, notices: Vec<Notice>) -> Result<(), Error> {
        self.write(async move |inner| delivered(&inner, &notices).await).await
    }

    async fn written(&self) {
        match &self.0.outbox {
            Some(outbox) => outbox.written.notified().await,
            None => std::future::pending().await,
        }
    }
}

async fn oldest(inner: &Inner, limit: u32) -> Result<Vec<Notice>, StoreError> {
    let sql = format!("SELECT id, token_key, user_id FROM {OUTBOX_TABLE} ORDER BY id LIMIT {limit}");
    let rows = inner.upkeep.rows(&sql, vec![]).await?;
    let read = |row: &sea_orm::QueryResult| -> Result<Notice, StoreError> {
        let id = row.try_get_by_index(0)?;
        Ok(Notice { id, token_key: row.try_get_by_index(1)?, user: row.try_get_by_index(2)? })
    };
    rows.iter().map(read).collect()
}

async fn delivered(inner: &Inner, notices: &[Notice]) -> Result<(), StoreError> {
    for chunk in notices.chunks(ROWS_PER_STATEMENT) {
        let sql = inner.dialect.sql(&format!("DELETE FROM {OUTBOX_TABLE} WHERE id IN ({})", chore::marks(chunk.len())));
        let ids = || chunk.iter().map(|notice| Value::from(notice.id)).collect();
        repeat(|| inner.upkeep.execute(&sql, ids())).await?;
    }
    Ok(())
}

async fn backlog(inner: &Inner) -> Result<Backlog, StoreError> {
    let age = format!("{} - MIN(created)", chore::unix_now(inner.dialect));
    let (count, age) = (inner.dialect.integer("COUNT(*)"), inner.dialect.integer(&age));
    let row = inner.upkeep.row(&format!("SELECT {count}, {age} FROM {OUTBOX_TABLE}"), vec![]).await?;
    let row = row.ok_or(StoreError::Row("a count"))?;
    let (pending, age): (i64, Option<i64>) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
    Ok(Backlog {
        pending: u64::try_from(pending).unwrap_or(0),
        oldest_age: Duration::from_secs(age.and_then(|age| u64::try_from(age).ok()).unwrap_or(0)),
    })
}
