//! Envoy with the file that is shipped for TLS on both sides.

use std::fs;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use super::Store;
use crate::{
    callers::tls::authority::{Authority, Validity},
    harness::{
        client::Client,
        envoy::Envoy,
        eventually::eventually,
        loopback::Loopback,
        server::{Server, Settings, setting},
        template,
    },
    topology::fleet::{PORT, bootstrap},
};

const FILE: &str = include_str!("../../../../deploy/envoy/load-balancer-tls.yaml");

#[tokio::test(flavor = "multi_thread")]
async fn envoy_encrypts_on_both_sides_and_takes_no_replica_of_another_name() {
    let (ours, net) = (Authority::new("ours"), Loopback::new());
    let trust = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ours.certificate()));
    let mut replicas = Vec::new();
    for (number, name) in [(1, "tokenward"), (2, "another.example.org")] {
        let (files, host) = (Store::new(&ours), net.host(number).to_string());
        files.show(&ours.sign(&[name, &host], Validity::Now));
        let settings: Settings = vec![
            setting("TOKENWARD_SERVER__TLS_CERT", files.path("cert.pem")),
            setting("TOKENWARD_SERVER__TLS_KEY", files.path("key.pem")),
        ];
        let at = format!("{host}:{PORT}");
        replicas.push((Server::start_on(template::directory(), &settings, &at, Some(trust.clone())).await, files));
    }
    let dir = template::directory();
    let own = ours.sign(&["envoy"], Validity::Now);
    for (name, pem) in [("envoy.crt", &own.certificate), ("envoy.key", &own.key), ("ca.crt", &ours.certificate())] {
        fs::write(dir.path().join(name), pem).expect("a test's directory is writable");
    }
    let here = dir.path().to_str().expect("a test's path is text");
    let file = bootstrap(FILE, &[net.host(1), net.host(2)]).replace("/run/secrets", here);
    let envoy = Envoy::start_in(dir, &file).await;
    let stat = async |name: &str| envoy.stat(&format!("cluster.tokenward.{name}")).await;
    let judged =
        async || (stat("membership_healthy").await == 1 && stat("ssl.fail_verify_san").await > 0).then_some(());
    eventually("one replica is taken, and one refused for its name", judged).await;

    let url = format!("https://{}", envoy.listener("grpc").await);
    let endpoint = Endpoint::from_shared(url).expect("Envoy has a URL").tls_config(trust).expect("it is sound");
    let client = Client::new(endpoint.connect().await.expect("Envoy shows a certificate of the authority"));
    for user in ["alice", "bob", "carol"] {
        let secret = client.issue(user).await.secret;
        assert!(client.authenticate(&secret).await.active, "each call goes to the one replica");
    }
}
