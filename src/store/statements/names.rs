//! Quoted names, and the parts of statements that are made of them.

use std::fmt::Write as _;

use tokenward_migrations::{CLOCK_TABLE, DETAIL_TABLE};

use super::RECORD_COLUMNS;
use crate::{
    config::SchemaPreset,
    domain::Cursor,
    store::{
        dialect::Dialect,
        schema::{Attributes, Schema, TokenTable, UserTable},
    },
};

/// Quoted names.
pub(super) struct Names {
    pub(super) dialect: Dialect,
    pub(super) token: TokenTable,
    pub(super) user: UserTable,
    preset: SchemaPreset,
}

// === impl Names ===

impl Names {
    pub(super) fn new(dialect: Dialect, schema: &Schema) -> Self {
        let Schema { token, user, preset, .. } = schema.quoted(dialect);
        Self { dialect, token, user, preset }
    }

    /// One row whatever is found, and every table probed by its primary key.
    pub(super) fn find(&self, record: &str, user: &str) -> String {
        let Self { dialect, token: t, user: u, .. } = self;
        format!(
            "SELECT {}, {record}, {user} FROM {CLOCK_TABLE} c \
             LEFT JOIN {} t ON t.{} = ? LEFT JOIN {DETAIL_TABLE} d ON d.digest = ? \
             LEFT JOIN {} u ON u.{} = t.{} WHERE c.id = 1",
            dialect.position(),
            t.table,
            t.digest,
            u.table,
            u.id,
            t.user
        )
    }

    /// As [`Self::find`], for a token that may be stored under either of two digests. That one
    /// of them was revoked is told of, whichever of them the row has.
    pub(super) fn find_either(&self, record: &str, user: &str) -> String {
        let Self { dialect, token: t, user: u, .. } = self;
        format!(
            "SELECT {}, {}, {record}, {user} FROM {CLOCK_TABLE} c \
             LEFT JOIN {} t ON t.{} IN (?, ?) LEFT JOIN {DETAIL_TABLE} d ON d.digest = {} \
             LEFT JOIN {DETAIL_TABLE} r ON r.digest IN (?, ?) AND r.revoked_at IS NOT NULL \
             LEFT JOIN {} u ON u.{} = t.{} WHERE c.id = 1",
            dialect.position(),
            dialect.time("r.revoked_at"),
            t.table,
            t.digest,
            dialect.bytewise(&format!("t.{}", t.digest)),
            u.table,
            u.id,
            t.user
        )
    }

    pub(super) fn find_all(&self, record: &str, user: &str, keys: usize) -> String {
        let Self { dialect, token: t, user: u, .. } = self;
        let (position, keys) = (dialect.position(), vec!["?"; keys].join(", "));
        let absent = vec!["NULL"; RECORD_COLUMNS + u.columns()].join(", ");
        format!(
            "SELECT {position}, NULL AS revoked, {record}, {user} FROM {CLOCK_TABLE} c \
             LEFT JOIN {} t ON t.{} IN ({keys}) LEFT JOIN {DETAIL_TABLE} d ON d.digest = {} \
             LEFT JOIN {} u ON u.{} = t.{} WHERE c.id = 1 \
             UNION ALL SELECT {position}, r.digest, {absent} FROM {CLOCK_TABLE} c \
             JOIN {DETAIL_TABLE} r ON r.digest IN ({keys}) AND r.revoked_at IS NOT NULL WHERE c.id = 1",
            t.table,
            t.digest,
            dialect.bytewise(&format!("t.{}", t.digest)),
            u.table,
            u.id,
            t.user
        )
    }

    /// What follows `INSERT INTO` for that many tokens.
    pub(super) fn token_rows(&self, rows: usize) -> String {
        let t = &self.token;
        let extra = t.extra.sql(self.dialect, &t.table);
        let values = format!("?, ?, ?, ?, ?{}", extra.values);
        let values = match extra.from {
            None => format!("VALUES {}", vec![format!("({values})"); rows].join(", ")),
            Some(from) => vec![format!("SELECT {values} FROM {from}"); rows].join(" UNION ALL "),
        };
        format!(
            "{} ({}, {}, {}, {}, {}{}) {values}",
            t.table, t.digest, t.key, t.user, t.created, t.expiry, extra.columns
        )
    }

    /// The [`RECORD_COLUMNS`], the token's own from the token table.
    pub(super) fn record(&self) -> String {
        format!("{}, {}", self.token_columns(), self.label())
    }

