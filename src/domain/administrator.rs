//! Changes and replaces tokens, and lists users.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{
    administration::{Administration, Expiry, Rotated, Rotation, TokenChange, UserQuery},
    clock::to_microseconds,
    digest::TokenId,
    error::{Error, Violation},
    idempotency,
    issuer::{IssuePolicy, Lifetime, after},
    ports::Clock,
    record::{Timestamp, TokenRecord, User, UserId},
    revocation::Revocation,
    token::{Secret, Token},
};

/// Works on tokens and users that are there.
#[derive(Debug)]
pub struct Administrator<S, C> {
    store: Arc<S>,
    clock: C,
    policy: IssuePolicy,
}

/// What to change of a token; what is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Its label for people.
    pub display_name: Option<String>,
    /// Its scopes.
    pub scopes: Option<Vec<String>>,
    /// Its annotations.
    pub metadata: Option<BTreeMap<String, String>>,
    /// When it ends.
    pub expiry: Option<Expiry>,
}

/// A token to replace.
#[derive(Clone, Debug)]
pub struct Replacement {
    /// Which token.
    pub token: TokenId,
    /// How long it goes on; zero: it ends now.
    pub overlap: Duration,
    /// The caller that asks, where callers are known.
    pub issuer: Option<String>,
    /// Makes a retry return the first result.
    pub request_id: Option<Uuid>,
}

/// A successor. The secret is here and nowhere else.
#[derive(Clone, Debug)]
pub struct Replaced {
    /// The bearer token.
    pub secret: Token,
    /// Its record.
    pub successor: TokenRecord,
    /// The token that it replaces.
    pub superseded: TokenRecord,
    /// What is outdated by it.
    pub revocation: Revocation,
}

/// A page of users.
#[derive(Clone, Debug)]
pub struct UserPage {
    /// In the order of their keys.
    pub users: Vec<User>,
    /// The last one, when there are more.
    pub next: Option<UserId>,
}

// === impl Administrator ===

impl<S: Administration, C: Clock> Administrator<S, C> {
    /// Works on what is in `store`, as `policy` allows.
    pub fn new(store: Arc<S>, clock: C, policy: IssuePolicy) -> Self {
        Self { store, clock, policy }
    }

    /// Changes a token. An expiry in the past ends it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an expiry that the policy refuses, and as [`Administration::update`].
    ///
    /// # Cancel safety
    /// As [`Administration::update`].
    pub async fn update(&self, token: TokenId, update: Update) -> Result<(TokenRecord, Revocation), Error> {
        let at = self.clock.now();
        let Update { display_name, scopes, metadata, expiry } = update;
        let expiry = expiry.map(|expiry| self.end(expiry, at)).transpose()?;
        self.store.update(TokenChange { token, display_name, scopes, metadata, expiry, at }).await
    }

    /// Issues a successor, and has the token end once `overlap` is over, or at once. A retry
    /// with the same `request_id` returns the first successor.
    ///
    /// # Errors
    /// As [`Administration::rotate`].
    ///
    /// # Cancel safety
    /// As [`Administration::rotate`].
    pub async fn rotate(&self, replacement: Replacement) -> Result<Replaced, Error> {
        let Replacement { token, overlap, issuer, request_id: id } = replacement;
        let at = self.clock.now();
        let until = if overlap.is_zero() { None } else { Some(overlap_end(at, overlap)?) };
        let secret = Secret::random();
        let successor = self.policy.form.write(&secret);
        let rotated = self.store.rotate(Rotation {
            token,
            digest: self.policy.hashing.digest(&successor),
            key: successor.key(),
            hint: self.policy.form.hint(&successor),
            at,
            until,
            policy: self.policy.clone(),
            issuer,
            request: id.map(|id| idempotency::seal(id, self.fingerprint(token, overlap), &secret)),
        });
        let Rotated { successor: record, superseded, first, revocation } = rotated.await?;
        let secret = match first {
            Some(first) => self.policy.reopen(id, record.digest, &first)?,
            None => successor,
        };
        Ok(Replaced { secret, successor: record, superseded, revocation })
    }

