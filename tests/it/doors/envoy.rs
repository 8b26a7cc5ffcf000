//! A real Envoy with `examples/envoy/envoy.yaml`, in front of an upstream that shows what reaches it.

use std::{net::SocketAddr, time::Duration};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokenward::proto::{IssueTokenRequest, User};

use super::{
    CALLERS, ENABLED, ENVOY, callers,
    http::{Answer, Upstream, get, header, headers},
    issue, issue_request, revoke,
};
use crate::harness::{
    client::{Client, for_user, ttl},
    envoy::Envoy,
    eventually::eventually,
    relay::Fault,
    server::Server,
    stack::{On, Stack, With},
};

const EXAMPLE: &str = include_str!("../../../examples/envoy/envoy.yaml");
/// The line of the example that stands for one replica.
const REPLICA: &str = "        - endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 50051}}}\n";

/// Envoy before replicas and an upstream.
struct Proxied {
    envoy: Envoy,
    address: SocketAddr,
    _upstream: Upstream,
}

// === impl Proxied ===

impl Proxied {
    /// Starts the example with what a test changes in it, and waits until Envoy finds every replica healthy.
    async fn start(replicas: &[&Server], changes: &[(&str, &str)]) -> Self {
        let upstream = Upstream::start().await;
        let port = |server: &&Server| server.url().rsplit_once(':').expect("a URL with a port").1.to_owned();
        let lines: String = replicas.iter().map(port).map(|port| REPLICA.replace("50051", &port)).collect();
        let (key, target) = (format!("Bearer {ENVOY}"), format!("port_value: {}", upstream.address.port()));
        let ours = [("port_value: 10000", "port_value: 0"), ("port_value: 8080", &target), ("Bearer KEY", &key)];
        let mut bootstrap = EXAMPLE.to_owned();
        for (old, new) in ours.into_iter().chain([(REPLICA, lines.as_str())]).chain(changes.iter().copied()) {
            assert_eq!(bootstrap.matches(old).count(), 1, "the example has it once: {old}");
            bootstrap = bootstrap.replace(old, new);
        }
        let envoy = Envoy::start(&bootstrap).await;
        let address = envoy.listener("ingress").await;
        let this = Self { envoy, address, _upstream: upstream };
        this.has_healthy(replicas.len()).await;
        this
    }

    async fn has_healthy(&self, count: usize) {
        let healthy = async || {
            let found = self.envoy.stat("cluster.tokenward.membership_healthy").await;
            (found == u64::try_from(count).expect("few")).then_some(())
        };
        eventually(&format!("Envoy finds {count} replicas healthy"), healthy).await;
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        get(self.address, path, headers).await
    }

    /// A request with this token.
    async fn bear(&self, path: &str, token: &str) -> Answer {
        self.get(path, &[("authorization", &format!("Bearer {token}"))]).await
    }
}

/// A service that knows its callers, and the door open.
async fn service(on: On, with: With, extra: &[(&str, &str)]) -> (Stack, TempDir) {
    let (dir, settings) = callers();
    let settings: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    (Stack::start_with(on, with, &[&settings[..], &[ENABLED], extra].concat()).await, dir)
}

