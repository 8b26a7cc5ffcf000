//! Floods of tokens that are not active: what they cost the database, and whom they are charged to.

use std::{fs, time::Duration};

use futures::{StreamExt as _, stream};
use tokenward::proto::{AuthenticateResponse, RevokeRequest, revoke_request::Target};
use tonic::{Code, Status};

use super::{ADMIN, CALLERS, GATEWAY, known, with_key};
use crate::harness::{
    client::{Client, Refusal, about, for_user},
    eventually::eventually,
    stack::{On, Stack, With},
};

/// What the gateway may have looked up in a second.
const LIMIT: usize = 50;
/// The calls of a flood: more than the limit of some ten seconds.
const FLOOD: usize = 600;
const AT_ONCE: usize = 32;

/// A service whose gateway has a limit.
async fn limited() -> (Stack, tempfile::TempDir) {
    let (dir, _) = known();
    let file = dir.path().join("callers.toml");
    fs::write(&file, format!("{CALLERS}\nmax_inactive_per_second = {LIMIT}")).expect("it is writable");
    let file = file.to_str().expect("a test's path is text");
    let patient = ("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "10s");
    (Stack::start_with(On::Postgres, With::Redis, &[("TOKENWARD_CALLERS__FILE", file), patient]).await, dir)
}

async fn ask(client: &Client, key: &str, token: &str) -> Result<AuthenticateResponse, Status> {
    client.tokens.clone().authenticate(with_key(about(token), key)).await.map(tonic::Response::into_inner)
}

async fn issue(client: &Client) -> String {
    let issued = client.tokens.clone().issue_token(with_key(for_user("alice"), ADMIN)).await;
    issued.expect("a token can be issued").into_inner().secret
}

/// What became of so many tokens that nobody issued: answers, and refusals.
async fn flood(client: &Client, round: usize) -> (usize, Vec<Refusal>) {
    let asked =
        stream::iter(0..FLOOD).map(async |index| ask(client, GATEWAY, &format!("no-token-{round}-{index}")).await);
    let outcomes: Vec<_> = asked.buffer_unordered(AT_ONCE).collect().await;
    let refusals: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err().map(Refusal::of)).collect();
    (outcomes.len() - refusals.len(), refusals)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_unknown_tokens_is_charged_to_its_caller_and_spares_the_database() {
    let (mut stack, _dir) = limited().await;
    let client = stack.client();
    let cached = issue(&client).await;
    eventually("the token is cached", async || {
        let answer = ask(&client, GATEWAY, &cached).await.expect("an answer");
        (answer.source() == tokenward::proto::AnswerSource::SharedCache).then_some(())
    })
    .await;

    let position = stack.postgres().server.log_position();
    let start = std::time::Instant::now();
    let (answered, refusals) = flood(&client, 1).await;
    let seconds = usize::try_from(start.elapsed().as_secs()).expect("a flood ends") + 1;
    assert!(!refusals.is_empty(), "{answered} were answered");
    for refusal in &refusals {
        assert_eq!(refusal.kind(), (Code::ResourceExhausted, "RATE_LIMITED"));
        assert!(refusal.retry_after.is_some_and(|wait| wait > Duration::ZERO));
    }
    let lookups = stack.postgres().server.statements_since(position);
    let lookups = lookups.iter().filter(|statement| statement.contains(" LEFT JOIN ")).count();
    // A second's worth at once, and what was under way when it was used up.
    let most = LIMIT * (seconds + 1) + AT_ONCE;
    assert!((1..=most).contains(&lookups), "{lookups} look-ups in {seconds} s, {answered} answers");

    // The gateway still has what is cached, and the others have everything.
    assert!(ask(&client, GATEWAY, &cached).await.expect("a hit is answered").active);
    assert!(!ask(&client, ADMIN, "no-token-of-the-admin").await.expect("another caller's quota is its own").active);
    eventually("the quota recovers", async || ask(&client, GATEWAY, "another").await.ok()).await;
}

/// Revocations of what is not there cost a transaction each. They are charged apart from look-ups.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_revocations_of_nothing_is_charged_to_its_caller_and_no_look_up_is() {
    let (dir, _) = known();
    let file = dir.path().join("callers.toml");
    let callers =
        CALLERS.replace("methods = [\"*\"]", &format!("methods = [\"*\"]\nmax_inactive_per_second = {LIMIT}"));
    fs::write(&file, &callers).expect("it is writable");
    let name = file.to_str().expect("a test's path is text");
    let stack = Stack::start_with(On::Sqlite, With::Memory, &[("TOKENWARD_CALLERS__FILE", name)]).await;
    let client = stack.client();
    let good = issue(&client).await;
    let revoke = async |token: String| {
        let request = RevokeRequest { target: Some(Target::Token(token)), ..RevokeRequest::default() };
        client.tokens.clone().revoke(with_key(request, ADMIN)).await.map(tonic::Response::into_inner)
    };
    // Made-up tokens are looked up until that is refused, and can be revoked all the same.
    let look = async |index: usize| ask(&client, ADMIN, &format!("no-token-{index}")).await;
    let refused: Vec<_> = stream::iter(0..FLOOD).map(look).buffer_unordered(AT_ONCE).collect().await;
    assert!(refused.iter().any(Result::is_err), "look-ups have a limit");
    assert!(revoke(good).await.expect("a flood of look-ups is no reason to refuse a revocation").revoked);
    let nothing = async |index: usize| revoke(format!("no-token-{index}")).await;
    let outcomes: Vec<_> = stream::iter(0..FLOOD).map(nothing).buffer_unordered(AT_ONCE).collect().await;
    let refusals: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err().map(Refusal::of)).collect();
    assert!(!refusals.is_empty() && refusals.len() < FLOOD, "{} of {FLOOD}", refusals.len());
    assert!(refusals.iter().all(|refusal| refusal.kind() == (Code::ResourceExhausted, "RATE_LIMITED")), "{refusals:?}");

    eventually("the quota recovers", async || revoke("another".to_owned()).await.ok()).await;
}
