//! Ending tokens and changing users.

use std::{collections::BTreeMap, time::Duration};

use chrono::TimeDelta;

use super::world::{World, ending, find, find_token, issue, now, token, user};
use crate::{
    domain::{
        Ending, Error, Found, Freshness, InactiveReason, NewToken, Propagation, RevocationCause, Subject, Target,
        TokenId, TokenQuery, TokenState, TokenStore as _, UserChange,
    },
    store::Database,
};

pub(super) async fn a_revocation_is_kept_and_may_be_repeated(world: World) {
    let store = &world.store;
    for cause in [
        RevocationCause::Unspecified,
        RevocationCause::SignedOut,
        RevocationCause::KeyCompromise,
        RevocationCause::Superseded,
        RevocationCause::PrivilegeWithdrawn,
    ] {
        let record = issue(store, token("ada")).await;
        let id = record.digest.token_id();
        let target = if cause == RevocationCause::SignedOut { Target::Digest(record.digest) } else { Target::Id(id) };
        let first = store.revoke(target, Ending { cause, ..ending() }).await.expect("revoked");
        assert_eq!((first.count, &first.ended[..]), (1, &[id][..]));
        assert_eq!(first.propagation, Propagation::Complete);
        let later = Ending { at: now() + TimeDelta::hours(5), cause };
        let again = store.revoke(target, later).await.expect("no error");
        assert_eq!((again.count, &again.ended[..]), (0, &[id][..]), "a retry still tells caches");
        assert_eq!(first.position, again.position, "nothing numbers revocations yet");
        let kept = store.get(id).await.expect("a record");
        assert_eq!((kept.revoked, &kept.label), (Some(ending().at), &record.label));
        assert_eq!((kept.created, kept.expiry, &kept.user), (record.created, record.expiry, &record.user));
    }
    let reasons = "SELECT revocation_reason FROM tokenward_token_detail ORDER BY revocation_reason";
    let kept: Vec<String> =
        world.query(reasons).await.iter().map(|row| row.try_get_by_index(0).expect("text")).collect();
    assert_eq!(kept, ["key_compromise", "privilege_withdrawn", "signed_out", "superseded", "unspecified"]);

    let expired = issue(store, NewToken { expiry: Some(now()), ..token("ada") }).await;
    let ended = store.revoke(Target::Digest(expired.digest), ending()).await.expect("revoked");
    assert_eq!(ended.count, 0, "it was not active any more");
    assert_eq!(find(store, expired.digest).await, Found::Revoked);
    let unknown = token("ada").digest;
    for target in [Target::Digest(unknown), Target::Id(unknown.token_id())] {
        let ended = store.revoke(target, ending()).await.expect("no error");
        assert_eq!((ended.count, ended.ended), (0, vec![unknown.token_id()]));
    }
    assert_eq!(find(store, unknown).await, Found::Unknown);
}

pub(super) async fn revoke_all_spares_one_and_a_retry_names_the_tokens_again(world: World) {
    let store = &world.store;
    let mut ids = vec![];
    for _ in 0..3 {
        ids.push(issue(store, token("ada")).await.digest.token_id());
    }
    let expired = issue(store, NewToken { expiry: Some(now()), ..token("ada") }).await;
    ids.push(expired.digest.token_id());
    let spared = issue(store, token("ada")).await;
    let other = issue(store, token("bob")).await;

    let except = Some(Target::Id(spared.digest.token_id()));
    let first = store.revoke_all(user("ada"), except, ending()).await.expect("revoked");
    assert_eq!((first.count, sorted(first.ended)), (3, sorted(ids.clone())));
    assert_eq!(find_token(store, spared.digest).await, spared);
    assert!(matches!(find(store, other.digest).await, Found::Token(_)));
    assert_eq!(find(store, expired.digest).await, Found::Revoked);

    let retry = Ending { at: ending().at + TimeDelta::minutes(1), ..ending() };
    let again = store.revoke_all(user("ada"), Some(Target::Digest(spared.digest)), retry).await.expect("no error");
    assert_eq!((again.count, sorted(again.ended)), (0, sorted(ids)));
    let later = Ending { at: ending().at + TimeDelta::minutes(3), ..ending() };
    let last = store.revoke_all(user("ada"), None, later).await.expect("revoked");
    assert_eq!((last.count, last.ended), (1, vec![spared.digest.token_id()]), "the others are old news by now");
}

