//! What the triggers note, whoever writes, and what they leave out.

use std::collections::BTreeMap;

use super::{
    knox_cases::{UUID, django, insert_as_django},
    server::Kind,
    world::{World, ending, find_token, issue, token, user},
};
use crate::{
    domain::{Digest, Ended, Journal as _, Position, Target, TokenStore as _, UserChange},
    store::Database,
};

pub(super) async fn each_cause_on_our_own_tables_is_noted_and_nothing_else(world: World) {
    users_and_tokens(&world).await;
    let (never, later, soon) = ("NULL", at(&world, "2100-01-01"), at(&world, "2090-01-01"));
    let nothing: [Ended; 0] = [];
    for harmless in [
        format!("UPDATE tokenward_token SET expiry = {later} WHERE {}", is(1)),
        format!("UPDATE tokenward_token SET expiry = {never} WHERE {}", is(1)),
        format!("UPDATE tokenward_token SET expiry = {never}, token_key = 'k2' WHERE {}", is(1)),
        format!("UPDATE tokenward_token SET created = {soon} WHERE {}", is(2)),
        "UPDATE tokenward_token SET expiry = NULL WHERE digest = 'none such'".to_owned(),
        format!("DELETE FROM tokenward_token WHERE {}", is(9)),
        "UPDATE tokenward_user SET attributes = '{\"a\":\"b\"}' WHERE id = 'eve'".to_owned(),
        "UPDATE tokenward_user SET active = true WHERE id = 'eve'".to_owned(),
        "UPDATE tokenward_user SET active = active, attributes = '{}' WHERE id = 'ada'".to_owned(),
        "INSERT INTO tokenward_user (id, active, attributes) VALUES ('new', true, '{}')".to_owned(),
    ] {
        assert_eq!(noted(&world, &harmless).await, nothing, "{harmless}");
    }
    let by_user = |id| vec![Ended::User(user(id))];
    for (cause, subjects) in [
        (format!("UPDATE tokenward_token SET expiry = {soon} WHERE {}", is(1)), tokens([1])),
        (format!("UPDATE tokenward_token SET expiry = {soon} WHERE {}", is(2)), tokens([2])),
        (format!("UPDATE tokenward_token SET expiry = {soon} WHERE {}", is(3)), tokens([3])),
        (format!("UPDATE tokenward_token SET user_id = 'ADA' WHERE {}", is(2)), tokens([2])),
        (format!("UPDATE tokenward_token SET digest = '{}' WHERE {}", hex(4), is(3)), tokens([3])),
        (format!("DELETE FROM tokenward_token WHERE {}", is(4)), tokens([4])),
        (format!("DELETE FROM tokenward_token WHERE {}", is(8)), tokens([8])),
        ("DELETE FROM tokenward_token WHERE user_id = 'bob'".to_owned(), tokens([5, 6, 7])),
        ("UPDATE tokenward_user SET attributes = '{\"a\":\"b\"}' WHERE id = 'ada'".to_owned(), by_user("ada")),
        ("UPDATE tokenward_user SET active = false WHERE id = 'ada'".to_owned(), by_user("ada")),
        ("DELETE FROM tokenward_user WHERE id = 'ada'".to_owned(), by_user("ada")),
        ("UPDATE tokenward_user SET id = 'Bob' WHERE id = 'bob'".to_owned(), by_user("bob")),
    ] {
        assert_eq!(noted(&world, &cause).await, subjects, "{cause}");
    }
}

pub(super) async fn a_user_s_attributes_in_django_s_table_are_noted_and_other_columns_not(world: World) {
    let store = django(&world, "integer", "7").await;
    insert_as_django(&world, "7").await;
    let seven = [Ended::User(user("7"))];
    for cause in [
        "UPDATE auth_user SET email = 'ada@example.com'",
        "UPDATE auth_user SET email = 'Ada@example.com'",
        "UPDATE auth_user SET email = NULL",
        "UPDATE auth_user SET username = 'lovelace'",
        "UPDATE auth_user SET is_active = false",
    ] {
        assert_eq!(noted_by(&world, &store, cause).await, seven, "{cause}");
    }
    for harmless in ["UPDATE auth_user SET is_active = true", "UPDATE auth_user SET password = 'x', email = email"] {
        assert_eq!(noted_by(&world, &store, harmless).await, [], "{harmless}");
    }
}

