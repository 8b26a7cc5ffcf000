//! Look-ups: what is shared, what is remembered, and what must be asked again.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use chrono::TimeDelta;
use futures::future::join_all;

use super::{
    fixture::{TestClock, digest, eventually, mac_keys, noon, record},
    redis::{Redis, key},
    store::{Gate, TestStore, Tested},
};
use crate::{
    cache::{MemoryCache, SharedCache, Tiers},
    config,
    domain::{
        Digests, Error, Found, Freshness, Label, Legacy, Look, NewToken, Quota, Reading, Share, Source, Token,
        TokenRecord, TokenStore as _,
    },
    threads::Threads,
};

fn memory() -> Tiers {
    Tiers { near: Some(MemoryCache::new(&config::Cache::default())), ..Tiers::default() }
}

async fn find(cached: &Tested, token: &str) -> Reading {
    cached.find(digest(token), Freshness::Any).await.expect("the store answers")
}

fn spawn_find(cached: &Arc<Tested>, token: &str) -> tokio::task::JoinHandle<Result<Reading, Error>> {
    let (cached, digest) = (Arc::clone(cached), digest(token));
    tokio::spawn(async move { cached.find(digest, Freshness::Any).await })
}

/// The database answers when all thousand calls have begun; gives the number of reads it saw.
async fn a_thousand_finds(backend: Tiers) -> usize {
    let (store, begun) = (TestStore::of(&["a"]), Arc::new(AtomicUsize::new(0)));
    let cached = store.behind(backend);
    store.set(Gate::Held);
    let calls = (0..1000).map(|_| {
        let (cached, begun) = (Arc::clone(&cached), Arc::clone(&begun));
        tokio::spawn(async move {
            begun.fetch_add(1, Ordering::SeqCst);
            find(&cached, "a").await.found
        })
    });
    let calls: Vec<_> = calls.collect();
    eventually(async || begun.load(Ordering::SeqCst) == 1000 && store.sent() > 0).await;
    store.set(Gate::Open);
    for found in join_all(calls).await {
        assert!(matches!(found.expect("answered"), Found::Token(_)));
    }
    store.sent()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_parallel_finds_of_a_cold_token_read_the_database_once() {
    let redis = Redis::start().await;
    assert_eq!(a_thousand_finds(memory()).await, 1, "memory");
    let patient = Tiers { shared: Some(redis.patient().await), ..Tiers::default() };
    assert_eq!(a_thousand_finds(patient).await, 1, "redis");
    let without = a_thousand_finds(Tiers::default()).await;
    assert!(without <= 4, "{without} reads with the cache off");
}

#[tokio::test]
async fn a_hit_says_where_it_came_from_and_how_old_it_is() {
    let (redis, clock) = (Redis::start().await, TestClock::at_noon());
    for (backend, source) in [(memory(), Source::LocalCache), (redis.backend().await, Source::SharedCache)] {
        let store = TestStore::of(&["a"]);
        let cached = store.behind_at(backend, &clock);
        assert_eq!(find(&cached, "a").await.source, Source::Database);
        // The fill follows the answer; a call that comes before it waits for it.
        let hit = find(&cached, "a").await;
        assert_eq!((hit.source, hit.age), (source, Duration::ZERO));
        assert_eq!(hit.found, Found::Token(Arc::new(record("a"))));
        clock.advance(Duration::from_secs(7));
        assert_eq!(find(&cached, "a").await.age, Duration::from_secs(7));
        assert_eq!(store.sent(), 1);
    }
}

#[tokio::test]
async fn a_fact_is_not_answered_from_when_it_is_a_minute_old() {
    let (redis, clock) = (Redis::start().await, TestClock::at_noon());
    for backend in [memory(), redis.backend().await] {
        let store = TestStore::of(&["a"]);
        let cached = store.behind_at(backend, &clock);
        find(&cached, "a").await;
        clock.advance(Duration::from_mins(1));
        assert_eq!(find(&cached, "a").await.source, Source::Database);
    }
}

#[tokio::test]
async fn a_token_that_expired_in_the_cache_is_asked_again() {
    let redis = Redis::start().await;
    let (mut short, renewed) = (record("a"), record("a"));
    short.expiry = Some(noon() + TimeDelta::seconds(10));
    for backend in [memory(), redis.backend().await] {
        let (store, clock) = (TestStore::of(&[]), TestClock::at_noon());
        store.put(&short);
        let cached = store.behind_at(backend, &clock);
        find(&cached, "a").await;
        store.put(&renewed);
        clock.advance(Duration::from_secs(10));
        assert_eq!(find(&cached, "a").await.found, Found::Token(Arc::new(renewed.clone())), "at its last moment");
        clock.advance(Duration::from_micros(1));
        let reading = find(&cached, "a").await;
        assert_eq!(reading.found, Found::Token(Arc::new(renewed.clone())));
    }
}

#[tokio::test]
async fn what_is_not_live_is_never_cached() {
    let (redis, store) = (Redis::start().await, TestStore::of(&[]));
    let cached = store.behind(redis.backend().await);
    let (mut expired, mut disabled) = (record("expired"), record("disabled"));
    expired.expiry = Some(noon() - TimeDelta::microseconds(1));
    disabled.user.active = false;
    store.put(&expired);
    store.put(&disabled);
    for token in ["expired", "disabled", "unknown"] {
        for _ in 0..2 {
            find(&cached, token).await;
        }
    }
    assert_eq!(redis.run(&["DBSIZE"]).await, "0");
}

#[tokio::test]
async fn freshness_says_which_caches_may_answer() {
    let redis = Redis::start().await;
    let (store, by) = (TestStore::of(&["a"]), Freshness::Shared);
    let shared = store.behind(redis.backend().await);
    find(&shared, "a").await;
    assert_eq!(shared.find(digest("a"), by).await.expect("answered").source, Source::SharedCache);
    let primary = shared.find(digest("a"), Freshness::Primary).await.expect("answered");
    assert_eq!(primary.source, Source::Database);

    let local = store.behind(memory());
    find(&local, "a").await;
    find(&local, "unknown").await;
    assert_eq!(find(&local, "a").await.source, Source::LocalCache);
    assert_eq!(find(&local, "unknown").await.source, Source::LocalCache);
    for token in ["a", "unknown"] {
        assert_eq!(local.find(digest(token), by).await.expect("answered").source, Source::Database, "{token}");
    }
}

#[tokio::test]
async fn an_unknown_token_is_remembered_until_it_is_issued() {
    let store = TestStore::of(&[]);
    let cached = store.behind(Tiers::default());
    for _ in 0..100 {
        assert_eq!(find(&cached, "new").await.found, Found::Unknown);
    }
    assert_eq!(store.sent(), 1);
    cached.insert(new("new")).await.expect("stored");
    assert!(matches!(find(&cached, "new").await.found, Found::Token(_)));
}

#[tokio::test]
async fn a_read_from_before_a_token_was_issued_is_not_remembered() {
    let store = TestStore::of(&[]);
    let cached = store.behind(Tiers::default());
    store.set(Gate::Held);
    let early = spawn_find(&cached, "new");
    store.until_sent(1).await;
    cached.insert(new("new")).await.expect("stored");
    store.set(Gate::Open);
    assert_eq!(early.await.expect("no panic").expect("answered").found, Found::Unknown);
    assert!(matches!(find(&cached, "new").await.found, Found::Token(_)));
}

#[tokio::test]
async fn a_cancelled_leader_takes_nobody_along() {
    let store = TestStore::of(&["a"]);
    let cached = store.behind(memory());
    store.set(Gate::Held);
    let leader = spawn_find(&cached, "a");
    store.until_sent(1).await;
    let follower = spawn_find(&cached, "a");
    leader.abort();
    assert!(leader.await.expect_err("aborted").is_cancelled());
    store.set(Gate::Open);
    assert!(matches!(follower.await.expect("no panic").expect("answered").found, Found::Token(_)));
    assert_eq!(store.sent(), 1, "the follower waited for the fill and hit");
}

#[tokio::test]
async fn after_a_panic_in_the_store_nobody_hangs() {
    let store = TestStore::of(&["a"]);
    let cached = store.behind(memory());
    store.set(Gate::Held);
    let callers = [spawn_find(&cached, "a"), spawn_find(&cached, "a")];
    store.until_sent(1).await;
    store.set(Gate::Panicking);
    for caller in callers {
        let error = caller.await.expect("the caller does not panic").expect_err("no answer");
        assert!(matches!(error, Error::Unavailable(_)));
    }
    store.set(Gate::Open);
    assert!(matches!(find(&cached, "a").await.found, Found::Token(_)));
}

#[tokio::test]
async fn an_error_is_shared_and_not_remembered() {
    let store = TestStore::of(&["a"]);
    let cached = store.behind(memory());
    store.set(Gate::Failing);
    let failed = join_all((0..100).map(|_| cached.find(digest("a"), Freshness::Any))).await;
    assert!(failed.iter().all(|found| matches!(found, Err(Error::Unavailable(_)))));
    assert!(store.sent() <= 8, "{} reads", store.sent());
    store.set(Gate::Open);
    assert!(matches!(find(&cached, "a").await.found, Found::Token(_)));
}

#[tokio::test]
async fn whatever_else_stands_under_a_key_is_a_miss_and_is_replaced() {
    let redis = Redis::start().await;
    let store = TestStore::of(&["a", "b"]);
    let cached = store.behind(redis.backend().await);
    find(&cached, "b").await;
    find(&cached, "b").await;
    let (own, huge) = (key(digest("a")), "x".repeat(100_000));
    let knox = r#"{"digest":"ad29","user_id":1}"#;
    let values: [(&str, &[&str]); 7] = [
        ("version", &["SET", &own, "garbage"]),
        ("version", &["SET", &own, knox]),
        ("oversized", &["SET", &own, &huge]),
        ("short", &["SET", &own, "\u{2}"]),
        ("type", &["LPUSH", &own, "wrong", "type"]),
        ("type", &["HSET", &own, "wrong", "type"]),
        ("mac", &["COPY", &key(digest("b")), &own, "REPLACE"]),
    ];
    for (reason, value) in values {
        redis.run(&["DEL", &own]).await;
        assert!(!redis.run(value).await.contains("ERR"), "{value:?}");
        let refused = cached.counters().entries_refused.with_label_values(&[reason]);
        let before = refused.get();
        let reading = find(&cached, "a").await;
        assert_eq!((reading.source, reading.found), (Source::Database, Found::Token(Arc::new(record("a")))));
        assert!(refused.get() > before, "{reason}: {value:?}");
        assert_eq!(find(&cached, "a").await.source, Source::SharedCache, "healed after {value:?}");
    }
}

/// Another deployment on the same Redis, or somebody who can write to it and has no key.
#[tokio::test]
async fn an_entry_that_was_written_with_another_key_is_a_miss() {
    let redis = Redis::start().await;
    let store = TestStore::of(&["a"]);
    let theirs = SharedCache::start(
        &redis.config(),
        &config::Breaker::default(),
        mac_keys("theirs"),
        &Threads::here(),
        &crate::reload::Counters::default(),
    )
    .expect("a URL");
    eventually(async || theirs.ping().await.is_ok()).await;
    let theirs = store.behind(Tiers { shared: Some(theirs), ..Tiers::default() });
    eventually(async || find(&theirs, "a").await.source == Source::SharedCache).await;
    let ours = store.behind(redis.backend().await);
    assert_eq!(find(&ours, "a").await.source, Source::Database);
    assert!(ours.counters().entries_refused.with_label_values(&["key"]).get() > 0);
    assert_eq!(find(&ours, "a").await.source, Source::SharedCache, "ours has taken its place");
}

#[tokio::test]
async fn an_entry_lives_no_longer_than_a_minute_or_its_token() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["long"]));
    let mut short = record("short");
    short.expiry = Some(noon() + TimeDelta::seconds(10));
    store.put(&short);
    let cached = store.behind(redis.backend().await);
    for (token, most) in [("long", 60_000), ("short", 10_000)] {
        find(&cached, token).await;
        find(&cached, token).await;
        let left: i64 = redis.run(&["PTTL", &key(digest(token))]).await.parse().expect("milliseconds");
        assert!((most - 5000..=most).contains(&left), "{token}: {left} ms");
    }
}

