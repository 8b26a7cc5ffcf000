//! Changes and successors of tokens, last uses, and the listing of users.

use std::{collections::BTreeMap, time::Duration};

use chrono::TimeDelta;

use super::{
    journal_cases::{covered, settled},
    knox_cases::{django, insert_as_django},
    world::{World, ending, find, find_token, issue, now, request, token, user},
};
use crate::{
    domain::{
        Administration as _, Ended, Epochs as _, Error, Extended, Extension, Found, Hashing, IdempotentRequest,
        IssuePolicy, Label, NeverExpires, NewToken, Rotated, Rotation, Secret, Subject, Target, Timestamp, Token,
        TokenChange, TokenForm, TokenId, TokenPrefix, TokenQuery, TokenRecord, TokenState, TokenStore as _, Used,
        UserChange, UserQuery,
    },
    store::Database,
};

fn change(record: &TokenRecord) -> TokenChange {
    let token = record.digest.token_id();
    TokenChange { token, display_name: None, scopes: None, metadata: None, expiry: None, at: now() }
}

fn ends(record: &TokenRecord, expiry: Option<Timestamp>) -> TokenChange {
    TokenChange { expiry: Some(expiry.into()), ..change(record) }
}

fn later(minutes: i64) -> Timestamp {
    now() + TimeDelta::minutes(minutes)
}

fn rotation(token: TokenId, until: Option<Timestamp>, request: Option<IdempotentRequest>) -> Rotation {
    let successor = Token::of(&TokenPrefix::default(), &Secret::random());
    let policy = IssuePolicy {
        ttl: Duration::from_hours(10),
        max_ttl: None,
        never_expires: NeverExpires::Allowed,
        sliding: None,
        form: TokenForm::default(),
        hashing: Hashing::default(),
    };
    let (digest, key) = (successor.digest(), successor.key());
    let issuer = Some("admin".to_owned());
    Rotation { token, digest, key, hint: "new".to_owned(), at: now(), until, policy, issuer, request }
}

async fn rotate(store: &Database, record: &TokenRecord, until: Option<Timestamp>) -> Result<Rotated, Error> {
    store.rotate(rotation(record.digest.token_id(), until, None)).await
}

/// What a change noted in the journal.
async fn noted_of<T>(store: &Database, change: impl Future<Output = T>) -> (T, Vec<Ended>) {
    let before = settled(store).await;
    let outcome = change.await;
    let after = settled(store).await;
    (outcome, covered(store, before, after).await)
}

pub(super) async fn a_change_is_kept_noted_and_may_be_repeated(world: World) {
    let store = &world.store;
    let record = issue(store, token("ada")).await;
    let metadata = BTreeMap::from([("team".to_owned(), "m\u{e9}tier".to_owned())]);
    let wanted = TokenChange {
        display_name: Some("n\u{e9}w".to_owned()),
        scopes: Some(vec![]),
        metadata: Some(metadata.clone()),
        ..change(&record)
    };
    let (outcome, noted) = noted_of(store, store.update(wanted.clone())).await;
    let (changed, revocation) = outcome.expect("changed");
    let id = record.digest.token_id();
    assert_eq!(noted, [Ended::Token(id)], "no trigger sees what is written on a token");
    assert_eq!((revocation.count, &revocation.ended[..]), (0, &[id][..]));
    let label = Label { display_name: "n\u{e9}w".to_owned(), scopes: vec![], metadata, ..record.label.clone() };
    assert_eq!(changed, TokenRecord { label, ..record.clone() });
    assert_eq!(find_token(store, record.digest).await, changed);
    assert_eq!(store.get(id).await.expect("a record"), changed);

    let (outcome, noted) = noted_of(store, store.update(wanted)).await;
    let (again, revocation) = outcome.expect("no error");
    assert_eq!((again, noted, revocation.ended), (changed, vec![], vec![id]), "a retry still tells caches");

    let unknown = TokenChange { token: token("ada").digest.token_id(), ..change(&record) };
    assert!(matches!(store.update(unknown).await, Err(Error::NotFound(Subject::Token))));
    store.revoke(Target::Digest(record.digest), ending()).await.expect("revoked");
    assert!(matches!(store.update(change(&record)).await, Err(Error::TokenEnded)));
    assert_eq!(store.get(id).await.expect("a record").label.display_name, "n\u{e9}w", "it is kept after the end");
}

