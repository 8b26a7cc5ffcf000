//! Redis in trouble: every look-up is answered from the database, in time, and the cache
//! comes back by itself.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;

use super::{
    fixture::{digest, eventually, mac_keys, record},
    redis::{PROMPT, Redis, key},
    store::{ENDING, TestStore, Tested},
};
use crate::{
    cache::{BreakerState, CacheError, SharedCache, Tiers, entry::MAX_BYTES},
    config::{self, SecretText},
    domain::{Found, Freshness, Propagation, Source, Target, TokenStore as _},
    threads::Threads,
};

struct Bench {
    redis: Redis,
    shared: SharedCache,
    store: Arc<TestStore>,
    cached: Arc<Tested>,
}

impl Bench {
    /// A cache over a healthy Redis, with `a` and `b` in it.
    async fn new() -> Self {
        let (redis, store) = (Redis::start().await, TestStore::of(&["a", "b"]));
        let shared = redis.connected().await;
        let cached = store.behind(Tiers { shared: Some(shared.clone()), ..Tiers::default() });
        let bench = Self { redis, shared, store, cached };
        bench.until_hit("a").await;
        bench.until_hit("b").await;
        bench
    }

    async fn find(&self, token: &str) -> (Found, Source) {
        let began = Instant::now();
        let reading = self.cached.find(digest(token), Freshness::Any).await.expect("the store answers");
        assert!(began.elapsed() < PROMPT, "answered after {:?}", began.elapsed());
        (reading.found, reading.source)
    }

    /// Looks up until Redis answers again; every answer on the way is right and in time.
    async fn until_hit(&self, token: &str) {
        eventually(async || {
            let (found, source) = self.find(token).await;
            assert_eq!(found, Found::Token(Arc::new(record(token))));
            source == Source::SharedCache
        })
        .await;
    }

    /// Looks up until the breaker is open; every answer on the way is right and in time.
    async fn until_open(&self) -> Duration {
        let began = Instant::now();
        eventually(async || {
            assert!(matches!(self.find("a").await.0, Found::Token(_)));
            self.shared.breaker().status().state == BreakerState::Open
        })
        .await;
        began.elapsed()
    }

    async fn revoke(&self, token: &str) -> Propagation {
        let began = Instant::now();
        let revoked = self.cached.revoke(Target::Digest(digest(token)), ENDING()).await.expect("committed");
        assert!(began.elapsed() < PROMPT, "answered after {:?}", began.elapsed());
        revoked.propagation
    }

    /// Revokes `b` while Redis takes no writes, ends that, and sees the tombstone arrive.
    async fn revocation_is_pending_until(&self, remedy: &[&str]) {
        assert!(matches!(self.revoke("b").await, Propagation::Pending { .. }));
        assert_eq!(self.find("b").await.0, Found::Revoked, "this replica knows better than Redis");
        assert_eq!(self.redis.run(remedy).await, "OK");
        eventually(async || self.redis.entry_head(digest("b")).await == "00").await;
    }
}

#[tokio::test]
async fn killed_and_restarted() {
    let mut bench = Bench::new().await;
    bench.redis.kill().await;
    let opened = bench.until_open().await;
    assert!(opened < Duration::from_secs(1), "open after {opened:?}");
    bench.redis.restart(&[]).await;
    bench.until_hit("a").await;
    assert_eq!(bench.shared.breaker().status().state, BreakerState::Closed);
}

#[tokio::test]
async fn hung_and_resumed() {
    let bench = Bench::new().await;
    bench.redis.hang();
    let opened = bench.until_open().await;
    assert!(opened < Duration::from_secs(1), "open after {opened:?}");
    assert!(matches!(bench.revoke("b").await, Propagation::Pending { .. }));
    bench.redis.resume();
    bench.until_hit("a").await;
    eventually(async || bench.redis.entry_head(digest("b")).await == "00").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_in_flight_when_it_hangs_are_answered_in_time() {
    let bench = Arc::new(Bench::new().await);
    bench.redis.hang();
    let calls = join_all((0..1000).map(|_| {
        let bench = Arc::clone(&bench);
        tokio::spawn(async move { bench.find("a").await.0 })
    }));
    for found in calls.await {
        assert!(matches!(found.expect("in time"), Found::Token(_)));
    }
    bench.redis.resume();
    bench.until_hit("a").await;
}

#[tokio::test]
async fn an_idle_service_notices_by_its_heartbeat() {
    let mut bench = Bench::new().await;
    let mut status = bench.shared.breaker().watch();
    bench.redis.kill().await;
    let beat = async || bench.shared.ping().await.is_ok();
    eventually(async || {
        beat().await;
        status.borrow_and_update().state == BreakerState::Open
    })
    .await;
    bench.redis.restart(&[]).await;
    eventually(async || beat().await && status.borrow_and_update().state == BreakerState::Closed).await;
}

#[tokio::test]
async fn loading_its_data() {
    let mut bench = Bench::new().await;
    let bulk = "for i = 1, 100 do redis.call('SET', 'bulk:' .. i, string.rep('x', 2048)) end";
    bench.redis.run(&["EVAL", bulk, "0"]).await;
    bench.redis.run(&["CONFIG", "SET", "rdbcompression", "no"]).await;
    assert_eq!(bench.redis.run(&["SAVE"]).await, "OK");
    bench.redis.kill().await;
    bench.until_open().await;
    bench.redis.restart(&["--key-load-delay", "10000", "--loading-process-events-interval-bytes", "1024"]).await;
    assert!(bench.redis.run(&["GET", "bulk:1"]).await.contains("LOADING"));
    assert!(matches!(bench.find("a").await.0, Found::Token(_)));
    bench.until_hit("a").await;
}

#[tokio::test]
async fn wrong_password_and_then_the_right_one() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    redis.run(&["CONFIG", "SET", "requirepass", "other"]).await;
    let config = config::Redis { password: SecretText::new("ours"), ..redis.config() };
    let shared = SharedCache::start(
        &config,
        &config::Breaker::default(),
        mac_keys("ours"),
        &Threads::here(),
        &crate::reload::Counters::default(),
    )
    .expect("a URL");
    let cached = store.behind(Tiers { shared: Some(shared.clone()), ..Tiers::default() });
    let bench = Bench { redis, shared, store, cached };
    bench.until_open().await;
    bench.redis.run(&["-a", "other", "CONFIG", "SET", "requirepass", "ours"]).await;
    bench.until_hit("a").await;
}

