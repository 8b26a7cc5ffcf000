//! Every database, every type of user key, swapped token models and local times: each side accepts
//! what the other issued and refuses what the other ended.
//!
//! A site is expensive, so each is asked everything.

use std::{process::Output, time::Duration};

use prost_types::FieldMask;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use tokenward::proto::{InactiveReason, IssueTokenRequest, RevokeAllRequest, UpsertUserRequest, User};

use super::site::{Plan, Site, Theirs, hot};
use crate::harness::{
    client::{for_user, ttl},
    eventually::eventually,
    server::{Settings, setting, tokenward},
    stack::On,
};

/// Ways in which Django ends a token: knox's views, and commands of `driver.py`.
const ENDINGS: [&str; 9] = [
    "logout",
    "logoutall",
    "delete_in_admin",
    "delete_token",
    "delete_queryset",
    "delete_by_sql",
    "expire",
    "deactivate",
    "delete_user",
];
/// What is said of the table that knox leaves beside a swapped model.
const EMPTY: &str = "table knox_authtoken is empty, and devices_devicetoken is a token table with rows";
/// More than 32 bits hold.
const BIG: i64 = 1 << 40;

#[tokio::test(flavor = "multi_thread")]
async fn integer_users_on_postgres() {
    plain(Plan::on(On::Postgres)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn integer_users_on_mariadb() {
    plain(Plan::on(On::MariaDb)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn integer_users_on_sqlite() {
    plain(Plan::on(On::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bigint_users_and_local_times_on_postgres() {
    bigint(Plan::on(On::Postgres)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bigint_users_and_local_times_on_mariadb() {
    bigint(Plan::on(On::MariaDb)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bigint_users_and_local_times_on_sqlite() {
    bigint(Plan::on(On::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uuid_users_and_a_swapped_model_on_postgres() {
    swapped(Plan::on(On::Postgres), "uuid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uuid_users_and_a_swapped_model_on_mariadb() {
    swapped(Plan::on(On::MariaDb), "uuid").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uuid_users_and_a_swapped_model_on_sqlite() {
    swapped(Plan::on(On::Sqlite), "char32").await;
}

/// A project that began before Django 5 has its UUIDs there in text.
#[tokio::test(flavor = "multi_thread")]
async fn uuid_users_in_text_on_mariadb() {
    let mut plan = Plan::on(On::MariaDb);
    plan.django = json!({ "AUTH_USER_MODEL": "people.Longstanding" });
    plan.service =
        vec![("TOKENWARD_SCHEMA__USER_TABLE", "people_longstanding"), ("TOKENWARD_SCHEMA__USER_ID_TYPE", "char32")];
    let site = plan.start().await;
    let user = site.user("alice").await;
    everything(&site, &user).await;
}

async fn plain(plan: Plan) {
    let mut site = plan.start().await;
    let user = site.user("alice").await;
    everything(&site, &user).await;
    checked(&site, |_| true, "configuration is valid");
    given_up(&mut site, &user).await;
}

/// The service goes, and leaves what is Django's.
async fn given_up(site: &mut Site, user: &str) {
    let issued = site.client().issue(user).await;
    site.stack.server.kill();
    let output = run(site, |_| true, &["migrate", "down", "--steps", "99"]);
    assert!(output.status.success(), "{output:?}");
    assert!(site.accepts("knox", &issued.secret).await, "what it issued stays");
    assert_eq!(site.post("/knox/logout/", &issued.secret).await, 204, "no trigger is left");
    assert!(site.accepts("knox", &site.theirs(user).await.secret).await);
    let output = run(site, |_| true, &["migrate", "status"]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("applied"), "{output:?}");
}

/// `USE_TZ = False` on PostgreSQL is a matter of Django's session: the database's times have a zone.
async fn bigint(mut plan: Plan) {
    plan.django = json!({ "AUTH_USER_MODEL": "people.Numbered", "USE_TZ": false });
    plan.service =
        vec![("TOKENWARD_SCHEMA__USER_TABLE", "people_numbered"), ("TOKENWARD_SCHEMA__USER_ID_TYPE", "bigint")];
    if plan.on != On::Postgres {
        plan.service.push(("TOKENWARD_SCHEMA__TIME_ZONE", "Asia/Kathmandu"));
    }
    let site = plan.start().await;
    let user = site.django.text("create_user", json!(["alice", true, BIG])).await;
    assert_eq!(user, BIG.to_string());
    everything(&site, &user).await;
    checked(&site, |_| true, "configuration is valid");
}

async fn swapped(mut plan: Plan, kind: &'static str) {
    plan.django = json!({ "AUTH_USER_MODEL": "people.Unguessable", "KNOX_TOKEN_MODEL": "devices.DeviceToken" });
    plan.service = vec![
        ("TOKENWARD_SCHEMA__USER_TABLE", "people_unguessable"),
        ("TOKENWARD_SCHEMA__USER_ID_TYPE", kind),
        ("TOKENWARD_SCHEMA__TOKEN_TABLE", "devices_devicetoken"),
        ("TOKENWARD_SCHEMA__TOKEN_EXTRA", "device=of the service"),
    ];
    let site = plan.start().await;
    let user = site.user("alice").await;
    everything(&site, &user).await;
    let (ours, theirs) = (site.client().issue(&user).await, site.theirs(&user).await);
    for (secret, device) in [(&ours.secret, "of the service"), (&theirs.secret, "of Django")] {
        assert_eq!(site.django.call("device", json!([digest(secret)])).await, device);
    }
    checked(&site, |_| true, "configuration is valid");
    checked(&site, |key| !key.contains("TOKEN_TABLE") && !key.contains("TOKEN_EXTRA"), EMPTY);
}

async fn everything(site: &Site, user: &str) {
    each_accepts_what_the_other_issued_with_equal_owner_and_times(site, user).await;
    what_the_service_ends_django_refuses_at_once(site, user).await;
    what_django_ends_is_refused_within_the_bound_though_it_is_cached(site).await;
}

async fn each_accepts_what_the_other_issued_with_equal_owner_and_times(site: &Site, user: &str) {
    let client = site.client();
    let login = site.django.text("login", json!(["alice"])).await;
    let issued = client.try_issue(for_user(user)).await.expect("it is a user of Django's");
    let brief = IssueTokenRequest { expiration: Some(ttl(Duration::from_secs(1))), ..for_user(user) };
    let brief = client.try_issue(brief).await.expect("it is a user of Django's").secret;
    let Theirs { secret, .. } = site.theirs(user).await;
    let endless = Theirs::from(&site.django.call("issue", json!([user, null])).await);
    for secret in [&login, &secret, &endless.secret] {
        let answer = client.authenticate(secret).await;
        assert!(answer.active, "{answer:?}");
        let (token, owner) = (answer.token.expect("it is active"), answer.user.expect("it is active"));
        let row = site.django.call("row", json!([digest(secret)])).await;
        assert_eq!(json!([owner.user_id, token.user_id]), json!([row["user"], row["user"]]));
        assert_eq!(owner.attributes["email"], "alice@example.com");
        assert_eq!(
            json!([micros(token.create_time), micros(token.expire_time)]),
            json!([row["created"], row["expiry"]])
        );
    }

    let token = issued.token.expect("an issued token has a record");
    for class in ["knox", "tokenward"] {
        let seen = site.seen(class, &format!("Token {}", issued.secret)).await;
        let (status, auth) = (&seen["status"], &seen["body"]["auth"]);
        assert_eq!((status, &seen["body"]["pk"]), (&json!(200), &json!(user)), "{class}: {seen}");
        let times = json!([micros(token.create_time), micros(token.expire_time)]);
        assert_eq!(json!([auth["created"], auth["expiry"]]), times, "{class}");
        let names = (&auth["digest"], &auth["token_key"]);
        assert_eq!(names, (&json!(digest(&issued.secret)), &json!(issued.secret[..15])), "{class}");
    }
    // Sorted and compared by the database, which on SQLite means as text.
    let expired = async || (client.reason(&brief).await == InactiveReason::Expired).then_some(());
    eventually("a token of a second expires", expired).await;
    let in_order = [&login, &issued.secret, &secret, &endless.secret].map(|secret| digest(secret));
    assert_eq!(site.django.call("live", json!([])).await, json!(in_order));
}

async fn what_the_service_ends_django_refuses_at_once(site: &Site, user: &str) {
    let client = site.client();
    let (first, second, third) = (site.theirs(user).await, site.theirs(user).await, client.issue(user).await);
    for secret in [&first.secret, &second.secret, &third.secret] {
        hot(&client, secret).await;
        assert!(site.accepts("knox", secret).await);
    }
    client.revoke(&first.secret).await;
    assert!(!site.accepts("knox", &first.secret).await, "Revoke");
    assert!(site.accepts("knox", &second.secret).await, "the others stay");

    activate(site, user, false).await;
    let refused = site.seen("knox", &format!("Token {}", second.secret)).await;
    assert_eq!(refused["body"]["detail"], "User inactive or deleted.");
    assert_eq!(client.reason(&second.secret).await, InactiveReason::UserDisabled);
    activate(site, user, true).await;
    assert!(site.accepts("knox", &second.secret).await, "active again");

    let all = RevokeAllRequest { user_id: user.to_owned(), ..RevokeAllRequest::default() };
    client.tokens.clone().revoke_all(all).await.expect("a user's tokens can be revoked");
    for secret in [&second.secret, &third.secret] {
        assert!(!site.accepts("knox", secret).await, "RevokeAll");
        assert!(!client.authenticate(secret).await.active, "RevokeAll");
    }
    assert_eq!(site.django.call("live", json!([])).await, json!([]), "nobody else has any");
}

async fn activate(site: &Site, user: &str, active: bool) {
    let user = Some(User { user_id: user.to_owned(), active, ..User::default() });
    let update_mask = Some(FieldMask { paths: vec!["active".to_owned()] });
    let request = UpsertUserRequest { user, update_mask };
    site.client().users.clone().upsert_user(request).await.expect("a user can be switched on and off");
}

async fn what_django_ends_is_refused_within_the_bound_though_it_is_cached(site: &Site) {
    let (client, django) = (site.client(), &site.django);
    for (number, what) in ENDINGS.into_iter().enumerate() {
        let user = site.user(&format!("user{number}")).await;
        let Theirs { secret, row } = site.theirs(&user).await;
        hot(&client, &secret).await;
        let name = row["digest"].clone();
        let ended = match what {
            "logout" | "logoutall" => site.post(&format!("/knox/{what}/"), &secret).await == 204,
            // The admin site belongs to projects with Django's own users.
            "delete_in_admin" if !has_admin(site) => continue,
            "delete_in_admin" => django.call(what, json!([name])).await == 302,
            "delete_token" | "delete_by_sql" | "expire" => django.call(what, json!([name])).await == 1,
            _ => django.call(what, json!([user])).await.as_i64().is_some_and(|rows| rows > 0),
        };
        assert!(ended, "{what}");
        let expected = match what {
            "expire" => InactiveReason::Expired,
            "deactivate" => InactiveReason::UserDisabled,
            _ => InactiveReason::Unknown,
        };
        assert_eq!(site.refused_within_the_bound(what, &secret).await, expected, "{what}");
    }
}

fn has_admin(site: &Site) -> bool {
    !site.settings.iter().any(|(key, _)| key == "TOKENWARD_SCHEMA__USER_TABLE")
}

/// `tokenward config check` with those of the site's settings that are wanted says this.
fn checked(site: &Site, wanted: impl Fn(&str) -> bool, said: &str) {
    let output = run(site, wanted, &["config", "check"]);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(text.contains(said), "{text}");
}

/// A verb of `tokenward` with those of the site's settings that are wanted.
fn run(site: &Site, wanted: impl Fn(&str) -> bool, verb: &[&str]) -> Output {
    let mut settings: Settings = site.settings.iter().filter(|(key, _)| wanted(key)).cloned().collect();
    settings.push(setting("TOKENWARD_CACHE__BACKEND", "memory"));
    tokenward(site.stack.server.dir(), &settings).args(verb).output().expect("the program starts")
}

fn micros(time: Option<prost_types::Timestamp>) -> Value {
    time.map(|time| time.seconds * 1_000_000 + i64::from(time.nanos) / 1_000).into()
}

fn digest(secret: &str) -> String {
    hex::encode(Sha512::digest(secret))
}
