//! `tokenward bench`: what it reports of a service of its own is true. No test here is about speed.

use std::{fs, path::Path, process::Output};

use serde_json::Value;

use crate::harness::server::{directory, tokenward};

mod scenarios;

/// Servers of its own, a small load, and figures as JSON.
async fn bench(dir: &Path, args: &[&str]) -> Output {
    bench_for_people(dir, &[&["--json"], args].concat()).await
}

/// The same, and figures as a table.
async fn bench_for_people(dir: &Path, args: &[&str]) -> Output {
    let small = ["bench", "--private", "--connections", "2", "--in-flight", "4", "--tokens", "200", "--users", "20"];
    let mut command = tokenward(dir, &vec![]);
    command
        .args(small)
        .args(["--warmup", "200ms"])
        .args(args)
        .env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let running = tokio::task::spawn_blocking(move || command.output());
    running.await.expect("it does not panic").expect("the program starts")
}

/// A database that is slow because the machine is busy fails no call.
const PATIENT: [&str; 4] = ["--set", "database.acquire_timeout=5s", "--set", "database.statement_timeout=5s"];

fn report(output: &Output) -> Value {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"))
}

fn number(report: &Value, path: &str) -> f64 {
    let figure = path.split('/').fold(&report["runs"][0], |value, part| &value[part]);
    figure.as_f64().unwrap_or_else(|| panic!("no figure {path}: {report}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn hits_are_counted_judged_and_cost_no_sql() {
    let dir = directory();
    let plot = dir.path().join("latency.svg");
    // A machine that is busy must send no hit to the database.
    let patient = ["redis.command_timeout=2s", "coherence.max_staleness=20s", "coherence.reproof_ratio=0"];
    let patient: Vec<_> = patient.iter().flat_map(|setting| ["--set", *setting]).collect();
    let args = ["--scenario", "hit", "--duration", "1s", "--plot", plot.to_str().expect("a path")];
    let output = bench(dir.path(), &[&args[..], &patient].concat()).await;
    let report = report(&output);
    assert!(output.status.success(), "{report}");
    assert_eq!(report["scenario"], "hit");
    let checks = number(&report, "checks");
    assert!(checks > 0.0);
    assert!(number(&report, "wrong") < 0.5, "{report}");
    assert_eq!(report["runs"][0]["failures"], serde_json::json!({}), "{report}");
    assert!(number(&report, "failed") < 0.5, "{report}");
    assert!((number(&report, "sources/shared_cache") - checks).abs() < 0.5, "each answer came from Redis: {report}");
    let redis = number(&report, "redis_per_10k_checks");
    assert!((9_500.0..13_000.0).contains(&redis), "one command a hit: {report}");
    // Polls and looks at the database's health go on, but none is a hit's.
    assert!(number(&report, "sql_per_second") < 100.0, "{report}");
    for figure in ["latency_ms/p50", "latency_ms/p99_9", "cpu_us_per_check", "startup_ms", "resident_mib"] {
        assert!(number(&report, figure) > 0.0, "{figure}: {report}");
    }
    // It is counted in ticks of the system, of which so little may take none.
    assert!(number(&report, "redis_cpu_us_per_check") >= 0.0, "{report}");
    let svg = fs::read_to_string(plot).expect("the plot was written");
    assert!(svg.starts_with("<svg") && svg.contains("latency by percentile"));
    // The lines of the axes have two points.
    let lines = svg.split("points=\"").skip(1).filter_map(|rest| rest.split_once('"'));
    let most = lines.map(|(points, _)| points.split_whitespace().count()).max();
    assert!(most > Some(5), "a curve is drawn: {svg}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_asked_about_once_more() {
    let dir = directory();
    let output = bench(dir.path(), &["--scenario", "revoke-storm", "--duration", "1s"]).await;
    let report = report(&output);
    assert!(output.status.success(), "{report}");
    assert!(number(&report, "wrong") < 0.5, "{report}");
    for kind in ["known", "revoke", "ended"] {
        assert!(number(&report, &format!("kinds/{kind}/checks")) > 0.0, "{kind}: {report}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_threshold_that_is_exceeded_is_an_exit_code() {
    let dir = directory();
    let file = dir.path().join("thresholds.toml");
    fs::write(&file, "[batch]\nwrong = { max = 0 }\nchecks_per_second = { min = 1e12 }\n").expect("writable");
    let args = ["--scenario", "batch", "--duration", "500ms", "--thresholds", file.to_str().expect("a path")];
    let output = bench(dir.path(), &args).await;
    assert!(number(&report(&output), "wrong") < 0.5);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("checks_per_second is") && !error.contains("wrong is"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_is_killed_costs_no_wrong_answer_and_its_gap_is_told() {
    let dir = directory();
    let args = ["--scenario", "redis-kill", "--duration", "3s"];
    let output = bench(dir.path(), &[&args[..], &PATIENT].concat()).await;
    let report = report(&output);
    assert!(output.status.success(), "{report}");
    assert!(number(&report, "wrong") < 0.5, "{report}");
    assert!(number(&report, "sources/database") > 0.0, "the database answered meanwhile: {report}");
    let cached = number(&report, "sources/shared_cache");
    assert!(cached > 0.0, "{report}");
    // Redis counts from nothing once it was killed; what came before is counted all the same.
    let commands = number(&report, "redis_per_10k_checks") * number(&report, "checks") / 10_000.0;
    assert!(commands > cached * 0.7, "{commands} commands for {cached} answers: {report}");
    assert!(number(&report, "failed") < 0.5, "{report}");
    // No call hangs for good, which would be ten seconds at least; on a busy machine a good one may be slow.
    assert!(number(&report, "longest_call_ms") < 5_000.0, "{report}");
    assert!(number(&report, "longest_gap_ms") > 0.0);
    assert!(number(&report, "fault/before_per_second") > 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_breaks_its_servers_is_not_done_to_somebody_elses() {
    let dir = directory();
    let mut command = tokenward(dir.path(), &vec![]);
    command.args(["bench", "--scenario", "redis-kill", "--address", "127.0.0.1:1"]);
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("needs --private"));
}
