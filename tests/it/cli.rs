//! The command line, against a running service and real databases.

use std::{
    io::Write as _,
    path::Path,
    process::{Output, Stdio},
};

use serde_json::Value;

use crate::harness::{
    eventually::{eventually, report},
    server::{Settings, setting, tokenward},
    stack::{On, Stack, With},
};

mod settings;

/// Runs one verb to its end, with this on standard input.
async fn run(dir: &Path, settings: &Settings, args: &[&str], input: &str) -> Output {
    let mut command = tokenward(dir, settings);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let input = input.to_owned();
    let running = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn()?;
        // A verb that reads nothing may have ended already.
        let _ = child.stdin.take().expect("standard input is a pipe").write_all(input.as_bytes());
        child.wait_with_output()
    });
    running.await.expect("it does not panic").expect("the program starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A verb's standard output as JSON.
fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}{}", stdout(output), stderr(output));
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}

/// The value of the first field of this name, at any depth.
fn field<'a>(json: &'a Value, name: &str) -> Option<&'a Value> {
    match json {
        Value::Object(fields) => fields.get(name).or_else(|| fields.values().find_map(|value| field(value, name))),
        Value::Array(items) => items.iter().find_map(|value| field(value, name)),
        _ => None,
    }
}

fn text<'a>(json: &'a Value, name: &str) -> &'a str {
    field(json, name).and_then(Value::as_str).unwrap_or_else(|| panic!("no text {name}: {json}"))
}

fn flag(json: &Value, name: &str) -> bool {
    field(json, name).and_then(Value::as_bool).unwrap_or_else(|| panic!("no flag {name}: {json}"))
}

/// A running service and the verbs that speak to it.
struct Shell {
    stack: Stack,
}

// === impl Shell ===

impl Shell {
    async fn start(with: With) -> Self {
        Self { stack: Stack::start(On::Sqlite, with).await }
    }

    async fn run(&self, args: &[&str], input: &str) -> Output {
        let settings = vec![setting("TOKENWARD_ADDRESS", self.stack.server.url())];
        let output = run(self.stack.server.dir(), &settings, args, input).await;
        report(&format!("$ tokenward {}\n{}{}", args.join(" "), stdout(&output), stderr(&output)));
        output
    }

