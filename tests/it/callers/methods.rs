//! Every method, with no credential, a wrong one, one of another caller, and the right one.

use std::{fmt::Write as _, fs, time::Duration};

use prost_reflect::DescriptorPool;
use tokenward::proto::{DESCRIPTORS, health::HealthListRequest};
use tokio::time::timeout;
use tonic::{Code, Status};

use super::{ADMIN, GATEWAY, bearer, known, name_callers};
use crate::harness::{
    client::{Refusal, about},
    raw::{Call, socket},
    server::{Server, directory, setting},
};

/// Time after which a call that has no status yet counts as let through: it is a stream.
const STREAMS: Duration = Duration::from_secs(5);

const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
/// Reflection's own errors are not ours: this request has an answer. Field 7, empty.
const LIST_SERVICES: &[u8] = &[0x3a, 0];

/// Envoy's, which is not of the contract.
const CHECK: &str = "Authorization/Check";

/// Every method of the contract, as `TokenService/Authenticate`, and Envoy's; the health service is not among them.
fn methods() -> Vec<String> {
    let pool = DescriptorPool::decode(DESCRIPTORS).expect("build.rs wrote the descriptor set");
    let ours = pool.services().filter(|service| service.package_name() == "tokenward.v1").collect::<Vec<_>>();
    let of = |service: &prost_reflect::ServiceDescriptor| {
        let name = service.name().to_owned();
        service.methods().map(move |method| format!("{name}/{}", method.name())).collect::<Vec<_>>()
    };
    ours.iter().flat_map(of).chain([CHECK.to_owned()]).collect()
}

fn path_of(method: &str) -> String {
    let package = if method == CHECK { "envoy.service.auth.v3" } else { "tokenward.v1" };
    format!("/{package}.{method}")
}

/// The key of the caller that may use the method of this index only.
fn key_of(index: usize) -> String {
    format!("{index:04}-0123456789abcdef0123456789abcdef")
}

async fn call(server: &Server, path: &str, headers: &[String]) -> Option<Status> {
    let message = if path.starts_with(REFLECTION) { LIST_SERVICES } else { &[] };
    let call = headers.iter().fold(Call::new(path, message), |call, header| call.header("authorization", header));
    timeout(STREAMS, call.send(server.url())).await.ok()
}

fn kind(status: Option<Status>) -> Option<(Code, String)> {
    status.filter(|status| status.code() != Code::Ok).map(|status| {
        let refusal = Refusal::of(&status);
        (refusal.code, refusal.reason)
    })
}

fn unauthenticated() -> (Code, String) {
    (Code::Unauthenticated, "CALLER_UNAUTHENTICATED".to_owned())
}

