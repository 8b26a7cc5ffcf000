//! Against real servers, one alone and a cluster, with keys as django-rest-knox-redis 0.1.3 writes them.

use std::{net::TcpListener, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{
    client::{Blueprint, StartError},
    keys::Keys,
};
use crate::{
    config::{self, SecretText},
    domain::Notice,
};

struct Redis {
    port: u16,
    _directory: TempDir,
    _child: Child,
}

// === impl Redis ===

impl Redis {
    async fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--loglevel", "warning", "--port", &port.to_string()])
            .args(options)
            .current_dir(directory.path())
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("redis-server is installed");
        let redis = Self { port, _directory: directory, _child: child };
        eventually(async || redis.run(&["PING"]).await == "PONG").await;
        redis
    }

    /// `-c`: follows a cluster's redirects.
    async fn run(&self, arguments: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-c", "-p", &port]).args(arguments).output().await;
        String::from_utf8_lossy(&output.expect("redis-cli runs").stdout).trim().to_owned()
    }

    async fn calls(&self, command: &str) -> u64 {
        let info = self.run(&["INFO", "commandstats"]).await;
        let head = format!("cmdstat_{command}:calls=");
        let calls = info.lines().find_map(|line| line.strip_prefix(&head)?.split(',').next()?.parse().ok());
        calls.unwrap_or(0)
    }

    /// Writes tokens of a user as django-rest-knox-redis does.
    async fn cache(&self, user: &str, keys: &[&str]) {
        for key in keys {
            let json = format!(r#"{{"digest": "d", "user_id": "{user}", "token_key": "{key}"}}"#);
            self.run(&["SET", &format!("knox:token:{key}"), &json]).await;
            self.run(&["SADD", &format!("knox:user:{user}:tokens"), key]).await;
        }
    }

    async fn is_cached(&self, user: &str, key: &str) -> (bool, bool) {
        let (token, set) = (format!("knox:token:{key}"), format!("knox:user:{user}:tokens"));
        (self.run(&["EXISTS", &token]).await == "1", self.run(&["SISMEMBER", &set, key]).await == "1")
    }
}

fn config(url: &str) -> config::KnoxRedis {
    config::KnoxRedis { url: SecretText::new(url), ..config::KnoxRedis::default() }
}

fn notices(user: &str, keys: &[&str]) -> Vec<Notice> {
    let notice = |(id, key): (i64, &&str)| Notice { id, token_key: (*key).to_owned(), user: user.to_owned() };
    (1..).zip(keys).map(notice).collect()
}

#[tokio::test]
async fn what_ended_is_deleted_in_one_transaction_whatever_its_number() {
    let redis = Redis::start(&[]).await;
    redis.cache("7", &["a", "b", "c"]).await;
    redis.cache("550e8400-e29b-41d4-a716-446655440000", &["d"]).await;
    let connection = Blueprint::new(&config(&format!("redis://127.0.0.1:{}", redis.port))).expect("a URL");
    let connection = connection.connect().await.expect("it connects");
    let mut ended = notices("7", &["a", "b", "never cached"]);
    ended.extend(notices("550e8400-e29b-41d4-a716-446655440000", &["d"]));
    for _ in 0..2 {
        connection.delete(&Keys::new("knox"), &ended).await.expect("a second time does no harm");
    }
    for (user, key) in [("7", "a"), ("7", "b"), ("550e8400-e29b-41d4-a716-446655440000", "d")] {
        assert_eq!(redis.is_cached(user, key).await, (false, false), "{key}");
    }
    assert_eq!(redis.is_cached("7", "c").await, (true, true));

    redis.run(&["CONFIG", "RESETSTAT"]).await;
    let names: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    let many = notices("7", &names.iter().map(String::as_str).collect::<Vec<_>>());
    connection.delete(&Keys::new("knox"), &many).await.expect("deleted");
    for command in ["multi", "del", "srem", "exec"] {
        assert_eq!(redis.calls(command).await, 1, "{command}");
    }
}

#[tokio::test]
async fn a_value_of_another_type_in_the_set_s_place_holds_nothing_up() {
    let redis = Redis::start(&[]).await;
    redis.cache("7", &["a"]).await;
    redis.run(&["SET", "knox:user:8:tokens", "not a set"]).await;
    redis.run(&["SET", "knox:token:b", "{}"]).await;
    let blueprint = Blueprint::new(&config(&format!("redis://127.0.0.1:{}", redis.port))).expect("a URL");
    let mut ended = notices("8", &["b"]);
    ended.extend(notices("7", &["a"]));
    blueprint.connect().await.expect("it connects").delete(&Keys::new("knox"), &ended).await.expect("acknowledged");
    assert_eq!(redis.run(&["EXISTS", "knox:token:b", "knox:token:a"]).await, "0");
    assert_eq!(redis.is_cached("7", "a").await, (false, false));
}

#[tokio::test]
async fn a_redis_that_refuses_writes_has_not_acknowledged() {
    let redis = Redis::start(&[]).await;
    redis.cache("7", &["a"]).await;
    redis.run(&["REPLICAOF", "127.0.0.1", "1"]).await;
    let blueprint = Blueprint::new(&config(&format!("redis://127.0.0.1:{}", redis.port))).expect("a URL");
    let refused =
        blueprint.connect().await.expect("it connects").delete(&Keys::new("knox"), &notices("7", &["a"])).await;
    let refused = refused.expect_err("it is read-only").to_string();
    assert!(refused.contains("READONLY") || refused.contains("EXECABORT"), "{refused}");
    redis.run(&["REPLICAOF", "NO", "ONE"]).await;
    blueprint
        .connect()
        .await
        .expect("it connects")
        .delete(&Keys::new("knox"), &notices("7", &["a"]))
        .await
        .expect("deleted");
    assert_eq!(redis.is_cached("7", "a").await, (false, false));
}

/// The token's key and the set's are in different slots there.
#[tokio::test]
async fn a_cluster_is_told_key_by_key() {
    let options = |port: &'static str| ["--cluster-enabled", "yes", "--cluster-port", port];
    let bus: [&'static str; 2] = [free_port(), free_port()].map(|port| -> &'static str { port.to_string().leak() });
    let nodes = [Redis::start(&options(bus[0])).await, Redis::start(&options(bus[1])).await];
    let [first, second] = &nodes;
    first.run(&["CLUSTER", "ADDSLOTSRANGE", "0", "8191"]).await;
    second.run(&["CLUSTER", "ADDSLOTSRANGE", "8192", "16383"]).await;
    second.run(&["CLUSTER", "SET-CONFIG-EPOCH", "2"]).await;
    first.run(&["CLUSTER", "MEET", "127.0.0.1", &second.port.to_string(), bus[1]]).await;
    for node in &nodes {
        eventually(async || node.run(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok")).await;
    }
    let names: Vec<_> = (0..20).map(|number| format!("key{number}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    first.cache("7", &names).await;
    first.cache("8", &["other"]).await;
    let url = format!("redis-cluster://127.0.0.1:{}", first.port);
    let connection = Blueprint::new(&config(&url)).expect("a URL").connect().await.expect("it connects");
    connection.delete(&Keys::new("knox"), &notices("7", &names)).await.expect("deleted");
    for name in names {
        assert_eq!(first.is_cached("7", name).await, (false, false), "{name}");
    }
    assert_eq!(first.is_cached("8", "other").await, (true, true));
}

#[test]
fn a_bad_url_is_refused_without_being_shown() {
    let refused = Blueprint::new(&config("redis://:hunter2@")).expect_err("no host");
    assert_eq!(refused, StartError::Url);
    assert!(!format!("{refused} {refused:?}").contains("hunter2"));
    let with = config::KnoxRedis { password: SecretText::new("hunter2"), ..config("redis://127.0.0.1") };
    assert!(!format!("{:?}", Blueprint::new(&with).expect("a URL")).contains("hunter2"));
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("loopback").local_addr().expect("bound").port()
}

async fn eventually(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it comes true");
}
