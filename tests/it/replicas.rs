//! Several replicas on one database and one Redis.

use tokenward::proto::{AnswerSource, InactiveReason, User};

use crate::harness::stack::{On, Stack, With};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_replica_ends_no_replica_accepts() {
    let stack = Stack::start(On::Postgres, With::Redis).await;
    let other = stack.another_server().await;
    let (here, there) = (stack.client(), other.client());
    for round in 0..20 {
        let issued = here.issue("mover").await;
        here.hit(&issued.secret, AnswerSource::SharedCache).await;
        let answer = there.authenticate(&issued.secret).await;
        assert_eq!((answer.active, answer.source()), (true, AnswerSource::SharedCache), "one fills for all");
        here.revoke(&issued.secret).await;
        assert_eq!(there.reason(&issued.secret).await, InactiveReason::Revoked, "round {round}");
        assert_eq!(here.reason(&issued.secret).await, InactiveReason::Revoked, "round {round}");
    }
    let issued = there.issue("mover").await;
    here.hit(&issued.secret, AnswerSource::SharedCache).await;
    there.upsert_user(User { user_id: "mover".to_owned(), ..User::default() }).await;
    assert_eq!(here.reason(&issued.secret).await, InactiveReason::UserDisabled);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_deployments_on_one_redis_do_not_know_each_others_tokens() {
    let stack = Stack::start(On::Sqlite, With::Redis).await;
    let other = stack.another_server().await;
    let issued = stack.client().issue("alice").await;
    stack.client().hit(&issued.secret, AnswerSource::SharedCache).await;
    assert_eq!(other.client().reason(&issued.secret).await, InactiveReason::Unknown);
    stack.client().hit(&issued.secret, AnswerSource::SharedCache).await;
}
