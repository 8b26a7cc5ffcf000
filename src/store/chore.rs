//! Chores that one process does at a time: a row in a table of ours says who is at it, until
//! when, and when it was last done. That works on every database, and behind a pooler that
//! hands out another connection for each transaction, where a lock of the session would not.

use std::time::Duration;

use tokenward_migrations::CHORE_TABLE;

use super::{Inner, dialect::Dialect, error::StoreError, issue::repeat, pool::Transaction};
use crate::domain::Error;

/// Longer than any batch and the pause after it. Who takes longer has lost the chore.
const HELD: Duration = Duration::from_mins(1);

/// Who does a chore: a name that nobody else has.
#[derive(Clone, Debug)]
pub(super) struct Holder(String);

// === impl Holder ===

impl Holder {
    pub(super) fn new() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }
}

/// Takes the pruning, unless another one has it or it was done within `rest`.
pub(super) async fn take(inner: &Inner, holder: &Holder, rest: Duration) -> Result<bool, StoreError> {
    let seconds = i64::try_from(rest.as_secs()).unwrap_or(i64::MAX / 2);
    let values = || vec![holder.0.as_str().into(), holder.0.as_str().into(), seconds.into()];
    let taken = repeat(|| inner.upkeep.execute(&inner.prune_statements.take, values())).await?;
    Ok(taken > 0)
}

/// Takes it for longer, in a transaction of the chore: if another one has taken it, nothing of that happens.
pub(super) async fn keep(inner: &Inner, transaction: &Transaction<'_>, holder: &Holder) -> Result<(), StoreError> {
    let values = vec![holder.0.as_str().into(), holder.0.as_str().into()];
    let kept = transaction.execute(&inner.prune_statements.keep, values).await?;
    if kept > 0 { Ok(()) } else { Err(Error::Unavailable("another process has taken the pruning over".into()).into()) }
}

/// Gives it back, done.
pub(super) async fn end(inner: &Inner, holder: &Holder) -> Result<(), StoreError> {
    let values = || vec![holder.0.as_str().into()];
    repeat(|| inner.upkeep.execute(&inner.prune_statements.end, values())).await.map(drop)
}

/// (holder, holder, seconds of rest).
pub(super) fn take_sql(dialect: Dialect) -> String {
    let now = unix_now(dialect);
    dialect.sql(&format!(
        "UPDATE {CHORE_TABLE} SET holder = ?, held_until = {now} + {} WHERE name = 'prune' \
         AND (holder = ? OR held_until < {now}) AND ended <= {now} - ?",
        HELD.as_secs()
    ))
}

/// (holder, holder).
pub(super) fn keep_sql(dialect: Dialect) -> String {
    let now = unix_now(dialect);
    dialect.sql(&format!(
        "UPDATE {CHORE_TABLE} SET holder = ?, held_until = {now} + {} WHERE name = 'prune' AND holder = ?",
        HELD.as_secs()
    ))
}

/// (holder).
pub(super) fn end_sql(dialect: Dialect) -> String {
    let now = unix_now(dialect);
    dialect.sql(&format!(
        "UPDATE {CHORE_TABLE} SET holder = '', held_until = 0, ended = {now} WHERE name = 'prune' AND holder = ?"
    ))
}

/// Seconds since 1970 by the database's clock, a 64-bit integer.
pub(super) fn unix_now(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "CAST(strftime('%s', 'now') AS INTEGER)",
        Dialect::Postgres => "CAST(extract(epoch FROM clock_timestamp()) AS BIGINT)",
        Dialect::Mysql => "CAST(unix_timestamp() AS SIGNED)",
    }
}

/// That many placeholders.
pub(super) fn marks(count: usize) -> String {
    vec!["?"; count].join(", ")
}
