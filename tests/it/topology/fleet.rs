//! Three replicas at addresses of their own, on one PostgreSQL and one Redis, behind Envoy.

use std::time::Duration;

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
const PORT: u16 = 50051;

/// As in docs/operations.md, but that everything is looked at more often.
const BOOTSTRAP: &str = r#"
static_resources:
  listeners:
  - name: grpc
    address: {socket_address: {address: 127.0.0.1, port_value: 0}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: grpc
          codec_type: HTTP2
          route_config:
            virtual_hosts:
            - name: tokenward
              domains: ["*"]
              routes:
              - match: {prefix: /, grpc: {}}
                route:
                  cluster: tokenward
                  timeout: 10s
                  # Only what no replica has begun: a call that may have been carried out is the caller's to repeat.
                  retry_policy:
                    retry_on: connect-failure,refused-stream
                    num_retries: 2
                    retry_host_predicate:
                    - name: envoy.retry_host_predicates.previous_hosts
                      typed_config:
                        "@type": type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate
                    host_selection_retry_max_attempts: 5
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
  clusters:
  - name: tokenward
    type: STATIC
    connect_timeout: 1s
    lb_policy: ROUND_ROBIN
    # Envoy's own bound of 3 retries at once would be the loss of whoever else retries when a replica dies.
    circuit_breakers: {thresholds: [{max_retries: 1000}]}
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {max_concurrent_streams: 100}}
    health_checks:
    - timeout: 1s
      interval: 0.2s
      no_traffic_interval: 0.2s
      unhealthy_threshold: 2
      healthy_threshold: 1
      grpc_health_check: {service_name: tokenward.v1.TokenService}
    load_assignment:
      cluster_name: tokenward
      endpoints:
      - lb_endpoints:
"#;

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
        let endpoints = (0..REPLICAS).map(|number| {
            let host = net.host(1 + number);
            format!("        - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {PORT}}}}}}}\n")
        });
        let envoy = Envoy::start(&format!("{BOOTSTRAP}{}", endpoints.collect::<String>())).await;
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
        let page = self.envoy.try_get("/clusters").await.expect("Envoy's administration answers");
        let head = format!("tokenward::{}:{PORT}::rq_active::", self.net.host(1 + number));
        let active = page.lines().find_map(|line| line.strip_prefix(head.as_str()));
        active.expect("Envoy knows the replica").trim().parse().expect("a whole number")
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
