//! Redis Cluster: three masters with a third of the slots each, and a replica of each.

use std::collections::BTreeSet;

use futures::future::join_all;

use super::{
    super::{eventually::within, loopback::Loopback},
    LONG, Redis, Reply, TlsFiles,
};

const MASTERS: usize = 3;
const PORT: &str = "6379";
const SLOTS: usize = 16_384;

/// All of it. The replica of `nodes[n]` is `nodes[n + 3]`.
pub(crate) struct RedisCluster {
    pub(crate) nodes: Vec<Redis>,
    net: Loopback,
    scheme: &'static str,
}

// === impl RedisCluster ===

impl RedisCluster {
    /// Starts everything, and waits until all nodes agree and all replicas follow.
    pub(crate) async fn start() -> Self {
        Self::start_in(Loopback::new(), None).await
    }

    /// The same in a net of the caller's, with TLS if there are files, which are for the addresses 1 to 6.
    pub(crate) async fn start_in(net: Loopback, tls: Option<&TlsFiles>) -> Self {
        let nodes = join_all((0..2 * MASTERS).map(|number| node(net, number, tls))).await;
        let scheme = if tls.is_some() { "rediss-cluster" } else { "redis-cluster" };
        let cluster = Self { nodes, net, scheme };
        cluster.meet().await;
        cluster.follow().await;
        cluster
    }

    /// The setting `redis.url`, with `user:password@` or nothing before the addresses.
    pub(crate) fn url(&self, credentials: &str) -> String {
        let at = |number: usize| format!("{}:{PORT}", self.net.host(1 + number));
        format!("{}://{credentials}{}?node={}&node={}", self.scheme, at(0), at(1), at(2))
    }

    /// Waits until the replica of a master that was killed has taken its slots over.
    pub(crate) async fn replica_in_the_place_of(&self, master: usize) {
        let replica = &self.nodes[master + MASTERS];
        let taken = async || {
            let role = replica.try_text(&["INFO", "replication"]).await?;
            let state = replica.try_text(&["CLUSTER", "INFO"]).await?;
            (role.contains("role:master") && state.contains("cluster_state:ok")).then_some(())
        };
        within("the replica has taken its master's place", LONG, taken).await;
    }

    /// The slots of a node in which there is anything.
    pub(crate) async fn used_slots(&self, node: usize) -> BTreeSet<String> {
        let Reply::Array(keys) = self.nodes[node].command(&["KEYS", "*"]).await else { panic!("KEYS gives a list") };
        let mut slots = BTreeSet::new();
        for key in keys {
            let Reply::Text(key) = key else { panic!("a key is a string") };
            slots.insert(self.slot_of(&key).await);
        }
        slots
    }

    /// The slot of a key.
    pub(crate) async fn slot_of(&self, key: &str) -> String {
        self.text(0, &["CLUSTER", "KEYSLOT", key]).await
    }

    /// Whether a master had this slot at the start.
    pub(crate) fn had(master: usize, slot: &str) -> bool {
        let slot: usize = slot.parse().expect("a slot is a number");
        (master * SLOTS / MASTERS..(master + 1) * SLOTS / MASTERS).contains(&slot)
    }

    /// Begins to move a slot: what is not in it any more, or not yet, is asked for at the other node.
    pub(crate) async fn open(&self, slot: &str, from: usize, to: usize) {
        let (giver, taker) = (self.id(from).await, self.id(to).await);
        self.text(to, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &giver]).await;
        self.text(from, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &taker]).await;
    }

    /// Moves what is in the slot, and gives it to the other node for good.
    pub(crate) async fn hand_over(&self, slot: &str, from: usize, to: usize) {
        let host = self.net.host(1 + to).to_string();
        loop {
            let words = ["CLUSTER", "GETKEYSINSLOT", slot, "100"];
            let Reply::Array(keys) = self.nodes[from].command(&words).await else { panic!("it gives a list") };
            let keys = keys.iter().map(|key| match key {
                Reply::Text(key) => key.as_str(),
                Reply::Bytes(_) | Reply::Error(_) | Reply::Nil | Reply::Array(_) => panic!("a key is text"),
            });
            let keys: Vec<_> = keys.collect();
            if keys.is_empty() {
                break;
            }
            let migrate = ["MIGRATE", &host, PORT, "", "0", "5000", "KEYS"];
            self.nodes[from].command(&[&migrate[..], &keys].concat()).await;
        }
        let taker = self.id(to).await;
        // The taker first, as redis-cli does: the giver would take the slot back.
        for node in [to, from].into_iter().chain((0..MASTERS).filter(|node| ![from, to].contains(node))) {
            self.text(node, &["CLUSTER", "SETSLOT", slot, "NODE", &taker]).await;
        }
    }

    async fn meet(&self) {
        for number in 0..MASTERS {
            let (first, last) = (number * SLOTS / MASTERS, (number + 1) * SLOTS / MASTERS - 1);
            let (first, last) = (first.to_string(), last.to_string());
            self.text(number, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
        }
        for number in 0..self.nodes.len() {
            self.text(number, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await;
        }
        for number in 1..self.nodes.len() {
            self.text(0, &["CLUSTER", "MEET", &self.net.host(1 + number).to_string(), PORT]).await;
        }
        for number in 0..self.nodes.len() {
            let whole = async || {
                let state = self.nodes[number].try_text(&["CLUSTER", "INFO"]).await?;
                let met = state.contains("cluster_known_nodes:6") && state.contains("cluster_state:ok");
                met.then_some(())
            };
            within("the nodes know each other", LONG, whole).await;
        }
    }

    async fn follow(&self) {
        for number in 0..MASTERS {
            let master = self.id(number).await;
            let replica = &self.nodes[number + MASTERS];
            replica.command(&["CLUSTER", "REPLICATE", &master]).await;
        }
        for number in MASTERS..self.nodes.len() {
            let follows = async || {
                let nodes = self.nodes[0].try_text(&["CLUSTER", "NODES"]).await?;
                let known = nodes.lines().filter(|line| line.contains("slave")).count() == MASTERS;
                let info = self.nodes[number].try_text(&["INFO", "replication"]).await?;
                (known && info.contains("master_link_status:up")).then_some(())
            };
            within("the replicas follow", LONG, follows).await;
        }
    }

    async fn id(&self, node: usize) -> String {
        self.text(node, &["CLUSTER", "MYID"]).await
    }

    async fn text(&self, node: usize, words: &[&str]) -> String {
        match self.nodes[node].command(words).await {
            Reply::Text(text) => text,
            other => panic!("{words:?}: {other:?}"),
        }
    }
}

async fn node(net: Loopback, number: usize, tls: Option<&TlsFiles>) -> Redis {
    let host = net.host(1 + number).to_string();
    let mut options = TlsFiles::options(tls, PORT);
    options.extend(["--bind", &host, "--protected-mode", "no", "--cluster-enabled", "yes"]);
    options.extend(["--tls-cluster", "yes"].into_iter().filter(|_| tls.is_some()));
    options.extend(["--cluster-announce-ip", &host, "--cluster-node-timeout", "1000"]);
    options.extend(["--repl-diskless-sync-delay", "0"]);
    Redis::start_with(&options).await
}
