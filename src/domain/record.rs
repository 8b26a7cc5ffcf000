//! What the database knows of a token and of its user, and the pure decision over it.

use std::{collections::BTreeMap, fmt, str::FromStr};

use chrono::{DateTime, Utc};

use super::{digest::Digest, error::InactiveReason};

/// The longest user identifier, in bytes.
pub const MAX_USER_ID_BYTES: usize = 128;

/// A moment, UTC, never finer than a microsecond: that is what every supported
/// database keeps, and a time must compare equal after a round trip.
pub type Timestamp = DateTime<Utc>;

/// The owner's identifier, as the user store spells it: 1 to 128 bytes, no control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(String);

/// Why a string is not a [`UserId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a user_id has 1 to 128 bytes and no control characters")]
pub struct InvalidUserId;

/// The owner of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// As the user store spells it.
    pub id: UserId,
    /// `false`: every token of this user is inactive.
    pub active: bool,
    /// What callers want to know without a query of their own.
    pub attributes: BTreeMap<String, String>,
}

/// A token's row and its user's, as one statement read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// The primary key.
    pub digest: Digest,
    /// The owner. A user that is gone is an inactive one.
    pub user: User,
    /// When it was issued.
    pub created: Timestamp,
    /// When it ends; `None` is never.
    pub expiry: Option<Timestamp>,
    /// When it was revoked; `None`: it was not.
    pub revoked: Option<Timestamp>,
    /// When it was last accepted, to about a minute; `None` where that is not recorded.
    pub last_used: Option<Timestamp>,
    /// What the issuer wrote on it.
    pub label: Label,
}

/// What an issuer writes on a token, beside its owner and lifetime.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// A label for people.
    pub display_name: String,
    /// Scopes granted.
    pub scopes: Vec<String>,
    /// Free-form annotations.
    pub metadata: BTreeMap<String, String>,
    /// The non-secret head of the token.
    pub hint: String,
}

/// Where a token is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenState {
    /// Usable.
    Active,
    /// Past its expiry.
    Expired,
    /// Ended by a revocation.
    Revoked,
}

// === impl TokenRecord ===

impl TokenRecord {
    /// Decides whether the token is good at `now` for a caller that needs `required` scopes.
    ///
    /// Expired means `expiry < now`, strictly, as knox has it.
    ///
    /// # Errors
    /// The first reason that holds, in the order: revoked, expired, user disabled, scope missing.
    pub fn admit(&self, now: Timestamp, required: &[String]) -> Result<(), InactiveReason> {
        match self.state(now) {
            TokenState::Revoked => return Err(InactiveReason::Revoked),
            TokenState::Expired => return Err(InactiveReason::Expired),
            TokenState::Active => {}
        }
        if !self.user.active {
            return Err(InactiveReason::UserDisabled);
        }
        if !required.iter().all(|scope| self.label.scopes.contains(scope)) {
            return Err(InactiveReason::ScopeMissing);
        }
        Ok(())
    }

    /// Where the token is in its life at `now`.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> TokenState {
        if self.revoked.is_some() {
            TokenState::Revoked
        } else if self.expiry.is_some_and(|expiry| expiry < now) {
            TokenState::Expired
        } else {
            TokenState::Active
        }
    }
}

// === impl UserId ===

impl UserId {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<UserId> for String {
    fn from(UserId(text): UserId) -> Self {
        text
    }
}

impl FromStr for UserId {
    type Err = InvalidUserId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=MAX_USER_ID_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        fits.then(|| Self(text.to_owned())).ok_or(InvalidUserId)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "UserId({:?})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{TimeDelta, TimeZone as _};

    use super::*;
    use crate::domain::Token;

    fn record(now: Timestamp) -> TokenRecord {
        TokenRecord {
            digest: Token::parse("t".to_owned()).expect("well-formed").digest(),
            user: User { id: "1".parse().expect("a user id"), active: true, attributes: BTreeMap::new() },
            created: now,
            expiry: None,
            revoked: None,
            last_used: None,
            label: Label { scopes: vec!["read".to_owned(), "write".to_owned()], ..Label::default() },
        }
    }

    #[test]
    fn expiry_is_strict() {
        let now = Utc.timestamp_opt(1_700_000_000, 0).single().expect("a time");
        let microsecond = TimeDelta::microseconds(1);
        let at = |expiry| TokenRecord { expiry: Some(expiry), ..record(now) }.admit(now, &[]);
        assert_eq!(at(now - microsecond), Err(InactiveReason::Expired));
        assert_eq!(at(now), Ok(()));
        assert_eq!(at(now + microsecond), Ok(()));
        assert_eq!(record(now).admit(now, &[]), Ok(()), "no expiry is never");
    }

    #[test]
    fn each_reason_is_given_in_its_order() {
        let now = Utc.timestamp_opt(1_700_000_000, 0).single().expect("a time");
        let past = Some(now - TimeDelta::seconds(1));
        let needed = ["admin".to_owned()];
        let mut bad = record(now);
        assert_eq!(bad.admit(now, &needed), Err(InactiveReason::ScopeMissing));
        bad.user.active = false;
        assert_eq!(bad.admit(now, &needed), Err(InactiveReason::UserDisabled));
        bad.expiry = past;
        assert_eq!(bad.admit(now, &needed), Err(InactiveReason::Expired));
        bad.revoked = past;
        assert_eq!(bad.admit(now, &needed), Err(InactiveReason::Revoked));
        assert_eq!(record(now).admit(now, &["write".to_owned(), "read".to_owned()]), Ok(()));
    }

    #[test]
    fn user_ids_are_bounded() {
        assert!("".parse::<UserId>().is_err());
        assert!("a\0".parse::<UserId>().is_err());
        assert!("x".repeat(129).parse::<UserId>().is_err());
        assert!("\u{fc}ser@example.com".parse::<UserId>().is_ok());
    }
}
