//! What is done, and what goes wrong.

use prost::Message as _;
use tokenward::proto::{
    AuthenticateRequest, BatchAuthenticateRequest, Consistency, DeleteUserRequest, FlushCacheRequest,
    GetCacheStatsRequest, GetTokenRequest, GetUserRequest, InspectCacheRequest, IssueTokenRequest, ListTokensRequest,
    ListUsersRequest, RevokeAllRequest, RevokeRequest, RotateTokenRequest, Token, UpdateTokenRequest,
    UpsertUserRequest, User, WatchRevocationsRequest, inspect_cache_request::Target as Inspected,
    revoke_all_request::Except, revoke_request::Target,
};
use tonic::Status;

use super::{ADMIN, DATABASE, GATEWAY, MISTAKE, REDIS, Scene, WRONG_KEY, WRONG_PASSWORD, with_key};
use crate::harness::{
    client::{Issued, about},
    eventually::eventually,
    raw::Call,
    relay::Fault,
    server::{directory, setting},
};

const AUTHENTICATE: &str = "/tokenward.v1.TokenService/Authenticate";

/// All that an answer or a refusal carries.
pub(super) fn said<T: std::fmt::Debug>(outcome: &Result<tonic::Response<T>, Status>) -> Vec<u8> {
    match outcome {
        Ok(answer) => format!("{answer:?}").into_bytes(),
        Err(status) => [format!("{status:?}").as_bytes(), b" ", status.details()].concat(),
    }
}

/// Every method, as it is meant to be used.
pub(super) async fn calls(scene: &mut Scene) {
    let request_id = "3c1f6f0e-52a7-4be0-9d0f-64c3a1f5b0aa".to_owned();
    let more = IssueTokenRequest { request_id, scopes: vec!["read".to_owned()], ..IssueTokenRequest::default() };
    let alice = scene.issue("alice", more.clone()).await;
    // The same request again, whose secret has been kept sealed.
    scene.issue("alice", more).await;
    let (bob, carol) = (
        scene.issue("bob", IssueTokenRequest::default()).await,
        scene.issue("carol", IssueTokenRequest::default()).await,
    );
    for round in 0..20 {
        for consistency in [Consistency::MinimizeLatency, Consistency::Shared, Consistency::FullyConsistent] {
            let request = AuthenticateRequest { consistency: consistency.into(), ..about(&alice.secret) };
            let answer = scene
                .client
                .tokens
                .clone()
                .authenticate(with_key(request, if round % 2 == 0 { ADMIN } else { GATEWAY }))
                .await;
            scene.note("Authenticate", said(&answer));
        }
    }
    let requests = [&alice, &bob, &carol].map(|token| about(&token.secret)).to_vec();
    let (mut tokens, mut admin, mut users) =
        (scene.client.tokens.clone(), scene.client.admin.clone(), scene.client.users.clone());
    let answer = tokens.batch_authenticate(with_key(BatchAuthenticateRequest { requests }, ADMIN)).await;
    scene.note("BatchAuthenticate", said(&answer));
    let answer = admin.get_token(with_key(GetTokenRequest { token_id: alice.token_id.clone() }, ADMIN)).await;
    scene.note("GetToken", said(&answer));
    let token = Some(Token { token_id: bob.token_id.clone(), display_name: "phone".to_owned(), ..Token::default() });
    let update_mask = Some(prost_types::FieldMask { paths: vec!["display_name".to_owned()] });
    let update = UpdateTokenRequest { token, update_mask };
    scene.note("UpdateToken", said(&admin.update_token(with_key(update, ADMIN)).await));
    let rotate = RotateTokenRequest { token_id: bob.token_id.clone(), ..RotateTokenRequest::default() };
    let rotated = admin.rotate_token(with_key(rotate, ADMIN)).await.expect("a token can be rotated").into_inner();
    scene.tokens.push(Issued { secret: rotated.secret, token_id: rotated.token.expect("it has a record").token_id });
    let list = ListTokensRequest { user_id: "alice".to_owned(), page_size: 1, ..ListTokensRequest::default() };
    scene.note("ListTokens", said(&admin.list_tokens(with_key(list, ADMIN)).await));
    let user = User { user_id: "bob".to_owned(), active: true, ..User::default() };
    let change = UpsertUserRequest { user: Some(user), update_mask: None };
    scene.note("UpsertUser", said(&users.upsert_user(with_key(change, ADMIN)).await));
    scene.note("GetUser", said(&users.get_user(with_key(GetUserRequest { user_id: "bob".to_owned() }, ADMIN)).await));
    scene.note("ListUsers", said(&users.list_users(with_key(ListUsersRequest::default(), ADMIN)).await));
    for target in [Inspected::Token(alice.secret.clone()), Inspected::TokenId(alice.token_id.clone())] {
        let inspect = InspectCacheRequest { target: Some(target) };
        let answer = scene.client.cache.clone().inspect_cache(with_key(inspect, ADMIN)).await;
        scene.note("InspectCache", said(&answer));
    }
    let stats = scene.client.cache.clone().get_cache_stats(with_key(GetCacheStatsRequest {}, ADMIN)).await;
    scene.note("GetCacheStats", said(&stats));
    let watch = admin.watch_revocations(with_key(WatchRevocationsRequest::default(), ADMIN)).await;
    let mut ends = watch.expect("it can be followed").into_inner();
    let revoke = RevokeRequest { target: Some(Target::Token(carol.secret.clone())), ..RevokeRequest::default() };
    scene.note("Revoke", said(&tokens.revoke(with_key(revoke, ADMIN)).await));
    let except = Some(Except::ExceptToken(alice.secret.clone()));
    let all = RevokeAllRequest { user_id: "alice".to_owned(), except, ..RevokeAllRequest::default() };
    scene.note("RevokeAll", said(&tokens.revoke_all(with_key(all, ADMIN)).await));
    for _ in 0..2 {
        let told = ends.message().await;
        scene.note("WatchRevocations", format!("{told:?}"));
    }
    let delete = DeleteUserRequest { user_id: "bob".to_owned() };
    scene.note("DeleteUser", said(&users.delete_user(with_key(delete, ADMIN)).await));
    let flush = scene.client.cache.clone().flush_cache(with_key(FlushCacheRequest::default(), ADMIN)).await;
    scene.note("FlushCache", said(&flush));
}

