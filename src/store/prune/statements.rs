//! SQL of the walk: which rows are old, and their deletion by key.

use sea_orm::Value;
use tokenward_migrations::DETAIL_TABLE;

use super::Table;
use crate::{
    domain::Timestamp,
    store::{
        chore::{Chore, marks},
        dialect::Dialect,
        schema::{Schema, TokenTable},
        time::Times,
    },
};

/// SQL text, ready to run.
pub(in crate::store) struct Statements {
    pub(in crate::store) chore: Chore,
    pub(super) now: String,
    pub(super) batch: usize,
    pub(super) tokens: TableStatements,
    details: TableStatements,
    /// (digest times the batch): those of them that have a row.
    pub(super) rows: String,
    /// (digest times the batch, cutoff): those of them that have a row which stays.
    pub(super) rows_to_stay: String,
}

/// The same for both tables.
pub(super) struct TableStatements {
    /// (cutoff once or twice, digest): the next digests, each with 1 if it is old.
    pub(super) page: String,
    /// (digest times the batch, cutoff): those that are old, held.
    pub(super) held: String,
    /// (digest times the batch, cutoff once or twice).
    pub(super) delete: String,
    /// How often the cutoff is bound in a condition.
    bounds: usize,
    /// How the table keeps times.
    times: Times,
}

/// What is old, and how often the cutoff is bound in it.
#[derive(Clone, Copy)]
struct Condition<'s> {
    text: &'s str,
    bounds: usize,
    times: Times,
}

// === impl Statements ===

impl Statements {
    pub(in crate::store) fn new(dialect: Dialect, schema: &Schema, batch: u32) -> Self {
        let Schema { token: t, .. } = schema.quoted(dialect);
        let digests = marks(batch as usize);
        let rows = format!("SELECT {} FROM {} WHERE {} IN ({digests})", t.digest, t.table, t.digest);
        let is_old = is_old(dialect, &t);
        Self {
            chore: Chore::new(dialect, "prune"),
            now: format!("SELECT {}", dialect.now()),
            batch: batch as usize,
            tokens: TableStatements::new(
                dialect,
                &t.table,
                &t.digest,
                Condition { text: &is_old, bounds: 1, times: t.times(dialect) },
                batch,
            ),
            details: TableStatements::new(
                dialect,
                DETAIL_TABLE,
                "digest",
                Condition { text: &is_forgettable(dialect), bounds: 2, times: Times::ours(dialect) },
                batch,
            ),
            rows_to_stay: dialect.sql(&format!("{rows} AND ({} IS NULL OR NOT ({is_old}))", t.expiry)),
            rows: dialect.sql(&rows),
        }
    }

    /// The statements of a batch, in their order.
    #[cfg(test)]
    pub(in crate::store) fn of_table(&self, table: Table) -> [&str; 3] {
        let TableStatements { page, held, delete, .. } = self.of(table);
        [page, held, delete]
    }

    pub(super) fn of(&self, table: Table) -> &TableStatements {
        match table {
            Table::Tokens => &self.tokens,
            Table::Details => &self.details,
        }
    }
}

fn is_old(dialect: Dialect, t: &TokenTable) -> String {
    format!("{} < ?", dialect.comparable_time(&t.expiry))
}

fn is_forgettable(dialect: Dialect) -> String {
    let (expiry, created) = (dialect.comparable_time("expiry"), dialect.comparable_time("created"));
    format!("({expiry} < ? OR (revoked_at IS NULL AND {created} < ?))")
}

// === impl TableStatements ===

impl TableStatements {
    fn new(dialect: Dialect, table: &str, digest: &str, condition: Condition<'_>, batch: u32) -> Self {
        let Condition { text: is_old, bounds, times } = condition;
        let flag = dialect.integer(&format!("CASE WHEN {is_old} THEN 1 ELSE 0 END"));
        let these = format!("{digest} IN ({})", marks(batch as usize));
        Self {
            page: dialect.sql(&format!(
                "SELECT {digest}, {flag} FROM {table} WHERE {digest} > ? ORDER BY {digest} LIMIT {batch}"
            )),
            held: dialect
                .sql(&format!("SELECT {digest} FROM {table} WHERE {these} AND {is_old}{}", skip_locked(dialect))),
            delete: dialect.sql(&format!("DELETE FROM {table} WHERE {these} AND {is_old}")),
            bounds,
            times,
        }
    }

    pub(super) fn cutoffs(&self, cutoff: Timestamp) -> Vec<Value> {
        vec![self.times.bind(cutoff); self.bounds]
    }
}

/// MariaDB has it since 10.6 and MySQL since 8.0.1; before, the statement waits.
fn skip_locked(dialect: Dialect) -> &'static str {
    match dialect {
        Dialect::Sqlite => "",
        Dialect::Postgres => " FOR UPDATE SKIP LOCKED",
        Dialect::Mysql => " FOR UPDATE /*!80001 SKIP LOCKED */ /*M!100600 SKIP LOCKED */",
    }
}
