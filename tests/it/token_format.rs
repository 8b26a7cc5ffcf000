//! Tokens with a checksum, beside tokens that were issued before there was one.

use tokenward::proto::{InactiveReason, IssueTokenRequest};

use crate::harness::{
    client::{Client, Issued, for_user},
    stack::{On, Stack, With},
};

const PREFIX: (&str, &str) = ("TOKENWARD_TOKENS__PREFIX", "tw_");
const CHECKSUMMED: (&str, &str) = ("TOKENWARD_TOKENS__FORMAT", "checksummed");

/// A token that a retry is to return again.
async fn issue_under(client: &Client, request_id: &str) -> Issued {
    let request = IssueTokenRequest { request_id: request_id.to_owned(), ..for_user("switched") };
    client.try_issue(request).await.expect("a token can be issued").into()
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_of_both_formats_work_and_end_on_replicas_with_either() {
    let stack = Stack::start_with(On::Postgres, With::Redis, &[PREFIX]).await;
    let switched = stack.another_server_with(&[CHECKSUMMED]).await;
    let (before, after) = (stack.client(), switched.client());
    let (hex, checked) = (before.issue("switched").await, after.issue("switched").await);
    assert_eq!((hex.secret.len(), checked.secret.len()), (67, 52), "64 digits, or 43 and a checksum of 6");
    assert!(
        checked.secret.starts_with("tw_") && checked.secret.bytes().skip(3).all(|byte| byte.is_ascii_alphanumeric())
    );
    for secret in [&hex.secret, &checked.secret] {
        for client in [&before, &after] {
            assert!(client.authenticate(secret).await.active, "{} characters", secret.len());
        }
    }
    for secret in [&hex.secret, &checked.secret] {
        assert!(after.revoke(secret).await.revoked);
        for client in [&before, &after] {
            assert_eq!(client.reason(secret).await, InactiveReason::Revoked);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_the_switch_returns_the_token_as_it_was_written() {
    let stack = Stack::start_with(On::Sqlite, With::Memory, &[PREFIX]).await;
    let database = format!("sqlite://{}", stack.server.dir().join("tokenward.db").display());
    let switched = stack.another_server_with(&[CHECKSUMMED, ("TOKENWARD_DATABASE__URL", &database)]).await;
    let (before, after) = (stack.client(), switched.client());
    for (first, retry, request_id) in [
        (&before, &after, "6e3b1a52-1f5e-4c56-9c39-0d4d6f0c7a11"),
        (&after, &before, "0d4d6f0c-1f5e-4c56-9c39-6e3b1a527a11"),
    ] {
        let issued = issue_under(first, request_id).await;
        let again = issue_under(retry, request_id).await;
        assert_eq!((again.secret, again.token_id), (issued.secret, issued.token_id));
    }
}
