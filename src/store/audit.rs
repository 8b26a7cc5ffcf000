//! The audit table: records are added, and deleted when they are past their retention.

use std::time::Duration;

use chrono::TimeDelta;
use sea_orm::Value;
use tokenward_migrations::AUDIT_TABLE;
use tokio::time::{Instant, sleep};

use super::{
    Database, Inner,
    chore::{self, Chore, Holder},
    dialect::Dialect,
    error::StoreError,
    issue::repeat,
    prune, time,
};
use crate::domain::{AuditRecord, AuditTrail, Error, RevocationCause, Timestamp};

const COLUMNS: &str = "id, time, event, caller, peer, certificate, request_id, method, token_id, successor, user_id, code, reason, \
                       revoked, revocation_reason, user_active, suppressed";
/// Bound values of one record.
const WIDTH: usize = 17;
/// Records that are deleted in one transaction.
const DELETED_AT_ONCE: usize = 500;
/// Time from the end of one deletion to the next, by whichever replica; and between two looks whether one is due.
const REST: Duration = Duration::from_hours(1);
const LOOK_EVERY: Duration = Duration::from_mins(1);
/// How much longer a pause is than the work before it, and the longest; shorter than a chore is held.
const PAUSE: u32 = 9;
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Longest texts, in characters; and where the column is narrower.
const LONGEST: usize = 1_024;
const LONGEST_REQUEST_ID: usize = 128;
const LONGEST_REASON: usize = 64;

/// SQL text, ready to run.
pub(super) struct Statements {
    chore: Chore,
    /// (cutoff): the oldest records that are older.
    old: String,
    dialect: Dialect,
}

// === impl Statements ===

impl Statements {
    pub(super) fn new(dialect: Dialect) -> Self {
        let old = format!("SELECT id FROM {AUDIT_TABLE} WHERE time < ? ORDER BY time LIMIT {DELETED_AT_ONCE}");
        Self { chore: Chore::new(dialect, "audit"), old: dialect.sql(&old), dialect }
    }

    fn insert(&self, records: usize) -> String {
        let values = vec![format!("({})", chore::marks(WIDTH)); records].join(", ");
        self.dialect.sql(&self.dialect.insert_new(&format!("{AUDIT_TABLE} ({COLUMNS}) VALUES {values}"), "id"))
    }

    fn delete(&self, records: usize) -> String {
        self.dialect.sql(&format!("DELETE FROM {AUDIT_TABLE} WHERE id IN ({})", chore::marks(records)))
    }
}

// === impl Database ===

impl AuditTrail for Database {
    async fn append(&self, records: Vec<AuditRecord>) -> Result<(), Error> {
        self.write(async move |inner| append(&inner, &records).await).await
    }
}

impl Database {
    /// Deletes records that are older, as long as the process lives: whenever an hour has passed since any replica
    /// did. Run it in a task of its own.
    pub async fn keep_audit(self, retention: Duration) {
        loop {
            sleep(LOOK_EVERY.mul_f64(rand::random_range(0.5..1.0))).await;
            match self.forget_records(retention, REST).await {
                Ok(0) => {}
                Ok(count) => tracing::info!(count, "audit records past their retention were deleted"),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "audit records could not be deleted");
                }
            }
        }
    }

    /// Deletes records that are older, in small transactions, unless another process is at it or was within `rest`;
    /// gives how many.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; what was deleted before stays deleted.
    ///
    /// # Cancel safety
    /// A transaction that was begun runs to its end.
    pub async fn forget_records(&self, retention: Duration, rest: Duration) -> Result<u64, Error> {
        let holder = Holder::new();
        let name = holder.clone();
        if !self.write(async move |inner| inner.audit_statements.chore.take(&inner, &name, rest).await).await? {
            return Ok(0);
        }
        let now = self.write(async move |inner| prune::now(&inner).await).await?;
        let retention = TimeDelta::from_std(retention).unwrap_or(TimeDelta::MAX);
        let before = now.checked_sub_signed(retention).unwrap_or(Timestamp::UNIX_EPOCH);
        let mut count = 0;
        loop {
            let (begun, name) = (Instant::now(), holder.clone());
            let deleted = self.write(async move |inner| repeat(|| delete(&inner, &name, before)).await).await?;
            count += deleted;
            if deleted < DELETED_AT_ONCE as u64 {
                break;
            }
            sleep((begun.elapsed() * PAUSE).min(LONGEST_PAUSE)).await;
        }
        self.write(async move |inner| inner.audit_statements.chore.end(&inner, &holder).await).await?;
        Ok(count)
    }
}

async fn append(inner: &Inner, records: &[AuditRecord]) -> Result<(), StoreError> {
    let sql = inner.audit_statements.insert(records.len());
    let values = || records.iter().flat_map(|record| values(inner.dialect, record)).collect();
    repeat(|| inner.upkeep.execute(&sql, values())).await.map(drop)
}

/// In the order of [`COLUMNS`].
fn values(dialect: Dialect, record: &AuditRecord) -> [Value; WIDTH] {
    let AuditRecord { id, time, event, who, what, outcome, suppressed } = record;
    [
        id.to_string().into(),
        time::bind(dialect, *time),
        event.name().into(),
        bounded(&who.caller, LONGEST).into(),
        bounded(&who.peer, LONGEST).into(),
        bounded(&who.certificate, LONGEST).into(),
        bounded(&who.request_id, LONGEST_REQUEST_ID).into(),
        what.method.into(),
        what.token_id.map(|id| id.to_string()).into(),
        what.successor.map(|id| id.to_string()).into(),
        what.user_id.as_ref().map(|user| user.as_str().to_owned()).into(),
        outcome.code.into(),
        bounded(&outcome.reason, LONGEST_REASON).into(),
        what.revoked.map(number).into(),
        what.cause.map(RevocationCause::name).into(),
        what.user_active.map(i64::from).into(),
        number(*suppressed).into(),
    ]
}

/// A record that the table refuses would be in the way of all after it. PostgreSQL takes no NUL.
fn bounded(text: &str, longest: usize) -> String {
    text.chars().filter(|letter| *letter != '\0').take(longest).collect()
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// One transaction; gives how many.
async fn delete(inner: &Inner, holder: &Holder, before: Timestamp) -> Result<u64, StoreError> {
    let sql = &inner.audit_statements;
    let transaction = inner.upkeep.begin().await?;
    sql.chore.keep(&transaction, holder).await?;
    let rows = transaction.rows(&sql.old, vec![time::bind(inner.dialect, before)]).await?;
    let ids = rows.iter().map(|row| row.try_get_by_index::<String>(0)).collect::<Result<Vec<_>, _>>()?;
    let mut count = 0;
    if !ids.is_empty() {
        let values = ids.iter().map(|id| id.as_str().into()).collect();
        count = transaction.execute(&sql.delete(ids.len()), values).await?;
    }
    transaction.commit().await?;
    Ok(count)
}
