//! Rows of knox 4.2, of other hash functions, and of databases that take two texts for one.

use std::time::Duration;

use super::{
    knox_cases::{django, knox},
    server::Kind,
    world::{World, ending, find, find_either, find_token, issue, now, token, user},
};
use crate::{
    config::Config,
    domain::{
        Cursor, Digest, Digests, Ended, Error, Found, Freshness, HashFunction, Hashing, Journal as _, Knox4, NewToken,
        Target, Token, TokenQuery, TokenRecord, TokenState, TokenStore as _,
    },
    store::{Database, upgrade},
};

const PLAIN: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const KNOX5: &str = "ad2981aa58beca63a49b8831274b89d81766a23d7932474f03e55cf00cbe27004e66fd0912aed0b3cb1afee2aa904115c89db49d6c9bad785523023a9c309561";
const KNOX4: &str = "b5829ce3ccf1d8edd5da1132d46271b0169f58b6414fd263d3c98da627170f5e13cb194ef464e3d3968547e043f8caf19e78db5b6693ba867b1a613b9c337cf0";

fn digests() -> Digests {
    let hashing = Hashing { knox4: Knox4::Accepted, ..Hashing::default() };
    hashing.digests(&Token::parse(PLAIN.to_owned()).expect("a token"))
}

/// As knox 4.2 stores it, for user 7.
async fn insert_knox_4(world: &World) {
    let created = match world.kind {
        Kind::Postgres => "2027-01-15 08:00:00+00",
        Kind::Sqlite | Kind::Mariadb => "2027-01-15 08:00:00",
    };
    let columns = "(digest, created, user_id, expiry, token_key)";
    world
        .sql(&format!("INSERT INTO knox_authtoken {columns} VALUES ('{KNOX4}', '{created}', 7, NULL, '01234567')"))
        .await;
}

async fn either(store: &Database) -> Found {
    // Not `find_either`, which asks twice: a row may be rewritten meanwhile.
    store.find(digests(), Freshness::Any).await.expect("an answer").found
}

async fn either_token(store: &Database) -> TokenRecord {
    match either(store).await {
        Found::Token(record) => (*record).clone(),
        other => panic!("a token, not {other:?}"),
    }
}

/// Waits until nothing is being rewritten.
async fn rewritten(store: &Database) {
    let all = u32::try_from(upgrade::CONCURRENCY).expect("a few");
    drop(store.0.upgrades.acquire_many(all).await.expect("it is never closed"));
}

async fn rows(world: &World) -> Vec<(String, String)> {
    let rows = world.query("SELECT digest, token_key FROM knox_authtoken").await;
    let text = |row: &sea_orm::QueryResult, at| row.try_get_by_index::<String>(at).expect("text");
    rows.iter().map(|row| (text(row, 0), text(row, 1))).collect()
}

pub(super) async fn a_row_of_knox_4_is_found_and_once_revoked_stays_so(world: World) {
    let store = django(&world, "integer", "7").await;
    insert_knox_4(&world).await;
    let record = either_token(&store).await;
    assert_eq!((record.digest.to_hex().as_str(), record.user.id.as_str()), (KNOX4, "7"));
    assert_eq!(find(&store, digests().current).await, Found::Unknown, "where it is not asked for");
    rewritten(&store).await;
    assert_eq!(rows(&world).await, [(KNOX4.to_owned(), "01234567".to_owned())], "nobody asked for an upgrade");

    let both: Vec<_> = digests().all().map(Digest::token_id).collect();
    let ended = store.revoke(Target::from(digests()), ending()).await.expect("revoked");
    assert_eq!((ended.count, ended.ended), (1, both.clone()));
    assert_eq!((rows(&world).await, find_either(&store, digests()).await), (vec![], Found::Revoked));
    let again = store.revoke(Target::from(digests()), ending()).await.expect("no error");
    assert_eq!((again.count, again.ended), (0, both), "a retry tells the caches again");

    insert_knox_4(&world).await;
    assert_eq!(find_either(&store, digests()).await, Found::Revoked, "a row that a backup brought back");
    issue(&store, token("7")).await;
    let spared = store.revoke_all(user("7"), Some(Target::from(digests())), ending()).await.expect("revoked");
    assert_eq!((spared.count, rows(&world).await.len()), (1, 1), "the spared one is known by either digest");
}

pub(super) async fn of_a_row_of_each_version_the_current_one_counts(world: World) {
    let store = django(&world, "integer", "7").await;
    insert_knox_4(&world).await;
    let ours = issue(&store, NewToken { digest: digests().current, ..token("7") }).await;
    assert_eq!(find_either(&store, digests()).await, Found::Token(ours.into()));
    assert_eq!(store.revoke(Target::from(digests()), ending()).await.expect("revoked").count, 2);
    assert_eq!(either(&store).await, Found::Revoked);
}

