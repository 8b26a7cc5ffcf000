//! The outcome table: what a token's state answers, and every status with its reason.

use std::time::Duration;

use futures::future::join_all;
use prost::Message as _;
use tokenward::proto::{
    AnswerSource, AuthenticateRequest, GetTokenRequest, GetUserRequest, InactiveReason, IssueTokenRequest, User,
};
use tonic::{Code, Status};

use crate::harness::{
    client::{Client, Refusal, about, for_user, ttl},
    eventually::eventually,
    http::get,
    raw::Call,
    relay::Fault,
    stack::{On, Stack, With},
};

const AUTHENTICATE: &str = "/tokenward.v1.TokenService/Authenticate";

/// Code, reason, and what else must be said.
fn assert_refused(what: &str, status: &Status, code: Code, reason: &str) -> Refusal {
    let refusal = Refusal::of(status);
    assert_eq!(refusal.kind(), (code, reason), "{what}");
    refusal
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_token_is_is_an_answer_under_ok_with_its_reason() {
    let stack = Stack::start(On::Sqlite, With::Memory).await;
    let client = stack.client();
    let reader = IssueTokenRequest { scopes: vec!["read".to_owned()], ..for_user("scoped") };
    let limited = client.try_issue(reader).await.expect("a token can be issued").secret;
    let brief = IssueTokenRequest { expiration: Some(ttl(Duration::from_millis(1))), ..for_user("brief") };
    let expired = client.try_issue(brief).await.expect("a token can be issued").secret;
    let revoked = client.issue("leaver").await.secret;
    client.revoke(&revoked).await;
    let disabled = client.issue("disabled").await.secret;
    client.upsert_user(User { user_id: "disabled".to_owned(), ..User::default() }).await;
    let ended = async || (client.reason(&expired).await == InactiveReason::Expired).then_some(());
    eventually("the brief token has expired", ended).await;

    let scopes = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    for (what, secret, required, reason) in [
        ("active", limited.clone(), scopes(&["read"]), InactiveReason::Unspecified),
        ("too long", "x".repeat(513), scopes(&[]), InactiveReason::Malformed),
        ("unknown", "0".repeat(64), scopes(&[]), InactiveReason::Unknown),
        ("expired", expired, scopes(&[]), InactiveReason::Expired),
        ("revoked", revoked, scopes(&[]), InactiveReason::Revoked),
        ("user disabled", disabled, scopes(&[]), InactiveReason::UserDisabled),
        ("scope missing", limited.clone(), scopes(&["read", "write"]), InactiveReason::ScopeMissing),
        ("upper case", limited.to_uppercase(), scopes(&[]), InactiveReason::Unknown),
    ] {
        // Twice: the second answer may come from a cache, and must be the same.
        for _ in 0..2 {
            let request = AuthenticateRequest { required_scopes: required.clone(), ..about(&secret) };
            let answer = client.try_authenticate(request).await.expect("a token's state is no error");
            assert_eq!(answer.inactive_reason(), reason, "{what}");
            assert_eq!(answer.active, reason == InactiveReason::Unspecified, "{what}");
            assert_eq!((answer.token.is_some(), answer.user.is_some()), (answer.active, answer.active), "{what}");
            let by_format = answer.source() == AnswerSource::TokenFormat;
            assert_eq!(by_format, reason == InactiveReason::Malformed, "{what}");
            assert!(answer.source() != AnswerSource::Unspecified, "{what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_code_and_reason() {
    let settings = [("TOKENWARD_TOKENS__LIMIT_PER_USER", "1"), ("TOKENWARD_USERS__CREATE_ON_ISSUE", "false")];
    let stack = Stack::start_with(On::Sqlite, With::Memory, &settings).await;
    let client = stack.client();
    client.upsert_user(User { user_id: "one".to_owned(), active: true, ..User::default() }).await;
    let first = IssueTokenRequest { request_id: "0b8e4dc4-9e4f-4d1c-8b8f-1d2c3b4a5968".to_owned(), ..for_user("one") };
    client.try_issue(first.clone()).await.expect("the first is within the limit");

    let over = client.try_issue(for_user("one")).await.expect_err("over the limit");
    assert_refused("over the limit", &over, Code::ResourceExhausted, "TOKEN_LIMIT_REACHED");
    let reused = IssueTokenRequest { display_name: "another".to_owned(), ..first };
    let reused = client.try_issue(reused).await.expect_err("another body");
    assert_refused("request_id reused", &reused, Code::AlreadyExists, "REQUEST_ID_REUSED");
    let stranger = client.try_issue(for_user("stranger")).await.expect_err("users are not created on issue here");
    assert_refused("unknown user", &stranger, Code::NotFound, "NOT_FOUND");
    let user = client.users.clone().get_user(GetUserRequest { user_id: "stranger".to_owned() }).await;
    assert_refused("no such user", &user.expect_err("no such user"), Code::NotFound, "NOT_FOUND");
    let token = client.admin.clone().get_token(GetTokenRequest { token_id: "0".repeat(32) }).await;
    assert_refused("no such token", &token.expect_err("no such token"), Code::NotFound, "NOT_FOUND");
    let empty = client.try_authenticate(about("")).await.expect_err("the token is required");
    let empty = assert_refused("no token", &empty, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(empty.fields, ["token"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_that_is_not_there_is_unimplemented() {
    let stack = Stack::start(On::Sqlite, With::Memory).await;
    for method in ["/tokenward.v1.TokenService/Mint", "/tokenward.v2.TokenService/Authenticate", "/nonsense"] {
        let status = Call::new(method, []).send(stack.server.url()).await;
        assert_refused(method, &status, Code::Unimplemented, "METHOD_UNKNOWN");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_takes_too_long_ends_at_the_shorter_deadline() {
    let settings = [
        ("TOKENWARD_SERVER__REQUEST_TIMEOUT", "300ms"),
        ("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "5s"),
        ("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "5s"),
    ];
    let mut stack = Stack::start_with(On::Postgres, With::Memory, &settings).await;
    let secret = stack.client().issue("waiting").await.secret;
    stack.postgres().relay.inject(Fault::Stall);
    let body = AuthenticateRequest { consistency: 3, ..about(&secret) }.encode_to_vec();
    let url = stack.server.url();
    let ours = Call::new(AUTHENTICATE, body.clone()).send(url).await;
    assert_refused("the server's deadline", &ours, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    let theirs = Call::new(AUTHENTICATE, body).header("grpc-timeout", "50m").send(url).await;
    assert_refused("the client's deadline", &theirs, Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
    stack.postgres().relay.inject(Fault::None);
    let client = stack.client();
    eventually("it answers again", async || client.try_authenticate(about(&secret)).await.ok()).await;
}

/// Two settings bound the work under way; beyond either, a caller is told when to come back.
#[tokio::test(flavor = "multi_thread")]
async fn beyond_its_bounds_load_is_shed_with_the_time_to_retry() {
    for (bound, counted_as) in [
        ("TOKENWARD_SERVER__MAX_CONCURRENT_REQUESTS", "tokenward_caller_rejected_total{reason=\"overloaded\"}"),
        (
            "TOKENWARD_DATABASE__MAX_CONCURRENT_LOOKUPS",
            "tokenward_authentications_total{result=\"unanswered\",source=\"none\"}",
        ),
    ] {
        // The longest that a look-up may take is what its caller waits for here.
        let settings =
            [(bound, "1"), ("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "3s"), ("TOKENWARD_HTTP__LISTEN", "127.0.0.1:0")];
        let mut stack = Stack::start_with(On::Postgres, With::Memory, &settings).await;
        let client = stack.client();
        let (slow, next) = (client.issue("first").await.secret, client.issue("second").await.secret);
        stack.postgres().relay.inject(Fault::Stall);
        // On a connection of its own.
        let other = stack.server.new_connection().await.expect("the service accepts");
        let waiting = tokio::spawn(keep_asking(other, slow));
        let shed = async || {
            let status = client.try_authenticate(about(&next)).await.expect_err("the database is stalled");
            let refusal = Refusal::of(&status);
            (refusal.reason == "OVERLOADED").then_some(refusal)
        };
        let refusal = eventually("load is shed", shed).await;
        assert_eq!(refusal.code, Code::Unavailable, "{bound}");
        assert!(refusal.retry_after.is_some_and(|after| !after.is_zero()), "{bound}: {refusal:?}");
        assert!(client.check("").await.is_ok(), "{bound}: health answers while load is shed");
        let scrape = get(&stack.server.http(), "/metrics").await.body;
        let counted = scrape.lines().find_map(|line| line.strip_prefix(counted_as)?.trim().parse().ok());
        assert!(counted.is_some_and(|count: f64| count >= 1.0), "{counted_as}: {counted:?}");
        stack.postgres().relay.inject(Fault::None);
        waiting.await.expect("the first caller is answered");
        eventually("the second is served", async || client.try_authenticate(about(&next)).await.ok()).await;
    }
}

/// HTTP/2 counts streams that end before their request was read, and takes many for an attack.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_shed_ten_thousand_times_keeps_its_connection() {
    let settings =
        [("TOKENWARD_SERVER__MAX_CONCURRENT_REQUESTS", "1"), ("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "3s")];
    let mut stack = Stack::start_with(On::Postgres, With::Memory, &settings).await;
    let client = stack.client();
    let (slow, next) = (client.issue("first").await.secret, client.issue("second").await.secret);
    stack.postgres().relay.inject(Fault::Stall);
    let other = stack.server.new_connection().await.expect("the service accepts");
    let waiting = tokio::spawn(keep_asking(other, slow));
    for _ in 0..200 {
        let refused = join_all((0..50).map(|_| client.try_authenticate(about(&next)))).await;
        for status in refused {
            let refusal = Refusal::of(&status.expect_err("the database is stalled"));
            assert_eq!(refusal.code, Code::Unavailable, "{refusal:?}");
        }
    }
    stack.postgres().relay.inject(Fault::None);
    waiting.await.expect("the first caller is answered");
}

/// Keeps one call under way for as long as the database is stalled.
async fn keep_asking(client: Client, secret: String) {
    // A refusal because another call has the place comes at once: not too often.
    while client.try_authenticate(about(&secret)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_database_nothing_is_called_inactive() {
    let mut stack = Stack::start(On::Postgres, With::Memory).await;
    let client = stack.client();
    let cold = client.issue("cold").await.secret;
    stack.postgres().server.kill();
    for secret in [cold.as_str(), &"0".repeat(64)] {
        let status = client.try_authenticate(about(secret)).await.expect_err("nobody can tell");
        assert_refused("cold or unknown", &status, Code::Unavailable, "STORE_UNAVAILABLE");
    }
    let malformed = client.authenticate(&"x".repeat(513)).await;
    assert_eq!(malformed.inactive_reason(), InactiveReason::Malformed, "this needs no database");
    let issue = client.try_issue(for_user("cold")).await.expect_err("nowhere to write");
    assert_refused("issue", &issue, Code::Unavailable, "STORE_UNAVAILABLE");
    let target = tokenward::proto::revoke_request::Target::Token(cold);
    let revoke = client.try_revoke(target).await.expect_err("nowhere to write");
    assert_refused("revoke", &revoke, Code::Unavailable, "STORE_UNAVAILABLE");
    let user = client.users.clone().get_user(GetUserRequest { user_id: "cold".to_owned() }).await;
    assert_refused("get user", &user.expect_err("nobody can tell"), Code::Unavailable, "STORE_UNAVAILABLE");
}
