//! Django's tables, as django-rest-knox 5.1 makes them.

use std::collections::BTreeMap;

use chrono::{TimeZone as _, Utc};

use super::{
    server::Kind,
    world::{World, ending, find, find_token, issue, now, token, user},
};
use crate::{
    config::{SchemaPreset, UserIdType},
    domain::{
        Error, Found, InactiveReason, Subject, Target, Token, TokenQuery, TokenState, TokenStore as _, UserChange,
    },
    store::Database,
};

pub(super) const UUID: &str = "550e8400-e29b-41d4-a716-446655440000";

pub(super) async fn django_s_tables_with_integer_users(world: World) {
    let store = django(&world, "integer", "7").await;
    let by_django = insert_as_django(&world, "7").await;
    let record = find_token(&store, by_django).await;
    assert_eq!((record.user.id.as_str(), record.user.active), ("7", true));
    assert_eq!(record.user.attributes, BTreeMap::from([("username".to_owned(), "ada".to_owned())]), "no email: NULL");
    let created = Utc.with_ymd_and_hms(2027, 1, 15, 8, 0, 0).single().expect("a time");
    assert_eq!((record.created, record.expiry), (created, None));
    assert_eq!(record.label, crate::domain::Label::default());

    let ours = issue(&store, token("7")).await;
    assert_eq!(find_token(&store, ours.digest).await, ours);
    if world.kind == Kind::Sqlite {
        let text = world.text("SELECT created FROM knox_authtoken WHERE expiry IS NOT NULL").await;
        assert_eq!(text.as_deref(), Some("2027-01-15 08:00:00.123456"));
    }
    for query in [1, 100] {
        assert_eq!(listed(&store, "7", query).await, [ours.clone(), record.clone()], "{query}");
    }
    let ended = store.revoke(Target::Id(by_django.token_id()), ending()).await.expect("revoked");
    assert_eq!((ended.count, find(&store, by_django).await), (1, Found::Revoked));
    let kept = store.get(by_django.token_id()).await.expect("a record");
    assert_eq!((kept.created, kept.revoked, kept.user), (created, Some(ending().at), record.user));
    world.sql(&format!("DELETE FROM knox_authtoken WHERE digest = '{}'", ours.digest.to_hex())).await;
    assert_eq!(find(&store, ours.digest).await, Found::Unknown, "Django ended it");
    assert!(matches!(store.get(ours.digest.token_id()).await, Err(Error::NotFound(Subject::Token))));
}

pub(super) async fn django_s_tables_with_uuid_users(world: World) {
    let (column, key) = match world.kind {
        Kind::Sqlite => ("char(32)", UUID.replace('-', "")),
        Kind::Postgres | Kind::Mariadb => ("uuid", UUID.to_owned()),
    };
    let store = django(&world, column, &key).await;
    let by_django = insert_as_django(&world, &key).await;
    assert_eq!(find_token(&store, by_django).await.user.id.as_str(), UUID);
    let ours = issue(&store, token(&UUID.replace('-', "").to_uppercase())).await;
    assert_eq!(ours.user.id.as_str(), UUID);
    assert_eq!(listed(&store, UUID, 10).await.len(), 2);
    let ended = store.revoke_all(user(UUID), Some(Target::Digest(by_django)), ending()).await.expect("revoked");
    assert_eq!((ended.count, ended.ended), (1, vec![ours.digest.token_id()]));
    let kept = store.get(ours.digest.token_id()).await.expect("a record");
    assert_eq!((kept.user.id.as_str(), kept.user.active), (UUID, true));
    assert!(matches!(store.insert(token("7")).await, Err(Error::Invalid(_))));
    let other = "00000000-0000-0000-0000-000000000000";
    assert!(matches!(store.insert(token(other)).await, Err(Error::NotFound(Subject::User))));
}

pub(super) async fn users_of_django_are_only_switched_on_and_off(world: World) {
    let store = django(&world, "integer", "7").await;
    let record = issue(&store, token("7")).await;
    let change = |id: &str, active, attributes| UserChange { id: user(id), active, attributes };
    let (off, revocation) = store.upsert_user(change("7", Some(false), None)).await.expect("switched off");
    assert!(!off.active);
    assert_eq!(revocation.ended, [record.digest.token_id()]);
    assert_eq!(find_token(&store, record.digest).await.admit(now(), &[]), Err(InactiveReason::UserDisabled));

    let unsupported = store.upsert_user(change("7", None, Some(BTreeMap::new()))).await;
    assert!(matches!(unsupported, Err(Error::Unsupported(_))), "{unsupported:?}");
    assert!(matches!(store.delete_user(user("7"), ending()).await, Err(Error::Unsupported(_))));
    for unknown in ["8", "ada", "99999999999999"] {
        let missing = store.upsert_user(change(unknown, Some(true), None)).await;
        assert!(matches!(missing, Err(Error::NotFound(Subject::User))), "{unknown}");
        assert!(matches!(store.user(user(unknown)).await, Err(Error::NotFound(Subject::User))), "{unknown}");
        assert_eq!(listed(&store, unknown, 10).await, []);
        let ended = store.revoke_all(user(unknown), None, ending()).await.expect("no error");
        assert_eq!((ended.count, ended.ended, ended.position), (0, vec![], revocation.position));
    }
    assert!(matches!(store.insert(token("8")).await, Err(Error::NotFound(Subject::User))));
    assert!(matches!(store.insert(token("ada")).await, Err(Error::Invalid(_))));

    let without = world
        .reopen(|config| {
            knox(config);
            config.schema.user_active = Some(String::new());
        })
        .await;
    assert!(find_token(&without, record.digest).await.user.active, "every user that exists is");
    let unsupported = without.upsert_user(change("7", Some(false), None)).await;
    assert!(matches!(unsupported, Err(Error::Unsupported(_))), "{unsupported:?}");
    world.sql("DELETE FROM knox_authtoken; DELETE FROM auth_user").await;
}

