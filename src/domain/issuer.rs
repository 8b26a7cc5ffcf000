//! Makes tokens.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    clock::to_microseconds,
    digest::{Digest, Hashing},
    error::Error,
    form::TokenForm,
    idempotency,
    ports::{Clock, IdempotentRequest, Inserted, NewToken, TokenStore},
    record::{Label, Timestamp, TokenRecord, TokenState, UserId},
    sliding::Sliding,
    token::{Secret, Token},
};

/// Makes tokens under a policy.
#[derive(Debug)]
pub struct Issuer<S, C> {
    store: Arc<S>,
    clock: C,
    policy: IssuePolicy,
}

/// What may be issued.
#[derive(Clone, Debug)]
pub struct IssuePolicy {
    /// Lifetime of a token whose issuer asks for none.
    pub ttl: Duration,
    /// Longest lifetime that may be asked for.
    pub max_ttl: Option<Duration>,
    /// Whether tokens that never end may be asked for.
    pub never_expires: NeverExpires,
    /// How their expiry moves, which the first one does not go beyond.
    pub sliding: Option<Sliding>,
    /// How they are written.
    pub form: TokenForm,
    /// How they are stored.
    pub hashing: Hashing,
}

/// Whether tokens that never end may be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeverExpires {
    /// They may.
    Allowed,
    /// They are refused.
    Refused,
}

/// How long a token is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// As the policy has it.
    Default,
    /// Until an instant.
    Until(Timestamp),
    /// For a time from now.
    For(Duration),
    /// Without end.
    Forever,
}

/// A token to make.
#[derive(Clone, Debug)]
pub struct IssueRequest {
    /// The owner.
    pub user: UserId,
    /// How long it is to live.
    pub lifetime: Lifetime,
    /// A label for people.
    pub display_name: String,
    /// Scopes granted.
    pub scopes: Vec<String>,
    /// Free-form annotations.
    pub metadata: BTreeMap<String, String>,
    /// The caller that asks, where callers are known.
    pub issuer: Option<String>,
    /// Makes a retry return the first result.
    pub request_id: Option<Uuid>,
}

/// A token that was made. The secret is here and nowhere else.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The bearer token.
    pub secret: Token,
    /// Its record.
    pub record: TokenRecord,
    /// Where it is in its life: a repeated request may name a token that has ended since.
    pub state: TokenState,
}

// === impl Issuer ===

impl<S: TokenStore, C: Clock> Issuer<S, C> {
    /// Makes tokens in `store` as `policy` allows.
    pub fn new(store: Arc<S>, clock: C, policy: IssuePolicy) -> Self {
        Self { store, clock, policy }
    }

    /// Makes a token, or returns the one that the same `request_id` made before.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a lifetime that the policy refuses, and as [`TokenStore::insert`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves either the whole token or nothing of it.
    pub async fn issue(&self, request: IssueRequest) -> Result<Issued, Error> {
        let now = self.clock.now();
        let expiry = self.policy.expiry(request.lifetime, now)?;
        let secret = Secret::random();
        let token = self.policy.form.write(&secret);
        let sealed = request.request_id.map(|id| idempotency::seal(id, self.fingerprint(&request), &secret));
        let new = NewToken {
            digest: self.policy.hashing.digest(&token),
            key: token.key(),
            user: request.user,
            created: now,
            expiry,
            label: Label {
                display_name: request.display_name,
                scopes: request.scopes,
                metadata: request.metadata,
                hint: self.policy.form.hint(&token),
            },
            issuer: request.issuer,
            request: sealed,
        };
        match self.store.insert(new).await? {
            Inserted::New(record) => Ok(Issued { secret: token, record, state: TokenState::Active }),
            Inserted::Repeated(record, first) => self.repeat(request.request_id, record, &first, now),
        }
    }

    /// Opens the secret that the first call sealed.
    fn repeat(
        &self,
        id: Option<Uuid>,
        record: TokenRecord,
        first: &IdempotentRequest,
        now: Timestamp,
    ) -> Result<Issued, Error> {
        let secret = self.policy.reopen(id, record.digest, first)?;
        let state = record.state(now);
        Ok(Issued { secret, record, state })
    }

    /// A hash of everything that the caller asked for, each part with its length before it.
    fn fingerprint(&self, request: &IssueRequest) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut add = |part: &str| {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(part.as_bytes());
        };
        add(request.user.as_str());
        add(&format!("{:?} {:?}", self.policy.form.prefix(), request.lifetime));
        add(&request.display_name);
        add(&request.scopes.len().to_string());
        request.scopes.iter().for_each(|scope| add(scope));
        for (key, value) in &request.metadata {
            add(key);
            add(value);
        }
        hash.finalize().into()
    }
}

// === impl IssuePolicy ===