    /// A page of users. One more than asked for is read, to tell whether it is the last page.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn users(&self, after: Option<UserId>, size: u32) -> Result<UserPage, Error> {
        let mut users = self.store.users(UserQuery { after, limit: size.saturating_add(1) }).await?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let more = users.len() > size;
        users.truncate(size);
        let next = users.last().map(|user| user.id.clone()).filter(|_| more);
        Ok(UserPage { users, next })
    }

    /// The end that is asked for, in the past or as the policy allows it. Use does not move it, so no
    /// bound of that applies.
    fn end(&self, expiry: Expiry, now: Timestamp) -> Result<Expiry, Error> {
        let lifetime = match expiry {
            Expiry::Never => Lifetime::Forever,
            Expiry::At(past) if past < Timestamp::UNIX_EPOCH => {
                return Err(Error::invalid("token.expire_time", "it is not before 1970"));
            }
            Expiry::At(past) if past <= now => return Ok(Expiry::At(to_microseconds(past))),
            Expiry::At(end) => Lifetime::Until(end),
        };
        let policy = IssuePolicy { sliding: None, ..self.policy.clone() };
        policy.expiry(lifetime, now).map(Expiry::from).map_err(|refused| match refused {
            Error::Invalid(violations) => {
                let named = |fault: Violation| Violation { field: "token.expire_time".to_owned(), ..fault };
                Error::Invalid(violations.into_iter().map(named).collect())
            }
            other => other,
        })
    }

    /// A hash of what was asked for, which no IssueToken has.
    fn fingerprint(&self, token: TokenId, overlap: Duration) -> [u8; 32] {
        let asked = format!("rotate {token} {overlap:?} {:?}", self.policy.form.prefix());
        Sha256::new().chain_update(b"tokenward rotation v1").chain_update(asked).finalize().into()
    }
}

