//! One master, two replicas, three Sentinels.

use std::{fs, net::IpAddr, process::Command};

use futures::future::join_all;
use tempfile::TempDir;

use super::{
    super::{
        eventually::{eventually, within},
        loopback::Loopback,
        process::Process,
        template,
    },
    LONG, Redis, Reply, TlsFiles, exchange_with,
};

/// What the Sentinels call the master.
const MASTER: &str = "main";
const SERVERS: usize = 3;
const SENTINELS: usize = 3;
const PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;

/// All of it.
pub(crate) struct Sentinel {
    /// The first is the master at the start.
    pub(crate) servers: Vec<Redis>,
    sentinels: Vec<Watcher>,
    net: Loopback,
    scheme: &'static str,
}

/// A Sentinel.
struct Watcher {
    _process: Process,
    dir: TempDir,
}

// === impl Sentinel ===

impl Sentinel {
    /// Starts everything, and waits until the replicas follow and the Sentinels know each other.
    pub(crate) async fn start() -> Self {
        Self::start_in(Loopback::new(), None).await
    }

    /// The same in a net of the caller's, with TLS if there are files, which are for the addresses 1 to 3 and 10 to 12.
    pub(crate) async fn start_in(net: Loopback, tls: Option<&TlsFiles>) -> Self {
        let servers = join_all((0..SERVERS).map(|number| server(net, number, tls))).await;
        let sentinels = (0..SENTINELS).map(|number| watcher(net, number, tls)).collect();
        let scheme = if tls.is_some() { "rediss-sentinel" } else { "redis-sentinel" };
        let sentinel = Self { servers, sentinels, net, scheme };
        for number in 0..SENTINELS {
            let agreed = async || {
                let known = sentinel.field(number, "num-other-sentinels").await?;
                let slaves = sentinel.field(number, "num-slaves").await?;
                (known == "2" && slaves == "2").then_some(())
            };
            within("the Sentinels know each other and the replicas", LONG, agreed).await;
        }
        for replica in &sentinel.servers[1..] {
            let follows = async || {
                replica.try_text(&["INFO", "replication"]).await?.contains("master_link_status:up").then_some(())
            };
            eventually("a replica of Redis follows", follows).await;
        }
        sentinel
    }

    /// The setting `redis.url`, with `user:password@` or nothing before the addresses.
    pub(crate) fn url(&self, credentials: &str) -> String {
        let at = |number: usize| format!("{}:{SENTINEL_PORT}", self.net.host(10 + number));
        let (scheme, first) = (self.scheme, at(0));
        format!("{scheme}://{credentials}{first}?sentinelServiceName={MASTER}&node={}&node={}", at(1), at(2))
    }

    /// Which server the Sentinels take for the master; `None` while they do not agree.
    pub(crate) async fn master(&self) -> Option<usize> {
        let mut found = None;
        for number in 0..SENTINELS {
            let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER];
            let Reply::Array(address) = self.try_command(number, &words).await? else { return None };
            let Some(Reply::Text(host)) = address.first() else { return None };
            let server = (0..SERVERS).find(|server| self.net.host(1 + server).to_string() == *host);
            if found.is_some() && found != server {
                return None;
            }
            found = server;
        }
        found
    }

    /// Waits until another server than this one is the master, by its own account too.
    pub(crate) async fn another_master(&self, than: usize) -> usize {
        let other = async || {
            let master = self.master().await.filter(|master| *master != than)?;
            let role = self.servers[master].try_text(&["INFO", "replication"]).await?;
            role.contains("role:master").then_some(master)
        };
        within("the Sentinels have made another master", LONG, other).await.0
    }

    /// Asks for a failover although nothing is wrong.
    pub(crate) async fn fail_over(&self) {
        // Just after the start the replicas may not count as good ones yet.
        let begun = async || {
            let reply = self.try_command(0, &["SENTINEL", "FAILOVER", MASTER]).await?;
            (reply == Reply::Text("OK".to_owned())).then_some(())
        };
        eventually("a Sentinel begins a failover", begun).await;
    }

    /// Runs a command on a Sentinel.
    pub(crate) async fn try_command(&self, number: usize, words: &[&str]) -> Option<Reply> {
        let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
        exchange_with(&self.sentinels[number].dir.path().join("redis.sock"), None, &words).await
    }

    async fn field(&self, number: usize, name: &str) -> Option<String> {
        let Reply::Array(fields) = self.try_command(number, &["SENTINEL", "MASTER", MASTER]).await? else {
            return None;
        };
        let at = fields.iter().position(|field| *field == Reply::Text(name.to_owned()))?;
        match fields.get(at + 1)? {
            Reply::Text(value) => Some(value.clone()),
            Reply::Bytes(_) | Reply::Error(_) | Reply::Nil | Reply::Array(_) => None,
        }
    }
}

async fn server(net: Loopback, number: usize, tls: Option<&TlsFiles>) -> Redis {
    let (host, master) = (net.host(1 + number).to_string(), net.host(1).to_string());
    let port = PORT.to_string();
    let mut options = TlsFiles::options(tls, &port);
    options.extend(["--bind", &host, "--protected-mode", "no"]);
    options.extend(["--replica-announce-ip", &host, "--repl-diskless-sync-delay", "0"]);
    if number > 0 {
        options.extend(["--replicaof", &master, &port]);
    }
    Redis::start_with(&options).await
}

fn watcher(net: Loopback, number: usize, tls: Option<&TlsFiles>) -> Watcher {
    let dir = template::directory();
    let file = dir.path().join("sentinel.conf");
    fs::write(&file, configuration(net.host(1), net.host(10 + number), &dir, tls)).expect("it is writable");
    let mut command = Command::new("redis-server");
    command.arg(file).arg("--sentinel");
    Watcher { _process: Process::spawn(command, dir.path(), "sentinel"), dir }
}

/// A failover in seconds rather than in half a minute.
fn configuration(master: IpAddr, host: IpAddr, dir: &TempDir, tls: Option<&TlsFiles>) -> String {
    let (dir, port) = (dir.path().display(), SENTINEL_PORT.to_string());
    let mut lines = TlsFiles::options(tls, &port);
    lines.extend(["--port", "0"].into_iter().filter(|_| tls.is_some()));
    // `name value`, as a file has it.
    let lines: Vec<_> = lines.chunks(2).map(|pair| pair.join(" ").split_off(2)).collect();
    let lines = lines.join("\n");
    format!(
        "{lines}\nbind {host}\nprotected-mode no\ndir {dir}\nunixsocket {dir}/redis.sock\n\
         sentinel announce-ip {host}\nsentinel announce-port {SENTINEL_PORT}\n\
         sentinel monitor {MASTER} {master} {PORT} 2\nsentinel down-after-milliseconds {MASTER} 500\n\
         sentinel failover-timeout {MASTER} 3000\nsentinel parallel-syncs {MASTER} 2\n"
    )
}
