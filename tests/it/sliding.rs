//! Sliding expiry: a token that is used ends later, on hits as well, for one write an interval.

use sea_orm::{ConnectionTrait as _, DatabaseTransaction, TransactionTrait as _};
use sha2::{Digest as _, Sha512};
use tokenward::proto::{AnswerSource, AuthenticateResponse, InactiveReason};

use crate::harness::{
    client::{Client, Issued, now, seconds},
    eventually::eventually,
    sql,
    stack::{On, Stack, With},
};

/// By default a token lives ten hours, and its expiry must gain a minute. What is counted here is not time.
const SLIDING: [(&str, &str); 5] = [
    ("TOKENWARD_TOKENS__AUTO_REFRESH", "true"),
    ("TOKENWARD_REDIS__COMMAND_TIMEOUT", "2s"),
    ("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "10s"),
    ("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "10s"),
    ("TOKENWARD_COHERENCE__REPROOF_RATIO", "0"),
];
const HOUR: f64 = 3600.0;

/// A token and what another program does to its row.
struct Row {
    secret: String,
    digest: String,
}

// === impl Row ===

impl Row {
    fn of(issued: &Issued) -> Self {
        Self { secret: issued.secret.clone(), digest: hex::encode(Sha512::digest(&issued.secret)) }
    }

    fn set_expiry(&self, sql: &str) -> String {
        format!("UPDATE tokenward_token SET expiry = {sql} WHERE digest = '{}'", self.digest)
    }

    /// Has an hour left, of which a use makes ten.
    async fn wind_back(&self, stack: &mut Stack) {
        stack.postgres().server.execute_as_owner(&self.set_expiry("now() + interval '1 hour'")).await;
    }

    /// Fails, and with it the test, unless it holds of the row.
    async fn must(&self, stack: &mut Stack, condition: &str) {
        let rows = format!("(SELECT count(*) FROM tokenward_token WHERE digest = '{}' AND {condition})", self.digest);
        let look = format!("DO $$ BEGIN ASSERT {rows} = 1; END $$");
        stack.postgres().server.execute_as_owner(&look).await;
    }
}

/// The statements of a token's extension since a place in the log.
fn logged(stack: &mut Stack, position: usize, part: &str) -> usize {
    let statements = stack.postgres().server.statements_since(position);
    statements.iter().filter(|statement| statement.contains(part)).count()
}

/// The detail is written in the transaction that has moved the token's own expiry, and then only.
fn writes(stack: &mut Stack, position: usize) -> usize {
    logged(stack, position, "UPDATE tokenward_token_detail SET expiry")
}

fn ends_in_hours(answer: &AuthenticateResponse) -> f64 {
    let token = answer.token.as_ref().expect("it is active");
    (seconds(token.expire_time) - now()) / HOUR
}

async fn a_hot_token_is_written_once_an_interval_over_two_replicas(with: With, source: AnswerSource) {
    let mut stack = Stack::start_with(On::Postgres, with, &SLIDING).await;
    let other = stack.another_server().await;
    let clients = [stack.client(), other.client()];
    let row = Row::of(&clients[0].issue("alice").await);
    for round in 0..2 {
        let position = stack.postgres().server.log_position();
        row.wind_back(&mut stack).await;
        let written = async || {
            for client in &clients {
                assert!(client.authenticate(&row.secret).await.active);
            }
            (writes(&mut stack, position) > 0).then_some(())
        };
        eventually("the expiry is moved", written).await;
        row.must(&mut stack, "expiry > now() + interval '9 hours'").await;
        for client in &clients {
            let seen = async || {
                let answer = client.authenticate(&row.secret).await;
                (answer.source() == source && ends_in_hours(&answer) > 9.0).then_some(())
            };
            eventually("hits show the later end", seen).await;
            for _ in 0..100 {
                assert!(client.authenticate(&row.secret).await.active);
            }
        }
        assert_eq!(writes(&mut stack, position), 1, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_redis_hits_slide_for_one_write_an_interval_over_two_replicas() {
    a_hot_token_is_written_once_an_interval_over_two_replicas(With::Redis, AnswerSource::SharedCache).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_memory_hits_slide_for_one_write_an_interval_over_two_replicas() {
    a_hot_token_is_written_once_an_interval_over_two_replicas(With::Memory, AnswerSource::LocalCache).await;
}

/// Checks while another program has not committed its change yet, until the extension waits for it.
async fn meeting(stack: &mut Stack, client: &Client, row: &Row, change: &str, waits_at: &str) {
    row.wind_back(stack).await;
    let connection = sql::connect(&stack.postgres().server.admin_url()).await.expect("a connection");
    let transaction: DatabaseTransaction = connection.begin().await.expect("a transaction");
    transaction.execute_unprepared(change).await.expect("the administrator's SQL is right");
    let position = stack.postgres().server.log_position();
    let waits = async || {
        assert!(client.authenticate(&row.secret).await.active, "no answer waits");
        (logged(stack, position, waits_at) > 0).then_some(())
    };
    eventually("an extension waits for the other program", waits).await;
    transaction.commit().await.expect("committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_program_changes_meanwhile_stands() {
    const UPDATE: &str = r#"SET "expiry" = $1 WHERE"#;
    let mut stack = Stack::start_with(On::Postgres, With::Redis, &SLIDING).await;
    let client = stack.client();

    let row = Row::of(&client.issue("alice").await);
    let refresh = row.set_expiry("now() + interval '9 hours 59 minutes 50 seconds'");
    meeting(&mut stack, &client, &row, &refresh, UPDATE).await;
    let seen = async || {
        let answer = client.authenticate(&row.secret).await;
        (ends_in_hours(&answer) > 9.0).then_some(())
    };
    eventually("what Django wrote is seen", seen).await;
    row.must(&mut stack, "expiry < now() + interval '9 hours 59 minutes 50 seconds'").await;

    let row = Row::of(&client.issue("alice").await);
    let delete = format!("DELETE FROM tokenward_token WHERE digest = '{}'", row.digest);
    meeting(&mut stack, &client, &row, &delete, UPDATE).await;
    let ended = async || (client.reason(&row.secret).await == InactiveReason::Unknown).then_some(());
    eventually("the token has ended", ended).await;
    assert_eq!(client.reason(&row.secret).await, InactiveReason::Unknown, "for good");

    let row = Row::of(&client.issue("bob").await);
    let disable = "UPDATE tokenward_user SET active = false WHERE id = 'bob'";
    meeting(&mut stack, &client, &row, disable, "FOR SHARE").await;
    let disabled = async || (client.reason(&row.secret).await == InactiveReason::UserDisabled).then_some(());
    eventually("the user is disabled", disabled).await;
    row.must(&mut stack, "expiry < now() + interval '1 hour'").await;
}
