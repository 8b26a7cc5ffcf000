//! Limits, idempotent requests, and issues that meet.

use std::time::Duration;

use chrono::TimeDelta;

use super::world::{World, ending, find, find_token, issue, now, request, token, user};
use crate::{
    domain::{
        Error, Found, Freshness, Inserted, NewToken, Subject, Target, TokenQuery, TokenState, TokenStore as _,
        UserChange,
    },
    store::Database,
};

pub(super) async fn an_unknown_user_is_created_or_refused_as_configured(world: World) {
    let strict = world.reopen(|config| config.users.create_on_issue = false).await;
    let refused = strict.insert(token("ada")).await;
    assert!(matches!(refused, Err(Error::NotFound(Subject::User))), "{refused:?}");
    issue(&world.store, token("ada")).await;
    issue(&strict, token("ada")).await;
    let padded = world.store.insert(token("ada ")).await;
    assert!(matches!(padded, Err(Error::Invalid(faults)) if faults[0].field == "user_id"));
    issue(&world.store, token("Ada")).await;
    assert_eq!(world.store.user(user("ADA")).await.ok(), None, "users are told apart by case");
}

pub(super) async fn the_limit_holds_under_20_parallel_issues(world: World) {
    let limit = 5;
    let store = world.reopen(|config| config.tokens.limit_per_user = limit).await;
    // Both when the user is made by one of them and when it is there.
    for owner in ["new", "known"] {
        if owner == "known" {
            let change = UserChange { id: user(owner), active: None, attributes: None };
            store.upsert_user(change).await.expect("a user");
        }
        let issues = (0..20).map(|_| {
            tokio::spawn({
                let store = store.clone();
                async move { store.insert(token(owner)).await }
            })
        });
        let (mut stored, mut refused) = (0, 0);
        for issue in issues.collect::<Vec<_>>() {
            match issue.await.expect("no panic") {
                Ok(Inserted::New(_)) => stored += 1,
                Err(Error::LimitReached { limit: 5 }) => refused += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((stored, refused), (5, 15), "{owner}");
        assert_eq!(live(&store, owner).await, 5);
    }
}

pub(super) async fn expired_tokens_do_not_count_against_the_limit(world: World) {
    let store = world.reopen(|config| config.tokens.limit_per_user = 1).await;
    let past = NewToken { expiry: Some(now() - TimeDelta::microseconds(1)), ..token("ada") };
    issue(&store, past.clone()).await;
    let last_moment = issue(&store, NewToken { expiry: Some(now()), ..token("ada") }).await;
    assert!(matches!(store.insert(token("ada")).await, Err(Error::LimitReached { limit: 1 })));
    assert_eq!(find_token(&store, last_moment.digest).await.state(now()), TokenState::Active);
    store.revoke(Target::Digest(last_moment.digest), ending()).await.expect("revoked");
    let forever = issue(&store, NewToken { expiry: None, ..token("ada") }).await;
    assert!(matches!(store.insert(token("ada")).await, Err(Error::LimitReached { limit: 1 })));
    assert!(matches!(find(&store, forever.digest).await, Found::Token(_)), "nothing is evicted");
    issue(&store, token("bob")).await;
}

pub(super) async fn a_repeated_request_gets_the_first_token(world: World) {
    let store = world.reopen(|config| config.tokens.limit_per_user = 1).await;
    let first = issue(&store, with_request(1, 1)).await;
    let (again, kept) = repeated(&store, with_request(1, 1)).await;
    assert_eq!((again, kept), (first.clone(), request(1, 1)), "the limit does not count a repetition");

    store.revoke(Target::Digest(first.digest), ending()).await.expect("revoked");
    let (again, _) = repeated(&store, with_request(1, 1)).await;
    assert_eq!(again.revoked, Some(ending().at), "it is not issued anew");

    assert_eq!(store.purge_requests(now()).await.expect("purged"), 0, "not older than");
    assert_eq!(store.purge_requests(now() + TimeDelta::microseconds(1)).await.expect("purged"), 1);
    issue(&store, with_request(1, 1)).await;
}

pub(super) async fn a_request_id_with_another_body_is_refused(world: World) {
    issue(&world.store, with_request(1, 1)).await;
    assert!(matches!(world.store.insert(with_request(1, 2)).await, Err(Error::RequestIdReused)));
    issue(&world.store, with_request(2, 1)).await;
    assert_eq!(live(&world.store, "ada").await, 2);
}

pub(super) async fn concurrent_duplicates_store_one_token(world: World) {
    let duplicates = (0..12).map(|_| {
        tokio::spawn({
            let store = world.store.clone();
            async move { store.insert(with_request(7, 7)).await }
        })
    });
    let (mut new, mut repeated) = (vec![], vec![]);
    for duplicate in duplicates.collect::<Vec<_>>() {
        match duplicate.await.expect("no panic").expect("stored") {
            Inserted::New(record) => new.push(record),
            Inserted::Repeated(record, _) => repeated.push(record),
        }
    }
    assert_eq!((new.len(), repeated.len()), (1, 11));
    assert!(repeated.iter().all(|record| record == &new[0]));
    assert_eq!(live(&world.store, "ada").await, 1);
}

pub(super) async fn a_refused_issue_leaves_its_request_id_free(world: World) {
    let strict = world.reopen(|config| config.users.create_on_issue = false).await;
    assert!(matches!(strict.insert(with_request(1, 1)).await, Err(Error::NotFound(Subject::User))));
    issue(&world.store, with_request(1, 1)).await;
}

pub(super) async fn parallel_issues_and_revocations_of_one_user_all_succeed(world: World) {
    let calls = (0..24).map(|index| {
        let store = world.store.clone();
        tokio::spawn(async move {
            let record = issue(&store, token("ada")).await;
            match index % 4 {
                0 => drop(store.revoke_all(user("ada"), None, ending()).await.expect("revoked")),
                1 => drop(store.revoke(Target::Id(record.digest.token_id()), ending()).await.expect("revoked")),
                2 => drop(
                    store
                        .revoke_all(user("ada"), Some(Target::Digest(record.digest)), ending())
                        .await
                        .expect("revoked"),
                ),
                // It may end between two look-ups, so these are not compared.
                _ => drop(store.find(record.digest, Freshness::Any).await.expect("an answer")),
            }
        })
    });
    for call in calls.collect::<Vec<_>>() {
        tokio::time::timeout(Duration::from_mins(1), call).await.expect("no deadlock").expect("no error");
    }
}

fn with_request(id: u8, body: u8) -> NewToken {
    NewToken { request: Some(request(id, body)), ..token("ada") }
}

async fn repeated(store: &Database, token: NewToken) -> (crate::domain::TokenRecord, crate::domain::IdempotentRequest) {
    match store.insert(token).await.expect("an answer") {
        Inserted::Repeated(record, request) => (record, request),
        Inserted::New(record) => panic!("a second token {record:?}"),
    }
}

async fn live(store: &Database, owner: &str) -> usize {
    let query = TokenQuery { user: user(owner), states: vec![TokenState::Active], now: now(), after: None, limit: 100 };
    store.list(query).await.expect("a page").len()
}
