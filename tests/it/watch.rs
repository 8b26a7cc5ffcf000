//! `WatchRevocations`: a client that follows it never uses an answer for longer than stated, whatever happens.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokenward::proto::{WatchRevocationsRequest, WatchRevocationsResponse, watch_revocations_response::Subject};
use tonic::{Code, Streaming, transport::Endpoint};

use crate::harness::{
    client::{Client, Issued, Refusal},
    eventually::eventually,
    relay::Fault,
    stack::{On, Stack, With},
};

mod follower;

use follower::{Follower, From, LIMIT};

async fn watch(client: &Client, start_revision: &str) -> Result<Streaming<WatchRevocationsResponse>, tonic::Status> {
    let request = WatchRevocationsRequest { start_revision: start_revision.to_owned() };
    client.admin.clone().watch_revocations(request).await.map(tonic::Response::into_inner)
}

async fn next(stream: &mut Streaming<WatchRevocationsResponse>) -> WatchRevocationsResponse {
    stream.message().await.expect("the stream holds").expect("it goes on")
}

/// The stream's status, once what came before it has been read.
async fn end(mut stream: Streaming<WatchRevocationsResponse>) -> Refusal {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a stream ends with a status"),
            Err(status) => return Refusal::of(&status),
        }
    }
}

/// The follower uses its own cache for this token.
async fn cached(follower: &Follower, token: &Issued) {
    let hit = async || (follower.accepts(&token.secret).await == Some(From::Cache)).then_some(());
    eventually("the follower has cached the token", hit).await;
}

