//! Chores that one process does at a time: a row in a table of ours says who is at it, until
//! when, and when it was last done. That works on every database, and behind a pooler that
//! hands out another connection for each transaction, where a lock of the session would not.

use std::time::Duration;

use tokenward_migrations::CHORE_TABLE;

use super::{Inner, dialect::Dialect, error::StoreError, issue::repeat, pool::Transaction};
use crate::domain::Error;

/// Longer than any batch and the pause after it. Who takes longer has lost the chore.
const HELD: Duration = Duration::from_mins(1);

/// One chore: its statements.
pub(super) struct Chore {
    /// (holder, holder, seconds of rest).
    take: String,
    /// (holder, holder).
    keep: String,
    /// (holder).
    end: String,
}

/// Who does a chore: a name that nobody else has.
#[derive(Clone, Debug)]
pub(super) struct Holder(String);

// === impl Holder ===

impl Holder {
    pub(super) fn new() -> Self {
        Self(uuid::Uuid::new_v4().simple().to_string())
    }
}

// === impl Chore ===

impl Chore {
    /// The chore of a name for which a migration has made a row.
    pub(super) fn new(dialect: Dialect, name: &str) -> Self {
        let (now, held) = (unix_now(dialect), HELD.as_secs());
        let update = |change: &str, condition: &str| {
            dialect.sql(&format!("UPDATE {CHORE_TABLE} SET {change} WHERE name = '{name}' AND {condition}"))
        };
        Self {
            take: update(
                &format!("holder = ?, held_until = {now} + {held}"),
                &format!("(holder = ? OR held_until < {now}) AND ended <= {now} - ?"),
            ),
            keep: update(&format!("holder = ?, held_until = {now} + {held}"), "holder = ?"),
            end: update(&format!("holder = '', held_until = 0, ended = {now}"), "holder = ?"),
        }
    }

    /// Takes it, unless another one has it or it was done within `rest`.
    pub(super) async fn take(&self, inner: &Inner, holder: &Holder, rest: Duration) -> Result<bool, StoreError> {
        let seconds = i64::try_from(rest.as_secs()).unwrap_or(i64::MAX / 2);
        let values = || vec![holder.0.as_str().into(), holder.0.as_str().into(), seconds.into()];
        let taken = repeat(|| inner.upkeep.execute(&self.take, values())).await?;
        Ok(taken > 0)
    }

    /// Takes it for longer, in a transaction of the chore: if another one has taken it, nothing of that happens.
    pub(super) async fn keep(&self, transaction: &Transaction<'_>, holder: &Holder) -> Result<(), StoreError> {
        let values = vec![holder.0.as_str().into(), holder.0.as_str().into()];
        let kept = transaction.execute(&self.keep, values).await?;
        if kept > 0 {
            Ok(())
        } else {
            Err(Error::Unavailable("another process has taken the chore over".into()).into())
        }
    }

    /// Gives it back, done.
    pub(super) async fn end(&self, inner: &Inner, holder: &Holder) -> Result<(), StoreError> {
        let values = || vec![holder.0.as_str().into()];
        repeat(|| inner.upkeep.execute(&self.end, values())).await.map(drop)
    }
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