/// One whose user alice has an attribute.
async fn upsert_alice(client: &Client) {
    let attributes = [("username".to_owned(), "Alice\r\nx-user-id: root".to_owned())].into();
    let alice = User { user_id: "alice".to_owned(), active: true, attributes };
    let request = tokenward::proto::UpsertUserRequest { user: Some(alice), update_mask: None };
    client.users.clone().upsert_user(super::with_key(request, super::ADMIN)).await.expect("a user can be written");
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_lets_a_request_pass_by_its_token_alone_and_says_whose_it_is() {
    assert!(CALLERS.contains("Authorization/Check"), "Envoy may call nothing else");
    let names = ("TOKENWARD_EXT_AUTHZ__ATTRIBUTE_HEADERS", "username=x-user-name");
    let (stack, _dir) = service(On::Sqlite, With::Memory, &[names]).await;
    let client = stack.client();
    upsert_alice(&client).await;
    let proxied = Proxied::start(&[&stack.server], &[]).await;
    let token = issue(&client, "alice", &["read", "list"]).await;

    let bearer = format!("Bearer {}", token.secret);
    let spoofed = [
        ("authorization", bearer.as_str()),
        ("x-user-id", "root"),
        ("X-User-Id", "root"),
        ("x_user_id", "root"),
        ("X-User_Id", "root"),
        ("x-token-id", "root"),
        ("x-token-scopes", "root"),
        ("x-user-name", "root"),
        ("x_user_name", "root"),
        ("x-mine", "mine"),
    ];
    let answer = proxied.get("/", &spoofed).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = &answer.body;
    assert_eq!(header(seen, "x-user-id"), Some("alice"));
    assert_eq!(header(seen, "x-token-id"), Some(&*token.token_id));
    assert_eq!(header(seen, "x-token-scopes"), Some("read list"));
    assert_eq!(header(seen, "x-user-name"), Some("Alice%0D%0Ax-user-id:%20root"));
    assert_eq!(header(seen, "x-mine"), Some("mine"), "other headers go on");
    assert!(!seen.contains(&token.secret) && headers(seen, "authorization").is_empty(), "{seen}");
    let mut lines = seen.lines().filter(|line| !line.starts_with("x-user-name"));
    assert!(lines.all(|line| !line.contains("root")), "{seen}");

    let bob = issue(&client, "bob", &[]).await;
    let bearer = format!("token {}", bob.secret);
    let answer =
        proxied.get("/", &[("authorization", &bearer), ("x-token-scopes", "write"), ("x-user-name", "x")]).await;
    assert_eq!((answer.status, header(&answer.body, "x-user-id")), (200, Some("bob")));
    assert_eq!(headers(&answer.body, "x-token-scopes"), [""; 0], "who has no scopes has none to claim");
    assert_eq!(headers(&answer.body, "x-user-name"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_refuses_every_other_token_with_its_challenge() {
    let (stack, _dir) = service(On::Sqlite, With::Memory, &[]).await;
    let client = stack.client();
    let proxied = Proxied::start(&[&stack.server], &[]).await;
    let invalid = "Bearer realm=\"tokenward\", error=\"invalid_token\"";

    let good = issue(&client, "alice", &["read"]).await.secret;
    assert_eq!(proxied.bear("/", &good).await.status, 200);
    let answer = proxied.bear("/write", &good).await;
    let needed = "Bearer realm=\"tokenward\", error=\"insufficient_scope\", scope=\"write\"";
    assert_eq!((answer.status, answer.header("www-authenticate")), (403, Some(needed)));
    let writer = issue(&client, "alice", &["read", "write"]).await.secret;
    assert_eq!(proxied.bear("/write", &writer).await.status, 200);

    revoke(&client, &good).await;
    let short = IssueTokenRequest { expiration: Some(ttl(Duration::from_millis(200))), ..for_user("alice") };
    let expired = issue_request(&client, short).await.secret;
    let over = async || (proxied.bear("/", &expired).await.status == 401).then_some(());
    eventually("the token has expired", over).await;
    let (unknown, malformed) = ("0".repeat(64), "a".repeat(513));
    for (what, token) in [("revoked", &*good), ("expired", &*expired), ("unknown", &unknown), ("malformed", &malformed)]
    {
        let answer = proxied.bear("/", token).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some(invalid)), "{what}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{what}");
        assert!(!answer.body.contains("x-user-id"), "nothing reached the upstream: {what}");
    }
    let missing = "Bearer realm=\"tokenward\"";
    for headers in [&[][..], &[("authorization", "Basic YTpi")], &[("authorization", writer.as_str())]] {
        let answer = proxied.get("/", headers).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some(missing)), "{headers:?}");
    }
    // Envoy joins the two with a comma.
    let bearer = format!("Bearer {writer}");
    let twice = [("authorization", bearer.as_str()), ("authorization", bearer.as_str())];
    assert_eq!(proxied.get("/", &twice).await.status, 401);
}

