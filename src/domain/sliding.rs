//! Sliding expiry: a token that is used ends later, as with django-rest-knox's `AUTO_REFRESH`.

use std::time::Duration;

use super::{
    clock::to_microseconds,
    digest::{Digest, Digests},
    issuer::after,
    record::{Timestamp, TokenRecord, UserId},
};

/// How the expiry of a token moves with its use.
#[derive(Clone, Copy, Debug)]
pub struct Sliding {
    /// How long after its latest use a token ends.
    pub ttl: Duration,
    /// The expiry is left alone unless it gains more than this, so that a token in use costs few writes.
    pub interval: Duration,
    /// How long after its issue a token ends, however much it is used.
    pub max_ttl: Option<Duration>,
}

/// A later end for a token, instead of the one that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The token as it was presented.
    pub token: Digests,
    /// The primary key of its row.
    pub digest: Digest,
    /// The owner.
    pub user: UserId,
    /// When it ends, as far as is known. Where it ends at another time by now, it is left alone.
    pub from: Timestamp,
    /// When it is to end.
    pub to: Timestamp,
}

/// What became of an [`Extension`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The token ends later.
    Moved,
    /// It was left alone: it was revoked, it ends at another time by now, or its user is disabled.
    Unmoved,
    /// The answer did not wait for it: it is under way, or left to a later use of the token.
    Deferred,
}

// === impl Sliding ===

impl Sliding {
    /// When a token that is used `now` is to end, where that is worth a write.
    ///
    /// A token without end has none to move; one that is not active is never made so.
    #[must_use]
    pub fn due(&self, record: &TokenRecord, now: Timestamp) -> Option<Timestamp> {
        let expiry = record.expiry?;
        let end = to_microseconds(self.capped(after(now, self.ttl)?, record.created));
        let gain = (end - expiry).to_std().ok()?;
        (gain > self.interval && record.admit(now, &[]).is_ok()).then_some(end)
    }

    /// This end of a token that was issued at `created`, or the last that it may have.
    #[must_use]
    pub fn capped(&self, end: Timestamp, created: Timestamp) -> Timestamp {
        self.max_ttl.and_then(|longest| after(created, longest)).map_or(end, |last| end.min(last))
    }
}

// === impl Extension ===

impl Extension {
    /// For a token that was presented as `token`, and found to be `record`.
    #[must_use]
    pub fn of(token: Digests, record: &TokenRecord, from: Timestamp, to: Timestamp) -> Self {
        Self { token, digest: record.digest, user: record.user.id.clone(), from, to }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::domain::{Label, Token, User};

    const KNOX: Sliding = Sliding { ttl: Duration::from_hours(10), interval: Duration::from_mins(1), max_ttl: None };

    fn issued() -> Timestamp {
        DateTime::from_timestamp(1_700_000_000, 123_456_000).expect("a time")
    }

    /// Issued with the default lifetime.
    fn record() -> TokenRecord {
        TokenRecord {
            digest: Token::parse("t".to_owned()).expect("well-formed").digest(),
            user: User { id: "1".parse().expect("a user id"), active: true, attributes: [].into() },
            created: issued(),
            expiry: Some(issued() + TimeDelta::hours(10)),
            revoked: None,
            last_used: None,
            label: Label::default(),
        }
    }

    #[test]
    fn an_expiry_moves_when_it_gains_more_than_the_interval() {
        let due = |after| KNOX.due(&record(), issued() + after);
        let minute = TimeDelta::minutes(1);
        assert_eq!(due(TimeDelta::zero()), None);
        assert_eq!(due(minute), None, "exactly the interval is not more");
        let later = minute + TimeDelta::microseconds(1);
        assert_eq!(due(later), Some(issued() + TimeDelta::hours(10) + later));
        assert_eq!(due(TimeDelta::hours(10)), Some(issued() + TimeDelta::hours(20)), "at its last moment");
    }

    #[test]
    fn it_never_comes_earlier() {
        let long = TokenRecord { expiry: Some(issued() + TimeDelta::days(30)), ..record() };
        assert_eq!(KNOX.due(&long, issued() + TimeDelta::hours(5)), None);
        let capped = Sliding { max_ttl: Some(Duration::from_hours(1)), ..KNOX };
        assert_eq!(capped.due(&record(), issued() + TimeDelta::hours(5)), None, "beyond the cap already");
    }

    #[test]
    fn it_moves_up_to_the_cap_and_no_farther() {
        let capped = Sliding { max_ttl: Some(Duration::from_hours(12)), ..KNOX };
        let cap = issued() + TimeDelta::hours(12);
        assert_eq!(capped.due(&record(), issued() + TimeDelta::hours(1)), Some(issued() + TimeDelta::hours(11)));
        assert_eq!(capped.due(&record(), issued() + TimeDelta::hours(9)), Some(cap));
        let near = TokenRecord { expiry: Some(cap - TimeDelta::minutes(1)), ..record() };
        assert_eq!(capped.due(&near, issued() + TimeDelta::hours(9)), None, "no more than the interval to gain");
    }

    #[test]
    fn what_does_not_end_or_is_not_active_is_left_alone() {
        let now = issued() + TimeDelta::hours(1);
        assert!(KNOX.due(&record(), now).is_some());
        assert_eq!(KNOX.due(&TokenRecord { expiry: None, ..record() }, now), None);
        assert_eq!(KNOX.due(&TokenRecord { revoked: Some(now), ..record() }, now), None);
        let expired = TokenRecord { expiry: Some(now - TimeDelta::microseconds(1)), ..record() };
        assert_eq!(KNOX.due(&expired, now), None);
        let mut disabled = record();
        disabled.user.active = false;
        assert_eq!(KNOX.due(&disabled, now), None);
    }

    #[test]
    fn no_lifetime_is_too_long_to_reckon_with() {
        let endless = Sliding { ttl: Duration::MAX, ..KNOX };
        assert_eq!(endless.due(&record(), issued() + TimeDelta::hours(1)), None);
        let uncapped = Sliding { max_ttl: Some(Duration::MAX), ..KNOX };
        assert!(uncapped.due(&record(), issued() + TimeDelta::hours(1)).is_some());
    }
}
