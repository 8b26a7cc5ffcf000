//! Who did what is recorded, in the log and in the table, and no record holds a secret.

use std::time::Duration;

use nix::sys::signal::Signal;
use sea_orm::{ConnectionTrait as _, Statement};
use serde_json::Value;
use tokenward::proto::{
    DeleteUserRequest, FlushCacheRequest, IssueTokenRequest, RevocationReason, RevokeAllRequest, RevokeRequest, User,
    revoke_request::Target,
};
use tonic::Code;

use crate::harness::{
    callers::{ADMIN, GATEWAY, known, with_key},
    client::{Client, about, for_user},
    eventually::eventually,
    server::{Server, setting},
    sql,
    stack::{On, Stack, With},
};

const JSON: (&str, &str) = ("TOKENWARD_LOG__FORMAT", "json");
const TABLE: (&str, &str) = ("TOKENWARD_AUDIT__TABLE", "true");
const REQUEST_ID: &str = "6e3b1a52-1f5e-4c56-9c39-0d4d6f0c7a11";

/// The records in a log.
fn records(output: &str) -> Vec<Value> {
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["target"] == "tokenward::audit").collect()
}

/// The records in the log of a service, once there are so many.
async fn logged(server: &Server, count: usize) -> Vec<Value> {
    eventually("the calls are recorded", async || {
        Some(records(&server.output())).filter(|records| records.len() >= count)
    })
    .await
}

fn named(message: IssueTokenRequest, request_id: &str) -> tonic::Request<IssueTokenRequest> {
    let mut request = with_key(message, ADMIN);
    request.metadata_mut().insert("x-request-id", request_id.parse().expect("visible ASCII"));
    request
}