/// A token or a key where it does not belong.
pub(super) async fn refusals(scene: &mut Scene) {
    let token: Issued = scene.tokens[0].clone();
    let secret = token.secret.clone();
    let (mut tokens, mut admin) = (scene.client.tokens.clone(), scene.client.admin.clone());
    for wrong in [
        AuthenticateRequest { min_revision: secret.clone(), ..about(&secret) },
        AuthenticateRequest { consistency: 99, ..about(&secret) },
        AuthenticateRequest { required_scopes: vec!["missing".to_owned()], ..about(&secret) },
        about(&format!("Bearer {secret}")),
        about(&format!("{secret}\n")),
        about(&secret.repeat(9)),
    ] {
        scene.note("a wrong Authenticate", said(&tokens.authenticate(with_key(wrong, ADMIN)).await));
    }
    let get = GetTokenRequest { token_id: secret.clone() };
    scene.note("a token for a token_id", said(&admin.get_token(with_key(get, ADMIN)).await));
    let list =
        ListTokensRequest { user_id: "alice".to_owned(), page_token: secret.clone(), ..ListTokensRequest::default() };
    scene.note("a token for a page token", said(&admin.list_tokens(with_key(list, ADMIN)).await));
    let watch = WatchRevocationsRequest { start_revision: secret.clone() };
    let watched = admin.watch_revocations(with_key(watch, ADMIN)).await.map(|_| tonic::Response::new(()));
    scene.note("a token for a revision", said(&watched));
    let inspect = InspectCacheRequest { target: Some(Inspected::TokenId(secret.clone())) };
    let inspected = scene.client.cache.clone().inspect_cache(with_key(inspect, ADMIN)).await;
    scene.note("a token for a token_id", said(&inspected));
    let list = ListUsersRequest { page_token: secret.clone(), ..ListUsersRequest::default() };
    let listed = scene.client.users.clone().list_users(with_key(list, ADMIN)).await;
    scene.note("a token for a page token", said(&listed));
    let issue =
        IssueTokenRequest { user_id: "a".to_owned(), request_id: secret.clone(), ..IssueTokenRequest::default() };
    scene.note("a token for a request_id", said(&tokens.issue_token(with_key(issue, ADMIN)).await));
    let revoke = RevokeRequest { target: Some(Target::TokenId(secret.clone())), ..RevokeRequest::default() };
    scene.note("a token for a token_id", said(&tokens.revoke(with_key(revoke, ADMIN)).await));
    // Callers that are refused: a wrong key, a token for a key, a method that is not the caller's.
    for key in [WRONG_KEY, &secret] {
        scene.note("a wrong key", said(&tokens.authenticate(with_key(about(&secret), key)).await));
    }
    let revoke = RevokeRequest { target: Some(Target::Token(secret.clone())), ..RevokeRequest::default() };
    scene.note("not a gateway's", said(&tokens.revoke(with_key(revoke, GATEWAY)).await));
    // Bytes that are no message, with a token in them, and a key in another header.
    let message = about(&secret).encode_to_vec();
    let (bearer, url) = (format!("Bearer {ADMIN}"), scene.server.url().to_owned());
    for message in [&message[..message.len() - 1], &[&[0x0f], &message[..]].concat()] {
        let call = Call::new(AUTHENTICATE, message).header("authorization", &bearer).header("x-api-key", ADMIN);
        let status = call.send(&url).await;
        scene.note("no message", [format!("{status:?}").as_bytes(), status.details()].concat());
    }
    for headers in [[("authorization", ADMIN), ("x", "y")], [("authorization", &*bearer), ("authorization", &*bearer)]]
    {
        let call = headers
            .into_iter()
            .fold(Call::new(AUTHENTICATE, message.clone()), |call, (name, value)| call.header(name, value));
        let status = call.send(&url).await;
        scene.note("no credential", [format!("{status:?}").as_bytes(), status.details()].concat());
    }
}