pub(super) async fn an_upgraded_row_is_one_of_knox_5_and_leaves_a_record(world: World) {
    let store = upgrading(&world).await;
    insert_knox_4(&world).await;
    let before = store.poll(None).await.expect("a poll").records.len();
    assert_eq!(either_token(&store).await.digest.to_hex(), KNOX4, "the answer does not wait");
    rewritten(&store).await;
    assert_eq!(rows(&world).await, [(KNOX5.to_owned(), "0123456789abcde".to_owned())]);
    let records = store.poll(None).await.expect("a poll").records;
    let former = Ended::Token(digests().legacy.expect("both").digest.token_id());
    assert!(records.len() > before && records.iter().all(|record| record.ended == former), "{records:?}");
    let record = find_token(&store, digests().current).await;
    assert_eq!((record.digest.to_hex().as_str(), record.user.id.as_str()), (KNOX5, "7"));
    assert_eq!(either_token(&store).await, record);

    let former = digests().legacy.expect("both").digest.token_id();
    assert_eq!(store.get(former).await.expect("its former name is known"), record);
    let spared = store.revoke_all(user("7"), Some(Target::Id(former)), ending()).await.expect("no error");
    assert_eq!((spared.count, rows(&world).await.len()), (0, 1));
    let ended = store.revoke(Target::Id(former), ending()).await.expect("revoked");
    assert_eq!((ended.count, ended.ended), (1, vec![former, record.digest.token_id()]));
    assert_eq!((rows(&world).await, either(&store).await), (vec![], Found::Revoked));
}

/// The token must be gone when the revocation is answered, and stay so, whichever came first.
pub(super) async fn a_revocation_that_meets_an_upgrade_ends_the_token(world: World) {
    let store = upgrading(&world).await;
    for round in 0..45 {
        world.sql("DELETE FROM knox_authtoken; DELETE FROM tokenward_token_detail").await;
        insert_knox_4(&world).await;
        either_token(&store).await;
        tokio::time::sleep(Duration::from_micros(150 * (round % 10))).await;
        let (revoked, ending) = (store.clone(), ending());
        let ended = match round % 3 {
            0 => revoked.revoke(Target::Id(digests().legacy.expect("both").digest.token_id()), ending).await,
            1 => revoked.revoke(Target::from(digests()), ending).await,
            _ => revoked.revoke_all(user("7"), None, ending).await,
        };
        assert_eq!(ended.expect("revoked").count, 1, "round {round}");
        let now = rows(&world).await;
        rewritten(&store).await;
        assert_eq!((now, rows(&world).await), (vec![], vec![]), "round {round}");
        assert_eq!(either(&store).await, Found::Revoked, "round {round}");
    }
}

pub(super) async fn an_upgrade_that_fails_changes_nothing(world: World) {
    let store = upgrading(&world).await;
    insert_knox_4(&world).await;
    // A row of knox 5 is there already: the primary key refuses a second one.
    issue(&store, NewToken { digest: digests().current, ..token("7") }).await;
    world.sql(&format!("DELETE FROM tokenward_token_detail WHERE digest = '{KNOX5}'")).await;
    let legacy = digests().legacy.expect("both");
    let record = crate::domain::TokenRecord { digest: legacy.digest, ..find_token(&store, digests().current).await };
    upgrade::begin(&store.0, digests().current, legacy, &std::sync::Arc::new(record));
    rewritten(&store).await;
    assert_eq!(rows(&world).await.len(), 2);
    assert_eq!(either_token(&store).await.digest, digests().current);
}

pub(super) async fn digests_of_32_bytes_are_found_listed_revoked_and_noted(world: World) {
    let store = django(&world, "integer", "7").await;
    let hashing = Hashing { function: HashFunction::Sha256, knox4: Knox4::Accepted };
    let made = hashing.digests(&Token::parse(PLAIN.to_owned()).expect("a token"));
    let ours = issue(&store, NewToken { digest: made.current, ..token("7") }).await;
    assert_eq!(rows(&world).await[0].0.len(), 64);
    assert_eq!(find_token(&store, made.current).await, ours);
    assert_eq!(store.get(made.current.token_id()).await.expect("a record"), ours);
    // A page token keeps the bytes, and not how many there were.
    let cursor = Cursor { created: now(), digest: Digest::from_bytes(*made.current.as_bytes()) };
    let states = vec![TokenState::Active];
    let rest = TokenQuery { user: user("7"), states, now: now(), after: Some(cursor), limit: 9 };
    assert_eq!(store.list(rest).await.expect("a page"), [], "the last one does not come again");
    assert_eq!(store.revoke(Target::from(made), ending()).await.expect("revoked").count, 1);
    let records = store.poll(None).await.expect("a poll").records;
    assert!(!records.is_empty());
    assert!(records.iter().all(|record| record.ended == Ended::Token(made.current.token_id())), "{records:?}");
}

/// MySQL's collations ignore case and trailing spaces; a digest is compared exactly all the same.
pub(super) async fn a_digest_in_capitals_or_with_a_space_is_another_one(world: World) {
    let store = django(&world, "integer", "7").await;
    for other in [KNOX4.to_uppercase(), format!("{} ", &KNOX4[..127]), "no digest at all".to_owned()] {
        insert_knox_4(&world).await;
        world.sql(&format!("UPDATE knox_authtoken SET digest = '{other}'")).await;
        assert_eq!(either(&store).await, Found::Unknown, "{other}");
        assert_eq!(find(&store, digests().legacy.expect("both").digest).await, Found::Unknown, "{other}");
        assert_eq!(store.revoke(Target::from(digests()), ending()).await.expect("no error").count, 0, "{other}");
        assert_eq!(rows(&world).await.len(), 1, "{other}");
        assert!(matches!(store.get(digests().current.token_id()).await, Err(Error::NotFound(_))));
        store.revoke_all(user("7"), None, ending()).await.expect("no error");
        assert_eq!(rows(&world).await, [], "but RevokeAll leaves nothing");
        world.sql("DELETE FROM tokenward_token_detail").await;
    }
}

async fn upgrading(world: &World) -> Database {
    django(world, "integer", "7").await;
    let upgrading = |config: &mut Config| {
        knox(config);
        config.tokens.upgrade_digests = true;
    };
    world.reopen(upgrading).await
}
