//! `POST /introspect` and `POST /revoke`, field by field of RFC 7662 and RFC 7009.

use std::{collections::BTreeSet, net::SocketAddr, path::Path, process::Command, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenward::proto::{IssueTokenRequest, User};

use super::{
    ADMIN, CALLERS, ENABLED, ENVOY, callers,
    ext_authz::{asked, check},
    http::{Answer, send},
    issue, issue_request, revoke, with_key,
};
use crate::{
    harness::{
        client::{about, for_user, now, ttl},
        eventually::{eventually, report},
        http::get,
        otlp::Collector,
        python::environment,
        relay::Fault,
        stack::{On, Stack, With},
        template,
    },
    traces::{PARENT, TRACE, span_below, span_of},
};

const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
const DOOR: [(&str, &str); 4] = [
    ("TOKENWARD_HTTP__LISTEN", "127.0.0.1:0"),
    ("TOKENWARD_INTROSPECTION__ENABLED", "true"),
    ("TOKENWARD_INTROSPECTION__ISSUER", "https://tokens.example.org"),
    ("TOKENWARD_INTROSPECTION__AUDIENCE", "api,web"),
];
const REQUIREMENTS: &str = "Authlib~=1.6\nrequests~=2.32\n";

/// A service that knows its callers, and where it answers by HTTP.
async fn service(on: On) -> (Stack, SocketAddr, TempDir) {
    service_with(on, &[]).await
}

async fn service_with(on: On, more: &[(&str, &str)]) -> (Stack, SocketAddr, TempDir) {
    let (dir, settings) = callers();
    let settings: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let stack = Stack::start_with(on, With::Memory, &[&settings[..], &DOOR, more].concat()).await;
    let address = stack.server.http().trim_start_matches("http://").parse().expect("it says where it listens");
    (stack, address, dir)
}

fn basic(name: &str, key: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{name}:{key}")))
}

async fn ask(address: SocketAddr, token: &str) -> Answer {
    let credential = basic("admin", ADMIN);
    send(address, "POST", "/introspect", &[FORM, ("authorization", &credential)], &format!("token={token}")).await
}

/// The answer's JSON, and what RFC 7662, section 2.2, says of its form.
fn answered(answer: &Answer) -> Value {
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"), "section 4: nobody on the way keeps it");
    serde_json::from_str(&answer.body).expect("the body is JSON")
}

/// The sum of the samples of `/metrics` that begin so.
async fn counted(stack: &Stack, head: &str) -> u64 {
    let page = get(&stack.server.http(), "/metrics").await.body;
    let values = page.lines().filter_map(|line| line.strip_prefix(head)?.rsplit_once(' '));
    values.map(|(_, value)| value.parse::<u64>().expect("it is a whole number")).sum()
}

async fn judged(stack: &Stack, result: &str) -> u64 {
    counted(stack, &format!("tokenward_authentications_total{{result=\"{result}\"")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_each_door_judges_and_whom_it_refuses_is_counted() {
    let (stack, address, _dir) = service_with(On::Sqlite, &[ENABLED]).await;
    let client = stack.client();
    let token = issue(&client, "alice", &[]).await.secret;
    let unknown = "0".repeat(64);
    for (secret, result) in [(&token, "active"), (&unknown, "unknown")] {
        assert_eq!(judged(&stack, result).await, 0);
        answered(&ask(address, secret).await);
        assert_eq!(judged(&stack, result).await, 1, "/introspect: {result}");
        check(&client, ENVOY, asked(secret, &[])).await.expect("an answer");
        assert_eq!(judged(&stack, result).await, 2, "Check: {result}");
    }
    assert_eq!(counted(&stack, "tokenward_authentications_total").await, 4, "each of them once");
    for (credential, reason) in [(basic("admin", ENVOY), "unauthenticated"), (basic("envoy", ENVOY), "not_allowed")] {
        for (path, refused) in [("/introspect", 1), ("/revoke", 2)] {
            let headers = [FORM, ("authorization", &*credential)];
            send(address, "POST", path, &headers, &format!("token={token}")).await;
            let head = format!("tokenward_caller_rejected_total{{reason=\"{reason}\"");
            assert_eq!(counted(&stack, &head).await, refused, "{path}: {reason}");
        }
    }
    assert_eq!(counted(&stack, "tokenward_authentications_total").await, 4, "nobody else was answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_traced_below_its_traceparent() {
    let collector = Collector::start().await;
    let url = collector.url();
    let traces = [("TOKENWARD_TRACES__ENDPOINT", &*url), ("TOKENWARD_TRACES__RATIO", "0")];
    let (stack, address, _dir) = service_with(On::Sqlite, &traces).await;
    let token = issue(&stack.client(), "alice", &[]).await.secret;
    let (credential, traceparent) = (basic("admin", ADMIN), format!("00-{TRACE}-{PARENT}-01"));
    for path in ["/introspect", "/revoke"] {
        let headers = [FORM, ("authorization", &*credential), ("traceparent", &traceparent)];
        let answer = send(address, "POST", path, &headers, &format!("token={token}")).await;
        let named = span_of(answer.header("traceresponse").expect("it is told"));
        let span = span_below(&collector, &format!("POST {path}")).await;
        assert_eq!((answer.status, hex::encode(&span.span_id)), (200, named));
        assert!(collector.spans().iter().any(|it| it.parent_span_id == span.span_id), "the database was asked: {path}");
        assert!(ask(address, &token).await.header("traceresponse").is_none(), "it is not traced");
    }
    assert!(!collector.text().contains(&token));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_active_token_is_described_field_by_field() {
    let (stack, address, _dir) = service(On::Sqlite).await;
    let client = stack.client();
    let attributes = [("username".to_owned(), "Alice A.".to_owned())].into();
    let user = Some(User { user_id: "alice".to_owned(), active: true, attributes });
    let request = tokenward::proto::UpsertUserRequest { user, update_mask: None };
    client.users.clone().upsert_user(with_key(request, ADMIN)).await.expect("a user can be written");
    let hour = ttl(Duration::from_hours(1));
    let scopes = ["read", "write"].map(str::to_owned).to_vec();
    let request = IssueTokenRequest { scopes, expiration: Some(hour), ..for_user("alice") };
    let token = issue_request(&client, request).await;

    let claims = answered(&ask(address, &token.secret).await);
    assert_eq!(claims["active"], true);
    assert_eq!(claims["scope"], "read write", "a string with spaces between scopes");
    assert_eq!(claims["username"], "Alice A.");
    assert_eq!(claims["token_type"], "Bearer", "RFC 6749, section 5.1");
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["aud"], json!(["api", "web"]));
    assert_eq!(claims["iss"], "https://tokens.example.org");
    assert_eq!(claims["jti"], *token.token_id);
    let (iat, exp) = (claims["iat"].as_i64().expect("a whole number"), claims["exp"].as_i64().expect("a whole number"));
    assert_eq!(exp - iat, 3600);
    #[expect(clippy::cast_precision_loss, reason = "a second of this century fits")]
    let age = now() - iat as f64;
    assert!((-5.0..60.0).contains(&age), "{age}");
    let names: BTreeSet<_> = claims.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = ["active", "aud", "exp", "iat", "iss", "jti", "scope", "sub", "token_type", "username"];
    assert_eq!(names, BTreeSet::from(expected), "and nothing else");

    // What a token lacks is absent, and neither null nor empty.
    let claims = answered(&ask(address, &issue(&client, "bob", &[]).await.secret).await);
    assert!(claims.get("scope").is_none() && claims.get("username").is_none(), "{claims}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_token_that_is_not_active_nothing_else_is_said() {
    let (stack, address, _dir) = service(On::Sqlite).await;
    let client = stack.client();
    let (revoked, disabled) = (issue(&client, "alice", &[]).await.secret, issue(&client, "bob", &[]).await.secret);
    revoke(&client, &revoked).await;
    let user = Some(User { user_id: "bob".to_owned(), active: false, ..User::default() });
    let request = tokenward::proto::UpsertUserRequest { user, update_mask: None };
    client.users.clone().upsert_user(with_key(request, ADMIN)).await.expect("a user can be written");
    let short = IssueTokenRequest { expiration: Some(ttl(Duration::from_millis(1))), ..for_user("alice") };
    let expired = issue_request(&client, short).await.secret;
    eventually("the token has expired", async || {
        (answered(&ask(address, &expired).await)["active"] == false).then_some(())
    })
    .await;
    let (unknown, long) = ("0".repeat(64), "a".repeat(513));
    for token in [&*revoked, &disabled, &expired, &unknown, &long, "a%00b", "%C3%A9", "a+b"] {
        assert_eq!(answered(&ask(address, token).await), json!({ "active": false }), "{token}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_callers_that_may_authenticate_are_told() {
    let (stack, address, _dir) = service(On::Sqlite).await;
    let body = format!("token={}&token_type_hint=access_token", issue(&stack.client(), "alice", &[]).await.secret);
    let with = async |credential: &str| {
        let headers = [FORM, ("authorization", credential)];
        send(address, "POST", "/introspect", if credential.is_empty() { &headers[..1] } else { &headers }, &body).await
    };
    for credential in [basic("admin", ADMIN), format!("Bearer {ADMIN}"), format!("bearer {ADMIN}")] {
        assert_eq!(answered(&with(&credential).await)["active"], true, "{credential}");
    }
    for credential in [
        String::new(),
        ADMIN.to_owned(),
        "Basic".to_owned(),
        "Basic !".to_owned(),
        basic("admin", &"0".repeat(48)),
        basic("envoy", ADMIN),
        basic("", ADMIN),
        format!("Token {ADMIN}"),
        format!("Bearer {}", "0".repeat(48)),
    ] {
        let answer = with(&credential).await;
        assert_eq!(answer.status, 401, "{credential}: {answer:?}");
        let challenges = answer.headers("www-authenticate");
        assert_eq!(challenges, ["Basic realm=\"tokenward\"", "Bearer realm=\"tokenward\""], "{credential}");
        assert!(answer.body.contains("invalid_client") && !answer.body.contains("active"), "{credential}");
    }
    assert!(CALLERS.contains("Authorization/Check"));
    for credential in [basic("envoy", ENVOY), format!("Bearer {ENVOY}")] {
        let answer = with(&credential).await;
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(!answer.body.contains("active"), "{answer:?}");
    }
    // Metrics and probes stay open.
    assert_eq!(send(address, "GET", "/livez", &[], "").await.status, 200);
    assert!(!stack.server.output().contains(ADMIN), "no key is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_form_with_one_token_is_refused() {
    let (_stack, address, _dir) = service(On::Sqlite).await;
    let credential = basic("admin", ADMIN);
    let authorization = ("authorization", credential.as_str());
    for path in ["/introspect", "/revoke"] {
        let long = format!("token={}", "a".repeat(100_000));
        for (status, kind, body) in [
            (400, FORM.1, "token_type_hint=access_token"),
            (400, FORM.1, "token="),
            (400, FORM.1, "token=a&token=b"),
            (415, "application/json", "{\"token\": \"a\"}"),
            (415, "text/plain", "token=a"),
            (413, FORM.1, &*long),
        ] {
            let answer = send(address, "POST", path, &[("content-type", kind), authorization], body).await;
            assert_eq!(answer.status, status, "{path} {kind} {body:.40}: {answer:?}");
            let error: Value = serde_json::from_str(&answer.body).expect("the body is JSON");
            assert_eq!(error["error"], "invalid_request");
        }
        let answer = send(address, "POST", &format!("{path}?token=a"), &[FORM, authorization], "x=y").await;
        assert_eq!(answer.status, 400, "a token in the URL would be logged on the way: {answer:?}");
        for method in ["GET", "PUT", "DELETE"] {
            let answer = send(address, method, &format!("{path}?token=a"), &[authorization], "").await;
            assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method} {path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_told_that_a_token_is_inactive_because_it_is_not_known() {
    let (mut stack, address, _dir) = service(On::Postgres).await;
    let token = issue(&stack.client(), "alice", &[]).await.secret;
    stack.postgres().relay.inject(Fault::Refuse);
    let answer = eventually("the database is lost", async || {
        let answer = ask(address, &token).await;
        (answer.status != 200).then_some(answer)
    });
    let answer = answer.await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert!(judged(&stack, "unanswered").await >= 1, "it counts all the same");
    assert!(!answer.body.contains("active"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_revoked_for_every_door() {
    let (stack, address, _dir) = service(On::Sqlite).await;
    let client = stack.client();
    let token = issue(&client, "alice", &[]).await.secret;
    let (admin, envoy) = (basic("admin", ADMIN), basic("envoy", ENVOY));
    let end = async |credential: &str, token: &str| {
        let headers = [FORM, ("authorization", credential)];
        send(address, "POST", "/revoke", &headers, &format!("token={token}")).await.status
    };
    assert_eq!(end("Basic", &token).await, 401);
    assert_eq!(end(&envoy, &token).await, 403);
    assert_eq!(answered(&ask(address, &token).await)["active"], true);
    for secret in [&*token, &*token, "unknown", "%00"] {
        assert_eq!(end(&admin, secret).await, 200, "RFC 7009, section 2.2: what is no token has ended already");
    }
    assert_eq!(answered(&ask(address, &token).await), json!({ "active": false }));
    let answer =
        client.tokens.clone().authenticate(with_key(about(&token), ADMIN)).await.expect("an answer").into_inner();
    assert!(!answer.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_and_a_stock_oauth_library_agree() {
    let (stack, _address, _dir) = service(On::Sqlite).await;
    let token = issue(&stack.client(), "alice", &["read"]).await.secret;
    let url = stack.server.http();
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--user", &format!("admin:{ADMIN}"), "--data-urlencode"]);
    curl.arg(format!("token={token}")).arg(format!("{url}/introspect"));
    let answer: Value = serde_json::from_str(&template::run(&mut curl)).expect("JSON");
    assert_eq!((&answer["active"], &answer["sub"]), (&json!(true), &json!("alice")));

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/doors/introspect.py");
    let mut python = Command::new(environment("oauth", REQUIREMENTS).join("python"));
    python.arg(script).args([&url, "admin", ADMIN, &token]);
    let shown = tokio::task::spawn_blocking(move || template::run(&mut python)).await.expect("it ends well");
    report(&shown);
    assert_eq!(shown.lines().filter(|line| line.starts_with("ok: ")).count(), 3, "every claim was looked at");
}