pub(super) async fn hostile_names_are_only_names(world: World) {
    let name = "x\"`'; DROP TABLE tokenward_clock; -- ?";
    let quoted = match world.kind {
        Kind::Mariadb => format!("`{}`", name.replace('`', "``")),
        Kind::Sqlite | Kind::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
    };
    let store = world
        .reopen(|config| {
            config.schema.token_table = Some(name.to_owned());
            config.schema.token_digest = Some(name.to_owned());
            config.schema.user_table = Some(format!("u{name}"));
            config.schema.user_active = Some(name.to_owned());
        })
        .await;
    store.migrate_up().await.expect("up");
    let record = issue(&store, token("ada")).await;
    assert_eq!(find_token(&store, record.digest).await, record);
    assert_eq!(store.revoke_all(user("ada"), None, ending()).await.expect("revoked").count, 1);
    assert_eq!(find(&store, record.digest).await, Found::Revoked);
    let count = format!("SELECT 'no row' FROM {quoted}");
    let connection = sea_orm::Database::connect(world.config.database.url.expose()).await.expect("it connects");
    let statement = sea_orm::Statement::from_string(connection.get_database_backend(), count);
    let rows = sea_orm::ConnectionTrait::query_all_raw(&connection, statement).await.expect("a table of that name");
    assert!(rows.is_empty());
}

/// Django's tables with one user, and ours beside them.
pub(super) async fn django(world: &World, key: &str, id: &str) -> Database {
    let (time, like) = match world.kind {
        Kind::Sqlite => ("datetime", ""),
        Kind::Postgres => (
            "timestamp with time zone",
            "CREATE INDEX knox_authtoken_digest_like ON knox_authtoken (digest varchar_pattern_ops);",
        ),
        Kind::Mariadb => ("datetime(6)", ""),
    };
    world
        .sql(&format!(
            "CREATE TABLE auth_user (password varchar(128) NOT NULL, id {key} NOT NULL PRIMARY KEY,
               is_active bool NOT NULL, username varchar(150) NOT NULL UNIQUE, email varchar(254));
             CREATE TABLE knox_authtoken (digest varchar(128) NOT NULL PRIMARY KEY, created {time} NOT NULL,
               user_id {key} NOT NULL REFERENCES auth_user (id), expiry {time}, token_key varchar(25) NOT NULL);
             {like}
             CREATE INDEX knox_authtoken_user_id ON knox_authtoken (user_id);
             INSERT INTO auth_user (password, id, is_active, username) VALUES ('!', '{id}', true, 'ada')"
        ))
        .await;
    let id_type = match (world.kind, key) {
        (_, "integer") => None,
        (_, "bigint") => Some(UserIdType::Bigint),
        (_, "char(32)") => Some(UserIdType::Char32),
        (_, "varchar(64)") => Some(UserIdType::Text),
        (_, _) => Some(UserIdType::Uuid),
    };
    let store = world
        .reopen(|config| {
            knox(config);
            config.schema.user_id_type = id_type;
        })
        .await;
    let changes = [
        "m20261120_000001_initial",
        "m20261120_000003_journal",
        "m20261121_000004_upkeep",
        "m20261126_000005_audit",
        "m20261126_000006_expiry_set_by",
    ];
    assert_eq!(store.migrate_up().await.expect("up"), changes);
    store.require_current_schema().await.expect("current");
    store
}

pub(super) fn knox(config: &mut crate::config::Config) {
    config.database.schema = SchemaPreset::Knox;
}

/// A token as Django writes it: without a fraction of zero on SQLite.
pub(super) async fn insert_as_django(world: &World, owner: &str) -> crate::domain::Digest {
    let digest = Token::parse("0123456789abcdef".repeat(4)).expect("a token").digest();
    let created = match world.kind {
        Kind::Postgres => "2027-01-15 08:00:00+00",
        Kind::Sqlite | Kind::Mariadb => "2027-01-15 08:00:00",
    };
    world
        .sql(&format!(
            "INSERT INTO knox_authtoken (digest, created, user_id, expiry, token_key)
             VALUES ('{}', '{created}', '{owner}', NULL, '0123456789abcde')",
            digest.to_hex()
        ))
        .await;
    digest
}

/// All of a user's tokens that are not revoked, in pages.
async fn listed(store: &Database, owner: &str, limit: u32) -> Vec<crate::domain::TokenRecord> {
    let (mut records, mut after) = (vec![], None);
    let states = vec![TokenState::Active, TokenState::Expired];
    for _ in 0..10 {
        let query = TokenQuery { user: user(owner), states: states.clone(), now: now(), after, limit };
        let page = store.list(query).await.expect("a page");
        let Some(last) = page.last() else { return records };
        after = Some(crate::domain::Cursor { created: last.created, digest: last.digest });
        records.extend(page);
    }
    panic!("paging does not end")
}
