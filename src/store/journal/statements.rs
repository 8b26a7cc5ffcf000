//! The journal's SQL.

use tokenward_migrations::{CHANNEL, CLOCK_TABLE, JOURNAL_TABLE};

use super::{MAX_NUMBERED, MAX_POLLED};
use crate::store::{
    dialect::{Dialect, Hold},
    schema::Schema,
};

/// SQL text, ready to run.
pub(in crate::store) struct Statements {
    /// (last seq known): position, floor, now, 1 for a writable server, record.
    pub(super) poll: String,
    /// (): position, how many records have no number, 0 or 1.
    pub(super) settled: String,
    /// (): position, the clock held.
    pub(super) clock_held: String,
    /// (): the ids of records without a number.
    pub(super) pending: String,
    /// (how many).
    pub(super) advance: String,
    /// (kept, kept): raises the floor to the clock less what is kept.
    pub(super) raise_floor: String,
    /// (): floor, lowest number in the journal.
    pub(super) lowest: String,
    /// (highest).
    pub(super) delete_numbered: String,
    /// (digest, user in text form).
    pub(super) note: String,
    /// (digest, key, what `Extra` binds): a token of whichever user is there.
    pub(super) canary_insert: String,
    /// (epoch).
    pub(super) new_epoch: String,
    dialect: Dialect,
}

// === impl Statements ===

impl Statements {
    pub(in crate::store) fn new(dialect: Dialect, schema: &Schema) -> Self {
        let sql = |text: &str| dialect.sql(text);
        let position = dialect.position();
        let exists = format!("EXISTS (SELECT 1 FROM {JOURNAL_TABLE} WHERE seq IS NULL)");
        let pending = dialect.integer(&format!("CASE WHEN {exists} THEN 1 ELSE 0 END"));
        Self {
            poll: sql(&poll(dialect)),
            settled: format!("SELECT {position}, {pending} FROM {CLOCK_TABLE} c WHERE c.id = 1"),
            clock_held: format!(
                "SELECT {position} FROM {CLOCK_TABLE} c WHERE c.id = 1{}",
                dialect.hold(Hold::Exclusive)
            ),
            pending: format!("SELECT id FROM {JOURNAL_TABLE} WHERE seq IS NULL ORDER BY id LIMIT {MAX_NUMBERED}"),
            advance: sql(&format!("UPDATE {CLOCK_TABLE} SET seq = seq + ? WHERE id = 1")),
            raise_floor: sql(&format!("UPDATE {CLOCK_TABLE} SET floor = seq - ? WHERE id = 1 AND floor < seq - ?")),
            lowest: format!(
                "SELECT c.floor, (SELECT MIN(seq) FROM {JOURNAL_TABLE}) FROM {CLOCK_TABLE} c WHERE c.id = 1"
            ),
            delete_numbered: sql(&format!("DELETE FROM {JOURNAL_TABLE} WHERE seq <= ?")),
            note: sql(&note(dialect)),
            canary_insert: sql(&canary(dialect, schema)),
            new_epoch: sql(&format!("UPDATE {CLOCK_TABLE} SET epoch = ?, floor = seq WHERE id = 1")),
            dialect,
        }
    }

    /// Numbers `rows` records: (id, number) of each, then the ids again.
    pub(super) fn number(&self, rows: usize) -> String {
        let (cases, ids) = (" WHEN ? THEN ?".repeat(rows), vec!["?"; rows].join(", "));
        // PostgreSQL takes bound values for text here unless told otherwise.
        let number = self.dialect.integer(&format!("CASE id{cases} END"));
        self.dialect.sql(&format!("UPDATE {JOURNAL_TABLE} SET seq = {number} WHERE id IN ({ids})"))
    }
}

/// On PostgreSQL who listens is told when it is committed.
fn note(dialect: Dialect) -> String {
    let (digest, user) = (dialect.text("?"), dialect.text("?"));
    let into = format!("INSERT INTO {JOURNAL_TABLE} (digest, user_id)");
    match dialect {
        Dialect::Sqlite | Dialect::Mysql => format!("{into} VALUES (?, ?)"),
        Dialect::Postgres => format!("{into} SELECT {digest}, {user} FROM pg_notify('{CHANNEL}', '')"),
    }
}

/// One row at least, and one snapshot of clock and journal.
fn poll(dialect: Dialect) -> String {
    let writable = match dialect {
        Dialect::Sqlite | Dialect::Mysql => "1",
        Dialect::Postgres => "CASE WHEN current_setting('transaction_read_only') = 'off' THEN 1 ELSE 0 END",
    };
    format!(
        "SELECT {}, c.floor, {}, {}, j.id, j.seq, j.digest, j.user_id FROM {CLOCK_TABLE} c \
         LEFT JOIN {JOURNAL_TABLE} j ON j.seq IS NULL OR j.seq > ? WHERE c.id = 1 LIMIT {}",
        dialect.position(),
        dialect.now(),
        dialect.integer(writable),
        MAX_POLLED + 1,
    )
}

/// Of a user that is there, since the token table may have a foreign key.
fn canary(dialect: Dialect, schema: &Schema) -> String {
    let Schema { token: t, user: u, .. } = schema.quoted(dialect);
    let never = match dialect {
        Dialect::Sqlite | Dialect::Mysql => "NULL",
        Dialect::Postgres => "CAST(NULL AS timestamptz)",
    };
    let extra = t.extra.sql(dialect, &t.table);
    format!(
        "INSERT INTO {} ({}, {}, {}, {}, {}{}) SELECT {}, {}, u.{}, {}, {never}{} FROM {} u{} LIMIT 1",
        t.table,
        t.digest,
        t.key,
        t.user,
        t.created,
        t.expiry,
        extra.columns,
        dialect.text("?"),
        dialect.text("?"),
        u.id,
        dialect.now(),
        extra.values,
        u.table,
        extra.from.map(|from| format!(", {from}")).unwrap_or_default(),
    )
}