pub(super) async fn a_user_s_key_is_noted_as_answers_carry_it(world: World) {
    let (column, key) = match world.kind {
        Kind::Sqlite => ("char(32)", UUID.replace('-', "")),
        Kind::Postgres | Kind::Mariadb => ("uuid", UUID.to_owned()),
    };
    let store = django(&world, column, &key).await;
    let digest = insert_as_django(&world, &key).await;
    let carried = find_token(&store, digest).await.user.id;
    let noted = noted_by(&world, &store, "UPDATE auth_user SET is_active = false").await;
    assert_eq!(noted, [Ended::User(carried)]);
}

pub(super) async fn a_cascade_to_tokens_is_covered_by_the_user_s_record(world: World) {
    world
        .sql(
            "CREATE TABLE auth_user (id integer PRIMARY KEY, is_active bool NOT NULL, username varchar(9), email varchar(9));
             CREATE TABLE knox_authtoken (digest varchar(128) PRIMARY KEY, token_key varchar(25), created varchar(30),
               expiry timestamp NULL, user_id integer NOT NULL, FOREIGN KEY (user_id) REFERENCES auth_user (id) ON DELETE CASCADE)",
        )
        .await;
    let store = world.reopen(|config| config.database.schema = crate::config::SchemaPreset::Knox).await;
    store.migrate_up().await.expect("up");
    world.sql("INSERT INTO auth_user VALUES (7, true, 'ada', NULL)").await;
    world.sql(&format!("INSERT INTO knox_authtoken VALUES ('{}', 'k', 'now', NULL, 7)", hex(1))).await;
    let noted = noted_by(&world, &store, "DELETE FROM auth_user").await;
    assert!(world.query("SELECT digest FROM knox_authtoken").await.is_empty());
    assert!(noted.contains(&Ended::User(user("7"))), "{noted:?}");
    let cascade_fires = world.kind != Kind::Mariadb;
    assert_eq!(noted.contains(&tokens([1])[0]), cascade_fires, "{noted:?}");
}

pub(super) async fn our_own_writes_note_what_they_end_without_a_trigger(world: World) {
    let store = &world.store;
    let [first, second, third] =
        [issue(store, token("ada")).await, issue(store, token("ada")).await, issue(store, token("bob")).await];
    drop_triggers(&world).await;
    let (ada, bob) = (Ended::User(user("ada")), Ended::User(user("bob")));
    let change = |active, attributes| UserChange { id: user("bob"), active, attributes };
    let named = BTreeMap::from([("a".to_owned(), "b".to_owned())]);

    let before = settled(store).await;
    let after = store.revoke(Target::Digest(first.digest), ending()).await.expect("revoked").position;
    assert_eq!(covered(store, before, after).await, [Ended::Token(first.digest.token_id())]);
    let before = after;
    let after = store.revoke_all(user("ada"), None, ending()).await.expect("revoked").position;
    assert_eq!(covered(store, before, after).await, [ada], "not one for {}", second.digest.token_id());
    let before = after;
    let after = store.upsert_user(change(None, Some(named.clone()))).await.expect("changed").1.position;
    assert_eq!(covered(store, before, after).await, std::slice::from_ref(&bob));
    let before = after;
    let after = store.upsert_user(change(Some(true), Some(named.clone()))).await.expect("the same").1.position;
    assert_eq!(covered(store, before, after).await, []);
    let after = store.upsert_user(change(Some(false), None)).await.expect("changed").1.position;
    assert_eq!(covered(store, before, after).await, std::slice::from_ref(&bob));
    let before = after;
    let after = store.upsert_user(change(Some(true), None)).await.expect("changed").1.position;
    assert_eq!(covered(store, before, after).await, []);
    let after = store.delete_user(user("bob"), ending()).await.expect("deleted").position;
    assert_eq!(
        covered(store, before, after).await,
        [bob.clone(), bob],
        "for {} and for its owner",
        third.digest.token_id()
    );
}

pub(super) async fn a_revocation_s_position_covers_its_record_and_a_retry_s_does(world: World) {
    let record = issue(&world.store, token("ada")).await;
    world.sql(&format!("UPDATE tokenward_token SET expiry = {}", at(&world, "2100-01-01"))).await;
    let before = settled(&world.store).await;
    let first = world.store.revoke(Target::Digest(record.digest), ending()).await.expect("revoked").position;
    assert_eq!(covered(&world.store, before, first).await, vec![Ended::Token(record.digest.token_id()); 2], "twice");
    world.sql("INSERT INTO tokenward_journal (user_id) VALUES ('left without a number')").await;
    let retry = world.store.revoke(Target::Digest(record.digest), ending()).await.expect("revoked").position;
    assert_eq!(retry.seq, first.seq + 1);
}

