//! The verbs that read the settings: `serve`, `migrate` and `config`.

use std::time::{Duration, Instant};

use super::{run, stderr, stdout};
use crate::harness::{
    eventually::report,
    server::{Server, Settings, directory, setting},
    stack::postgres,
};

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_with_no_configuration_at_all() {
    let start = Instant::now();
    let server = Server::start(&Settings::new()).await;
    let took = start.elapsed();
    report(&format!("listening after {took:?}"));
    assert!(took < Duration::from_secs(5), "{took:?}");
    let issued = server.client().issue("first").await;
    assert!(server.client().authenticate(&issued.secret).await.active);
    assert!(server.dir().join("tokenward.db").exists(), "the database is a file in the working directory");
    let said = server.output();
    assert!(said.contains("token issue --user"), "it says what to try next: {said}");
    assert!(!said.contains(&issued.secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_listens_for_other_hosts_only_when_told_that_it_is_insecure() {
    let dir = directory();
    let args = ["serve", "--listen", "0.0.0.0:0"];
    let refused = run(dir.path(), &Settings::new(), &args, "").await;
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("--insecure"), "{}", stderr(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_refuses_a_database_that_is_behind_and_says_what_to_run() {
    let postgres = postgres().await;
    let url = format!("postgres://tokenward@{}/tokenward", postgres.relay.address());
    let settings = vec![setting("TOKENWARD_DATABASE__URL", url.as_str())];
    let dir = directory();
    let verb = async |args: &[&str]| {
        let output = run(dir.path(), &settings, args, "").await;
        report(&format!("$ tokenward {}\n{}{}", args.join(" "), stdout(&output), stderr(&output)));
        output
    };
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let behind = verb(&serve).await;
    assert!(!behind.status.success());
    assert!(stderr(&behind).contains("tokenward migrate up"), "{}", stderr(&behind));

    let before = verb(&["migrate", "status"]).await;
    assert!(verb(&["migrate", "up"]).await.status.success());
    assert!(verb(&["migrate", "up"]).await.status.success(), "a second time is no error");
    let after = verb(&["migrate", "status"]).await;
    assert_ne!(stdout(&before), stdout(&after));

    let server = Server::start(&settings).await;
    let issued = server.client().issue("alice").await;
    drop(server);
    let again = Server::start(&settings).await;
    assert!(again.client().authenticate(&issued.secret).await.active, "it is durable");
    drop(again);

    assert!(verb(&["migrate", "down"]).await.status.success());
    assert!(!verb(&serve).await.status.success(), "it is behind again");
    assert!(verb(&["migrate", "up", "--database-url", &url]).await.status.success());
    drop(Server::start(&settings).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_fault_of_the_configuration_is_reported_at_once() {
    let dir = directory();
    std::fs::write(dir.path().join("tokenward.toml"), "[tokens]\nprefix = \"longer than ten\"\n[servr]\nlisten = 1\n")
        .expect("a test's directory is writable");
    let settings = vec![
        setting("TOKENWARD_SERVER__LISTEN", "nowhere"),
        setting("TOKENWARD_REDIS__COMMAND_TIMEOUT", "soon"),
        setting("TOKENWARD_DATABASE__COLOUR", "blue"),
        setting("TOKENWARD_REDIS__URL", "http://user:hunter2@example.org"),
    ];
    for args in [&["serve", "--config", "tokenward.toml"][..], &["config", "check", "--config", "tokenward.toml"]] {
        let output = run(dir.path(), &settings, args, "").await;
        assert!(!output.status.success(), "{args:?}");
        let said = stdout(&output) + &stderr(&output);
        for key in ["server.listen", "redis.command_timeout", "database.colour", "redis.url", "tokens.prefix", "servr"]
        {
            assert!(said.contains(key), "{args:?}: {key} is named: {said}");
        }
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn flags_beat_the_environment_beats_the_file_beats_the_defaults() {
    let dir = directory();
    std::fs::write(dir.path().join("t.toml"), "[tokens]\nttl = \"3h\"\n[redis]\nkey_prefix = \"file\"\n")
        .expect("a test's directory is writable");
    let settings = vec![
        setting("TOKENWARD_REDIS__KEY_PREFIX", "environment"),
        setting("TOKENWARD_DATABASE__URL", "postgres://scott:hunter2@db.example/environment"),
    ];
    let print = ["config", "print", "--config", "t.toml"];
    let output = run(dir.path(), &settings, &print, "").await;
    assert!(output.status.success(), "{}", stderr(&output));
    let printed = stdout(&output);
    assert!(printed.contains("ttl = \"3h\""), "the file beats the default: {printed}");
    assert!(printed.contains("key_prefix = \"environment\""), "the environment beats the file: {printed}");
    assert!(printed.contains("request_timeout = \"5s\""), "and what nobody set is the default: {printed}");
    assert!(!printed.contains("hunter2"), "a password is not printed: {printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_not_there_ends_serve_without_its_password() {
    let dir = directory();
    let settings = vec![setting("TOKENWARD_DATABASE__URL", "postgres://scott:hunter2@127.0.0.1:1/tokenward")];
    let output = run(dir.path(), &settings, &["serve", "--listen", "127.0.0.1:0"], "").await;
    assert!(!output.status.success());
    let said = stdout(&output) + &stderr(&output);
    assert!(!said.contains("hunter2") && !said.contains("panicked"), "{said}");
    assert!(said.contains("database"), "it says which part is missing: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn config_check_compares_the_settings_with_the_database() {
    let dir = directory();
    let check = async |settings: &Settings| run(dir.path(), settings, &["config", "check"], "").await;
    let sqlite = vec![setting("TOKENWARD_DATABASE__URL", "sqlite://t.db")];
    let output = check(&sqlite).await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stdout(&output).contains("not there yet"), "{}", stdout(&output));
    assert!(!dir.path().join("t.db").exists(), "nothing is created");

    let postgres = postgres().await;
    let url = format!("postgres://tokenward@{}/tokenward", postgres.relay.address());
    let settings = vec![
        setting("TOKENWARD_DATABASE__URL", url.as_str()),
        setting("TOKENWARD_DATABASE__SCHEMA", "knox"),
        setting("TOKENWARD_SCHEMA__TOKEN_TABLE", "app_token"),
    ];
    let output = check(&settings).await;
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let said = stderr(&output);
    for key in ["schema.token_table: there is no table app_token", "schema.user_table: there is no table auth_user"] {
        assert!(said.contains(key), "{said}");
    }
    assert!(said.contains("tokenward migrate up"), "{said}");
    let native = vec![setting("TOKENWARD_DATABASE__URL", url.as_str())];
    assert!(run(dir.path(), &native, &["migrate", "up"], "").await.status.success());
    let output = check(&native).await;
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(stdout(&output), "configuration is valid\n");
}
