//! Forged cache entries: whoever can write to Redis mints no access, changes no answer and stalls nobody.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokenward::proto::{AnswerSource, InactiveReason};

use super::{SETTINGS, Scene, ask, ask_all, assert_is_of, coherence, is_cached, key, made_up};
use crate::harness::{
    client::Issued,
    redis::Redis,
    relay::Fills,
    stack::{On, Stack, With},
};

/// More than any answer needs, and than a check may read.
const HUGE: usize = 8 * 1024 * 1024;
/// Damages, swaps and deletes all that there is, and puts other types in its place.
const HAVOC: &str = r"
    local keys = redis.call('KEYS', '*')
    for i, key in ipairs(keys) do
        local way = (i + tonumber(ARGV[1])) % 6
        if way == 0 then redis.call('DEL', key)
        elseif way == 1 then redis.call('SET', key, string.rep('x', 100000))
        elseif way == 2 then redis.call('DEL', key); redis.call('LPUSH', key, 'a', 'list')
        elseif way == 3 then redis.call('DEL', key); redis.call('HSET', key, 'a', 'hash')
        elseif way == 4 and i > 1 then redis.call('COPY', keys[1], key, 'REPLACE')
        elseif redis.call('TYPE', key).ok == 'string' then redis.call('SETRANGE', key, 40, 'damaged') end
    end";

