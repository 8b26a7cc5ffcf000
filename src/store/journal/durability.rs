//! Whether what the database calls committed is still there after it crashed.
//!
//! Revoke answers COMPLETE for what is committed. A server that is told to acknowledge commits before
//! they are on its disk may lose the last ones in a crash, and with them a revocation.

use crate::store::{Inner, dialect::Dialect, error::StoreError};

/// Says so once, at start, for each setting. Not every program that writes need have the same.
pub(in crate::store) async fn warn_of_lost_commits(inner: &Inner) {
    match lax_settings(inner).await {
        Ok(settings) => {
            for setting in settings {
                tracing::warn!(setting, "the database may lose committed changes, revocations too, when it crashes");
            }
        }
        Err(error) => tracing::debug!(%error, "the durability of commits was not found out"),
    }
}

/// The settings of the server, as our connections have them, that do without the disk.
pub(in crate::store) async fn lax_settings(inner: &Inner) -> Result<Vec<String>, StoreError> {
    let Some(sql) = settings(inner.dialect) else { return Ok(vec![]) };
    let rows = inner.probe.rows(sql, vec![]).await?;
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// Names and values of those that are lax. SQLite's connections are made with `synchronous = FULL`.
fn settings(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::Sqlite => None,
        Dialect::Postgres => Some(
            "SELECT name || ' = ' || setting FROM pg_settings \
             WHERE name IN ('fsync', 'synchronous_commit') AND setting = 'off' ORDER BY name",
        ),
        Dialect::Mysql => Some(
            "SELECT CONCAT('innodb_flush_log_at_trx_commit = ', @@global.innodb_flush_log_at_trx_commit) \
             FROM (SELECT 1) one WHERE @@global.innodb_flush_log_at_trx_commit <> 1",
        ),
    }
}
