//! TLS to Redis, PostgreSQL and MariaDB with an authority of one's own.

mod certified;
mod proxied;
mod several;

use std::{fs, path::Path};

use nix::sys::signal::Signal;
use tempfile::TempDir;
use tokenward::proto::AnswerSource;

use crate::{
    callers::tls::authority::{Authority, Signed, Validity},
    harness::{
        client::Client,
        eventually::eventually,
        loopback::Loopback,
        mariadb::MariaDb,
        postgres::Postgres,
        redis::Redis,
        server::{Server, Settings, directory, setting, tokenward},
        template,
    },
};

/// Files of one side, in a directory of their own.
struct Store(TempDir);

// === impl Store ===

impl Store {
    fn new(authority: &Authority) -> Self {
        let store = Self(directory());
        store.trust(authority);
        store
    }

    fn trust(&self, authority: &Authority) {
        fs::write(self.path("ca.pem"), authority.certificate()).expect("a test's directory is writable");
    }

    fn show(&self, signed: &Signed) {
        fs::write(self.path("cert.pem"), &signed.certificate).expect("a test's directory is writable");
        fs::write(self.path("key.pem"), &signed.key).expect("a test's directory is writable");
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("a test's path is text").to_owned()
    }
}

/// Redis that speaks nothing but TLS on its port, with the files in `store`.
async fn redis(host: &str, store: &Store) -> Redis {
    let (cert, key, ca) = (store.path("cert.pem"), store.path("key.pem"), store.path("ca.pem"));
    let mut options = vec!["--bind", host, "--tls-port", "6379", "--protected-mode", "no"];
    options.extend(["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &ca]);
    options.extend(["--tls-auth-clients", "no"]);
    Redis::start_with(&options).await
}

/// Has Redis read its files again, and drops who is connected.
async fn reload(redis: &Redis, store: &Store, auth_clients: &str) {
    let (cert, key) = (store.path("cert.pem"), store.path("key.pem"));
    redis.command(&["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key]).await;
    redis.command(&["CONFIG", "SET", "tls-auth-clients", auth_clients]).await;
    redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
}

fn to_redis(host: &str, store: &Store) -> Settings {
    vec![
        setting("TOKENWARD_REDIS__URL", format!("rediss://{host}:6379")),
        setting("TOKENWARD_REDIS__TLS_CA", store.path("ca.pem")),
        // A handshake on a busy machine.
        setting("TOKENWARD_REDIS__CONNECT_TIMEOUT", "5s"),
        setting("TOKENWARD_REDIS__COMMAND_TIMEOUT", "1s"),
    ]
}

/// Waits until checks are answered from there, and none is refused on the way.
async fn answered_from(client: &Client, secret: &str, source: AnswerSource) {
    let from = async || {
        let answer = client.authenticate(secret).await;
        assert!(answer.active, "{answer:?}");
        (answer.source() == source).then_some(())
    };
    eventually(&format!("answers come from {source:?}"), from).await;
}

async fn lost(client: &Client) {
    eventually("Redis is lost", async || (!client.serving("redis").await).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_must_show_a_certificate_of_the_private_authority_that_has_not_expired() {
    let (ours, strangers, host) = (Authority::new("ours"), Authority::new("strangers"), Loopback::new().host(1));
    let host = host.to_string();
    let (theirs, mine) = (Store::new(&ours), Store::new(&strangers));
    theirs.show(&ours.sign(&[&host], Validity::Now));
    let redis = redis(&host, &theirs).await;
    let server = Server::start(&to_redis(&host, &mine)).await;
    let client = server.client();
    let secret = client.issue("alice").await.secret;
    lost(&client).await;
    answered_from(&client, &secret, AnswerSource::Database).await;
    assert!(server.output().contains("UnknownIssuer"), "the log says why");

    // The right authority, without a restart.
    mine.trust(&ours);
    server.signal(Signal::SIGHUP);
    answered_from(&client, &secret, AnswerSource::SharedCache).await;

    theirs.show(&ours.sign(&[&host], Validity::Past));
    reload(&redis, &theirs, "no").await;
    lost(&client).await;
    answered_from(&client, &secret, AnswerSource::Database).await;
    theirs.show(&ours.sign(&["another.example.org"], Validity::Now));
    reload(&redis, &theirs, "no").await;
    lost(&client).await;
    theirs.show(&ours.sign(&[&host], Validity::Now));
    reload(&redis, &theirs, "no").await;
    answered_from(&client, &secret, AnswerSource::SharedCache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_that_asks_for_a_certificate_gets_the_one_of_the_settings() {
    let (ours, host) = (Authority::new("ours"), Loopback::new().host(1).to_string());
    let (theirs, mine) = (Store::new(&ours), Store::new(&ours));
    theirs.show(&ours.sign(&[&host], Validity::Now));
    mine.show(&Authority::new("strangers").sign(&["tokenward"], Validity::Now));
    let redis = redis(&host, &theirs).await;
    reload(&redis, &theirs, "yes").await;
    let plain = Server::start(&to_redis(&host, &mine)).await;
    let mut settings = to_redis(&host, &mine);
    settings.push(setting("TOKENWARD_REDIS__TLS_CERT", mine.path("cert.pem")));
    settings.push(setting("TOKENWARD_REDIS__TLS_KEY", mine.path("key.pem")));
    let server = Server::start(&settings).await;
    for client in [plain.client(), server.client()] {
        let secret = client.issue("alice").await.secret;
        lost(&client).await;
        answered_from(&client, &secret, AnswerSource::Database).await;
    }
    mine.show(&ours.sign(&["tokenward"], Validity::Now));
    server.signal(Signal::SIGHUP);
    let client = server.client();
    let secret = client.issue("bob").await.secret;
    answered_from(&client, &secret, AnswerSource::SharedCache).await;
    lost(&plain.client()).await;
}

/// Runs a verb that needs the database, and gives what it wrote when it failed.
fn migrated(dir: &Path, settings: &Settings) -> Result<(), String> {
    let output = tokenward(dir, settings).args(["migrate", "up"]).output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(said) }
}

/// The right authority works, another is refused, and so is a certificate that has expired or names another host.
async fn a_database_must_show_a_certificate(url: &str, store: &Store, reload: impl AsyncFn(Validity, &[&str])) {
    let (host, dir) = (host_of(url), directory());
    let settings: Settings = vec![
        setting("TOKENWARD_DATABASE__URL", url),
        setting("TOKENWARD_DATABASE__TLS_CA", store.path("ca.pem")),
        setting("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "5s"),
        setting("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "10s"),
    ];
    migrated(dir.path(), &settings).expect("the authority is the right one");
    let server = Server::start(&settings).await;
    let secret = server.client().issue("alice").await.secret;
    assert!(server.client().authenticate(&secret).await.active);

    let strangers = Store::new(&Authority::new("strangers"));
    let mut others = settings.clone();
    others.push(setting("TOKENWARD_DATABASE__TLS_CA", strangers.path("ca.pem")));
    for (settings, validity, names) in [
        (&others, Validity::Now, [host]),
        (&settings, Validity::Past, [host]),
        (&settings, Validity::Now, ["another.example.org"]),
    ] {
        reload(validity, &names).await;
        let refused = async || {
            let said = migrated(dir.path(), settings).err()?;
            assert!(said.contains("certificate"), "{said}");
            Some(())
        };
        eventually(&format!("{validity:?} for {names:?} is refused"), refused).await;
    }
    reload(Validity::Now, &[host]).await;
    eventually("the right one is accepted again", async || migrated(dir.path(), &settings).ok()).await;
}

fn host_of(url: &str) -> &str {
    let (_, rest) = url.split_once('@').expect("the URL has a user");
    rest.split([':', '/']).next().expect("the URL has a host")
}

/// The hosts are not 127.0.0.1, which every certificate of the tests is good for.
#[tokio::test(flavor = "multi_thread")]
async fn postgresql_must_show_a_certificate_of_the_private_authority() {
    let (ours, host) = (Authority::new("ours"), Loopback::new().host(1).to_string());
    let signed = ours.sign(&[&host], Validity::Now);
    let listen = format!("listen_addresses={host}");
    let options = [listen.as_str(), "ssl=on", "ssl_cert_file=cert.pem", "ssl_key_file=key.pem"];
    let files = [
        ("cert.pem", signed.certificate.as_str()),
        ("key.pem", signed.key.as_str()),
        // Nobody is let in from another host without TLS.
        ("pg_hba.conf", "local all all trust\nhostssl all all all trust\n"),
    ];
    let postgres = Postgres::start_with(&options, &files).await;
    let data = postgres.socket().with_file_name("data");
    let reload = async |validity: Validity, names: &[&str]| {
        let signed = ours.sign(names, validity);
        template::private(&data.join("cert.pem"), &signed.certificate);
        template::private(&data.join("key.pem"), &signed.key);
        postgres.execute("SELECT pg_reload_conf()").await;
    };
    let url = format!("postgres://tokenward@{host}:5432/tokenward");
    a_database_must_show_a_certificate(&url, &Store::new(&ours), reload).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_must_show_a_certificate_of_the_private_authority() {
    let (ours, host) = (Authority::new("ours"), Loopback::new().host(1).to_string());
    let signed = ours.sign(&[&host], Validity::Now);
    let bind = format!("--bind-address={host}");
    let options = [bind.as_str(), "--port=3306", "--ssl-cert=cert.pem", "--ssl-key=key.pem"];
    let mariadb =
        MariaDb::start_with(&options, &[("cert.pem", signed.certificate.as_str()), ("key.pem", signed.key.as_str())])
            .await;
    mariadb.execute("CREATE USER encrypted@'%' REQUIRE SSL").await;
    mariadb.execute("GRANT ALL ON tokenward.* TO encrypted@'%'").await;
    let data = mariadb.socket().with_file_name("data");
    let reload = async |validity: Validity, names: &[&str]| {
        let signed = ours.sign(names, validity);
        template::private(&data.join("cert.pem"), &signed.certificate);
        template::private(&data.join("key.pem"), &signed.key);
        mariadb.execute("FLUSH SSL").await;
    };
    let url = format!("mysql://encrypted@{host}:3306/tokenward");
    a_database_must_show_a_certificate(&url, &Store::new(&ours), reload).await;
}
