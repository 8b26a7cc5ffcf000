//! TLS: whose certificates are taken, and how they are replaced.

use std::{fs, path::Path};

use futures::poll;
use nix::sys::signal::Signal;
use tokenward::proto::GetStatusRequest;
use tonic::{
    Code,
    transport::{Certificate, ClientTlsConfig, Identity},
};

use super::{ADMIN, name_callers, with_key};
use crate::harness::{
    client::{Client, Refusal, about},
    eventually::eventually,
    server::{Server, Settings, setting},
    stack::{On, Stack, With},
};

pub(crate) mod authority;

use authority::{Authority, Signed, Validity};

const NAME: &str = "spiffe://example.org/gateway";
const CALLERS: &str = r#"
    [[caller]]
    name = "gateway"
    sans = ["spiffe://example.org/gateway", "gw.example.org"]
    methods = ["StatusService/GetStatus", "TokenService/Authenticate", "TokenService/IssueToken"]

    [[caller]]
    name = "admin"
    keys_file = "admin.keys"
    methods = ["*"]
"#;

/// A directory with everything that TLS and callers need, and the settings that name it.
fn prepared(server: &Signed, clients: &Authority) -> (tempfile::TempDir, Settings) {
    let dir = crate::harness::server::directory();
    write(dir.path(), server);
    fs::write(dir.path().join("ca.pem"), clients.certificate()).expect("a test's directory is writable");
    fs::write(dir.path().join("admin.keys"), ADMIN).expect("a test's directory is writable");
    let mut settings = name_callers(dir.path(), CALLERS);
    let file = |name: &str| dir.path().join(name).to_str().expect("a test's path is text").to_owned();
    settings.push(setting("TOKENWARD_SERVER__TLS_CERT", file("cert.pem")));
    settings.push(setting("TOKENWARD_SERVER__TLS_KEY", file("key.pem")));
    settings.push(setting("TOKENWARD_SERVER__TLS_CLIENT_CA", file("ca.pem")));
    (dir, settings)
}

fn write(dir: &Path, server: &Signed) {
    fs::write(dir.join("cert.pem"), &server.certificate).expect("a test's directory is writable");
    fs::write(dir.join("key.pem"), &server.key).expect("a test's directory is writable");
}

/// A client that trusts this authority.
fn trusting(authority: &Authority) -> ClientTlsConfig {
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.certificate()))
}

/// The same, with a certificate of its own.
fn showing(authority: &Authority, certificate: &Signed) -> ClientTlsConfig {
    trusting(authority).identity(Identity::from_pem(&certificate.certificate, &certificate.key))
}

async fn status(client: &Client) -> Result<(), tonic::Status> {
    client.status.clone().get_status(GetStatusRequest {}).await.map(|_| ())
}

