//! What is said at the start, and in the status, of who can reach the service.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Stdio},
};

use tempfile::TempDir;
use tokenward::proto::GetStatusRequest;
use tonic::transport::Channel;

use crate::harness::{
    client::Client,
    eventually::eventually,
    http::get,
    server::{Server, Settings, directory, setting, tokenward},
};

const LISTENING: &str = "tokenward listening on ";
/// Who can do what, where callers are not known.
const ANYONE: &str = "whoever can reach this address may issue tokens";
/// What the second listener shows.
const SHOWN: &str = "whoever can reach http.listen reads /, /status.json and /metrics without a credential";

/// A process that goes with its owner.
struct Running(Child);

/// The program with `--insecure`, once it listens.
struct Started {
    client: Client,
    said: String,
    // Ended before its directory goes.
    _process: Running,
    _dir: TempDir,
}

// === impl Started ===

impl Started {
    async fn at(address: &str) -> Self {
        let dir = directory();
        let file = |name: &str| File::create(dir.path().join(name)).expect("a test's directory is writable");
        let mut command = tokenward(dir.path(), &Settings::new());
        command.args(["serve", "--insecure", "--listen", address]).stdin(Stdio::null());
        let process = Running(command.stdout(file("out")).stderr(file("err")).spawn().expect("it starts"));
        let url = eventually("it listens", async || listening(&dir.path().join("out"))).await;
        let channel = Channel::from_shared(url).expect("it prints a URL").connect().await.expect("who listens accepts");
        let said = fs::read_to_string(dir.path().join("err")).expect("it logs text");
        Self { client: Client::new(channel), said, _process: process, _dir: dir }
    }
}

// === impl Running ===

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("a child can be ended");
        self.0.wait().expect("a child can be waited for");
    }
}

fn listening(out: &Path) -> Option<String> {
    let out = fs::read_to_string(out).expect("it prints text");
    let (first, _) = out.split_once('\n')?;
    first.strip_prefix(LISTENING).map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn insecure_is_warned_of_at_each_start_and_shown_in_the_status_where_others_can_reach_it() {
    for (at, reached) in [("0.0.0.0:0", true), ("0.0.0.0:0", true), ("127.0.0.1:0", false)] {
        let started = Started::at(at).await;
        let said = &started.said;
        let warned = said.lines().any(|line| line.contains("WARN") && line.contains(ANYONE));
        assert_eq!(warned, reached, "{at}: {said}");
        let status = started.client.status.clone().get_status(GetStatusRequest {}).await;
        assert_eq!(status.expect("whoever connects may ask").into_inner().insecure, reached, "{at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_listener_that_others_reach_says_what_it_shows_without_a_credential() {
    for (at, reached) in [("0.0.0.0:0", true), ("127.0.0.1:0", false)] {
        let (dir, mut settings) = super::known();
        settings.push(setting("TOKENWARD_HTTP__LISTEN", at));
        let server = Server::start_in(dir, &settings).await;
        let said = server.output();
        let warned = said.lines().any(|line| line.contains("WARN") && line.contains(SHOWN) && line.contains(at));
        assert_eq!(warned, reached, "{at}: {said}");
        for path in ["/", "/status.json", "/metrics"] {
            let answer = get(&server.http(), path).await;
            assert_eq!(answer.code, 200, "{path} needs no credential");
        }
    }
}
