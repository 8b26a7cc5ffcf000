//! Unix sockets, and the command line's credentials.

use std::process::Output;

use super::{ADMIN, GATEWAY, known};
use crate::harness::server::{Server, Settings, directory, setting, tokenward};

async fn run(dir: &std::path::Path, settings: &Settings, args: &[&str]) -> Output {
    let mut command = tokenward(dir, settings);
    command.args(args).stdin(std::process::Stdio::null());
    tokio::task::spawn_blocking(move || command.output()).await.expect("it does not panic").expect("it starts")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_serves_on_a_unix_socket_and_the_command_line_finds_it() {
    let dir = directory();
    let at = format!("unix:{}", dir.path().join("tokenward.sock").display());
    let server = Server::start_on(dir, &Settings::new(), &at, None).await;
    let issued = server.client().issue("alice").await;
    assert!(server.client().authenticate(&issued.secret).await.active);
    let peer = format!("peer=\"unix:uid={}\"", nix::unistd::getuid());
    assert!(server.output().contains(&peer), "the issue is recorded: {}", server.output());
    let status = run(server.dir(), &Settings::new(), &["status", "--address", &at]).await;
    assert!(status.status.success() && text(&status).contains("insecure    no"), "{}", text(&status));
    let second = run(server.dir(), &Settings::new(), &["serve", "--listen", &at]).await;
    assert!(!second.status.success() && text(&second).contains("another process listens"), "{}", text(&second));
    assert!(server.client().authenticate(&issued.secret).await.active, "the first goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_shows_the_key_of_a_file_or_of_the_environment() {
    let (dir, settings) = known();
    let server = Server::start_in(dir, &settings).await;
    let status = ["status", "--address", server.url()];
    let none = run(server.dir(), &Settings::new(), &status).await;
    assert_eq!(none.status.code(), Some(3));
    assert!(text(&none).contains("CALLER_UNAUTHENTICATED"), "{}", text(&none));

    let environment = |key: &str| vec![setting("TOKENWARD_CALLER_KEY", key)];
    let wrong = run(server.dir(), &environment(GATEWAY), &status).await;
    assert!(text(&wrong).contains("CALLER_NOT_ALLOWED"), "{}", text(&wrong));
    let right = run(server.dir(), &environment(ADMIN), &status).await;
    assert!(right.status.success(), "{}", text(&right));
    let of_file = [&status[..], &["--key-file", "admin.keys"]].concat();
    let file_wins = run(server.dir(), &environment(GATEWAY), &of_file).await;
    assert!(file_wins.status.success(), "{}", text(&file_wins));
    let health = run(server.dir(), &Settings::new(), &["health", "--address", server.url()]).await;
    assert!(health.status.success(), "health needs no credential: {}", text(&health));
}

#[tokio::test(flavor = "multi_thread")]
async fn config_check_finds_every_fault_of_the_callers() {
    let (dir, settings) = known();
    let good = run(dir.path(), &settings, &["config", "check"]).await;
    assert!(good.status.success(), "{}", text(&good));
    let callers = "[[caller]]\nname = \"a\"\nkeys_file = \"none\"\nmethods = [\"TokenService/Autenticate\"]";
    let settings = super::name_callers(dir.path(), callers);
    for verb in [&["config", "check"][..], &["serve", "--listen", "127.0.0.1:0"]] {
        let bad = run(dir.path(), &settings, verb).await;
        assert_eq!(bad.status.code(), Some(1));
        let said = text(&bad);
        for part in ["2 faults", "caller[0].methods", "caller[0].keys_file", "TokenService/Authenticate"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
