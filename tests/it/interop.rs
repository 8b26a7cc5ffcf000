//! Clients that are not ours: grpcio for Python, with its health and reflection packages,
//! and buf.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use serde_json::{Value, json};

use crate::harness::{
    eventually::report,
    python::environment,
    stack::{On, Stack, With},
};

const REQUIREMENTS: &str = include_str!("interop/requirements.txt");

const REFLECTION: [(&str, &str); 1] = [("TOKENWARD_SERVER__REFLECTION", "true")];

/// The programs of the clients' Python environment.
fn programs() -> PathBuf {
    environment("interop", REQUIREMENTS)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn contract() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("proto")
}

/// Runs without blocking the relay and the watchers of the test.
async fn run(mut command: Command, input: Vec<u8>) -> Output {
    let running = tokio::task::spawn_blocking(move || {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().expect("standard input is a pipe").write_all(&input)?;
        child.wait_with_output()
    });
    running.await.expect("it does not panic").expect("an installed program starts")
}

fn buf() -> Command {
    let mut buf = Command::new(programs().join("buf"));
    buf.env("BUF_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("buf-cache"));
    buf.current_dir(env!("CARGO_MANIFEST_DIR"));
    buf
}

#[tokio::test(flavor = "multi_thread")]
async fn python_works_with_stubs_from_the_contract_and_by_reflection() {
    let stack = Stack::start_with(On::Sqlite, With::Memory, &REFLECTION).await;
    let mut python = Command::new(programs().join("python"));
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/interop/client.py"));
    python.arg(stack.server.url().trim_start_matches("http://")).arg(contract());
    let output = run(python, Vec::new()).await;
    report(&text(&output));
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(text(&output).lines().filter(|line| line.starts_with("ok: ")).count(), 6, "every claim was looked at");
}

async fn curl(url: &str, method: &str, reflection: &str, request: Value) -> Result<Value, String> {
    let mut command = buf();
    command.args(["curl", "--protocol", "grpc", "--http2-prior-knowledge", "--reflect-protocol", reflection]);
    command.args(["--data", "@-"]).arg(format!("{url}/{method}"));
    let output = run(command, request.to_string().into_bytes()).await;
    if !output.status.success() {
        return Err(text(&output));
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(&output))))
}

#[tokio::test(flavor = "multi_thread")]
async fn buf_curl_finds_its_way_by_both_versions_of_reflection() {
    let stack = Stack::start_with(On::Sqlite, With::Memory, &REFLECTION).await;
    let issued = stack.client().issue("buf").await;
    for reflection in ["grpc-v1", "grpc-v1alpha"] {
        let authenticate = "tokenward.v1.TokenService/Authenticate";
        let call = async |request| curl(stack.server.url(), authenticate, reflection, request).await;
        let answer = call(json!({ "token": issued.secret })).await.expect("the token is active");
        assert_eq!((&answer["active"], &answer["user"]["userId"]), (&json!(true), &json!("buf")), "{answer}");
        let answer = call(json!({ "token": "0".repeat(64) })).await.expect("an unknown token is an answer");
        assert_eq!(answer["inactiveReason"], "INACTIVE_REASON_UNKNOWN", "{answer}");
        let refusal = call(json!({})).await.expect_err("the token is required");
        assert!(refusal.contains("invalid_argument") && refusal.contains("google.rpc.ErrorInfo"), "{refusal}");
        let health = curl(stack.server.url(), "grpc.health.v1.Health/Check", reflection, json!({})).await;
        assert_eq!(health.expect("health is described too")["status"], "SERVING");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_passes_buf_lint_and_keeps_its_promises() {
    let mut check = Command::new("scripts/proto");
    check.current_dir(env!("CARGO_MANIFEST_DIR")).env("BUF", programs().join("buf"));
    check.env("BUF_CACHE_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).join("buf-cache"));
    let output = run(check, Vec::new()).await;
    report(&text(&output));
    assert!(output.status.success(), "{}", text(&output));
}
