//! Replicas with a journal: what bounds a fact's life, and what a revocation waits for.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    fixture::{digest, eventually},
    redis::{Redis, key},
    store::{ENDING, Replica, TestStore},
};
use crate::{
    cache::{Ack, CacheError, MemoryCache, Tiers},
    config,
    domain::{Found, Propagation, Source, Target, TokenStore as _},
    journal::Terms,
    metrics::{RequestResult, Tier},
};

const LEASE: Duration = Duration::from_secs(1);
const TERMS: Terms =
    Terms { max_staleness: LEASE, outage_grace: Duration::from_secs(30), poll_interval: Duration::from_millis(20) };
const STRICT: Terms = Terms { max_staleness: Duration::ZERO, outage_grace: Duration::ZERO, ..TERMS };

fn memory() -> MemoryCache {
    MemoryCache::new(&config::Cache::default())
}

async fn behind_redis(store: &Arc<TestStore>, redis: &Redis, near: Option<MemoryCache>, ack: Ack) -> Replica {
    store.proven(Tiers { near, shared: Some(redis.connected().await) }, TERMS, ack, 0.0).await
}

/// I4: long enough for every view and lease from before, whatever the life of an entry.
#[tokio::test]
async fn a_tombstone_lives_as_long_as_a_view_from_before_it_can_be_used() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    let replica = behind_redis(&store, &redis, None, Ack::Cache).await;
    assert_eq!(replica.revoke("a").await, Propagation::Complete);
    let left: i64 = redis.run(&["PTTL", &key(digest("a"))]).await.parse().expect("milliseconds");
    assert!((36_000..=41_000).contains(&left), "{left} ms");
}

#[tokio::test]
async fn an_entry_lives_for_a_quarter_of_an_hour() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    let replica = behind_redis(&store, &redis, None, Ack::Cache).await;
    replica.until_hit("a", Source::SharedCache).await;
    let left: i64 = redis.run(&["PTTL", &key(digest("a"))]).await.parse().expect("milliseconds");
    assert!((895_000..=900_000).contains(&left), "{left} ms");
    replica.clock.advance(Duration::from_secs(899));
    assert_eq!(replica.find("a").await.1, Source::SharedCache);
    replica.clock.advance(Duration::from_secs(1));
    assert_eq!(replica.find("a").await.1, Source::Database);
}

#[tokio::test]
async fn memory_in_front_of_redis_answers_first_and_is_filled_from_it() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    let first = behind_redis(&store, &redis, Some(memory()), Ack::Lease).await;
    let second = behind_redis(&store, &redis, Some(memory()), Ack::Lease).await;
    first.until_hit("a", Source::LocalCache).await;
    assert_eq!(second.find("a").await.1, Source::SharedCache, "one fills for all");
    assert_eq!(second.find("a").await.1, Source::LocalCache, "and it is kept");
    let counters = second.cached.counters();
    let hits = [Tier::Redis, Tier::Memory].map(|tier| counters.requests.get(tier, RequestResult::Hit));
    assert_eq!((hits, counters.requests.get(Tier::Redis, RequestResult::Miss)), ([1, 1], 0));
}

/// I7, with the worst replica: it holds the fact in its memory, and was cut from the
/// database just before the revocation. The grace is for facts that a tombstone can end.
#[tokio::test]
async fn what_revoke_called_complete_no_memory_accepts() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    let terms = Terms { outage_grace: Duration::ZERO, ..TERMS };
    let near = under(terms, &store, &redis).await;
    let other = under(terms, &store, &redis).await;
    near.until_hit("a", Source::LocalCache).await;
    near.cut();
    let began = Instant::now();
    assert_eq!(other.revoke("a").await, Propagation::Complete);
    assert!(began.elapsed() >= LEASE, "it waits for the lease: {:?}", began.elapsed());
    assert_eq!(near.find("a").await.0, Found::Revoked);
}

/// I5: Redis has taken the tombstone and may lose it again; a replica that is cut off may go on for the grace.
#[tokio::test]
async fn with_a_lease_and_a_grace_no_tombstone_makes_a_revocation_complete() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    let replica = under(TERMS, &store, &redis).await;
    let began = Instant::now();
    let Propagation::Pending { max_staleness } = replica.revoke("a").await else { panic!("complete") };
    assert!(began.elapsed() >= LEASE, "it waits for the lease: {:?}", began.elapsed());
    assert!(max_staleness <= TERMS.outage_grace && max_staleness > TERMS.outage_grace / 2, "{max_staleness:?}");
}

