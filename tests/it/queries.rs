//! What a check costs: every statement and command is counted, by the servers themselves.
//!
//! What the service does by itself at intervals, to see whether its servers are there, is
//! no check's cost and is left out: PING and `SELECT 1`.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, future::join_all, stream};
use tokenward::proto::{
    AnswerSource, AuthenticateRequest, AuthenticateResponse, BatchAuthenticateRequest, Consistency, GetStatusRequest,
    InactiveReason, IssueTokenRequest,
};

use crate::harness::{
    client::{Client, Issued, about, for_user, ttl},
    eventually::{eventually, report},
    redis::Calls,
    stack::{On, Stack, With},
};

/// A deadline of commands that a build without optimisation on a busy machine keeps: what is
/// counted here is not time. Nor is it the share of hits that is compared with the database.
const PATIENT: [(&str, &str); 3] = [
    ("TOKENWARD_REDIS__COMMAND_TIMEOUT", "2s"),
    ("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "5s"),
    ("TOKENWARD_COHERENCE__REPROOF_RATIO", "0"),
];
/// Tokens that are issued at once: fewer than the pool has connections.
const AT_ONCE: usize = 8;

/// What the servers saw.
#[derive(Debug, PartialEq, Eq)]
struct Cost {
    statements: usize,
    calls: Calls,
}

// === impl Cost ===

impl Cost {
    fn of(statements: usize, calls: &[(&str, u64)]) -> Self {
        Self { statements, calls: calls.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect() }
    }
}

/// A service that is connected to all its servers.
async fn start(on: On) -> Stack {
    start_with(on, &[]).await
}

/// The same, with more settings.
async fn start_with(on: On, extra: &[(&str, &str)]) -> Stack {
    let stack = Stack::start_with(on, With::Redis, &[&PATIENT, extra].concat()).await;
    let client = stack.client();
    for name in ["redis", "database"] {
        eventually("the server is connected", async || client.serving(name).await.then_some(())).await;
    }
    stack
}

fn for_requests(mut statements: Vec<String>) -> Vec<String> {
    // Health and the journal are looked at whether or not anybody asks, and last uses are written behind.
    let own = ["tokenward_journal", "SET last_used_at"];
    statements.retain(|statement| statement != "SELECT 1" && !own.iter().any(|part| statement.contains(part)));
    // So are the journal's records numbered, in a transaction that holds the clock. A look-up begins none.
    let numbering = statements.iter().any(|statement| is_held(statement));
    statements.retain(|statement| !numbering || !(is_held(statement) || is_bracket(statement)));
    statements
}

fn is_held(statement: &str) -> bool {
    statement.ends_with("FROM tokenward_clock c WHERE c.id = 1 FOR UPDATE")
}

fn is_bracket(statement: &str) -> bool {
    matches!(statement, "BEGIN" | "COMMIT")
}

/// Runs `work` and counts what PostgreSQL and Redis had to do for it.
async fn cost<T>(stack: &mut Stack, work: impl Future<Output = T>) -> (T, Cost) {
    let position = stack.postgres().server.log_position();
    stack.redis().server.reset_calls().await;
    let value = work.await;
    let calls = stack.redis().server.calls().await;
    let statements = for_requests(stack.postgres().server.statements_since(position));
    report(&format!("{} statements {statements:?}, calls {calls:?}", statements.len()));
    (value, Cost { statements: statements.len(), calls })
}

/// As many tokens of one user as this, and one more that is looked at.
async fn crowd(client: &Client, live: usize, expired: usize) -> Issued {
    let request = |lifetime| IssueTokenRequest { expiration: Some(ttl(lifetime)), ..for_user("crowd") };
    let all = stream::iter((0..live).map(|_| Duration::from_hours(1)))
        .chain(stream::iter((0..expired).map(|_| Duration::from_millis(1))));
    let issued = all.map(|lifetime| client.try_issue(request(lifetime))).buffer_unordered(AT_ONCE);
    issued.for_each(async |issued| drop(issued.expect("a token can be issued"))).await;
    client.issue("crowd").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_one_statement_and_a_hit_one_command_whatever_the_user_owns() {
    let mut stack = start(On::Postgres).await;
    let client = stack.client();
    let issued = crowd(&client, 2_000, 200).await;
    stack.redis().server.command(&["FLUSHALL"]).await;

    let (answer, spent) = cost(&mut stack, client.authenticate(&issued.secret)).await;
    assert_eq!((answer.active, answer.source()), (true, AnswerSource::Database));
    assert_eq!(spent.statements, 1, "a miss: {spent:?}");

    let cached =
        async || (client.authenticate(&issued.secret).await.source() == AnswerSource::SharedCache).then_some(());
    eventually("the token is cached", cached).await;
    let (answer, spent) = cost(&mut stack, client.authenticate(&issued.secret)).await;
    assert_eq!((answer.active, answer.source()), (true, AnswerSource::SharedCache));
    assert_eq!(spent, Cost::of(0, &[("getrange", 1)]), "a hit");
    let hits = async {
        for _ in 0..100 {
            assert!(client.authenticate(&issued.secret).await.active);
        }
    };
    let ((), spent) = cost(&mut stack, hits).await;
    assert_eq!(spent, Cost::of(0, &[("getrange", 100)]), "a hundred hits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_checks_of_one_cold_token_are_one_statement() {
    let mut stack = start(On::Postgres).await;
    let client = stack.client();
    let issued = client.issue("popular").await;
    stack.redis().server.command(&["FLUSHALL"]).await;
    // Several connections, since one carries 256 calls at a time.
    let clients = join_all((0..5).map(|_| stack.server.new_connection())).await;
    let clients: Vec<_> = clients.into_iter().map(|client| client.expect("the service accepts")).collect();
    let secret: Arc<str> = issued.secret.into();
    let herd = async {
        let checks = clients.iter().flat_map(|client| (0..200).map(|_| client.clone())).map(|client| {
            let secret = Arc::clone(&secret);
            tokio::spawn(async move { client.authenticate(&secret).await.active })
        });
        // Spawned before the first is awaited.
        let checks: Vec<_> = checks.collect();
        join_all(checks).await.into_iter().filter(|check| matches!(check, Ok(true))).count()
    };
    let (active, spent) = cost(&mut stack, herd).await;
    assert_eq!(active, 1_000);
    assert_eq!(spent.statements, 1, "{spent:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_token_is_asked_for_once_and_never_written_to_redis() {
    let mut stack = start(On::Postgres).await;
    let client = stack.client();
    let unknown = "0123456789abcdef".repeat(4);
    let twice = async {
        for _ in 0..2 {
            assert!(!client.authenticate(&unknown).await.active);
        }
    };
    let ((), spent) = cost(&mut stack, twice).await;
    assert_eq!(spent.statements, 1, "{spent:?}");
    let reads = spent.calls.keys().all(|name| name == "getrange");
    assert!(reads, "nothing is written: {spent:?}");

    let malformed = async {
        assert!(!client.authenticate(&"x".repeat(513)).await.active);
        assert!(!client.authenticate("two words").await.active);
    };
    let ((), spent) = cost(&mut stack, malformed).await;
    assert_eq!(spent, Cost::of(0, &[]), "what nobody could have issued costs nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistyped_token_with_a_checksum_costs_nothing() {
    let settings = [("TOKENWARD_TOKENS__FORMAT", "checksummed"), ("TOKENWARD_TOKENS__PREFIX", "tw_")];
    let mut stack = start_with(On::Postgres, &settings).await;
    let client = stack.client();
    let issued = client.issue("typist").await;
    let status = client.status.clone().get_status(GetStatusRequest {}).await.expect("the service tells").into_inner();
    let revision = status.coherence.expect("it has a journal").revision;
    let mut transposed: Vec<char> = issued.secret.chars().collect();
    let place = (3..51).find(|at| transposed[*at] != transposed[at + 1]).expect("49 characters are not all one");
    transposed.swap(place, place + 1);
    let mistyped = [
        transposed.into_iter().collect(),
        issued.secret[..51].to_owned(),
        format!("{}0", issued.secret),
        issued.secret.to_lowercase().replace('a', "b"),
        format!("tw_{}", "A".repeat(49)),
        "tw_".to_owned(),
    ];
    let made_up = async {
        for secret in &mistyped {
            for consistency in [Consistency::Unspecified, Consistency::FullyConsistent] {
                let about = AuthenticateRequest { consistency: consistency.into(), ..about(secret) };
                // A place that no cache has come to would be waited for.
                let about = AuthenticateRequest { min_revision: later(&revision), ..about };
                let answer = client.try_authenticate(about).await.expect("it can be told from the text alone");
                assert_eq!(answer.inactive_reason(), InactiveReason::Malformed, "{secret}");
                assert_eq!(answer.source(), AnswerSource::TokenFormat, "{secret}");
            }
            assert!(!client.revoke(secret).await.revoked, "{secret}");
        }
    };
    let ((), spent) = cost(&mut stack, made_up).await;
    assert_eq!(spent, Cost::of(0, &[]), "what was mistyped costs nothing");

    let (answer, spent) = cost(&mut stack, client.authenticate(&issued.secret)).await;
    assert!(answer.active, "{answer:?}");
    assert_ne!(spent, Cost::of(0, &[]), "what is counted can be seen");
}

/// A revision that the database has not come to yet.
fn later(revision: &str) -> String {
    let (epoch, place) = revision.split_once('-').expect("a revision is an epoch and a place");
    format!("{epoch}-{}", place.parse::<u64>().expect("a place is a number") + 1_000)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_miss_is_one_statement_and_a_hit_none_on_mariadb() {
    let mut stack = start(On::MariaDb).await;
    let client = stack.client();
    let issued = crowd(&client, 50, 10).await;
    stack.redis().server.command(&["FLUSHALL"]).await;
    let mut spent = Vec::new();
    for source in [AnswerSource::Database, AnswerSource::SharedCache] {
        if source == AnswerSource::SharedCache {
            let cached = async || (client.authenticate(&issued.secret).await.source() == source).then_some(());
            eventually("the token is cached", cached).await;
        }
        let position = stack.mariadb().server.log_position();
        let answer = client.authenticate(&issued.secret).await;
        assert_eq!((answer.active, answer.source()), (true, source));
        let statements = for_requests(stack.mariadb().server.statements_since(position));
        report(&format!("{source:?}: {statements:?}"));
        spent.push(statements.len());
    }
    assert_eq!(spent, [1, 0]);
}

/// A batch of what there is: active tokens, one of them twice, revoked, unknown and malformed ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_one_command_and_one_statement_however_many_tokens_it_has() {
    let mut stack = start(On::Postgres).await;
    let client = stack.client();
    let mut secrets = Vec::new();
    for _ in 0..60 {
        secrets.push(client.issue("crowd").await.secret);
    }
    let revoked = client.issue("crowd").await.secret;
    assert!(client.revoke(&revoked).await.revoked);
    stack.redis().server.command(&["FLUSHALL"]).await;
    secrets.extend([secrets[0].clone(), revoked, "two words".to_owned()]);
    secrets.extend((0..30).map(|index| format!("{index:064x}")));
    let requests: Vec<_> = secrets.iter().map(|secret| about(secret)).collect();
    let check = async || {
        let batch = BatchAuthenticateRequest { requests: requests.clone() };
        client.tokens.clone().batch_authenticate(batch).await.expect("a batch is answered").into_inner().responses
    };
    let of = |answers: &[AuthenticateResponse], source| answers.iter().filter(|one| one.source() == source).count();

    let (cold, spent) = cost(&mut stack, check()).await;
    assert_eq!(of(&cold, AnswerSource::Database), 92, "all but the malformed one");
    assert_eq!(cold.iter().filter(|answer| answer.active).count(), 61);
    assert_eq!(cold[61].inactive_reason(), InactiveReason::Revoked);
    assert_eq!(cold[62].inactive_reason(), InactiveReason::Malformed);
    assert!(cold[63..].iter().all(|answer| answer.inactive_reason() == InactiveReason::Unknown));
    assert_eq!(spent.statements, 1, "a cold batch: {spent:?}");

    let cached = async || (of(&check().await, AnswerSource::SharedCache) == 61).then_some(());
    eventually("the batch is cached", cached).await;
    let (_, spent) = cost(&mut stack, check()).await;
    let commands: Vec<_> = spent.calls.iter().filter(|(name, _)| *name != "getrange").collect();
    assert_eq!(commands, [(&"evalsha_ro".to_owned(), &1)], "a batch of hits: {spent:?}");
}
