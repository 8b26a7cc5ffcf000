//! `grpc.health.v1`: what load balancers and operators are told.

use std::time::{Duration, Instant};

use futures::FutureExt as _;
use tokenward::proto::health::{HealthListRequest, health_client::HealthClient};
use tonic::{Code, Streaming};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_check_response::ServingStatus};

use crate::harness::{
    client::{Client, Refusal},
    eventually::{PATIENCE, eventually, report, within},
    relay::Fault,
    stack::{On, Stack, With},
};

const SERVICES: [&str; 6] = [
    "",
    "tokenward.v1.CacheService",
    "tokenward.v1.StatusService",
    "tokenward.v1.TokenAdminService",
    "tokenward.v1.TokenService",
    "tokenward.v1.UserService",
];

async fn assert_services(client: &Client, serving: ServingStatus) {
    for name in SERVICES {
        assert_eq!(client.check(name).await.expect("the name is known"), serving, "{name:?}");
    }
}

async fn becomes(client: &Client, name: &str, serving: ServingStatus, deadline: Duration) -> Duration {
    let what = format!("{name:?} is {serving:?}");
    let reached = async || (client.check(name).await.expect("the name is known") == serving).then_some(());
    let ((), took) = within(&what, deadline, reached).await;
    report(&format!("{what} after {took:?}"));
    took
}

async fn watch(client: &Client, name: &str) -> Streaming<HealthCheckResponse> {
    let request = HealthCheckRequest { service: name.to_owned() };
    client.health.clone().watch(request).await.expect("a watch begins").into_inner()
}

