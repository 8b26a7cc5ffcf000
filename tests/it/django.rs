//! A Django project with django-rest-knox and the service on the same tables: each accepts what the
//! other issued, and refuses what the other ended. The example's authentication class answers as
//! knox's own does.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use tokenward::proto::{AnswerSource, InactiveReason, RevokeAllRequest};

use self::project::{Django, KNOX_5, Project, on_postgres};
use crate::harness::{
    client::{Client, about, for_user},
    eventually::{eventually, report, within},
    stack::{self, Database, Stack, With},
};

mod project;

/// The default of `coherence.max_staleness`.
const BOUND: Duration = Duration::from_secs(1);
/// The bound holds whether or not a poll was slow.
const SETTINGS: [(&str, &str); 2] =
    [("TOKENWARD_DATABASE__SCHEMA", "knox"), ("TOKENWARD_COHERENCE__OUTAGE_GRACE", "0s")];

/// Both, and what they share.
struct Site {
    // Dropped before the database.
    django: Django,
    project: Project,
    stack: Stack,
}

/// A token that knox issued.
struct Theirs {
    secret: String,
    row: Value,
}

// === impl Site ===

impl Site {
    /// Django's tables first, then ours beside them.
    async fn start() -> Self {
        let postgres = stack::postgres().await;
        let project = Project::new(KNOX_5, on_postgres(&postgres.server));
        project.migrate(&json!({}));
        let stack = Stack::start_on(Database::Postgres(postgres), With::Redis, &SETTINGS).await;
        let django = project.start(&extra(&stack, &json!({})));
        Self { django, project, stack }
    }

    async fn user(&self, name: &str) -> String {
        self.django.text("create_user", json!([name])).await
    }

    /// A token that knox issued.
    async fn theirs(&self, user: &str) -> Theirs {
        let issued = self.django.call("issue", json!([user])).await;
        Theirs { secret: issued["secret"].as_str().expect("a secret").to_owned(), row: issued["row"].clone() }
    }

    /// What a view that knox's class protects answers, and what one that the example's protects does.
    async fn seen(&self, class: &str, authorization: &str) -> Value {
        self.django.call("request", json!(["GET", format!("/{class}/whoami/"), authorization])).await
    }

    async fn post(&self, path: &str, secret: &str) -> i64 {
        let answer = self.django.call("request", json!(["POST", path, format!("Token {secret}")])).await;
        answer["status"].as_i64().expect("a status")
    }
}

/// Settings of Django's.
fn extra(stack: &Stack, knox: &Value) -> Value {
    let target = stack.server.url().trim_start_matches("http://");
    json!({ "TOKENWARD": { "TARGET": target, "TIMEOUT": 10, "REVOKE_TIMEOUT": 10 }, "REST_KNOX": knox })
}

/// Waits until the token is answered from Redis.
async fn hot(client: &Client, secret: &str) {
    let hit = async || {
        let answer = client.authenticate(secret).await;
        assert!(answer.active, "{answer:?}");
        (answer.source() == AnswerSource::SharedCache).then_some(())
    };
    eventually("the token is answered from Redis", hit).await;
}

/// Looks until the token is refused. No look that began later than the bound after its end may accept it.
async fn refused_within_the_bound(what: &str, client: &Client, secret: &str) -> InactiveReason {
    let ended = Instant::now();
    let refused = async || {
        let began = Instant::now();
        let answer = client.try_authenticate(about(secret)).await.ok()?;
        assert!(!answer.active || began <= ended + BOUND, "{what}: accepted {:?} later", began - ended);
        (!answer.active).then(|| answer.inactive_reason())
    };
    let (reason, took) = within(what, 20 * BOUND, refused).await;
    report(&format!("  {what}: noticed after {took:?}"));
    reason
}

fn micros(time: Option<prost_types::Timestamp>) -> Value {
    time.map(|time| time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000).into()
}

