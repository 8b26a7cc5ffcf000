//! Tokens of knox 4.2, which a Django with knox 5 refuses: the service accepts them beside those of
//! 5, and rewrites them so that Django does too.

use serde_json::{Value, json};
use tokenward::proto::InactiveReason;

use super::{
    project::{KNOX_4, KNOX_5},
    site::{Plan, Site, Theirs, extra},
};
use crate::harness::{eventually::eventually, stack::On};

#[tokio::test(flavor = "multi_thread")]
async fn knox_4_to_5_on_postgres() {
    upgraded(On::Postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn knox_4_to_5_on_mariadb() {
    upgraded(On::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn knox_4_to_5_on_sqlite() {
    upgraded(On::Sqlite).await;
}

async fn upgraded(on: On) {
    let site = Plan { packages: KNOX_4, ..Plan::on(on) }.start().await;
    let client = site.client();
    let user = site.user("alice").await;
    let (kept, ended, revoked) = (site.theirs(&user).await, site.theirs(&user).await, site.theirs(&user).await);
    for Theirs { secret, row } in [&kept, &ended, &revoked] {
        let answer = client.authenticate(secret).await;
        assert_eq!((answer.active, row["token_key"].as_str()), (true, Some(&secret[..8])), "as knox 4.2 keeps it");
        assert_eq!(answer.user.map(|owner| owner.user_id), Some(user.clone()));
    }
    assert_eq!(site.post("/knox/logout/", &ended.secret).await, 204);
    site.refused_within_the_bound("logout of knox 4.2", &ended.secret).await;
    client.revoke(&revoked.secret).await;
    assert!(!site.accepts("knox", &revoked.secret).await, "Revoke");

    rewritten(site, &kept, &user).await;
}

/// Django is taken to knox 5 on the same database; the service is told so.
async fn rewritten(mut site: Site, kept: &Theirs, user: &str) {
    site.project = site.project.with(KNOX_5);
    site.project.migrate(&json!({}));
    site.django = site.project.start(&extra(&site.stack, &json!({})));
    let fresh = site.theirs(user).await;
    assert!(!site.accepts("knox", &kept.secret).await, "knox 5 signs everybody out");
    for secret in [&kept.secret, &fresh.secret] {
        assert!(site.client().authenticate(secret).await.active, "both digests");
        assert!(site.accepts("tokenward", secret).await, "both digests");
    }

    let url = site.settings.iter().find(|(key, _)| key == "TOKENWARD_DATABASE__URL").expect("it is set").1.clone();
    let upgrading = [("TOKENWARD_TOKENS__UPGRADE_DIGESTS", "true"), ("TOKENWARD_DATABASE__URL", &url)];
    let server = site.stack.another_server_with(&upgrading).await;
    assert!(server.client().authenticate(&kept.secret).await.active);
    let accepted = async || site.accepts("knox", &kept.secret).await.then_some(());
    eventually("knox 5 accepts a token of knox 4.2", accepted).await;
    assert_eq!(site.django.call("row", json!([kept.row["digest"]])).await, Value::Null, "it is the same row");
    assert!(site.client().authenticate(&kept.secret).await.active, "who does not upgrade finds it too");

    assert_eq!(site.post("/knox/logout/", &kept.secret).await, 204);
    assert_eq!(site.refused_within_the_bound("logout of knox 5", &kept.secret).await, InactiveReason::Unknown);
}
