//! Ending tokens.

use tokenward::proto::{
    AuthenticateRequest, GetTokenRequest, InactiveReason, Propagation, PropagationState, RevocationReason,
    RevokeAllRequest, RevokeRequest, TokenState, revoke_all_request::Except, revoke_request::Target,
};

use super::assert_active;
use crate::harness::client::{Client, about};

fn assert_complete(propagation: Option<Propagation>) {
    let propagation = propagation.expect("a revocation says how far it has spread");
    assert_eq!(propagation.state(), PropagationState::Complete, "{propagation:?}");
}

pub(super) async fn a_token_ends_once(client: &Client) {
    let issued = client.issue("leaver").await;
    assert_active(client, &issued.secret).await;
    let request = RevokeRequest {
        target: Some(Target::Token(issued.secret.clone())),
        reason: RevocationReason::SignedOut.into(),
    };
    let first = client.tokens.clone().revoke(request.clone()).await.expect("a token can be revoked").into_inner();
    assert!(first.revoked && !first.revision.is_empty(), "{first:?}");
    assert_complete(first.propagation);
    assert_eq!(client.reason(&issued.secret).await, InactiveReason::Revoked);

    let again = client.tokens.clone().revoke(request).await.expect("a retry is no error").into_inner();
    assert!(!again.revoked, "{again:?}");
    assert_complete(again.propagation);
    assert_eq!(client.reason(&issued.secret).await, InactiveReason::Revoked);

    let fenced = AuthenticateRequest { min_revision: first.revision, ..about(&issued.secret) };
    let answer = client.try_authenticate(fenced).await.expect("the service can tell");
    assert_eq!(answer.inactive_reason(), InactiveReason::Revoked);
    let record = client.admin.clone().get_token(GetTokenRequest { token_id: issued.token_id }).await;
    let record = record.expect("an ended token has a record").into_inner().token.expect("the record");
    assert_eq!(record.state(), TokenState::Revoked);
    assert!(record.revoke_time.is_some(), "{record:?}");

    let unknown = client.revoke(&"f".repeat(64)).await;
    assert!(!unknown.revoked, "an unknown token is no error: {unknown:?}");
}

pub(super) async fn a_token_ends_by_its_public_name(client: &Client) {
    let (issued, bystander) = (client.issue("named").await, client.issue("named").await);
    let ended = client.try_revoke(Target::TokenId(issued.token_id)).await.expect("a token can be revoked by name");
    assert!(ended.revoked, "{ended:?}");
    assert_complete(ended.propagation);
    assert_eq!(client.reason(&issued.secret).await, InactiveReason::Revoked);
    assert_active(client, &bystander.secret).await;
    let unknown = client.try_revoke(Target::TokenId("f".repeat(32))).await.expect("an unknown name is no error");
    assert!(!unknown.revoked, "{unknown:?}");
}

pub(super) async fn all_tokens_of_a_user_end_but_one(client: &Client) {
    let mut tokens = Vec::new();
    for _ in 0..4 {
        tokens.push(client.issue("everywhere").await);
    }
    let bystander = client.issue("elsewhere").await;
    for token in &tokens {
        assert_active(client, &token.secret).await;
    }
    let end_all = async |except| {
        let request = RevokeAllRequest { user_id: "everywhere".to_owned(), except, ..RevokeAllRequest::default() };
        let ended = client.tokens.clone().revoke_all(request).await.expect("they can be revoked").into_inner();
        assert_complete(ended.propagation);
        ended.revoked_count
    };
    assert_eq!(end_all(Some(Except::ExceptToken(tokens[0].secret.clone()))).await, 3);
    assert_active(client, &tokens[0].secret).await;
    for token in &tokens[1..] {
        assert_eq!(client.reason(&token.secret).await, InactiveReason::Revoked);
    }
    assert_eq!(end_all(Some(Except::ExceptTokenId(tokens[0].token_id.clone()))).await, 0, "the spared one is left");
    assert_active(client, &tokens[0].secret).await;
    assert_eq!(end_all(None).await, 1);
    assert_eq!(client.reason(&tokens[0].secret).await, InactiveReason::Revoked);
    assert_active(client, &bystander.secret).await;
    let nobody = RevokeAllRequest { user_id: "nobody".to_owned(), ..RevokeAllRequest::default() };
    let ended = client.tokens.clone().revoke_all(nobody).await.expect("an unknown user has nothing to end");
    assert_eq!(ended.into_inner().revoked_count, 0);
}

/// Twenty times, each with fills under way: a fill that lands late must not bring a token back.
pub(super) async fn a_cached_token_is_refused_as_soon_as_its_revocation_is_complete(client: &Client) {
    for round in 0..20 {
        let issued = client.issue("racer").await;
        let checks = (0..8).map(|_| {
            let (client, secret) = (client.clone(), issued.secret.clone());
            tokio::spawn(async move { client.authenticate(&secret).await })
        });
        let checks: Vec<_> = checks.collect();
        let ended = client.revoke(&issued.secret).await;
        assert!(ended.revoked, "round {round}");
        assert_complete(ended.propagation);
        for _ in 0..3 {
            assert_eq!(client.reason(&issued.secret).await, InactiveReason::Revoked, "round {round}");
        }
        for check in checks {
            check.await.expect("a check that raced the revocation is answered");
        }
        assert_eq!(client.reason(&issued.secret).await, InactiveReason::Revoked, "round {round}");
    }
}