    /// What the token table has of a token: digest, user, created, expiry.
    fn token_columns(&self) -> String {
        let Self { dialect, token: t, .. } = self;
        format!(
            "t.{}, {}, {}, {}",
            t.digest,
            dialect.text(&format!("t.{}", t.user)),
            dialect.time(&format!("t.{}", t.created)),
            dialect.time(&format!("t.{}", t.expiry)),
        )
    }

    /// The [`RECORD_COLUMNS`], all of them from the detail table.
    pub(super) fn detail_record(&self) -> String {
        let time = |column| self.dialect.time(column);
        format!("d.digest, d.user_id, {}, {}, {}", time("d.created"), time("d.expiry"), self.label())
    }

    fn label(&self) -> String {
        let time = |column| self.dialect.time(column);
        let (used, revoked) = (time("d.last_used_at"), time("d.revoked_at"));
        format!("d.display_name, d.scopes, d.metadata, d.hint, {used}, {revoked}")
    }

    /// What is kept of a token that ends: digest, user, created, expiry, key.
    pub(super) fn ended(&self) -> String {
        format!("{}, t.{}", self.token_columns(), self.token.key)
    }

    /// A user: id (NULL when there is none), 1 or 0 for active, attributes.
    pub(super) fn user_columns(&self) -> String {
        let Self { dialect, user: u, .. } = self;
        let active =
            u.active.as_ref().map_or_else(|| format!("u.{} IS NOT NULL", u.id), |column| format!("u.{column}"));
        let mut columns = format!(
            "{}, {}",
            dialect.text(&format!("u.{}", u.id)),
            dialect.integer(&format!("CASE WHEN {active} THEN 1 ELSE 0 END"))
        );
        let attributes = match &u.attributes {
            Attributes::Json(column) => std::slice::from_ref(column),
            Attributes::Columns(columns) => columns,
        };
        for column in attributes {
            write!(columns, ", {}", dialect.text(&format!("u.{column}"))).expect("a String takes any text");
        }
        columns
    }

    pub(super) fn user_insert(&self) -> String {
        let UserTable { table, id, active, attributes, .. } = &self.user;
        match (active, attributes) {
            (Some(active), Attributes::Json(attributes)) => {
                let values = format!("{table} ({id}, {active}, {attributes}) VALUES (?, ?, ?)");
                self.dialect.insert_new_to_hold(&values, id)
            }
            (Some(_) | None, Attributes::Columns(_)) | (None, Attributes::Json(_)) => String::new(),
        }
    }

    pub(super) fn user_update(&self) -> Option<String> {
        let UserTable { table, id, active, attributes, .. } = &self.user;
        let active = active.as_ref()?;
        Some(match attributes {
            Attributes::Json(column) => format!("UPDATE {table} SET {active} = ?, {column} = ? WHERE {id} = ?"),
            Attributes::Columns(_) => format!("UPDATE {table} SET {active} = ? WHERE {id} = ?"),
        })
    }

    pub(super) fn expiry(&self) -> String {
        self.dialect.comparable_time(&format!("t.{}", self.token.expiry))
    }

    /// Not expired at (now): the opposite of `TokenRecord::state`'s `expiry < now`.
    pub(super) fn live(&self) -> String {
        format!("(t.{} IS NULL OR {} >= ?)", self.token.expiry, self.expiry())
    }

    /// Digests from (from) up to but without (below). On PostgreSQL a column of the
    /// database's own collation may sort `aa` after `z` (Danish does); Django gives its keys
    /// an index for these bytewise operators.
    pub(super) fn range(&self, digest: &str) -> String {
        match (self.dialect, self.preset) {
            (Dialect::Postgres, SchemaPreset::Knox) => format!("{digest} ~>=~ ? AND {digest} ~<~ ?"),
            (Dialect::Postgres, SchemaPreset::Native) | (Dialect::Sqlite | Dialect::Mysql, _) => {
                format!("{digest} >= ? AND {digest} < ?")
            }
        }
    }

    /// Order and bounds of a page: newest first, then by digest.
    pub(super) fn page(&self, created: &str, digest: &str, after: Option<Cursor>) -> String {
        let created = self.dialect.comparable_time(created);
        let digest = self.dialect.bytewise(digest);
        let bound = match after {
            Some(_) => format!(" AND ({created} < ? OR ({created} = ? AND {digest} > ?))"),
            None => String::new(),
        };
        format!("{bound} ORDER BY {created} DESC, {digest} LIMIT ?")
    }
}
