//! Times as each database keeps them: PostgreSQL `timestamptz`, MySQL `datetime(6)` in
//! UTC without saying so, SQLite text.
//!
//! On SQLite Django compares times as text, so what is written is exactly Django's form:
//! `YYYY-MM-DD HH:MM:SS.ffffff`, UTC, a space and no offset. With a `T` Django counts
//! expired rows of the same day as live, and an integer is an error to it. What is read
//! may come from any writer.

use chrono::{DateTime, NaiveDateTime, Utc};
use sea_orm::{QueryResult, Value};

use super::{dialect::Dialect, error::StoreError};
use crate::domain::Timestamp;

const SQLITE_FORMAT: &str = "%Y-%m-%d %H:%M:%S%.6f";

/// A value to bind.
pub(super) fn bind(dialect: Dialect, at: Timestamp) -> Value {
    bind_optional(dialect, Some(at))
}

/// A value to bind, or a NULL of its type.
pub(super) fn bind_optional(dialect: Dialect, at: Option<Timestamp>) -> Value {
    match dialect {
        Dialect::Sqlite => at.map(|at| at.format(SQLITE_FORMAT).to_string()).into(),
        Dialect::Postgres => at.into(),
        Dialect::Mysql => at.map(|at| at.naive_utc()).into(),
    }
}

/// Reads a column that `Dialect::time` selected.
///
/// # Errors
/// [`StoreError::Row`] for a text that is no time.
pub(super) fn read(dialect: Dialect, row: &QueryResult, index: usize) -> Result<Option<Timestamp>, StoreError> {
    match dialect {
        Dialect::Sqlite => {
            let text: Option<String> = row.try_get_by_index(index)?;
            text.map(|text| parse(&text).ok_or(StoreError::Row("a time"))).transpose()
        }
        Dialect::Postgres => Ok(row.try_get_by_index(index)?),
        Dialect::Mysql => {
            let naive: Option<NaiveDateTime> = row.try_get_by_index(index)?;
            Ok(naive.map(|naive| naive.and_utc()))
        }
    }
}

/// With a space or a `T`, with or without a fraction and an offset.
fn parse(text: &str) -> Option<Timestamp> {
    let text = text.trim().replacen('T', " ", 1);
    let offset = ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %z"]
        .iter()
        .find_map(|format| DateTime::parse_from_str(&text, format).ok());
    if let Some(at) = offset {
        return Some(at.with_timezone(&Utc));
    }
    let plain = text.trim_end_matches('Z');
    Some(NaiveDateTime::parse_from_str(plain, "%Y-%m-%d %H:%M:%S%.f").ok()?.and_utc())
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;

    #[test]
    fn sqlite_text_is_django_s_form_to_the_microsecond() {
        let whole = Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).single().expect("a time");
        assert_eq!(bind(Dialect::Sqlite, whole), Value::from("2026-01-02 03:04:05.000000".to_owned()));
        let fine = whole + chrono::TimeDelta::microseconds(7);
        assert_eq!(bind(Dialect::Sqlite, fine), Value::from("2026-01-02 03:04:05.000007".to_owned()));
    }

    #[test]
    fn sqlite_text_of_other_writers_is_read() {
        let at = Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).single().expect("a time");
        for text in [
            "2026-01-02 03:04:05",
            "2026-01-02 03:04:05.000000",
            "2026-01-02T03:04:05Z",
            "2026-01-02T03:04:05.000+00:00",
            "2026-01-02 05:04:05+02:00",
            "2026-01-02 05:04:05 +0200",
        ] {
            assert_eq!(parse(text), Some(at), "{text}");
        }
        assert_eq!(parse("1767323045"), None);
        assert_eq!(parse("yesterday"), None);
    }
}
