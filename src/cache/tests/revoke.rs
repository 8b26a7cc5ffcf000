//! Revocations: nothing from before one is answered after it.

use std::{sync::Arc, time::Duration};

use super::{
    fixture::{digest, eventually},
    redis::Redis,
    store::{ENDING, Gate, TestStore, Tested},
};
use crate::{
    cache::{MemoryCache, Tiers},
    config,
    domain::{Found, Freshness, Propagation, Source, Target, TokenStore as _, UserChange},
    metrics::FillRejection,
};

fn memory() -> Tiers {
    Tiers { near: Some(MemoryCache::new(&config::Cache::default())), ..Tiers::default() }
}

async fn find(cached: &Tested, token: &str) -> (Found, Source) {
    let reading = cached.find(digest(token), Freshness::Any).await.expect("the store answers");
    (reading.found, reading.source)
}

async fn revoke(cached: &Tested, token: &str) -> Propagation {
    cached.revoke(Target::Digest(digest(token)), ENDING()).await.expect("committed").propagation
}

#[tokio::test]
async fn a_cached_token_is_refused_once_revoked() {
    let redis = Redis::start().await;
    for backend in [memory(), redis.backend().await, Tiers::default()] {
        let store = TestStore::of(&["a"]);
        let cached = store.behind(backend);
        find(&cached, "a").await;
        find(&cached, "a").await;
        assert_eq!(revoke(&cached, "a").await, Propagation::Complete);
        assert_eq!(find(&cached, "a").await.0, Found::Revoked);
    }
    assert_eq!(redis.entry_head(digest("a")).await, "00", "the tombstone");
}

/// The read saw the token alive, the revocation came, the read came back.
#[tokio::test]
async fn a_call_that_begins_after_revoke_never_gets_a_read_from_before_it() {
    let redis = Redis::start().await;
    for backend in [memory(), redis.backend().await, Tiers::default()] {
        let kind = backend.kind();
        let store = TestStore::of(&["a"]);
        let cached = store.behind(backend);
        store.set(Gate::Held);
        let spawn = |cached: &Arc<Tested>| {
            let cached = Arc::clone(cached);
            tokio::spawn(async move { find(&cached, "a").await.0 })
        };
        let before = spawn(&cached);
        store.until_sent(1).await;
        assert_eq!(revoke(&cached, "a").await, Propagation::Complete);
        let after: Vec<_> = (0..10).map(|_| spawn(&cached)).collect();
        tokio::task::yield_now().await;
        store.set(Gate::Open);
        assert!(matches!(before.await.expect("no panic"), Found::Token(_)), "{kind}: its read was sent before");
        for found in after {
            assert_eq!(found.await.expect("no panic"), Found::Revoked, "{kind}");
        }
        assert_eq!(find(&cached, "a").await.0, Found::Revoked, "{kind}: the late fill was kept out");
    }
}

/// Redis is not even asked whether it has a tombstone.
#[tokio::test]
async fn a_fill_that_a_revocation_of_this_process_outdates_is_counted() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a", "b"]));
    let cached = store.behind(redis.backend().await);
    let outdated = || cached.inner.counters.fills_rejected.of(FillRejection::Outdated).get();
    store.set(Gate::Held);
    let reads: Vec<_> = ["a", "b"].map(|token| (token, Arc::clone(&cached))).into();
    let reads = reads.into_iter().map(|(token, cached)| tokio::spawn(async move { find(&cached, token).await }));
    let reads: Vec<_> = reads.collect();
    store.until_sent(2).await;
    assert_eq!(revoke(&cached, "a").await, Propagation::Complete);
    assert_eq!(outdated(), 0, "it has not come back yet");
    store.set(Gate::Open);
    for read in reads {
        assert!(matches!(read.await.expect("no panic").0, Found::Token(_)), "it was sent before");
    }
    eventually(async || !redis.entry_head(digest("b")).await.is_empty()).await;
    assert_eq!(outdated(), 1, "one of the two");
}

#[tokio::test]
async fn in_one_process_a_late_fill_is_kept_out_even_without_its_tombstone() {
    let (memory, store) = (MemoryCache::new(&config::Cache::default()), TestStore::of(&["a"]));
    let cached = store.behind(Tiers { near: Some(memory.clone()), ..Tiers::default() });
    store.set(Gate::Held);
    let late = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { find(&cached, "a").await.0 }
    });
    store.until_sent(1).await;
    assert_eq!(revoke(&cached, "a").await, Propagation::Complete);
    memory.evict(digest("a").token_id());
    store.set(Gate::Open);
    assert!(matches!(late.await.expect("no panic"), Found::Token(_)));
    assert_eq!(find(&cached, "a").await.0, Found::Revoked);
}

