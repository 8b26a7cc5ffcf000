//! Every scenario that the other tests do not run, each for a moment, with what only it reports.

use std::{path::Path, process::Output};

use serde_json::Value;

use super::{PATIENT, bench, bench_for_people, number, report};
use crate::harness::server::{Server, directory, tokenward};

/// What no moment on any machine excuses: a wrong answer.
fn is_sound(output: &Output) -> Value {
    let report = report(output);
    assert!(output.status.success(), "{report}");
    assert!(number(&report, "wrong") < 0.5, "{report}");
    assert!(number(&report, "checks") > 0.0, "{report}");
    report
}

async fn measured(scenario: &str, duration: &str, more: &[&str]) -> Value {
    let dir = directory();
    let args = ["--scenario", scenario, "--duration", duration];
    is_sound(&bench(dir.path(), &[&args[..], more].concat()).await)
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).expect("it is text")
}

#[tokio::test(flavor = "multi_thread")]
async fn misses_and_revocations_reach_the_database() {
    let miss = measured("miss", "500ms", &[]).await;
    let checks = number(&miss, "checks");
    assert!((number(&miss, "sources/database") - checks).abs() < 0.5, "no token is asked about twice: {miss}");
    let mixed = measured("mixed", "3s", &[]).await;
    for kind in ["known", "fresh", "revoke", "ended"] {
        assert!(number(&mixed, &format!("kinds/{kind}/checks")) > 0.0, "{kind}: {mixed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_in_the_process_ask_nobody() {
    let near = measured("near-hit", "500ms", &["--set", "coherence.max_staleness=20s"]).await;
    assert!(number(&near, "sources/local_cache") > number(&near, "checks") * 0.9, "{near}");
    let cold = measured("cold-start", "1s", &[]).await;
    assert!(number(&cold, "startup_ms") > 0.0, "{cold}");
    assert!(number(&cold, "sources/database") > 0.0, "nothing was in Redis: {cold}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_leaves_the_database() {
    let hung = measured("redis-hang", "3s", &PATIENT).await;
    assert!(number(&hung, "sources/database") > 0.0 && number(&hung, "sources/shared_cache") > 0.0, "{hung}");
    assert!(number(&hung, "fault/during_per_second") > 0.0, "{hung}");
    assert!(number(&hung, "failed") < 0.5, "{hung}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_killed_leaves_redis() {
    let dead = measured("db-kill", "3s", &[]).await;
    assert!(number(&dead, "fault/restart_ms") > 0.0, "{dead}");
    assert!(number(&dead, "fault/during_per_second") > 0.0, "{dead}");
    // Its counter outlives it.
    assert!(number(&dead, "sql_per_second") > 0.0, "{dead}");
}

#[tokio::test(flavor = "multi_thread")]
async fn growth_has_steps_and_a_spread_that_can_be_bounded() {
    let dir = directory();
    let bounds = dir.path().join("thresholds.toml");
    let file = "[growth]\n\"growth.memory_spread\" = { min = 1 }\n\"growth.cpu_spread\" = { min = 1, max = 1000 }\n";
    std::fs::write(&bounds, file).expect("writable");
    let bounds = bounds.to_str().expect("a path");
    let args = ["--scenario", "growth", "--rows", "1000", "--duration", "500ms", "--thresholds", bounds];
    let growth = is_sound(&bench(dir.path(), &args).await);
    let steps = growth["runs"][0]["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 6, "one of hits, and five while tokens pass: {growth}");
    assert_eq!((&steps[5]["rows"], &steps[5]["passed"]), (&1000.into(), &1000.into()), "{growth}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_program_is_measured_in_turns_and_shown_beside_ours() {
    let dir = directory();
    let other =
        tokenward(dir.path(), &vec![]).get_program().to_string_lossy().into_owned() + " serve --listen 127.0.0.1:0";
    let args = ["--scenario", "hot-token", "--duration", "300ms", "--calls", "1", "--rounds", "2", "--against", &other];
    let table = text(&bench_for_people(dir.path(), &args).await);
    assert!(table.starts_with("hot-token: 2 connections, 1 calls under way, 1 tokens"), "{table}");
    let line =
        |name: &str| table.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {table}"));
    assert_eq!(line("wrong").split_whitespace().collect::<Vec<_>>(), ["wrong", "0", "0"]);
    assert_eq!(line("checks/s of rounds").split_whitespace().count(), 3 + 2 * 2, "{table}");
    assert!(line("the first by the second").contains("checks/s "), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_tokens_is_told_apart() {
    let dir = directory();
    let args = ["--scenario", "unknown-flood", "--duration", "500ms"];
    let table = text(&bench_for_people(dir.path(), &args).await);
    assert!(table.contains(": unknown: ") && table.contains(": known: "), "{table}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_calls_than_the_connections_take_are_refused() {
    let dir = directory();
    let refused = bench(dir.path(), &["--calls", "9"]).await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("at most 8"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_is_measured_and_left_without_tokens() {
    let server = Server::start(&vec![]).await;
    let dir = directory();
    let args = ["--connections", "2", "--in-flight", "2", "--tokens", "20", "--users", "2", "--zipf", "1.1"];
    let mut command = tokenward(dir.path(), &vec![]);
    command.args(["bench", "--address", server.url(), "--duration", "300ms", "--warmup", "0s"]).args(args);
    let running = tokio::task::spawn_blocking(move || command.output());
    let table = text(&running.await.expect("it does not panic").expect("the program starts"));
    assert!(table.contains("20 tokens of 2 users, zipf 1.1"), "{table}");
    let mut listing = tokenward(dir.path(), &vec![]);
    listing.args(["--address", server.url(), "token", "list", "--user", "bench-0", "--json"]);
    let listed = text(&listing.output().expect("the program starts"));
    assert!(listed.contains("\"tokens\":[]"), "{listed}");
}

/// What is written where standard error is a terminal.
async fn on_a_terminal(dir: &Path, args: &str) -> String {
    let program = tokenward(dir, &vec![]).get_program().to_string_lossy().into_owned();
    let mut command = std::process::Command::new("script");
    command.current_dir(dir).args(["-qec", &format!("{program} {args}"), "/dev/null"]).env("TERM", "xterm");
    let running = tokio::task::spawn_blocking(move || command.output());
    let output = running.await.expect("it does not panic").expect("the program starts");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_tells_how_far_it_is_on_a_terminal() {
    let dir = directory();
    let args = "bench --private --duration 1s --warmup 300ms --tokens 100 --users 10 --connections 2";
    let shown = on_a_terminal(dir.path(), args).await;
    for part in ["starting Redis and PostgreSQL", "warming up", "tokenward, round 1: measuring, ", " checks/s"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
