//! Old entries that are put back: they were made by the service itself, and no MAC tells that they are outdated.

use std::time::Duration;

use tokenward::proto::{InactiveReason, IssueTokenRequest, RevokeAllRequest, User};

use super::{Scene, ask, ask_all, is_cached, key};
use crate::harness::{
    client::{Client, Issued, for_user, now, seconds, ttl},
    eventually::eventually,
};

/// Puts copies of entries back, whatever stands in their place.
async fn replay(scene: &mut Scene, entries: &[(Issued, Vec<u8>)]) {
    for (token, entry) in entries {
        scene.redis().put(&key(token), entry).await;
    }
}

async fn is_refused(scene: &mut Scene, client: &Client, entries: &[(Issued, Vec<u8>)], by: &str) {
    for _ in 0..5 {
        replay(scene, entries).await;
        for (token, _) in entries {
            let answer = ask(client, &token.secret).await;
            assert!(!answer.active, "{by}: {answer:?}");
        }
        replay(scene, entries).await;
        let secrets: Vec<_> = entries.iter().map(|(token, _)| token.secret.as_str()).collect();
        let answers = ask_all(client, &secrets).await;
        assert!(answers.iter().all(|answer| !answer.active), "{by}, in a batch: {answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_from_before_its_tokens_end_admits_nobody_on_any_replica() {
    let mut scene = Scene::start().await;
    let other = scene.stack.another_server().await;
    let there = other.client();
    let mut entries = Vec::new();
    for user in ["revoked", "revoked-all", "disabled", "deleted", "row-deleted", "row-expired"] {
        let token = scene.cached(user).await;
        is_cached(&there, &token.secret).await;
        let entry = scene.entry(&token).await;
        entries.push((token, entry));
    }
    let here = scene.client.clone();
    here.revoke(&entries[0].0.secret).await;
    let all = RevokeAllRequest { user_id: "revoked-all".to_owned(), ..RevokeAllRequest::default() };
    here.tokens.clone().revoke_all(all).await.expect("a user's tokens can be revoked");
    here.upsert_user(User { user_id: "disabled".to_owned(), ..User::default() }).await;
    let user_id = "deleted".to_owned();
    let deletion = tokenward::proto::DeleteUserRequest { user_id };
    here.users.clone().delete_user(deletion).await.expect("a user can be deleted");
    // What the service answered for holds at once, on each replica.
    is_refused(&mut scene, &there, &entries[..4], "the other replica").await;
    is_refused(&mut scene, &here, &entries[..4], "the replica that ended it").await;

    // What another program did holds within the bound, and from then on.
    let postgres = &scene.stack.postgres().server;
    let named = |token: &Issued| format!("WHERE digest LIKE '{}%'", token.token_id);
    postgres.execute(&format!("DELETE FROM tokenward_token {}", named(&entries[4].0))).await;
    let past = format!("UPDATE tokenward_token SET expiry = now() - interval '1 minute' {}", named(&entries[5].0));
    postgres.execute(&past).await;
    for client in [&here, &there] {
        for (token, entry) in &entries[4..] {
            eventually("another program's change is seen", async || {
                scene.redis().put(&key(token), entry).await;
                (!ask(client, &token.secret).await.active).then_some(())
            })
            .await;
        }
        is_refused(&mut scene, client, &entries, "once it was seen").await;
    }

    // A process that was not there when the tokens ended.
    let late = scene.stack.another_server().await;
    replay(&mut scene, &entries).await;
    is_refused(&mut scene, &late.client(), &entries, "a new replica").await;
    drop(other);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_outlives_no_token() {
    let mut scene = Scene::start().await;
    let request = IssueTokenRequest { expiration: Some(ttl(Duration::from_secs(3))), ..for_user("alice") };
    let issued = scene.client.try_issue(request).await.expect("a token can be issued");
    let expiry = seconds(issued.token.as_ref().expect("it has a record").expire_time);
    let token: Issued = issued.into();
    is_cached(&scene.client, &token.secret).await;
    let entry = scene.entry(&token).await;
    eventually("the token has expired", async || {
        // For good: Redis would have dropped it by now.
        scene.redis().put(&key(&token), &entry).await;
        let (asked, answer) = (now(), ask(&scene.client, &token.secret).await);
        // The time is the database's, carried on; this machine's is the same but for how that is measured.
        assert!(!answer.active || asked < expiry + 0.5, "{:.3} s after its end: {answer:?}", asked - expiry);
        (answer.inactive_reason() == InactiveReason::Expired).then_some(())
    })
    .await;
}
