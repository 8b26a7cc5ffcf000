//! What look-ups, records and pages say.

use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use chrono::TimeDelta;

use super::{
    server::Kind,
    world::{World, ending, find, find_token, issue, now, token, user},
};
use crate::domain::{
    Cursor, Error, Found, Freshness, InactiveReason, Look, Quota, Share, Source, Subject, Target, TokenQuery,
    TokenRecord, TokenState, TokenStore as _,
};

const ADA: &str = "ada@example.com";

pub(super) async fn a_stored_token_is_found_as_it_was_written(world: World) {
    let store = &world.store;
    let new = token(ADA);
    let stored = issue(store, new.clone()).await;
    assert_eq!((stored.digest, stored.created, stored.expiry), (new.digest, new.created, new.expiry));
    assert_eq!((&stored.label, stored.user.id.as_str()), (&new.label, ADA));
    assert!(stored.user.active);

    let reading = store.find(new.digest, Freshness::Primary).await.expect("an answer");
    assert_eq!((reading.source, reading.age), (Source::Database, Duration::ZERO));
    assert_ne!(reading.position.epoch, 0);
    assert_eq!(find_token(store, new.digest).await, stored, "to the microsecond");
    assert_eq!(store.get(new.digest.token_id()).await.expect("a record"), stored);
    assert_eq!(page(&world, &[TokenState::Active], None, 10).await, std::slice::from_ref(&stored));

    let forever = issue(store, crate::domain::NewToken { expiry: None, ..token(ADA) }).await;
    assert_eq!(find_token(store, forever.digest).await.expiry, None);
    assert_eq!(store.user(user(ADA)).await.expect("a user"), stored.user);
}

pub(super) async fn unknown_expired_revoked_and_orphaned_tokens_are_told_apart(world: World) {
    let store = &world.store;
    assert_eq!(find(store, token(ADA).digest).await, Found::Unknown);
    let unknown = store.get(token(ADA).digest.token_id()).await;
    assert!(matches!(unknown, Err(Error::NotFound(Subject::Token))));
    assert!(matches!(store.user(user("nobody")).await, Err(Error::NotFound(Subject::User))));

    let expired = issue(store, token(ADA)).await;
    let later = expired.expiry.expect("an expiry") + TimeDelta::microseconds(1);
    assert_eq!(find_token(store, expired.digest).await.admit(later, &[]), Err(InactiveReason::Expired));

    let revoked = issue(store, token(ADA)).await;
    store.revoke(Target::Digest(revoked.digest), ending()).await.expect("revoked");
    assert_eq!(find(store, revoked.digest).await, Found::Revoked);
    assert_eq!(store.get(revoked.digest.token_id()).await.expect("a record").revoked, Some(ending().at));

    let orphan = issue(store, token("bob")).await;
    world.sql("DELETE FROM tokenward_user WHERE id = 'bob'").await;
    assert_eq!(find_token(store, orphan.digest).await.admit(now(), &[]), Err(InactiveReason::UserDisabled));
    assert_eq!(find_token(store, orphan.digest).await.user.id.as_str(), "bob");
}

pub(super) async fn a_restored_row_brings_no_revoked_token_back(world: World) {
    let store = &world.store;
    let new = token(ADA);
    issue(store, new.clone()).await;
    world.sql("CREATE TABLE backup AS SELECT * FROM tokenward_token").await;
    store.revoke(Target::Digest(new.digest), ending()).await.expect("revoked");
    world.sql("INSERT INTO tokenward_token SELECT * FROM backup").await;
    assert_eq!(find(store, new.digest).await, Found::Revoked);
    let record = store.get(new.digest.token_id()).await.expect("a record");
    assert_eq!(record.state(now()), TokenState::Revoked);
    assert_eq!(page(&world, &[TokenState::Active], None, 10).await, []);
    assert_eq!(page(&world, &[TokenState::Active, TokenState::Revoked], None, 10).await.len(), 1);
}

pub(super) async fn pages_of_every_state_come_newest_first_and_once(world: World) {
    let store = &world.store;
    let mut expected = vec![];
    for index in 0..12 {
        // Pairs share their time, so that the digest decides; every third is expired, every fourth revoked.
        let created = now() + TimeDelta::seconds(i64::from(index / 2));
        let expiry = (index % 3 == 0).then(|| now() - TimeDelta::seconds(1));
        let mut record = issue(store, crate::domain::NewToken { created, expiry, ..token(ADA) }).await;
        if index % 4 == 0 {
            store.revoke(Target::Id(record.digest.token_id()), ending()).await.expect("revoked");
            record.revoked = Some(ending().at);
        }
        expected.push(record);
    }
    issue(store, token("bob")).await;
    expected.sort_by(|a, b| b.created.cmp(&a.created).then(a.digest.cmp(&b.digest)));

    let all = [TokenState::Active, TokenState::Expired, TokenState::Revoked];
    for states in [&all[..], &all[..1], &all[1..2], &all[2..], &all[..2], &[]] {
        let wanted: Vec<_> = expected.iter().filter(|record| states.contains(&record.state(now()))).cloned().collect();
        assert_eq!(page(&world, states, None, 100).await, wanted);
        assert_eq!(in_pages_of(&world, states, 1).await, wanted);
        assert_eq!(in_pages_of(&world, states, 5).await, wanted);
    }
    let query = TokenQuery { user: user("nobody"), states: all.to_vec(), now: now(), after: None, limit: 10 };
    assert_eq!(store.list(query).await.expect("a page"), []);
}