pub(super) async fn truncation_and_large_statements_are_noted_as_everything(world: World) {
    let fill = "INSERT INTO tokenward_token (digest, token_key, user_id, created, expiry)
        SELECT encode(sha512(n::text::bytea), 'hex'), 'k', 'ada', now(), NULL FROM generate_series(1, 1001) n";
    let nothing: [Ended; 0] = [];
    assert_eq!(noted(&world, fill).await, nothing);
    let spare = "DELETE FROM tokenward_token WHERE digest > (SELECT min(digest) FROM tokenward_token)";
    assert_eq!(noted(&world, spare).await.len(), 1_000, "as many as are told apart");
    assert_eq!(noted(&world, &format!("DELETE FROM tokenward_token; {fill}")).await.len(), 1);
    assert_eq!(noted(&world, "UPDATE tokenward_token SET user_id = 'bob'").await, [Ended::Everything]);
    assert_eq!(noted(&world, "TRUNCATE tokenward_token").await, [Ended::Everything]);
    assert_eq!(noted(&world, "TRUNCATE tokenward_user").await, [Ended::Everything]);
}

/// The plan for one row, kept for the session, would take minutes: the square of the rows.
pub(super) async fn an_update_of_every_row_after_one_of_one_row_is_not_slow(world: World) {
    world
        .sql(
            "INSERT INTO tokenward_user (id, active, attributes)
               SELECT n::text, true, '{}' FROM generate_series(1, 20000) n;
             INSERT INTO tokenward_token (digest, token_key, user_id, created, expiry)
               SELECT encode(sha512(n::text::bytea), 'hex'), 'k', n::text, now(), NULL FROM generate_series(1, 20000) n",
        )
        .await;
    for update in ["tokenward_user SET active = true", "tokenward_token SET token_key = 'k2'"] {
        let one = update.replace("SET", "AS x SET");
        let statements = format!(
            "SET statement_timeout = '10s'; UPDATE {one} WHERE x = (SELECT y FROM {table} y LIMIT 1); UPDATE {update}",
            table = &update[..update.find(' ').expect("a table")],
        );
        assert_eq!(noted_at_once(&world, &statements).await, [], "{update}");
    }
}

pub(super) async fn writers_without_rights_on_the_journal_or_that_replicate_are_noted(world: World) {
    users_and_tokens(&world).await;
    world
        .sql(
            "DROP ROLE IF EXISTS django; CREATE ROLE django;
             GRANT SELECT, DELETE ON tokenward_token TO django",
        )
        .await;
    let diverted = format!(
        "BEGIN; SET LOCAL ROLE django; CREATE TEMP TABLE tokenward_journal (digest text, user_id text);
         SET LOCAL search_path = pg_temp, public; DELETE FROM public.tokenward_token WHERE {}; COMMIT",
        is(1)
    );
    assert_eq!(noted_at_once(&world, &diverted).await, tokens([1]));
    let replicating = format!(
        "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM tokenward_token WHERE {}; COMMIT",
        is(2)
    );
    assert_eq!(noted_at_once(&world, &replicating).await, tokens([2]));
}

pub(super) async fn replace_on_sqlite_goes_unseen(world: World) {
    users_and_tokens(&world).await;
    let replace = format!(
        "REPLACE INTO tokenward_token (digest, token_key, user_id, created, expiry)
         VALUES ('{}', 'k', 'bob', '2020-01-01 00:00:00', '2020-01-01 00:00:00')",
        hex(1)
    );
    assert_eq!(noted(&world, &replace).await, [], "as documented: after it, `tokenward cache flush`");
}

pub(super) async fn times_of_any_writer_are_compared_on_sqlite(world: World) {
    users_and_tokens(&world).await;
    let set = |expiry: &str| format!("UPDATE tokenward_token SET expiry = '{expiry}' WHERE {}", is(2));
    assert_eq!(noted(&world, &set("2090-01-01T00:00:00Z")).await, tokens([2]));
    assert_eq!(noted(&world, &set("2090-01-01 02:00:00+01:00")).await, [], "an hour later");
    assert_eq!(noted(&world, &set("2090-01-01 00:00:00.500000")).await, tokens([2]));
    assert_eq!(noted(&world, &set("some day")).await, tokens([2]), "who knows");
    assert_eq!(noted(&world, &format!("DELETE FROM tokenward_token WHERE {}", is(2))).await, tokens([2]));
}

// === what the cases share ===

