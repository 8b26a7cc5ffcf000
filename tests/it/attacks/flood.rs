//! A flood of tokens that nobody issued: the database keeps its bound, and whoever holds a valid, cached token is
//! answered as before. How much later is a figure: `make flood`.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use sea_orm::{ConnectionTrait as _, DatabaseConnection, Statement};
use tokenward::proto::AnswerSource;
use tokio::task::JoinHandle;
use tonic::Code;

use super::{Scene, ask, assert_is_of, made_up};
use crate::harness::{
    client::{Client, Refusal, about},
    eventually::{eventually, report},
    sql,
};

mod measure;

/// `database.max_concurrent_lookups`, below the pool's connections so that it is what bounds.
const BOUND: usize = 4;
const SETTINGS: [(&str, &str); 4] = [
    ("TOKENWARD_DATABASE__MAX_CONCURRENT_LOOKUPS", "4"),
    ("TOKENWARD_DATABASE__MAX_CONNECTIONS", "12"),
    // A slow machine is no reason to ask the database, which is locked.
    ("TOKENWARD_REDIS__COMMAND_TIMEOUT", "5s"),
    // The caller's own limit is not what is looked at here.
    ("TOKENWARD_CALLERS__MAX_INACTIVE_PER_SECOND", "0"),
];
/// The service's memory after a flood, in MiB.
const MOST_MEMORY: u64 = 300;

/// Asks about so many tokens that nobody issued; each is unknown, or refused because the bound is reached.
fn flood(client: Client, count: usize, at_once: usize) -> JoinHandle<(usize, usize)> {
    tokio::spawn(async move {
        let asked = stream::iter(0..count).map(|_| {
            let client = client.clone();
            async move { client.try_authenticate(about(&made_up().secret)).await }
        });
        let outcomes: Vec<_> = asked.buffer_unordered(at_once).collect().await;
        let mut refused = 0;
        for outcome in &outcomes {
            match outcome {
                Ok(answer) => assert!(!answer.active, "{answer:?}"),
                Err(status) => {
                    refused += 1;
                    assert_eq!(Refusal::of(status).kind(), (Code::Unavailable, "OVERLOADED"), "{status:?}");
                }
            }
        }
        (outcomes.len() - refused, refused)
    })
}

/// Look-ups that the database has under way.
async fn under_way(admin: &DatabaseConnection) -> usize {
    let sql = "SELECT count(*) FROM pg_stat_activity \
               WHERE usename = 'tokenward' AND state = 'active' \
               AND query LIKE '%tokenward_clock c LEFT JOIN%' AND query LIKE '% t ON t.%'";
    let statement = Statement::from_string(admin.get_database_backend(), sql);
    let row = admin.query_one_raw(statement).await.expect("the administrator may look").expect("a count is a row");
    usize::try_from(row.try_get_by_index::<i64>(0).expect("a count")).expect("it is not negative")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_keeps_to_the_databases_bound_and_leaves_valid_tokens_their_answers() {
    let mut scene = Scene::start_with(&SETTINGS).await;
    let alice = scene.cached("alice").await;
    let client = scene.stack.server.new_connection().await.expect("the service accepts");
    let url = scene.stack.postgres().server.admin_url();
    let (admin, locker) =
        (sql::connect(&url).await.expect("it accepts"), sql::connect(&url).await.expect("it accepts"));

    // No look-up ends while this is held, so that as many are under way as may be.
    locker.execute_unprepared("BEGIN; LOCK TABLE tokenward_token IN ACCESS EXCLUSIVE MODE").await.expect("it is free");
    let attack = flood(client.clone(), 2_000, 64);
    eventually("look-ups pile up", async || (under_way(&admin).await >= BOUND).then_some(())).await;
    for _ in 0..100 {
        let count = under_way(&admin).await;
        assert!(count <= BOUND, "{count} look-ups are under way");
        let answer = ask(&scene.client, &alice.secret).await;
        assert_is_of("alice", &answer, "in a flood");
        assert_eq!(answer.source(), AnswerSource::SharedCache);
    }
    locker.execute_unprepared("ROLLBACK").await.expect("the lock is held");
    let (unknown, refused) = attack.await.expect("each answer is right");
    report(&format!("while the table was locked: {unknown} unknown, {refused} refused"));
    assert!(refused > 0, "the bound was reached");

    let attack = flood(client, 5_000, 64);
    while !attack.is_finished() {
        let count = under_way(&admin).await;
        assert!(count <= BOUND, "{count} look-ups are under way");
        assert_is_of("alice", &ask(&scene.client, &alice.secret).await, "in a flood");
    }
    let (unknown, refused) = attack.await.expect("each answer is right");
    let resident = scene.stack.server.resident();
    report(&format!("then: {unknown} unknown, {refused} refused, {resident} MiB"));
    assert!(resident <= MOST_MEMORY, "{resident} MiB");
    eventually("a look-up has a place again", async || {
        let answer = tokio::time::timeout(Duration::from_secs(5), scene.client.try_authenticate(about("nobody"))).await;
        answer.ok()?.ok().filter(|answer| !answer.active)
    })
    .await;
}