fn new(token: &str) -> NewToken {
    NewToken {
        digest: digest(token),
        key: Token::parse(token.to_owned()).expect("well-formed").key(),
        user: "7".parse().expect("a user id"),
        created: noon(),
        expiry: None,
        label: Label::default(),
        issuer: None,
        request: None,
    }
}

#[tokio::test]
async fn a_token_whose_row_has_another_digest_is_read_each_time() {
    let store = TestStore::of(&["former"]);
    let (cached, former) = (store.behind(memory()), digest("former"));
    let key = Token::parse("new".to_owned()).expect("well-formed").key();
    let wanted = Digests { current: digest("new"), legacy: Some(Legacy { digest: former, key }) };
    for reads in 1..=3 {
        let reading = cached.find(wanted, Freshness::Any).await.expect("the store answers");
        assert!(matches!(&reading.found, Found::Token(record) if record.digest == former));
        assert_eq!((reading.source, store.sent()), (Source::Database, reads));
    }
    assert_eq!(find(&cached, "former").await.source, Source::Database, "nor was it kept under its own");
    store.put(&record("new"));
    for _ in 0..3 {
        cached.find(wanted, Freshness::Any).await.expect("the store answers");
    }
    assert_eq!(store.sent(), 5, "the new row is cached");
}

fn for_quota(quota: &Arc<Quota>) -> Look {
    Look { freshness: Freshness::Any, quota: Some(Arc::clone(quota)) }
}

