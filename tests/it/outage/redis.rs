//! Redis is lost, or takes no writes: every call is answered, from the database if need be.

use std::time::{Duration, Instant};

use tokenward::proto::{AnswerSource, InactiveReason, PropagationState, RevokeResponse, revoke_request::Target};

use super::{PROMPT, RECOVERY, Serves, answered, assert_services_serve, becomes, replica_id, warm};
use crate::harness::{
    client::{Client, Issued, about, for_user},
    eventually::{report, within},
    redis::Redis,
    relay::Fault,
    stack::{self, Behind, On, Stack, With},
};

/// Life of a cache entry in these tests: no answer may be staler, and a second is for the way.
/// So that a revocation is complete when the leases have lapsed.
const NO_GRACE: (&str, &str) = ("TOKENWARD_COHERENCE__OUTAGE_GRACE", "0s");
/// The default of `coherence.max_staleness`.
const LEASE: Duration = Duration::from_secs(1);
const ENTRY_TTL: (&str, &str) = ("TOKENWARD_CACHE__ENTRY_TTL", "5s");
const MAX_STALENESS: Duration = Duration::from_secs(6);

/// What is wrong with Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Killed,
    Hung,
    Restarted,
    Refusing,
    Unreachable,
    WrongPassword,
    Loading,
    OutOfMemory,
    ReadOnly,
    NoReplicas,
    WritesPaused,
}

/// What follows.
struct Expected {
    /// What health says of `redis` within a second; `None` where it depends on the moment.
    redis: Option<Serves>,
    /// Where a token that was cached is answered from.
    hot: &'static [AnswerSource],
}

// === impl Broken ===

impl Broken {
    fn expected(self) -> Expected {
        let database = &[AnswerSource::Database];
        let either = &[AnswerSource::Database, AnswerSource::SharedCache];
        match self {
            Self::Killed | Self::Hung | Self::Refusing | Self::Unreachable | Self::WrongPassword | Self::Loading => {
                Expected { redis: Some(Serves::No), hot: database }
            }
            // It may be back before anyone looked.
            Self::Restarted => Expected { redis: None, hot: either },
            // It answers reads, and hits go on.
            Self::OutOfMemory | Self::ReadOnly | Self::NoReplicas | Self::WritesPaused => {
                Expected { redis: Some(Serves::Yes), hot: either }
            }
        }
    }

    async fn inject(self, redis: &mut Behind<Redis>) {
        let server = &mut redis.server;
        match self {
            Self::Killed => server.kill(),
            Self::Hung => server.pause(),
            Self::Restarted => {
                server.kill();
                server.restart().await;
            }
            Self::Refusing => redis.relay.inject(Fault::Refuse),
            Self::Unreachable => redis.relay.inject(Fault::Stall),
            Self::WrongPassword => server.set_password("another").await,
            Self::Loading => server.restart_loading().await,
            Self::OutOfMemory => {
                server.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
                server.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
            }
            Self::ReadOnly => drop(server.command(&["REPLICAOF", "127.0.0.1", "1"]).await),
            Self::NoReplicas => drop(server.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await),
            Self::WritesPaused => drop(server.command(&["CLIENT", "PAUSE", "600000", "WRITE"]).await),
        }
    }

    async fn heal(self, redis: &mut Behind<Redis>) {
        let server = &mut redis.server;
        match self {
            Self::Killed => server.restart().await,
            Self::Hung => server.resume(),
            Self::Restarted => {}
            Self::Refusing | Self::Unreachable => redis.relay.inject(Fault::None),
            Self::WrongPassword => server.set_password("").await,
            Self::Loading => server.finish_loading().await,
            Self::OutOfMemory => drop(server.command(&["CONFIG", "SET", "maxmemory", "0"]).await),
            Self::ReadOnly => drop(server.command(&["REPLICAOF", "NO", "ONE"]).await),
            Self::NoReplicas => drop(server.command(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await),
            Self::WritesPaused => drop(server.command(&["CLIENT", "UNPAUSE"]).await),
        }
    }
}

/// A revocation that was made while Redis was broken.
struct Revoked {
    token: Issued,
    at: Instant,
    /// No answer may be the old one after this long.
    within: Duration,
}

// === impl Revoked ===

impl Revoked {
    async fn make(client: &Client, token: Issued) -> Self {
        let call = client.try_revoke(Target::Token(token.secret.clone()));
        // Without Redis it waits until every lease from before it has lapsed.
        let answer = answered("Revoke of a cached token", LEASE + PROMPT, call).await;
        assert!(answer.revoked, "{answer:?}");
        let revoked = Self { token, at: Instant::now(), within: staleness(&answer) };
        if revoked.within.is_zero() {
            assert_eq!(client.reason(&revoked.token.secret).await, InactiveReason::Revoked, "COMPLETE is complete");
        }
        revoked
    }

