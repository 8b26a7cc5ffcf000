//! Changing and rotating tokens, listing users, and looking into the caches.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use nix::sys::signal::Signal;
use prost_types::FieldMask;
use tokenward::proto::{
    AnswerSource, AuthenticateRequest, CacheEntryState, FlushCacheRequest, GetCacheStatsRequest, GetTokenRequest,
    InactiveReason, InspectCacheRequest, InspectCacheResponse, IssueTokenRequest, ListUsersRequest, PropagationState,
    RotateTokenRequest, RotateTokenResponse, Token, TokenState, UpdateTokenRequest, UpdateTokenResponse, User,
    inspect_cache_request::Target,
};
use tonic::{Code, Response, Status};

use super::{assert_active, hit};
use crate::harness::{
    client::{Client, Issued, Refusal, about, for_user, now, seconds},
    eventually::eventually,
    stack::{On, Stack, With},
};

async fn update(client: &Client, token: Token, paths: &[&str]) -> Result<UpdateTokenResponse, Status> {
    let update_mask = Some(FieldMask { paths: paths.iter().map(|&path| path.to_owned()).collect() });
    let request = UpdateTokenRequest { token: Some(token), update_mask };
    client.admin.clone().update_token(request).await.map(Response::into_inner)
}

async fn rotate(client: &Client, token: &Issued, overlap: Option<u64>) -> Result<RotateTokenResponse, Status> {
    let overlap = overlap.map(|seconds| Duration::from_secs(seconds).try_into().expect("it is short"));
    let request = RotateTokenRequest { token_id: token.token_id.clone(), overlap, request_id: String::new() };
    client.admin.clone().rotate_token(request).await.map(Response::into_inner)
}

fn named(token_id: &str) -> Token {
    Token { token_id: token_id.to_owned(), ..Token::default() }
}

pub(super) async fn a_change_is_seen_by_the_next_check(client: &Client, with: With) {
    let request = IssueTokenRequest { scopes: vec!["read".to_owned(), "write".to_owned()], ..for_user("changed") };
    let issued: Issued = client.try_issue(request).await.expect("a token can be issued").into();
    client.hit(&issued.secret, hit(with)).await;
    let wanted = Token {
        display_name: "renamed".to_owned(),
        scopes: vec!["read".to_owned()],
        metadata: HashMap::from([("team".to_owned(), "a".to_owned())]),
        ..named(&issued.token_id)
    };
    let changed = update(client, wanted.clone(), &["scopes", "metadata"]).await.expect("it can be changed");
    assert!(changed.propagation.is_some() && !changed.revision.is_empty());
    let token = changed.token.expect("a record");
    assert_eq!((&token.display_name[..], &token.scopes, &token.metadata), ("", &wanted.scopes, &wanted.metadata));
    let answer = client.authenticate(&issued.secret).await;
    assert_eq!(answer.token, Some(token.clone()), "no answer of before");
    let needs = AuthenticateRequest { required_scopes: vec!["write".to_owned()], ..about(&issued.secret) };
    let answer = client.try_authenticate(needs).await.expect("the service can tell");
    assert_eq!(answer.inactive_reason(), InactiveReason::ScopeMissing);

    let all = update(client, wanted.clone(), &["*"]).await;
    assert_eq!(Refusal::of(&all.expect_err("no end")).fields, ["token.expire_time"], "* means the end too");
    let all = update(client, Token { expire_time: token.expire_time, ..wanted.clone() }, &["*"]).await;
    assert_eq!(all.expect("it can be changed").token.expect("a record").display_name, "renamed");

    let past = Some(prost_types::Timestamp { seconds: 1_000_000_000, nanos: 0 });
    let ended = update(client, Token { expire_time: past, ..named(&issued.token_id) }, &["expire_time"]).await;
    assert_eq!(ended.expect("it can end").token.expect("a record").state(), TokenState::Expired);
    assert_eq!(client.reason(&issued.secret).await, InactiveReason::Expired);
    let back = update(client, Token { expire_time: token.expire_time, ..wanted }, &["expire_time"]).await;
    assert_eq!(Refusal::of(&back.expect_err("it has ended")).kind(), (Code::FailedPrecondition, "TOKEN_ENDED"));
}

