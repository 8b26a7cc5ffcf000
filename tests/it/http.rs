//! The second listener: probes, metrics and status over HTTP/1.1.

use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::harness::{
    eventually::eventually,
    http::{get, try_get},
    server::{Server, setting},
    stack::{On, Stack, With},
};

/// Settings that ask for a second listener.
const HTTP: (&str, &str) = ("TOKENWARD_HTTP__LISTEN", "127.0.0.1:0");

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_components_and_names_them() {
    let mut stack =
        Stack::start_with(On::Sqlite, With::Redis, &[HTTP, ("TOKENWARD_HEALTH__REDIS_REQUIRED", "true")]).await;
    let url = stack.server.http();
    let is = async |code: u16, body: &str| {
        let page = get(&url, "/readyz").await;
        (page.code == code && page.body == body).then_some(())
    };
    let ready = "ready\ndatabase: serving\nredis: serving\n";
    eventually("it is ready", async || is(200, ready).await).await;
    stack.redis().server.kill();
    eventually("it is not", async || is(503, "not ready\ndatabase: serving\nredis: not serving\n").await).await;
    assert_eq!(get(&url, "/livez").await.code, 200, "a process without Redis lives");
    stack.redis().server.restart().await;
    eventually("it is ready again", async || is(200, ready).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_listener_outlasts_the_drain_and_says_so() {
    let settings = [HTTP, ("TOKENWARD_SERVER__DRAIN_DELAY", "2s")];
    let mut stack = Stack::start_with(On::Sqlite, With::Memory, &settings).await;
    let url = stack.server.http();
    assert_eq!(get(&url, "/readyz").await.code, 200);
    stack.server.signal(Signal::SIGTERM);
    let drains = async || {
        let page = get(&url, "/readyz").await;
        (page.code == 503 && page.body.starts_with("draining\n")).then_some(())
    };
    eventually("it drains", drains).await;
    assert_eq!(get(&url, "/livez").await.code, 200);
    assert_eq!(get(&url, "/metrics").await.code, 200, "the last scrape");
    let (exit, _) = stack.server.exit(Duration::from_secs(10)).await;
    assert!(exit.success(), "{exit}");
    assert!(try_get(&url, "/livez").await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn status_is_what_get_status_tells_and_nothing_is_kept_on_the_way() {
    let stack = Stack::start_with(On::Sqlite, With::Memory, &[HTTP]).await;
    let page = get(&stack.server.http(), "/status.json").await;
    assert_eq!(page.code, 200);
    for header in ["content-type: application/json", "cache-control: no-store", "x-content-type-options: nosniff"] {
        assert!(page.head.contains(header), "{header}: {}", page.head);
    }
    let shown: serde_json::Value = serde_json::from_str(&page.body).expect("it is JSON");
    let told = stack.client().status.clone().get_status(tokenward::proto::GetStatusRequest {}).await;
    let told = told.expect("the replica tells").into_inner();
    assert_eq!(shown["status"]["replica_id"], told.replica_id);
    assert_eq!(shown["status"]["components"][0]["name"], "database");
    let missing = get(&stack.server.http(), "/no-such-page").await;
    assert_eq!(missing.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_second_listener_unless_it_is_asked_for() {
    let server = Server::start(&vec![]).await;
    assert!(!server.output().contains("probes, metrics"), "{}", server.output());
}

/// Whoever opens connections and does nothing with them locks no probe out.
#[tokio::test(flavor = "multi_thread")]
async fn connections_heads_and_bodies_are_bounded() {
    let settings = vec![setting(HTTP.0, HTTP.1), setting("TOKENWARD_HTTP__MAX_CONNECTIONS", "2")];
    let server = Server::start(&settings).await;
    let url = server.http();
    let host = url.trim_start_matches("http://").to_owned();
    let mut held = Vec::new();
    for _ in 0..8 {
        let mut socket = TcpStream::connect(&host).await.expect("the listener accepts");
        socket.write_all(b"GET /livez HTTP/1.1\r\nhost: ").await.expect("the socket takes it");
        held.push(socket);
    }
    assert_eq!(get(&url, "/livez").await.code, 200);
    let mut first = held.remove(0);
    let read = first.read(&mut [0; 64]).await;
    assert!(matches!(read, Ok(0) | Err(_)), "the longest idle one was closed: {read:?}");
    let long = "a".repeat(20 * 1024);
    let refused = try_get(&url, &format!("/{long}")).await;
    assert!(refused.is_none_or(|page| (400..500).contains(&page.code)), "a head is bounded");
}
