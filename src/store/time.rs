//! Times as each database keeps them: PostgreSQL `timestamptz`, MySQL `datetime(6)` in
//! UTC without saying so, SQLite text.
//!
//! On SQLite Django compares times as text, so what is written is exactly Django's form:
//! `YYYY-MM-DD HH:MM:SS.ffffff`, UTC, a space and no offset. With a `T` Django counts
//! expired rows of the same day as live, and an integer is an error to it. What is read
//! may come from any writer.
//!
//! A Django with `USE_TZ = False` keeps the time of its wall clock on MySQL and SQLite, so the
//! token table's times may be of another zone than our own tables'. On PostgreSQL the
//! session's time zone sees to that (`connect.rs`).

use chrono::{DateTime, NaiveDateTime, Offset as _, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use sea_orm::{QueryResult, Value};

use super::{dialect::Dialect, error::StoreError};
use crate::domain::Timestamp;

const SQLITE_FORMAT: &str = "%Y-%m-%d %H:%M:%S%.6f";

/// How the times of one table are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    dialect: Dialect,
    zone: Tz,
}

/// A value to bind, for a table of our own.
pub(super) fn bind(dialect: Dialect, at: Timestamp) -> Value {
    Times::ours(dialect).bind(at)
}

/// A value to bind, or a NULL of its type, for a table of our own.
pub(super) fn bind_optional(dialect: Dialect, at: Option<Timestamp>) -> Value {
    Times::ours(dialect).bind_optional(at)
}

/// Reads a column of a table of our own that `Dialect::time` selected.
///
/// # Errors
/// As [`Times::read`].
pub(super) fn read(dialect: Dialect, row: &QueryResult, index: usize) -> Result<Option<Timestamp>, StoreError> {
    Times::ours(dialect).read(row, index)
}

// === impl Times ===

impl Times {
    /// Of a table that keeps times of this zone.
    pub(super) fn of(dialect: Dialect, zone: Tz) -> Self {
        Self { dialect, zone }
    }

    /// Of our own tables.
    pub(super) fn ours(dialect: Dialect) -> Self {
        Self::of(dialect, Tz::UTC)
    }

    /// A value to bind.
    pub(super) fn bind(self, at: Timestamp) -> Value {
        self.bind_optional(Some(at))
    }

    /// A value to bind, or a NULL of its type.
    pub(super) fn bind_optional(self, at: Option<Timestamp>) -> Value {
        let local = || at.map(|at| at.with_timezone(&self.zone).naive_local());
        match self.dialect {
            Dialect::Sqlite => local().map(|local| local.format(SQLITE_FORMAT).to_string()).into(),
            Dialect::Postgres => at.into(),
            Dialect::Mysql => local().into(),
        }
    }

    /// Reads a column that `Dialect::time` selected.
    ///
    /// # Errors
    /// [`StoreError::Row`] for a text that is no time.
    pub(super) fn read(self, row: &QueryResult, index: usize) -> Result<Option<Timestamp>, StoreError> {
        match self.dialect {
            Dialect::Sqlite => {
                let text: Option<String> = row.try_get_by_index(index)?;
                text.map(|text| self.parse(&text).ok_or(StoreError::Row("a time"))).transpose()
            }
            Dialect::Postgres => Ok(row.try_get_by_index(index)?),
            Dialect::Mysql => {
                let naive: Option<NaiveDateTime> = row.try_get_by_index(index)?;
                naive.map(|naive| self.instant(naive).ok_or(StoreError::Row("a time"))).transpose()
            }
        }
    }

    /// Whether this time is the same when it is read again.
    pub(super) fn keeps(self, at: Timestamp) -> bool {
        let utc = at.naive_utc();
        let local = utc.checked_add_offset(self.zone.offset_from_utc_datetime(&utc).fix());
        local.and_then(|local| self.instant(local)) == Some(at)
    }

    /// With a space or a `T`, with or without a fraction and an offset.
    fn parse(self, text: &str) -> Option<Timestamp> {
        let text = text.trim().replacen('T', " ", 1);
        let offset = ["%Y-%m-%d %H:%M:%S%.f%#z", "%Y-%m-%d %H:%M:%S%.f %z"]
            .iter()
            .find_map(|format| DateTime::parse_from_str(&text, format).ok());
        if let Some(at) = offset {
            return Some(at.with_timezone(&Utc));
        }
        let read = |text: &str| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok();
        match text.strip_suffix('Z') {
            Some(utc) => Some(read(utc)?.and_utc()),
            None => self.instant(read(&text)?),
        }
    }

    /// An hour that the clock shows twice is taken for the first one, so that a token ends
    /// early and not late; one that it leaves out, for what a clock that was not set would show.
    /// `None` beyond the first and the last day that there is.
    fn instant(self, local: NaiveDateTime) -> Option<Timestamp> {
        if let Some(at) = self.zone.from_local_datetime(&local).earliest() {
            return Some(at.with_timezone(&Utc));
        }
        let before = self.zone.offset_from_utc_datetime(&local.checked_sub_signed(TimeDelta::days(1))?);
        Some(local.checked_sub_offset(before.fix())?.and_utc())
    }
}

#[cfg(test)]
mod fuzz;
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
            assert_eq!(Times::ours(Dialect::Sqlite).parse(text), Some(at), "{text}");
        }
        assert_eq!(Times::ours(Dialect::Sqlite).parse("1767323045"), None);
        assert_eq!(Times::ours(Dialect::Sqlite).parse("yesterday"), None);
    }

    #[test]
    fn local_times_are_of_the_zone_and_of_its_summer() {
        let berlin = Times::of(Dialect::Sqlite, Tz::Europe__Berlin);
        let winter = Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).single().expect("a time");
        let summer = Utc.with_ymd_and_hms(2026, 7, 2, 23, 4, 5).single().expect("a time");
        for (at, local) in [(winter, "2026-01-02 04:04:05.000000"), (summer, "2026-07-03 01:04:05.000000")] {
            assert_eq!(berlin.bind(at), Value::from(local.to_owned()));
            assert_eq!(berlin.parse(local), Some(at));
            assert_eq!(berlin.parse(&at.format("%Y-%m-%dT%H:%M:%SZ").to_string()), Some(at), "said to be UTC");
            let naive = NaiveDateTime::parse_from_str(local, SQLITE_FORMAT).expect("a time");
            assert_eq!(Times::of(Dialect::Mysql, Tz::Europe__Berlin).bind(at), Value::from(naive));
        }
        let utc = |hour, minute| Utc.with_ymd_and_hms(2026, 10, 25, hour, minute, 0).single();
        assert_eq!(berlin.parse("2026-10-25 02:30:00"), utc(0, 30), "the first of two");
        let keeps = |at: Option<Timestamp>| berlin.keeps(at.expect("a time"));
        assert_eq!([utc(0, 30), utc(1, 30), utc(2, 30)].map(keeps), [true, false, true]);
        let spring = Utc.with_ymd_and_hms(2026, 3, 29, 1, 30, 0).single();
        assert_eq!(berlin.parse("2026-03-29 02:30:00"), spring, "no such time");
    }
}