async fn under(terms: Terms, store: &Arc<TestStore>, redis: &Redis) -> Replica {
    let tiers = Tiers { near: Some(memory()), shared: Some(redis.connected().await) };
    store.proven(tiers, terms, Ack::Lease, 0.0).await
}

#[tokio::test]
async fn memory_alone_under_a_lease_needs_no_poll_and_its_revocation_waits() {
    let store = TestStore::of(&["a", "b"]);
    let terms = Terms { outage_grace: Duration::ZERO, ..TERMS };
    let one = store.proven(Tiers { near: Some(memory()), shared: None }, terms, Ack::Lease, 0.0).await;
    let other = store.proven(Tiers { near: Some(memory()), shared: None }, terms, Ack::Lease, 0.0).await;
    one.until_hit("a", Source::LocalCache).await;
    one.until_hit("b", Source::LocalCache).await;
    one.cut();
    assert_eq!(one.find("b").await.1, Source::LocalCache, "the lease goes on for a while");
    let began = Instant::now();
    assert_eq!(other.revoke("a").await, Propagation::Complete);
    assert!(began.elapsed() >= LEASE, "{:?}", began.elapsed());
    assert_eq!(one.find("a").await.0, Found::Revoked);
}

#[tokio::test]
async fn strict_memories_of_several_replicas_agree_at_once() {
    let store = TestStore::of(&["a"]);
    let one = store.proven(Tiers { near: Some(memory()), shared: None }, STRICT, Ack::Cache, 0.0).await;
    let other = store.proven(Tiers { near: Some(memory()), shared: None }, STRICT, Ack::Cache, 0.0).await;
    one.until_hit("a", Source::LocalCache).await;
    assert_eq!(other.revoke("a").await, Propagation::Complete);
    assert_eq!(one.find("a").await.0, Found::Revoked);
    assert!(one.cached.counters().facts_refuted.get() > 0);
}

/// What Redis could not be told is over after L + G, however long entries live.
#[tokio::test]
async fn pending_ends_with_the_grace() {
    let (mut redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    let replica = behind_redis(&store, &redis, None, Ack::Cache).await;
    redis.kill().await;
    let Propagation::Pending { max_staleness } = replica.revoke("a").await else { panic!("not pending") };
    assert!(max_staleness <= TERMS.outage_grace, "{max_staleness:?}");
    assert!(max_staleness > TERMS.outage_grace / 2, "{max_staleness:?}");
    assert!(replica.cached.counters().tombstones_owed.get() >= 1);
}

/// A change of a user's, or another program's, is not told to Redis: the view alone refuses its facts.
#[tokio::test]
async fn a_fact_that_the_journal_outdates_is_proved_again() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    let replica = behind_redis(&store, &redis, None, Ack::Cache).await;
    replica.until_hit("a", Source::SharedCache).await;
    store.revoke(Target::Digest(digest("a")), ENDING()).await.expect("committed by somebody else");
    eventually(async || replica.find("a").await.0 == Found::Revoked).await;
    assert!(replica.cached.counters().facts_refuted.get() > 0);
}

/// A delete may arrive late, when a tombstone of another replica stands there already.
#[tokio::test]
async fn where_redis_takes_no_tombstone_the_entry_goes_and_a_tombstone_stays() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["entry", "buried"]));
    let replica = behind_redis(&store, &redis, None, Ack::Cache).await;
    for token in ["entry", "buried"] {
        replica.until_hit(token, Source::SharedCache).await;
    }
    let shared = redis.connected().await;
    let bury = async |token: &str| shared.bury(digest(token).token_id(), Duration::from_mins(1)).await;
    bury("buried").await.expect("there is memory yet");
    redis.run(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    redis.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for token in ["entry", "buried"] {
        let refused = bury(token).await;
        assert!(matches!(refused, Err(CacheError::Refused(_))), "{refused:?}");
    }
    assert_eq!(redis.entry_head(digest("entry")).await, "", "deleted");
    assert_eq!(redis.entry_head(digest("buried")).await, "00", "the tombstone is kept");
}
