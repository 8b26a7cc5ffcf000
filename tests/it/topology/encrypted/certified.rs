//! A database that asks for a certificate gets the one of `database.tls_cert`.

use super::{Store, migrated};
use crate::{
    callers::tls::authority::{Authority, Validity},
    harness::{
        loopback::Loopback,
        mariadb::MariaDb,
        postgres::Postgres,
        server::{Server, Settings, directory, setting},
    },
};

/// Refused without a certificate and with a stranger's; served with one of the authority's.
async fn asks_for_a_certificate(ours: &Authority, url: &str) {
    let (mine, dir) = (Store::new(ours), directory());
    let plain: Settings = vec![
        setting("TOKENWARD_DATABASE__URL", url),
        setting("TOKENWARD_DATABASE__TLS_CA", mine.path("ca.pem")),
        setting("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "5s"),
        setting("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "10s"),
    ];
    let mut settings = plain.clone();
    settings.push(setting("TOKENWARD_DATABASE__TLS_CERT", mine.path("cert.pem")));
    settings.push(setting("TOKENWARD_DATABASE__TLS_KEY", mine.path("key.pem")));
    let refused = |settings: &Settings, what: &str| {
        let said = migrated(dir.path(), settings).expect_err(what);
        let words = ["certificate", "Access denied", "alert", "UnknownCA"];
        assert!(words.iter().any(|word| said.contains(word)), "{what}: {said}");
        crate::harness::eventually::report(&format!("{what}: {said}"));
    };
    refused(&plain, "without a certificate");
    mine.show(&Authority::new("strangers").sign(&["tokenward"], Validity::Now));
    refused(&settings, "with a stranger's certificate");
    mine.show(&ours.sign(&["tokenward"], Validity::Past));
    refused(&settings, "with a certificate that has expired");
    mine.show(&ours.sign(&["tokenward"], Validity::Now));
    migrated(dir.path(), &settings).expect("the certificate is the authority's");
    let server = Server::start(&settings).await;
    let secret = server.client().issue("alice").await.secret;
    assert!(server.client().authenticate(&secret).await.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_that_asks_for_a_certificate_gets_the_one_of_the_settings() {
    let (ours, host) = (Authority::new("ours"), Loopback::new().host(1).to_string());
    let (signed, authority) = (ours.sign(&[&host], Validity::Now), ours.certificate());
    let listen = format!("listen_addresses={host}");
    let options = [&*listen, "ssl=on", "ssl_cert_file=cert.pem", "ssl_key_file=key.pem", "ssl_ca_file=ca.pem"];
    let files = [
        ("cert.pem", &*signed.certificate),
        ("key.pem", &*signed.key),
        ("ca.pem", &*authority),
        ("pg_hba.conf", "local all all trust\nhostssl all all all trust clientcert=verify-ca\n"),
    ];
    let _postgres = Postgres::start_with(&options, &files).await;
    asks_for_a_certificate(&ours, &format!("postgres://tokenward@{host}:5432/tokenward")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_that_asks_for_a_certificate_gets_the_one_of_the_settings() {
    let (ours, host) = (Authority::new("ours"), Loopback::new().host(1).to_string());
    let (signed, authority) = (ours.sign(&[&host], Validity::Now), ours.certificate());
    let bind = format!("--bind-address={host}");
    let options = [&*bind, "--port=3306", "--ssl-cert=cert.pem", "--ssl-key=key.pem", "--ssl-ca=ca.pem"];
    let files = [("cert.pem", &*signed.certificate), ("key.pem", &*signed.key), ("ca.pem", &*authority)];
    let mariadb = MariaDb::start_with(&options, &files).await;
    mariadb.execute("CREATE USER certified@'%' REQUIRE X509").await;
    mariadb.execute("GRANT ALL ON tokenward.* TO certified@'%'").await;
    asks_for_a_certificate(&ours, &format!("mysql://certified@{host}:3306/tokenward")).await;
}
