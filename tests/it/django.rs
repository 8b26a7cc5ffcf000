//! A Django project with django-rest-knox and the service on the same tables: each accepts what the
//! other issued, and refuses what the other ended. The example's authentication class answers as
//! knox's own does.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokenward::proto::InactiveReason;

use self::{
    project::Django,
    site::{Site, Theirs, extra, hot},
};
use crate::harness::{eventually::eventually, stack::On};

mod defects;
mod generations;
mod matrix;
mod project;
mod site;

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
    let site = Site::start(On::Postgres).await;
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
async fn knoxs_views_work_with_the_examples_class_and_a_request_costs_no_query() {
    let site = Site::start(On::Postgres).await;
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
    site.refused_within_the_bound("logoutall", &second.secret).await;
    assert_eq!(site.post("/tokenward/logout/", &third.secret).await, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_service_it_is_503_and_never_401_nor_an_accept() {
    let site = Site::start(On::Postgres).await;
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
    let site = Site::start(On::Postgres).await;
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
