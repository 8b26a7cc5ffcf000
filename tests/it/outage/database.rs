//! The database is lost: what is cached is answered, the rest is refused, and nothing is
//! called inactive.

use std::time::{Duration, Instant};

use sea_orm::DatabaseConnection;
use tokenward::proto::{AnswerSource, InactiveReason, revoke_request::Target};

use super::{PROMPT, RECOVERY, Serves, answered, assert_services_serve, becomes, refused, replica_id, warm};
use crate::harness::{
    client::{about, for_user},
    eventually::{eventually, report, within},
    relay::Fault,
    stack::{On, Stack, With},
};

/// What is wrong with the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Killed,
    Hung,
    Refusing,
    Unreachable,
    OutOfConnections,
}

/// What keeps it broken.
type Taken = Vec<DatabaseConnection>;

// === impl Broken ===

impl Broken {
    /// Two looks at it: each at most a wait for a connection and a statement's time, and the pause before.
    fn told_within(self) -> Duration {
        match self {
            Self::Killed | Self::Refusing => Duration::from_millis(1500),
            Self::Hung | Self::Unreachable | Self::OutOfConnections => Duration::from_secs(3),
        }
    }

    async fn inject(self, on: On, stack: &mut Stack) -> Taken {
        match (self, on) {
            (Self::Killed, On::MariaDb) => stack.mariadb().server.kill(),
            (Self::Killed, _) => stack.postgres().server.kill(),
            (Self::Hung, On::MariaDb) => stack.mariadb().server.pause(),
            (Self::Hung, _) => stack.postgres().server.pause(),
            (Self::Refusing, _) => stack.postgres().relay.inject(Fault::Refuse),
            (Self::Unreachable, _) => stack.postgres().relay.inject(Fault::Stall),
            (Self::OutOfConnections, _) => {
                let postgres = stack.postgres();
                // The service loses its connections, others take them all, and then it may try.
                postgres.relay.inject(Fault::Refuse);
                let taken = postgres.server.exhaust().await;
                postgres.relay.inject(Fault::None);
                return taken;
            }
        }
        Taken::new()
    }

    async fn heal(self, on: On, stack: &mut Stack, taken: Taken) {
        match (self, on) {
            (Self::Killed, On::MariaDb) => stack.mariadb().server.restart().await,
            (Self::Killed, _) => stack.postgres().server.restart().await,
            (Self::Hung, On::MariaDb) => stack.mariadb().server.resume(),
            (Self::Hung, _) => stack.postgres().server.resume(),
            (Self::Refusing | Self::Unreachable, _) => stack.postgres().relay.inject(Fault::None),
            (Self::OutOfConnections, _) => drop(taken),
        }
    }
}

async fn only_what_is_cached_is_answered(on: On, broken: Broken) {
    report(&format!("{on:?} {broken:?}"));
    let mut stack = Stack::start(on, With::Redis).await;
    let client = stack.client();
    let replica = replica_id(&client).await;
    let (hot, cold) = (client.issue("hot").await, client.issue("cold").await);
    becomes(&client, "redis", Serves::Yes, RECOVERY).await;
    warm(&client, &hot.secret).await;

    let taken = broken.inject(on, &mut stack).await;
    let since = Instant::now();
    let target = || Target::Token(hot.secret.clone());
    let answer = answered("Authenticate, cached", PROMPT, client.try_authenticate(about(&hot.secret))).await;
    assert!(answer.active && answer.source() == AnswerSource::SharedCache, "{answer:?}");
    refused("Authenticate, not cached", client.try_authenticate(about(&cold.secret))).await;
    becomes(&client, "database", Serves::No, broken.told_within().saturating_sub(since.elapsed())).await;
    refused("Authenticate, unknown", client.try_authenticate(about(&"0".repeat(64)))).await;
    refused("IssueToken", client.try_issue(for_user("new"))).await;
    refused("Revoke", client.try_revoke(target())).await;
    let answer = answered("Authenticate, malformed", PROMPT, client.try_authenticate(about("a b"))).await;
    assert_eq!(answer.inactive_reason(), InactiveReason::Malformed);
    assert_services_serve(&client).await;
    assert!(client.serving("redis").await);

    broken.heal(on, &mut stack, taken).await;
    let back = async || client.try_authenticate(about(&cold.secret)).await.ok();
    let (answer, took) = within("what is not cached is answered", RECOVERY, back).await;
    report(&format!("  answered again {took:?} after the database was back"));
    assert!(answer.active, "never inactive: {answer:?}");
    becomes(&client, "database", Serves::Yes, RECOVERY).await;
    eventually("tokens are issued", async || client.try_issue(for_user("new")).await.ok()).await;
    // The one that was refused may have been committed; a retry ends correct either way.
    eventually("a refused revocation can be retried", async || client.try_revoke(target()).await.ok()).await;
    assert_eq!(client.reason(&hot.secret).await, InactiveReason::Revoked);
    assert_eq!(replica_id(&client).await, replica, "it needed no restart");
    assert!(!stack.server.output().contains("panicked"));
}

