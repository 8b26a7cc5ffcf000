//! `min_revision`: an answer reflects it, or there is none.

use tokenward::proto::{
    AnswerSource, AuthenticateRequest, AuthenticateResponse, BatchAuthenticateRequest, GetStatusRequest,
    InactiveReason, PropagationState,
};
use tonic::{Code, Status};

use super::assert_active;
use crate::harness::{
    client::{Client, Refusal, about},
    eventually::eventually,
    relay::{Fault, Relay},
    stack::{On, Stack, With, redis},
};

/// A view that comes to a change by itself only after a long time.
const SLOW_VIEW: [(&str, &str); 2] =
    [("TOKENWARD_COHERENCE__POLL_INTERVAL", "30s"), ("TOKENWARD_COHERENCE__MAX_STALENESS", "120s")];

async fn fenced(client: &Client, secret: &str, revision: &str) -> Result<AuthenticateResponse, Status> {
    client.try_authenticate(AuthenticateRequest { min_revision: revision.to_owned(), ..about(secret) }).await
}

/// The revision of some revocation.
async fn revision(client: &Client) -> String {
    let issued = client.issue("leaver").await;
    client.revoke(&issued.secret).await.revision
}

/// The other replica's Redis never hears of the revocation: it is another one, as after a
/// split. Only the revision tells.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_no_tombstone_reaches_honours_the_revision_of_a_revocation() {
    let stack = Stack::start_with(On::Postgres, With::Redis, &SLOW_VIEW).await;
    let elsewhere = redis().await;
    let url = format!("redis://{}", elsewhere.relay.address());
    let other = stack.another_server_with(&[("TOKENWARD_REDIS__URL", &url)]).await;
    let (here, there) = (stack.client(), other.client());
    for round in 0..5 {
        let issued = here.issue("mover").await;
        there.hit(&issued.secret, AnswerSource::SharedCache).await;
        let ended = here.revoke(&issued.secret).await;
        assert_eq!(ended.propagation.expect("it is told").state(), PropagationState::Complete, "its own Redis took it");
        let answer = fenced(&there, &issued.secret, &ended.revision).await.expect("the database is there");
        assert_eq!(answer.inactive_reason(), InactiveReason::Revoked, "round {round}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_the_view_covers_costs_no_statement() {
    // Some hits are compared with the database afterwards, which is no part of their answer.
    let alone = [("TOKENWARD_COHERENCE__REPROOF_RATIO", "0")];
    let mut stack = Stack::start_with(On::Postgres, With::Redis, &alone).await;
    let client = stack.client();
    let (issued, revision) = (client.issue("stayer").await, revision(&client).await);
    client.hit(&issued.secret, AnswerSource::SharedCache).await;
    let position = stack.postgres().server.log_position();
    for _ in 0..20 {
        let answer = fenced(&client, &issued.secret, &revision).await.expect("the service can tell");
        assert_eq!((answer.active, answer.source()), (true, AnswerSource::SharedCache));
    }
    let mut statements = stack.postgres().server.statements_since(position);
    // Health and the journal are looked at whether or not anybody asks.
    statements.retain(|statement| statement != "SELECT 1" && !statement.contains("tokenward_journal"));
    assert!(statements.is_empty(), "{statements:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_of_an_epoch_that_is_over_holds_nobody_up() {
    let stack = Stack::start_with(On::Postgres, With::Redis, &SLOW_VIEW).await;
    let client = stack.client();
    let issued = client.issue("stayer").await;
    client.hit(&issued.secret, AnswerSource::SharedCache).await;
    let over = format!("{:032x}-{}", 7, 1_000_000);
    let answer = fenced(&client, &issued.secret, &over).await.expect("the service can tell");
    assert_eq!((answer.active, answer.source()), (true, AnswerSource::SharedCache));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_was_never_given_has_no_answer() {
    for (on, with) in [(On::Sqlite, With::Memory), (On::Postgres, With::Redis)] {
        let stack = Stack::start(on, with).await;
        let client = stack.client();
        let (issued, given) = (client.issue("stayer").await, revision(&client).await);
        assert_active(&client, &issued.secret).await;
        let (epoch, seq) = given.split_once('-').expect("an epoch and a number");
        let never = format!("{epoch}-{}", seq.parse::<u64>().expect("a number") + 1_000);
        let status = fenced(&client, &issued.secret, &never).await.expect_err("nothing reflects it");
        assert_eq!(Refusal::of(&status).kind(), (Code::Unavailable, "STORE_UNAVAILABLE"));
        let one = AuthenticateRequest { min_revision: never, ..about(&issued.secret) };
        let batch = BatchAuthenticateRequest { requests: vec![about(&issued.secret), one] };
        let status = client.tokens.clone().batch_authenticate(batch).await.expect_err("one of them has no answer");
        assert_eq!(Refusal::of(&status).kind(), (Code::Unavailable, "STORE_UNAVAILABLE"));
    }
}

/// It goes on with what it has for the grace, but not for who knows that there is more.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_cut_from_the_database_has_no_answer_for_a_newer_revision() {
    let mut stack = Stack::start(On::Postgres, With::Redis).await;
    let relay = Relay::to(stack.postgres().server.socket()).await;
    let url = format!("postgres://tokenward@{}/tokenward", relay.address());
    let grace = ("TOKENWARD_HEALTH__DATABASE_GRACE", "3s");
    let other = stack.another_server_with(&[("TOKENWARD_DATABASE__URL", &url), grace]).await;
    let (here, there) = (stack.client(), other.client());
    let issued = here.issue("stayer").await;
    there.hit(&issued.secret, AnswerSource::SharedCache).await;
    for fault in [Fault::Refuse, Fault::Stall] {
        relay.inject(fault);
        let newer = revision(&here).await;
        let status = fenced(&there, &issued.secret, &newer).await.expect_err("it cannot tell");
        assert_eq!(Refusal::of(&status).kind(), (Code::Unavailable, "STORE_UNAVAILABLE"), "{fault:?}");
        let status = async || there.status.clone().get_status(GetStatusRequest {}).await.ok()?.into_inner().coherence;
        let failed = async || status().await.filter(|coherence| !coherence.failure.is_empty());
        eventually("the status says why", failed).await;
        eventually("it is not ready", async || (!there.serving("").await).then_some(())).await;
        assert!(here.serving("").await, "the other one is not affected");
        relay.inject(Fault::None);
        let back = async || fenced(&there, &issued.secret, &newer).await.ok().filter(|answer| answer.active);
        eventually("it can tell again", back).await;
        eventually("it is ready", async || there.serving("").await.then_some(())).await;
    }
}