pub(super) async fn an_end_is_moved_either_way_and_no_ended_token_brought_back(world: World) {
    let store = &world.store;
    let record = issue(store, token("ada")).await;
    let id = record.digest.token_id();
    for expiry in [Some(later(90)), Some(later(5)), None, Some(later(-5))] {
        let (outcome, noted) = noted_of(store, store.update(ends(&record, expiry))).await;
        let (changed, revocation) = outcome.expect("changed");
        assert!(!noted.is_empty() && noted.iter().all(|ended| *ended == Ended::Token(id)), "{noted:?}");
        assert_eq!(changed.expiry, expiry);
        assert_eq!(revocation.count, u64::from(expiry == Some(later(-5))), "{expiry:?}");
        assert_eq!(find_token(store, record.digest).await, changed);
    }
    let gone = find_token(store, record.digest).await;
    assert_eq!(gone.state(now()), TokenState::Expired);
    for back in [Some(later(5)), None] {
        assert!(matches!(store.update(ends(&record, back)).await, Err(Error::TokenEnded)), "{back:?}");
    }
    let (again, _) = store.update(ends(&record, Some(later(-5)))).await.expect("a retry");
    assert_eq!(again, gone);
    let named = TokenChange { display_name: Some("late".to_owned()), ..change(&record) };
    assert_eq!(store.update(named).await.expect("it stays ended").0.label.display_name, "late");
}

pub(super) async fn use_does_not_move_an_end_that_was_set(world: World) {
    let store = &world.store;
    let extend = async |record: &TokenRecord| {
        let from = record.expiry.expect("an end");
        store.extend(Extension::of(record.digest.into(), record, from, later(600))).await.expect("no error")
    };
    let (one, two, three) =
        (issue(store, token("ada")).await, issue(store, token("ada")).await, issue(store, token("ada")).await);
    let (set, _) = store.update(ends(&one, Some(later(5)))).await.expect("changed");
    assert_eq!(extend(&set).await, Extended::Unmoved, "an administrator gave it its end");
    let rotated = rotate(store, &two, Some(later(5))).await.expect("rotated");
    assert_eq!(extend(&rotated.superseded).await, Extended::Unmoved, "it has a successor");
    let named = TokenChange { display_name: Some("n".to_owned()), ..change(&three) };
    let (named, _) = store.update(named).await.expect("changed");
    assert_eq!(extend(&named).await, Extended::Moved, "its end was left alone");
    assert_eq!(extend(&rotated.successor).await, Extended::Moved);
}

pub(super) async fn a_successor_takes_over_and_the_old_token_ends_after_the_overlap(world: World) {
    let store = &world.store;
    let record = issue(store, token("ada")).await;
    let id = record.digest.token_id();
    let (outcome, noted) = noted_of(store, rotate(store, &record, Some(later(5)))).await;
    let Rotated { successor, superseded, first, revocation } = outcome.expect("rotated");
    assert!(!noted.is_empty() && noted.iter().all(|ended| *ended == Ended::Token(id)), "{noted:?}");
    assert_eq!((first, revocation.count, &revocation.ended[..]), (None, 0, &[id][..]));
    assert_eq!(superseded, TokenRecord { expiry: Some(later(5)), ..record.clone() });
    assert_eq!(find_token(store, record.digest).await, superseded);
    let label = Label { hint: "new".to_owned(), ..record.label.clone() };
    let expiry = Some(now() + (record.expiry.expect("an end") - record.created));
    assert_eq!((&successor.user, &successor.label, successor.expiry), (&record.user, &label, expiry));
    assert_eq!(find_token(store, successor.digest).await, successor);
    assert!(matches!(rotate(store, &record, Some(later(5))).await, Err(Error::TokenEnded)), "it has a successor");

    let next = rotate(store, &successor, Some(later(500))).await.expect("rotated");
    assert_eq!(next.superseded.expiry, successor.expiry, "it ends earlier by itself");
    let last = rotate(store, &next.successor, None).await.expect("rotated");
    assert_eq!((last.superseded.revoked, last.revocation.count), (Some(now()), 1));
    assert_eq!(find(store, next.successor.digest).await, Found::Revoked);
    let issuers = "SELECT issuer FROM tokenward_token_detail ORDER BY issuer";
    let issuers: Vec<Option<String>> =
        world.query(issuers).await.iter().map(|row| row.try_get_by_index(0).expect("text")).collect();
    assert_eq!(issuers.iter().flatten().collect::<Vec<_>>(), ["admin", "admin", "admin", "gateway"]);
    let reason = format!(
        "SELECT revocation_reason FROM tokenward_token_detail WHERE digest = '{}'",
        next.successor.digest.to_hex()
    );
    assert_eq!(world.text(&reason).await.as_deref(), Some("superseded"));
    assert!(matches!(rotate(store, &next.successor, None).await, Err(Error::TokenEnded)));
    let unknown = rotation(token("ada").digest.token_id(), None, None);
    assert!(matches!(store.rotate(unknown).await, Err(Error::NotFound(Subject::Token))));
    let expired = issue(store, NewToken { expiry: Some(later(-1)), ..token("ada") }).await;
    assert!(matches!(rotate(store, &expired, None).await, Err(Error::TokenEnded)));
    let change = UserChange { id: user("ada"), active: Some(false), attributes: None };
    store.upsert_user(change).await.expect("disabled");
    assert!(matches!(rotate(store, &last.successor, None).await, Err(Error::UserDisabled)));
}