pub(super) async fn what_cannot_be_changed_is_refused_by_its_path(client: &Client) {
    let issued = client.issue("masked").await;
    for (paths, fields) in [
        (&[][..], &["update_mask"][..]),
        (&["display_name", "user_id", "colour"], &["update_mask.paths[1]", "update_mask.paths[2]"]),
        (&["*", "scopes"], &["update_mask"]),
        (&["metadata.team"], &["update_mask.paths[0]"]),
        (&["DISPLAY_NAME"], &["update_mask.paths[0]"]),
        (&["hint"], &["update_mask.paths[0]"]),
    ] {
        let refused = Refusal::of(&update(client, named(&issued.token_id), paths).await.expect_err("it is refused"));
        assert_eq!(refused.kind(), (Code::InvalidArgument, "INVALID_REQUEST"), "{paths:?}");
        assert_eq!(refused.fields, fields, "{paths:?}");
    }
    let bad = Token { display_name: "x".repeat(129), scopes: vec!["a b".to_owned()], ..named("?") };
    let refused = Refusal::of(&update(client, bad, &["display_name", "scopes"]).await.expect_err("it is refused"));
    assert_eq!(refused.fields, ["token.token_id", "token.display_name", "token.scopes"], "all at once");
    let none = client.admin.clone().update_token(UpdateTokenRequest::default()).await.expect_err("no token");
    assert_eq!(Refusal::of(&none).fields, ["token"]);
    let unknown = update(client, named(&"0".repeat(32)), &["scopes"]).await.expect_err("no such token");
    assert_eq!(Refusal::of(&unknown).kind(), (Code::NotFound, "NOT_FOUND"));
    client.revoke(&issued.secret).await;
    let revoked = update(client, named(&issued.token_id), &["scopes"]).await.expect_err("it has ended");
    assert_eq!(Refusal::of(&revoked).kind(), (Code::FailedPrecondition, "TOKEN_ENDED"));
}

pub(super) async fn a_rotation_without_overlap_ends_the_old_token(client: &Client, with: With) {
    let issued = client.issue("rotated").await;
    client.hit(&issued.secret, hit(with)).await;
    let request = RotateTokenRequest {
        token_id: issued.token_id.clone(),
        request_id: "2b1c5d3e-6f70-4a81-9b92-a3b4c5d6e7f8".to_owned(),
        ..RotateTokenRequest::default()
    };
    let first = client.admin.clone().rotate_token(request.clone()).await.expect("it is rotated").into_inner();
    assert_eq!(client.reason(&issued.secret).await, InactiveReason::Revoked);
    assert_active(client, &first.secret).await;
    let old = first.superseded.clone().expect("the old token");
    assert_eq!((&old.token_id, old.state()), (&issued.token_id, TokenState::Revoked));
    let again = client.admin.clone().rotate_token(request.clone()).await.expect("a retry").into_inner();
    assert_eq!((&again.secret, &again.token, &again.superseded), (&first.secret, &first.token, &first.superseded));
    let other = RotateTokenRequest { overlap: Some(prost_types::Duration { seconds: 1, nanos: 0 }), ..request };
    let refused = client.admin.clone().rotate_token(other).await.expect_err("another request");
    assert_eq!(Refusal::of(&refused).kind(), (Code::AlreadyExists, "REQUEST_ID_REUSED"));
    let refused = rotate(client, &issued, None).await.expect_err("it has ended");
    assert_eq!(Refusal::of(&refused).kind(), (Code::FailedPrecondition, "TOKEN_ENDED"));
    let minus = RotateTokenRequest {
        token_id: "?".to_owned(),
        overlap: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
        request_id: "x".to_owned(),
    };
    let refused = Refusal::of(&client.admin.clone().rotate_token(minus).await.expect_err("it is refused"));
    assert_eq!(refused.fields, ["token_id", "overlap", "request_id"]);
}