/// Verbs, and settings that are wrong with a secret in them.
pub(super) fn commands(scene: &mut Scene) {
    let good = scene.settings.clone();
    for args in [
        &["config", "print"][..],
        &["config", "print", "--json"],
        &["config", "check"],
        &["migrate", "status"],
        &["prune", "--dry-run"],
        &["status"],
    ] {
        scene.run(&good, args);
    }
    let but = |name: &str, value: &str| -> Vec<_> {
        good.iter().filter(|(known, _)| known != name).cloned().chain([setting(name, value)]).collect()
    };
    let nobody = format!("postgres://nobody:{MISTAKE}@{}/tokenward", scene.postgres.relay.address());
    for settings in [
        but("TOKENWARD_DATABASE__URL", MISTAKE),
        but("TOKENWARD_DATABASE__URL", &format!("postgres//u:{MISTAKE}@h/d")),
        but("TOKENWARD_DATABASE__URL", &format!("oracle://u:{MISTAKE}@h/d")),
        but("TOKENWARD_DATABASE__URL", &format!("postgres://u:{MISTAKE}@127.0.0.1:1/d")),
        but("TOKENWARD_DATABASE__URL", &format!("postgres://u:p@127.0.0.1:1/d?sslmode={MISTAKE}")),
        but("TOKENWARD_DATABASE__URL", &nobody),
        but("TOKENWARD_REDIS__URL", MISTAKE),
        but("TOKENWARD_REDIS__URL", &format!("redis://:{MISTAKE}@h:port/zero")),
        but("TOKENWARD_CACHE__MAC_KEY", "short"),
        but("TOKENWARD_REDIS__PASSWORD_FILE", &format!("/nonexistent/{REDIS}")),
        but("TOKENWARD_LOG__FORMAT", MISTAKE),
        but("TOKENWARD_DATABASE__MAX_CONNECTIONS", MISTAKE),
        but(
            "TOKENWARD_CALLERS__FILE",
            scene.callers.path().join("admin.keys").to_str().expect("a test's path is text"),
        ),
    ] {
        // Not `serve` where it could succeed: it would not end.
        for args in [&["config", "check"][..], &["config", "print"], &["migrate", "status"]] {
            // A path is no secret, and is named when the file is not there.
            if !settings.iter().any(|(_, value)| value.starts_with("/nonexistent")) {
                scene.run(&settings, args);
            }
        }
    }
    for toml in [
        format!("[database]\nurl = \"{DATABASE}"),
        format!("[database]\nurl = {DATABASE}"),
        format!("[redis]\npassword = [\"{REDIS}\"]"),
        format!("[redis]\npassword = \"{REDIS}\"\npassword = \"{REDIS}\""),
        format!("[cache]\nmac_key = {{ key = \"{MISTAKE}\" }}"),
        format!("[tokens]\nprefix = \"{MISTAKE}-which-is-too-long\""),
        format!("database = \"{MISTAKE}\""),
    ] {
        let dir = directory();
        std::fs::write(dir.path().join("tokenward.toml"), toml).expect("a test's directory is writable");
        for args in [&["--config", "tokenward.toml", "config", "check"][..], &["--config", "tokenward.toml", "serve"]] {
            scene.run_in(&dir, &vec![setting("TOKENWARD_SERVER__LISTEN", "nowhere")], args);
        }
    }
}

