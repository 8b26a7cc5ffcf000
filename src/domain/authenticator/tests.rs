//! Revisions: what is waited for, and who is asked then.

use std::sync::Mutex;

use futures::future::join_all;

use super::*;
use crate::domain::{
    Digests, Ending, Extended, Hashing, Inserted, NewToken, Revocation, SetClock, Target, TokenId, TokenQuery, User,
    UserChange, UserId,
};

/// Knows no token, and counts what it is asked.
#[derive(Default)]
struct Counter {
    /// The place that caches have come to.
    reached: u64,
    /// The place that the primary has come to.
    primary: u64,
    waits: Mutex<Vec<u64>>,
    asked: Mutex<Vec<Freshness>>,
}

fn at(seq: u64) -> Position {
    Position { epoch: 1, seq }
}

fn presented(token: &str, min_revision: Option<u64>) -> Presented {
    Presented {
        token: Some(Token::parse(token.to_owned()).expect("well-formed")),
        required_scopes: Vec::new(),
        freshness: Freshness::Any,
        quota: None,
        min_revision: min_revision.map(at),
    }
}

fn over(store: Counter) -> (Arc<Counter>, Authenticator<Counter, SetClock>) {
    let store = Arc::new(store);
    (
        Arc::clone(&store),
        Authenticator::new(
            store,
            SetClock::at(chrono::DateTime::UNIX_EPOCH),
            Hashing::default(),
            TokenForm::default(),
            None,
        ),
    )
}

// === impl Counter ===

impl Counter {
    fn asked(&self) -> Vec<Freshness> {
        self.asked.lock().expect("not poisoned").clone()
    }

    fn waits(&self) -> Vec<u64> {
        let mut waits = self.waits.lock().expect("not poisoned").clone();
        waits.sort_unstable();
        waits
    }
}

fn never<T>() -> Result<T, Error> {
    Err(Error::Unsupported("an authenticator does not ask for it"))
}

impl TokenStore for Counter {
    async fn find(&self, _: impl Into<Digests> + Send, look: impl Into<Look> + Send) -> Result<Reading, Error> {
        let freshness = look.into().freshness;
        self.asked.lock().expect("not poisoned").push(freshness);
        let source = if freshness == Freshness::Primary { Source::Database } else { Source::SharedCache };
        Ok(Reading { found: Found::Unknown, position: at(self.primary), source, age: Duration::ZERO })
    }

    async fn find_all(&self, batch: Vec<(Digests, Look)>) -> Vec<Result<Reading, Error>> {
        join_all(batch.into_iter().map(|(digests, look)| self.find(digests, look))).await
    }

    async fn reflects(&self, position: Position) -> bool {
        self.waits.lock().expect("not poisoned").push(position.seq);
        position.seq <= self.reached
    }

    async fn insert(&self, _: NewToken) -> Result<Inserted, Error> {
        never()
    }

    async fn extend(&self, _: Extension) -> Result<Extended, Error> {
        never()
    }

    async fn revoke(&self, _: Target, _: Ending) -> Result<Revocation, Error> {
        never()
    }

    async fn revoke_all(&self, _: UserId, _: Option<Target>, _: Ending) -> Result<Revocation, Error> {
        never()
    }

    async fn get(&self, _: TokenId) -> Result<TokenRecord, Error> {
        never()
    }

    async fn list(&self, _: TokenQuery) -> Result<Vec<TokenRecord>, Error> {
        never()
    }

    async fn user(&self, _: UserId) -> Result<User, Error> {
        never()
    }

    async fn upsert_user(&self, _: UserChange) -> Result<(User, Revocation), Error> {
        never()
    }

    async fn delete_user(&self, _: UserId, _: Ending) -> Result<Revocation, Error> {
        never()
    }
}

#[tokio::test]
async fn a_revision_that_caches_have_come_to_is_answered_from_them() {
    let (store, authenticator) = over(Counter { reached: 7, ..Counter::default() });
    authenticator.authenticate(presented("a", Some(7))).await.expect("answered");
    authenticator.authenticate(presented("a", None)).await.expect("answered");
    assert_eq!((store.waits(), store.asked()), (vec![7], vec![Freshness::Any; 2]));
}

#[tokio::test]
async fn the_primary_is_asked_where_caches_do_not_come_to_the_revision() {
    let (store, authenticator) = over(Counter { reached: 6, primary: 7, ..Counter::default() });
    authenticator.authenticate(presented("a", Some(7))).await.expect("answered");
    assert_eq!(store.asked(), [Freshness::Primary]);
    let refused = authenticator.authenticate(presented("a", Some(8))).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "the primary has not come to it either: {refused:?}");
    let over = Presented { min_revision: Some(Position { epoch: 2, seq: 8 }), ..presented("a", None) };
    authenticator.authenticate(over).await.expect("places of two epochs do not compare");
}

#[tokio::test]
async fn a_batch_waits_for_each_revision_once_and_not_for_what_needs_none() {
    let (store, authenticator) = over(Counter { reached: 7, primary: 9, ..Counter::default() });
    let mut batch: Vec<_> = (0..50).flat_map(|_| [presented("a", Some(7)), presented("b", Some(9))]).collect();
    batch.push(Presented { freshness: Freshness::Primary, ..presented("c", Some(3)) });
    batch.push(Presented { token: None, ..presented("d", Some(4)) });
    let answers = authenticator.authenticate_all(batch).await.expect("answered");
    assert_eq!(answers.len(), 102);
    assert_eq!(store.waits(), [7, 9]);
    let primary = store.asked().into_iter().filter(|freshness| *freshness == Freshness::Primary).count();
    assert_eq!(primary, 51);
}

mod reuse {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::Label;

    const LIMIT: Duration = Duration::from_secs(30);

    fn reusable(limit: Duration, expires_in: Option<TimeDelta>, freshness: Freshness) -> Option<Duration> {
        let (_, authenticator) = over(Counter::default());
        let now = chrono::DateTime::UNIX_EPOCH;
        let record = TokenRecord {
            digest: Token::parse("t".to_owned()).expect("well-formed").digest(),
            user: User {
                id: "1".parse().expect("a user id"),
                active: true,
                attributes: std::collections::BTreeMap::new(),
            },
            created: now,
            expiry: expires_in.map(|time| now + time),
            revoked: None,
            last_used: None,
            label: Label::default(),
        };
        let asked = Presented { freshness, ..presented("t", None) };
        authenticator.reusable_for(limit).reusable(&asked, &record, now)
    }

    #[test]
    fn an_answer_may_be_used_again_for_the_limit_and_never_beyond_the_tokens_expiry() {
        assert_eq!(reusable(LIMIT, None, Freshness::Any), Some(LIMIT));
        assert_eq!(reusable(LIMIT, Some(TimeDelta::hours(1)), Freshness::Any), Some(LIMIT));
        assert_eq!(reusable(LIMIT, Some(TimeDelta::seconds(7)), Freshness::Shared), Some(Duration::from_secs(7)));
        assert_eq!(reusable(LIMIT, Some(TimeDelta::zero()), Freshness::Any), None);
        assert_eq!(reusable(LIMIT, None, Freshness::Primary), None, "it wants no answer of before");
        assert_eq!(reusable(Duration::ZERO, None, Freshness::Any), None);
    }
}
