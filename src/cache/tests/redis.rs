//! A real redis-server on a unix socket, and what can be done to it.

use std::{path::PathBuf, process::Stdio, time::Duration};

use nix::{
    sys::signal::{self, Signal},
    unistd::Pid,
};
use tempfile::TempDir;
use tokio::{
    net::UnixStream,
    process::{Child, Command},
};

use super::fixture::{eventually, mac_keys};
use crate::{
    cache::{SharedCache, Tiers},
    config::{self, SecretText},
    domain::Digest,
    threads::Threads,
};

/// The server; it dies with this value.
pub(in crate::cache) struct Redis {
    directory: TempDir,
    child: Child,
}

impl Redis {
    pub(in crate::cache) async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let child = spawn(&directory, &[]);
        let redis = Self { directory, child };
        redis.accepting().await;
        redis
    }

    pub(in crate::cache) fn config(&self) -> config::Redis {
        let url = SecretText::new(format!("redis+unix://{}", self.socket().display()));
        config::Redis { url, ..config::Redis::default() }
    }

    /// A client of this server, not necessarily connected yet.
    pub(in crate::cache) fn client(&self) -> SharedCache {
        SharedCache::start(
            &self.config(),
            &config::Breaker::default(),
            mac_keys("ours"),
            &Threads::here(),
            &crate::reload::Counters::default(),
        )
        .expect("a URL")
    }

    /// A client that is connected and has time: for what is not about deadlines.
    pub(in crate::cache) async fn patient(&self) -> SharedCache {
        let config = config::Redis { command_timeout: Duration::from_secs(10), ..self.config() };
        let shared = SharedCache::start(
            &config,
            &config::Breaker::default(),
            mac_keys("ours"),
            &Threads::here(),
            &crate::reload::Counters::default(),
        )
        .expect("a URL");
        eventually(async || shared.ping().await.is_ok()).await;
        shared
    }

    /// A client of this server that is connected.
    pub(in crate::cache) async fn connected(&self) -> SharedCache {
        let shared = self.client();
        eventually(async || shared.ping().await.is_ok()).await;
        shared
    }

    pub(in crate::cache) async fn backend(&self) -> Tiers {
        Tiers { shared: Some(self.connected().await), ..Tiers::default() }
    }

    /// Runs a command with redis-cli and gives its output.
    pub(in crate::cache) async fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new("redis-cli").arg("-s").arg(self.socket()).args(arguments).output().await;
        let output = output.expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The first byte of a token's entry, in hexadecimal; empty when there is none.
    pub(in crate::cache) async fn entry_head(&self, digest: Digest) -> String {
        let script = "local head = redis.call('GETRANGE', KEYS[1], 0, 0) \
            return head == '' and '' or string.format('%02x', head:byte())";
        self.run(&["EVAL", script, "1", &key(digest)]).await
    }

    pub(in crate::cache) async fn kill(&mut self) {
        self.child.kill().await.expect("it was running");
    }

    pub(in crate::cache) async fn restart(&mut self, arguments: &[&str]) {
        self.child = spawn(&self.directory, arguments);
        self.accepting().await;
    }

    /// Starts another server in the place of this one, which stays as it is.
    pub(in crate::cache) async fn supplant(&mut self) -> Child {
        std::fs::remove_file(self.socket()).expect("there is a socket");
        let old = std::mem::replace(&mut self.child, spawn(&self.directory, &[]));
        self.accepting().await;
        old
    }

    pub(in crate::cache) fn hang(&self) {
        self.signal(Signal::SIGSTOP);
    }

    pub(in crate::cache) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().expect("it runs")).expect("a process id");
        signal::kill(Pid::from_raw(id), signal).expect("it is ours");
    }

    pub(in crate::cache) fn socket(&self) -> PathBuf {
        self.directory.path().join("r.sock")
    }

    async fn accepting(&self) {
        eventually(async || UnixStream::connect(self.socket()).await.is_ok()).await;
    }
}

pub(in crate::cache) fn key(digest: Digest) -> String {
    format!("tokenward:token:{}", digest.token_id())
}

fn spawn(directory: &TempDir, arguments: &[&str]) -> Child {
    let fixed = ["--port", "0", "--unixsocket", "r.sock", "--save", "", "--appendonly", "no", "--loglevel", "warning"];
    Command::new("redis-server")
        .args(fixed)
        .args(arguments)
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server is installed")
}

/// Longer than any answer may take while Redis is in trouble: a command's deadline, and
/// the slack that a machine needs which runs many tests at once.
pub(in crate::cache) const PROMPT: Duration = Duration::from_millis(400);