async fn next(stream: &mut Streaming<HealthCheckResponse>) -> ServingStatus {
    let next = tokio::time::timeout(PATIENCE, stream.message()).await.expect("a change is streamed");
    next.expect("the stream holds").expect("the stream goes on").status()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_name_is_checked_watched_and_listed() {
    let stack = Stack::start(On::Postgres, With::Redis).await;
    let client = stack.client();
    for component in ["redis", "database"] {
        becomes(&client, component, ServingStatus::Serving, Duration::from_secs(2)).await;
    }
    assert_services(&client, ServingStatus::Serving).await;
    let mut list = HealthClient::new(client.channel.clone());
    let listed = list.list(HealthListRequest {}).await.expect("names are listed").into_inner().statuses;
    let mut names: Vec<_> = listed.keys().map(String::as_str).collect();
    names.sort_unstable();
    let mut expected = [&SERVICES[..], &["redis", "database"]].concat();
    expected.sort_unstable();
    assert_eq!(names, expected);
    assert!(listed.values().all(|status| status.status() == ServingStatus::Serving), "{listed:?}");

    let unknown = client.check("no.such.Service").await.expect_err("the name is unknown");
    assert_eq!(unknown.code(), Code::NotFound);
    let mut watched = watch(&client, "no.such.Service").await;
    assert_eq!(next(&mut watched).await, ServingStatus::ServiceUnknown, "the protocol keeps the stream");
}

/// Whoever watches needs no credential, so there is a bound; and whoever reaches it keeps nobody from watching.
#[tokio::test(flavor = "multi_thread")]
async fn one_watch_too_many_ends_the_oldest() {
    const MOST: usize = 1024;
    let stack = Stack::start(On::Sqlite, With::Memory).await;
    let mut watches = Vec::new();
    while watches.len() < MOST {
        let client = stack.server.new_connection().await.expect("there is room for connections");
        for _ in 0..(MOST - watches.len()).min(64) {
            let mut stream = watch(&client, "").await;
            assert_eq!(next(&mut stream).await, ServingStatus::Serving);
            watches.push(stream);
        }
    }
    assert!(watches[0].message().now_or_never().is_none(), "all have a place");
    let mut newest = watch(&stack.client(), "").await;
    assert_eq!(next(&mut newest).await, ServingStatus::Serving);
    let ended = tokio::time::timeout(PATIENCE, watches[0].message()).await.expect("it is told");
    let refusal = Refusal::of(&ended.expect_err("it made room"));
    assert_eq!(refusal.kind(), (Code::Unavailable, "OVERLOADED"));
    assert!(watches[1].message().now_or_never().is_none(), "the next one goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_redis_to_report_without_redis() {
    let stack = Stack::start(On::Sqlite, With::Memory).await;
    assert_services(&stack.client(), ServingStatus::Serving).await;
    let redis = stack.client().check("redis").await.expect_err("there is none");
    assert_eq!(redis.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_redis_is_told_within_a_second_and_the_services_go_on() {
    let mut stack = Stack::start(On::Sqlite, With::Redis).await;
    let client = stack.client();
    becomes(&client, "redis", ServingStatus::Serving, Duration::from_secs(2)).await;
    let mut watched = watch(&client, "redis").await;
    assert_eq!(next(&mut watched).await, ServingStatus::Serving);

    stack.redis().server.kill();
    becomes(&client, "redis", ServingStatus::NotServing, Duration::from_secs(1)).await;
    assert_eq!(next(&mut watched).await, ServingStatus::NotServing);
    assert_services(&client, ServingStatus::Serving).await;
    assert!(client.serving("database").await);

    stack.redis().server.restart().await;
    assert_eq!(next(&mut watched).await, ServingStatus::Serving);
    assert_services(&client, ServingStatus::Serving).await;

    stack.redis().server.pause();
    becomes(&client, "redis", ServingStatus::NotServing, Duration::from_secs(1)).await;
    assert_services(&client, ServingStatus::Serving).await;
    stack.redis().server.resume();
    becomes(&client, "redis", ServingStatus::Serving, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_redis_takes_the_services_with_it() {
    let mut stack = Stack::start_with(On::Sqlite, With::Redis, &[("TOKENWARD_HEALTH__REDIS_REQUIRED", "true")]).await;
    let client = stack.client();
    becomes(&client, "", ServingStatus::Serving, Duration::from_secs(2)).await;
    let issued = client.issue("anyone").await;
    stack.redis().server.kill();
    becomes(&client, "", ServingStatus::NotServing, Duration::from_secs(1)).await;
    assert_services(&client, ServingStatus::NotServing).await;
    assert!(client.serving("database").await);
    assert!(client.authenticate(&issued.secret).await.active, "who asks all the same is answered");
    stack.redis().server.restart().await;
    becomes(&client, "", ServingStatus::Serving, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_database_is_told_at_once_and_the_services_follow_after_the_grace() {
    const GRACE: Duration = Duration::from_secs(3);
    let mut stack = Stack::start_with(On::Postgres, With::Redis, &[("TOKENWARD_HEALTH__DATABASE_GRACE", "3s")]).await;
    let client = stack.client();
    becomes(&client, "", ServingStatus::Serving, Duration::from_secs(2)).await;
    let mut watched = watch(&client, "tokenward.v1.TokenService").await;
    assert_eq!(next(&mut watched).await, ServingStatus::Serving);

    let lost = Instant::now();
    stack.postgres().server.kill();
    becomes(&client, "database", ServingStatus::NotServing, Duration::from_secs(2)).await;
    assert_services(&client, ServingStatus::Serving).await;
    assert!(lost.elapsed() < GRACE, "the services were looked at within the grace");
    assert_eq!(next(&mut watched).await, ServingStatus::NotServing);
    let after = lost.elapsed();
    report(&format!("the services followed after {after:?}"));
    assert!((GRACE..GRACE + Duration::from_secs(3)).contains(&after), "{after:?}");
    assert_services(&client, ServingStatus::NotServing).await;
    assert!(client.serving("redis").await);

    stack.postgres().server.restart().await;
    assert_eq!(next(&mut watched).await, ServingStatus::Serving);
    assert!(client.serving("database").await);
    assert_services(&client, ServingStatus::Serving).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_loss_of_the_database_is_told_and_forgotten() {
    let mut stack = Stack::start_with(On::MariaDb, With::Memory, &[("TOKENWARD_HEALTH__DATABASE_GRACE", "60s")]).await;
    let client = stack.client();
    becomes(&client, "database", ServingStatus::Serving, Duration::from_secs(2)).await;
    stack.mariadb().relay.inject(Fault::Stall);
    becomes(&client, "database", ServingStatus::NotServing, Duration::from_secs(4)).await;
    assert_services(&client, ServingStatus::Serving).await;
    stack.mariadb().relay.inject(Fault::None);
    becomes(&client, "database", ServingStatus::Serving, PATIENCE).await;
    assert_services(&client, ServingStatus::Serving).await;
}

/// A probe that asked the database would hang with it, and take the replica out.
#[tokio::test(flavor = "multi_thread")]
async fn a_probe_asks_nobody() {
    let mut stack = Stack::start(On::Postgres, With::Redis).await;
    let client = stack.client();
    stack.postgres().relay.inject(Fault::Stall);
    stack.redis().relay.inject(Fault::Stall);
    for _ in 0..100 {
        let start = Instant::now();
        client.check("").await.expect("a probe is answered");
        assert!(start.elapsed() < Duration::from_millis(200), "{:?}", start.elapsed());
    }
    stack.postgres().relay.inject(Fault::None);
    stack.redis().relay.inject(Fault::None);
    eventually("all serve", async || client.serving("database").await.then_some(())).await;
}
