//! What django-rest-knox-redis has yet to be told.

use std::time::Duration;

use super::{
    knox_cases::{UUID, django, insert_as_django},
    server::Kind,
    world::{World, ending, issue, token, user},
};
use crate::{
    config::{Config, SchemaPreset, SecretText, UserIdType},
    domain::{NewToken, Notice, Outbox as _, Target, TokenKey, TokenStore as _, UserChange},
    store::{Backlog, Database},
};

pub(super) async fn each_token_that_we_end_leaves_a_notice_and_a_retry_none(world: World) {
    let store = world.reopen(told).await;
    let (one, two, three, four) = (token("ada"), token("ada"), token("ada"), token("bob"));
    for token in [&one, &two, &three, &four] {
        issue(&store, token.clone()).await;
    }
    for _ in 0..2 {
        store.revoke(Target::Digest(one.digest), ending()).await.expect("revoked");
        assert_eq!(pending(&store).await, [named(&one)]);
    }
    tokio::time::timeout(Duration::from_secs(10), store.written()).await.expect("it wakes who delivers");
    for _ in 0..2 {
        store.revoke_all(user("ada"), Some(Target::Digest(three.digest)), ending()).await.expect("revoked");
        assert_eq!(pending(&store).await, [named(&one), named(&two)]);
    }
    let off = UserChange { id: user("bob"), active: Some(false), attributes: None };
    for _ in 0..2 {
        store.upsert_user(off.clone()).await.expect("deactivated");
        assert_eq!(pending(&store).await, [named(&one), named(&two), named(&four)]);
    }
    store.delete_user(user("ada"), ending()).await.expect("deleted");
    assert_eq!(pending(&store).await, [named(&one), named(&two), named(&four), named(&three)]);
    let backlog = store.outbox_backlog().await.expect("a count");
    assert!(backlog.pending == 4 && backlog.oldest_age < Duration::from_mins(5), "{backlog:?}");

    let first = store.oldest(3).await.expect("notices");
    for _ in 0..2 {
        store.delivered(first.clone()).await.expect("forgotten");
        assert_eq!(pending(&store).await, [named(&three)]);
    }
    store.delivered(store.oldest(9).await.expect("notices")).await.expect("forgotten");
    let none = Backlog { pending: 0, oldest_age: Duration::ZERO };
    assert_eq!(store.outbox_backlog().await.expect("a count"), none);
}

pub(super) async fn without_anybody_to_tell_nothing_is_written(world: World) {
    let store = &world.store;
    let new = token("ada");
    issue(store, new.clone()).await;
    issue(store, token("ada")).await;
    store.revoke(Target::Digest(new.digest), ending()).await.expect("revoked");
    store.delete_user(user("ada"), ending()).await.expect("deleted");
    assert_eq!(pending(store).await, []);
}

pub(super) async fn a_thousand_tokens_of_one_user_leave_a_thousand_notices(world: World) {
    let store = world.reopen(told).await;
    for _ in 0..10 {
        let issues = (0..100).map(|_| store.insert(token("ada")));
        futures::future::try_join_all(issues).await.expect("issued");
    }
    store.revoke_all(user("ada"), None, ending()).await.expect("revoked");
    assert_eq!(store.outbox_backlog().await.expect("a count").pending, 1_000);
}

/// As Django's `str` has them, whatever the column holds.
pub(super) async fn users_are_named_as_django_names_them(world: World) {
    let (column, key, kind) = match world.kind {
        Kind::Sqlite => ("char(32)", UUID.replace('-', ""), UserIdType::Char32),
        Kind::Postgres | Kind::Mariadb => ("uuid", UUID.to_owned(), UserIdType::Uuid),
    };
    drop(django(&world, column, &key).await);
    let store = world
        .reopen(|config| {
            told(config);
            config.database.schema = SchemaPreset::Knox;
            config.schema.user_id_type = Some(kind);
        })
        .await;
    let by_django = insert_as_django(&world, &key).await;
    store.revoke(Target::Digest(by_django), ending()).await.expect("revoked");
    assert_eq!(pending(&store).await, [("0123456789abcde".to_owned(), UUID.to_owned())]);
}

fn told(config: &mut Config) {
    config.knox_redis.url = SecretText::new("redis://127.0.0.1:1");
}

fn named(token: &NewToken) -> (String, String) {
    (TokenKey::as_str(&token.key).to_owned(), token.user.as_str().to_owned())
}

async fn pending(store: &Database) -> Vec<(String, String)> {
    let notices = store.oldest(100).await.expect("notices");
    notices.into_iter().map(|Notice { token_key, user, .. }| (token_key, user)).collect()
}
