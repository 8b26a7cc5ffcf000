//! What differs between the three databases' SQL, and nothing else.

use std::fmt::Write as _;

use sea_orm::DbBackend;

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Sqlite,
    Postgres,
    Mysql,
}

/// How strongly a transaction holds the rows that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// Nobody else may hold them.
    Exclusive,
    /// Nobody may change them.
    Shared,
}

// === impl Dialect ===

impl Dialect {
    /// As the contract spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
        }
    }

    pub(super) fn backend(self) -> DbBackend {
        match self {
            Self::Sqlite => DbBackend::Sqlite,
            Self::Postgres => DbBackend::Postgres,
            Self::Mysql => DbBackend::MySql,
        }
    }

    /// An identifier that stays one whatever characters it has.
    pub(super) fn quote(self, identifier: &str) -> String {
        let mark = match self {
            Self::Sqlite | Self::Postgres => '"',
            Self::Mysql => '`',
        };
        let doubled = identifier.replace(mark, &format!("{mark}{mark}"));
        format!("{mark}{doubled}{mark}")
    }

    /// SQL text with `?` placeholders as this database has them; quoted parts stay as they are.
    pub(super) fn sql(self, text: &str) -> String {
        if self != Self::Postgres {
            return text.to_owned();
        }
        let (mut numbered, mut quoted, mut count) = (String::with_capacity(text.len() + 32), None, 0);
        for letter in text.chars() {
            quoted = match (quoted, letter) {
                (None, '"' | '\'') => Some(letter),
                (Some(mark), letter) if mark == letter => None,
                (state, _) => state,
            };
            if letter == '?' && quoted.is_none() {
                count += 1;
                write!(numbered, "${count}").expect("a String takes any text");
            } else {
                numbered.push(letter);
            }
        }
        numbered
    }

    /// `expression` as text, whatever its type.
    pub(super) fn text(self, expression: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => format!("CAST({expression} AS TEXT)"),
            Self::Mysql => format!("CAST({expression} AS CHAR)"),
        }
    }

    /// `expression` as a 64-bit integer.
    pub(super) fn integer(self, expression: &str) -> String {
        match self {
            Self::Sqlite => expression.to_owned(),
            Self::Postgres => format!("CAST({expression} AS BIGINT)"),
            Self::Mysql => format!("CAST({expression} AS SIGNED)"),
        }
    }

    /// A column of times, to be read by `time::read`.
    pub(super) fn time(self, column: &str) -> String {
        match self {
            Self::Sqlite => self.text(column),
            // Where the column has no time zone, the session's is meant.
            Self::Postgres => format!("CAST({column} AS timestamptz)"),
            Self::Mysql => column.to_owned(),
        }
    }

    /// A column of times, to be compared with one that `time::bind` wrote. Django leaves
    /// a fraction of zero out on SQLite, where times are text, so it is put back.
    pub(super) fn comparable_time(self, column: &str) -> String {
        match self {
            Self::Sqlite => format!("substr(replace({column}, 'T', ' ') || '.000000', 1, 26)"),
            Self::Postgres | Self::Mysql => column.to_owned(),
        }
    }

    /// A column of digests, to be compared with another table's: PostgreSQL refuses to
    /// compare columns of two collations without being told which.
    pub(super) fn bytewise(self, column: &str) -> String {
        match self {
            Self::Postgres => format!("{column} COLLATE \"C\""),
            Self::Sqlite | Self::Mysql => column.to_owned(),
        }
    }

    /// What makes a position out of the clock's row `c`: epoch, seq, and the timeline in
    /// hexadecimal digits, which is NULL on a server that is no primary.
    ///
    /// PostgreSQL begins a new timeline at each failover and each restored backup. The others
    /// have none, but MySQL's servers can be read-only, as its replicas are.
    pub(super) fn position(self) -> String {
        let timeline = match self {
            Self::Sqlite => "'0'",
            Self::Postgres => {
                "CASE WHEN pg_is_in_recovery() THEN NULL \
                 ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END"
            }
            Self::Mysql => {
                "CASE WHEN CAST(@@global.read_only AS CHAR) IN ('0', 'OFF') \
                 AND CAST(@@global.innodb_read_only AS CHAR) IN ('0', 'OFF') THEN '0' END"
            }
        };
        format!("c.epoch, c.seq, {timeline}")
    }

    /// The database's time, to be read by `time::read` and stored beside what `time::bind` wrote.
    pub(super) fn now(self) -> &'static str {
        match self {
            Self::Sqlite => "strftime('%Y-%m-%d %H:%M:%f000', 'now')",
            Self::Postgres => "now()",
            Self::Mysql => "utc_timestamp(6)",
        }
    }

    /// The end of a `SELECT` that holds the rows it reads. SQLite's transactions hold the whole file.
    pub(super) fn hold(self, hold: Hold) -> &'static str {
        match (self, hold) {
            (Self::Sqlite, _) => "",
            (Self::Postgres | Self::Mysql, Hold::Exclusive) => " FOR UPDATE",
            (Self::Postgres, Hold::Shared) => " FOR SHARE",
            (Self::Mysql, Hold::Shared) => " LOCK IN SHARE MODE",
        }
    }

    /// An `INSERT` that affects no row where the primary key `key` is taken, and waits for
    /// a transaction that is about to take it.
    pub(super) fn insert_new(self, into_and_values: &str, key: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => format!("INSERT INTO {into_and_values} ON CONFLICT ({key}) DO NOTHING"),
            Self::Mysql => format!("INSERT IGNORE INTO {into_and_values}"),
        }
    }

    /// As [`Self::insert_new`], for a row that is locked next: MySQL's `IGNORE` would hold
    /// a taken key shared, and two transactions that both want more would deadlock.
    pub(super) fn insert_new_to_hold(self, into_and_values: &str, key: &str) -> String {
        match self {
            Self::Sqlite | Self::Postgres => self.insert_new(into_and_values, key),
            Self::Mysql => format!("INSERT INTO {into_and_values} ON DUPLICATE KEY UPDATE {key} = {key}"),
        }
    }

    /// The end of an `INSERT` that overwrites `columns` where the primary key `key` is taken.
    pub(super) fn or_overwrite(self, key: &str, columns: &[&str]) -> String {
        let overwrite = |new: fn(&str) -> String| {
            columns.iter().map(|column| format!("{column} = {}", new(column))).collect::<Vec<_>>().join(", ")
        };
        match self {
            Self::Sqlite | Self::Postgres => {
                format!("ON CONFLICT ({key}) DO UPDATE SET {}", overwrite(|column| format!("excluded.{column}")))
            }
            Self::Mysql => format!("ON DUPLICATE KEY UPDATE {}", overwrite(|column| format!("VALUES({column})"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_identifier_cannot_end_its_quotes() {
        assert_eq!(Dialect::Postgres.quote(r#"a"; DROP TABLE x; --"#), r#""a""; DROP TABLE x; --""#);
        assert_eq!(Dialect::Mysql.quote("a`b\"c"), "`a``b\"c`");
    }

    #[test]
    fn placeholders_are_numbered_outside_quotes_only() {
        let text = r#"SELECT "a?b", 'c?' WHERE x = ? AND "q""?" = ?"#;
        assert_eq!(Dialect::Postgres.sql(text), r#"SELECT "a?b", 'c?' WHERE x = $1 AND "q""?" = $2"#);
        assert_eq!(Dialect::Sqlite.sql(text), text);
    }
}