pub(super) async fn a_repeated_rotation_gets_the_first_successor_and_no_limit_counts(world: World) {
    let store = world.reopen(|config| config.tokens.limit_per_user = 1).await;
    let record = issue(&store, token("ada")).await;
    let id = record.digest.token_id();
    for until in [Some(later(5)), None] {
        let name = if until.is_some() { 1 } else { 2 };
        let current =
            if until.is_some() { id } else { live(&store, "ada").await.pop().expect("one").digest.token_id() };
        let calls = (0..6).map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.rotate(rotation(current, until, Some(request(name, 1)))).await })
        });
        let mut successors = vec![];
        for call in calls.collect::<Vec<_>>() {
            let rotated = call.await.expect("no panic").expect("rotated, whoever came first");
            assert_eq!(rotated.superseded.digest.token_id(), current);
            assert_eq!(rotated.superseded.revoked.is_some(), until.is_none());
            assert!(rotated.revocation.ended.contains(&current), "a retry still tells caches");
            successors.push(rotated.successor.digest);
        }
        successors.dedup();
        assert_eq!(successors.len(), 1, "one successor");
        let other = store.rotate(rotation(current, until, Some(request(name, 9)))).await;
        assert!(matches!(other, Err(Error::RequestIdReused)), "{other:?}");
        let foreign = store.insert(NewToken { request: Some(request(name, 3)), ..token("bob") }).await;
        assert!(matches!(foreign, Err(Error::RequestIdReused)), "{foreign:?}");
        // `live` gives the newest first, and they were issued at one moment: the superseded one goes.
        if until.is_some() {
            store.revoke(Target::Id(id), ending()).await.expect("revoked");
        }
    }
    assert_eq!(live(&store, "ada").await.len(), 1);
}

/// A rotation comes before `RevokeAll`, which ends the successor too, or after, and finds nothing to rotate.
pub(super) async fn a_rotation_that_meets_revoke_all_leaves_no_token_behind(world: World) {
    for round in 0..10 {
        let record = issue(&world.store, token("ada")).await;
        let until = (round % 2 == 0).then(|| later(5));
        let rotating = tokio::spawn({
            let (store, record) = (world.store.clone(), record.clone());
            async move { rotate(&store, &record, until).await }
        });
        world.store.revoke_all(user("ada"), None, ending()).await.expect("revoked");
        let rotated = rotating.await.expect("no panic");
        assert!(matches!(rotated, Ok(_) | Err(Error::TokenEnded)), "round {round}: {rotated:?}");
        assert_eq!(live(&world.store, "ada").await, [], "round {round}");
    }
}

/// Scopes that were taken away while a rotation was under way do not come back with the successor.
pub(super) async fn a_change_that_meets_a_rotation_is_the_successor_s_or_is_refused(world: World) {
    for round in 0..10 {
        let record = issue(&world.store, token("ada")).await;
        let narrowing = tokio::spawn({
            let (store, narrowed) = (world.store.clone(), TokenChange { scopes: Some(vec![]), ..change(&record) });
            async move { store.update(narrowed).await }
        });
        let rotated = rotate(&world.store, &record, None).await.expect("rotated");
        let scopes = rotated.successor.label.scopes;
        match narrowing.await.expect("no panic") {
            Ok(_) => assert_eq!(scopes, [""; 0], "round {round}"),
            Err(Error::TokenEnded) => assert_eq!(scopes, record.label.scopes, "round {round}"),
            Err(other) => panic!("round {round}: {other}"),
        }
    }
}