#[tokio::test(flavor = "multi_thread")]
async fn a_forged_entry_admits_no_token_that_nobody_issued() {
    let mut scene = Scene::start().await;
    let alice = scene.cached("alice").await;
    let real = scene.entry(&alice).await;
    let mut unsigned = real.clone();
    let tail = unsigned.len() - 16;
    unsigned[tail..].fill(0);
    let mut noise = real.clone();
    noise[5..].iter_mut().for_each(|byte| *byte = rand::random());
    let before = scene.coherence().await.entries_refused;
    let forged: [(&str, Vec<u8>); 7] = [
        ("the entry of a valid token", real.clone()),
        ("without a MAC", unsigned),
        ("noise with the head of an entry", noise),
        ("cut short", real[..real.len() / 2].to_vec()),
        ("the head alone", real[..5].to_vec()),
        ("an entry of another program", br#"{"digest":"ad29","user_id":1,"active":true}"#.to_vec()),
        ("an entry of a version to come", [&[9], &real[1..]].concat()),
    ];
    let count = i64::try_from(forged.len()).expect("a few");
    for (what, value) in forged {
        let nobodys = made_up();
        scene.redis().put(&key(&nobodys), &value).await;
        let answer = ask(&scene.client, &nobodys.secret).await;
        assert_eq!((answer.active, answer.inactive_reason()), (false, InactiveReason::Unknown), "{what}");
    }
    let refused = scene.coherence().await.entries_refused - before;
    assert!(refused >= count, "{refused} of {count} are counted");
    assert!(scene.stack.server.output().contains("an entry in Redis is not used"), "and logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_altered_entry_is_refused_whichever_byte_it_is() {
    let mut scene = Scene::start().await;
    let alice = scene.cached("alice").await;
    let real = scene.entry(&alice).await;
    // What is altered stays altered.
    scene.stack.redis().relay.fills(Fills::Hold);
    let before = scene.coherence().await.entries_refused;
    for place in 0..real.len() {
        let mut altered = real.clone();
        altered[place] ^= 1 << (place % 8);
        scene.redis().put(&key(&alice), &altered).await;
        let answer = ask(&scene.client, &alice.secret).await;
        let what = format!("byte {place} of {}", real.len());
        assert_is_of("alice", &answer, &what);
        assert_eq!(answer.source(), AnswerSource::Database, "{what}");
    }
    let refused = scene.coherence().await.entries_refused - before;
    assert!(
        refused >= i64::try_from(real.len()).expect("an entry is small"),
        "{refused} of {} are counted",
        real.len()
    );
    scene.redis().put(&key(&alice), &real).await;
    assert_eq!(ask(&scene.client, &alice.secret).await.source(), AnswerSource::SharedCache, "the real one is used");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_is_put_under_another_key_speaks_for_nobody() {
    let mut scene = Scene::start().await;
    let (alice, bob, carol) = (scene.cached("alice").await, scene.cached("bob").await, scene.cached("carol").await);
    let (of_alice, of_bob) = (scene.entry(&alice).await, scene.entry(&bob).await);
    scene.client.revoke(&carol.secret).await;
    scene.stack.redis().relay.fills(Fills::Hold);
    let before = scene.coherence().await.entries_refused;
    for (token, value) in [(&alice, &of_bob), (&bob, &of_alice), (&carol, &of_alice)] {
        scene.redis().put(&key(token), value).await;
    }
    assert_is_of("alice", &ask(&scene.client, &alice.secret).await, "bob's entry");
    assert_is_of("bob", &ask(&scene.client, &bob.secret).await, "alice's entry");
    let answer = ask(&scene.client, &carol.secret).await;
    assert_eq!((answer.active, answer.inactive_reason()), (false, InactiveReason::Revoked), "{answer:?}");
    let answers = ask_all(&scene.client, &[&alice.secret, &bob.secret, &carol.secret]).await;
    assert_is_of("alice", &answers[0], "bob's entry, in a batch");
    assert_is_of("bob", &answers[1], "alice's entry, in a batch");
    assert_eq!(answers[2].inactive_reason(), InactiveReason::Revoked, "{answers:?}");
    let refused = scene.coherence().await.entries_refused - before;
    assert!(refused >= 6, "{refused} are counted");
}

/// With its own key it is refused for that; with the same key, for what database it was read from.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_of_another_deployment_on_the_same_redis_admits_nobody() {
    let same_key = ("TOKENWARD_CACHE__MAC_KEY", "of two deployments, by mistake or by theft");
    for key_of_both in [None, Some(same_key)] {
        let settings: Vec<_> = SETTINGS.into_iter().chain(key_of_both).collect();
        // With SQLite the other server has a file of its own: another database, and unless told otherwise another key.
        let ours = Stack::start_with(On::Sqlite, With::Redis, &settings).await;
        let theirs = ours.another_server().await;
        let issued = theirs.client().issue("alice").await;
        is_cached(&theirs.client(), &issued.secret).await;
        let client = ours.client();
        client.issue("bob").await;
        let before = coherence(&client).await;
        for _ in 0..20 {
            let answer = ask(&client, &issued.secret).await;
            assert_eq!((answer.active, answer.inactive_reason()), (false, InactiveReason::Unknown), "{answer:?}");
        }
        let after = coherence(&client).await;
        assert_eq!(after.entries_refused > before.entries_refused, key_of_both.is_none(), "{after:?}");
        is_cached(&theirs.client(), &issued.secret).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_any_type_and_size_is_a_miss() {
    let mut scene = Scene::start().await;
    let alice = scene.cached("alice").await;
    let at = key(&alice);
    let commands: [&[&str]; 6] = [
        &["RPUSH", &at, "a", "list"],
        &["HSET", &at, "a", "hash"],
        &["SADD", &at, "a", "set"],
        &["ZADD", &at, "1", "a sorted set"],
        &["XADD", &at, "*", "a", "stream"],
        &["PFADD", &at, "an estimate"],
    ];
    let resident = scene.stack.server.resident();
    for command in commands {
        scene.redis().command(&["DEL", &at]).await;
        scene.redis().command(command).await;
        let (before, answer) = (scene.coherence().await.entries_refused, ask(&scene.client, &alice.secret).await);
        assert_is_of("alice", &answer, command[0]);
        assert_eq!(answer.source(), AnswerSource::Database, "{command:?}");
        assert!(scene.coherence().await.entries_refused > before, "{command:?} is counted");
        let answers = ask_all(&scene.client, &[&alice.secret, &made_up().secret]).await;
        assert_is_of("alice", &answers[0], command[0]);
        is_cached(&scene.client, &alice.secret).await;
    }
    scene.stack.redis().relay.fills(Fills::Hold);
    let mut huge = scene.entry(&alice).await;
    huge.resize(HUGE, 0);
    scene.redis().put(&at, &huge).await;
    for _ in 0..50 {
        assert_is_of("alice", &ask(&scene.client, &alice.secret).await, "a huge value");
    }
    let grown = scene.stack.server.resident().saturating_sub(resident);
    assert!(grown < 64, "50 look-ups of 8 MiB left {grown} MiB");
}

/// A tombstone forbids the cache and refuses nobody: the attacker cannot log others out.
#[tokio::test(flavor = "multi_thread")]
async fn a_forged_tombstone_refuses_no_valid_token() {
    let mut scene = Scene::start().await;
    let alice = scene.cached("alice").await;
    scene.redis().put(&key(&alice), &[0]).await;
    for _ in 0..20 {
        let answer = ask(&scene.client, &alice.secret).await;
        assert_is_of("alice", &answer, "a tombstone");
        assert_eq!(answer.source(), AnswerSource::Database);
    }
}

/// Mass deletion, and everything else at once, while clients ask.
#[tokio::test(flavor = "multi_thread")]
async fn havoc_in_redis_changes_no_answer_and_stalls_nobody() {
    let mut scene = Scene::start().await;
    let valid = [scene.cached("alice").await, scene.cached("bob").await];
    let revoked = scene.cached("carol").await;
    scene.client.revoke(&revoked.secret).await;
    let done = Arc::new(AtomicBool::new(false));
    let askers = (0..4).map(|_| {
        let (client, valid, revoked, done) = (scene.client.clone(), valid.clone(), revoked.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            for round in 0.. {
                assert_is_of("alice", &ask(&client, &valid[0].secret).await, "in havoc");
                assert_is_of("bob", &ask(&client, &valid[1].secret).await, "in havoc");
                assert!(!ask(&client, &revoked.secret).await.active);
                let answers = ask_all(&client, &[&valid[0].secret, &revoked.secret, &valid[1].secret]).await;
                assert_is_of("alice", &answers[0], "in havoc, in a batch");
                assert!(!answers[1].active, "{answers:?}");
                assert_is_of("bob", &answers[2], "in havoc, in a batch");
                assert!(!ask(&client, &made_up().secret).await.active);
                if round >= 50 && done.load(Ordering::Relaxed) {
                    break;
                }
            }
        })
    });
    let askers: Vec<_> = askers.collect();
    let before = scene.coherence().await.entries_refused;
    for round in 0..200 {
        wreak(scene.redis(), &revoked, round).await;
    }
    done.store(true, Ordering::Relaxed);
    for asker in askers {
        asker.await.expect("every answer is right");
    }
    assert!(scene.coherence().await.entries_refused > before, "some of it was looked at");
    // And it heals.
    scene.redis().command(&["FLUSHALL"]).await;
    is_cached(&scene.client, &valid[0].secret).await;
}

async fn wreak(redis: &Redis, revoked: &Issued, round: usize) {
    if round.is_multiple_of(10) {
        redis.command(&["FLUSHALL"]).await;
        redis.command(&["SCRIPT", "FLUSH"]).await;
    }
    redis.command(&["EVAL", HAVOC, "0", &round.to_string()]).await;
    redis.put(&key(revoked), &rand::random::<[u8; 32]>()).await;
}