/// The servers behind it are gone, or have other passwords.
pub(super) async fn outages(scene: &mut Scene) {
    let token = scene.tokens[0].clone();
    scene.redis.server.set_password(WRONG_PASSWORD).await;
    eventually("Redis's refusal is logged", async || {
        let answer = scene.client.tokens.clone().authenticate(with_key(about(&token.secret), ADMIN)).await;
        scene.note("without Redis", said(&answer));
        (!scene.client.serving("redis").await).then_some(())
    })
    .await;
    scene.postgres.relay.inject(Fault::Refuse);
    eventually("the database's loss is logged", async || {
        let consistency = Consistency::FullyConsistent.into();
        let request = AuthenticateRequest { consistency, ..about(&token.secret) };
        let answer = scene.client.tokens.clone().authenticate(with_key(request, ADMIN)).await;
        scene.note("without a database", said(&answer));
        answer.is_err().then_some(())
    })
    .await;
    let issue = IssueTokenRequest { user_id: "late".to_owned(), ..IssueTokenRequest::default() };
    let (mut tokens, mut users) = (scene.client.tokens.clone(), scene.client.users.clone());
    let outcome = tokens.issue_token(with_key(issue, ADMIN)).await;
    assert!(outcome.is_err(), "nobody can keep it");
    scene.note("IssueToken without a database", said(&outcome));
    let revoke = RevokeRequest { target: Some(Target::Token(token.secret.clone())), ..RevokeRequest::default() };
    scene.note("Revoke without a database", said(&tokens.revoke(with_key(revoke, ADMIN)).await));
    let get = GetUserRequest { user_id: "alice".to_owned() };
    scene.note("GetUser without a database", said(&users.get_user(with_key(get, ADMIN)).await));
    scene.postgres.relay.inject(Fault::None);
    scene.redis.server.set_password(REDIS).await;
    eventually("both are back", async || {
        let answer = scene.client.tokens.clone().authenticate(with_key(about(&token.secret), ADMIN)).await;
        (answer.is_ok() && scene.client.serving("redis").await).then_some(())
    })
    .await;
}