    async fn holds(&self, client: &Client) {
        let refused = async || (client.reason(&self.token.secret).await == InactiveReason::Revoked).then_some(());
        within("the revocation has its effect", self.within.saturating_sub(self.at.elapsed()), refused).await;
        report(&format!("  the revocation was seen to hold {:?} after it was answered", self.at.elapsed()));
        for _ in 0..20 {
            assert_eq!(client.reason(&self.token.secret).await, InactiveReason::Revoked, "and stays so");
        }
    }
}

/// How long the old answer may be given: not at all when the answer says COMPLETE.
fn staleness(answer: &RevokeResponse) -> Duration {
    let propagation = answer.propagation.expect("a revocation says how far it has spread");
    report(&format!("  propagation: {propagation:?}"));
    if propagation.state() == PropagationState::Complete {
        return Duration::ZERO;
    }
    assert_eq!(propagation.state(), PropagationState::Pending);
    let bound = propagation.max_staleness.expect("PENDING says for how long").try_into().expect("it is no debt");
    assert!(bound <= MAX_STALENESS, "{bound:?}");
    bound
}

async fn every_call_is_answered(on: On, broken: Broken) {
    report(&format!("Redis {broken:?}, {on:?}"));
    let mut stack = Stack::start_with(on, With::Redis, &[ENTRY_TTL, NO_GRACE]).await;
    let client = stack.client();
    let replica = replica_id(&client).await;
    let (hot, doomed) = (client.issue("hot").await, client.issue("doomed").await);
    let cold = client.issue("cold").await;
    becomes(&client, "redis", Serves::Yes, RECOVERY).await;
    warm(&client, &hot.secret).await;
    warm(&client, &doomed.secret).await;

    broken.inject(stack.redis()).await;
    let since = Instant::now();
    let expected = broken.expected();
    let answer = answered("Authenticate, cached", PROMPT, client.try_authenticate(about(&hot.secret))).await;
    assert!(answer.active && expected.hot.contains(&answer.source()), "{answer:?}");
    let answer = answered("Authenticate, not cached", PROMPT, client.try_authenticate(about(&cold.secret))).await;
    assert!(answer.active && answer.source() == AnswerSource::Database, "{answer:?}");
    let issued: Issued = answered("IssueToken", PROMPT, client.try_issue(for_user("new"))).await.into();
    let answer = answered("Authenticate, new", PROMPT, client.try_authenticate(about(&issued.secret))).await;
    assert!(answer.active, "{answer:?}");
    if let Some(serves) = expected.redis {
        becomes(&client, "redis", serves, Duration::from_secs(1).saturating_sub(since.elapsed())).await;
    }
    let revoked = Revoked::make(&client, doomed).await;
    goes_on(&client, &hot).await;

    broken.heal(stack.redis()).await;
    becomes(&client, "redis", Serves::Yes, RECOVERY).await;
    let healed = Instant::now();
    revoked.holds(&client).await;
    for token in [&hot, &cold, &issued] {
        warm(&client, &token.secret).await;
    }
    report(&format!("  answers come from Redis {:?} after health said so", healed.elapsed()));
    assert_eq!(replica_id(&client).await, replica, "it needed no restart");
    assert!(!stack.server.output().contains("panicked"));
}

/// While it lasts, nothing is slow and nothing is refused.
async fn goes_on(client: &Client, hot: &Issued) {
    let mut slowest = Duration::ZERO;
    for _ in 0..100 {
        let start = Instant::now();
        let answer = client.authenticate(&hot.secret).await;
        assert!(answer.active, "{answer:?}");
        slowest = slowest.max(start.elapsed());
    }
    report(&format!("  the slowest of 100 checks: {slowest:?}"));
    assert!(slowest < PROMPT, "{slowest:?}");
    assert_services_serve(client).await;
    assert!(client.serving("database").await);
}

macro_rules! every_call_is_answered {
    ($($name:ident: $on:ident, $broken:ident;)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            every_call_is_answered(On::$on, Broken::$broken).await;
        }
    )+};
}

every_call_is_answered! {
    every_call_is_answered_while_redis_is_dead: Sqlite, Killed;
    every_call_is_answered_while_redis_is_dead_on_postgres: Postgres, Killed;
    every_call_is_answered_while_redis_is_dead_on_mariadb: MariaDb, Killed;
    every_call_is_answered_while_redis_hangs: Sqlite, Hung;
    every_call_is_answered_while_redis_hangs_on_postgres: Postgres, Hung;
    every_call_is_answered_while_redis_restarts_empty: Sqlite, Restarted;
    every_call_is_answered_while_redis_refuses_connections: Sqlite, Refusing;
    every_call_is_answered_while_redis_is_unreachable: Sqlite, Unreachable;
    every_call_is_answered_while_redis_wants_another_password: Sqlite, WrongPassword;
    every_call_is_answered_while_redis_is_loading: Sqlite, Loading;
    every_call_is_answered_while_redis_is_out_of_memory: Sqlite, OutOfMemory;
    every_call_is_answered_while_redis_is_read_only: Postgres, ReadOnly;
    every_call_is_answered_while_redis_misses_its_replicas: Sqlite, NoReplicas;
    every_call_is_answered_while_redis_pauses_writes: Sqlite, WritesPaused;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_starts_and_answers_without_redis_and_takes_it_when_it_comes() {
    let mut redis = stack::redis().await;
    redis.server.kill();
    let mut stack = Stack::start_before(On::Sqlite, redis).await;
    let client = stack.client();
    let issued = client.issue("early").await;
    assert!(client.authenticate(&issued.secret).await.active);
    assert!(!client.serving("redis").await);
    assert_services_serve(&client).await;
    stack.redis().server.restart().await;
    becomes(&client, "redis", Serves::Yes, RECOVERY).await;
    warm(&client, &issued.secret).await;
}
