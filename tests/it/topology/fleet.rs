//! Three replicas at addresses of their own, on one PostgreSQL and one Redis, behind Envoy.

use std::{net::IpAddr, time::Duration};

use futures::future::join_all;

use crate::harness::{
    envoy::Envoy,
    eventually::within,
    loopback::Loopback,
    postgres::Postgres,
    redis::Redis,
    server::{Server, Settings, setting, tokenward},
    stack::MAC_KEY,
    template,
};

pub(super) const REPLICAS: usize = 3;
/// A replica that starts on a busy machine takes no longer.
const LONG: Duration = Duration::from_mins(1);
pub(super) const PORT: u16 = 50051;

/// The file that is shipped.
const BOOTSTRAP: &str = include_str!("../../../deploy/envoy/load-balancer.yaml");

/// A load balancer's file with these replicas, an address of a test's own, and health that is looked at more often.
pub(super) fn bootstrap(file: &str, replicas: &[IpAddr]) -> String {
    // The harness has its own.
    let (text, _admin) = file.split_once("\nadmin:").expect("its administration stands last");
    let (before, after) = text.split_once("              - endpoint:\n").expect("it names one endpoint");
    let (_endpoint, after) = after.split_once("      typed_extension").expect("which the cluster's options follow");
    let endpoints = replicas.iter().map(|host| {
        format!("              - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {PORT}}}}}}}\n")
    });
    let text = format!("{before}{}      typed_extension{after}\n", endpoints.collect::<String>());
    [
        ("{address: 0.0.0.0, port_value: 50051}", "{address: 127.0.0.1, port_value: 0}"),
        ("interval: 0.4s", "interval: 0.2s"),
    ]
    .into_iter()
    .fold(text, |text, (old, new)| {
        assert!(text.contains(old), "{old}");
        text.replace(old, new)
    })
}

/// All of it.
pub(super) struct Fleet {
    // Dropped first, so that nothing logs the loss of what it depends on.
    pub(super) envoy: Envoy,
    pub(super) replicas: Vec<Server>,
    settings: Settings,
    net: Loopback,
    _redis: Redis,
    _postgres: Postgres,
}

// === impl Fleet ===

impl Fleet {
    /// Starts everything, and waits until Envoy takes every replica for healthy.
    pub(super) async fn start() -> Self {
        let (postgres, redis, net) = (Postgres::start().await, Redis::start().await, Loopback::new());
        let directory = postgres.socket().parent().expect("a socket is in a directory").to_owned();
        let settings = vec![
            setting(
                "TOKENWARD_DATABASE__URL",
                format!("postgres://tokenward@localhost/tokenward?host={}", directory.display()),
            ),
            setting("TOKENWARD_REDIS__URL", format!("redis+unix://{}", redis.socket().display())),
            setting("TOKENWARD_CACHE__MAC_KEY", MAC_KEY),
            // Nothing is refused because a shared machine is slow.
            setting("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "5s"),
            setting("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "5s"),
            // Those of three replicas fit into what the server gives.
            setting("TOKENWARD_DATABASE__MAX_CONNECTIONS", "6"),
            setting("TOKENWARD_SERVER__REQUEST_TIMEOUT", "10s"),
            setting("TOKENWARD_SERVER__DRAIN_DELAY", "2s"),
        ];
        let dir = template::directory();
        template::run(tokenward(dir.path(), &settings).args(["migrate", "up"]));
        let replicas = join_all((0..REPLICAS).map(|number| replica(net, number, &settings))).await;
        let hosts: Vec<_> = (0..REPLICAS).map(|number| net.host(1 + number)).collect();
        let envoy = Envoy::start(&bootstrap(BOOTSTRAP, &hosts)).await;
        let fleet = Self { envoy, replicas, settings, net, _redis: redis, _postgres: postgres };
        fleet.healthy(REPLICAS).await;
        fleet
    }

    /// Where callers go.
    pub(super) async fn url(&self) -> String {
        format!("http://{}", self.envoy.listener("grpc").await)
    }

    /// Waits until Envoy takes so many replicas for healthy.
    pub(super) async fn healthy(&self, count: usize) {
        let so_many = async || {
            let healthy = self.envoy.stat("cluster.tokenward.membership_healthy").await;
            (usize::try_from(healthy) == Ok(count)).then_some(())
        };
        within(&format!("Envoy takes {count} replicas for healthy"), LONG, so_many).await;
    }

    /// Calls that Envoy has under way at a replica.
    pub(super) async fn under_way(&self, number: usize) -> u64 {
        self.figure(number, "rq_active").await
    }

    /// Attempts at a replica that Envoy takes for failed.
    pub(super) async fn lost(&self, number: usize) -> u64 {
        self.figure(number, "rq_error").await
    }

    async fn figure(&self, number: usize, name: &str) -> u64 {
        let page = self.envoy.try_get("/clusters").await.expect("Envoy's administration answers");
        let head = format!("tokenward::{}:{PORT}::{name}::", self.net.host(1 + number));
        let value = page.lines().find_map(|line| line.strip_prefix(head.as_str()));
        value.expect("Envoy knows the replica").trim().parse().expect("a whole number")
    }

    /// Starts a replica again at its address.
    pub(super) async fn start_again(&mut self, number: usize) {
        self.replicas[number] = replica(self.net, number, &self.settings).await;
    }
}

async fn replica(net: Loopback, number: usize, settings: &Settings) -> Server {
    let at = format!("{}:{PORT}", net.host(1 + number));
    Server::start_on(template::directory(), settings, &at, None).await
}