pub(super) async fn users_are_listed_page_by_page(client: &Client) {
    for id in ["page-1", "page-2", "page-3"] {
        client.upsert_user(User { user_id: id.to_owned(), active: true, attributes: HashMap::new() }).await;
    }
    let (mut request, mut all) = (ListUsersRequest { page_size: 2, ..ListUsersRequest::default() }, Vec::new());
    loop {
        let page = client.users.clone().list_users(request.clone()).await.expect("users are listed").into_inner();
        assert!(page.users.len() <= 2);
        all.extend(page.users.into_iter().map(|user| user.user_id));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert!(all.is_sorted() && all.windows(2).all(|pair| pair[0] != pair[1]), "{all:?}");
    assert_eq!(all.iter().filter(|user| user.starts_with("page-")).count(), 3);
    let bad = ListUsersRequest { page_size: 1001, page_token: "x".to_owned() };
    let refused = Refusal::of(&client.users.clone().list_users(bad).await.expect_err("it is refused"));
    assert_eq!(refused.fields, ["page_size", "page_token"]);
}

async fn inspect(client: &Client, target: Target) -> InspectCacheResponse {
    let request = InspectCacheRequest { target: Some(target) };
    client.cache.clone().inspect_cache(request).await.expect("it can be looked at").into_inner()
}

pub(super) async fn the_caches_can_be_looked_at(client: &Client, with: With) {
    let (issued, other) = (client.issue("looked-at").await, client.issue("looked-past").await);
    let tier = if with == With::Redis { "redis" } else { "memory" };
    let state = async |target| {
        let seen = inspect(client, target).await;
        assert_eq!(seen.token_id, issued.token_id);
        let entry = seen.entries.into_iter().find(|entry| entry.tier == tier).expect("this cache is there");
        assert_eq!(entry.usable, entry.cause.is_empty());
        entry
    };
    let targets = || [Target::Token(issued.secret.clone()), Target::TokenId(issued.token_id.clone())];
    for target in targets() {
        assert_eq!(state(target).await.state(), CacheEntryState::Absent);
    }
    client.hit(&issued.secret, hit(with)).await;
    client.hit(&other.secret, hit(with)).await;
    for target in targets() {
        let entry = state(target).await;
        assert!(entry.state() == CacheEntryState::Fact && entry.usable, "{entry:?}");
        assert!(!entry.revision.is_empty() && entry.read_time.is_some(), "{entry:?}");
        assert_eq!(entry.token.expect("a record").token_id, issued.token_id);
        assert_eq!(entry.user.expect("a user").user_id, "looked-at");
        assert_eq!(entry.remaining.is_some(), with == With::Redis);
    }
    let before = client.cache.clone().get_cache_stats(GetCacheStatsRequest {}).await.expect("counts").into_inner();
    let flush = FlushCacheRequest { user_id: "looked-at".to_owned() };
    let flushed = client.cache.clone().flush_cache(flush).await.expect("flushed").into_inner();
    assert!(flushed.propagation.is_some() && !flushed.revision.is_empty());
    for target in targets() {
        let entry = state(target).await;
        assert!(entry.state() == CacheEntryState::Tombstone && !entry.usable, "{entry:?}");
    }
    let answer = client.authenticate(&issued.secret).await;
    assert_eq!((answer.active, answer.source()), (true, AnswerSource::Database));
    assert_eq!(client.authenticate(&other.secret).await.source(), hit(with), "another user's is left alone");
    let after = client.cache.clone().get_cache_stats(GetCacheStatsRequest {}).await.expect("counts").into_inner();
    assert_eq!(after.cache_kind, if with == With::Redis { "redis" } else { "memory" });
    let hits = |stats: &tokenward::proto::GetCacheStatsResponse| {
        stats.hits.map(|hits| hits.memo + hits.memory + hits.redis).expect("counts")
    };
    assert_eq!((hits(&after) - hits(&before), after.misses - before.misses), (1, 1), "a look is no look-up");
    assert!(after.hit_rate > 0.0 && after.hit_rate < 1.0 && after.start_time.is_some(), "{after:?}");
    assert_eq!(
        (after.memory_entries.is_some(), after.redis_keys.is_some()),
        (with == With::Memory, with == With::Redis)
    );

    let unknown = inspect(client, Target::TokenId("0".repeat(32))).await;
    assert!(unknown.entries.iter().all(|entry| !entry.usable), "{unknown:?}");
    let wrong = "0".repeat(64);
    assert_eq!(client.reason(&wrong).await, InactiveReason::Unknown);
    let memo = inspect(client, Target::Token(wrong)).await.entries.remove(0);
    assert_eq!((memo.tier.as_str(), memo.state(), memo.usable), ("memo", CacheEntryState::NotActive, true));
}

/// A token that is used now.
pub(super) async fn used(client: &Client) -> (Issued, f64) {
    let (issued, before) = (client.issue("used").await, now());
    assert_active(client, &issued.secret).await;
    (issued, before)
}

pub(super) async fn the_last_use_is_kept(client: &Client, (issued, before): (Issued, f64)) {
    let get = || GetTokenRequest { token_id: issued.token_id.clone() };
    let kept = async || {
        let token = client.admin.clone().get_token(get()).await.expect("it is there").into_inner().token;
        token.expect("a record").last_used_time
    };
    let used = eventually("its last use is written", kept).await;
    assert!((before - 60.0..=now() + 1.0).contains(&seconds(Some(used))), "{used}");
}

/// Who switches to the new secret at any moment of the overlap is never refused with either.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_with_overlap_has_no_gap() {
    let stack = Stack::start(On::Postgres, With::Redis).await;
    let other = stack.another_server().await;
    let (here, there) = (stack.client(), other.client());
    let mut current = here.issue("rotating").await;
    let (done, checks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    for _ in 0..3 {
        done.store(false, Ordering::SeqCst);
        let load = |client: &Client, secret: String| {
            let (client, done, checks) = (client.clone(), Arc::clone(&done), Arc::clone(&checks));
            tokio::spawn(async move {
                while !done.load(Ordering::SeqCst) {
                    let answer = client.authenticate(&secret).await;
                    assert!(answer.active, "{answer:?}");
                    checks.fetch_add(1, Ordering::SeqCst);
                }
            })
        };
        let mut loads = vec![load(&here, current.secret.clone()), load(&there, current.secret.clone())];
        let rotated = rotate(&here, &current, Some(600)).await.expect("it is rotated");
        let (old, new) = (rotated.superseded.expect("the old one"), rotated.token.expect("the new one"));
        let left = seconds(old.expire_time) - now();
        assert!((500.0..=605.0).contains(&left), "{left}");
        loads.extend([load(&there, rotated.secret.clone()), load(&here, rotated.secret.clone())]);
        let before = checks.load(Ordering::SeqCst);
        let more = async || (checks.load(Ordering::SeqCst) > before + 200).then_some(());
        eventually("both are checked", more).await;
        done.store(true, Ordering::SeqCst);
        for load in loads {
            load.await.expect("neither was refused");
        }
        current = Issued { secret: rotated.secret, token_id: new.token_id };
    }
}

/// The end that an overlap gives to a token is its end, on every replica, also where use moves ends.
#[tokio::test(flavor = "multi_thread")]
async fn the_old_token_ends_with_the_overlap_even_if_it_is_used() {
    let settings = [("TOKENWARD_TOKENS__AUTO_REFRESH", "true"), ("TOKENWARD_TOKENS__REFRESH_INTERVAL", "1s")];
    let stack = Stack::start_with(On::Postgres, With::Redis, &settings).await;
    let other = stack.another_server().await;
    let (here, there) = (stack.client(), other.client());
    let issued = here.issue("rotating").await;
    there.hit(&issued.secret, AnswerSource::SharedCache).await;
    let rotated = rotate(&here, &issued, Some(1)).await.expect("it is rotated");
    let ends = async || {
        assert_active(&there, &rotated.secret).await;
        (there.reason(&issued.secret).await == InactiveReason::Expired).then_some(())
    };
    eventually("the old token ends although it is used", ends).await;
}

/// What answers carry of a token is as current as its revocation: a fact from before is used by nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_is_complete_is_seen_on_every_replica() {
    let stack = Stack::start(On::Postgres, With::Redis).await;
    let other = stack.another_server().await;
    let (here, there) = (stack.client(), other.client());
    for round in 0..10 {
        let issued = here.issue("narrowed").await;
        there.hit(&issued.secret, AnswerSource::SharedCache).await;
        let wanted = Token { scopes: vec![format!("round-{round}")], ..named(&issued.token_id) };
        let changed = update(&here, wanted.clone(), &["scopes"]).await.expect("it can be changed");
        assert_eq!(changed.propagation.expect("it is told").state(), PropagationState::Complete);
        let needs = AuthenticateRequest { required_scopes: wanted.scopes.clone(), ..about(&issued.secret) };
        let answer = there.try_authenticate(needs).await.expect("the service can tell");
        assert_eq!(answer.token.map(|token| token.scopes), Some(wanted.scopes), "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_use_is_written_when_the_service_ends() {
    let mut stack = Stack::start(On::Postgres, With::Memory).await;
    let (issued, before) = used(&stack.client()).await;
    stack.server.signal(Signal::SIGTERM);
    let (exit, _) = stack.server.exit(Duration::from_secs(20)).await;
    assert!(exit.success(), "{exit}");
    let next = stack.another_server().await;
    let get = GetTokenRequest { token_id: issued.token_id };
    let token = next.client().admin.get_token(get).await.expect("it is there").into_inner().token.expect("a record");
    let last = seconds(token.last_used_time);
    assert!((before - 60.0..=now() + 1.0).contains(&last), "{last}");
}
