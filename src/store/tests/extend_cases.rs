//! Moving an expiry: once, forward, and never of what has ended.

use chrono::{TimeDelta, TimeZone as _, Utc};
use tokenward_migrations::DETAIL_TABLE;

use super::{
    knox_cases::{django, insert_as_django},
    world::{World, ending, find, find_token, issue, now, token, user},
};
use crate::{
    domain::{Extended, Extension, Found, Target, Timestamp, TokenRecord, TokenStore as _, UserChange},
    store::Database,
};

fn later() -> Timestamp {
    now() + TimeDelta::hours(10) + TimeDelta::microseconds(1)
}

async fn extend(store: &Database, record: &TokenRecord, to: Timestamp) -> Extended {
    let from = record.expiry.expect("an end");
    store.extend(Extension::of(record.digest.into(), record, from, to)).await.expect("no error")
}

pub(super) async fn an_expiry_moves_once_and_needs_no_record(world: World) {
    let record = issue(&world.store, token("ada")).await;
    let records = async || world.query("SELECT id FROM tokenward_journal").await.len();
    let before = records().await;
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (store, record) = (world.store.clone(), record.clone());
            tokio::spawn(async move { extend(&store, &record, later()).await })
        })
        .collect();
    let mut moved = 0;
    for call in calls {
        moved += u32::from(call.await.expect("no panic") == Extended::Moved);
    }
    assert_eq!(moved, 1, "of eight replicas at once");
    assert_eq!(find_token(&world.store, record.digest).await, TokenRecord { expiry: Some(later()), ..record.clone() });
    assert_eq!(records().await, before);
    let hex = record.digest.to_hex();
    let agree = format!(
        "SELECT 1 FROM tokenward_token t, {DETAIL_TABLE} d WHERE t.digest = '{hex}' AND d.digest = '{hex}' AND t.expiry = d.expiry"
    );
    assert_eq!(world.query(&agree).await.len(), 1, "the detail outlives the row, and tells the same end");
}

pub(super) async fn what_has_ended_or_changed_is_left_alone(world: World) {
    let store = &world.store;
    let revoked = issue(store, token("ada")).await;
    store.revoke(Target::Digest(revoked.digest), ending()).await.expect("revoked");
    assert_eq!(extend(store, &revoked, later()).await, Extended::Unmoved);
    assert_eq!(find(store, revoked.digest).await, Found::Revoked);

    let gone = issue(store, token("ada")).await;
    world.sql(&format!("DELETE FROM tokenward_token WHERE digest = '{}'", gone.digest.to_hex())).await;
    assert_eq!(extend(store, &gone, later()).await, Extended::Unmoved);
    assert_eq!(find(store, gone.digest).await, Found::Unknown);

    let other = issue(store, token("ada")).await;
    let stale = TokenRecord { expiry: Some(now() + TimeDelta::minutes(59)), ..other.clone() };
    assert_eq!(extend(store, &stale, later()).await, Extended::Unmoved, "it ends at another time");
    assert_eq!(extend(store, &other, now()).await, Extended::Unmoved, "earlier");
    let set = |expiry: &str| {
        format!("UPDATE tokenward_token SET expiry = {expiry} WHERE digest = '{}'", other.digest.to_hex())
    };
    world.sql(&set("NULL")).await;
    assert_eq!(extend(store, &other, later()).await, Extended::Unmoved, "it has no end any more");
    assert_eq!(find_token(store, other.digest).await.expiry, None);

    let disabled = issue(store, token("bob")).await;
    let change = UserChange { id: user("bob"), active: Some(false), attributes: None };
    store.upsert_user(change).await.expect("disabled");
    assert_eq!(extend(store, &disabled, later()).await, Extended::Unmoved);
    assert_eq!(find_token(store, disabled.digest).await.expiry, disabled.expiry);
}

/// A revocation comes before, and nothing is written, or after, and ends what was written.
pub(super) async fn a_revocation_that_meets_an_extension_ends_the_token(world: World) {
    for round in 0..10 {
        let record = issue(&world.store, token("ada")).await;
        let extending = tokio::spawn({
            let (store, record) = (world.store.clone(), record.clone());
            async move { extend(&store, &record, later()).await }
        });
        let target = Target::Digest(record.digest);
        if round % 2 == 0 {
            world.store.revoke(target, ending()).await.expect("revoked");
        } else {
            world.store.revoke_all(user("ada"), None, ending()).await.expect("revoked");
        }
        extending.await.expect("no error");
        assert_eq!(find(&world.store, record.digest).await, Found::Revoked, "round {round}");
    }
}

pub(super) async fn an_expiry_that_django_wrote_moves(world: World) {
    let store = django(&world, "integer", "7").await;
    let digest = insert_as_django(&world, "7").await;
    // Without a fraction, as Django writes a whole second on SQLite.
    world.sql("UPDATE knox_authtoken SET expiry = '2027-01-15 18:00:00'").await;
    world.sql("UPDATE auth_user SET is_active = false").await;
    let record = find_token(&store, digest).await;
    assert_eq!(record.expiry, Utc.with_ymd_and_hms(2027, 1, 15, 18, 0, 0).single());
    assert_eq!(extend(&store, &record, later()).await, Extended::Unmoved, "its user is disabled");
    world.sql("UPDATE auth_user SET is_active = true").await;
    assert_eq!(extend(&store, &record, later()).await, Extended::Moved);
    assert_eq!(find_token(&store, digest).await.expiry, Some(later()));
}