macro_rules! only_what_is_cached_is_answered {
    ($($name:ident: $on:ident, $broken:ident;)+) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            only_what_is_cached_is_answered(On::$on, Broken::$broken).await;
        }
    )+};
}

only_what_is_cached_is_answered! {
    only_what_is_cached_is_answered_while_postgres_is_dead: Postgres, Killed;
    only_what_is_cached_is_answered_while_postgres_hangs: Postgres, Hung;
    only_what_is_cached_is_answered_while_postgres_refuses_connections: Postgres, Refusing;
    only_what_is_cached_is_answered_while_postgres_is_unreachable: Postgres, Unreachable;
    only_what_is_cached_is_answered_while_postgres_is_out_of_connections: Postgres, OutOfConnections;
    only_what_is_cached_is_answered_while_mariadb_is_dead: MariaDb, Killed;
    only_what_is_cached_is_answered_while_mariadb_hangs: MariaDb, Hung;
}

/// A dead connection in the pool must not cost a caller more than a refusal.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_database_is_over_when_it_is_over() {
    let mut stack = Stack::start(On::Postgres, With::Redis).await;
    let client = stack.client();
    let (hot, cold) = (client.issue("hot").await, client.issue("cold").await);
    warm(&client, &hot.secret).await;
    stack.postgres().server.kill();
    stack.postgres().server.restart().await;
    let answer = answered("Authenticate, cached", PROMPT, client.try_authenticate(about(&hot.secret))).await;
    assert!(answer.active, "{answer:?}");
    let back = async || client.try_authenticate(about(&cold.secret)).await.ok();
    let (answer, took) = within("what is not cached is answered", Duration::from_secs(3), back).await;
    report(&format!("  answered {took:?} after the restart"));
    assert!(answer.active, "{answer:?}");
    let (_, took) =
        within("tokens are issued", Duration::from_secs(3), async || client.try_issue(for_user("new")).await.ok())
            .await;
    report(&format!("  issued {took:?} later"));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_everything_lost_everything_is_refused_and_nothing_is_called_inactive() {
    let mut stack = Stack::start(On::Postgres, With::Redis).await;
    let client = stack.client();
    let hot = client.issue("hot").await;
    warm(&client, &hot.secret).await;
    stack.redis().server.pause();
    stack.postgres().server.kill();
    for what in ["Authenticate, first", "Authenticate, second", "Authenticate, third"] {
        refused(what, client.try_authenticate(about(&hot.secret))).await;
    }
    refused("IssueToken", client.try_issue(for_user("new"))).await;
    refused("Revoke", client.try_revoke(Target::Token(hot.secret.clone()))).await;
    for name in ["redis", "database"] {
        becomes(&client, name, Serves::No, Duration::from_secs(3)).await;
    }
    stack.postgres().server.restart().await;
    let back = async || client.try_authenticate(about(&hot.secret)).await.ok();
    assert!(eventually("the database alone is enough", back).await.active);
    stack.redis().server.resume();
    warm(&client, &hot.secret).await;
}