/// Envoy's `encode_raw_headers` keeps them apart, except `Authorization`, which it always joins.
#[tokio::test(flavor = "multi_thread")]
async fn envoy_refuses_two_tokens_that_it_keeps_apart() {
    let (stack, _dir) = service(On::Sqlite, With::Memory, &[("TOKENWARD_EXT_AUTHZ__HEADER", "X-Api-Key")]).await;
    let raw = ("transport_api_version: V3", "transport_api_version: V3\n              encode_raw_headers: true");
    let proxied = Proxied::start(&[&stack.server], &[raw]).await;
    let bearer = format!("Bearer {}", issue(&stack.client(), "alice", &[]).await.secret);
    let answer = proxied.get("/", &[("x-api-key", &bearer), ("x_user_id", "root"), ("x-user-id", "root")]).await;
    assert_eq!((answer.status, header(&answer.body, "x-user-id")), (200, Some("alice")));
    assert!(!answer.body.contains("root") && headers(&answer.body, "x-api-key").is_empty(), "{}", answer.body);
    let answer = proxied.get("/", &[("x-api-key", &bearer), ("x-api-key", &bearer)]).await;
    let challenge = "Bearer realm=\"tokenward\", error=\"invalid_request\"";
    assert_eq!((answer.status, answer.header("www-authenticate")), (400, Some(challenge)));
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_lets_nobody_pass_while_nobody_can_tell() {
    let (mut stack, _dir) = service(On::Postgres, With::Memory, &[]).await;
    let token = issue(&stack.client(), "alice", &[]).await.secret;
    // The worst setting that an operator can choose: an error lets requests pass.
    let allow = ("failure_mode_allow: false", "failure_mode_allow: true");
    let open = Proxied::start(&[&stack.server], &[allow]).await;
    let closed = Proxied::start(&[&stack.server], &[]).await;
    assert_eq!(open.bear("/", &token).await.status, 200);

    stack.postgres().relay.inject(Fault::Refuse);
    let refused = async || (open.bear("/", &token).await.status == 503).then_some(());
    eventually("the database is lost", refused).await;
    let answer = open.bear("/", &token).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert_eq!(answer.header("www-authenticate"), None, "nobody says that the token is bad");
    stack.postgres().relay.inject(Fault::None);
    let back = async || (open.bear("/", &token).await.status == 200).then_some(());
    eventually("the database is back", back).await;

    assert_eq!(closed.bear("/", &token).await.status, 200);
    stack.server.kill();
    let answer = closed.bear("/", &token).await;
    assert_eq!(answer.status, 503, "tokenward is gone: {answer:?}");
    assert!(answer.body.is_empty() || !answer.body.contains("GET /"), "nothing reached the upstream");
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_leaves_a_draining_replica_out_before_it_refuses_anything() {
    let long = ("TOKENWARD_SERVER__DRAIN_DELAY", "60s");
    let (stack, _dir) = service(On::Postgres, With::Memory, &[long]).await;
    let other = stack.another_server().await;
    let token = issue(&stack.client(), "alice", &[]).await.secret;
    let proxied = Proxied::start(&[&stack.server, &other], &[]).await;
    other.signal(Signal::SIGTERM);
    let healthy = async || {
        assert_eq!(proxied.bear("/", &token).await.status, 200, "no request is refused meanwhile");
        (proxied.envoy.stat("cluster.tokenward.membership_healthy").await == 1).then_some(())
    };
    eventually("Envoy has left the draining replica out", healthy).await;
    drop(other);
    for _ in 0..10 {
        assert_eq!(proxied.bear("/", &token).await.status, 200, "the other answers");
    }
}