pub(super) async fn revoke_all_of_more_tokens_than_one_statement_takes(world: World) {
    let store = &world.store;
    for chunk in 0..12 {
        let issues = (0..100).map(|_| {
            tokio::spawn({
                let store = store.clone();
                async move { issue(&store, token("ada")).await }
            })
        });
        for issue in issues.collect::<Vec<_>>() {
            issue.await.unwrap_or_else(|error| panic!("chunk {chunk}: {error}"));
        }
    }
    let ended = store.revoke_all(user("ada"), None, ending()).await.expect("revoked");
    assert_eq!((ended.count, ended.ended.len()), (1200, 1200));
    let query =
        TokenQuery { user: user("ada"), states: vec![TokenState::Revoked], now: now(), after: None, limit: 1000 };
    let listed = store.list(query).await.expect("a page");
    assert_eq!(listed.len(), 1000);
    assert!(listed.iter().all(|record| record.revoked == Some(ending().at) && !record.label.scopes.is_empty()));
}

pub(super) async fn a_user_is_created_changed_and_deleted_with_its_tokens(world: World) {
    let store = &world.store;
    let attributes = BTreeMap::from([("email".to_owned(), "ada@example.com".to_owned())]);
    let new = UserChange { id: user("ada"), active: None, attributes: Some(attributes.clone()) };
    let (ada, revocation) = store.upsert_user(new).await.expect("created");
    assert_eq!((ada.active, &ada.attributes, revocation.ended), (true, &attributes, vec![]));

    let record = issue(store, token("ada")).await;
    assert_eq!(record.user, ada);
    let off = UserChange { id: user("ada"), active: Some(false), attributes: None };
    for _ in 0..2 {
        let (ada, revocation) = store.upsert_user(off.clone()).await.expect("changed");
        assert_eq!((ada.active, &ada.attributes), (false, &attributes));
        assert_eq!((revocation.count, revocation.ended), (0, vec![record.digest.token_id()]), "a retry too");
    }
    assert_eq!(find_token(store, record.digest).await.admit(now(), &[]), Err(InactiveReason::UserDisabled));
    let on = UserChange { id: user("ada"), active: Some(true), attributes: Some(BTreeMap::new()) };
    let (back, revocation) = store.upsert_user(on).await.expect("changed");
    assert_eq!((back.active, back.attributes.len(), revocation.ended.len()), (true, 0, 1));
    assert_eq!(find_token(store, record.digest).await.admit(now(), &[]), Ok(()));

    let gone = store.delete_user(user("ada"), ending()).await.expect("deleted");
    assert_eq!((gone.count, &gone.ended[..]), (1, &[record.digest.token_id()][..]));
    assert!(matches!(store.user(user("ada")).await, Err(Error::NotFound(Subject::User))));
    assert_eq!(find(store, record.digest).await, Found::Revoked);
    let again = store.delete_user(user("ada"), ending()).await.expect("no error");
    assert_eq!((again.count, again.ended), (0, gone.ended));
    let kept = store.get(record.digest.token_id()).await.expect("a record");
    assert_eq!((kept.user.id.as_str(), kept.user.active), ("ada", false));
    let nobody = store.revoke_all(user("nobody"), None, ending()).await.expect("no error");
    assert_eq!((nobody.count, nobody.ended), (0, vec![]));
}

pub(super) async fn a_write_outlives_its_caller(world: World) {
    let store: &Database = &world.store;
    let record = issue(store, token("ada")).await;
    let mut call = Box::pin(store.revoke(Target::Digest(record.digest), ending()));
    let polled = std::future::poll_fn(|context| std::task::Poll::Ready(call.as_mut().poll(context)));
    assert!(polled.await.is_pending(), "it has to ask the database");
    drop(call);
    let revoked = async {
        // Not `find`, which asks twice: the token is revoked meanwhile.
        while store.find(record.digest, Freshness::Any).await.expect("an answer").found != Found::Revoked {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), revoked).await.expect("it runs to its end");
}

fn sorted(mut ids: Vec<TokenId>) -> Vec<TokenId> {
    ids.sort();
    ids
}
