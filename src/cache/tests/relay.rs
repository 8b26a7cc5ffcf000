//! A unix socket in front of Redis that holds its answers back, and a revocation that is
//! seen through it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};

use super::{
    fixture::{digest, eventually, mac_keys},
    redis::{Redis, key},
    store::{ENDING, TestStore},
};
use crate::{
    cache::{SharedCache, Tiers},
    config::{self, SecretText},
    domain::{Propagation, TokenStore as _},
    threads::Threads,
};

/// What has passed towards the client, and whether more may.
struct Relay {
    directory: TempDir,
    open: watch::Sender<bool>,
    passed: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Relay {
    fn to(upstream: PathBuf) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let listener = UnixListener::bind(directory.path().join("relay.sock")).expect("a free name");
        let (open, passed) = (watch::Sender::new(true), Arc::new(AtomicU64::new(0)));
        let (watched, counted) = (open.subscribe(), Arc::clone(&passed));
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = UnixStream::connect(&upstream).await.expect("Redis runs");
                tokio::spawn(pass(client, server, watched.clone(), Arc::clone(&counted)));
            }
        });
        Self { directory, open, passed, accepting }
    }

    fn url(&self) -> SecretText {
        SecretText::new(format!("redis+unix://{}", self.directory.path().join("relay.sock").display()))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn pass(client: UnixStream, server: UnixStream, mut open: watch::Receiver<bool>, passed: Arc<AtomicU64>) {
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
            if open.wait_for(|open| *open).await.is_err() || to_client.write_all(&buffer[..count]).await.is_err() {
                return;
            }
            passed.fetch_add(count as u64, Ordering::SeqCst);
        }
    };
    tokio::select! {
        () = answers => {}
        _ = copy(&mut from_client, &mut to_server) => {}
    }
}

async fn sets(redis: &Redis) -> u64 {
    let info = redis.run(&["INFO", "commandstats"]).await;
    let calls = info.lines().find_map(|line| line.strip_prefix("cmdstat_set:calls="));
    calls.and_then(|rest| rest.split(',').next()?.parse().ok()).unwrap_or_default()
}

/// Not a byte of an answer has come back when the last tombstone arrives: what costs time
/// is one round trip, not one for every so many tokens.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tombstones_are_sent_before_the_first_is_acknowledged() {
    let redis = Redis::start().await;
    let relay = Relay::to(redis.socket());
    let config = config::Redis { url: relay.url(), command_timeout: Duration::from_secs(10), ..redis.config() };
    let shared = SharedCache::start(
        &config,
        &config::Breaker::default(),
        mac_keys("ours"),
        &Threads::here(),
        &crate::reload::Counters::default(),
    )
    .expect("a URL");
    eventually(async || shared.ping().await.is_ok()).await;
    let names: Vec<_> = (0..1000).map(|number| format!("t{number}")).collect();
    let store = TestStore::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let cached = store.behind(Tiers { shared: Some(shared), ..Tiers::default() });

    relay.open.send_replace(false);
    let passed = relay.passed.load(Ordering::SeqCst);
    let revoking = tokio::spawn({
        let cached = Arc::clone(&cached);
        async move { cached.revoke_all("7".parse().expect("a user id"), None, ENDING()).await }
    });
    eventually(async || sets(&redis).await == 1000).await;
    assert_eq!(relay.passed.load(Ordering::SeqCst), passed, "nothing was acknowledged yet");
    relay.open.send_replace(true);
    revoking.await.expect("no panic").expect("committed");
    for name in [&names[0], &names[999]] {
        assert_eq!(redis.run(&["STRLEN", &key(digest(name))]).await, "1", "the tombstone");
    }
}

/// With the deadline that commands have by default.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_tombstones_at_once_do_not_open_the_breaker() {
    let (redis, names) = (Redis::start().await, (0..1000).map(|number| format!("t{number}")).collect::<Vec<_>>());
    let store = TestStore::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let shared = redis.connected().await;
    let cached = store.behind(Tiers { shared: Some(shared.clone()), ..Tiers::default() });
    let all = cached.revoke_all("7".parse().expect("a user id"), None, ENDING()).await.expect("committed");
    assert_eq!((all.count, all.propagation), (1000, Propagation::Complete));
    assert_eq!(shared.breaker().status().opened_count, 0);
}
