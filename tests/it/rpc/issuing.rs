//! Issuing tokens and checking them.

use std::{collections::HashMap, time::Duration};

use futures::future::join_all;
use tokenward::proto::{
    AnswerSource, AuthenticateRequest, BatchAuthenticateRequest, Consistency, InactiveReason, IssueTokenRequest, Token,
    TokenState,
};
use tonic::Code;

use super::{ENTRY_TTL, hit};
use crate::harness::{
    client::{Client, Refusal, about, for_user, now, seconds, ttl},
    eventually::eventually,
    stack::With,
};

pub(super) async fn an_issued_token_authenticates_with_all_that_was_written_on_it(client: &Client) {
    let before = now();
    let request = IssueTokenRequest {
        expiration: Some(ttl(Duration::from_hours(2))),
        display_name: "Überwachung, 日本".to_owned(),
        scopes: vec!["read".to_owned(), "write:all".to_owned()],
        metadata: HashMap::from([("team".to_owned(), "métier".to_owned()), ("empty".to_owned(), String::new())]),
        ..for_user("writer")
    };
    let issued = client.try_issue(request.clone()).await.expect("a token can be issued");
    assert_eq!(issued.secret.len(), 64);
    assert!(issued.secret.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));

    let token = issued.token.expect("an issued token has a record");
    assert_eq!((token.token_id.len(), token.user_id.as_str()), (32, "writer"));
    assert!(!token.token_id.contains(&issued.secret[..8]), "the name does not give the secret away");
    assert_eq!(token.display_name, request.display_name);
    assert_eq!(token.scopes, request.scopes);
    assert_eq!(token.metadata, request.metadata);
    assert_eq!(token.state(), TokenState::Active);
    assert!(issued.secret.starts_with(&token.hint) && !token.hint.is_empty());
    let (created, expires) = (seconds(token.create_time), seconds(token.expire_time));
    // A second for clocks that truncate.
    assert!((before - 1.0..=now() + 1.0).contains(&created), "{before} {created}");
    assert!((expires - created - 7200.0).abs() < 1e-6, "{created} {expires}");
    assert_eq!((token.revoke_time, token.last_used_time), (None, None));

    let answer = client.authenticate(&issued.secret).await;
    assert!(answer.active && answer.inactive_reason() == InactiveReason::Unspecified, "{answer:?}");
    assert_eq!(answer.token, Some(Token { last_used_time: None, ..token }));
    let user = answer.user.expect("an active token has a user");
    assert_eq!((user.user_id.as_str(), user.active), ("writer", true));
}

pub(super) async fn a_second_check_is_answered_from_the_cache(client: &Client, with: With) {
    let issued = client.issue("cached").await;
    let from = async |consistency: Consistency| {
        let request = AuthenticateRequest { consistency: consistency.into(), ..about(&issued.secret) };
        let answer = client.try_authenticate(request).await.expect("the service can tell");
        assert!(answer.active, "{answer:?}");
        answer
    };
    let first = from(Consistency::Unspecified).await;
    let cached = async || {
        let answer = from(Consistency::Unspecified).await;
        (answer.source() == hit(with)).then_some(answer)
    };
    let cached = eventually("a check is answered from the cache", cached).await;
    assert_eq!((&cached.token, &cached.user), (&first.token, &first.user), "the cache says what the database said");
    let age = cached.age.and_then(|age| Duration::try_from(age).ok()).expect("an answer has an age");
    assert!(age <= ENTRY_TTL, "{age:?}");

    let shared = match with {
        With::Memory => AnswerSource::Database,
        With::Redis => AnswerSource::SharedCache,
    };
    assert_eq!(from(Consistency::MinimizeLatency).await.source(), hit(with));
    assert_eq!(from(Consistency::Shared).await.source(), shared);
    assert_eq!(from(Consistency::FullyConsistent).await.source(), AnswerSource::Database);
}

pub(super) async fn a_batch_is_answered_in_order(client: &Client) {
    let (good, ended, other) = (client.issue("batch").await, client.issue("batch").await, client.issue("other").await);
    client.revoke(&ended.secret).await;
    let unknown = "0".repeat(64);
    let secrets = [&good.secret, &unknown, &ended.secret, &"x".repeat(513), &other.secret, &good.secret];
    let mut requests: Vec<_> = secrets.iter().map(|secret| about(secret)).collect();
    requests.push(AuthenticateRequest { required_scopes: vec!["root".to_owned()], ..about(&good.secret) });
    let answers = client.tokens.clone().batch_authenticate(BatchAuthenticateRequest { requests }).await;
    let answers = answers.expect("a batch is answered").into_inner().responses;
    let reasons: Vec<_> = answers.iter().map(tokenward::proto::AuthenticateResponse::inactive_reason).collect();
    let expected = [
        InactiveReason::Unspecified,
        InactiveReason::Unknown,
        InactiveReason::Revoked,
        InactiveReason::Malformed,
        InactiveReason::Unspecified,
        InactiveReason::Unspecified,
        InactiveReason::ScopeMissing,
    ];
    assert_eq!(reasons, expected);
    let users: Vec<_> = answers.iter().filter_map(|answer| Some(answer.user.as_ref()?.user_id.as_str())).collect();
    assert_eq!(users, ["batch", "other", "batch"], "only who is active is named");

    let full = vec![about(&good.secret); 100];
    let answers = client.tokens.clone().batch_authenticate(BatchAuthenticateRequest { requests: full }).await;
    let answers = answers.expect("a full batch is answered").into_inner().responses;
    assert_eq!(answers.iter().filter(|answer| answer.active).count(), 100);
}

pub(super) async fn a_retry_returns_the_first_token(client: &Client) {
    let request = IssueTokenRequest {
        request_id: "6e3b1a52-1f5e-4c56-9c39-0d4d6f0c7a11".to_owned(),
        scopes: vec!["read".to_owned()],
        ..for_user("retrying")
    };
    let attempts = join_all((0..8).map(|_| client.try_issue(request.clone()))).await;
    let mut issued: Vec<_> = attempts.into_iter().map(|attempt| attempt.expect("a retry is no error")).collect();
    issued.dedup();
    assert_eq!(issued.len(), 1, "every attempt got the same token: {issued:?}");
    super::assert_active(client, &issued[0].secret).await;

    let another = IssueTokenRequest { scopes: vec!["write".to_owned()], ..request.clone() };
    let refusal = client.try_issue(another).await.expect_err("another body under the same request_id");
    assert_eq!(Refusal::of(&refusal).kind(), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
    let another = IssueTokenRequest { user_id: "someone-else".to_owned(), ..request };
    let refusal = client.try_issue(another).await.expect_err("another user under the same request_id");
    assert_eq!(Refusal::of(&refusal).kind(), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
}
