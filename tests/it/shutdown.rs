//! SIGTERM and SIGINT: nobody who follows the health report sees a failure.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use futures::poll;
use nix::sys::signal::Signal;
use tokenward::proto::{InactiveReason, RevokeRequest, revoke_request::Target};
use tokio::{net::TcpStream, task::JoinHandle};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus};

use crate::harness::{
    client::{Client, about},
    eventually::{eventually, report},
    relay::Fault,
    stack::{On, Stack, With},
};

/// A client that asks without a pause until it is told to go elsewhere.
fn load(client: Client, secret: String, done: Arc<AtomicBool>, answers: Arc<AtomicU64>) -> JoinHandle<()> {
    tokio::spawn(async move {
        while !done.load(Ordering::Relaxed) {
            let answer = client.try_authenticate(about(&secret)).await.expect("no request is lost in a shutdown");
            assert!(answer.active);
            answers.fetch_add(1, Ordering::Relaxed);
        }
    })
}

async fn accepts(url: &str) -> bool {
    TcpStream::connect(url.trim_start_matches("http://")).await.is_ok()
}

async fn drains_without_a_loss(signal: Signal) {
    let settings = [("TOKENWARD_SERVER__DRAIN_DELAY", "500ms"), ("TOKENWARD_SERVER__DRAIN_TIMEOUT", "3s")];
    let mut stack = Stack::start_with(On::Sqlite, With::Memory, &settings).await;
    let client = stack.client();
    let secret = client.issue("loader").await.secret;
    let (done, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut loads = Vec::new();
    for _ in 0..4 {
        let client = stack.server.new_connection().await.expect("the service accepts");
        loads.push(load(client, secret.clone(), Arc::clone(&done), Arc::clone(&answers)));
    }
    let request = HealthCheckRequest { service: "tokenward.v1.TokenService".to_owned() };
    let mut watched = client.health.clone().watch(request).await.expect("a watch begins").into_inner();
    let status = async |stream: &mut tonic::Streaming<tonic_health::pb::HealthCheckResponse>| {
        stream.message().await.expect("the stream holds").expect("the stream goes on").status()
    };
    assert_eq!(status(&mut watched).await, ServingStatus::Serving);
    eventually("the load runs", async || (answers.load(Ordering::Relaxed) > 100).then_some(())).await;

    let start = Instant::now();
    stack.server.signal(signal);
    assert_eq!(status(&mut watched).await, ServingStatus::NotServing);
    let told = answers.load(Ordering::Relaxed);
    assert!(accepts(stack.server.url()).await, "the listener stays until balancers have noticed");
    eventually("requests are answered while it drains", async || {
        (answers.load(Ordering::Relaxed) > told).then_some(())
    })
    .await;
    done.store(true, Ordering::Relaxed);
    for load in loads {
        load.await.expect("no request is lost in a shutdown");
    }
    // The watch is still open: it must not hold the end.
    let (exit, _) = stack.server.exit(Duration::from_secs(6)).await;
    let took = start.elapsed();
    report(&format!("{signal}: exit after {took:?}, {} answers", answers.load(Ordering::Relaxed)));
    assert!(exit.success(), "{exit}");
    assert!((Duration::from_millis(500)..Duration::from_secs(3)).contains(&took), "{took:?}");
    assert!(!accepts(stack.server.url()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_loses_no_request_and_exits_with_zero() {
    drains_without_a_loss(Signal::SIGTERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_under_load_loses_no_request_and_exits_with_zero() {
    drains_without_a_loss(Signal::SIGINT).await;
}

const SLOW: [(&str, &str); 5] = [
    ("TOKENWARD_SERVER__DRAIN_DELAY", "100ms"),
    ("TOKENWARD_SERVER__DRAIN_TIMEOUT", "3s"),
    ("TOKENWARD_SERVER__REQUEST_TIMEOUT", "20s"),
    ("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "20s"),
    ("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "20s"),
];

/// A request that waits for a stalled database when the signal comes.
async fn with_a_request_under_way() -> (Stack, JoinHandle<Result<bool, tonic::Status>>) {
    let mut stack = Stack::start_with(On::Postgres, With::Memory, &SLOW).await;
    let client = stack.client();
    let secret = client.issue("patient").await.secret;
    stack.postgres().server.pause();
    let probe = client.clone();
    let mut asking = Box::pin(async move { client.try_authenticate(about(&secret)).await.map(|answer| answer.active) });
    assert!(poll!(&mut asking).is_pending());
    // What is sent later on the same connection has an answer, so the service has the question.
    probe.check("").await.expect("the service goes on");
    let waiting = tokio::spawn(asking);
    stack.server.signal(Signal::SIGTERM);
    let url = stack.server.url().to_owned();
    eventually("no connection is accepted", async || (!accepts(&url).await).then_some(())).await;
    (stack, waiting)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_under_way_is_answered_after_the_listener_is_closed() {
    let (mut stack, waiting) = with_a_request_under_way().await;
    assert!(!waiting.is_finished(), "the database has not answered yet");
    stack.postgres().server.resume();
    assert!(waiting.await.expect("it ends").expect("it is answered"), "the token is active");
    let (exit, took) = stack.server.exit(Duration::from_secs(3)).await;
    report(&format!("exit {took:?} after the last answer"));
    assert!(exit.success(), "{exit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_never_ends_does_not_hold_the_exit_beyond_the_deadline() {
    let (mut stack, waiting) = with_a_request_under_way().await;
    let (exit, took) = stack.server.exit(Duration::from_secs(6)).await;
    report(&format!("exit {took:?} after the listener was closed"));
    assert!(exit.success(), "{exit}");
    waiting.await.expect("it ends").expect_err("nobody could answer");
}

/// Whoever asked for a revocation has gone; it is committed all the same before the process ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_caller_has_gone_is_carried_out_before_the_exit() {
    let mut stack = Stack::start_with(On::Postgres, With::Memory, &SLOW).await;
    let client = stack.client();
    let issued = client.issue("leaver").await;
    stack.postgres().relay.inject(Fault::Stall);
    let target = Some(Target::Token(issued.secret.clone()));
    let mut request = tonic::Request::new(RevokeRequest { target, ..RevokeRequest::default() });
    request.set_timeout(Duration::from_millis(300));
    client.tokens.clone().revoke(request).await.expect_err("the caller does not wait");
    stack.server.signal(Signal::SIGTERM);
    let waits = async || stack.server.output().contains("changes under way are awaited").then_some(());
    eventually("the revocation is awaited", waits).await;
    stack.postgres().relay.inject(Fault::None);
    let (exit, _) = stack.server.exit(Duration::from_secs(6)).await;
    assert!(exit.success(), "{exit}");
    let next = stack.another_server().await;
    assert_eq!(next.client().reason(&issued.secret).await, InactiveReason::Revoked);
}

/// Closing connections to servers that do not answer must not hold the exit either.
#[tokio::test(flavor = "multi_thread")]
async fn hung_servers_do_not_hold_the_exit() {
    let settings = [("TOKENWARD_SERVER__DRAIN_DELAY", "100ms"), ("TOKENWARD_SERVER__DRAIN_TIMEOUT", "1s")];
    let mut stack = Stack::start_with(On::Postgres, With::Redis, &settings).await;
    stack.client().issue("anyone").await;
    stack.postgres().relay.inject(Fault::Stall);
    stack.redis().relay.inject(Fault::Stall);
    stack.server.signal(Signal::SIGTERM);
    let (exit, took) = stack.server.exit(Duration::from_secs(5)).await;
    report(&format!("exit after {took:?} with every server hung"));
    assert!(exit.success(), "{exit}");
}
