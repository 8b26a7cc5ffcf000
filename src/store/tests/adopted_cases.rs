//! Tables of another program that are not as Django makes them by default: times without a
//! zone, swapped models, other schemas, other keys.

use chrono::{TimeDelta, TimeZone as _, Utc};

use super::{
    knox_cases::{UUID, django, insert_as_django, knox},
    server::Kind,
    world::{World, ending, find, find_token, issue, now, token, user},
};
use crate::{
    config::UserIdType,
    domain::{Error, Found, Journal as _, NewToken, Target, TokenQuery, TokenState, TokenStore as _},
    store::Database,
};

const NAME: &str = "x\"`'; DROP TABLE tokenward_clock; -- ?";

fn quoted(kind: Kind, name: &str) -> String {
    match kind {
        Kind::Mariadb => format!("`{}`", name.replace('`', "``")),
        Kind::Sqlite | Kind::Postgres => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

async fn active(store: &Database, now: chrono::DateTime<Utc>) -> usize {
    let query = TokenQuery { user: user("7"), states: vec![TokenState::Active], now, after: None, limit: 100 };
    store.list(query).await.expect("a page").len()
}

/// Django's tables with `USE_TZ = False`, opened as of this zone; a limit of 0 is none.
async fn with_local_times(world: &World, zone: &str, limit_per_user: u32) -> Database {
    django(world, "integer", "7").await;
    if world.kind == Kind::Postgres {
        world.sql("ALTER TABLE knox_authtoken ALTER created TYPE timestamp, ALTER expiry TYPE timestamp").await;
    }
    let store = world
        .reopen(|config| {
            knox(config);
            config.schema.time_zone = Some(zone.to_owned());
            config.tokens.limit_per_user = limit_per_user;
        })
        .await;
    store.migrate_up().await.expect("triggers of this zone");
    store
}

pub(super) async fn times_without_a_zone_are_of_the_configured_one(world: World) {
    let store = with_local_times(&world, "America/New_York", 2).await;
    // 08:00:00.123456 UTC in January.
    let ours = issue(&store, NewToken { expiry: Some(now() + TimeDelta::hours(1)), ..token("7") }).await;
    let text = match world.kind {
        Kind::Sqlite => "SELECT created FROM knox_authtoken",
        Kind::Postgres => "SELECT created::text FROM knox_authtoken",
        Kind::Mariadb => "SELECT CAST(created AS CHAR) FROM knox_authtoken",
    };
    assert_eq!(world.text(text).await.as_deref(), Some("2027-01-15 03:00:00.123456"));
    assert_eq!(find_token(&store, ours.digest).await, ours);
    assert_eq!(store.get(ours.digest.token_id()).await.expect("a record"), ours);
    let local = "UPDATE knox_authtoken SET expiry = '2027-01-15 04:30:00'";
    world.sql(local).await;
    let at = Utc.with_ymd_and_hms(2027, 1, 15, 9, 30, 0).single().expect("a time");
    assert_eq!(find_token(&store, ours.digest).await.expiry, Some(at));
    assert_eq!((active(&store, at).await, active(&store, at + TimeDelta::microseconds(1)).await), (1, 0));
    issue(&store, token("7")).await;
    assert!(matches!(store.insert(token("7")).await, Err(Error::LimitReached { limit: 2 })), "neither has expired");

    store.revoke(Target::Digest(ours.digest), ending()).await.expect("revoked");
    let kept = store.get(ours.digest.token_id()).await.expect("a record");
    assert_eq!((kept.created, kept.expiry, kept.revoked), (ours.created, Some(at), Some(ending().at)), "ours are UTC");
}

/// A token that is alive in its zone, and would have ended long ago by UTC, is noted when it goes.
pub(super) async fn the_end_of_a_token_with_local_times_is_noted(world: World) {
    use crate::domain::{Clock as _, Ended, Journal as _, SystemClock};
    let store = with_local_times(&world, "Pacific/Pago_Pago", 0).await;
    let soon = Some(SystemClock.now() + TimeDelta::hours(1));
    let ours = issue(&store, NewToken { expiry: soon, ..token("7") }).await;
    world.sql("DELETE FROM knox_authtoken").await;
    let records = store.poll(None).await.expect("a poll").records;
    // The triggers' change has left a record of everything.
    let ended: Vec<_> =
        records.iter().map(|record| &record.ended).filter(|ended| **ended != Ended::Everything).collect();
    assert_eq!(ended, [&Ended::Token(ours.digest.token_id())]);
}

pub(super) async fn a_swapped_model_s_columns_are_filled_as_configured(world: World) {
    django(&world, "integer", "7").await;
    let (json, name) = (if world.kind == Kind::Postgres { "jsonb" } else { "text" }, quoted(world.kind, NAME));
    for column in
        ["device integer", "trusted bool", "note varchar(20)", &format!("facts {json}"), &format!("{name} text")]
    {
        let default = if column.starts_with("device") || column.starts_with("trusted") { "1" } else { "'{}'" };
        let default = if world.kind == Kind::Postgres && column.starts_with("trusted") { "true" } else { default };
        alter(&world, &format!("ALTER TABLE knox_authtoken ADD COLUMN {column} NOT NULL DEFAULT {default}")).await;
        if world.kind == Kind::Postgres {
            let column = column.rsplit_once(' ').expect("a type").0;
            alter(&world, &format!("ALTER TABLE knox_authtoken ALTER {column} DROP DEFAULT")).await;
        }
    }
    let extra = ["device=12", "trusted=1", "note=it's $1 \\ ?", "facts={\"a\":[1]}", &format!("{NAME}=a=b")];
    let store = world
        .reopen(|config| {
            knox(config);
            config.schema.token_extra = extra.iter().map(|&entry| entry.to_owned()).collect();
        })
        .await;
    let ours = issue(&store, token("7")).await;
    assert_eq!(find_token(&store, ours.digest).await, ours);
    let text = |column: &str| match world.kind {
        Kind::Mariadb => format!("SELECT CAST({column} AS CHAR) FROM knox_authtoken"),
        Kind::Sqlite | Kind::Postgres => format!("SELECT CAST({column} AS TEXT) FROM knox_authtoken"),
    };
    let truth = if world.kind == Kind::Postgres { "true" } else { "1" };
    for (column, value) in [("device", "12"), ("trusted", truth), ("note", "it's $1 \\ ?"), (name.as_str(), "a=b")] {
        assert_eq!(world_text(&world, &text(column)).await.as_deref(), Some(value), "{column}");
    }
    let facts = world.text(&text("facts")).await.expect("a value");
    assert_eq!(facts.replace(' ', ""), "{\"a\":[1]}");
    assert!(store.canary().await.expect("it flies").is_some(), "the canary fills them too");
    assert_eq!(store.revoke(Target::Digest(ours.digest), ending()).await.expect("revoked").count, 1);
}

/// A name may hold the `;` that `World::sql` splits at.
async fn alter(world: &World, sql: &str) {
    let connection = sea_orm::Database::connect(world.config.database.url.expose()).await.expect("it connects");
    sea_orm::ConnectionTrait::execute_unprepared(&connection, sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn world_text(world: &World, sql: &str) -> Option<String> {
    world.query(sql).await.first().and_then(|row| row.try_get_by_index(0).expect("text"))
}

pub(super) async fn tables_are_found_by_the_search_path_and_ours_put_beside_them(world: World) {
    let (schema, decoy) = (quoted(world.kind, NAME), "CREATE TABLE public.knox_authtoken (digest integer)");
    alter(&world, &format!("CREATE SCHEMA {schema}")).await;
    world.sql(decoy).await;
    alter(&world, &format!("ALTER ROLE tokenward SET search_path = {schema}")).await;
    django(&world, "integer", "7").await;
    alter(&world, "ALTER ROLE tokenward RESET search_path").await;
    let store = world
        .reopen(|config| {
            knox(config);
            config.schema.search_path = vec![NAME.to_owned(), "public".to_owned()];
        })
        .await;
    store.require_current_schema().await.expect("ours are in the first schema");
    let ours = issue(&store, token("7")).await;
    assert_eq!(find_token(&store, ours.digest).await, ours);
    assert_eq!(store.revoke(Target::Digest(ours.digest), ending()).await.expect("revoked").count, 1);
    assert_eq!(store.migrate_up().await.expect("nothing to do"), [""; 0]);
}

pub(super) async fn keys_of_every_type_that_the_database_has(world: World) {
    let simple = UUID.replace('-', "");
    for (column, key, kind) in [
        ("bigint", "5000000000", UserIdType::Bigint),
        ("char(32)", simple.as_str(), UserIdType::Char32),
        ("varchar(64)", "ada@example.org", UserIdType::Text),
    ] {
        let world = World { config: world.config.clone(), store: world.store.clone(), kind: world.kind };
        django(&world, column, key).await;
        let store = world
            .reopen(|config| {
                knox(config);
                config.schema.user_id_type = Some(kind);
            })
            .await;
        store.migrate_up().await.expect("triggers");
        let shown = if kind == UserIdType::Char32 { UUID } else { key };
        let by_django = insert_as_django(&world, key).await;
        assert_eq!(find_token(&store, by_django).await.user.id.as_str(), shown, "{kind:?}");
        let ours = issue(&store, token(shown)).await;
        assert_eq!(find_token(&store, ours.digest).await, ours);
        assert_eq!(store.check().await.expect("an answer"), [], "{kind:?}");
        assert_eq!(store.revoke_all(user(shown), None, ending()).await.expect("revoked").count, 2, "{kind:?}");
        assert_eq!(find(&store, by_django).await, Found::Revoked);
        store.migrate_down(9).await.expect("down");
        world.sql("DROP TABLE knox_authtoken; DROP TABLE auth_user").await;
    }
}

pub(super) async fn the_limit_counts_django_s_tokens_under_20_parallel_issues(world: World) {
    django(&world, "integer", "7").await;
    insert_as_django(&world, "7").await;
    let store = world
        .reopen(|config| {
            knox(config);
            config.tokens.limit_per_user = 5;
        })
        .await;
    let issues = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.insert(token("7")).await })
    });
    let mut stored = 0;
    for issue in issues.collect::<Vec<_>>() {
        match issue.await.expect("no panic") {
            Ok(_) => stored += 1,
            Err(Error::LimitReached { limit: 5 }) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!((stored, active(&store, now()).await), (4, 5), "one without an expiry was there");
}