impl IssuePolicy {
    /// When a token of this lifetime ends, if it is issued `now`; `None` is never.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the field that asks for what the policy refuses.
    pub fn expiry(&self, lifetime: Lifetime, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let (field, expiry) = match lifetime {
            Lifetime::Forever => return self.forever(),
            Lifetime::Until(expiry) if expiry <= now => {
                return Err(Error::invalid("expire_time", "it must be in the future"));
            }
            Lifetime::Until(expiry) => ("expire_time", Some(expiry)),
            Lifetime::For(ttl) => ("ttl", after(now, ttl)),
            Lifetime::Default => ("ttl", after(now, self.ttl)),
        };
        let expiry = expiry.filter(|expiry| *expiry <= last_moment());
        let expiry = expiry.ok_or_else(|| Error::invalid(field, "it ends after the year 9999"))?;
        match self.max_ttl {
            Some(longest) if after(now, longest).is_some_and(|latest| latest < expiry) => {
                let longest = humantime::format_duration(longest);
                Err(Error::invalid(field, format!("this server allows at most {longest}")))
            }
            _ => Ok(Some(to_microseconds(self.sliding.map_or(expiry, |sliding| sliding.capped(expiry, now))))),
        }
    }

    /// The token that the first request of this id sealed.
    ///
    /// # Errors
    /// [`Error::RequestIdReused`].
    pub(super) fn reopen(&self, id: Option<Uuid>, digest: Digest, first: &IdempotentRequest) -> Result<Token, Error> {
        let secret = idempotency::open(id.ok_or(Error::RequestIdReused)?, first);
        // A replica with another `tokens.format` may have written it. Only a key that sealed something else, or
        // a row that was altered, opens to another token than both.
        let mut spellings = self.form.spellings(&secret).into_iter();
        spellings.find(|token| self.hashing.digest(token) == digest).ok_or(Error::RequestIdReused)
    }

    fn forever(&self) -> Result<Option<Timestamp>, Error> {
        match self.never_expires {
            NeverExpires::Allowed => Ok(None),
            NeverExpires::Refused => Err(Error::invalid("never_expires", "this server issues no token without end")),
        }
    }
}

/// `None` beyond the last moment.
pub(super) fn after(now: Timestamp, ttl: Duration) -> Option<Timestamp> {
    let end = now.checked_add_signed(TimeDelta::from_std(ttl).ok()?)?;
    (end <= last_moment()).then_some(end)
}

/// The end of the year 9999: the last moment that Protobuf and MySQL can hold.
fn last_moment() -> Timestamp {
    DateTime::from_timestamp(253_402_300_799, 0).expect("the year 9999 is within chrono's range")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> IssuePolicy {
        IssuePolicy {
            ttl: Duration::from_hours(10),
            max_ttl: Some(Duration::from_hours(24)),
            never_expires: NeverExpires::Refused,
            sliding: None,
            form: TokenForm::default(),
            hashing: Hashing::default(),
        }
    }

    fn now() -> Timestamp {
        DateTime::from_timestamp(1_700_000_000, 123_456_000).expect("a time")
    }

    #[test]
    fn lifetimes_follow_the_policy() {
        let policy = policy();
        let hours = |hours| Some(now() + TimeDelta::hours(hours));
        let expiry = |lifetime| policy.expiry(lifetime, now());
        assert_eq!(expiry(Lifetime::Default).expect("the default"), hours(10));
        assert_eq!(expiry(Lifetime::For(Duration::from_hours(24))).expect("the longest"), hours(24));
        assert!(expiry(Lifetime::For(Duration::from_hours(25))).is_err());
        assert!(expiry(Lifetime::Until(now())).is_err());
        assert!(expiry(Lifetime::Until(now() + TimeDelta::hours(25))).is_err());
        assert!(expiry(Lifetime::Forever).is_err());
        let lax = IssuePolicy { max_ttl: None, never_expires: NeverExpires::Allowed, ..policy.clone() };
        assert_eq!(lax.expiry(Lifetime::Forever, now()).expect("allowed"), None);
        assert!(lax.expiry(Lifetime::For(Duration::from_secs(u64::MAX)), now()).is_err());
        assert!(lax.expiry(Lifetime::Until(last_moment() + TimeDelta::seconds(1)), now()).is_err());
    }

    #[test]
    fn a_first_lifetime_ends_where_sliding_would() {
        let max_ttl = Some(Duration::from_hours(12));
        let sliding = Some(Sliding { ttl: Duration::from_hours(10), interval: Duration::from_mins(1), max_ttl });
        let policy = IssuePolicy { sliding, ..policy() };
        for (asked, given) in [(11, 11), (12, 12), (13, 12)] {
            let expiry = policy.expiry(Lifetime::For(Duration::from_hours(asked)), now()).expect("allowed");
            assert_eq!(expiry, Some(now() + TimeDelta::hours(given)), "{asked} h");
        }
    }

    #[test]
    fn expiry_is_kept_to_the_microsecond() {
        let at = Lifetime::For(Duration::from_nanos(1_500));
        assert_eq!(policy().expiry(at, now()).expect("a time"), Some(now() + TimeDelta::microseconds(1)));
    }
}
