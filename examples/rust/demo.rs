//! Issues a token, checks it, revokes it, and checks it again.

use std::{
    error::Error,
    fmt::Write as _,
    sync::Arc,
    time::{Duration, Instant},
};

use tokenward::proto::{IssueTokenRequest, RevokeRequest, revoke_request::Target};
use tokio::time::sleep;
use tonic::transport::Endpoint;

use super::{
    channel,
    client::{Client, Key},
};

/// Waits until it holds, and says how long that took.
async fn until(what: &str, holds: impl AsyncFn() -> bool) -> Duration {
    let start = Instant::now();
    while !holds().await {
        assert!(start.elapsed() < Duration::from_secs(20), "not within 20 s: {what}");
        sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

/// Shows it with a server, and with a key where the server knows its callers.
pub(crate) async fn run(address: String, key: Option<String>) -> Result<String, Box<dyn Error>> {
    let mut shown = String::new();
    // For TLS: `https://`, and `.tls_config(ClientTlsConfig::new().ca_certificate(..))`.
    let channel = channel::balanced(vec![Endpoint::from_shared(address)?]);
    let client = Client::new(channel, Key::new(key));

    let alice = IssueTokenRequest {
        user_id: "alice".to_owned(),
        scopes: vec!["read".to_owned()],
        ..IssueTokenRequest::default()
    };
    let secret = client.tokens().issue_token(client.request(alice)).await?.into_inner().secret;
    until("the stream of revocations has begun", async || client.cache.is_following()).await;
    assert!(client.authenticate(&"0".repeat(64), &[]).await?.is_none());
    assert!(client.authenticate(&secret, &["write"]).await?.is_none());
    let answer = client.authenticate(&secret, &["read"]).await?.ok_or("the token is good")?;
    let (user, token) = (answer.user.clone().unwrap_or_default(), answer.token.clone().unwrap_or_default());
    writeln!(shown, "active: {} {}", user.user_id, token.scopes.join(" "))?;
    let again = client.authenticate(&secret, &["read"]).await?.ok_or("the token is good")?;
    writeln!(shown, "cached: {}", if Arc::ptr_eq(&again, &answer) { "yes" } else { "no" })?;

    let target = Some(Target::Token(secret.clone()));
    client.tokens().revoke(client.request(RevokeRequest { target, ..RevokeRequest::default() })).await?;
    let refused = async || matches!(client.authenticate(&secret, &["read"]).await, Ok(None));
    let took = until("the token is refused", refused).await;
    let limit = answer.cacheable_for.map_or(0, |time| time.seconds);
    writeln!(shown, "refused after {:.3} s; the answer could have been kept for {limit} s", took.as_secs_f64())?;
    Ok(shown)
}
