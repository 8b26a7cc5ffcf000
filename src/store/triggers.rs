//! What writes the journal whoever ends a token: triggers on the token and the user table.
//!
//! | record | cause |
//! | --- | --- |
//! | the token | its row is deleted, unless it expired over an hour ago (16 hours, where times are local ones); its expiry comes earlier, or is set where there was none; its digest or its user changes |
//! | the user | its row is deleted; its key changes; it is disabled; while it is active, an attribute that answers carry changes |
//! | everything | `TRUNCATE` on PostgreSQL; there also more than 1,000 rows of one statement |
//!
//! A disabled user has no fact to outdate, so its attributes do not matter until it is
//! active again. Times are compared on the database's clock.
//!
//! What no trigger sees, and what to do about it:
//! - MySQL and MariaDB: `TRUNCATE`, and rows that a foreign key deletes. The record of the user covers
//!   its tokens; a user that goes with a row of a third table is not seen. SQLite: `REPLACE`,
//!   and `DROP TABLE`. After these, `tokenward cache flush`.
//! - PostgreSQL: rows that logical replication applies (statement triggers do not fire for
//!   them), and statements that name a partition of a partitioned token table.
//! - Everywhere: the detail table, which is this service's alone to write.
//!
//! The conditions are the same for all three databases; `dialect.rs` spells them.

use chrono_tz::Tz;
use tokenward_migrations::{Installed, Triggers};

use super::{
    dialect::Dialect,
    schema::{Attributes, Schema, TokenTable, UserTable},
};

mod mysql;
mod postgres;
mod sqlite;

/// What all our triggers' names begin with, and nobody else's.
const PREFIX: &str = "tokenward_journal_";

/// Quoted names, and what the triggers are called.
struct Plan {
    dialect: Dialect,
    token: TokenTable,
    user: UserTable,
    /// The schema of the journal, on PostgreSQL.
    home: String,
    journal: String,
    /// Of the definition.
    fingerprint: String,
}

/// A trigger's name and its SQL.
struct Trigger {
    on: Table,
    event: &'static str,
    sql: Vec<String>,
}

#[derive(Clone, Copy)]
enum Table {
    Token,
    User,
}

/// The triggers of a schema whose journal is in the database schema `home`: a quoted
/// name, which PostgreSQL alone looks at.
pub(super) fn triggers(dialect: Dialect, schema: &Schema, home: &str) -> Triggers {
    let draft = Plan::new(dialect, schema, String::new(), String::new());
    let definition: Vec<_> = draft.triggers().into_iter().flat_map(|trigger| trigger.sql).collect();
    let fingerprint = format!("{:016x}", fnv1a(&definition.concat()));
    let plan = Plan::new(dialect, schema, home.to_owned(), fingerprint);
    let all = plan.triggers();
    Triggers {
        names: all.iter().map(|trigger| plan.installed(trigger, schema)).collect(),
        create: all.into_iter().flat_map(|trigger| trigger.sql).collect(),
        functions: if dialect == Dialect::Postgres { postgres::functions(home) } else { vec![] },
        catalog: catalog(dialect),
    }
}

/// Name and table of each of our triggers that fires, in every session.
fn catalog(dialect: Dialect) -> String {
    let ours = |column| format!("substr({column}, 1, {}) = '{PREFIX}'", PREFIX.len());
    match dialect {
        Dialect::Sqlite => {
            format!("SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' AND {}", ours("name"))
        }
        Dialect::Postgres => format!(
            "SELECT t.tgname::text, c.relname::text FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid \
             WHERE NOT t.tgisinternal AND t.tgenabled = 'A' AND pg_table_is_visible(c.oid) AND {}",
            ours("t.tgname::text")
        ),
        Dialect::Mysql => format!(
            "SELECT CAST(trigger_name AS CHAR), CAST(event_object_table AS CHAR) FROM information_schema.triggers \
             WHERE trigger_schema = DATABASE() AND {}",
            ours("trigger_name")
        ),
    }
}

/// 64-bit FNV-1a: tells definitions apart, and nothing depends on nobody being able to forge it.
fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

// === impl Plan ===

impl Plan {
    fn new(dialect: Dialect, schema: &Schema, home: String, fingerprint: String) -> Self {
        let Schema { token, user, .. } = schema.quoted(dialect);
        let journal = tokenward_migrations::JOURNAL_TABLE;
        let journal = match dialect {
            Dialect::Postgres => format!("{home}.{journal}"),
            Dialect::Sqlite | Dialect::Mysql => journal.to_owned(),
        };
        Self { dialect, token, user, home, journal, fingerprint }
    }

