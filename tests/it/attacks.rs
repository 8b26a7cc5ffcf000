//! What an attacker tries, by threat, against the running service. Each attack must fail, and cost the others nothing.
//!
//! Attacks on the connection itself are in `callers/floods.rs`, on callers' credentials in `callers/`.

use std::time::Duration;

use tokenward::{
    domain::{Digest, Token},
    proto::{
        AnswerSource, AuthenticateRequest, AuthenticateResponse, BatchAuthenticateRequest, Coherence, Consistency,
        GetStatusRequest,
    },
};
use tokio::time::timeout;

use crate::harness::{
    client::{Client, Issued, about, for_user},
    eventually::eventually,
    redis::Redis,
    stack::{On, Stack, With},
};

mod entries;
mod flood;
mod reading;
mod replay;
mod requests;

/// An answer that takes longer has stalled.
const STALLED: Duration = Duration::from_secs(5);
/// The tests' database may be slow, and a revocation must hold whatever becomes of its tombstone.
const SETTINGS: [(&str, &str); 4] = [
    ("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "10s"),
    ("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "10s"),
    ("TOKENWARD_SERVER__REQUEST_TIMEOUT", "10s"),
    ("TOKENWARD_COHERENCE__REVOKE_ACK", "lease"),
];

/// A service on PostgreSQL, whose Redis the attacker can write to.
struct Scene {
    stack: Stack,
    client: Client,
}

// === impl Scene ===

impl Scene {
    async fn start() -> Self {
        Self::start_with(&[]).await
    }

    async fn start_with(settings: &[(&str, &str)]) -> Self {
        let stack = Stack::start_with(On::Postgres, With::Redis, &[&SETTINGS, settings].concat()).await;
        Self { client: stack.client(), stack }
    }

    fn redis(&mut self) -> &Redis {
        &self.stack.redis().server
    }

    /// A token with a scope, that is answered from Redis.
    async fn cached(&self, user: &str) -> Issued {
        let request = tokenward::proto::IssueTokenRequest { scopes: vec![scope_of(user)], ..for_user(user) };
        let issued: Issued = self.client.try_issue(request).await.expect("a token can be issued").into();
        is_cached(&self.client, &issued.secret).await;
        issued
    }

    /// The bytes at a token's key.
    async fn entry(&mut self, token: &Issued) -> Vec<u8> {
        self.redis().value(&key(token)).await.expect("the token is cached")
    }

    async fn coherence(&self) -> Coherence {
        coherence(&self.client).await
    }
}

/// What the service says of its caches.
async fn coherence(client: &Client) -> Coherence {
    let status = client.status.clone().get_status(GetStatusRequest {}).await.expect("a service knows its status");
    status.into_inner().coherence.expect("it has a journal")
}

/// Each user's tokens have a scope of their own.
fn scope_of(user: &str) -> String {
    format!("{user}-only")
}

/// Asks past the process's own memory, so that what is in Redis is looked at each time.
async fn ask(client: &Client, secret: &str) -> AuthenticateResponse {
    let request = AuthenticateRequest { consistency: Consistency::Shared.into(), ..about(secret) };
    let answer = timeout(STALLED, client.try_authenticate(request)).await.expect("no check stalls");
    answer.unwrap_or_else(|status| panic!("a check is answered, whatever is in Redis: {status:?}"))
}

/// The same of several tokens, in one call.
async fn ask_all(client: &Client, secrets: &[&str]) -> Vec<AuthenticateResponse> {
    let shared = |secret: &&str| AuthenticateRequest { consistency: Consistency::Shared.into(), ..about(secret) };
    let batch = BatchAuthenticateRequest { requests: secrets.iter().map(shared).collect() };
    let answer = timeout(STALLED, client.tokens.clone().batch_authenticate(batch)).await.expect("no check stalls");
    let answer = answer.unwrap_or_else(|status| panic!("a batch is answered, whatever is in Redis: {status:?}"));
    answer.into_inner().responses
}

/// The truth about a valid token of `user`, and from where.
fn assert_is_of(user: &str, answer: &AuthenticateResponse, what: &str) {
    assert!(answer.active, "{what}: {answer:?}");
    assert_eq!(answer.user.as_ref().map(|user| user.user_id.as_str()), Some(user), "{what}");
    assert_eq!(answer.token.as_ref().map(|token| token.scopes.clone()), Some(vec![scope_of(user)]), "{what}");
}

async fn is_cached(client: &Client, secret: &str) {
    let cached = async || (ask(client, secret).await.source() == AnswerSource::SharedCache).then_some(());
    eventually("the token is answered from Redis", cached).await;
}

/// Where the facts about a token are.
fn key(token: &Issued) -> String {
    format!("tokenward:token:{}", token.token_id)
}

fn digest(secret: &str) -> Digest {
    Token::parse(secret.to_owned()).expect("a test's token is well-formed").digest()
}

/// A token that nobody issued, and where the facts about it would be.
fn made_up() -> Issued {
    let secret = hex::encode(rand::random::<[u8; 32]>());
    Issued { token_id: digest(&secret).token_id().to_string(), secret }
}
