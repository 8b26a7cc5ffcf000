//! What is counted of callers.

use tokenward::proto::GetStatusRequest;
use tonic::Code;

use super::{ADMIN, GATEWAY, known, with_key};
use crate::harness::{
    client::{about, for_user},
    http::get,
    server::{Server, setting},
};

#[tokio::test(flavor = "multi_thread")]
async fn refused_calls_are_counted_by_their_reason_and_issued_tokens_by_their_caller() {
    let (dir, mut settings) = known();
    settings.push(setting("TOKENWARD_HTTP__LISTEN", "127.0.0.1:0"));
    let server = Server::start_in(dir, &settings).await;
    let client = server.client();
    let refused = client.try_authenticate(about("0")).await.expect_err("nobody's call");
    assert_eq!(refused.code(), Code::Unauthenticated);
    let refused = client.status.clone().get_status(with_key(GetStatusRequest {}, GATEWAY)).await;
    assert_eq!(refused.expect_err("the gateway may not").code(), Code::PermissionDenied);
    client.tokens.clone().issue_token(with_key(for_user("alice"), ADMIN)).await.expect("an administrator may");
    let scrape = get(&server.http(), "/metrics").await.body;
    for line in [
        "tokenward_caller_rejected_total{reason=\"unauthenticated\"} 1",
        "tokenward_caller_rejected_total{reason=\"not_allowed\"} 1",
        "tokenward_issued_total{caller=\"admin\"} 1",
    ] {
        assert!(scrape.contains(line), "{line}: {scrape}");
    }
    let denied = |line: &&str| line.starts_with("grpc_server_handled_total") && line.contains("PermissionDenied");
    let denied: Vec<_> = scrape.lines().filter(denied).filter(|line| !line.ends_with(" 0")).collect();
    assert!(denied.len() == 1 && denied[0].contains("GetStatus") && denied[0].ends_with(" 1"), "{denied:?}");
}
