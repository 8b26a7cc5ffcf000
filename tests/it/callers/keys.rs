//! Keys come and go without a restart.

use std::fs;

use nix::sys::signal::Signal;
use tokenward::proto::GetStatusRequest;
use tonic::Code;

use super::{ADMIN, known, with_key};
use crate::harness::{eventually::eventually, server::Server};

const NEWER: &str = "newer-key-0123456789abcdef0123456789abcdef";

async fn accepts(server: &Server, key: &str) -> bool {
    match server.client().status.get_status(with_key(GetStatusRequest {}, key)).await {
        Ok(_) => true,
        Err(status) if status.code() == Code::Unauthenticated => false,
        Err(status) => panic!("{status:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_rotated_with_an_overlap_on_an_open_connection() {
    let (dir, settings) = known();
    let server = Server::start_in(dir, &settings).await;
    let write = |keys: String| fs::write(server.dir().join("admin.keys"), keys).expect("it is writable");
    assert!(accepts(&server, ADMIN).await && !accepts(&server, NEWER).await);

    write(format!("{ADMIN}\n{NEWER}\n"));
    eventually("the new key is accepted", async || accepts(&server, NEWER).await.then_some(())).await;
    assert!(accepts(&server, ADMIN).await, "both are good for a while");

    write(format!("{NEWER}\n"));
    server.signal(Signal::SIGHUP);
    eventually("the old key is refused", async || (!accepts(&server, ADMIN).await).then_some(())).await;
    assert!(accepts(&server, NEWER).await);

    write("short\n".to_owned());
    eventually("the fault is logged", async || server.output().contains("admin.keys:1").then_some(())).await;
    assert!(accepts(&server, NEWER).await, "the old keys stay in use");
    write(format!("{ADMIN}\n"));
    eventually("the file is mended", async || accepts(&server, ADMIN).await.then_some(())).await;
    let output = server.output();
    assert!(output.contains("readable") || output.contains("every user of this host can read"), "{output}");
    assert!(!output.contains(ADMIN) && !output.contains(NEWER) && !output.contains("short\n"), "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_method_is_taken_from_a_caller_on_an_open_connection() {
    let (dir, settings) = known();
    let server = Server::start_in(dir, &settings).await;
    assert!(accepts(&server, ADMIN).await);
    let narrow = super::CALLERS.replace("[\"*\"]", "[\"TokenService/Revoke\"]");
    fs::write(server.dir().join("callers.toml"), narrow).expect("it is writable");
    eventually("the method is refused", async || {
        let refused = server.client().status.get_status(with_key(GetStatusRequest {}, ADMIN)).await.err();
        refused.filter(|status| status.code() == Code::PermissionDenied)
    })
    .await;
}
