//! Calls that ask at once: what goes out together, and that each gets its own answer.

use std::time::Duration;

use futures::future::join_all;

use super::{
    fixture::{digest, eventually},
    redis::{Redis, key},
    store::{ENDING, Gate, TestStore},
};
use crate::{
    cache::{
        CacheError, Tiers,
        entry::Fact,
        shared::Put,
        tests::fixture::{NOWHERE, noon, record},
    },
    domain::{Error, Found, Freshness, Source, Target, TokenStore as _},
};

/// How often Redis has run a command that was sent to it, and not by a script.
async fn calls(redis: &Redis, command: &str) -> usize {
    let stats = redis.run(&["INFO", "commandstats"]).await;
    let head = format!("cmdstat_{command}:calls=");
    let count = stats.lines().find_map(|line| line.strip_prefix(&head)?.split(',').next());
    count.map_or(0, |count| count.parse().expect("a number"))
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("token-{number}")).collect()
}

#[tokio::test]
async fn what_calls_of_one_turn_miss_is_read_together_and_each_gets_its_own() {
    let names = names(20);
    let known: Vec<_> = names[..10].iter().map(String::as_str).collect();
    let store = TestStore::of(&known);
    let cached = store.behind(Tiers::default());
    let finds = names.iter().map(|name| cached.find(digest(name), Freshness::Any));
    let found: Vec<_> = join_all(finds).await.into_iter().map(|outcome| outcome.expect("answered").found).collect();
    for (name, found) in names.iter().zip(&found) {
        match found {
            Found::Token(record) => assert_eq!(record.digest, digest(name)),
            other => assert!(!known.contains(&name.as_str()), "{name}: {other:?}"),
        }
    }
    assert_eq!((store.sent(), store.batches()), (20, 2), "sixteen, and the rest");
}

#[tokio::test]
async fn a_read_that_fails_fails_each_call_that_shared_it() {
    let store = TestStore::of(&["a", "b"]);
    let cached = store.behind(Tiers::default());
    store.set(Gate::Failing);
    let outcomes = join_all(["a", "b"].map(|name| cached.find(digest(name), Freshness::Any))).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(Error::Unavailable(_)))), "{outcomes:?}");
    store.set(Gate::Panicking);
    let outcomes = join_all(["a", "b"].map(|name| cached.find(digest(name), Freshness::Any))).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Err(Error::Unavailable(_)))), "{outcomes:?}");
    store.set(Gate::Open);
    assert!(cached.find(digest("a"), Freshness::Any).await.is_ok());
}

#[tokio::test]
async fn checks_of_one_turn_are_one_command_and_one_alone_is_a_getrange() {
    let redis = Redis::start().await;
    let names = names(70);
    let store = TestStore::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let cached = store.behind(Tiers { shared: Some(redis.patient().await), ..Tiers::default() });
    let sources = async || {
        let finds = names.iter().map(|name| cached.find(digest(name), Freshness::Any));
        join_all(finds).await.into_iter().map(|outcome| outcome.expect("answered").source).collect::<Vec<_>>()
    };
    eventually(async || sources().await == [Source::SharedCache; 70]).await;
    redis.run(&["CONFIG", "RESETSTAT"]).await;
    assert_eq!(sources().await, [Source::SharedCache; 70]);
    assert_eq!(calls(&redis, "evalsha_ro").await, 3, "32, 32 and 6");

    redis.run(&["CONFIG", "RESETSTAT"]).await;
    cached.find(digest(&names[0]), Freshness::Any).await.expect("answered");
    assert_eq!((calls(&redis, "evalsha_ro").await, calls(&redis, "getrange").await), (0, 1));

    cached.revoke(Target::Digest(digest(&names[3])), ENDING()).await.expect("committed");
    let after = sources().await;
    assert_eq!(after.iter().filter(|source| **source == Source::SharedCache).count(), 69, "{after:?}");
}

/// A Redis before 7, and a user who may not.
#[tokio::test]
async fn without_the_command_for_many_each_is_asked_for_alone() {
    let redis = Redis::start().await;
    redis.run(&["ACL", "SETUSER", "default", "-evalsha_ro"]).await;
    let names = names(5);
    let store = TestStore::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let cached = store.behind(Tiers { shared: Some(redis.patient().await), ..Tiers::default() });
    eventually(async || {
        let finds = names.iter().map(|name| cached.find(digest(name), Freshness::Any));
        join_all(finds).await.into_iter().all(|one| one.expect("answered").source == Source::SharedCache)
    })
    .await;
    let refused = redis.run(&["INFO", "errorstats"]).await;
    assert!(refused.contains("errorstat_NOPERM:count=1"), "asked for once: {refused}");
}

#[tokio::test]
async fn of_entries_that_are_stored_together_each_leaves_a_tombstone_alone() {
    let redis = Redis::start().await;
    let shared = redis.patient().await;
    let minute = Duration::from_mins(1);
    shared.bury(digest("b").token_id(), minute).await.expect("stored");
    redis.run(&["RPUSH", &key(digest("c")), "no fact"]).await;
    let fills = ["a", "b", "c"].map(|name| {
        let fact = Fact { position: NOWHERE, read_at: noon(), record: record(name).into() };
        (digest(name).token_id(), shared.encode(&fact).expect("small"), minute)
    });
    let outcomes = shared.put_all(fills.to_vec()).await;
    let stored: Vec<_> = outcomes.into_iter().map(|outcome| outcome.expect("answered")).collect();
    assert_eq!(stored, [Put::Stored, Put::Tombstoned, Put::Stored]);
    assert_eq!(redis.entry_head(digest("b")).await, "00");
    for name in ["a", "c"] {
        assert!(matches!(shared.get(digest(name)).await, Ok(Ok(fact)) if fact.record.digest == digest(name)));
        let left: u64 = redis.run(&["PTTL", &key(digest(name))]).await.parse().expect("a number");
        assert!(left > 50_000 && left <= 60_000, "{left}");
    }

    redis.run(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let outcomes = shared.put_all(fills.to_vec()).await;
    assert!(outcomes.len() == 3 && outcomes.iter().all(Result::is_err), "{outcomes:?}");
}

#[tokio::test]
async fn while_redis_is_tried_only_one_call_waits_for_it() {
    let redis = Redis::start().await;
    let names = names(20);
    let store = TestStore::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let shared = redis.connected().await;
    let cached = store.behind(Tiers { shared: Some(shared.clone()), ..Tiers::default() });
    redis.hang();
    eventually(async || {
        let _timed_out = cached.find(digest(&names[0]), Freshness::Any).await;
        !shared.breaker().is_closed()
    })
    .await;
    let timeouts = async || {
        let reads = join_all(names.iter().map(|name| shared.get(digest(name)))).await;
        reads.iter().filter(|read| !matches!(read, Err(CacheError::Rejected(_)))).count()
    };
    let mut probes = 0;
    eventually(async || {
        let waited = timeouts().await;
        assert!(waited <= 1, "{waited} waited for the probe");
        probes += waited;
        probes >= 2
    })
    .await;
    redis.resume();
}
