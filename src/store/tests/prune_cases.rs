//! Deleting what has long expired.

use std::time::Duration;

use chrono::TimeDelta;
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};

use super::{
    knox_cases::django,
    server::Kind,
    world::{World, ending, find, find_token, issue, token},
};
use crate::{
    config::SchemaPreset,
    domain::{
        Clock as _, Digest, Error, Found, Journal as _, NewToken, SystemClock, Target, Timestamp, Token,
        TokenStore as _,
    },
    store::{
        Database, PruneMode, Pruned,
        chore::Holder,
        prune::{self, Table},
    },
};

const KEEP: Duration = Duration::from_hours(30 * 24);
const ANY_TIME: Duration = Duration::ZERO;

pub(super) async fn what_expired_long_ago_goes_and_nothing_else(world: World) {
    let store = world.reopen(|config| config.prune.batch = 2).await;
    expired_goes(&world, &store, "ada").await;
}

pub(super) async fn what_expired_long_ago_goes_from_django_s_table_too(world: World) {
    drop(django(&world, "integer", "7").await);
    let small = |config: &mut crate::config::Config| {
        config.database.schema = SchemaPreset::Knox;
        config.prune.batch = 2;
    };
    let store = world.reopen(small).await;
    expired_goes(&world, &store, "7").await;
}

async fn expired_goes(world: &World, store: &Database, owner: &str) {
    let old: Vec<_> = futures::future::join_all((0..5).map(|_| store.insert(lived(owner, days(40))))).await;
    let old = old.len() as u64;
    let lately = issue(store, lived(owner, days(1))).await;
    let live = issue(store, lived(owner, days(-1))).await;
    let never = issue(store, NewToken { expiry: None, ..lived(owner, days(40)) }).await;
    let revoked_and_expired = issue(store, lived(owner, days(40))).await;
    let revoked_without_end = issue(store, NewToken { expiry: None, ..lived(owner, days(40)) }).await;
    for record in [&revoked_and_expired, &revoked_without_end] {
        store.revoke(Target::Digest(record.digest), ending()).await.expect("revoked");
    }
    let removed = issue(store, NewToken { expiry: None, ..lived(owner, days(40)) }).await;
    let table = if owner == "ada" { "tokenward_token" } else { "knox_authtoken" };
    world.sql(&format!("DELETE FROM {table} WHERE digest = '{}'", removed.digest.to_hex())).await;
    let journal = journal(store).await;

    let counted = run(store, PruneMode::Count).await;
    assert_eq!(
        (counted.tokens, counted.details),
        (old, old + 2),
        "theirs, the removed one's, the revoked and expired one's"
    );
    assert!(matches!(find(store, revoked_and_expired.digest).await, Found::Revoked), "nothing was deleted");
    let pruned = run(store, PruneMode::Delete).await;
    assert_eq!((pruned.tokens, pruned.details), (old, old + 2), "as was counted");
    for record in [&lately, &live, &never] {
        assert_eq!(&find_token(store, record.digest).await, record);
    }
    assert_eq!(find(store, revoked_and_expired.digest).await, Found::Unknown);
    assert_eq!(find(store, revoked_without_end.digest).await, Found::Revoked, "a backup must not bring it back");
    assert!(matches!(store.get(removed.digest.token_id()).await, Err(Error::NotFound(_))));
    let left = world.text(&format!("SELECT CAST(COUNT(*) AS CHAR(9)) FROM {table}")).await;
    assert_eq!(left.as_deref().map(str::trim), Some("3"));
    assert_eq!(self::journal(store).await, journal, "the journal is not flooded");
    let again = run(store, PruneMode::Delete).await;
    assert_eq!((again.tokens, again.details, again.looked_at), (0, 0, 3 + 4), "nothing is left to do");
}