fn digest(secret: &str) -> String {
    hex::encode(Sha512::digest(secret))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_accepts_what_the_other_issued_with_equal_owner_and_times() {
    let site = Site::start().await;
    let client = site.stack.client();
    let user = site.user("alice").await;

    let login = site.django.text("login", json!(["alice"])).await;
    let Theirs { secret, .. } = site.theirs(&user).await;
    let endless = site.django.call("issue", json!([user, null])).await;
    for secret in [&login, &secret, endless["secret"].as_str().expect("a secret")] {
        let answer = client.authenticate(secret).await;
        let (token, owner) = (answer.token.expect("it is active"), answer.user.expect("it is active"));
        let row = site.django.call("row", json!([digest(secret)])).await;
        assert_eq!(json!([owner.user_id, token.user_id]), json!([row["user"], row["user"]]));
        assert_eq!(owner.attributes["email"], "alice@example.com");
        assert_eq!(
            json!([micros(token.create_time), micros(token.expire_time)]),
            json!([row["created"], row["expiry"]])
        );
    }

    let issued = client.try_issue(for_user(&user)).await.expect("it is a user of Django's");
    let token = issued.token.expect("an issued token has a record");
    let seen = site.seen("knox", &format!("Token {}", issued.secret)).await;
    let (status, auth) = (&seen["status"], &seen["body"]["auth"]);
    assert_eq!((status, &seen["body"]["pk"]), (&json!(200), &json!(user)), "{seen}");
    assert_eq!(json!([auth["created"], auth["expiry"]]), json!([micros(token.create_time), micros(token.expire_time)]));
    assert_eq!((&auth["digest"], &auth["token_key"]), (&json!(digest(&issued.secret)), &json!(issued.secret[..15])));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_django_ends_is_refused_within_the_bound_though_redis_still_has_it() {
    let site = Site::start().await;
    let (client, django) = (site.stack.client(), &site.django);
    for (number, what) in ENDINGS.into_iter().enumerate() {
        let user = site.user(&format!("user{number}")).await;
        let Theirs { secret, row } = site.theirs(&user).await;
        hot(&client, &secret).await;
        let name = row["digest"].clone();
        let ended = match what {
            "logout" | "logoutall" => site.post(&format!("/knox/{what}/"), &secret).await == 204,
            "delete_token" | "delete_by_sql" | "expire" => django.call(what, json!([name])).await == 1,
            _ => django.call(what, json!([user])).await.as_i64().is_some_and(|rows| rows > 0),
        };
        assert!(ended, "{what}");
        let expected = match what {
            "expire" => InactiveReason::Expired,
            "deactivate" => InactiveReason::UserDisabled,
            _ => InactiveReason::Unknown,
        };
        assert_eq!(refused_within_the_bound(what, &client, &secret).await, expected, "{what}");
    }
}

/// Ways in which Django ends a token: knox's views, and commands of `driver.py`.
const ENDINGS: [&str; 8] =
    ["logout", "logoutall", "delete_token", "delete_queryset", "delete_by_sql", "expire", "deactivate", "delete_user"];

#[tokio::test(flavor = "multi_thread")]
async fn what_the_service_ends_django_refuses_at_once() {
    let site = Site::start().await;
    let client = site.stack.client();
    let user = site.user("alice").await;
    let accepted = async |secret: &str| site.seen("knox", &format!("Token {secret}")).await["status"] == 200;

    let (first, second, third) = (site.theirs(&user).await, site.theirs(&user).await, client.issue(&user).await);
    for secret in [&first.secret, &second.secret, &third.secret] {
        assert!(accepted(secret).await);
    }
    client.revoke(&first.secret).await;
    assert!(!accepted(&first.secret).await, "Revoke");
    assert!(accepted(&second.secret).await, "the others stay");
    let all = RevokeAllRequest { user_id: user.clone(), ..RevokeAllRequest::default() };
    let revoked = client.tokens.clone().revoke_all(all).await.expect("a user's tokens can be revoked").into_inner();
    assert_eq!(revoked.revoked_count, 2);
    for secret in [&second.secret, &third.secret] {
        assert!(!accepted(secret).await, "RevokeAll");
    }
}

/// Headers, `{}` standing for a live token, and what they are called.
const HEADERS: [(&str, &str); 22] = [
    ("a live token", "Scheme {}"),
    ("the scheme in other letters", "sCHEME {}"),
    ("two blanks", "Scheme  {}"),
    ("a tabulator", "Scheme\t{}"),
    ("blanks around", "  Scheme {}  "),
    ("no blank", "Scheme{}"),
    ("another scheme", "Digest {}"),
    ("another scheme alone", "Digest"),
    ("no scheme", "{}"),
    ("empty", ""),
    ("blanks", "   "),
    ("no credentials", "Scheme"),
    ("no credentials but a blank", "Scheme "),
    ("three parts", "Scheme {} x"),
    ("four parts", "Scheme a b c"),
    ("an unknown token", "Scheme 0000000000000000000000000000000000000000000000000000000000000000"),
    ("a live token and more", "Scheme {}0"),
    ("a token in quotes", "Scheme \"{}\""),
    ("one letter", "Scheme x"),
    ("not hexadecimal", "Scheme zzzzzzzzzzzzzzz"),
    ("not ASCII", "Scheme \u{c3}\u{a9}"),
    ("percent signs", "Scheme %00%s"),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_class_answers_every_header_as_knoxs_does() {
    let site = Site::start().await;
    let user = site.user("alice").await;
    compare(&site.django, "Token", &user).await;
    let knox = json!({ "AUTH_HEADER_PREFIX": "Bearer", "TOKEN_PREFIX": "kx_" });
    let renamed = site.project.start(&extra(&site.stack, &knox));
    compare(&renamed, "Bearer", &user).await;
}

async fn compare(django: &Django, scheme: &str, user: &str) {
    let issued = django.call("issue", json!([user])).await;
    let secret = issued["secret"].as_str().expect("a secret");
    let mut headers: Vec<(&str, Option<String>)> = vec![("no header", None)];
    let filled = |header: &str| header.replace("Scheme", scheme).replace("sCHEME", &scheme.to_lowercase());
    headers.extend(HEADERS.map(|(what, header)| (what, Some(filled(header).replace("{}", secret)))));
    headers.push(("very long", Some(format!("{scheme} {}", "a".repeat(4000)))));
    for what in ["delete_token", "expire", "deactivated", "delete_user"] {
        headers.push((what, Some(format!("{scheme} {}", ended(django, what, scheme).await))));
    }
    let mut accepted = 0;
    for (what, header) in headers {
        // The example first: knox deletes an expired token that it meets.
        let ours = django.call("request", json!(["GET", "/tokenward/whoami/", header])).await;
        let theirs = django.call("request", json!(["GET", "/knox/whoami/", header])).await;
        assert_eq!(ours, theirs, "{what}: {header:?}");
        assert!(ours["status"] == 200 || ours["challenge"] == scheme, "{what}: {ours}");
        accepted += usize::from(ours["status"] == 200);
    }
    assert_eq!(accepted, 5, "live tokens with any blanks and letters");
}

/// A token that has ended in this way.
async fn ended(django: &Django, what: &str, scheme: &str) -> String {
    let active = what != "deactivated";
    let user = django.text("create_user", json!([format!("{what} {scheme}"), active])).await;
    let issued = django.call("issue", json!([user])).await;
    let name = &issued["row"]["digest"];
    match what {
        "deactivated" => {}
        "delete_user" => drop(django.call(what, json!([user])).await),
        _ => drop(django.call(what, json!([name])).await),
    }
    issued["secret"].as_str().expect("a secret").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_knox_fail_is_an_invalid_token_to_the_examples_class() {
    let site = Site::start().await;
    for token in ["\u{ff}\u{fe}", "a\0b"] {
        let (ours, theirs) = (
            site.seen("tokenward", &format!("Token {token}")).await,
            site.seen("knox", &format!("Token {token}")).await,
        );
        assert_eq!((&ours["status"], &theirs["status"]), (&json!(401), &json!(500)), "{token:?}");
        assert_eq!(ours["body"]["detail"], "Invalid token.");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn knoxs_views_work_with_the_examples_class_and_a_request_costs_no_query() {
    let site = Site::start().await;
    let client = site.stack.client();
    let user = site.user("alice").await;
    let (first, second, third) = (site.theirs(&user).await, site.theirs(&user).await, site.theirs(&user).await);
    hot(&client, &first.secret).await;

    let statements =
        site.django.call("queries", json!(["GET", "/tokenward/whoami/", format!("Token {}", first.secret)]));
    assert_eq!(statements.await, 2, "the view asks for two fields that no attribute tells");
    let statements =
        site.django.call("queries", json!(["POST", "/tokenward/logout/", format!("Token {}", first.secret)]));
    assert_eq!(statements.await, 0, "a logout is a Revoke");
    assert_eq!(client.reason(&first.secret).await, InactiveReason::Revoked, "complete when it was answered");
    assert_eq!(site.django.call("row", json!([first.row["digest"]])).await, Value::Null);
    assert_eq!(client.reason(&second.secret).await, InactiveReason::Unspecified, "the others stay");

    hot(&client, &second.secret).await;
    assert_eq!(site.post("/tokenward/logoutall/", &third.secret).await, 204);
    refused_within_the_bound("logoutall", &client, &second.secret).await;
    assert_eq!(site.post("/tokenward/logout/", &third.secret).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_service_it_is_503_and_never_401_nor_an_accept() {
    let site = Site::start().await;
    let user = site.user("alice").await;
    let Theirs { secret, row } = site.theirs(&user).await;
    let mut hasty = extra(&site.stack, &json!({}));
    hasty["TOKENWARD"]["TIMEOUT"] = json!(0.25);
    hasty["TOKENWARD"]["REVOKE_TIMEOUT"] = json!(0.25);
    let django = site.project.start(&hasty);
    let ask = async |method: &str, path: &str, token: &str| {
        django.call("request", json!([method, path, format!("Token {token}")])).await
    };
    let unavailable = json!({
        "status": 503, "challenge": null, "retry_after": "1",
        "body": { "detail": "Authentication is temporarily unavailable." },
    });
    let serves = async || (ask("GET", "/tokenward/whoami/", &secret).await["status"] == 200).then_some(());
    eventually("Django authenticates", serves).await;

    site.stack.server.signal(Signal::SIGSTOP);
    for token in [secret.as_str(), "unknown"] {
        assert_eq!(ask("GET", "/tokenward/whoami/", token).await, unavailable, "hung");
    }
    site.stack.server.signal(Signal::SIGCONT);
    eventually("Django authenticates again", serves).await;

    site.stack.server.signal(Signal::SIGKILL);
    let gone = async || (ask("GET", "/tokenward/whoami/", &secret).await["status"] != 200).then_some(());
    eventually("the service has ended", gone).await;
    for token in [secret.as_str(), "unknown"] {
        assert_eq!(ask("GET", "/tokenward/whoami/", token).await, unavailable, "stopped");
        assert_eq!(ask("POST", "/tokenward/logout/", token).await, unavailable, "stopped");
    }
    assert_eq!(django.call("row", json!([row["digest"]])).await, row, "nothing was ended");
    let header = django.call("request", json!(["GET", "/tokenward/whoami/", "Token"])).await;
    assert_eq!(header["status"], 401, "a header that is wrong needs no service");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_forked_has_a_connection_of_its_own() {
    let site = Site::start().await;
    let user = site.user("alice").await;
    let Theirs { secret, .. } = site.theirs(&user).await;
    let request = json!(["GET", "/tokenward/whoami/", format!("Token {secret}")]);
    let worker = async |when: &str| {
        let answer = site.django.call("forked", request.clone()).await;
        assert_eq!((&answer["status"], &answer["shared"]), (&json!(200), &json!(false)), "{when}");
    };
    worker("before the first call").await;
    let here = async || site.django.call("request", request.clone()).await["status"].clone();
    assert_eq!(here().await, 200);
    worker("after the first call").await;
    assert_eq!(here().await, 200, "the parent's connection is none the worse");
}
