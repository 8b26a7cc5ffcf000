//! `FlushCache`: nothing from before it is answered from after it.

use tokenward::proto::{AnswerSource, FlushCacheRequest, FlushCacheResponse, InactiveReason, PropagationState};

use crate::harness::{
    client::Client,
    stack::{On, Stack, With},
};

async fn flush(client: &Client) -> FlushCacheResponse {
    client.cache.clone().flush_cache(FlushCacheRequest::default()).await.expect("the database is there").into_inner()
}

/// No trigger fires when MariaDB truncates a table.
#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_table_is_enforced_on_every_replica_after_a_flush() {
    let settings = [("TOKENWARD_COHERENCE__OUTAGE_GRACE", "0s")];
    let mut stack = Stack::start_with(On::MariaDb, With::Redis, &settings).await;
    let other = stack.another_server().await;
    let (here, there) = (stack.client(), other.client());
    let issued = here.issue("crowd").await;
    let both = [&here, &there];
    for client in both {
        client.hit(&issued.secret, AnswerSource::SharedCache).await;
    }
    let truncate = "SET FOREIGN_KEY_CHECKS = 0; TRUNCATE TABLE tokenward.tokenward_token";
    stack.mariadb().server.execute(truncate).await;
    for client in both {
        assert!(client.authenticate(&issued.secret).await.active, "nothing tells of it yet");
    }
    let flushed = flush(&here).await;
    assert_eq!(flushed.propagation.expect("it is told").state(), PropagationState::Complete);
    for client in both {
        assert_eq!(client.reason(&issued.secret).await, InactiveReason::Unknown);
    }
}

/// A replica that is cut from the database does not learn of the new epoch before its grace is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_flush_with_a_grace_is_pending_for_what_remains_of_it() {
    let stack = Stack::start(On::Postgres, With::Redis).await;
    let other = stack.another_server().await;
    let (here, there) = (stack.client(), other.client());
    let issued = here.issue("stayer").await;
    there.hit(&issued.secret, AnswerSource::SharedCache).await;
    let flushed = flush(&here).await;
    let propagation = flushed.propagation.expect("it is told");
    assert_eq!(propagation.state(), PropagationState::Pending);
    let remaining = propagation.max_staleness.expect("it has an end").seconds;
    assert!((25..=30).contains(&remaining), "the second of the lease is over: {propagation:?}");
    let answer = there.authenticate(&issued.secret).await;
    assert_eq!((answer.active, answer.source()), (true, AnswerSource::Database), "the fact of before is not believed");
    there.hit(&issued.secret, AnswerSource::SharedCache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_of_the_process_own_memory_is_complete_at_once() {
    let stack = Stack::start(On::Sqlite, With::Memory).await;
    let client = stack.client();
    let issued = client.issue("stayer").await;
    client.hit(&issued.secret, AnswerSource::LocalCache).await;
    let flushed = flush(&client).await;
    assert_eq!(flushed.propagation.expect("it is told").state(), PropagationState::Complete);
    let answer = client.authenticate(&issued.secret).await;
    assert_eq!((answer.active, answer.source()), (true, AnswerSource::Database), "the fact of before is not believed");
}