/// Users `ada`, `bob` and the disabled `eve`; tokens 1 to 3 of Ada, 2 without end, 5 to 7 of Bob, 8
/// that expired a minute ago and 9 that expired long ago.
pub(super) async fn users_and_tokens(world: &World) {
    let (years, minute) = (at(world, "2095-01-01"), a_minute_ago(world));
    let row = |number: u8, owner: &str, expiry: &str| {
        let created = at(world, "2020-01-01");
        format!("('{}', 'k', '{owner}', {created}, {expiry})", hex(number))
    };
    let mut rows = vec![row(1, "ada", &years), row(2, "ada", "NULL"), row(3, "ada", &years)];
    rows.extend([5, 6, 7].map(|number| row(number, "bob", &years)));
    rows.extend([row(8, "eve", &minute), row(9, "eve", &at(world, "2020-01-02"))]);
    world
        .sql(&format!(
            "INSERT INTO tokenward_user (id, active, attributes)
               VALUES ('ada', true, '{{}}'), ('bob', true, '{{}}'), ('eve', false, '{{}}');
             INSERT INTO tokenward_token (digest, token_key, user_id, created, expiry) VALUES {}",
            rows.join(", ")
        ))
        .await;
}

/// What a statement of another program is noted as, in the order of the notes.
pub(super) async fn noted(world: &World, sql: &str) -> Vec<Ended> {
    noted_by(world, &world.store, sql).await
}

async fn noted_by(world: &World, store: &Database, sql: &str) -> Vec<Ended> {
    let before = settled(store).await;
    world.sql(sql).await;
    let after = settled(store).await;
    covered(store, before, after).await
}

/// As [`noted`], for statements that need one connection.
async fn noted_at_once(world: &World, sql: &str) -> Vec<Ended> {
    let before = settled(&world.store).await;
    let connection = sea_orm::Database::connect(world.config.database.url.expose()).await.expect("it connects");
    sea_orm::ConnectionTrait::execute_unprepared(&connection, sql)
        .await
        .unwrap_or_else(|error| panic!("{sql}: {error}"));
    let after = settled(&world.store).await;
    covered(&world.store, before, after).await
}

/// Numbers what there is.
pub(super) async fn settled(store: &Database) -> Position {
    while store.sequence().await.expect("numbered") > 0 {}
    store.poll(None).await.expect("a look").position
}

/// The subjects after `before` up to `after`, which are all that there are.
pub(super) async fn covered(store: &Database, before: Position, after: Position) -> Vec<Ended> {
    let poll = store.poll(Some(before)).await.expect("a look");
    assert_eq!(poll.position, after);
    let mut records = poll.records;
    records.sort_by_key(|record| record.seq);
    let numbers: Vec<_> = records.iter().filter_map(|record| record.seq).collect();
    assert_eq!(numbers, (before.seq + 1..=after.seq).collect::<Vec<_>>());
    assert_eq!(numbers.len(), records.len(), "all are numbered");
    records.into_iter().map(|record| record.ended).collect()
}

/// As an operator, or a tool that rebuilds a table, might.
pub(super) async fn drop_triggers(world: &World) {
    let (catalog, on) = match world.kind {
        Kind::Sqlite => ("SELECT name, '' FROM sqlite_master WHERE type = 'trigger'", false),
        Kind::Postgres => {
            ("SELECT tgname::text, tgrelid::regclass::text FROM pg_trigger WHERE tgname LIKE 'tokenward%'", true)
        }
        Kind::Mariadb => {
            ("SELECT trigger_name, '' FROM information_schema.triggers WHERE trigger_schema = DATABASE()", false)
        }
    };
    for row in world.query(catalog).await {
        let (name, table): (String, String) =
            (row.try_get_by_index(0).expect("a name"), row.try_get_by_index(1).expect("a table"));
        let on = if on { format!(" ON {table}") } else { String::new() };
        world.sql(&format!("DROP TRIGGER {name}{on}")).await;
    }
}

pub(super) fn hex(number: u8) -> String {
    format!("{number:02x}").repeat(64)
}

pub(super) fn is(number: u8) -> String {
    format!("digest = '{}'", hex(number))
}

pub(super) fn tokens<const N: usize>(numbers: [u8; N]) -> Vec<Ended> {
    numbers.map(|number| Ended::Token(Digest::from_bytes([number; 64]).token_id())).into()
}

/// Midnight.
fn at(world: &World, day: &str) -> String {
    match world.kind {
        Kind::Postgres => format!("'{day} 00:00:00+00'"),
        Kind::Sqlite | Kind::Mariadb => format!("'{day} 00:00:00'"),
    }
}

fn a_minute_ago(world: &World) -> String {
    match world.kind {
        Kind::Sqlite => "datetime('now', '-1 minute')",
        Kind::Postgres => "now() - interval '1 minute'",
        Kind::Mariadb => "utc_timestamp() - INTERVAL 1 MINUTE",
    }
    .to_owned()
}
