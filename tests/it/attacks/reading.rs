//! Whoever reads all of Redis learns no token: neither a part of one nor what it could be searched by.

use tokenward::proto::{IssueTokenRequest, RevokeAllRequest};

use super::{Scene, ask, digest, is_cached, made_up};
use crate::harness::{
    canary::Canaries,
    client::{Issued, for_user},
};

/// Bytes of a digest that are public: the `token_id`.
const PUBLIC: usize = 16;

/// These tokens, and what is known of their digests beyond their public names.
fn canaries(secrets: &[String]) -> Canaries {
    let mut canaries = Canaries::default();
    for secret in secrets {
        let digest = digest(secret);
        assert_eq!(digest.token_id().to_string(), hex::encode(&digest.as_bytes()[..PUBLIC]));
        canaries.add(secret);
        canaries.add_bytes(&format!("the digest of {secret}"), &digest.as_bytes()[PUBLIC..]);
    }
    canaries
}

fn found(everything: &[(String, Vec<u8>)], secrets: &[String]) -> Vec<String> {
    let canaries = canaries(secrets);
    everything.iter().flat_map(|(key, value)| canaries.found_in(&[key.as_bytes(), b" ", value].concat())).collect()
}

#[test]
fn a_digest_is_found_and_its_public_name_is_not() {
    let secrets = [made_up().secret];
    let digest = digest(&secrets[0]);
    let holds = |value: &[u8]| !found(&[("key".to_owned(), value.to_vec())], &secrets).is_empty();
    assert!(!holds(digest.token_id().to_string().as_bytes()));
    assert!(holds(digest.as_bytes()));
    assert!(holds(hex::encode(digest.as_bytes()).as_bytes()));
    assert!(holds(secrets[0].as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_in_redis_allows_a_token_to_be_reconstructed() {
    let mut scene = Scene::start_with(&[("TOKENWARD_TOKENS__PREFIX", "acme_")]).await;
    let client = scene.client.clone();
    let mut tokens = Vec::new();
    for user in ["alice", "bob", "carol"] {
        let request = IssueTokenRequest {
            display_name: "laptop".to_owned(),
            scopes: vec!["read".to_owned()],
            metadata: [("team".to_owned(), "payments".to_owned())].into(),
            request_id: format!("7f6c7fa5-6c5e-4a6e-9a0c-0d6f3a3f6a{:02}", tokens.len()),
            ..for_user(user)
        };
        let issued: Issued = client.try_issue(request).await.expect("a token can be issued").into();
        is_cached(&client, &issued.secret).await;
        tokens.push(issued.secret);
    }
    let unknown = made_up().secret;
    assert!(!ask(&client, &unknown).await.active);
    tokens.push(unknown);
    let before = scene.redis().everything().await;
    assert!(before.len() >= 3, "{} keys", before.len());
    client.revoke(&tokens[0]).await;
    let all = RevokeAllRequest { user_id: "bob".to_owned(), ..RevokeAllRequest::default() };
    client.tokens.clone().revoke_all(all).await.expect("a user's tokens can be revoked");
    let after = scene.redis().everything().await;
    for everything in [before, after] {
        assert_eq!(found(&everything, &tokens), [""; 0]);
    }
}
