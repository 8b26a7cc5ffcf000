//! The keys of Django REST framework.

use std::{future::ready, time::Duration};

use chrono::TimeDelta;

use super::{
    knox_cases::{django, knox},
    server::Kind,
    world::{World, ending, find, find_token},
};
use crate::{
    domain::{Clock as _, Found, Hashing, SystemClock, Target, Token, TokenStore as _, UserChange},
    store::{Database, Import, ImportMode, Imported},
};

pub(super) async fn keys_of_django_are_tokens_of_knox(world: World) {
    let store = django(&world, "integer", "7").await;
    drf(&world, "integer").await;
    insert(&world, "authtoken_token", 0..3, "7").await;
    insert(&world, "authtoken_token", 3..5, "8").await;
    world.sql("INSERT INTO authtoken_token VALUES ('not a token', '2026-01-02 03:04:05', 7)").await;
    let expected = Imported { new: 3, unknown_user: 2, malformed: 1, share: 1.0, ..Imported::default() };
    assert_eq!(import(&store, ImportMode::Count, None).await, expected);
    assert_eq!(world.text("SELECT digest FROM knox_authtoken").await, None, "nothing was written");

    assert_eq!(import(&store, ImportMode::Write, None).await, expected);
    let token = Token::parse(key(1)).expect("it is one");
    let record = find_token(&store, token.digest()).await;
    assert_eq!((record.user.id.as_str(), record.expiry), ("7", None));
    assert_eq!(record.created.to_rfc3339(), "2026-01-02T03:04:05+00:00");
    let row = "SELECT token_key FROM knox_authtoken WHERE digest =";
    let kept = world.text(&format!("{row} '{}'", token.digest().to_hex())).await;
    assert_eq!(kept.as_deref(), Some(&key(1)[..15]));

    let again = Imported { new: 0, present: 3, ..expected };
    assert_eq!(import(&store, ImportMode::Write, Some(Duration::from_hours(1))).await, again);
    assert_eq!(find_token(&store, token.digest()).await, record, "what is there is left alone");
    store.revoke(Target::Digest(token.digest()), ending()).await.expect("revoked");
    let after = Imported { present: 2, revoked: 1, ..again };
    assert_eq!(import(&store, ImportMode::Write, None).await, after);
    assert_eq!(find(&store, token.digest()).await, Found::Revoked);
    let left = world.query("SELECT digest FROM knox_authtoken").await;
    assert_eq!(left.len(), 2, "nor does Django take it again");
}

/// More than a page, by steps, in our own tables, from a table of another name.
pub(super) async fn an_import_that_was_broken_off_is_run_again(world: World) {
    let store = &world.store;
    drf(&world, "integer").await;
    insert(&world, "authtoken_token", 0..1_300, "7").await;
    world.sql("CREATE TABLE old_keys AS SELECT * FROM authtoken_token").await;
    let ada = UserChange { id: "7".parse().expect("a user_id"), active: None, attributes: None };
    let stranger = Import { table: "old_keys".to_owned(), ttl: None, mode: ImportMode::Write };
    let unknown = store.import(stranger.clone(), Hashing::default(), |_, _| ready(())).await.expect("imported");
    assert_eq!((unknown.new, unknown.unknown_user), (0, 1_300), "users are created by who knows who is active");
    store.upsert_user(ada).await.expect("created");

    let ttl = Some(Duration::from_hours(1));
    let mut steps = 0;
    let mut broken_off = Box::pin(store.import(Import { ttl, ..stranger.clone() }, Hashing::default(), |done, _| {
        steps = done.new;
        ready(())
    }));
    std::future::poll_fn(|context| {
        let pending = broken_off.as_mut().poll(context).is_pending();
        std::task::Poll::Ready(pending)
    })
    .await;
    drop(broken_off);
    assert!(steps < 1_300);
    let (mut shares, mut told) = (vec![], 0);
    let done = store
        .import(Import { ttl, ..stranger.clone() }, Hashing::default(), |done, new| {
            shares.push(done.share);
            told += new.len() as u64;
            ready(())
        })
        .await
        .expect("imported");
    assert_eq!(done.new + done.present, 1_300);
    assert_eq!(told, done.new, "each that was written is named");
    assert!(shares.len() == 3 && shares.is_sorted() && shares.last() == Some(&1.0), "{shares:?}");
    let again = store.import(stranger, Hashing::default(), |_, _| ready(())).await.expect("imported");
    assert_eq!((again.new, again.present), (0, 1_300));
    let record = find_token(store, Token::parse(key(777)).expect("it is one").digest()).await;
    let left = record.expiry.expect("a life of an hour") - SystemClock.now();
    assert!(left > TimeDelta::minutes(30) && left <= TimeDelta::hours(1), "{left}");
    let missing = Import { table: "nothing".to_owned(), ttl: None, mode: ImportMode::Write };
    assert!(store.import(missing, Hashing::default(), |_, _| ready(())).await.is_err());
}

