//! The audit table.

use std::time::Duration;

use chrono::TimeDelta;
use uuid::Uuid;

use super::world::{World, user};
use crate::{
    domain::{AuditEvent, AuditRecord, AuditTrail as _, Clock as _, Outcome, RevocationCause, SystemClock, What, Who},
    store::Database,
};

const ANY_TIME: Duration = Duration::ZERO;
const KEPT: Duration = Duration::from_hours(24);

fn record(age: TimeDelta) -> AuditRecord {
    let time = SystemClock.now() - age;
    let who = Who {
        caller: "admin".into(),
        peer: "unix:uid=0".to_owned(),
        certificate: "é\0".repeat(2_000),
        request_id: "r".repeat(64),
    };
    let what = What {
        token_id: Some("0123456789abcdef0123456789abcdef".parse().expect("a token_id")),
        successor: Some("00000000000000000000000000000001".parse().expect("a token_id")),
        user_id: Some(user("ada")),
        revoked: Some(u64::MAX),
        cause: Some(RevocationCause::PrivilegeWithdrawn),
        user_active: Some(false),
        method: Some("TokenAdminService/WatchRevocations"),
    };
    AuditRecord {
        id: Uuid::new_v4(),
        time,
        event: AuditEvent::Revoke,
        who,
        what,
        outcome: Outcome::ok(),
        suppressed: 7,
    }
}

fn bare() -> AuditRecord {
    let (who, what) = (Who::default(), What::default());
    AuditRecord { who, what, event: AuditEvent::CallRefused, ..record(TimeDelta::zero()) }
}

async fn count(world: &World) -> String {
    let count = world.text("SELECT CAST(COUNT(*) AS CHAR(9)) FROM tokenward_audit").await;
    count.expect("a count").trim().to_owned()
}

pub(super) async fn a_record_is_written_once_however_often_and_whatever_callers_sent(world: World) {
    let records = vec![record(TimeDelta::zero()), bare()];
    for _ in 0..2 {
        world.store.append(records.clone()).await.expect("written");
    }
    assert_eq!(count(&world).await, "2");
    let written = "SELECT user_id FROM tokenward_audit WHERE caller = 'admin' AND code = 'OK' AND suppressed = 7 AND \
                   revocation_reason = 'PRIVILEGE_WITHDRAWN' AND user_active = 0";
    assert_eq!(world.text(written).await.as_deref(), Some("ada"));
    let empty = "SELECT event FROM tokenward_audit WHERE caller = '' AND token_id IS NULL AND user_id IS NULL AND \
                 method IS NULL AND revoked IS NULL";
    assert_eq!(world.text(empty).await.as_deref(), Some("CallRefused"));
}

pub(super) async fn records_are_deleted_when_they_are_past_their_retention(world: World) {
    let old = (0..1_203).map(|_| record(TimeDelta::hours(25))).collect::<Vec<_>>();
    for batch in old.chunks(50) {
        world.store.append(batch.to_vec()).await.expect("written");
    }
    world.store.append(vec![record(TimeDelta::hours(23)), bare()]).await.expect("written");
    assert_eq!(world.store.forget_records(KEPT, ANY_TIME).await.expect("deleted"), 1_203);
    assert_eq!(count(&world).await, "2");

    world.store.append(vec![record(TimeDelta::hours(25))]).await.expect("written");
    let there = world.reopen(|_| {}).await;
    assert_eq!(
        there.forget_records(KEPT, Duration::from_hours(1)).await.expect("an answer"),
        0,
        "it was done just now"
    );
    world.sql("UPDATE tokenward_chore SET holder = 'x', held_until = 4000000000 WHERE name = 'audit'").await;
    assert_eq!(there.forget_records(KEPT, ANY_TIME).await.expect("an answer"), 0, "another one is at it");
    world.sql("UPDATE tokenward_chore SET held_until = 1 WHERE name = 'audit'").await;
    assert_eq!(there.forget_records(KEPT, ANY_TIME).await.expect("deleted"), 1, "which has gone");
}

/// With the rights that are stated.
pub(super) async fn a_record_comes_and_goes(store: &Database) {
    store.append(vec![record(TimeDelta::hours(25))]).await.expect("written");
    assert_eq!(store.forget_records(KEPT, ANY_TIME).await.expect("deleted"), 1);
}