fn not_allowed() -> (Code, String) {
    (Code::PermissionDenied, "CALLER_NOT_ALLOWED".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_for_its_callers_only() {
    let (dir, methods) = (directory(), methods());
    assert!(methods.len() >= 14, "{methods:?}");
    let mut callers = String::new();
    for (index, method) in methods.iter().enumerate() {
        fs::write(dir.path().join(format!("{index}.keys")), key_of(index)).expect("a test's directory is writable");
        let keys = format!("keys_file = \"{index}.keys\"");
        writeln!(callers, "[[caller]]\nname = \"only-{index}\"\n{keys}\nmethods = [\"{method}\"]")
            .expect("a String takes all text");
    }
    let mut settings = name_callers(dir.path(), &callers);
    settings.push(setting("TOKENWARD_EXT_AUTHZ__ENABLED", "true"));
    let server = Server::start_in(dir, &settings).await;
    for (index, method) in methods.iter().enumerate() {
        let path = path_of(method);
        let with = async |key: String| kind(call(&server, &path, &[bearer(&key)]).await);
        assert_eq!(kind(call(&server, &path, &[]).await), Some(unauthenticated()), "{method} without a credential");
        assert_eq!(with("0".repeat(48)).await, Some(unauthenticated()), "{method} with a wrong key");
        let another = key_of((index + 1) % methods.len());
        assert_eq!(with(another).await, Some(not_allowed()), "{method} by another caller");
        let answer = with(key_of(index)).await;
        assert!(
            answer != Some(unauthenticated()) && answer != Some(not_allowed()),
            "{method} by its caller: {answer:?}"
        );
    }
    for path in ["/tokenward.v1.TokenService/Unheard", "/", "/a.b.C/D", "/tokenward.v1.TokenService/Authenticate/"] {
        assert_eq!(kind(call(&server, path, &[]).await), Some(unauthenticated()), "{path}");
        assert_eq!(kind(call(&server, path, &[bearer(&key_of(0))]).await), Some(not_allowed()), "{path}");
    }
    assert!(!server.output().contains(&key_of(0)), "no key is logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_that_is_not_one_key_is_no_credential() {
    let (dir, mut settings) = known();
    settings.push(setting("TOKENWARD_LOG__LEVEL", "trace"));
    let server = Server::start_in(dir, &settings).await;
    let path = "/tokenward.v1.StatusService/GetStatus";
    assert_eq!(kind(call(&server, path, &[bearer(ADMIN)]).await), None, "the key is right");
    for headers in [
        vec![bearer(ADMIN), bearer(ADMIN)],
        vec![bearer(ADMIN), String::new()],
        vec![ADMIN.to_owned()],
        vec![format!("Basic {ADMIN}")],
        vec![format!("Bearer  {ADMIN}")],
        vec![format!("Bearer {ADMIN}x")],
        vec![bearer(&ADMIN[1..])],
        vec!["Bearer".to_owned()],
        vec![String::new()],
    ] {
        assert_eq!(kind(call(&server, path, &headers).await), Some(unauthenticated()), "{headers:?}");
    }
    assert!(!server.output().contains(ADMIN), "no key is logged, at any level");
}

#[tokio::test(flavor = "multi_thread")]
async fn health_needs_no_credential_and_reflection_is_off_unless_asked_for() {
    let (dir, mut settings) = known();
    let server = Server::start_in(dir, &settings).await;
    let client = server.client();
    assert!(client.serving("").await && client.serving("tokenward.v1.TokenService").await);
    let mut list = tokenward::proto::health::health_client::HealthClient::new(client.channel.clone());
    assert!(list.list(HealthListRequest {}).await.is_ok());
    let unknown = Some((Code::Unimplemented, "METHOD_UNKNOWN".to_owned()));
    assert_eq!(kind(call(&server, REFLECTION, &[bearer(ADMIN)]).await), unknown);

    settings.push(setting("TOKENWARD_SERVER__REFLECTION", "true"));
    let (dir, _) = known();
    let settings = [name_callers(dir.path(), super::CALLERS), settings[1..].to_vec()].concat();
    let server = Server::start_in(dir, &settings).await;
    assert_eq!(kind(call(&server, REFLECTION, &[bearer(ADMIN)]).await), None);
    assert_eq!(kind(call(&server, REFLECTION, &[bearer(GATEWAY)]).await), Some(not_allowed()));
    assert_eq!(kind(call(&server, REFLECTION, &[]).await), Some(unauthenticated()));
}

/// h2 takes many streams that are closed before they were read for an attack, and a gateway that is not allowed
/// one method would lose the connection for the others.
#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_do_not_cost_a_connection() {
    let (dir, settings) = known();
    let server = Server::start_in(dir, &settings).await;
    let (client, connection) = h2::client::handshake(socket(server.url()).await).await.expect("HTTP/2 begins");
    tokio::spawn(connection);
    let key = bearer(GATEWAY);
    for _ in 0..1500 {
        let call = Call::new("/tokenward.v1.TokenService/Revoke", vec![0; 4096]).header("authorization", &key);
        let status = call.send_on(&client, server.url()).await.expect("the connection holds");
        assert_eq!(status.code(), Code::PermissionDenied, "{status:?}");
    }
    let message = prost::Message::encode_to_vec(&about("unknown"));
    let call = Call::new("/tokenward.v1.TokenService/Authenticate", message).header("authorization", &key);
    assert_eq!(call.send_on(&client, server.url()).await.expect("the connection holds").code(), Code::Ok);
}
