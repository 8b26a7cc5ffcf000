//! What django-rest-knox and django-rest-knox-redis get wrong, and this service must not: a test for
//! each. Most show the packages' fault first.

use futures::future::join_all;
use serde_json::{Value, json};
use tokenward::proto::{AnswerSource, InactiveReason, RevokeAllRequest};

use super::{
    project::{KNOX_5, KNOX_REDIS_2, Project, on_sqlite},
    site::{Beside, Plan, Site, Theirs, hot},
};
use crate::harness::{
    eventually::eventually,
    redis::Reply,
    relay::Fills,
    server::{Server, directory},
    stack::{MAC_KEY, On, Stack, With},
};

/// Django with knox-redis and the service, on a SQLite file and a Redis.
fn with_knox_redis() -> Plan {
    Plan { with: With::Redis, beside: Beside::KnoxRedis, ..Plan::on(On::Sqlite) }
}

fn get(class: &str, secret: &str) -> Value {
    json!(["GET", format!("/{class}/ping/"), format!("Token {secret}")])
}

/// The arguments of a command of `driver.py` that sends a request about a token.
fn during(row: &Value, class: &str, secret: &str) -> Value {
    json!([row["digest"], "GET", format!("/{class}/ping/"), format!("Token {secret}")])
}

impl Site {
    /// A token that knox-redis 0.1.3 has cached.
    async fn cached(&self, user: &str) -> Theirs {
        let token = self.theirs(user).await;
        assert!(self.accepts("knox_redis", &token.secret).await, "from the database");
        token
    }

    /// One more service on the same SQLite file.
    async fn replica(&self) -> Server {
        let url = format!("sqlite://{}", self.file().display());
        self.stack.another_server_with(&[("TOKENWARD_DATABASE__URL", &url)]).await
    }