    fn triggers(&self) -> Vec<Trigger> {
        match self.dialect {
            Dialect::Sqlite => sqlite::triggers(self),
            Dialect::Postgres => postgres::triggers(self),
            Dialect::Mysql => mysql::triggers(self),
        }
    }

    fn installed(&self, trigger: &Trigger, schema: &Schema) -> Installed {
        let table = match trigger.on {
            Table::Token => schema.token.table.clone(),
            Table::User => schema.user.table.clone(),
        };
        Installed { name: self.name(trigger.on, trigger.event), table }
    }

    /// At most 63 bytes, letters, digits and `_`.
    fn name(&self, on: Table, event: &str) -> String {
        format!("{PREFIX}{}_{event}_{}", on.name(), self.fingerprint)
    }

    fn table(&self, on: Table) -> &str {
        match on {
            Table::Token => &self.token.table,
            Table::User => &self.user.table,
        }
    }

    /// The column of the journal that a record of this table fills.
    fn column(on: Table) -> &'static str {
        match on {
            Table::Token => "digest",
            Table::User => "user_id",
        }
    }

    /// What goes into it. A key that is too long becomes NULL, and the record one of everything:
    /// a trigger must not fail its statement.
    fn key(&self, on: Table, row: &str) -> String {
        let column = match on {
            Table::Token => &self.token.digest,
            Table::User => &self.user.id,
        };
        let text = self.dialect.text(&format!("{row}.{column}"));
        match self.dialect {
            Dialect::Sqlite => text,
            Dialect::Postgres | Dialect::Mysql => format!("CASE WHEN octet_length({text}) <= 128 THEN {text} END"),
        }
    }

    /// Whether a token that is deleted may still be somewhere in a cache.
    fn token_counts(&self, old: &str) -> String {
        let expiry = format!("{old}.{}", self.token.expiry);
        // The farthest zone's clock is 14 hours from UTC.
        let hours = if self.token.zone == Tz::UTC { 1 } else { 16 };
        match self.dialect {
            Dialect::Sqlite => format!("NOT coalesce(julianday({expiry}) < julianday('now', '-{hours} hour'), 0)"),
            Dialect::Postgres => format!("{expiry} IS NULL OR {expiry} > now() - interval '1 hour'"),
            Dialect::Mysql => format!("{expiry} IS NULL OR {expiry} > utc_timestamp(6) - INTERVAL {hours} HOUR"),
        }
    }

    /// Whether an update takes something from a token. A missing new row has NULL for all.
    fn token_lost(&self, old: &str, new: &str) -> String {
        let differs = |column: &String| self.differs(&format!("{old}.{column}"), &format!("{new}.{column}"));
        let (was, is) = (format!("{old}.{}", self.token.expiry), format!("{new}.{}", self.token.expiry));
        let earlier = match self.dialect {
            // Text of any writer: an update that is not known to give more time takes some.
            Dialect::Sqlite => format!("{is} IS NOT {was} AND NOT coalesce(julianday({is}) > julianday({was}), 0)"),
            Dialect::Postgres | Dialect::Mysql => format!("({was} IS NULL OR {is} < {was})"),
        };
        let (digest, user) = (differs(&self.token.digest), differs(&self.token.user));
        format!("{digest} OR {user} OR ({is} IS NOT NULL AND {earlier})")
    }

    /// Whether an update takes something from a user that was active.
    fn user_lost(&self, old: &str, new: &str) -> String {
        let differs = |column: &String| self.differs(&format!("{old}.{column}"), &format!("{new}.{column}"));
        let attributes = match &self.user.attributes {
            Attributes::Json(column) => std::slice::from_ref(column),
            Attributes::Columns(columns) => columns,
        };
        let mut lost: Vec<_> = std::iter::once(&self.user.id).chain(attributes).map(differs).collect();
        let Some(active) = &self.user.active else { return lost.join(" OR ") };
        lost.push(format!("CASE WHEN {new}.{active} THEN 0 ELSE 1 END = 1"));
        format!("CASE WHEN {old}.{active} THEN 1 ELSE 0 END = 1 AND ({})", lost.join(" OR "))
    }

    /// Whether two values differ byte by byte as answers carry them, NULL being a value.
    fn differs(&self, old: &str, new: &str) -> String {
        let (was, is) = (self.dialect.text(old), self.dialect.text(new));
        match self.dialect {
            Dialect::Sqlite => format!("{was} IS NOT {is} COLLATE BINARY"),
            Dialect::Postgres => format!("{was} COLLATE \"C\" IS DISTINCT FROM {is} COLLATE \"C\""),
            Dialect::Mysql => format!("NOT (CAST({was} AS BINARY) <=> CAST({is} AS BINARY))"),
        }
    }
}

// === impl Table ===

impl Table {
    fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::User => "user",
        }
    }
}
