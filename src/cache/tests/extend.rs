//! Sliding expiry behind the cache: who waits, what is begun, and what is kept afterwards.

use std::{sync::Arc, time::Duration};

use chrono::TimeDelta;

use super::{
    fixture::{digest, eventually, noon, record},
    redis::Redis,
    store::{ENDING, Gate, TestStore, Tested},
};
use crate::{
    cache::{MemoryCache, Tiers},
    config,
    domain::{Extended, Extension, Found, Freshness, Source, Target, Timestamp, TokenRecord, TokenStore as _},
};

fn at(hours: i64) -> Timestamp {
    noon() + TimeDelta::hours(hours)
}

/// A token that ends in an hour.
fn short(token: &str) -> TokenRecord {
    TokenRecord { expiry: Some(at(1)), ..record(token) }
}

fn memory() -> Tiers {
    Tiers { near: Some(MemoryCache::new(&config::Cache::default())), ..Tiers::default() }
}

/// From one hour to ten.
async fn extend(cached: &Tested, token: &str) -> Extended {
    let extension = Extension::of(digest(token).into(), &short(token), at(1), at(10));
    cached.extend(extension).await.expect("it never fails")
}

async fn expiry(cached: &Tested, token: &str) -> (Option<Timestamp>, Source) {
    let reading = cached.find(digest(token), Freshness::Any).await.expect("the store answers");
    match reading.found {
        Found::Token(record) => (record.expiry, reading.source),
        other => panic!("a token, not {other:?}"),
    }
}

/// A store with these tokens, each of which ends in an hour, and a cache in which they are.
async fn warm(tiers: Tiers, tokens: &[&str]) -> (Arc<TestStore>, Arc<Tested>) {
    let store = TestStore::of(&[]);
    let cached = store.behind(tiers);
    for token in tokens {
        store.put(&short(token));
        eventually(async || expiry(&cached, token).await.1 != Source::Database).await;
    }
    (store, cached)
}

#[tokio::test]
async fn the_next_hit_sees_the_later_end() {
    let redis = Redis::start().await;
    let shared = Tiers { shared: Some(redis.connected().await), ..Tiers::default() };
    for (tiers, source) in [(memory(), Source::LocalCache), (shared, Source::SharedCache)] {
        let (store, cached) = warm(tiers, &["a"]).await;
        assert_eq!(extend(&cached, "a").await, Extended::Deferred);
        eventually(async || expiry(&cached, "a").await == (Some(at(10)), source)).await;
        assert_eq!(store.extended(), 1);
        eventually(async || cached.inner.extensions.are_over()).await;
    }
}

#[tokio::test]
async fn what_another_wrote_meanwhile_stands_and_is_seen() {
    let (store, cached) = warm(memory(), &["a"]).await;
    store.put(&TokenRecord { expiry: Some(at(5)), ..record("a") });
    assert_eq!(expiry(&cached, "a").await, (Some(at(1)), Source::LocalCache), "not yet");
    extend(&cached, "a").await;
    eventually(async || expiry(&cached, "a").await == (Some(at(5)), Source::LocalCache)).await;
}

#[tokio::test]
async fn a_token_that_was_revoked_meanwhile_stays_so() {
    let (store, cached) = warm(memory(), &["a"]).await;
    store.set(Gate::Held);
    extend(&cached, "a").await;
    eventually(async || store.extended() == 1).await;
    cached.revoke(Target::Digest(digest("a")), ENDING()).await.expect("committed");
    store.set(Gate::Open);
    eventually(async || store.sent() > 1).await;
    let found = cached.find(digest("a"), Freshness::Any).await.expect("the store answers").found;
    assert_eq!(found, Found::Revoked);
}

#[tokio::test]
async fn no_answer_waits_and_a_token_has_one_under_way_until_the_new_end_is_kept() {
    let (store, cached) = warm(memory(), &["a"]).await;
    store.set(Gate::Held);
    for _ in 0..100 {
        extend(&cached, "a").await;
        assert_eq!(expiry(&cached, "a").await, (Some(at(1)), Source::LocalCache));
    }
    eventually(async || store.extended() > 0).await;
    assert_eq!(store.extended(), 1);
    store.set(Gate::Open);
    eventually(async || cached.inner.extensions.are_over()).await;
    assert_eq!(expiry(&cached, "a").await, (Some(at(10)), Source::LocalCache), "kept before the mark is gone");
}

#[tokio::test]
async fn few_are_under_way_at_once_and_the_rest_is_left_to_later_checks() {
    let tokens = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let (store, cached) = warm(memory(), &tokens).await;
    store.set(Gate::Held);
    for token in tokens {
        extend(&cached, token).await;
    }
    eventually(async || store.extended() == 4).await;
    store.set(Gate::Open);
    eventually(async || {
        for token in tokens {
            if expiry(&cached, token).await.0 == Some(at(1)) {
                extend(&cached, token).await;
            }
        }
        store.extended() == tokens.len()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_there_is_a_rest_and_then_another_attempt() {
    let (store, cached) = warm(memory(), &["a"]).await;
    store.set(Gate::Failing);
    extend(&cached, "a").await;
    tokio::time::sleep(Duration::from_millis(900)).await;
    extend(&cached, "a").await;
    assert_eq!(store.extended(), 1, "it rests");
    store.set(Gate::Open);
    eventually(async || {
        extend(&cached, "a").await;
        expiry(&cached, "a").await.0 == Some(at(10))
    })
    .await;
    assert_eq!(store.extended(), 2);
}