#[tokio::test]
async fn the_late_fill_of_another_replica_is_kept_out_by_the_tombstone() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    let (slow, other) = (store.behind(redis.backend().await), store.behind(redis.backend().await));
    store.set(Gate::Held);
    let late = tokio::spawn({
        let slow = Arc::clone(&slow);
        async move { find(&slow, "a").await.0 }
    });
    store.until_sent(1).await;
    assert_eq!(revoke(&other, "a").await, Propagation::Complete);
    store.set(Gate::Open);
    assert!(matches!(late.await.expect("no panic"), Found::Token(_)));
    for replica in [&slow, &other] {
        assert_eq!(find(replica, "a").await.0, Found::Revoked);
    }
    assert_eq!(redis.entry_head(digest("a")).await, "00", "the tombstone stands");
}

#[tokio::test]
async fn a_tombstone_outlives_every_entry() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    let cached = store.behind(redis.backend().await);
    revoke(&cached, "a").await;
    let left: i64 = redis.run(&["PTTL", &super::redis::key(digest("a"))]).await.parse().expect("milliseconds");
    assert!((65_000..=70_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn a_retry_that_ends_nothing_leaves_its_tombstone_all_the_same() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    store.revoke(Target::Digest(digest("a")), ENDING()).await.expect("committed, and then the process died");
    let cached = store.behind(redis.backend().await);
    assert_eq!(revoke(&cached, "a").await, Propagation::Complete);
    assert_eq!(redis.entry_head(digest("a")).await, "00");
}

#[tokio::test]
async fn revoke_all_and_user_changes_reach_every_cached_token() {
    let redis = Redis::start().await;
    let names: Vec<_> = (0..200).map(|number| format!("t{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    for backend in [memory(), redis.backend().await] {
        let store = TestStore::of(&names);
        let cached = store.behind(backend);
        for name in &names {
            find(&cached, name).await;
        }
        let attributes = [("plan".to_owned(), "gold".to_owned())].into();
        let change = UserChange { id: "7".parse().expect("a user id"), active: None, attributes: Some(attributes) };
        let (_, changed) = cached.upsert_user(change).await.expect("committed");
        assert_eq!(changed.propagation, Propagation::Complete);
        for name in &names {
            let (Found::Token(record), source) = find(&cached, name).await else { panic!("{name} is live") };
            assert_eq!(source, Source::Database, "the entry was outdated");
            assert_eq!(record.user.attributes.get("plan").map(String::as_str), Some("gold"));
        }
        let all = cached.revoke_all("7".parse().expect("a user id"), None, ENDING()).await.expect("committed");
        assert_eq!((all.count, all.propagation), (200, Propagation::Complete));
        for name in &names {
            assert_eq!(find(&cached, name).await.0, Found::Revoked);
        }
    }
}

#[tokio::test]
async fn a_revocation_runs_to_its_end_when_its_caller_has_gone() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    let cached = store.behind(redis.backend().await);
    find(&cached, "a").await;
    find(&cached, "a").await;
    {
        let mut revoked = Box::pin(cached.revoke(Target::Digest(digest("a")), ENDING()));
        assert!(futures::poll!(&mut revoked).is_pending());
    }
    eventually(async || redis.entry_head(digest("a")).await == "00").await;
}

#[tokio::test]
async fn an_open_breaker_makes_a_revocation_pending_at_once() {
    let (mut redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    let shared = redis.connected().await;
    let cached = store.behind(Tiers { shared: Some(shared.clone()), ..Tiers::default() });
    redis.kill().await;
    eventually(async || shared.ping().await.is_err_and(|error| matches!(error, crate::cache::CacheError::Rejected(_))))
        .await;
    let began = std::time::Instant::now();
    let Propagation::Pending { max_staleness } = revoke(&cached, "a").await else { panic!("not pending") };
    assert!(began.elapsed() < Duration::from_millis(100), "{:?}", began.elapsed());
    assert!(max_staleness <= Duration::from_mins(1) && max_staleness > Duration::from_secs(59), "{max_staleness:?}");
    redis.restart(&[]).await;
    eventually(async || redis.entry_head(digest("a")).await == "00").await;
}