pub(super) async fn a_token_that_is_prolonged_meanwhile_stays(world: World) {
    let store = world.reopen(|config| config.prune.batch = 5).await;
    let inner = &store.0;
    let (gone, prolonged) = (issue(&store, lived("ada", days(40))).await, issue(&store, lived("ada", days(-1))).await);
    let found = [gone.digest.to_hex(), prolonged.digest.to_hex()];
    let (holder, cutoff) = (Holder::new(), SystemClock.now() - TimeDelta::days(30));
    assert!(inner.prune_statements.chore.take(inner, &holder, ANY_TIME).await.expect("taken"));
    let count = prune::delete(inner, &holder, Table::Tokens, &found, cutoff).await.expect("deleted");
    assert_eq!((count, find(&store, gone.digest).await), (1, Found::Unknown), "both were old when they were found");
    assert_eq!(find_token(&store, prolonged.digest).await, prolonged);
    let count = prune::delete(inner, &holder, Table::Details, &found, cutoff).await.expect("deleted");
    assert_eq!((count, find_token(&store, prolonged.digest).await), (1, prolonged), "with what is kept about it");
    inner.prune_statements.chore.end(inner, &holder).await.expect("ended");
    if world.kind != Kind::Sqlite {
        a_row_that_django_holds_is_left_to_it(&world, &store).await;
    }
}

/// Without a wait, which would end in the statement's time limit here.
async fn a_row_that_django_holds_is_left_to_it(world: &World, store: &Database) {
    let (free, held) = (issue(store, lived("ada", days(40))).await, issue(store, lived("ada", days(40))).await);
    let connection = sea_orm::Database::connect(world.config.database.url.expose()).await.expect("it connects");
    let django = connection.begin().await.expect("begun");
    let prolong =
        format!("UPDATE tokenward_token SET expiry = '2100-01-01 00:00:00' WHERE digest = '{}'", held.digest.to_hex());
    django.execute_unprepared(&prolong).await.expect("held");
    let pruned = run(store, PruneMode::Delete).await;
    assert_eq!((pruned.tokens, find(store, free.digest).await), (1, Found::Unknown));
    django.commit().await.expect("committed");
    assert!(find_token(store, held.digest).await.expiry > Some(SystemClock.now()));
}

pub(super) async fn one_process_prunes_at_a_time(world: World) {
    let (here, there) = (&world.store, world.reopen(|_| {}).await);
    let begin = async |store: &Database, mode, rest| store.begin_pruning(KEEP, mode, rest).await.expect("an answer");
    let first = begin(here, PruneMode::Delete, ANY_TIME).await.expect("nobody is at it");
    assert!(begin(&there, PruneMode::Delete, ANY_TIME).await.is_none());
    assert!(begin(&there, PruneMode::Count, ANY_TIME).await.is_some(), "counting takes no turn");
    first.run(|_| {}).await.expect("pruned");
    assert!(begin(&there, PruneMode::Delete, Duration::from_hours(1)).await.is_none(), "it was done just now");

    let slow = begin(&there, PruneMode::Delete, ANY_TIME).await.expect("an operator need not wait");
    issue(here, lived("ada", days(40))).await;
    world.sql("UPDATE tokenward_chore SET held_until = 1").await;
    let next = begin(here, PruneMode::Delete, ANY_TIME).await.expect("a minute later");
    assert!(slow.run(|_| {}).await.is_err(), "it has lost its turn");
    assert_eq!(next.run(|_| {}).await.expect("pruned").tokens, 1);
}

/// Counted over a table that is large enough for an index to be worth it.
pub(super) async fn no_batch_scans_the_table(world: World) {
    drop(django(&world, "integer", "7").await);
    let store = world
        .reopen(|config| {
            config.database.schema = SchemaPreset::Knox;
            config.prune.batch = 100;
        })
        .await;
    let digests = fill(&world, 20_000).await;
    let sql = &store.0.prune_statements;
    let these: Vec<_> = digests.iter().step_by(200).map(|digest| format!("'{digest}'")).collect();
    assert_eq!(these.len(), 100);
    let cutoff = "'2026-01-01 00:00:00'".to_owned();
    let keyed = |more: usize| [these.clone(), vec![cutoff.clone(); more]].concat();
    for (table, bounds) in [(Table::Tokens, 1), (Table::Details, 2)] {
        let [page, held, delete] = sql.of_table(table);
        let paged = [vec![cutoff.clone(); bounds], vec![format!("'{}'", digests[7])]].concat();
        probes_by_key(&world, page, &paged).await;
        probes_by_key(&world, delete, &keyed(bounds)).await;
        if table == Table::Tokens {
            probes_by_key(&world, held, &keyed(bounds)).await;
        }
    }
    let large = |config: &mut crate::config::Config| {
        config.database.schema = SchemaPreset::Knox;
        config.prune.batch = 1_000;
    };
    let pruned = run(&world.reopen(large).await, PruneMode::Delete).await;
    assert_eq!((pruned.tokens, pruned.looked_at), (10_000, 20_000 + 20_000), "each row is looked at once");
}

