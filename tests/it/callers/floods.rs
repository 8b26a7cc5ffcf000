//! What a peer can do that has a connection and bad manners. In each case a client with good ones, on a connection of
//! its own, is answered all the while, and the service's memory stays within a bound.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream};
use h2::{Reason, RecvStream, client::SendRequest};
use prost::{Message as _, bytes::Bytes};
use tokenward::proto::{AuthenticateRequest, BatchAuthenticateRequest, ListTokensRequest};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tonic::Code;

use crate::harness::{
    client::{Client, about},
    eventually::{eventually, report},
    raw::{Call, framed, socket},
    server::{Server, Settings, directory, setting},
};

const AUTHENTICATE: &str = "/tokenward.v1.TokenService/Authenticate";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const WATCH: &str = "/grpc.health.v1.Health/Watch";
/// The tests' database may be slow; it is not what they are about.
const PATIENT: [(&str, &str); 2] =
    [("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "10s"), ("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "10s")];
/// Answers that the good client must get while an attack lasts.
const ANSWERS: u64 = 50;

/// A service, and a client of it that never stops asking.
struct Scene {
    server: Server,
    secret: String,
    answers: Arc<AtomicU64>,
    done: Arc<AtomicBool>,
    asking: JoinHandle<()>,
}

// === impl Scene ===

impl Scene {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let settings: Settings = PATIENT.iter().chain(settings).map(|(key, value)| setting(key, *value)).collect();
        let server = Server::start_in(directory(), &settings).await;
        let client = server.client();
        let secret = client.issue("alice").await.secret;
        let (answers, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let asking = tokio::spawn(ask(client, secret.clone(), Arc::clone(&answers), Arc::clone(&done)));
        Self { server, secret, answers, done, asking }
    }

    /// Waits until the good client has got answers that it asked for after this was called.
    async fn is_answered(&self, during: &str) {
        let before = self.answers.load(Ordering::Relaxed);
        eventually(during, async || (self.answers.load(Ordering::Relaxed) > before + ANSWERS).then_some(())).await;
    }

    /// Ends the good client, none of whose calls may have failed.
    async fn end(self, what: &str, most: u64) {
        self.is_answered(what).await;
        self.done.store(true, Ordering::Relaxed);
        self.asking.await.unwrap_or_else(|error| panic!("{what}: the good client lost a call: {error}"));
        let resident = self.server.resident();
        report(&format!("{what}: {resident} MiB, {} answers", self.answers.load(Ordering::Relaxed)));
        assert!(resident <= most, "{what}: {resident} MiB");
    }

    async fn connection(&self) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
        self.connection_by(&h2::client::Builder::new()).await
    }

    async fn connection_by(
        &self,
        builder: &h2::client::Builder,
    ) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
        let socket = socket(self.server.url()).await;
        let (client, connection) = builder.handshake::<_, Bytes>(socket).await.expect("HTTP/2 begins");
        (client, tokio::spawn(connection))
    }

    fn url(&self) -> &str {
        self.server.url()
    }
}

async fn ask(client: Client, secret: String, answers: Arc<AtomicU64>, done: Arc<AtomicBool>) {
    while !done.load(Ordering::Relaxed) {
        let answer = client.try_authenticate(about(&secret)).await;
        assert!(answer.expect("the good client is answered").active);
        answers.fetch_add(1, Ordering::Relaxed);
        // It is a client among others, not one more flood.
        tokio::task::yield_now().await;
    }
}

fn message() -> Vec<u8> {
    about("unknown").encode_to_vec()
}

/// A connection that says hello in HTTP/2 and nothing else, or nothing at all.
async fn idle(url: &str, index: usize) -> TcpStream {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let mut socket = socket(url).await;
    if index.is_multiple_of(2) {
        socket.write_all(PREFACE).await.expect("a new connection takes a greeting");
    }
    socket
}

