//! Every RPC, end to end, on every database and with every cache.

use std::{collections::HashSet, time::Duration};

use futures::future::join_all;
use tokenward::proto::{AnswerSource, GetStatusRequest, InactiveReason};
use tonic::Code;

use crate::harness::{
    client::{Client, Refusal, for_user},
    stack::{On, Stack, With},
};

mod changing;
mod flushing;
mod issuing;
mod listing;
mod near;
mod revisions;
mod revoking;
mod users;

/// Longest life of a cache entry, the default of `cache.entry_ttl`.
const ENTRY_TTL: Duration = Duration::from_mins(15);

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_works_on_sqlite_with_memory() {
    every_rpc(On::Sqlite, With::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_works_on_sqlite_with_redis() {
    every_rpc(On::Sqlite, With::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_works_on_postgres_with_redis() {
    every_rpc(On::Postgres, With::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_works_on_postgres_with_memory() {
    every_rpc(On::Postgres, With::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_works_on_mariadb_with_redis() {
    every_rpc(On::MariaDb, With::Redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_rpc_works_on_mariadb_with_memory() {
    every_rpc(On::MariaDb, With::Memory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_per_user_holds_under_parallel_issues_on_sqlite() {
    limit_holds(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_per_user_holds_under_parallel_issues_on_postgres() {
    limit_holds(On::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_limit_per_user_holds_under_parallel_issues_on_mariadb() {
    limit_holds(On::MariaDb).await;
}

async fn every_rpc(on: On, with: With) {
    let stack = Stack::start(on, with).await;
    let client = stack.client();
    let used = changing::used(&client).await;
    issuing::an_issued_token_authenticates_with_all_that_was_written_on_it(&client).await;
    issuing::a_second_check_is_answered_from_the_cache(&client, with).await;
    issuing::a_batch_is_answered_in_order(&client).await;
    issuing::a_retry_returns_the_first_token(&client).await;
    revoking::a_token_ends_once(&client).await;
    revoking::a_token_ends_by_its_public_name(&client).await;
    revoking::all_tokens_of_a_user_end_but_one(&client).await;
    revoking::a_cached_token_is_refused_as_soon_as_its_revocation_is_complete(&client).await;
    listing::tokens_are_listed_newest_first_page_by_page(&client).await;
    listing::tokens_are_listed_by_state(&client).await;
    listing::pages_are_stable_while_others_write(&client).await;
    users::a_user_is_written_read_and_removed(&client).await;
    users::a_disabled_user_has_no_active_token_until_enabled(&client).await;
    changing::a_change_is_seen_by_the_next_check(&client, with).await;
    changing::what_cannot_be_changed_is_refused_by_its_path(&client).await;
    changing::a_rotation_without_overlap_ends_the_old_token(&client, with).await;
    changing::users_are_listed_page_by_page(&client).await;
    changing::the_caches_can_be_looked_at(&client, with).await;
    changing::the_last_use_is_kept(&client, used).await;
    status_says_what_it_runs_on(&client, on, with).await;
    let output = stack.server.output();
    assert!(!output.contains("panicked"), "{output}");
}

async fn status_says_what_it_runs_on(client: &Client, on: On, with: With) {
    let status = client.status.clone().get_status(GetStatusRequest {}).await.expect("it is known").into_inner();
    let database = match on {
        On::Sqlite => "sqlite",
        On::Postgres => "postgres",
        On::MariaDb => "mysql",
    };
    let (cache, components): (_, &[_]) = match with {
        With::Memory => ("memory", &["database"]),
        With::Redis => ("redis", &["database", "redis"]),
    };
    assert_eq!((status.database_kind.as_str(), status.cache_kind.as_str()), (database, cache));
    assert_eq!(status.circuit_breaker.is_some(), with == With::Redis);
    let mut names: Vec<_> = status.components.iter().map(|component| component.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, components);
    assert!(status.components.iter().all(|component| component.serving && component.since_time.is_some()));
    let coherence = status.coherence.as_ref().expect("it says what it knows of the journal");
    assert_eq!(coherence.strict, with == With::Memory);
    assert_eq!(coherence.lease_remaining.is_some(), with == With::Redis, "{coherence:?}");
    assert!(!coherence.revision.is_empty() && coherence.lag.is_some() && coherence.failure.is_empty(), "{coherence:?}");
    assert!(!status.insecure && !status.replica_id.is_empty() && status.start_time.is_some(), "{status:?}");
}

async fn limit_holds(on: On) {
    const LIMIT: usize = 5;
    // More attempts than connections, one after the other: on a busy machine the last wait long.
    let settings = [
        ("TOKENWARD_TOKENS__LIMIT_PER_USER", "5"),
        ("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "5s"),
        ("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "5s"),
    ];
    let stack = Stack::start_with(on, With::Memory, &settings).await;
    let client = stack.client();
    let attempts = join_all((0..20).map(|_| client.try_issue(for_user("greedy")))).await;
    let (issued, refused): (Vec<_>, Vec<_>) = attempts.into_iter().partition(Result::is_ok);
    assert_eq!(issued.len(), LIMIT, "{refused:?}");
    for refusal in refused {
        let refusal = Refusal::of(&refusal.expect_err("partitioned"));
        assert_eq!(refusal.kind(), (Code::ResourceExhausted, "TOKEN_LIMIT_REACHED"));
    }
    let secrets: HashSet<_> = issued.into_iter().map(|issued| issued.expect("partitioned").secret).collect();
    assert_eq!(secrets.len(), LIMIT, "each is another");
    // An ended token makes room for one, and one only.
    client.revoke(secrets.iter().next().expect("there are some")).await;
    client.issue("greedy").await;
    let refusal = client.try_issue(for_user("greedy")).await.expect_err("the limit is reached again");
    assert_eq!(Refusal::of(&refusal).kind(), (Code::ResourceExhausted, "TOKEN_LIMIT_REACHED"));
    client.issue("modest").await;
}

/// Where this cache's hits come from.
fn hit(with: With) -> AnswerSource {
    match with {
        With::Memory => AnswerSource::LocalCache,
        With::Redis => AnswerSource::SharedCache,
    }
}

/// The token is active and nothing else.
async fn assert_active(client: &Client, secret: &str) {
    assert_eq!(client.reason(secret).await, InactiveReason::Unspecified);
}