pub(super) async fn a_look_up_is_one_statement_of_primary_key_probes(world: World) {
    let store = &world.store;
    let new = token(ADA);
    issue(store, new.clone()).await;
    let digest = format!("'{}'", new.digest.to_hex());
    let find = &store.0.statements.find;
    let find = match world.kind {
        Kind::Postgres => find.replace("$1", &digest).replace("$2", &digest),
        Kind::Sqlite | Kind::Mariadb => find.replace('?', &digest),
    };
    match world.kind {
        Kind::Sqlite => {
            for row in world.query(&format!("EXPLAIN QUERY PLAN {find}")).await {
                let step: String = row.try_get_by_index(3).expect("a plan");
                assert!(step.starts_with("SEARCH"), "{step}");
            }
        }
        Kind::Postgres => {
            // Tables of one page are scanned whatever indexes they have, unless that is switched off.
            let explain = format!("EXPLAIN (FORMAT TEXT) {find}");
            let rows = world.query(&explain).await;
            assert!(!rows.is_empty());
            world.sql("ALTER ROLE tokenward SET enable_seqscan = off").await;
            for row in world.query(&explain).await {
                let step: String = row.try_get_by_index(0).expect("a plan");
                assert!(!step.contains("Seq Scan"), "{step}");
            }
            world.sql("ALTER ROLE tokenward RESET enable_seqscan").await;
        }
        Kind::Mariadb => {
            for row in world.query(&format!("EXPLAIN {find}")).await {
                let access: String = row.try_get("", "type").expect("a plan");
                assert!(matches!(access.as_str(), "const" | "eq_ref" | "system"), "{access}");
            }
        }
    }
}

pub(super) async fn look_ups_beyond_the_bound_are_refused_at_once(world: World) {
    let store = world.reopen(|config| config.database.max_concurrent_lookups = 1).await;
    let digest = token(ADA).digest;
    let under_way = store.0.lookups.acquire().await.expect("open");
    let refused = store.find(digest, Freshness::Any).await;
    assert!(matches!(refused, Err(Error::Overloaded { retry_after }) if retry_after > Duration::ZERO));
    drop(under_way);
    assert_eq!(find(&store, digest).await, Found::Unknown);
}

pub(super) async fn a_caller_leaves_places_for_others(world: World) {
    let store = world.reopen(|config| config.database.max_concurrent_lookups = 4).await;
    let digest = token(ADA).digest;
    let caller = || Arc::new(Quota::per_second(None, Share::Fair));
    let (flood, other) = (caller(), caller());
    let look = |quota: &Arc<Quota>| Look { freshness: Freshness::Primary, quota: Some(Arc::clone(quota)) };
    // As many look-ups as a caller may have under way, which hang.
    let places = [store.0.lookups.acquire().await.expect("open"), store.0.lookups.acquire().await.expect("open")];
    let under_way = [flood.begin(4), flood.begin(3)];
    let refused = store.find(digest, look(&flood)).await;
    assert!(matches!(refused, Err(Error::Overloaded { .. })), "{refused:?}");
    let [mine, others] = [&flood, &other].map(|quota| (digest.into(), look(quota)));
    let together = store.find_all(vec![mine.clone(), others, mine]).await;
    let refused = |outcome: &Result<_, Error>| matches!(outcome, Err(Error::Overloaded { .. }));
    assert_eq!(together.iter().map(refused).collect::<Vec<_>>(), [true, false, true], "{together:?}");
    assert_eq!(together[1].as_ref().expect("an answer").found, Found::Unknown);
    assert_eq!(store.find(digest, look(&other)).await.expect("an answer").found, Found::Unknown);
    drop((places, under_way));
    assert_eq!(store.find(digest, look(&flood)).await.expect("an answer").found, Found::Unknown);
}

pub(super) async fn sqlite_times_are_text_as_django_writes_it(world: World) {
    issue(&world.store, token(ADA)).await;
    let created = world.text("SELECT created FROM tokenward_token WHERE typeof(created) = 'text'").await;
    assert_eq!(created.as_deref(), Some("2027-01-15 08:00:00.123456"));
    let expiry = world.text("SELECT expiry FROM tokenward_token WHERE typeof(expiry) = 'text'").await;
    assert_eq!(expiry.as_deref(), Some("2027-01-15 09:00:00.123456"));
    let journal = world.text("SELECT * FROM pragma_journal_mode").await;
    assert_eq!(journal.as_deref(), Some("wal"));
}

pub(super) async fn a_new_sqlite_file_is_for_its_owner_only(world: World) {
    issue(&world.store, token(ADA)).await;
    let url = world.config.database.url.expose().to_owned();
    let path = url.strip_prefix("sqlite://").expect("a file");
    for suffix in ["", "-wal", "-shm"] {
        let mode = std::fs::metadata(format!("{path}{suffix}")).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{suffix}");
    }
    let lost = Path::new(path).with_file_name("missing/tokenward.db");
    let mut config = world.config.clone();
    config.database.url = crate::config::SecretText::new(format!("sqlite://{}", lost.display()));
    let refused = crate::store::Database::open(&config).await.err().expect("no such directory").to_string();
    assert!(refused.contains("database.url") && refused.contains("directory"), "{refused}");
}

async fn page(world: &World, states: &[TokenState], after: Option<Cursor>, limit: u32) -> Vec<TokenRecord> {
    let query = TokenQuery { user: user(ADA), states: states.to_vec(), now: now(), after, limit };
    world.store.list(query).await.expect("a page")
}

async fn in_pages_of(world: &World, states: &[TokenState], limit: u32) -> Vec<TokenRecord> {
    let (mut records, mut after) = (vec![], None);
    for _ in 0..100 {
        let next = page(world, states, after, limit).await;
        let Some(last) = next.last() else { return records };
        assert!(next.len() <= limit as usize);
        after = Some(Cursor { created: last.created, digest: last.digest });
        records.extend(next);
    }
    panic!("paging does not end")
}
