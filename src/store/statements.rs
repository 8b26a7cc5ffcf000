//! Every statement's text, written once when the database is opened: names come from
//! the schema and are quoted here, values are only ever bound.
//!
//! Aliases: `t` the token table, `u` the user table, `d` the detail table, `c` the clock.

use tokenward_migrations::{CLOCK_TABLE, DETAIL_TABLE, REQUEST_TABLE};

use self::names::Names;
use super::{
    dialect::{Dialect, Hold},
    schema::Schema,
};
use crate::domain::Cursor;

mod names;

/// Columns of [`Names::record`] and [`Names::detail_record`] in their order; see `rows.rs`.
pub(super) const RECORD_COLUMNS: usize = 10;

/// How many digests one look-up may name; a batch is filled up to the next of them, so that a connection prepares few
/// statements.
pub(super) const BATCHES: [usize; 4] = [4, 20, 100, 200];

/// SQL text, ready to run.
pub(super) struct Statements {
    /// (digest, digest): clock, record, user.
    pub(super) find: String,
    /// (digest, legacy digest, the same two): clock, when one of them was revoked, record, user; one row or several.
    pub(super) find_either: String,
    /// As many digests as [`BATCHES`] says, twice: clock, a revoked digest or NULL, record, user; a row for each token
    /// that is there, or one without, and a row for each digest that was revoked.
    pub(super) find_all: [String; BATCHES.len()],
    /// (): the clock, see `rows::position`.
    pub(super) clock: String,
    /// (user): a user.
    pub(super) user: String,
    /// (user): a user, held.
    pub(super) user_held_shared: String,
    /// (user): a user, held.
    pub(super) user_held: String,
    /// (user, limit): users after this one.
    pub(super) users_after: String,
    /// (limit): users.
    pub(super) users: String,
    /// (id, active, attributes), `native` only.
    pub(super) user_insert: String,
    /// (active[, attributes in `native`], id); `None` where there is nothing to write.
    pub(super) user_update: Option<String>,
    /// (id), `native` only.
    pub(super) user_delete: String,
    /// (user, now): how many.
    pub(super) live_count: String,
    /// (digest, key, user, created, expiry, what `Extra` binds).
    pub(super) token_insert: String,
    /// (new expiry, digest, expiry, digest).
    pub(super) token_extend: String,
    /// (new expiry, digest).
    pub(super) token_expire: String,
    /// (new expiry, digest).
    pub(super) detail_extend: String,
    /// (digest): who gave a token its end.
    pub(super) expiry_set_by: String,
    /// (digest, user in text form, created, expiry, `display_name`, scopes, metadata, hint, who gave it its end).
    pub(super) detail_change: String,
    /// (new digest, key, digest).
    pub(super) token_upgrade: String,
    /// (new digest, digest).
    pub(super) detail_upgrade: String,
    /// (digest, user in text form, created, expiry, `display_name`, scopes, metadata, hint, issuer).
    pub(super) detail_insert: String,
    /// (digest): an ended token's columns, held.
    pub(super) token_held: String,
    /// (from, below): the same.
    pub(super) token_range_held: String,
    /// (user): the same, all of a user's.
    pub(super) tokens_held: String,
    /// (user): digests.
    pub(super) token_digests: String,
    /// (digest).
    pub(super) token_delete: String,
    /// (user).
    pub(super) tokens_delete: String,
    /// (user, digest).
    pub(super) tokens_delete_except: String,
    /// (from, below): record, user.
    pub(super) get: String,
    /// (from, below): record.
    pub(super) get_detail: String,
    /// (user in text form, since): digests revoked since then.
    pub(super) revoked_since: String,
    /// (id, body, sealed, digest, created).
    pub(super) request_insert: String,
    /// (id): body, sealed, digest.
    pub(super) request: String,
    /// (before).
    pub(super) requests_purge: String,
    /// A statement that has to look at the database.
    pub(super) ping: String,
    names: Names,
}

const DETAIL_COLUMNS: [&str; 10] = [
    "digest",
    "user_id",
    "created",
    "expiry",
    "display_name",
    "scopes",
    "metadata",
    "hint",
    "revoked_at",
    "revocation_reason",
];

// === impl Statements ===