/// A server whose listener others reach, and the authorities of both sides.
async fn start() -> (Server, Authority, Authority) {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let (dir, settings) = prepared(&servers.sign(&[][..], Validity::Now), &clients);
    let server = Server::start_on(dir, &settings, "127.0.0.1:0", Some(trusting(&servers))).await;
    (server, servers, clients)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_known_by_an_exact_name_in_a_certificate_of_the_right_authority() {
    let (server, servers, clients) = start().await;
    for (names, reason) in [
        (&[NAME][..], None),
        (&["gw.example.org"][..], None),
        (&["other.example.org", "GW.example.org"][..], None),
        (&["spiffe://example.org/gateway/"][..], Some("CALLER_UNAUTHENTICATED")),
        (&["spiffe://example.org/other"][..], Some("CALLER_UNAUTHENTICATED")),
        (&["x.gw.example.org"][..], Some("CALLER_UNAUTHENTICATED")),
        (&["*.example.org"][..], Some("CALLER_UNAUTHENTICATED")),
        (&[][..], Some("CALLER_UNAUTHENTICATED")),
    ] {
        let shown = showing(&servers, &clients.sign(names, Validity::Now));
        let client = server.connect_with(&shown).await.unwrap_or_else(|error| panic!("{names:?}: {error}"));
        let refused = status(&client).await.err().map(|status| Refusal::of(&status).reason);
        assert_eq!(refused.as_deref(), reason, "{names:?}");
    }
    let gateway = showing(&servers, &clients.sign(&[NAME], Validity::Now));
    let gateway = server.connect_with(&gateway).await.expect("the certificate is good");
    let revoke = gateway.try_revoke(tokenward::proto::revoke_request::Target::Token("x".to_owned())).await;
    let refused = Refusal::of(&revoke.expect_err("it is not among its methods"));
    assert_eq!(refused.kind(), (Code::PermissionDenied, "CALLER_NOT_ALLOWED"));
    let recorded = "caller=\"gateway\" peer=\"127.0.0.1:";
    let output = server.output();
    let record = output.lines().find(|line| line.contains(recorded)).unwrap_or_else(|| panic!("{output}"));
    assert!(record.contains(&format!("certificate=\"{NAME}\"")), "its record names the certificate: {record}");

    let strangers = Authority::new("strangers");
    for (what, shown) in [
        ("a certificate of another authority", strangers.sign(&[NAME], Validity::Now)),
        ("a certificate of the servers' authority", servers.sign(&[NAME], Validity::Now)),
        ("a certificate that has expired", clients.sign(&[NAME], Validity::Past)),
        ("a certificate that is not good yet", clients.sign(&[NAME], Validity::Future)),
    ] {
        // With TLS 1.3 the client may take the connection for made until it uses it.
        let got = match server.connect_with(&showing(&servers, &shown)).await {
            Ok(client) => client.check("").await.map_err(|status| status.code()),
            Err(_) => Err(Code::Unavailable),
        };
        assert!(got.is_err(), "{what}: {got:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_there_is_health_and_there_are_keys() {
    let (server, servers, _) = start().await;
    let client = server.connect_with(&trusting(&servers)).await.expect("the server's certificate is good");
    assert!(client.serving("").await, "health needs no credential");
    let refused = status(&client).await.expect_err("a method does");
    assert_eq!(Refusal::of(&refused).kind(), (Code::Unauthenticated, "CALLER_UNAUTHENTICATED"));
    let answer = client.status.clone().get_status(with_key(GetStatusRequest {}, ADMIN)).await;
    assert!(!answer.expect("the key is right").into_inner().insecure);
    assert!(server.url().starts_with("https://"));
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_replaced_without_a_restart_and_calls_under_way_are_answered() {
    let (old, new, clients) = (Authority::new("old"), Authority::new("new"), Authority::new("clients"));
    let (dir, settings) = prepared(&old.sign(&[][..], Validity::Now), &clients);
    let patient = [
        ("TOKENWARD_SERVER__REQUEST_TIMEOUT", "60s"),
        ("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "60s"),
        ("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "60s"),
    ];
    let settings: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).chain(patient).collect();
    let gateway = clients.sign(&[NAME], Validity::Now);
    let mut stack = Stack::start_tls(On::Postgres, With::Memory, &settings, showing(&old, &gateway)).await;
    let client = stack.client();
    let secret = client.issue("patient").await.secret;

    stack.postgres().server.pause();
    let asking = client.clone();
    let mut asking = Box::pin(async move { asking.try_authenticate(about(&secret)).await.map(|answer| answer.active) });
    assert!(poll!(&mut asking).is_pending());
    client.check("").await.expect("what is sent later has an answer, so the service has the question");
    let asking = tokio::spawn(asking);

    // First a pair that does not fit: the old one stays.
    fs::write(dir.path().join("cert.pem"), new.sign(&[][..], Validity::Now).certificate).expect("it is writable");
    stack.server.signal(Signal::SIGHUP);
    let faulty = async || stack.server.output().contains("cannot be used together").then_some(());
    eventually("the fault is logged with the files", faulty).await;
    assert!(stack.server.connect_with(&showing(&old, &gateway)).await.is_ok(), "the old certificate stays in use");

    write(dir.path(), &new.sign(&[][..], Validity::Now));
    stack.server.signal(Signal::SIGHUP);
    eventually("the new certificate is shown", async || stack.server.connect_with(&showing(&new, &gateway)).await.ok())
        .await;
    assert!(stack.server.connect_with(&showing(&old, &gateway)).await.is_err(), "the old one is not");
    assert!(!asking.is_finished(), "the database has not answered");
    stack.postgres().server.resume();
    assert!(asking.await.expect("it ends").expect("it is answered on the old connection"), "the token is active");

    let others = Authority::new("other clients");
    fs::write(dir.path().join("ca.pem"), others.certificate()).expect("it is writable");
    let other = showing(&new, &others.sign(&[NAME], Validity::Now));
    eventually("the new authority is trusted", async || {
        let client = stack.server.connect_with(&other).await.ok()?;
        status(&client).await.ok()
    })
    .await;
    // On the open connection too: it is closed, and cannot be made again.
    eventually("the old authority is not", async || status(&client).await.err()).await;
    for _ in 0..10 {
        status(&client).await.expect_err("its callers are nobody any more");
    }
}
