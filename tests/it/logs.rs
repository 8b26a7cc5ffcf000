//! What is logged: the id of the request on each of its lines, and as much as the settings say now.

use std::fs;

use nix::sys::signal::Signal;
use tonic::{Code, Request};

use crate::harness::{
    client::about,
    eventually::eventually,
    relay::Fault,
    server::{Server, directory, setting},
    stack::{On, Stack, With},
};

/// A question with an id.
fn named(id: &str) -> Request<tokenward::proto::AuthenticateRequest> {
    let mut request = Request::new(about(&"0".repeat(64)));
    request.metadata_mut().insert("x-request-id", id.parse().expect("plain text"));
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_a_request_has_its_id_and_so_has_the_answer() {
    let settings = [
        ("TOKENWARD_LOG__LEVEL", "tokenward=debug"),
        ("TOKENWARD_LOG__FORMAT", "json"),
        ("TOKENWARD_CACHE__NEGATIVE_TTL", "0s"),
    ];
    let mut stack = Stack::start_with(On::Postgres, With::Memory, &settings).await;
    let mut tokens = stack.client().tokens.clone();
    let answer = tokens.authenticate(named("of-a-good-one")).await.expect("the service can tell");
    assert_eq!(answer.metadata().get("x-request-id").expect("it is told"), "of-a-good-one");
    let unnamed = tokens.authenticate(about("0")).await.expect("the service can tell");
    assert!(unnamed.metadata().get("x-request-id").is_none(), "nobody asked");

    stack.postgres().relay.inject(Fault::Refuse);
    let failed = tokens.authenticate(named("of-a-bad-one")).await.expect_err("nobody can tell");
    assert_eq!(failed.code(), Code::Unavailable);
    assert_eq!(failed.metadata().get("x-request-id").expect("it is told"), "of-a-bad-one");
    let made = tokens.authenticate(about(&"1".repeat(64))).await.expect_err("nobody can tell");
    let made = made.metadata().get("x-request-id").expect("a failure has one").to_str().expect("text").to_owned();
    let lines = async || {
        let output = stack.server.output();
        let of = |id: &str| output.lines().any(|line| line.contains(&format!("\"request_id\":\"{id}\"")));
        (of("of-a-bad-one") && of(&made)).then_some(output)
    };
    let output = eventually("the failures are logged", lines).await;
    for line in output.lines().filter(|line| line.contains("request_id")) {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["request_id"].is_string() && line["message"].is_string(), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_level_is_what_the_file_says_at_sighup_and_a_faulty_file_changes_nothing() {
    let dir = directory();
    let path = dir.path().join("tokenward.toml");
    let write = |level: &str| fs::write(&path, format!("[log]\nlevel = \"{level}\"\n")).expect("it is writable");
    write("warn");
    let settings = vec![setting("TOKENWARD_CONFIG", path.to_str().expect("text"))];
    let server = Server::start_in(dir, &settings).await;
    let says = |text: &str| server.output().contains(text);
    let hangup = async |text: &str| {
        server.signal(Signal::SIGHUP);
        eventually(text, async || says(text).then_some(())).await;
    };
    assert!(!says("listening\"") && !says(" INFO "), "{}", server.output());
    write("tokenward=debug");
    hangup("log.level has changed").await;
    server.client().revoke(&"0".repeat(64)).await;
    server.client().try_issue(tokenward::proto::IssueTokenRequest::default()).await.expect_err("without a user");
    eventually("debug lines", async || says("DEBUG").then_some(())).await;
    write("tokenward=loud");
    hangup("log.level stays as it was").await;
}
