//! TLS to Redis behind Sentinels and to Redis Cluster: every server is asked for its certificate, those that are
//! found on the way too.

use nix::sys::signal::Signal;
use tokenward::proto::AnswerSource;

use super::{Store, answered_from, lost};
use crate::{
    callers::tls::authority::{Authority, Validity},
    harness::{
        client::Client,
        eventually::eventually,
        loopback::Loopback,
        redis::{RedisCluster, Sentinel, TlsFiles},
        server::{Server, Settings, setting},
    },
};

/// Tokens, so that each master of a cluster has some.
const TOKENS: usize = 12;

/// Where servers of one authority are, and who trusts another.
struct Site {
    ours: Authority,
    mine: Store,
    net: Loopback,
    files: TlsFiles,
    _theirs: Store,
}

// === impl Site ===

impl Site {
    /// Machines with these numbers.
    fn of(machines: impl IntoIterator<Item = usize>) -> Self {
        let (ours, net) = (Authority::new("ours"), Loopback::new());
        let (theirs, mine) = (Store::new(&ours), Store::new(&Authority::new("strangers")));
        let hosts: Vec<_> = machines.into_iter().map(|number| net.host(number).to_string()).collect();
        theirs.show(&ours.sign(&hosts.iter().map(String::as_str).collect::<Vec<_>>(), Validity::Now));
        let files = TlsFiles { cert: theirs.path("cert.pem"), key: theirs.path("key.pem"), ca: theirs.path("ca.pem") };
        Self { ours, mine, net, files, _theirs: theirs }
    }

    /// A service that does not trust them at first, and logs so, and then does; gives tokens that are answered from Redis.
    async fn served(&self, url: String, told: &str) -> (Server, Vec<String>) {
        let settings: Settings = vec![
            setting("TOKENWARD_REDIS__URL", url),
            setting("TOKENWARD_REDIS__TLS_CA", self.mine.path("ca.pem")),
            // A handshake on a busy machine.
            setting("TOKENWARD_REDIS__CONNECT_TIMEOUT", "5s"),
            setting("TOKENWARD_REDIS__COMMAND_TIMEOUT", "2s"),
        ];
        let server = Server::start(&settings).await;
        let client = server.client();
        let mut secrets = Vec::new();
        for number in 0..TOKENS {
            secrets.push(client.issue(&format!("user-{number}")).await.secret);
        }
        lost(&client).await;
        let seen = async || server.output().contains(told).then_some(());
        eventually("the log says what is wrong", seen).await;
        for _ in 0..2 {
            answered_from(&client, &secrets[0], AnswerSource::Database).await;
        }
        self.mine.trust(&self.ours);
        server.signal(Signal::SIGHUP);
        all_from_redis(&client, &secrets).await;
        (server, secrets)
    }
}

async fn all_from_redis(client: &Client, secrets: &[String]) {
    for secret in secrets {
        answered_from(client, secret, AnswerSource::SharedCache).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_their_servers_must_show_certificates_of_the_private_authority() {
    let site = Site::of((1..=3).chain(10..=12));
    let sentinel = Sentinel::start_in(site.net, Some(&site.files)).await;
    let (server, secrets) = site.served(sentinel.url(""), "no Sentinel can be asked").await;
    sentinel.fail_over().await;
    sentinel.another_master(0).await;
    all_from_redis(&server.client(), &secrets).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_node_of_a_cluster_must_show_a_certificate_of_the_private_authority() {
    let site = Site::of(1..=6);
    let mut cluster = RedisCluster::start_in(site.net, Some(&site.files)).await;
    let (server, secrets) = site.served(cluster.url(""), "UnknownIssuer").await;
    cluster.nodes[0].kill();
    cluster.replica_in_the_place_of(0).await;
    all_from_redis(&server.client(), &secrets).await;
}