impl Statements {
    pub(super) fn new(dialect: Dialect, schema: &Schema) -> Self {
        let names = Names::new(dialect, schema);
        let sql = |text: &str| dialect.sql(text);
        let Names { token: t, user: u, .. } = &names;
        let (record, user, ended) = (names.record(), names.user_columns(), names.ended());
        let by_user = format!("FROM {} t WHERE t.{} = ?", t.table, t.user);
        let user_by_id = format!("SELECT {user} FROM {} u WHERE u.{} = ?", u.table, u.id);
        let joined = format!(
            "LEFT JOIN {DETAIL_TABLE} d ON d.digest = {} LEFT JOIN {} u ON u.{} = t.{}",
            dialect.bytewise(&format!("t.{}", t.digest)),
            u.table,
            u.id,
            t.user
        );
        let token_range = names.range(&format!("t.{}", t.digest));
        Self {
            find: sql(&names.find(&record, &user)),
            find_either: sql(&names.find_either(&record, &user)),
            find_all: BATCHES.map(|keys| sql(&names.find_all(&record, &user, keys))),
            clock: format!("SELECT {} FROM {CLOCK_TABLE} c WHERE c.id = 1", dialect.position()),
            user: sql(&user_by_id),
            user_held_shared: sql(&format!("{user_by_id}{}", dialect.hold(Hold::Shared))),
            user_held: sql(&format!("{user_by_id}{}", dialect.hold(Hold::Exclusive))),
            users_after: sql(&format!(
                "SELECT {user} FROM {} u WHERE u.{} > ? ORDER BY u.{} LIMIT ?",
                u.table, u.id, u.id
            )),
            users: sql(&format!("SELECT {user} FROM {} u ORDER BY u.{} LIMIT ?", u.table, u.id)),
            user_insert: sql(&names.user_insert()),
            user_update: names.user_update().map(|text| sql(&text)),
            user_delete: sql(&format!("DELETE FROM {} WHERE {} = ?", u.table, u.id)),
            live_count: sql(&format!("SELECT {} {by_user} AND {}", dialect.integer("COUNT(*)"), names.live())),
            token_insert: sql(&format!("INSERT INTO {}", names.token_rows(1))),
            token_extend: sql(&format!(
                "UPDATE {} SET {} = ? WHERE {} = ? AND {} = ? AND NOT EXISTS \
                 (SELECT 1 FROM {DETAIL_TABLE} d WHERE d.digest = ? AND d.expiry_set_by IS NOT NULL)",
                t.table,
                t.expiry,
                t.digest,
                dialect.comparable_time(&t.expiry)
            )),
            token_expire: sql(&format!("UPDATE {} SET {} = ? WHERE {} = ?", t.table, t.expiry, t.digest)),
            expiry_set_by: sql(&format!("SELECT expiry_set_by FROM {DETAIL_TABLE} WHERE digest = ?")),
            detail_change: sql(&detail_change(dialect)),
            detail_extend: sql(&format!("UPDATE {DETAIL_TABLE} SET expiry = ? WHERE digest = ?")),
            token_upgrade: sql(&format!(
                "UPDATE {} SET {} = ?, {} = ? WHERE {} = ?",
                t.table, t.digest, t.key, t.digest
            )),
            detail_upgrade: sql(&format!("UPDATE {DETAIL_TABLE} SET digest = ? WHERE digest = ?")),
            detail_insert: sql(&format!(
                "INSERT INTO {DETAIL_TABLE} ({}, issuer) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                DETAIL_COLUMNS[..8].join(", ")
            )),
            token_held: sql(&format!(
                "SELECT {ended} FROM {} t WHERE t.{} = ?{}",
                t.table,
                t.digest,
                dialect.hold(Hold::Exclusive)
            )),
            token_range_held: sql(&format!(
                "SELECT {ended} FROM {} t WHERE {token_range}{}",
                t.table,
                dialect.hold(Hold::Exclusive)
            )),
            tokens_held: sql(&format!("SELECT {ended} {by_user}{}", dialect.hold(Hold::Exclusive))),
            token_digests: sql(&format!("SELECT t.{} {by_user}", t.digest)),
            token_delete: sql(&format!("DELETE FROM {} WHERE {} = ?", t.table, t.digest)),
            tokens_delete: sql(&format!("DELETE FROM {} WHERE {} = ?", t.table, t.user)),
            tokens_delete_except: sql(&format!("DELETE FROM {} WHERE {} = ? AND {} <> ?", t.table, t.user, t.digest)),
            get: sql(&format!("SELECT {record}, {user} FROM {} t {joined} WHERE {token_range}", t.table)),
            get_detail: sql(&format!(
                "SELECT {} FROM {DETAIL_TABLE} d WHERE d.digest >= ? AND d.digest < ?",
                names.detail_record()
            )),
            revoked_since: sql(&format!("SELECT digest FROM {DETAIL_TABLE} WHERE user_id = ? AND revoked_at >= ?")),
            request_insert: sql(&dialect.insert_new(
                &format!("{REQUEST_TABLE} (id, body, sealed, digest, created) VALUES (?, ?, ?, ?, ?)"),
                "id",
            )),
            request: sql(&format!("SELECT body, sealed, digest FROM {REQUEST_TABLE} WHERE id = ?")),
            requests_purge: sql(&format!("DELETE FROM {REQUEST_TABLE} WHERE created < ?")),
            ping: match dialect {
                Dialect::Sqlite => "SELECT COUNT(*) FROM sqlite_master".to_owned(),
                Dialect::Postgres | Dialect::Mysql => "SELECT 1".to_owned(),
            },
            names,
        }
    }