#[tokio::test]
async fn a_caller_over_its_quota_is_answered_from_caches_alone() {
    let (store, quota) = (TestStore::of(&["a", "b"]), Arc::new(Quota::per_second(NonZeroU32::new(1), Share::Fair)));
    let cached = store.behind(memory());
    let find = async |token: &str| cached.find(digest(token), for_quota(&quota)).await;
    find("a").await.expect("an active token costs nothing");
    assert_eq!(quota.exhausted(), None);
    for unknown in ["x", "y"] {
        assert_eq!(find(unknown).await.expect("within the quota").found, Found::Unknown);
    }

    let refused = find("b").await.expect_err("nobody can tell before the database is asked that it is active");
    assert!(matches!(refused, Error::RateLimited { retry_after } if retry_after > Duration::ZERO), "{refused:?}");
    assert_eq!(find("a").await.expect("a hit").source, Source::LocalCache);
    assert_eq!(find("x").await.expect("remembered").found, Found::Unknown);
    assert_eq!(store.sent(), 3);
    cached.find(digest("b"), Freshness::Any).await.expect("somebody else's look-up");
}

#[tokio::test]
async fn whatever_is_not_active_counts_and_what_is_does_not() {
    let (store, quota) = (TestStore::of(&["a"]), Arc::new(Quota::per_second(NonZeroU32::new(1), Share::Fair)));
    let cached = store.behind(Tiers::default());
    for _ in 0..10 {
        cached.find(digest("a"), for_quota(&quota)).await.expect("an active token costs nothing");
    }
    store.put(&TokenRecord { expiry: Some(noon() - TimeDelta::hours(1)), ..record("expired") });
    for _ in 0..2 {
        cached.find(digest("expired"), for_quota(&quota)).await.expect("within the quota");
    }
    assert!(cached.find(digest("a"), for_quota(&quota)).await.is_err());
}

#[tokio::test]
async fn whoever_hangs_up_is_charged_all_the_same() {
    let (store, quota) = (TestStore::of(&["a"]), Arc::new(Quota::per_second(NonZeroU32::new(1), Share::Fair)));
    let cached = store.behind(Tiers::default());
    store.set(Gate::Held);
    for (sent, unknown) in ["x", "y"].into_iter().enumerate() {
        let (cached, look) = (Arc::clone(&cached), for_quota(&quota));
        let call = tokio::spawn(async move { cached.find(digest(unknown), look).await });
        store.until_sent(sent + 1).await;
        call.abort();
    }
    assert_eq!(quota.exhausted(), None);
    store.set(Gate::Open);
    eventually(async || quota.exhausted().is_some()).await;
}
