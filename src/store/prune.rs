//! Deleting what has long expired: token rows, and what was kept about tokens that are gone.
//!
//! Neither table has an index on the expiry, and one of them may be another program's. So a
//! pruning walks over the primary key, once: it reads a bounded page of keys, deletes what is
//! old among them by key in a short transaction, rests, and goes on behind the page's last
//! key. What is old is decided by the database's clock, and again by each `DELETE`: a token
//! whose life was prolonged meanwhile stays. Rows that another transaction holds are left to
//! it. The rests are nine times as long as the work: one connection is used for a tenth of
//! the time.
//!
//! What is kept about a token (`tokenward_token_detail`) goes when its row is gone, and
//! - it expired that long ago, revoked or not: no backup can bring it back to life;
//! - or it was never revoked, but another program removed it. How a token without an
//!   expiry was revoked is kept for ever: it is what refuses that token if a backup brings it back.
//!
//! The journal has no record of these deletions: see `triggers.rs`, and the least `prune.keep_expired`.

use std::{fmt, time::Duration};

use chrono::TimeDelta;
use sea_orm::Value;
use tokio::time::{Instant, sleep};

use super::{Database, Inner, chore::Holder, error::StoreError, issue::repeat, pool::Transaction, time};
use crate::{
    config,
    domain::{Error, Timestamp},
};

mod statements;

pub(super) use self::statements::Statements;

/// How much longer a rest is than the work before it.
const REST: u32 = 9;
/// The longest rest; shorter than a chore is held.
const LONGEST_REST: Duration = Duration::from_secs(5);
/// Time between two looks whether a pruning is due.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// What a pruning does with what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PruneMode {
    /// It deletes it.
    Delete,
    /// It counts it.
    Count,
}

/// What a pruning has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pruned {
    /// Token rows that were deleted, or only counted.
    pub tokens: u64,
    /// Rows of what was kept about tokens that are gone.
    pub details: u64,
    /// Rows that were looked at.
    pub looked_at: u64,
    /// About how much of the walk is done, 0 to 1: digests are spread evenly.
    pub share: f64,
}

/// One walk over both tables.
pub struct Pruning {
    database: Database,
    mode: PruneMode,
    cutoff: Timestamp,
    holder: Holder,
    done: Pruned,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Tokens,
    Details,
}

struct Page {
    last: Option<String>,
    looked_at: u64,
    old: Vec<String>,
}

// === impl Database ===

impl Database {
    /// Begins a walk over the rows that expired over `prune.keep_expired` ago, unless
    /// another process is at it, or has been within `rest`: `None` then. To count takes no turn.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    ///
    /// # Cancel safety
    /// A walk that is dropped keeps others waiting for at most a minute.
    pub async fn begin_pruning(
        &self,
        keep_expired: Duration,
        mode: PruneMode,
        rest: Duration,
    ) -> Result<Option<Pruning>, Error> {
        let holder = Holder::new();
        if mode == PruneMode::Delete {
            let name = holder.clone();
            if !self.write(async move |inner| inner.prune_statements.chore.take(&inner, &name, rest).await).await? {
                return Ok(None);
            }
        }
        let now = self.write(async move |inner| now(&inner).await).await?;
        let keep = TimeDelta::from_std(keep_expired).unwrap_or(TimeDelta::MAX);
        let cutoff = now.checked_sub_signed(keep).unwrap_or(Timestamp::UNIX_EPOCH);
        Ok(Some(Pruning { database: self.clone(), mode, cutoff, holder, done: Pruned::default() }))
    }

    /// Prunes whenever `prune.interval` has passed since any replica did, for ever. Run it in a task of its own.
    pub async fn keep_pruned(self, config: config::Prune) {
        loop {
            sleep(LOOK_EVERY.min(config.interval).mul_f64(rand::random_range(0.5..1.0))).await;
            let outcome = match self.begin_pruning(config.keep_expired, PruneMode::Delete, config.interval).await {
                Ok(Some(pruning)) => pruning.run(|_| {}).await.map(Some),
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            match outcome {
                Ok(None) => {}
                Ok(Some(pruned)) => tracing::info!(tokens = pruned.tokens, details = pruned.details, "pruned"),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "pruning was broken off"),
            }
        }
    }
}

/// The time by the database's clock.
pub(super) async fn now(inner: &Inner) -> Result<Timestamp, StoreError> {
    let row = inner.upkeep.row(&inner.prune_statements.now, vec![]).await?.ok_or(StoreError::Row("the time"))?;
    time::read(inner.dialect, &row, 0)?.ok_or(StoreError::Row("the time"))
}

// === impl Pruning ===

impl Pruning {
    /// Walks to the end, telling how far it has come after each batch.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; what was deleted before stays deleted.
    ///
    /// # Cancel safety
    /// A batch that was begun runs to its end.
    pub async fn run(mut self, mut seen: impl FnMut(&Pruned)) -> Result<Pruned, Error> {
        for table in [Table::Tokens, Table::Details] {
            let mut after = String::new();
            loop {
                let begun = Instant::now();
                let page = self.batch(table, after).await?;
                seen(&self.done);
                let Some(last) = page else { break };
                after = last;
                sleep((begun.elapsed() * REST).min(LONGEST_REST)).await;
            }
        }
        if self.mode == PruneMode::Delete {
            let holder = self.holder;
            self.database.write(async move |inner| inner.prune_statements.chore.end(&inner, &holder).await).await?;
        }
        Ok(self.done)
    }

