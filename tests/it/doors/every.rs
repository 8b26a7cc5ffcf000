//! Three doors, one core: each of them says the same of a token, at every replica.

use std::net::SocketAddr;

use serde_json::Value;

use super::{
    ADMIN, ENABLED, ENVOY, callers,
    ext_authz::{asked, check, passes},
    http::send,
    issue, revoke, with_key,
};
use crate::harness::{
    client::{Client, about},
    eventually::eventually,
    server::Server,
    stack::{On, Stack, With},
};

const DOORS: [(&str, &str); 3] =
    [ENABLED, ("TOKENWARD_HTTP__LISTEN", "127.0.0.1:0"), ("TOKENWARD_INTROSPECTION__ENABLED", "true")];

/// What `Authenticate`, Envoy's `Check` and `/introspect` of one replica say.
async fn said(client: &Client, server: &Server, token: &str) -> [bool; 3] {
    let asked_ours = client.tokens.clone().authenticate(with_key(about(token), ADMIN)).await;
    let envoys = check(client, ENVOY, asked(token, &[])).await.expect("an answer");
    let address: SocketAddr = server.http().trim_start_matches("http://").parse().expect("it says where it listens");
    let bearer = format!("Bearer {ADMIN}");
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("authorization", &*bearer)];
    let claims = send(address, "POST", "/introspect", &headers, &format!("token={token}")).await;
    let claims: Value = serde_json::from_str(&claims.body).expect("the body is JSON");
    let active = claims["active"].as_bool().expect("a claim of every answer");
    [asked_ours.expect("an answer").into_inner().active, passes(&envoys), active]
}

#[tokio::test(flavor = "multi_thread")]
async fn three_doors_say_the_same_of_a_token_at_every_replica() {
    let (_dir, settings) = callers();
    let settings: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let stack = Stack::start_with(On::Postgres, With::Redis, &[&settings[..], &DOORS].concat()).await;
    let other = stack.another_server().await;
    let (here, there) = (stack.client(), other.client());
    for _ in 0..3 {
        let token = issue(&here, "alice", &[]).await.secret;
        assert_eq!(said(&here, &stack.server, &token).await, [true; 3]);
        // From the cache by now, at both.
        eventually("each door lets it pass", async || (said(&there, &other, &token).await == [true; 3]).then_some(()))
            .await;
        revoke(&there, &token).await;
        assert_eq!(said(&here, &stack.server, &token).await, [false; 3], "ended at the other replica");
        assert_eq!(said(&there, &other, &token).await, [false; 3]);
    }
}