/// An error that is not a key that is taken must not be passed over: a user that no
/// foreign key accepts, say.
pub(super) async fn no_other_error_is_hidden(world: World) {
    let store = django(&world, "integer", "7").await;
    drf(&world, "integer").await;
    insert(&world, "authtoken_token", 0..3, "7").await;
    let constraint = match world.kind {
        Kind::Sqlite => return,
        Kind::Postgres | Kind::Mariadb => "ALTER TABLE knox_authtoken ADD CHECK (expiry IS NOT NULL)",
    };
    world.sql(constraint).await;
    let terms = Import { table: "authtoken_token".to_owned(), ttl: None, mode: ImportMode::Write };
    let refused = store.import(terms, Hashing::default(), |_, _| ready(())).await.expect_err("a constraint");
    let shown = format!("{refused:?}");
    assert!((0..3).all(|number| !shown.contains(&key(number))), "no key is shown");
    assert_eq!(world.text("SELECT digest FROM knox_authtoken").await, None);
}

/// A swapped model's own columns, by their types: PostgreSQL casts no text to a number by itself.
pub(super) async fn further_columns_are_filled_in_imported_rows(world: World) {
    django(&world, "integer", "7").await;
    drf(&world, "integer").await;
    insert(&world, "authtoken_token", 0..3, "7").await;
    world.sql("ALTER TABLE knox_authtoken ADD COLUMN device integer NOT NULL DEFAULT 1").await;
    let store = world
        .reopen(|config| {
            knox(config);
            config.schema.token_extra = vec!["device=12".to_owned()];
        })
        .await;
    assert_eq!(import(&store, ImportMode::Write, None).await.new, 3);
    assert_eq!(find_token(&store, Token::parse(key(2)).expect("it is one").digest()).await.user.id.as_str(), "7");
    assert_eq!(world.query("SELECT digest FROM knox_authtoken WHERE device = 12").await.len(), 3);
    assert_eq!(import(&store, ImportMode::Write, None).await.present, 3, "again");
}

async fn import(store: &Database, mode: ImportMode, ttl: Option<Duration>) -> Imported {
    let terms = Import { table: "authtoken_token".to_owned(), ttl, mode };
    store.import(terms, Hashing::default(), |_, _| ready(())).await.expect("imported")
}

async fn drf(world: &World, user: &str) {
    let (time, quote) = match world.kind {
        Kind::Sqlite => ("datetime", '"'),
        Kind::Postgres => ("timestamp with time zone", '"'),
        Kind::Mariadb => ("datetime(6)", '`'),
    };
    let sql = "CREATE TABLE authtoken_token";
    let columns = format!("{quote}key{quote} varchar(40) NOT NULL PRIMARY KEY, created {time} NOT NULL");
    world.sql(&format!("{sql} ({columns}, user_id {user} NOT NULL)")).await;
}

async fn insert(world: &World, table: &str, numbers: std::ops::Range<u32>, user: &str) {
    let time = if world.kind == Kind::Postgres { "2026-01-02 03:04:05+00" } else { "2026-01-02 03:04:05" };
    let rows: Vec<_> = numbers.map(|number| format!("('{}', '{time}', {user})", key(number))).collect();
    world.sql(&format!("INSERT INTO {table} VALUES {}", rows.join(", "))).await;
}

/// 40 hexadecimal digits, as Django REST framework makes them.
fn key(number: u32) -> String {
    Token::parse(number.to_string()).expect("a token").digest().to_hex()[..40].to_owned()
}