    /// An `INSERT` of those of `rows` tokens that are not there: the values of `token_insert`, row by row.
    pub(super) fn tokens_insert_new(&self, rows: usize) -> String {
        let Names { dialect, token, .. } = &self.names;
        // Not MySQL's `IGNORE`, which would hide other errors too.
        dialect.sql(&dialect.insert_new_to_hold(&self.names.token_rows(rows), &token.digest))
    }

    /// An `INSERT` of `rows` detail rows, or an overwrite of how they ended.
    pub(super) fn details_ended(&self, rows: usize) -> String {
        let dialect = self.names.dialect;
        let values = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; rows].join(", ");
        let overwrite = dialect.or_overwrite("digest", &["expiry", "revoked_at", "revocation_reason"]);
        dialect.sql(&format!("INSERT INTO {DETAIL_TABLE} ({}) VALUES {values} {overwrite}", DETAIL_COLUMNS.join(", ")))
    }

    /// Notes the last uses of `rows` tokens: (digest, time) of each, the digests again, the time before which what
    /// is noted is replaced.
    pub(super) fn note_used(&self, rows: usize) -> String {
        let dialect = self.names.dialect;
        let time = dialect.time("?");
        let (cases, digests) = (format!(" WHEN ? THEN {time}").repeat(rows), vec!["?"; rows].join(", "));
        dialect.sql(&format!(
            "UPDATE {DETAIL_TABLE} SET last_used_at = CASE digest{cases} END \
             WHERE digest IN ({digests}) AND (last_used_at IS NULL OR last_used_at < ?)"
        ))
    }

    /// Live and expired tokens of a user: (user[, expiry bounds][, created, created, digest], limit).
    pub(super) fn list_tokens(&self, condition: &str, after: Option<Cursor>) -> String {
        let Names { dialect, token: t, .. } = &self.names;
        let (created, digest) = (format!("t.{}", t.created), format!("t.{}", t.digest));
        dialect.sql(&format!(
            "SELECT {} FROM {} t LEFT JOIN {DETAIL_TABLE} d ON d.digest = {} \
             WHERE t.{} = ? AND d.revoked_at IS NULL{condition}{}",
            self.names.record(),
            t.table,
            dialect.bytewise(&digest),
            t.user,
            self.names.page(&created, &digest, after),
        ))
    }

    /// Revoked tokens of a user: (user in text form[, created, created, digest], limit).
    pub(super) fn list_revoked(&self, after: Option<Cursor>) -> String {
        self.names.dialect.sql(&format!(
            "SELECT {} FROM {DETAIL_TABLE} d WHERE d.user_id = ? AND d.revoked_at IS NOT NULL{}",
            self.names.detail_record(),
            self.names.page("d.created", "d.digest", after),
        ))
    }

    /// A condition of [`Self::list_tokens`]: not expired at (now).
    pub(super) fn is_live(&self) -> String {
        format!(" AND {}", self.names.live())
    }

    /// A condition of [`Self::list_tokens`]: expired at (now).
    pub(super) fn is_expired(&self) -> String {
        format!(" AND {} < ?", self.names.expiry())
    }
}

/// An `INSERT` of a detail row, or an overwrite of what an administrator may change.
fn detail_change(dialect: Dialect) -> String {
    let columns = DETAIL_COLUMNS[..8].join(", ");
    let changed = ["expiry", "display_name", "scopes", "metadata", "expiry_set_by"];
    let overwrite = dialect.or_overwrite("digest", &changed);
    format!("INSERT INTO {DETAIL_TABLE} ({columns}, expiry_set_by) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) {overwrite}")
}