/// What ended before `since` is accepted at no time that is later than the limit, and in the end not at all.
async fn refused(follower: &Follower, token: &Issued, since: Instant) {
    let refusal = async || {
        let asked = since.elapsed();
        let accepted = follower.accepts(&token.secret).await;
        assert!(accepted.is_none() || asked < LIMIT, "accepted by {accepted:?} {asked:?} after the end");
        accepted.is_none().then_some(())
    };
    eventually("the follower refuses the token", refusal).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_that_follows_drops_what_ends_whoever_ends_it() {
    let mut stack = Stack::start(On::Postgres, With::Redis).await;
    let other = stack.another_server().await;
    let (here, there) = (stack.client(), other.client());
    let follower = Follower::of(vec![here.clone()]);
    let (by_id, by_sql, by_user) = (here.issue("one").await, here.issue("two").await, here.issue("three").await);
    for token in [&by_id, &by_sql, &by_user] {
        cached(&follower, token).await;
    }
    there.revoke(&by_id.secret).await;
    refused(&follower, &by_id, Instant::now()).await;
    assert_eq!(follower.cached(), 2, "and nothing else");
    let delete = "DELETE FROM tokenward_token WHERE user_id = 'two'";
    stack.postgres().server.execute(delete).await;
    refused(&follower, &by_sql, Instant::now()).await;
    stack.postgres().server.execute("UPDATE tokenward_user SET active = false WHERE id = 'three'").await;
    refused(&follower, &by_user, Instant::now()).await;
    assert_eq!(follower.ends(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_goes_on_at_another_replica_and_misses_nothing() {
    let stack = Stack::start(On::Postgres, With::Redis).await;
    let mut other = stack.another_server().await;
    let (here, there) = (stack.client(), other.client());
    let follower = Follower::of(vec![there.clone()]);
    let (lost, kept) = (here.issue("lost").await, here.issue("kept").await);
    cached(&follower, &lost).await;
    cached(&follower, &kept).await;

    // It has nobody to follow while the token ends.
    follower.know(vec![]);
    other.signal(Signal::SIGKILL);
    eventually("the stream has ended", async || (!follower.ends().is_empty()).then_some(())).await;
    here.revoke(&lost.secret).await;
    let ended = Instant::now();
    follower.know(vec![here.clone()]);
    refused(&follower, &lost, ended).await;
    assert_eq!(follower.accepts(&kept.secret).await, Some(From::Cache), "what did not end is not dropped");
    assert!(follower.ends().iter().all(|(_, reason)| reason != "START_OVER"), "{:?}", follower.ends());
    other.exit(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_whose_place_was_purged_or_is_of_another_epoch_starts_over() {
    let mut stack = Stack::start(On::Postgres, With::Redis).await;
    let here = stack.client();
    let follower = Follower::of(vec![here.clone()]);
    let (lost, kept) = (here.issue("lost").await, here.issue("kept").await);
    cached(&follower, &lost).await;
    cached(&follower, &kept).await;
    let old = follower.revision();
    follower.know(vec![]);
    stack.server.signal(Signal::SIGKILL);
    eventually("the stream has ended", async || (!follower.ends().is_empty()).then_some(())).await;

    // While it is away a token ends, and the journal is purged.
    let replica = stack.another_server().await;
    let there = replica.client();
    there.revoke(&lost.secret).await;
    let ended = Instant::now();
    there.revoke(&there.issue("other").await.secret).await;
    let purge = "UPDATE tokenward_clock SET floor = seq; DELETE FROM tokenward_journal WHERE seq IS NOT NULL";
    stack.postgres().server.execute(purge).await;
    let refusal = async || match watch(&there, &old).await {
        Ok(_) => None,
        Err(status) => Some(Refusal::of(&status)),
    };
    let refusal = eventually("the replica has seen the purge", refusal).await;
    assert_eq!(refusal.kind(), (Code::OutOfRange, "START_OVER"));
    follower.know(vec![there.clone()]);
    refused(&follower, &lost, ended).await;
    cached(&follower, &kept).await;
    let started_over = |follower: &Follower| follower.ends().iter().filter(|(_, why)| why == "START_OVER").count();
    assert_eq!(started_over(&follower), 1, "{:?}", follower.ends());

    there.cache.clone().flush_cache(tokenward::proto::FlushCacheRequest::default()).await.expect("flushed");
    eventually("it starts over once more", async || (started_over(&follower) == 2).then_some(())).await;
    let status = watch(&there, "nonsense").await.expect_err("no revision");
    assert_eq!(Refusal::of(&status).fields, ["start_revision"]);
}

/// Whoever does not read does not hold the others up, and is told that something is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_reading_is_cut_off() {
    let settings = [("TOKENWARD_SERVER__DELIVERY_TIMEOUT", "60s")];
    let stack = Stack::start_with(On::Sqlite, With::Memory, &settings).await;
    let client = stack.client();
    // A window of a few messages, so that few have to be sent.
    let endpoint = Endpoint::from_shared(stack.server.url().to_owned()).expect("a URL");
    let narrow = endpoint.initial_stream_window_size(256).connect().await.expect("it accepts");
    let mut slow = watch(&Client::new(narrow), "").await.expect("a stream");
    let mut quick = watch(&client, "").await.expect("a stream");
    let first = next(&mut slow).await;
    next(&mut quick).await;
    for _ in 0..300 {
        let token = client.issue("crowd").await;
        client.revoke(&token.secret).await;
        let mut told = next(&mut quick).await;
        while told.subject != Some(Subject::TokenId(token.token_id.clone())) {
            told = next(&mut quick).await;
        }
    }
    assert_eq!(end(slow).await.kind(), (Code::ResourceExhausted, "SLOW_READER"));
    let mut again = watch(&client, &first.revision).await.expect("it can go on");
    assert!(matches!(next(&mut again).await.subject, Some(Subject::TokenId(_))));
}

/// A connection on which nothing is read is closed, and its place among the watchers is free again.
#[tokio::test(flavor = "multi_thread")]
async fn places_for_followers_are_bounded_and_come_back() {
    let settings = [
        ("TOKENWARD_SERVER__MAX_WATCHERS", "2"),
        ("TOKENWARD_SERVER__DELIVERY_TIMEOUT", "500ms"),
        ("TOKENWARD_SERVER__REQUEST_TIMEOUT", "300ms"),
        ("TOKENWARD_SERVER__MAX_CONCURRENT_REQUESTS", "1"),
    ];
    let stack = Stack::start_with(On::Sqlite, With::Memory, &settings).await;
    let client = stack.client();
    let mut one = watch(&client, "").await.expect("a stream");
    let endpoint = Endpoint::from_shared(stack.server.url().to_owned()).expect("a URL");
    let narrow = endpoint.initial_stream_window_size(64).connect().await.expect("it accepts");
    let deaf = watch(&Client::new(narrow), "").await.expect("a stream");
    let full = Refusal::of(&watch(&client, "").await.expect_err("there are two"));
    assert_eq!(full.kind(), (Code::Unavailable, "OVERLOADED"));
    assert!(full.retry_after.is_some());

    let begun = Instant::now();
    for _ in 0..3 {
        assert_eq!(next(&mut one).await.subject, None);
    }
    assert!(begun.elapsed() > Duration::from_millis(300), "no request's deadline ends a stream");
    assert!(client.authenticate(&client.issue("other").await.secret).await.active, "nor takes it a request's place");
    eventually("the deaf one is sent away", async || watch(&client, "").await.ok()).await;
    drop(deaf);
    drop(one);
    eventually("who leaves makes room", async || watch(&client, "").await.ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_sends_followers_away_at_once_and_takes_no_new_ones() {
    let settings = [("TOKENWARD_SERVER__DRAIN_DELAY", "2s"), ("TOKENWARD_SERVER__DRAIN_TIMEOUT", "30s")];
    let mut stack = Stack::start_with(On::Sqlite, With::Memory, &settings).await;
    let client = stack.client();
    let mut stream = watch(&client, "").await.expect("a stream");
    next(&mut stream).await;
    stack.server.signal(Signal::SIGTERM);
    let refusal = async || match watch(&client, "").await {
        Ok(_) => None,
        Err(status) => Some(Refusal::of(&status)),
    };
    let refusal = eventually("it takes no new ones", refusal).await;
    assert_eq!(refusal.kind(), (Code::Unavailable, "DRAINING"));
    assert_eq!(end(stream).await.kind(), (Code::Unavailable, "DRAINING"));
    let (exit, _) = stack.server.exit(Duration::from_secs(20)).await;
    assert!(exit.success(), "{exit}: a stream does not hold the end");
}

/// A replica that cannot read the journal vouches for nothing: no heartbeat, and soon the end.
#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_a_follower_is_sent_away_and_uses_nothing() {
    let mut stack = Stack::start(On::Postgres, With::Redis).await;
    let client = stack.client();
    let follower = Follower::of(vec![client.clone()]);
    let token = client.issue("lost").await;
    cached(&follower, &token).await;
    let mut stream = watch(&client, "").await.expect("a stream");
    next(&mut stream).await;
    stack.postgres().relay.inject(Fault::Stall);
    let ended = Instant::now();
    stack.postgres().server.execute("DELETE FROM tokenward_token").await;
    assert_eq!(end(stream).await.kind(), (Code::Unavailable, "STORE_UNAVAILABLE"));
    let unused = async || {
        let asked = ended.elapsed();
        let cached = follower.accepts(&token.secret).await == Some(From::Cache);
        assert!(!cached || asked < LIMIT, "used {asked:?} after the end");
        (!cached).then_some(())
    };
    eventually("the cached answer is not used any more", unused).await;
    assert!(follower.ends().iter().all(|(code, _)| *code == Code::Unavailable), "{:?}", follower.ends());
}
