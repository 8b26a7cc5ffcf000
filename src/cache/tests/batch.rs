//! Batches: what they share with other calls, and that none waits for another for ever.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    fixture::{digest, eventually},
    redis::{Redis, key},
    store::{ENDING, Gate, TestStore, Tested},
};
use crate::{
    cache::Tiers,
    domain::{Error, Found, Freshness, Reading, Source, Target, TokenStore as _},
};

type Batch = tokio::task::JoinHandle<Result<Vec<Reading>, Error>>;

fn spawn_batch(cached: &Arc<Tested>, tokens: &[&str]) -> Batch {
    let cached = Arc::clone(cached);
    let batch = tokens.iter().map(|token| (digest(token).into(), Freshness::Any.into())).collect();
    tokio::spawn(async move { cached.find_all(batch).await.into_iter().collect() })
}

async fn answered(batch: Batch) -> Vec<Reading> {
    let ended = timeout(Duration::from_secs(10), batch).await.expect("no batch waits for ever");
    ended.expect("no panic").expect("answered")
}

#[tokio::test]
async fn batches_of_the_same_tokens_in_any_order_share_reads_and_never_wait_for_each_other() {
    let store = TestStore::of(&["a", "b", "c"]);
    let cached = store.behind(Tiers::default());
    store.set(Gate::Held);
    let mut batches = vec![spawn_batch(&cached, &["a", "b"])];
    store.until_sent(1).await;
    for tokens in [["b", "a", "c"], ["c", "b", "a"], ["a", "c", "a"]] {
        batches.push(spawn_batch(&cached, &tokens));
    }
    tokio::task::yield_now().await;
    store.set(Gate::Open);
    for batch in batches {
        let readings = answered(batch).await;
        assert!(readings.iter().all(|reading| matches!(reading.found, Found::Token(_))));
    }
}

#[tokio::test]
async fn a_batch_uses_no_read_that_was_sent_before_it_began() {
    let store = TestStore::of(&["a", "b"]);
    let cached = store.behind(Tiers::default());
    store.set(Gate::Held);
    let early = spawn_batch(&cached, &["a"]);
    store.until_sent(1).await;
    cached.revoke(Target::Digest(digest("a")), ENDING()).await.expect("committed");
    let late = spawn_batch(&cached, &["b", "a"]);
    tokio::task::yield_now().await;
    store.set(Gate::Open);
    assert!(matches!(answered(early).await[0].found, Found::Token(_)), "as it was when it was asked for");
    let late: Vec<_> = answered(late).await.into_iter().map(|reading| reading.found).collect();
    assert!(matches!(&late[..], [Found::Token(_), Found::Revoked]), "{late:?}");
}

#[tokio::test]
async fn a_batch_fails_as_a_whole() {
    let store = TestStore::of(&["a", "b"]);
    let cached = store.behind(Tiers::default());
    store.set(Gate::Failing);
    let outcome = spawn_batch(&cached, &["a", "b"]).await.expect("no panic");
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
}

#[tokio::test]
async fn what_redis_has_of_a_batch_is_answered_from_it_and_the_rest_is_read() {
    let redis = Redis::start().await;
    let store = TestStore::of(&["a", "b", "c"]);
    let cached = store.behind(Tiers { shared: Some(redis.patient().await), ..Tiers::default() });
    let sources = async || {
        let readings = answered(spawn_batch(&cached, &["a", "b", "c", "a"])).await;
        readings.into_iter().map(|reading| reading.source).collect::<Vec<_>>()
    };
    assert_eq!(sources().await, [Source::Database; 4]);
    eventually(async || sources().await == [Source::SharedCache; 4]).await;
    redis.run(&["DEL", &key(digest("b"))]).await;
    redis.run(&["RPUSH", &key(digest("b")), "no fact"]).await;
    let [one, two, three, four] = sources().await[..] else { panic!("four answers") };
    assert_eq!([one, three, four], [Source::SharedCache; 3]);
    assert_eq!(two, Source::Database, "of another type: a miss");
    cached.revoke(Target::Digest(digest("c")), ENDING()).await.expect("committed");
    assert!(matches!(answered(spawn_batch(&cached, &["a", "c"])).await[1].found, Found::Revoked));
}