async fn probes_by_key(world: &World, sql: &str, values: &[String]) {
    let mut text = sql.to_owned();
    for (number, value) in values.iter().enumerate().rev() {
        match world.kind {
            Kind::Postgres => text = text.replace(&format!("${}", number + 1), value),
            Kind::Sqlite | Kind::Mariadb => {
                let at = text.rfind('?').expect("a placeholder for each value");
                text.replace_range(at..=at, value);
            }
        }
    }
    let explain = if world.kind == Kind::Sqlite { "EXPLAIN QUERY PLAN" } else { "EXPLAIN" };
    let plan = world.query(&format!("{explain} {text}")).await;
    assert!(!plan.is_empty());
    for row in plan {
        match world.kind {
            Kind::Sqlite => {
                let step: String = row.try_get_by_index(3).expect("a plan");
                assert!(step.starts_with("SEARCH"), "{step}: {sql}");
            }
            Kind::Postgres => {
                let step: String = row.try_get_by_index(0).expect("a plan");
                assert!(!step.contains("Seq Scan"), "{step}: {sql}");
            }
            Kind::Mariadb => {
                let (access, key): (String, Option<String>) =
                    (row.try_get("", "type").expect("a plan"), row.try_get("", "key").expect("a plan"));
                assert_eq!((access.as_str(), key.as_deref()), ("range", Some("PRIMARY")), "{sql}");
            }
        }
    }
}

/// Tokens of user 7, half of them long expired, and as many records of ended ones.
async fn fill(world: &World, count: usize) -> Vec<String> {
    let mut digests: Vec<_> = (0..count).map(|number| digest(number).to_hex()).collect();
    digests.sort();
    let mut statements = vec![];
    for (number, chunk) in digests.chunks(1_000).enumerate() {
        let year = if number % 2 == 0 { 2020 } else { 2100 };
        let time = format!("{year}-01-01 00:00:00");
        let rows = |row: &dyn Fn(&String) -> String| chunk.iter().map(row).collect::<Vec<_>>().join(", ");
        let tokens = rows(&|it| format!("('{it}', '{time}', 7, '{time}', '0123')"));
        statements
            .push(format!("INSERT INTO knox_authtoken (digest, created, user_id, expiry, token_key) VALUES {tokens}"));
        let details =
            rows(&|it| format!("('{it}', '7', '', '', '', '', '2100-01-01 00:00:00', '2100-01-01 00:00:00')"));
        statements.push(format!(
            "INSERT INTO tokenward_token_detail (digest, user_id, display_name, scopes, metadata, hint, created, expiry)
             VALUES {details}"
        ));
    }
    let analyze = if world.kind == Kind::Mariadb { "ANALYZE TABLE" } else { "ANALYZE" };
    statements.push(format!("{analyze} knox_authtoken"));
    statements.push(format!("{analyze} tokenward_token_detail"));
    world.sql(&statements.join(";")).await;
    digests
}

fn digest(number: usize) -> Digest {
    Token::parse(number.to_string()).expect("a token").digest()
}

async fn run(store: &Database, mode: PruneMode) -> Pruned {
    let pruning = store.begin_pruning(KEEP, mode, ANY_TIME).await.expect("an answer").expect("nobody is at it");
    let mut shares = vec![0.0];
    let pruned = pruning.run(|pruned| shares.push(pruned.share)).await.expect("it ends");
    assert!(shares.is_sorted() && shares.last() == Some(&1.0), "{shares:?}");
    pruned
}

async fn journal(store: &Database) -> usize {
    store.poll(None).await.expect("a look").records.len()
}

/// A token that expired so long ago.
fn lived(owner: &str, ago: TimeDelta) -> NewToken {
    let expiry: Timestamp = SystemClock.now() - ago;
    NewToken { created: expiry - TimeDelta::days(1), expiry: Some(expiry), ..token(owner) }
}

fn days(days: i64) -> TimeDelta {
    TimeDelta::days(days)
}