fn overlap_end(now: Timestamp, overlap: Duration) -> Result<Timestamp, Error> {
    let end = after(now, overlap).map(to_microseconds);
    end.ok_or_else(|| Error::invalid("overlap", "it ends after the year 9999"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use chrono::{DateTime, TimeDelta};

    use super::*;
    use crate::domain::{Hashing, Label, NeverExpires, Position, Propagation, SetClock, Sliding, TokenForm, Used};

    /// Does what it is told to a token that was issued an hour ago for two.
    #[derive(Default)]
    struct One {
        changes: Mutex<Vec<TokenChange>>,
        forever: bool,
    }

    fn now() -> Timestamp {
        DateTime::from_timestamp(1_700_000_000, 123_456_000).expect("a time")
    }

    fn hours(hours: i64) -> Timestamp {
        now() + TimeDelta::hours(hours)
    }

    fn revocation() -> Revocation {
        let position = Position { epoch: 0, seq: 0 };
        Revocation { count: 0, ended: vec![], owner: None, position, propagation: Propagation::Complete }
    }

    impl One {
        fn record(&self) -> TokenRecord {
            let token = Token::parse("t".to_owned()).expect("well-formed");
            TokenRecord {
                digest: token.digest(),
                user: User { id: "ada".parse().expect("a user"), active: true, attributes: BTreeMap::new() },
                created: hours(-1),
                expiry: (!self.forever).then(|| hours(1)),
                revoked: None,
                last_used: None,
                label: Label { scopes: vec!["read".to_owned()], hint: "t".to_owned(), ..Label::default() },
            }
        }
    }

    impl Administration for One {
        async fn update(&self, change: TokenChange) -> Result<(TokenRecord, Revocation), Error> {
            self.changes.lock().expect("not poisoned").push(change.clone());
            Ok((change.apply(&self.record()), revocation()))
        }

        async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error> {
            let new = rotation.successor(&self.record())?;
            let successor = TokenRecord {
                digest: new.digest,
                created: new.created,
                expiry: new.expiry,
                label: new.label,
                ..self.record()
            };
            let superseded = TokenRecord { expiry: rotation.until, ..self.record() };
            Ok(Rotated { successor, superseded, first: None, revocation: revocation() })
        }

        async fn users(&self, query: UserQuery) -> Result<Vec<User>, Error> {
            Ok(vec![self.record().user; usize::try_from(query.limit.min(2)).expect("it is small")])
        }

        async fn note_used(&self, _: Vec<Used>) -> Result<u64, Error> {
            Ok(0)
        }
    }

    fn policy() -> IssuePolicy {
        IssuePolicy {
            ttl: Duration::from_hours(10),
            max_ttl: None,
            never_expires: NeverExpires::Refused,
            sliding: None,
            form: TokenForm::default(),
            hashing: Hashing::default(),
        }
    }

    fn administrator(store: One, policy: IssuePolicy) -> Administrator<One, SetClock> {
        Administrator::new(Arc::new(store), SetClock::at(now()), policy)
    }

    fn id() -> TokenId {
        One::default().record().digest.token_id()
    }

    async fn expiry(policy: IssuePolicy, expiry: Option<Timestamp>) -> Result<Option<Timestamp>, Error> {
        let update = Update { expiry: Some(expiry.into()), ..Update::default() };
        administrator(One::default(), policy).update(id(), update).await.map(|(record, _)| record.expiry)
    }

    #[tokio::test]
    async fn an_end_is_in_the_past_or_as_the_policy_allows_it() {
        let bounded = || IssuePolicy { max_ttl: Some(Duration::from_hours(5)), ..policy() };
        assert_eq!(expiry(bounded(), Some(hours(-3))).await.expect("it ends"), Some(hours(-3)));
        assert_eq!(expiry(bounded(), Some(hours(5))).await.expect("allowed"), Some(hours(5)));
        for refused in [Some(hours(6)), None, Some(DateTime::from_timestamp(-1, 0).expect("a time"))] {
            let Err(Error::Invalid(faults)) = expiry(bounded(), refused).await else { panic!("{refused:?}") };
            assert_eq!(faults[0].field, "token.expire_time");
        }
        let lax = IssuePolicy { never_expires: NeverExpires::Allowed, ..policy() };
        assert_eq!(expiry(lax, None).await.expect("allowed"), None);
        let max_ttl = Some(Duration::from_hours(2));
        let sliding = Some(Sliding { ttl: Duration::from_hours(1), interval: Duration::ZERO, max_ttl });
        let end = expiry(IssuePolicy { sliding, ..policy() }, Some(hours(9))).await.expect("allowed");
        assert_eq!(end, Some(hours(9)), "use does not move it, so what bounds that does not apply");
    }

    #[tokio::test]
    async fn a_successor_lives_as_long_as_what_it_replaces_within_the_policy() {
        let life = async |store: One, policy: IssuePolicy| {
            let asked = Replacement { token: id(), overlap: Duration::ZERO, issuer: None, request_id: None };
            let replaced = administrator(store, policy).rotate(asked).await.expect("rotated");
            assert_eq!(replaced.successor.label.scopes, ["read"]);
            assert!(replaced.secret.expose().starts_with(&replaced.successor.label.hint));
            replaced.successor.expiry
        };
        assert_eq!(life(One::default(), policy()).await, Some(hours(2)));
        let short = IssuePolicy { max_ttl: Some(Duration::from_hours(1)), ttl: Duration::from_hours(1), ..policy() };
        assert_eq!(life(One::default(), short).await, Some(hours(1)));
        let endless = || One { forever: true, ..One::default() };
        assert_eq!(life(endless(), policy()).await, Some(hours(10)), "no end is given any more");
        let lax = IssuePolicy { never_expires: NeverExpires::Allowed, ..policy() };
        assert_eq!(life(endless(), lax).await, None);
    }
}