    /// One page behind a digest; gives its last digest, unless the table ends there.
    async fn batch(&mut self, table: Table, after: String) -> Result<Option<String>, Error> {
        let (cutoff, mode, holder) = (self.cutoff, self.mode, self.holder.clone());
        let work = async move |inner: std::sync::Arc<Inner>| {
            let page = page(&inner, table, &after, cutoff).await?;
            let count = match mode {
                _ if page.old.is_empty() => 0,
                PruneMode::Count => count(&inner, table, &page.old, cutoff).await?,
                PruneMode::Delete => repeat(|| delete(&inner, &holder, table, &page.old, cutoff)).await?,
            };
            Ok((page, count))
        };
        let (page, count) = self.database.write(work).await?;
        if mode == PruneMode::Delete {
            self.database.0.pruned.inc_by(count);
        }
        let is_last = page.looked_at < self.database.0.prune_statements.batch as u64;
        match table {
            Table::Tokens => self.done.tokens += count,
            Table::Details => self.done.details += count,
        }
        self.done.looked_at += page.looked_at;
        let behind = if is_last { 1.0 } else { page.last.as_deref().map_or(1.0, place) };
        self.done.share = if table == Table::Tokens { behind / 2.0 } else { 0.5 + behind / 2.0 };
        Ok(page.last.filter(|_| !is_last))
    }
}

/// Where a digest is among all, 0 to 1.
pub(super) fn place(hex: &str) -> f64 {
    let head = hex.get(..4).and_then(|head| u16::from_str_radix(head, 16).ok());
    f64::from(head.unwrap_or(0)) / 65_536.0
}

async fn page(inner: &Inner, table: Table, after: &str, cutoff: Timestamp) -> Result<Page, StoreError> {
    let sql = inner.prune_statements.of(table);
    let mut values = sql.cutoffs(cutoff);
    values.push(after.into());
    let rows = inner.upkeep.rows(&sql.page, values).await?;
    let (mut last, mut old) = (None, vec![]);
    for row in &rows {
        let (digest, is_old): (String, i64) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        if is_old != 0 {
            old.push(digest.clone());
        }
        last = Some(digest);
    }
    Ok(Page { last, looked_at: rows.len() as u64, old })
}

async fn count(inner: &Inner, table: Table, old: &[String], cutoff: Timestamp) -> Result<u64, StoreError> {
    if table == Table::Tokens {
        return Ok(old.len() as u64);
    }
    let sql = &inner.prune_statements;
    let mut values = padded(old, sql.batch);
    values.extend(sql.tokens.cutoffs(cutoff));
    let stay = inner.upkeep.rows(&sql.rows_to_stay, values).await?;
    Ok((old.len() - stay.len().min(old.len())) as u64)
}

/// Deletes those of the rows that are old still, in one transaction; gives how many.
pub(super) async fn delete(
    inner: &Inner,
    holder: &Holder,
    table: Table,
    old: &[String],
    cutoff: Timestamp,
) -> Result<u64, StoreError> {
    let transaction = inner.upkeep.begin().await?;
    inner.prune_statements.chore.keep(&transaction, holder).await?;
    let ours = match table {
        Table::Tokens => held(inner, &transaction, old, cutoff).await?,
        Table::Details => without_row(inner, &transaction, old).await?,
    };
    let mut count = 0;
    if !ours.is_empty() {
        let sql = inner.prune_statements.of(table);
        let mut values = padded(&ours, inner.prune_statements.batch);
        values.extend(sql.cutoffs(cutoff));
        count = transaction.execute(&sql.delete, values).await?;
    }
    transaction.commit().await?;
    Ok(count)
}

async fn held(
    inner: &Inner,
    transaction: &Transaction<'_>,
    old: &[String],
    cutoff: Timestamp,
) -> Result<Vec<String>, StoreError> {
    let sql = &inner.prune_statements;
    let mut values = padded(old, sql.batch);
    values.extend(sql.tokens.cutoffs(cutoff));
    first_column(&transaction.rows(&sql.tokens.held, values).await?)
}

/// Asked by bound values: comparing the two tables' columns would pass by the index where
/// their collations differ.
async fn without_row(inner: &Inner, transaction: &Transaction<'_>, old: &[String]) -> Result<Vec<String>, StoreError> {
    let sql = &inner.prune_statements;
    let rows = first_column(&transaction.rows(&sql.rows, padded(old, sql.batch)).await?)?;
    Ok(old.iter().filter(|digest| !rows.contains(digest)).cloned().collect())
}

fn first_column(rows: &[sea_orm::QueryResult]) -> Result<Vec<String>, StoreError> {
    rows.iter().map(|row| Ok(row.try_get_by_index(0)?)).collect()
}

/// The last one again and again, so that each batch is the same statement and is prepared once.
fn padded(digests: &[String], length: usize) -> Vec<Value> {
    let again = digests.last().into_iter().cycle();
    digests.iter().chain(again).take(length).map(|digest| digest.as_str().into()).collect()
}

// === impl Pruned ===

impl fmt::Display for Pruned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tokens, details, looked_at, .. } = self;
        write!(f, "{tokens} expired tokens and {details} records of ended ones, of {looked_at} rows looked at")
    }
}
