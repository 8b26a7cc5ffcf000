//! The schema's history.

use super::{
    server::Kind,
    world::{World, ending, find_token, issue, token, user},
};
use crate::{
    config::UserIdType,
    domain::{Error, TokenStore as _},
    store::{MigrationState, SchemaError},
};

const CHANGES: [&str; 6] = [
    "m20261120_000001_initial",
    "m20261120_000002_native_tables",
    "m20261120_000003_journal",
    "m20261121_000004_upkeep",
    "m20261126_000005_audit",
    "m20261126_000006_expiry_set_by",
];

pub(super) async fn up_again_down_and_up(world: World) {
    let store = &world.store;
    assert_eq!(states(&world).await, [MigrationState::Pending; 6]);
    assert_eq!(store.migrate_up().await.expect("up"), CHANGES);
    assert_eq!(store.migrate_up().await.expect("nothing to do"), [""; 0]);
    assert_eq!(states(&world).await, [MigrationState::Applied; 6]);
    let epoch = "SELECT epoch FROM tokenward_clock";
    let first = world.text(epoch).await.expect("a clock");
    issue(store, token("ada")).await;

    let (applied, pending) = (MigrationState::Applied, MigrationState::Pending);
    assert_eq!(store.migrate_down(4).await.expect("down"), [CHANGES[5], CHANGES[4], CHANGES[3], CHANGES[2]]);
    assert_eq!(states(&world).await, [applied, applied, pending, pending, pending, pending]);
    assert_eq!(store.migrate_up().await.expect("up"), CHANGES[2..]);
    assert_eq!(world.text(epoch).await, Some(first.clone()));

    assert_eq!(store.migrate_down(9).await.expect("down"), CHANGES.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(states(&world).await, [MigrationState::Pending; 6]);
    assert_eq!(store.migrate_up().await.expect("up"), CHANGES);
    assert_ne!(world.text(epoch).await, Some(first), "another database, another epoch");
    let record = issue(store, token("ada")).await;
    assert_eq!(find_token(store, record.digest).await, record);
}

pub(super) async fn two_at_once_apply_each_change_once(world: World) {
    let others = [world.reopen(|_| {}).await, world.reopen(|_| {}).await, world.reopen(|_| {}).await];
    let ups = others.map(|store| tokio::spawn(async move { store.migrate_up().await }));
    let mut applied = vec![];
    for up in ups {
        applied.extend(up.await.expect("no panic").expect("no error"));
    }
    assert_eq!(applied, CHANGES, "by one of them");
    assert_eq!(world.query("SELECT epoch FROM tokenward_clock").await.len(), 1);
}

pub(super) async fn a_schema_that_is_behind_is_refused_with_the_command(world: World) {
    let refused = world.store.require_current_schema().await.expect_err("an empty database");
    assert!(matches!(&refused, SchemaError::Behind { pending } if pending == &CHANGES));
    assert!(refused.to_string().contains("tokenward migrate up"), "{refused}");
    let unusable = world.store.insert(token("ada")).await;
    assert!(matches!(unusable, Err(Error::Unavailable(_))), "{unusable:?}");
    world.store.migrate_up().await.expect("up");
    world.store.require_current_schema().await.expect("current");
}

pub(super) async fn a_schema_that_is_ahead_is_accepted(world: World) {
    world.store.migrate_up().await.expect("up");
    world.sql("INSERT INTO tokenward_migrations (version, applied_at) VALUES ('m20990101_000001_newer', 0)").await;
    world.store.require_current_schema().await.expect("expand, then contract");
    assert_eq!(world.store.migrate_up().await.expect("nothing to do"), [""; 0]);
    assert!(world.store.migrate_down(1).await.is_err(), "what is newer has to go first");
}

pub(super) async fn native_tables_take_configured_names_and_keys(world: World) {
    let mut kinds = vec![UserIdType::Int, UserIdType::Bigint, UserIdType::Char32];
    kinds.extend((world.kind != Kind::Sqlite).then_some(UserIdType::Uuid));
    for kind in kinds {
        let store = world
            .reopen(|config| {
                config.schema.token_table = Some("order".to_owned());
                config.schema.token_user = Some("group by".to_owned());
                config.schema.user_table = Some("select \"user\"".to_owned());
                config.schema.user_id_type = Some(kind);
            })
            .await;
        store.migrate_up().await.expect("up");
        let owner = match kind {
            UserIdType::Int | UserIdType::Bigint => "-12",
            UserIdType::Uuid | UserIdType::Char32 | UserIdType::Text => "550e8400-e29b-41d4-a716-446655440000",
        };
        let record = issue(&store, token(owner)).await;
        assert_eq!(record.user.id, user(owner));
        assert_eq!(find_token(&store, record.digest).await, record);
        assert_eq!(store.delete_user(user(owner), ending()).await.expect("deleted").count, 1);
        assert!(matches!(store.insert(token("ada")).await, Err(Error::Invalid(_))), "{kind:?}");
        store.migrate_down(5).await.expect("down");
    }
}

async fn states(world: &World) -> Vec<MigrationState> {
    let steps = world.store.schema_status().await.expect("a status");
    assert_eq!(steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>(), CHANGES);
    steps.into_iter().map(|step| step.state).collect()
}