/// Each method that changes something, once, by an administrator; and what must be in no record.
async fn everything(client: &Client) -> Vec<String> {
    let (mut tokens, mut users, mut cache) = (client.tokens.clone(), client.users.clone(), client.cache.clone());
    let issue = IssueTokenRequest { request_id: REQUEST_ID.to_owned(), ..for_user("alice") };
    let issued = tokens.issue_token(named(issue, "call-1")).await.expect("issued").into_inner();
    let revoke = RevokeRequest {
        target: Some(Target::Token(issued.secret.clone())),
        reason: RevocationReason::KeyCompromise.into(),
    };
    tokens.revoke(with_key(revoke, ADMIN)).await.expect("revoked");
    let all = RevokeAllRequest { user_id: "alice".to_owned(), ..RevokeAllRequest::default() };
    tokens.revoke_all(with_key(all, ADMIN)).await.expect("revoked");
    let disabled = User { user_id: "alice".to_owned(), active: false, ..User::default() };
    let upsert = tokenward::proto::UpsertUserRequest { user: Some(disabled), update_mask: None };
    users.upsert_user(with_key(upsert, ADMIN)).await.expect("disabled");
    let refused = tokens.issue_token(named(for_user("alice"), "call-5")).await.expect_err("alice is disabled");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let delete = DeleteUserRequest { user_id: "alice".to_owned() };
    users.delete_user(with_key(delete, ADMIN)).await.expect("deleted");
    cache.flush_cache(with_key(FlushCacheRequest::default(), ADMIN)).await.expect("flushed");
    vec![issued.secret, ADMIN.to_owned(), GATEWAY.to_owned(), REQUEST_ID.to_owned()]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_and_each_refused_caller_is_one_record_without_a_secret() {
    let (dir, mut settings) = known();
    // At this level nothing else is logged.
    settings.extend([setting(JSON.0, JSON.1), setting("TOKENWARD_LOG__LEVEL", "error")]);
    let server = Server::start_in(dir, &settings).await;
    let client = server.client();
    let secrets = everything(&client).await;
    let all = RevokeAllRequest { user_id: "alice".to_owned(), ..RevokeAllRequest::default() };
    client.tokens.clone().revoke_all(with_key(all, GATEWAY)).await.expect_err("it may not");
    client.tokens.clone().authenticate(about(&secrets[0])).await.expect_err("nobody");
    client
        .tokens
        .clone()
        .authenticate(with_key(about(&secrets[0]), GATEWAY))
        .await
        .expect("it may, and changes nothing");

    let records = logged(&server, 9).await;
    let told: Vec<_> = records
        .iter()
        .map(|record| {
            let text = |key: &str| record[key].as_str().unwrap_or("-").to_owned();
            [text("event"), text("caller"), text("user_id"), text("code"), text("reason")].join(" ")
        })
        .collect();
    let expected = [
        "IssueToken admin alice OK -",
        "Revoke admin alice OK -",
        "RevokeAll admin alice OK -",
        "UpsertUser admin alice OK -",
        "IssueToken admin alice FAILED_PRECONDITION USER_DISABLED",
        "DeleteUser admin alice OK -",
        "FlushCache admin - OK -",
        "CallRefused gateway - PERMISSION_DENIED CALLER_NOT_ALLOWED",
        "CallRefused - - UNAUTHENTICATED CALLER_UNAUTHENTICATED",
    ];
    assert_eq!(told, expected, "{records:#?}");
    assert_eq!(records[0]["request_id"], "call-1");
    assert_eq!(records[0]["token_id"], records[1]["token_id"], "the token is named by its public name");
    assert_eq!(records[0]["token_id"].as_str().map(str::len), Some(32));
    assert_eq!((&records[1]["revoked"], &records[1]["revocation_reason"]), (&1.into(), &"KEY_COMPROMISE".into()));
    assert_eq!(records[3]["user_active"], false);
    assert_eq!(records[7]["method"], "TokenService/RevokeAll");
    assert!(records.iter().all(|record| record["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:"))));
    assert!(secrets.iter().all(|secret| !server.output().contains(secret.as_str())), "{records:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_request_id_of_a_call_is_not_recorded_when_it_seals_a_secret() {
    let (dir, mut settings) = known();
    settings.extend([setting(JSON.0, JSON.1)]);
    let server = Server::start_in(dir, &settings).await;
    let issue = IssueTokenRequest { request_id: REQUEST_ID.to_owned(), ..for_user("alice") };
    server.client().tokens.clone().issue_token(named(issue, REQUEST_ID)).await.expect("issued");
    let records = logged(&server, 1).await;
    assert_eq!(records[0]["request_id"], Value::Null, "{records:?}");
    assert!(!server.output().contains(REQUEST_ID));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_refused_calls_is_a_few_records_that_count_the_rest() {
    const FLOOD: u64 = 500;
    let (dir, mut settings) = known();
    settings.push(setting(JSON.0, JSON.1));
    let mut server = Server::start_in(dir, &settings).await;
    let client = server.client();
    for _ in 0..FLOOD {
        client.tokens.clone().authenticate(about("x")).await.expect_err("nobody");
    }
    server.signal(Signal::SIGTERM);
    server.exit(Duration::from_secs(30)).await;
    let records = records(&server.output());
    let told: u64 = records
        .iter()
        .map(|record| u64::from(record["method"].is_string()) + record["suppressed"].as_u64().unwrap_or(0))
        .sum();
    assert_eq!(told, FLOOD, "each one has a record or is counted in one: {records:#?}");
    assert!(records.len() < 100, "{} records", records.len());
    assert!(records.iter().all(|record| record["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1"))));
}

/// What the database holds up is done after the deadline, and recorded as it ended; so is what its caller leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_outlives_its_deadline_is_recorded_with_its_real_outcome() {
    let patient = ("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "15s");
    let mut stack = Stack::start_with(On::Postgres, With::Memory, &[JSON, patient]).await;
    let client = stack.client();
    let (late, left) = (client.issue("late").await, client.issue("left").await);
    let holder = sql::connect(&stack.postgres().server.admin_url()).await.expect("the administrator may connect");
    let hold = "BEGIN; SELECT * FROM tokenward_token FOR UPDATE";
    holder.execute_unprepared(hold).await.expect("nobody else holds them");
    let revoke =
        |secret: &str| RevokeRequest { target: Some(Target::Token(secret.to_owned())), ..RevokeRequest::default() };
    let mut timely = tonic::Request::new(revoke(&late.secret));
    timely.set_timeout(Duration::from_millis(300));
    let refused = client.tokens.clone().revoke(timely).await.expect_err("the rows are held");
    // Its client may give up first.
    assert!(matches!(refused.code(), Code::DeadlineExceeded | Code::Cancelled), "{refused:?}");
    let mut tokens = client.tokens.clone();
    let leaving = tokens.revoke(revoke(&left.secret));
    tokio::time::timeout(Duration::from_millis(300), leaving).await.expect_err("the rows are held");
    assert_eq!(records(&stack.server.output()).len(), 2, "nothing is recorded of what has not ended");
    holder.execute_unprepared("COMMIT").await.expect("they are released");
    let records = logged(&stack.server, 4).await;
    for (token, user) in [(&late, "late"), (&left, "left")] {
        let ended = |record: &&Value| record["event"] == "Revoke" && record["token_id"] == token.token_id.as_str();
        let record = records.iter().find(ended).expect("each has a record");
        let told = [&record["code"], &record["reason"], &record["revoked"], &record["user_id"]];
        assert_eq!(told, [&Value::from("OK"), &"CALLER_NOT_TOLD".into(), &1.into(), &user.into()], "{record}");
        assert!(!client.authenticate(&token.secret).await.active);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_records_is_switched_off_by_its_name() {
    let (dir, mut settings) = known();
    settings.extend([setting(JSON.0, JSON.1), setting("TOKENWARD_LOG__LEVEL", "debug,tokenward::audit=off")]);
    let mut server = Server::start_in(dir, &settings).await;
    everything(&server.client()).await;
    server.signal(Signal::SIGTERM);
    server.exit(Duration::from_secs(30)).await;
    assert!(server.output().contains("\"target\":\"tokenward"), "something is logged");
    assert_eq!(records(&server.output()), [Value::Null; 0]);
}

/// What the table has: (event, user).
async fn kept(url: &str) -> Vec<(String, String)> {
    let connection = sql::connect(url).await.expect("the database is there");
    let backend = connection.get_database_backend();
    let select = "SELECT event, user_id FROM tokenward_audit ORDER BY time, id";
    let rows = connection.query_all_raw(Statement::from_string(backend, select)).await.expect("the table is there");
    connection.close().await.expect("closed");
    let text = |row: &sea_orm::QueryResult, index| row.try_get_by_index::<Option<String>>(index).expect("text");
    rows.iter().map(|row| (text(row, 0).unwrap_or_default(), text(row, 1).unwrap_or_default())).collect()
}

/// Each database takes what the service writes.
async fn the_table_has_what_was_done(on: On) {
    let mut stack = Stack::start_with(on, With::Memory, &[TABLE]).await;
    let client = stack.client();
    let issued = client.issue("first").await;
    client.revoke(&issued.secret).await;
    client.issue("last").await;
    stack.server.signal(Signal::SIGTERM);
    stack.server.exit(Duration::from_secs(30)).await;
    let url = match on {
        On::Sqlite => format!("sqlite://{}", stack.server.dir().join("tokenward.db").display()),
        On::Postgres => stack.postgres().server.admin_url(),
        On::MariaDb => stack.mariadb().server.admin_url(),
    };
    let expected = [("IssueToken", "first"), ("Revoke", "first"), ("IssueToken", "last")];
    assert_eq!(kept(&url).await, expected.map(|(event, user)| (event.to_owned(), user.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_has_what_was_done_on_sqlite() {
    the_table_has_what_was_done(On::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_has_what_was_done_on_postgres() {
    the_table_has_what_was_done(On::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_has_what_was_done_on_mariadb() {
    the_table_has_what_was_done(On::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_wait_for_a_table_that_is_away_and_no_call_waits_for_them() {
    let mut stack = Stack::start_with(On::Postgres, With::Memory, &[TABLE]).await;
    let client = stack.client();
    let url = stack.postgres().server.admin_url();
    sql::execute(&url, "ALTER TABLE tokenward_audit RENAME TO elsewhere").await.expect("renamed");
    for user in ["one", "two", "three"] {
        client.issue(user).await;
    }
    let waits = async || stack.server.output().contains("the audit table cannot be written").then_some(());
    eventually("it is said that records wait", waits).await;
    sql::execute(&url, "ALTER TABLE elsewhere RENAME TO tokenward_audit").await.expect("renamed");
    let written = async || (kept(&url).await.len() == 3).then_some(());
    eventually("the records are written", written).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_at_the_end_is_written_first() {
    let mut stack = Stack::start_with(On::Postgres, With::Memory, &[TABLE]).await;
    let url = stack.postgres().server.admin_url();
    sql::execute(&url, "ALTER TABLE tokenward_audit RENAME TO elsewhere").await.expect("renamed");
    stack.client().issue("last").await;
    let waits = async || stack.server.output().contains("the audit table cannot be written").then_some(());
    eventually("it is said that records wait", waits).await;
    stack.server.signal(Signal::SIGTERM);
    eventually("nothing is served any more", async || stack.server.new_connection().await.err()).await;
    sql::execute(&url, "ALTER TABLE elsewhere RENAME TO tokenward_audit").await.expect("renamed");
    stack.server.exit(Duration::from_secs(30)).await;
    assert_eq!(kept(&url).await, [("IssueToken".to_owned(), "last".to_owned())]);
}