#[tokio::test]
async fn a_password_that_nobody_gave_us() {
    let (redis, store) = (Redis::start().await, TestStore::of(&["a"]));
    redis.run(&["CONFIG", "SET", "requirepass", "other"]).await;
    let shared = redis.client();
    let cached = store.behind(Tiers { shared: Some(shared.clone()), ..Tiers::default() });
    let bench = Bench { redis, shared, store, cached };
    bench.until_open().await;
    bench.redis.run(&["-a", "other", "CONFIG", "SET", "requirepass", ""]).await;
    bench.until_hit("a").await;
}

#[tokio::test]
async fn out_of_memory_refuses_writes_and_goes_on_hitting() {
    let bench = Bench::new().await;
    bench.redis.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let before = bench.store.sent();
    for _ in 0..100 {
        assert_eq!(bench.find("a").await.1, Source::SharedCache);
    }
    assert_eq!(bench.store.sent(), before);
    bench.revocation_is_pending_until(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(bench.shared.breaker().status().state, BreakerState::Closed);
}

#[tokio::test]
async fn a_read_only_replica_refuses_writes_and_goes_on_hitting() {
    let bench = Bench::new().await;
    assert_eq!(bench.redis.run(&["REPLICAOF", "127.0.0.1", "1"]).await, "OK");
    for _ in 0..100 {
        assert_eq!(bench.find("a").await.1, Source::SharedCache);
    }
    assert!(matches!(bench.revoke("b").await, Propagation::Pending { .. }));
    bench.until_hit("a").await;
    assert_ne!(bench.redis.entry_head(digest("b")).await, "00", "it takes no writes");
    bench.revocation_is_pending_until(&["REPLICAOF", "NO", "ONE"]).await;
}

/// A write that blocks on a full socket holds fred until the peer reads on or the
/// connection breaks. Here it does neither, as after a power cut.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vanished_server_that_was_being_written_to_is_given_up() {
    let mut bench = Bench::new().await;
    bench.redis.hang();
    let id = digest("filler").token_id();
    let fill = || bench.shared.put(id, vec![1; MAX_BYTES], Duration::from_secs(1));
    for outcome in join_all((0..200).map(|_| fill())).await {
        assert!(outcome.is_err());
    }
    let _vanished = bench.redis.supplant().await;
    bench.until_hit("a").await;
}

/// Writes that were in flight when the server died, and writes made while it was gone.
#[tokio::test]
async fn a_write_that_was_reported_as_failed_is_never_sent_again() {
    let mut redis = Redis::start().await;
    let patient = config::Breaker { consecutive_timeouts: 1_000_000, min_commands: 1_000_000, ..Default::default() };
    let shared = SharedCache::start(
        &redis.config(),
        &patient,
        mac_keys("ours"),
        &Threads::here(),
        &crate::reload::Counters::default(),
    )
    .expect("a URL");
    eventually(async || shared.ping().await.is_ok()).await;
    let bury = async |number: u32| {
        let digest = digest(&number.to_string());
        shared.bury(digest.token_id(), Duration::from_mins(1)).await.err().map(|error| (digest, error))
    };

    redis.hang();
    let in_flight = join_all((0..300).map(bury));
    let (mut failed, ()) = tokio::join!(in_flight, redis.kill());
    let lost = async || matches!(bury(300).await, Some((_, CacheError::Disconnected(_))));
    eventually(lost).await;
    for number in 301..400 {
        let began = Instant::now();
        let failure = bury(number).await;
        assert!(matches!(failure, Some((_, CacheError::Disconnected(_)))), "it waited for a connection: {failure:?}");
        assert!(began.elapsed() < PROMPT);
        failed.push(failure);
    }
    redis.restart(&[]).await;
    eventually(async || shared.ping().await.is_ok()).await;
    assert!(bury(400).await.is_none(), "writes work again");

    let failed: Vec<_> = failed.into_iter().flatten().map(|(digest, _)| key(digest)).collect();
    assert!(failed.len() > 300, "{} failed", failed.len());
    let arguments: Vec<_> = ["EXISTS"].into_iter().chain(failed.iter().map(String::as_str)).collect();
    assert_eq!(redis.run(&arguments).await, "0", "of {} that failed", failed.len());
}

#[tokio::test]
async fn closed_it_sends_nothing_more() {
    let bench = Bench::new().await;
    bench.shared.close().await;
    assert_eq!(bench.find("a").await.1, Source::Database);
    let clients = || async { bench.redis.run(&["CLIENT", "LIST"]).await.lines().count() };
    eventually(async || clients().await == 1).await;
    assert_eq!(bench.redis.run(&["EXISTS", &key(digest("a"))]).await, "1");
}
