//! A user's identifier as the user table's primary key: bound with the key's own type,
//! shown as text.

use sea_orm::Value;
use uuid::Uuid;

use super::{dialect::Dialect, error::StoreError};
use crate::{
    config::UserIdType,
    domain::{Error, UserId},
};

/// A `user_id` that the user table can hold.
#[derive(Clone, Debug)]
pub(super) struct UserKey {
    /// As this service shows it.
    pub(super) id: UserId,
    /// As it is bound.
    pub(super) value: Value,
}

// === impl UserKey ===

impl UserKey {
    /// `None` when the user table can hold no such key, so that there is no such user.
    pub(super) fn of(id: &UserId, kind: UserIdType, dialect: Dialect) -> Option<Self> {
        let text = id.as_str();
        let (shown, value) = match kind {
            UserIdType::Int => integer::<i32>(text)?,
            UserIdType::Bigint => integer::<i64>(text)?,
            UserIdType::Uuid => uuid(text, dialect)?,
            UserIdType::Char32 => char32(text)?,
            // MySQL ignores trailing spaces when it compares; no other text may be the same user.
            UserIdType::Text if text.ends_with(' ') => return None,
            UserIdType::Text => (text.to_owned(), text.into()),
        };
        Some(Self { id: shown.parse().ok()?, value })
    }

    /// As [`Self::of`], for a write.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming `user_id`.
    pub(super) fn for_write(id: &UserId, kind: UserIdType, dialect: Dialect) -> Result<Self, StoreError> {
        Self::of(id, kind, dialect).ok_or_else(|| StoreError::Answer(Error::invalid("user_id", expectation(kind))))
    }
}

/// Reads a key that the database gave as text.
///
/// # Errors
/// [`StoreError::Row`] for a key that is not of its type.
pub(super) fn read(text: &str, kind: UserIdType) -> Result<UserId, StoreError> {
    let shown = match kind {
        UserIdType::Uuid | UserIdType::Char32 => Uuid::parse_str(text).ok().map(|uuid| uuid.to_string()),
        UserIdType::Int | UserIdType::Bigint | UserIdType::Text => Some(text.to_owned()),
    };
    shown.and_then(|shown| shown.parse().ok()).ok_or(StoreError::Row("a user_id"))
}

/// In one spelling only: `007` and `7` would be two names of one user.
fn integer<I: std::str::FromStr + ToString + Into<Value>>(text: &str) -> Option<(String, Value)> {
    let number: I = text.parse().ok()?;
    let shown = number.to_string();
    (shown == text).then(|| (shown, number.into()))
}

/// SQLite and MySQL have no such type and Django keeps 32 characters there; MariaDB's takes them as well.
fn uuid(text: &str, dialect: Dialect) -> Option<(String, Value)> {
    match dialect {
        Dialect::Sqlite | Dialect::Mysql => char32(text),
        Dialect::Postgres => parse_uuid(text).map(|uuid| (uuid.to_string(), uuid.into())),
    }
}

fn char32(text: &str) -> Option<(String, Value)> {
    parse_uuid(text).map(|uuid| (uuid.to_string(), uuid.simple().to_string().into()))
}

/// With hyphens or without; not in braces or as a URN.
fn parse_uuid(text: &str) -> Option<Uuid> {
    matches!(text.len(), 32 | 36).then(|| Uuid::parse_str(text).ok())?
}

fn expectation(kind: UserIdType) -> &'static str {
    match kind {
        UserIdType::Int => "must be a 32-bit decimal integer without leading zeros",
        UserIdType::Bigint => "must be a 64-bit decimal integer without leading zeros",
        UserIdType::Uuid | UserIdType::Char32 => "must be a UUID",
        UserIdType::Text => "must not end in a space",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str, kind: UserIdType, dialect: Dialect) -> Option<(String, Value)> {
        let id: UserId = text.parse().expect("a user_id");
        UserKey::of(&id, kind, dialect).map(|key| (key.id.to_string(), key.value))
    }

    #[test]
    fn integers_are_bound_as_such_in_one_spelling_only() {
        let bound = |text, kind| key(text, kind, Dialect::Postgres).map(|(_, value)| value);
        assert_eq!(bound("-7", UserIdType::Int), Some(Value::from(-7_i32)));
        assert_eq!(bound("3000000000", UserIdType::Bigint), Some(Value::from(3_000_000_000_i64)));
        for bad in ["3000000000", "007", "+7", "7.0", "seven", " 7"] {
            assert_eq!(bound(bad, UserIdType::Int), None, "{bad}");
        }
    }

    #[test]
    fn uuids_are_taken_with_and_without_hyphens_and_shown_with() {
        let hyphenated = "550e8400-e29b-41d4-a716-446655440000";
        let simple = "550E8400E29B41D4A716446655440000";
        for text in [hyphenated, simple] {
            let (shown, value) = key(text, UserIdType::Char32, Dialect::Mysql).expect("a uuid");
            assert_eq!((shown.as_str(), value), (hyphenated, Value::from(simple.to_lowercase())));
            let (_, value) = key(text, UserIdType::Uuid, Dialect::Mysql).expect("a uuid");
            assert_eq!(value, Value::from(simple.to_lowercase()));
            let (_, value) = key(text, UserIdType::Uuid, Dialect::Postgres).expect("a uuid");
            assert_eq!(value, Value::from(Uuid::parse_str(hyphenated).expect("a uuid")));
        }
        assert!(key("{550e8400-e29b-41d4-a716-446655440000}", UserIdType::Uuid, Dialect::Postgres).is_none());
        assert_eq!(read(&simple.to_lowercase(), UserIdType::Char32).expect("a uuid").as_str(), hyphenated);
    }

    #[test]
    fn text_that_mysql_takes_for_another_s_is_no_key() {
        assert!(key("bob ", UserIdType::Text, Dialect::Mysql).is_none());
        assert!(key("bob", UserIdType::Text, Dialect::Mysql).is_some());
    }
}