pub(super) async fn tokens_that_django_wrote_are_changed_and_rotated(world: World) {
    let store = django(&world, "integer", "7").await;
    let digest = insert_as_django(&world, "7").await;
    let record = find_token(&store, digest).await;
    let named = TokenChange { scopes: Some(vec!["read".to_owned()]), ..ends(&record, Some(later(60))) };
    let (changed, _) = store.update(named).await.expect("changed");
    assert_eq!((&changed.label.scopes[..], changed.expiry), (&["read".to_owned()][..], Some(later(60))));
    assert_eq!(find_token(&store, digest).await, changed);
    let rotated = rotate(&store, &changed, Some(later(5))).await.expect("rotated");
    assert_eq!(rotated.successor.label.scopes, ["read"]);
    let rows = "SELECT digest FROM knox_authtoken";
    assert_eq!(world.query(rows).await.len(), 2, "Django sees both");
    assert_eq!(find_token(&store, digest).await.expiry, Some(later(5)));
    assert_eq!(store.users(UserQuery { after: None, limit: 9 }).await.expect("users")[0].id.as_str(), "7");
}

pub(super) async fn last_uses_are_written_forward_and_once_a_minute(world: World) {
    let store = &world.store;
    let records = [issue(store, token("ada")).await, issue(store, token("ada")).await];
    let unknown = token("ada").digest;
    let used = |seconds: i64| {
        let at = |digest| Used { digest, at: now() + TimeDelta::seconds(seconds) };
        vec![at(records[0].digest), at(unknown), at(records[1].digest)]
    };
    let (outcome, noted) = noted_of(store, store.note_used(used(10))).await;
    assert_eq!((outcome.expect("noted"), noted), (2, vec![]), "and no answer depends on it");
    for (seconds, written, last) in [(10, 0, 10), (55, 0, 10), (70, 2, 70), (5, 0, 70)] {
        assert_eq!(store.note_used(used(seconds)).await.expect("noted"), written, "{seconds} s");
        for record in &records {
            let kept = store.get(record.digest.token_id()).await.expect("a record").last_used;
            assert_eq!(kept, Some(now() + TimeDelta::seconds(last)), "{seconds} s");
        }
    }
    let many: Vec<_> = (0..600).map(|_| Used { digest: token("ada").digest, at: later(9) }).collect();
    let both = records.iter().map(|record| Used { digest: record.digest, at: later(9) });
    assert_eq!(store.note_used(many.into_iter().chain(both).collect()).await.expect("noted"), 2);
}

pub(super) async fn users_are_listed_page_by_page_and_outdated_one_by_one(world: World) {
    let store = &world.store;
    for id in ["b", "a", "\u{e4}", "B", "c"] {
        store.upsert_user(UserChange { id: user(id), active: None, attributes: None }).await.expect("a user");
    }
    let (mut all, mut after) = (vec![], None);
    loop {
        let page = store.users(UserQuery { after, limit: 2 }).await.expect("users");
        let Some(last) = page.last() else { break };
        after = Some(last.id.clone());
        all.extend(page.into_iter().map(|user| user.id.to_string()));
    }
    assert_eq!(all, ["B", "a", "b", "c", "\u{e4}"], "by bytes");

    let record = issue(store, token("a")).await;
    let (outcome, noted) = noted_of(store, store.outdate(user("a"))).await;
    assert_eq!(noted, [Ended::User(user("a"))]);
    assert_eq!(outcome.expect("noted").ended, [record.digest.token_id()]);
    assert_eq!(find_token(store, record.digest).await, record, "nothing ended");
}

/// A page goes on where the one before ended, whatever was added or removed meanwhile.
pub(super) async fn pages_are_stable_while_tokens_come_and_go(world: World) {
    let store = &world.store;
    let mut kept = vec![];
    for index in 0..20 {
        let created = now() + TimeDelta::seconds(index);
        kept.push(issue(store, NewToken { created, expiry: None, ..token("ada") }).await);
    }
    kept.reverse();
    let (mut seen, mut after, mut step) = (vec![], None, 0);
    loop {
        let query = TokenQuery { user: user("ada"), states: vec![TokenState::Active], now: later(1), after, limit: 3 };
        let page = store.list(query).await.expect("a page");
        let Some(last) = page.last() else { break };
        after = Some(crate::domain::Cursor { created: last.created, digest: last.digest });
        // The last one of the page goes, which the next page begins after.
        store.revoke(Target::Digest(last.digest), ending()).await.expect("revoked");
        let created = now() + TimeDelta::seconds(100 + step);
        issue(store, NewToken { created, expiry: None, ..token("ada") }).await;
        seen.extend(page);
        step += 1;
    }
    assert_eq!(seen, kept, "each once and in order, and none that came after the first page");
}

async fn live(store: &Database, owner: &str) -> Vec<TokenRecord> {
    let query = TokenQuery { user: user(owner), states: vec![TokenState::Active], now: now(), after: None, limit: 100 };
    store.list(query).await.expect("a page")
}
