//! The shadow re-proof: what it finds, and what it must not take for a violation.

use std::time::Duration;

use chrono::TimeDelta;

use super::{
    fixture::{digest, eventually, noon, record},
    redis::Redis,
    store::{ENDING, Gate, Replica, TestStore},
};
use crate::{
    cache::{Ack, MemoryCache, ReproofShare, Tiers, reproof::Reproofs},
    config,
    domain::{Found, Source, Target, TokenStore as _},
    journal::Terms,
};

/// A lease that does not lapse during a test, and a view that is refreshed when somebody asks.
const RARE: Terms = Terms {
    max_staleness: Duration::from_mins(10),
    outage_grace: Duration::ZERO,
    poll_interval: Duration::from_mins(5),
};

async fn near(store: &std::sync::Arc<TestStore>, ratio: f64) -> Replica {
    let near = Some(MemoryCache::new(&config::Cache::default()));
    store.proven(Tiers { near, shared: None }, RARE, Ack::Lease, ratio).await
}

fn reproofs(replica: &Replica) -> u64 {
    replica.cached.counters().reproofs.get()
}

fn violations(replica: &Replica) -> u64 {
    replica.cached.counters().coherence_violations.get()
}

/// Hits until as many re-proofs have ended.
async fn until_reproved(replica: &Replica, token: &str, count: u64) {
    eventually(async || {
        replica.find(token).await;
        reproofs(replica) >= count
    })
    .await;
}

#[tokio::test]
async fn a_change_that_went_unrecorded_is_found_and_its_fact_dropped() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    for near in [None, Some(MemoryCache::new(&config::Cache::default()))] {
        store.put(&record("a"));
        let tiers = Tiers { near, shared: Some(redis.connected().await) };
        let replica = store.proven(tiers, RARE, Ack::Lease, 1.0).await;
        redis.run(&["FLUSHALL"]).await;
        until_reproved(&replica, "a", 1).await;
        assert_eq!(violations(&replica), 0);
        store.end_unrecorded("a");
        eventually(async || {
            replica.find("a").await;
            violations(&replica) > 0
        })
        .await;
        eventually(async || replica.find("a").await.0 == Found::Revoked).await;
        assert_eq!(redis.entry_head(digest("a")).await, "00", "dropped for every replica");
    }
}

/// It was accepted before the view heard of the revocation, which is allowed for `max_staleness`.
#[tokio::test]
async fn a_recorded_change_that_the_view_has_yet_to_hear_of_is_no_violation() {
    let store = TestStore::of(&["a"]);
    let replica = near(&store, 1.0).await;
    replica.until_hit("a", Source::LocalCache).await;
    let before = reproofs(&replica);
    store.revoke(Target::Digest(digest("a")), ENDING()).await.expect("committed by somebody else");
    assert!(matches!(replica.find("a").await.0, Found::Token(_)), "within its staleness");
    eventually(async || reproofs(&replica) > before).await;
    eventually(async || replica.find("a").await.0 == Found::Revoked).await;
    assert_eq!(violations(&replica), 0);
    assert!(replica.cached.counters().facts_refuted.get() > 0, "the view outdates it now");
}

#[tokio::test]
async fn an_expiry_that_the_fact_itself_tells_is_no_violation() {
    let store = TestStore::of(&[]);
    let mut short = record("a");
    short.expiry = Some(noon() + TimeDelta::seconds(10));
    store.put(&short);
    let replica = near(&store, 1.0).await;
    replica.until_hit("a", Source::LocalCache).await;
    until_reproved(&replica, "a", 2).await;
    // It is accepted at its last moment; the database answers when it is over.
    store.set(Gate::Held);
    let before = reproofs(&replica);
    eventually(async || {
        replica.find("a").await;
        replica.reproving() > 0
    })
    .await;
    replica.clock.advance(Duration::from_secs(11));
    store.set(Gate::Open);
    eventually(async || reproofs(&replica) > before && replica.reproving() == 0).await;
    assert_eq!(violations(&replica), 0);
}

#[tokio::test]
async fn an_expiry_that_was_shortened_without_a_record_is_a_violation() {
    let store = TestStore::of(&["a"]);
    let replica = near(&store, 1.0).await;
    replica.until_hit("a", Source::LocalCache).await;
    let mut short = record("a");
    short.expiry = Some(noon() - TimeDelta::seconds(10));
    store.put(&short);
    eventually(async || {
        replica.find("a").await;
        violations(&replica) > 0
    })
    .await;
}

#[tokio::test]
async fn few_are_under_way_at_once_and_no_hit_waits_for_one() {
    let store = TestStore::of(&["a"]);
    let replica = near(&store, 1.0).await;
    replica.until_hit("a", Source::LocalCache).await;
    eventually(async || replica.reproving() == 0).await;
    store.set(Gate::Held);
    let before = store.sent();
    for _ in 0..100 {
        assert_eq!(replica.find("a").await.1, Source::LocalCache);
        tokio::task::yield_now().await;
    }
    assert_eq!(store.sent() - before, 4, "the rest go without");
    store.set(Gate::Open);
}

#[tokio::test]
async fn without_a_share_the_database_is_left_alone() {
    let store = TestStore::of(&["a"]);
    let replica = near(&store, 0.0).await;
    replica.until_hit("a", Source::LocalCache).await;
    let before = store.sent();
    for _ in 0..100 {
        replica.find("a").await;
        tokio::task::yield_now().await;
    }
    assert_eq!(store.sent(), before);
}

#[tokio::test]
async fn no_hit_is_compared_so_soon_after_another() {
    let hourly = ReproofShare { ratio: 1.0, interval: Duration::from_hours(1) };
    let (hourly, unbounded) =
        (Reproofs::new(hourly), Reproofs::new(ReproofShare { ratio: 1.0, interval: Duration::ZERO }));
    assert!(hourly.draw().is_some());
    assert!(hourly.draw().is_none());
    assert!(unbounded.draw().is_some() && unbounded.draw().is_some());
}