    async fn redis_text(&mut self, words: &[&str]) -> String {
        match self.stack.redis().server.command(words).await {
            Reply::Text(text) => text,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    /// The keys of the service's entries.
    async fn keys(&mut self) -> Vec<String> {
        let Reply::Array(keys) = self.stack.redis().server.command(&["KEYS", "tokenward*"]).await else {
            panic!("KEYS answers with an array")
        };
        keys.into_iter().filter_map(|key| if let Reply::Text(key) = key { Some(key) } else { None }).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_1_a_fill_that_lands_after_a_revocation_does_not_bring_the_token_back() {
    let mut site = with_knox_redis().start().await;
    let (client, user) = (site.client(), site.user("alice").await);
    let Theirs { secret, row } = site.theirs(&user).await;
    let status = site.django.call("overtaken", during(&row, "knox_redis", &secret)).await;
    assert_eq!(status, 200, "the fill's own request began before the logout");
    assert!(site.accepts("knox_redis", &secret).await, "knox-redis 0.1.3: for ever");
    assert_eq!(client.reason(&secret).await, InactiveReason::Unknown);

    let Theirs { secret, .. } = site.theirs(&user).await;
    site.stack.redis().relay.fills(Fills::Hold);
    assert!(client.authenticate(&secret).await.active);
    eventually("a fill is on its way", async || (site.stack.redis().relay.held() > 0).then_some(())).await;
    client.revoke(&secret).await;
    site.stack.redis().relay.fills(Fills::Pass);
    site.stack.redis().relay.let_go().await;
    // What is remembered of unknown tokens hides nothing from another replica.
    for client in [&client, &site.replica().await.client()] {
        assert!(!client.authenticate(&secret).await.active, "the fill has landed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_2_a_revocation_while_redis_is_down_is_not_lost() {
    let mut site = with_knox_redis().start().await;
    let (client, user) = (site.client(), site.user("alice").await);
    let (theirs, ours, told) = (site.cached(&user).await, client.issue(&user).await, client.issue(&user).await);
    for secret in [&ours.secret, &told.secret] {
        hot(&client, secret).await;
    }
    let replica = site.replica().await;
    site.stack.redis().server.save().await;
    // Redis takes the tombstone, and forgets it.
    client.revoke(&told.secret).await;
    site.stack.redis().server.kill();

    assert_eq!(site.post("/knox_redis/logout/", &theirs.secret).await, 204);
    assert!(client.revoke(&ours.secret).await.revoked);
    assert!(!client.authenticate(&ours.secret).await.active, "down");
    site.stack.redis().server.restart().await;
    let back = async || (client.serving("redis").await && replica.client().serving("redis").await).then_some(());
    eventually("Redis is back", back).await;

    assert!(site.accepts("knox_redis", &theirs.secret).await, "knox-redis 0.1.3: it lives again");
    for (what, secret) in [("told", &told.secret), ("theirs", &theirs.secret), ("ours", &ours.secret)] {
        assert!(!replica.client().authenticate(secret).await.active, "back, with all that it had: {what}");
        assert!(!client.authenticate(secret).await.active, "back, with all that it had: {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_2_what_the_service_ends_knox_redis_refuses_also_when_redis_was_down() {
    let mut site = with_knox_redis().start().await;
    let (user, other) = (site.user("alice").await, site.user("bob").await);
    let url = format!("redis://{}", site.stack.redis().relay.address());
    let file = format!("sqlite://{}", site.file().display());
    let settings = [("TOKENWARD_DATABASE__URL", file.as_str()), ("TOKENWARD_KNOX_REDIS__URL", url.as_str())];
    let server = site.stack.another_server_with(&settings).await;
    let client = server.client();
    let (one, late, all) = (site.cached(&user).await, site.cached(&user).await, site.cached(&other).await);
    let refuses = async |secret: &str| (!site.accepts("knox_redis", secret).await).then_some(());
    assert!(client.revoke(&one.secret).await.revoked);
    eventually("knox-redis refuses what Revoke has ended", async || refuses(&one.secret).await).await;
    let request = RevokeAllRequest { user_id: other, ..RevokeAllRequest::default() };
    client.tokens.clone().revoke_all(request).await.expect("revoked");
    eventually("knox-redis refuses what RevokeAll has ended", async || refuses(&all.secret).await).await;
    site.stack.redis().server.save().await;
    site.stack.redis().server.kill();
    assert!(client.revoke(&late.secret).await.revoked, "while Redis is down");
    site.stack.redis().server.restart().await;
    let told = async || (!site.accepts("knox_redis", &late.secret).await).then_some(());
    eventually("knox-redis refuses what was ended while Redis was down", told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_3_deletions_by_sql_and_in_transactions_that_commit_late_are_noticed() {
    let site = with_knox_redis().start().await;
    let (client, user) = (site.client(), site.user("alice").await);
    let token = site.cached(&user).await;
    hot(&client, &token.secret).await;
    assert_eq!(site.django.call("delete_by_sql", json!([token.row["digest"]])).await, 1);
    site.refused_within_the_bound("SQL", &token.secret).await;
    assert!(site.accepts("knox_redis", &token.secret).await, "knox-redis 0.1.3: never");

    let late = site.cached(&user).await;
    let status = site.django.call("delete_meanwhile", during(&late.row, "knox_redis", &late.secret)).await;
    assert_eq!(status, 200, "not committed yet");
    assert!(site.accepts("knox_redis", &late.secret).await, "knox-redis 0.1.3: never");

    let late = site.theirs(&user).await;
    hot(&client, &late.secret).await;
    let status = site.django.call("delete_meanwhile", during(&late.row, "tokenward", &late.secret)).await;
    assert_eq!(status, 200, "not committed yet");
    site.refused_within_the_bound("a late commit", &late.secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_4_two_projects_on_one_redis_do_not_accept_each_others_tokens() {
    let mut site = Plan { service: vec![("TOKENWARD_CACHE__MAC_KEY", MAC_KEY)], ..with_knox_redis() }.start().await;
    let elsewhere = directory();
    let file = elsewhere.path().join("other.sqlite3");
    let mut project = Project::new(KNOX_5, on_sqlite(&file));
    project.cache_in(&site.stack.redis().server);
    project.migrate(&json!({}));
    let other = project.start(&json!({}));
    let (user, stranger) = (site.user("alice").await, other.text("create_user", json!(["mallory"])).await);
    assert_eq!(user, stranger, "each is its project's first");

    let token = site.cached(&user).await;
    let seen = other.call("request", get("knox_redis", &token.secret)).await;
    assert_eq!(seen["status"], 200, "knox-redis 0.1.3: as another person, too");
    let seen = other.call("request", get("knox", &token.secret)).await;
    assert_eq!(seen["status"], 401, "its database does not know it");

    hot(&site.client(), &token.secret).await;
    let url = format!("sqlite://{}", file.display());
    let server = site.stack.another_server_with(&[("TOKENWARD_DATABASE__URL", &url)]).await;
    assert_eq!(server.client().reason(&token.secret).await, InactiveReason::Unknown, "with the same key, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_5_a_logout_after_a_cache_hit_ends_the_token() {
    let site = with_knox_redis().start().await;
    let (client, user) = (site.client(), site.user("alice").await);
    let token = site.cached(&user).await;
    assert_eq!(site.post("/knox_redis/logout/", &token.secret).await, 500, "knox-redis 0.1.3");
    hot(&client, &token.secret).await;
    assert_eq!(site.post("/tokenward/logout/", &token.secret).await, 204);
    assert!(!site.accepts("knox", &token.secret).await);
    assert!(!client.authenticate(&token.secret).await.active);
}

/// Nothing slides in this version; what Django slides is not missed for being cached.
#[tokio::test(flavor = "multi_thread")]
async fn defect_6_an_expiry_that_slides_is_followed_though_the_token_is_cached() {
    let plan = with_knox_redis();
    let site = Plan { django: json!({ "REST_KNOX": { "AUTO_REFRESH": true } }), ..plan }.start().await;
    let (client, user) = (site.client(), site.user("alice").await);
    let token = site.cached(&user).await;
    let name = &token.row["digest"];
    site.django.call("prolong", json!([name])).await;
    let row = site.django.call("row", json!([name])).await;
    assert!(site.accepts("knox_redis", &token.secret).await);
    assert_eq!(site.django.call("row", json!([name])).await, row, "knox-redis 0.1.3: a hit leaves it at an hour");
    assert!(site.accepts("knox", &token.secret).await);
    assert_ne!(site.django.call("row", json!([name])).await, row, "knox: it slides");

    let brief = Theirs::from(&site.django.call("issue", json!([user, 3])).await);
    hot(&client, &brief.secret).await;
    site.django.call("prolong", json!([brief.row["digest"]])).await;
    let row = site.django.call("row", json!([brief.row["digest"]])).await;
    // The fact ends when the former expiry does, and the row is read again: no look in between fails.
    let followed = async || {
        let answer = client.authenticate(&brief.secret).await;
        assert!(answer.active, "{answer:?}");
        (micros(answer.token?.expire_time?) == row["expiry"]).then_some(())
    };
    eventually("the new expiry is told", followed).await;
}

fn micros(time: prost_types::Timestamp) -> i64 {
    time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_7_a_hit_costs_no_query_and_an_unresponsive_redis_no_answer() {
    let mut site = with_knox_redis().start().await;
    let (client, user) = (site.client(), site.user("alice").await);
    let token = site.cached(&user).await;
    hot(&client, &token.secret).await;
    let theirs = site.django.call("queries", get("knox_redis", &token.secret)).await;
    assert_eq!(theirs, 1, "knox-redis 0.1.3 reads the user");
    assert_eq!(site.django.call("queries", get("tokenward", &token.secret)).await, 0);

    site.stack.redis().server.pause();
    let answer = client.authenticate(&token.secret).await;
    assert_eq!((answer.active, answer.source()), (true, AnswerSource::Database), "within the caller's deadline");
    site.stack.redis().server.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_8_an_expired_sibling_costs_nothing_while_redis_is_down() {
    let mut site = Plan { packages: KNOX_REDIS_2, ..with_knox_redis() }.start().await;
    let user = site.user("alice").await;
    let (token, sibling) = (site.theirs(&user).await, site.theirs(&user).await);
    site.django.call("expire", json!([sibling.row["digest"]])).await;
    site.stack.redis().server.kill();
    let seen = site.seen("knox_redis", &format!("Token {}", token.secret)).await;
    assert_eq!(seen["status"], 503, "knox-redis 0.2.0");
    assert!(site.accepts("tokenward", &token.secret).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_9_a_token_that_is_no_text_is_an_invalid_token() {
    let site = Site::start(On::Postgres).await;
    for token in ["\u{ff}\u{fe}", "a\0b"] {
        let (ours, theirs) = (
            site.seen("tokenward", &format!("Token {token}")).await,
            site.seen("knox", &format!("Token {token}")).await,
        );
        assert_eq!((&ours["status"], &theirs["status"]), (&json!(401), &json!(500)), "{token:?}");
        assert_eq!(ours["body"]["detail"], "Invalid token.");
    }
    assert!(!site.client().authenticate("a\0b").await.active);
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_10_a_check_reads_one_row_whatever_the_user_owns() {
    let mut site = Site::start(On::Postgres).await;
    let (client, user) = (site.client(), site.user("alice").await);
    assert_eq!(site.django.call("many", json!([user, 2000])).await, 2000);
    let token = site.theirs(&user).await;
    let rows = site.django.call("loaded", get("knox", &token.secret)).await;
    assert!(rows.as_i64().is_some_and(|rows| rows > 2000), "knox: {rows}");

    let position = site.stack.postgres().server.log_position();
    assert!(client.authenticate(&token.secret).await.active);
    let mut statements = site.stack.postgres().server.statements_since(position);
    statements.retain(|sql| sql.contains("FROM \"knox_authtoken\"") || sql.contains("JOIN \"knox_authtoken\""));
    assert_eq!(statements.len(), 1, "{statements:#?}");
    assert!(statements[0].contains("\"digest\" IN") || statements[0].contains("\"digest\" ="), "{statements:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_11_a_malformed_or_foreign_entry_is_a_miss() {
    let mut site = with_knox_redis().start().await;
    let (client, user) = (site.client(), site.user("alice").await);
    let token = site.cached(&user).await;
    let entry = format!("knox:token:{}", &token.secret[..15]);
    let theirs = site.redis_text(&["GET", &entry]).await;
    site.redis_text(&["SET", &entry, "[1]"]).await;
    let seen = site.seen("knox_redis", &format!("Token {}", token.secret)).await;
    assert_eq!(seen["status"], 500, "knox-redis 0.1.3, until somebody flushes it");

    for foreign in ["[1]", "", "\u{1}", &theirs, &"x".repeat(100_000)] {
        hot(&client, &token.secret).await;
        let keys = site.keys().await;
        assert!(!keys.is_empty());
        for key in &keys {
            site.redis_text(&["SET", key, foreign]).await;
        }
        let answer = client.authenticate(&token.secret).await;
        assert_eq!((answer.active, answer.source()), (true, AnswerSource::Database), "{} bytes", foreign.len());
    }
    for key in &site.keys().await {
        site.redis_text(&["DEL", key]).await;
        site.redis_text(&["RPUSH", key, "of another type"]).await;
    }
    assert!(client.authenticate(&token.secret).await.active, "a list");
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_12_revoke_all_is_one_call_and_leaves_nothing_that_grows() {
    const TOKENS: usize = 50;
    let mut site = with_knox_redis().start().await;
    let (client, user) = (site.client(), site.user("alice").await);
    let token = site.cached(&user).await;
    site.django.call("delete_by_sql", json!([token.row["digest"]])).await;
    let index = format!("knox:user:{user}:tokens");
    let left = (site.redis_text(&["SCARD", &index]).await, site.redis_text(&["TTL", &index]).await);
    assert_eq!(left, ("1".to_owned(), "-1".to_owned()), "knox-redis 0.1.3: for ever");

    for _ in 0..TOKENS {
        hot(&client, &client.issue(&user).await.secret).await;
    }
    let before = site.keys().await.len();
    site.stack.redis().server.reset_calls().await;
    let all = RevokeAllRequest { user_id: user, ..RevokeAllRequest::default() };
    let revoked = client.tokens.clone().revoke_all(all).await.expect("a user's tokens can be revoked").into_inner();
    assert_eq!(usize::try_from(revoked.revoked_count), Ok(TOKENS));
    let calls = site.stack.redis().server.calls().await;
    assert!(calls.values().sum::<u64>() <= TOKENS as u64, "one for each key, sent at once: {calls:?}");
    let keys = site.keys().await;
    assert!(keys.len() <= before, "nothing but what was there");
    for key in keys {
        assert_ne!(site.redis_text(&["TTL", &key]).await, "-1", "{key} ends by itself");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_13_uuid_users_and_local_times_are_cached() {
    let mut plan = with_knox_redis();
    plan.django = json!({ "AUTH_USER_MODEL": "people.Unguessable", "USE_TZ": false });
    plan.service = vec![
        ("TOKENWARD_SCHEMA__USER_TABLE", "people_unguessable"),
        ("TOKENWARD_SCHEMA__USER_ID_TYPE", "char32"),
        ("TOKENWARD_SCHEMA__TIME_ZONE", "Asia/Kathmandu"),
    ];
    let mut site = plan.start().await;
    let user = site.user("alice").await;
    let token = site.cached(&user).await;
    let entry = format!("knox:token:{}", &token.secret[..15]);
    assert_eq!(site.redis_text(&["EXISTS", &entry]).await, "0", "knox-redis 0.1.3: never, and silently");
    hot(&site.client(), &token.secret).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn defect_14_unknown_tokens_stampedes_and_a_dead_redis_are_bounded() {
    let service = vec![("TOKENWARD_COHERENCE__REPROOF_RATIO", "0")];
    let mut site = Plan { beside: Beside::KnoxRedis, service, ..Plan::on(On::Postgres) }.start().await;
    let (client, user) = (site.client(), site.user("alice").await);
    let unknown = "0".repeat(64);
    for _ in 0..2 {
        let queries = site.django.call("queries", get("knox_redis", &unknown)).await;
        assert_eq!(queries, 1, "knox-redis 0.1.3 asks each time");
    }
    let position = site.stack.postgres().server.log_position();
    for _ in 0..2 {
        assert_eq!(client.reason(&unknown).await, InactiveReason::Unknown);
    }
    assert_eq!(lookups(&mut site.stack, position), 1, "remembered the second time");

    let token = site.theirs(&user).await;
    let position = site.stack.postgres().server.log_position();
    let answers = join_all((0..50).map(|_| client.authenticate(&token.secret))).await;
    assert!(answers.iter().all(|answer| answer.active));
    let asked = lookups(&mut site.stack, position);
    assert!(asked <= 2, "{asked} statements for 50 checks");

    site.stack.redis().server.pause();
    let opened = async || {
        assert!(client.authenticate(&token.secret).await.active);
        (!client.serving("redis").await).then_some(())
    };
    eventually("Redis is left alone", opened).await;
    assert!(client.authenticate(&token.secret).await.active);
    site.stack.redis().server.resume();
}

fn lookups(stack: &mut Stack, position: usize) -> usize {
    let statements = stack.postgres().server.statements_since(position);
    statements
        .iter()
        .filter(|sql| sql.contains("FROM \"knox_authtoken\"") || sql.contains("JOIN \"knox_authtoken\""))
        .count()
}