/// Whether the service has closed a connection; its greeting is skipped.
async fn is_closed(socket: &mut TcpStream) -> bool {
    let mut bytes = [0; 256];
    loop {
        match tokio::time::timeout(Duration::from_millis(200), socket.read(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) => return true,
            Ok(Ok(_)) => {}
            Err(_) => return false,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_lock_nobody_out() {
    let scene = Scene::start(&[("TOKENWARD_SERVER__MAX_CONNECTIONS", "9000")]).await;
    let mut idle: Vec<_> = stream::iter(0..10_000).map(|index| idle(scene.url(), index)).buffered(64).collect().await;
    scene.is_answered("10,000 connections are open").await;
    let newcomer = scene.server.new_connection().await.expect("a newcomer finds a place");
    assert!(newcomer.authenticate(&scene.secret).await.active);

    // The first ones made room; of the last ones none had to.
    eventually("the longest idle connection is closed", async || is_closed(&mut idle[1]).await.then_some(())).await;
    assert!(!is_closed(&mut idle[9_999]).await, "the newest is open");
    scene.end("10,000 idle connections", 600).await;
}

/// A watch of health, on a connection of its own, once its first word has come. `None` when there is no place for it.
async fn watching(scene: &Scene) -> Option<(SendRequest<Bytes>, RecvStream)> {
    let (client, connection) = h2::client::handshake(socket(scene.url()).await).await.ok()?;
    tokio::spawn(connection);
    let answer = Call::new(WATCH, Vec::new()).request(client.clone().ready().await.ok()?, scene.url()).ok()?;
    let mut body = answer.await.ok()?.into_body();
    let word = body.data().await?.ok()?;
    body.flow_control().release_capacity(word.len()).ok()?;
    Some((client, body))
}

/// It needs no credential, and lasts for as long as its connection.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_only_watch_health_lock_nobody_out() {
    let scene = Scene::start(&[("TOKENWARD_SERVER__MAX_CONNECTIONS", "100")]).await;
    let mut watches = Vec::new();
    for _ in 0..150 {
        watches.push(watching(&scene).await);
    }
    assert!(watches.last().is_some_and(Option::is_some), "whoever comes last has a place");
    scene.is_answered("150 connections were made to watch").await;
    let newcomer = scene.server.new_connection().await.expect("a newcomer finds a place");
    assert!(newcomer.authenticate(&scene.secret).await.active);

    let (_, first) = watches[0].as_mut().expect("there was room");
    let ended = tokio::time::timeout(Duration::from_secs(20), first.data()).await.expect("the first made room");
    assert!(!matches!(ended, Some(Ok(_))), "{ended:?}");
    scene.end("150 connections that watch", 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_is_told_to_go_away_and_so_is_an_old_one() {
    for limit in ["TOKENWARD_SERVER__MAX_CONNECTION_IDLE", "TOKENWARD_SERVER__MAX_CONNECTION_AGE"] {
        let server = Server::start_in(directory(), &vec![setting(limit, "2s")]).await;
        let socket = socket(server.url()).await;
        let (client, connection) = h2::client::handshake(socket).await.expect("HTTP/2 begins");
        let ended = tokio::spawn(connection);
        let status = Call::new(HEALTH, Vec::new()).send_on(&client, server.url()).await;
        assert_eq!(status.expect("it is answered").code(), Code::Ok);
        // A GOAWAY without an error, long before the grace of 30 s is over.
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
        ended.expect("the connection ends").expect("it does not panic").expect("it ends in order");
    }
}

/// Each stream is left with an answer that has no room in the peer's window.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_reads_no_answer_loses_its_connection() {
    let scene = Scene::start(&[("TOKENWARD_SERVER__DELIVERY_TIMEOUT", "1s")]).await;
    // Decided from its shape: each has an answer, however busy the database is.
    let malformed = about("a b").encode_to_vec();
    for window in [0, 1] {
        let mut readers = Vec::new();
        for _ in 0..20 {
            let mut builder = h2::client::Builder::new();
            let (client, ended) = scene.connection_by(builder.initial_window_size(window)).await;
            let mut answers = Vec::new();
            for _ in 0..200 {
                let client = client.clone().ready().await.expect("the connection is open");
                answers.push(
                    Call::new(AUTHENTICATE, malformed.clone())
                        .request(client, scene.url())
                        .expect("a stream can begin"),
                );
            }
            readers.push((answers, client, ended));
        }
        scene.is_answered("4,000 answers are not read").await;
        for (_, _, ended) in &mut readers {
            let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
            // Whether h2 calls it an error depends on what it was doing.
            let _ = ended.expect("who reads nothing is cut off").expect("it does not panic");
        }
    }
    scene.end("4,000 unread answers", 400).await;
}

/// CVE-2023-44487.
#[tokio::test(flavor = "multi_thread")]
async fn rapid_reset_ends_the_attackers_connection_only() {
    let scene = Scene::start(&[]).await;
    for _ in 0..10 {
        let (client, ended) = scene.connection().await;
        let mut sent = 0;
        while sent < 20_000 {
            let Ok(mut ready) = client.clone().ready().await else { break };
            let request = http::Request::post(format!("{}{AUTHENTICATE}", scene.url()));
            let request = request.header("content-type", "application/grpc").body(()).expect("it is well-formed");
            let Ok((_, mut stream)) = ready.send_request(request, false) else { break };
            stream.send_reset(Reason::CANCEL);
            sent += 1;
        }
        let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
        report(&format!("after {sent} resets: {ended:?}"));
    }
    scene.end("rapid reset", 400).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn huge_headers_are_refused() {
    let scene = Scene::start(&[]).await;
    let huge = "x".repeat(64 * 1024);
    for _ in 0..200 {
        let (client, _) = scene.connection().await;
        let ready = client.ready().await.expect("the connection is open");
        let call = Call::new(AUTHENTICATE, message()).header("x-huge", &huge);
        if let Ok(answer) = call.request(ready, scene.url()) {
            let refused =
                tokio::time::timeout(Duration::from_secs(10), answer).await.expect("it is answered or cut off");
            let code = refused.map(|response| response.status().as_u16());
            assert!(!matches!(code, Ok(200)), "{code:?}");
        }
    }
    scene.end("huge headers", 400).await;
}

/// Messages that are too large, and messages that say so and never come.
#[tokio::test(flavor = "multi_thread")]
async fn huge_messages_are_refused_and_announced_ones_hold_nothing() {
    let scene = Scene::start(&[("TOKENWARD_SERVER__REQUEST_TIMEOUT", "10s")]).await;
    for _ in 0..20 {
        let huge = Call::new(AUTHENTICATE, vec![0x0a; 4 * 1024 * 1024]);
        let status = huge.send(scene.url()).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    let (mut announced, large) = (Vec::new(), vec![0x0a; 200 * 1024]);
    for _ in 0..20 {
        let (client, ended) = scene.connection().await;
        for _ in 0..200 {
            let mut ready = client.clone().ready().await.expect("the connection is open");
            let request = http::Request::post(format!("{}{AUTHENTICATE}", scene.url()));
            let request = request.header("content-type", "application/grpc").body(()).expect("it is well-formed");
            let (answer, mut body) = ready.send_request(request, false).expect("a stream can begin");
            let part = framed(&large).slice(..1024);
            let _ = body.send_data(part, false);
            announced.push((answer, body));
        }
        // The connection's own handle is kept by its streams.
        drop((client, ended));
    }
    scene.is_answered("4,000 messages do not come").await;
    for (answer, _body) in announced.into_iter().step_by(100) {
        let answer = tokio::time::timeout(Duration::from_secs(40), answer).await.expect("the deadline is kept");
        let status = tonic::Status::from_header_map(answer.expect("it is answered").headers());
        assert_eq!(status.map(|status| status.code()), Some(Code::DeadlineExceeded));
    }
    scene.end("huge messages", 400).await;
}

/// More of them than the requests that there may be at once: neither are others refused, nor those that come late.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_are_announced_and_never_come_keep_nobody_out() {
    let scene = Scene::start(&[("TOKENWARD_SERVER__MAX_CONCURRENT_REQUESTS", "40")]).await;
    let announce = async |client: &SendRequest<Bytes>| {
        let mut ready = client.clone().ready().await.expect("the connection is open");
        let request = http::Request::post(format!("{}{AUTHENTICATE}", scene.url()));
        let request = request.header("content-type", "application/grpc").body(()).expect("it is well-formed");
        ready.send_request(request, false).expect("a stream can begin")
    };
    let mut announced = Vec::new();
    for _ in 0..4 {
        let (client, _ended) = scene.connection().await;
        for _ in 0..50 {
            announced.push(announce(&client).await);
        }
    }
    scene.is_answered("200 messages do not come").await;
    let (client, _ended) = scene.connection().await;
    let (answer, mut body) = announce(&client).await;
    scene.is_answered("the last one is late").await;
    body.send_data(framed(&message()), true).expect("it was not given up");
    let answer = answer.await.expect("it is answered");
    assert!(answer.headers().get("grpc-status").is_none(), "it has a message: {answer:?}");
    let (oldest, _body) = announced.swap_remove(0);
    let status = tonic::Status::from_header_map(oldest.await.expect("it made room").headers());
    assert_eq!(status.map(|status| status.code()), Some(Code::Unavailable));
    scene.end("announced messages", 400).await;
}

/// One token, one owner, and batches as large as they may be, from many connections at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_hot_token_a_hot_user_and_large_batches_stall_nobody() {
    let scene = Scene::start(&[]).await;
    let (secret, client) = (scene.secret.clone(), scene.server.new_connection().await.expect("it accepts"));
    let about_it: Vec<AuthenticateRequest> = (0..100).map(|_| about(&secret)).collect();
    let hot = (0..20).map(|index| {
        let (client, secret, requests) = (client.clone(), secret.clone(), about_it.clone());
        async move {
            for _ in 0..20 {
                let answer = client.try_authenticate(about(&secret)).await;
                assert!(answer.expect("a hot token is answered").active);
                let batch = BatchAuthenticateRequest { requests: requests.clone() };
                let answer = client.tokens.clone().batch_authenticate(batch).await.expect("a batch is answered");
                assert_eq!(answer.into_inner().responses.len(), 100);
                let list = ListTokensRequest { user_id: "alice".to_owned(), ..ListTokensRequest::default() };
                client.admin.clone().list_tokens(list).await.expect("a hot user is answered");
                if index == 0 {
                    client.issue("alice").await;
                }
            }
        }
    });
    let load = tokio::spawn(futures::future::join_all(hot.collect::<Vec<_>>()));
    scene.is_answered("a token and its user are hot").await;
    load.await.expect("the load is answered");
    scene.end("a hot token, a hot user, large batches", 400).await;
}