    async fn json(&self, args: &[&str], input: &str) -> Value {
        json(&self.run(&[args, &["--json"]].concat(), input).await)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_issued_authenticated_listed_and_revoked() {
    let shell = Shell::start(With::Memory).await;
    let issue = ["token", "issue", "--user", "alice", "--ttl", "72h", "--scope", "read", "--name", "laptop"];
    let issued = shell.json(&issue, "").await;
    let (secret, id) = (text(&issued, "secret").to_owned(), text(&issued, "token_id").to_owned());
    assert!(shell.stack.client().authenticate(&secret).await.active);

    // With and without the new line that `echo` and `<<<` add, and the dash that says where it comes from.
    for (args, input) in
        [(&["token", "authenticate", "-"][..], secret.clone()), (&["token", "authenticate"], format!("{secret}\n"))]
    {
        let answer = shell.json(args, &input).await;
        assert!(flag(&answer, "active"), "{answer}");
        assert_eq!((text(&answer, "user_id"), text(&answer, "display_name")), ("alice", "laptop"));
    }
    let words = shell.run(&["token", "authenticate", "-"], &secret).await;
    assert!(words.status.success() && stdout(&words).contains("alice"), "people read it too");
    assert!(!stdout(&words).contains(&secret), "a secret is not repeated");

    let listed = shell.json(&["token", "list", "--user", "alice"], "").await;
    assert_eq!(text(&listed, "token_id"), id);
    assert!(!listed.to_string().contains(&secret));

    let revoked = shell.json(&["token", "revoke", "-", "--reason", "signed-out"], &secret).await;
    assert!(flag(&revoked, "revoked"), "{revoked}");
    let settings = vec![setting("TOKENWARD_ADDRESS", shell.stack.server.url())];
    let answer = run(shell.stack.server.dir(), &settings, &["token", "authenticate", "-", "--json"], &secret).await;
    let answer: Value = serde_json::from_slice(&answer.stdout).expect("an inactive token is an answer in JSON too");
    assert!(!flag(&answer, "active"), "{answer}");

    for _ in 0..2 {
        shell.json(&issue, "").await;
    }
    let all = shell.json(&["token", "revoke-all", "--user", "alice"], "").await;
    let count = field(&all, "revoked_count").map(|count| count.as_i64().or_else(|| count.as_str()?.parse().ok()));
    assert_eq!(count, Some(Some(2)), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_is_flushed_and_the_status_tells_what_it_may_be_relied_on_for() {
    let shell = Shell::start(With::Memory).await;
    let client = shell.stack.client();
    let issued = client.issue("alice").await;
    let before = shell.json(&["status"], "").await;
    let flushed = shell.json(&["cache", "flush", "--yes"], "").await;
    assert_eq!(text(&flushed, "state"), "PROPAGATION_STATE_COMPLETE");
    // Only a terminal is asked.
    let words = shell.run(&["cache", "flush"], "").await;
    assert!(words.status.success() && stdout(&words).contains("COMPLETE"), "{}", stdout(&words));
    assert!(client.authenticate(&issued.secret).await.active);
    let anew = async || {
        let after = shell.json(&["status"], "").await;
        (text(&before, "revision") != text(&after, "revision")).then_some(after)
    };
    let after = eventually("a poll has seen the other epoch", anew).await;
    assert!(flag(&after, "strict") && text(&after, "failure").is_empty(), "{after}");
    let words = shell.run(&["status"], "").await;
    assert!(stdout(&words).contains("strict") && stdout(&words).contains("0 tombstones owed"), "{}", stdout(&words));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_changed_and_rotated_and_read_as_a_table() {
    let shell = Shell::start(With::Memory).await;
    let issue = ["token", "issue", "--user", "alice", "--scope", "read", "--scope", "write", "--name", "laptop"];
    let issued = shell.json(&issue, "").await;
    let (secret, id) = (text(&issued, "secret").to_owned(), text(&issued, "token_id").to_owned());
    let changed = ["token", "update", &id, "--scope", "read", "--expires-at", "2100-01-01T00:00:00Z"];
    let changed = shell.json(&changed, "").await;
    assert_eq!(text(&changed, "display_name"), "laptop", "what is not named stays");
    assert_eq!(field(&changed, "scopes"), Some(&serde_json::json!(["read"])));
    assert!(!shell.run(&["token", "update", &id], "").await.status.success(), "nothing to change");

    let rotated = shell.json(&["token", "rotate", &id, "--overlap", "1h"], "").await;
    let new = text(&rotated, "secret").to_owned();
    let client = shell.stack.client();
    assert!(client.authenticate(&secret).await.active && client.authenticate(&new).await.active);
    let table = stdout(&shell.run(&["token", "list", "--user", "alice"], "").await);
    let mut lines = table.lines();
    let head: Vec<_> = lines.next().expect("a head").split_whitespace().collect();
    assert_eq!(head, ["TOKEN_ID", "STATE", "NAME", "HINT", "SCOPES", "CREATED", "EXPIRES", "LAST_USED"]);
    assert_eq!(lines.filter(|line| line.contains("ACTIVE  laptop") && line.contains("read")).count(), 2, "{table}");
    assert!(!table.contains(&new) && !table.contains(&secret));

    let quiet = shell.run(&["token", "rotate", text(&rotated, "token_id"), "-q"], "").await;
    assert_eq!(stdout(&quiet).trim().len(), 64, "the secret alone");
    assert!(!client.authenticate(&new).await.active, "without an overlap it is revoked");
    let ended = shell.run(&["token", "rotate", &id], "").await;
    assert!(stderr(&ended).contains("rotated already"), "{}", stderr(&ended));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tokens_record_is_shown_while_it_lives_and_after_its_end() {
    let shell = Shell::start(With::Memory).await;
    let issue = ["token", "issue", "--user", "alice", "--scope", "read", "--scope", "write", "--name", "laptop"];
    let issued = shell.json(&issue, "").await;
    let (secret, id) = (text(&issued, "secret"), text(&issued, "token_id"));
    let show = ["token", "show", id];
    let shown = shell.json(&show, "").await;
    assert_eq!((text(&shown, "token_id"), text(&shown, "user_id")), (id, "alice"));
    assert_eq!((text(&shown, "state"), text(&shown, "display_name")), ("TOKEN_STATE_ACTIVE", "laptop"));
    assert_eq!(field(&shown, "scopes"), Some(&serde_json::json!(["read", "write"])));
    assert!(field(&shown, "revoke_time").is_none(), "{shown}");
    assert!(!shown.to_string().contains(secret), "{shown}");

    assert!(shell.run(&["token", "revoke", "-"], secret).await.status.success());
    let words = stdout(&shell.run(&show, "").await);
    let value = |name: &str| words.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    assert_eq!([value("token_id"), value("user "), value("name")], [Some(id), Some("alice"), Some("laptop")]);
    assert_eq!((value("state"), value("scopes")), (Some("REVOKED"), Some("read write")), "{words}");
    assert!(value("revoked").is_some_and(|time| !time.is_empty()) && !words.contains(secret), "{words}");

    let missing = shell.run(&["token", "show", &"0".repeat(32)], "").await;
    assert!(!missing.status.success());
    assert!(stderr(&missing).contains("no such token"), "{}", stderr(&missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cache_is_looked_at_without_another_tool() {
    let shell = Shell::start(With::Redis).await;
    let client = shell.stack.client();
    let issued = client.issue("alice").await;
    let cached = async || {
        let shown = shell.run(&["cache", "inspect", "-"], &issued.secret).await;
        (shown.status.code() == Some(0)).then_some(shown)
    };
    assert_eq!(shell.run(&["cache", "inspect", "-"], &issued.secret).await.status.code(), Some(1), "nothing yet");
    assert!(client.authenticate(&issued.secret).await.active);
    let shown = stdout(&eventually("it is cached", cached).await);
    for part in ["redis", "FACT", "answers   yes", "position", "alice"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains(&issued.secret));
    let argument = shell.run(&["cache", "inspect", &issued.secret], "").await;
    assert!(!argument.status.success() && !stderr(&argument).contains(&issued.secret));
    assert!(shell.run(&["cache", "flush", "--user", "alice"], "").await.status.success());
    let flushed = shell.run(&["cache", "inspect", "--id", &issued.token_id], "").await;
    assert_eq!(flushed.status.code(), Some(1));
    assert!(stdout(&flushed).contains("TOMBSTONE"), "{}", stdout(&flushed));
    let stats = stdout(&shell.run(&["cache", "stats"], "").await);
    for part in ["hit rate", "misses", "facts refuted", "redis keys"] {
        assert!(stats.contains(part), "{part}: {stats}");
    }
}

/// Whoever can list processes reads their arguments.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_taken_from_standard_input_and_never_from_an_argument() {
    let shell = Shell::start(With::Memory).await;
    let issued = shell.stack.client().issue("alice").await;
    for verb in ["authenticate", "revoke"] {
        let output = shell.run(&["token", verb, &issued.secret], "").await;
        assert!(!output.status.success(), "{verb}");
        let said = stdout(&output) + &stderr(&output);
        assert!(!said.contains(&issued.secret), "{verb}: it is not repeated: {said}");
        assert!(said.contains("standard input") || said.contains("stdin"), "{verb}: it says what to do: {said}");
    }
    assert!(shell.stack.client().authenticate(&issued.secret).await.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_set_and_read() {
    let shell = Shell::start(With::Memory).await;
    let issued = shell.stack.client().issue("bob").await;
    shell.json(&["user", "set", "bob", "--active", "false"], "").await;
    assert!(!shell.stack.client().authenticate(&issued.secret).await.active);
    let user = shell.json(&["user", "get", "bob"], "").await;
    assert_eq!((text(&user, "user_id"), flag(&user, "active")), ("bob", false));
    let list = shell.run(&["user", "list"], "").await;
    assert!(stdout(&list).lines().any(|line| line.split_whitespace().eq(["bob", "no"])), "{}", stdout(&list));
    shell.json(&["user", "delete", "bob"], "").await;
    assert!(!stdout(&shell.run(&["user", "list"], "").await).contains("bob"));
    let missing = shell.run(&["user", "get", "nobody"], "").await;
    assert!(!missing.status.success());
    assert!(stderr(&missing).contains("no such user"), "{}", stderr(&missing));
}

/// The exit codes are `grpc_health_probe`'s.
#[tokio::test(flavor = "multi_thread")]
async fn health_exits_as_its_well_known_sibling_does() {
    let mut shell = Shell::start(With::Redis).await;
    let code = async |shell: &Shell, args: &[&str]| shell.run(args, "").await.status.code();
    assert_eq!(code(&shell, &["health"]).await, Some(0), "serving");
    assert_eq!(code(&shell, &["health", "--service", "tokenward.v1.TokenService"]).await, Some(0), "serving");
    assert_eq!(code(&shell, &["health", "--list"]).await, Some(0), "listed");
    let nowhere = ["health", "--address", "http://127.0.0.1:1"];
    assert_eq!(code(&shell, &nowhere).await, Some(2), "no connection");
    assert_eq!(code(&shell, &["health", "--service", "nobody"]).await, Some(3), "the call failed");
    shell.stack.redis().server.kill();
    let client = shell.stack.client();
    eventually("redis is lost", async || (!client.serving("redis").await).then_some(())).await;
    assert_eq!(code(&shell, &["health", "--service", "redis"]).await, Some(4), "not serving");
    assert_eq!(code(&shell, &["health"]).await, Some(0), "the service goes on");
    let status = shell.json(&["status"], "").await;
    assert_eq!((text(&status, "database_kind"), text(&status, "cache_kind")), ("sqlite", "redis"));
    assert!(field(&status, "circuit_breaker").is_some(), "{status}");
    let list = shell.run(&["health", "--list"], "").await;
    for name in ["tokenward.v1.TokenService", "redis", "database"] {
        assert!(stdout(&list).contains(name), "{}", stdout(&list));
    }
}
