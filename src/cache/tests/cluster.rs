//! A Redis Cluster of two nodes on loopback. A node cannot pick a free port by itself
//! and then tell it, so the ports are picked here.

use std::{net::TcpListener, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{
    fixture::{digest, eventually, mac_keys},
    redis::key,
    store::{ENDING, TestStore},
};
use crate::{
    cache::{BreakerState, SharedCache, Tiers, entry::NoFact},
    config::{self, SecretText},
    domain::{Found, Freshness, Propagation, Source, TokenStore as _},
    threads::Threads,
};

struct Node {
    port: u16,
    _directory: TempDir,
    _child: Child,
}

impl Node {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (port, bus) = (free_port(), free_port());
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--cluster-enabled", "yes", "--save", "", "--loglevel", "warning"])
            .args(["--port", &port.to_string(), "--cluster-port", &bus.to_string()])
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed");
        Self { port, _directory: directory, _child: child }
    }

    async fn run(&self, command: &str) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-p", &port]).args(command.split(' ')).output().await;
        String::from_utf8_lossy(&output.expect("redis-cli runs").stdout).trim().to_owned()
    }

    async fn bus(&self) -> u16 {
        let nodes = self.run("CLUSTER NODES").await;
        let own = nodes.lines().find(|line| line.contains("myself")).expect("it lists itself");
        let address = own.split(' ').nth(1).expect("an address");
        address.split(['@', ',']).nth(1).expect("a bus port").parse().expect("a port")
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    listener.local_addr().expect("bound").port()
}

async fn cluster() -> [Node; 2] {
    let nodes = [Node::start(), Node::start()];
    for node in &nodes {
        eventually(async || node.run("PING").await == "PONG").await;
    }
    let [first, second] = &nodes;
    first.run("CLUSTER ADDSLOTSRANGE 0 8191").await;
    second.run("CLUSTER ADDSLOTSRANGE 8192 16383").await;
    second.run("CLUSTER SET-CONFIG-EPOCH 2").await;
    first.run(&format!("CLUSTER MEET 127.0.0.1 {} {}", second.port, second.bus().await)).await;
    for node in &nodes {
        eventually(async || node.run("CLUSTER INFO").await.contains("cluster_state:ok")).await;
    }
    nodes
}

#[tokio::test]
async fn every_key_finds_its_node_and_a_moved_slot_costs_one_redirect() {
    let [first, second] = cluster().await;
    let url = SecretText::new(format!("redis-cluster://127.0.0.1:{}", first.port));
    // What the redirect is allowed to cost is not the point here.
    let redis = config::Redis { url, command_timeout: Duration::from_secs(1), ..config::Redis::default() };
    let shared = SharedCache::start(
        &redis,
        &config::Breaker::default(),
        mac_keys("ours"),
        &Threads::here(),
        &crate::reload::Counters::default(),
    )
    .expect("a URL");
    eventually(async || shared.ping().await.is_ok()).await;
    // Pings may have failed while there was no connection yet.
    let opened = shared.breaker().status().opened_count;

    let names: Vec<_> = (0..20).map(|number| format!("t{number}")).collect();
    let store = TestStore::of(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let cached = store.behind(Tiers { shared: Some(shared.clone()), ..Tiers::default() });
    let source = async |name: &str| cached.find(digest(name), Freshness::Any).await.expect("answered").source;
    for name in &names {
        assert_eq!(source(name).await, Source::Database);
        assert_eq!(source(name).await, Source::SharedCache);
    }

    let mut moved = None;
    for name in &names {
        if first.run(&format!("EXISTS {}", key(digest(name)))).await == "1" {
            moved = Some(name);
            break;
        }
    }
    let moved = moved.expect("one of twenty keys is on the first node");
    first.run(&format!("DEL {}", key(digest(moved)))).await;
    let (slot, owner) =
        (first.run(&format!("CLUSTER KEYSLOT {}", key(digest(moved)))).await, second.run("CLUSTER MYID").await);
    for node in [&second, &first] {
        assert_eq!(node.run(&format!("CLUSTER SETSLOT {slot} NODE {owner}")).await, "OK");
    }
    let redirected = shared.get(digest(moved)).await;
    assert!(matches!(redirected, Ok(Err(NoFact::Absent))), "{redirected:?}");
    assert_eq!(source(moved).await, Source::Database);
    assert_eq!(source(moved).await, Source::SharedCache);
    assert_eq!(shared.breaker().status().opened_count, opened);

    let all = cached.revoke_all("7".parse().expect("a user id"), None, ENDING()).await.expect("committed");
    assert_eq!(all.propagation, Propagation::Complete);
    for name in &names {
        assert_eq!(cached.find(digest(name), Freshness::Any).await.expect("answered").found, Found::Revoked);
    }
    assert_eq!(shared.breaker().status().state, BreakerState::Closed);
}
