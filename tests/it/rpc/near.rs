//! `cache.near`: each process's memory in front of Redis.

use std::time::{Duration, Instant};

use tokenward::proto::{AnswerSource, AuthenticateRequest, Consistency, InactiveReason};

use crate::harness::{
    eventually::eventually,
    stack::{On, Stack, With},
};

/// What an answer may be reused for, in seconds.
const REUSE: u64 = 7;

fn length(duration: Option<prost_types::Duration>) -> Duration {
    duration.expect("it is told").try_into().expect("it is not negative")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_from_memory_states_its_age_and_how_long_it_may_be_reused_and_ends_with_a_revocation_elsewhere() {
    let reuse = format!("{REUSE}s");
    let settings = [
        ("TOKENWARD_CACHE__NEAR", "true"),
        ("TOKENWARD_COHERENCE__REVOKE_ACK", "lease"),
        ("TOKENWARD_TOKENS__CLIENT_CACHE_TTL", &*reuse),
    ];
    let stack = Stack::start_with(On::Postgres, With::Redis, &settings).await;
    let other = stack.another_server().await;
    let (here, there) = (stack.client(), other.client());
    let issued = here.issue("neighbour").await;
    let before = Instant::now();
    let first = here.hit(&issued.secret, AnswerSource::LocalCache).await;
    assert!(length(first.age) <= before.elapsed() + Duration::from_millis(100), "{first:?}");
    let older = eventually("the same fact grows older", async || {
        let answer = here.hit(&issued.secret, AnswerSource::LocalCache).await;
        (length(answer.age) > length(first.age) + Duration::from_millis(200)).then_some(answer)
    })
    .await;
    assert_eq!(length(older.cacheable_for), Duration::from_secs(REUSE));

    let shared = AuthenticateRequest {
        token: issued.secret.clone(),
        consistency: Consistency::Shared.into(),
        ..AuthenticateRequest::default()
    };
    let answer = here.try_authenticate(shared).await.expect("it is answered");
    assert_ne!(answer.source(), AnswerSource::LocalCache, "whoever asks for a shared cache gets none from memory");

    there.revoke(&issued.secret).await;
    assert_eq!(here.reason(&issued.secret).await, InactiveReason::Revoked);
}
