//! What is done beside the calls: pruning, imports, and courtesy to django-rest-knox-redis.

use std::process::{Output, Stdio};

use nix::sys::signal::Signal;
use sha2::{Digest as _, Sha512};
use tokenward::proto::{InactiveReason, RevokeAllRequest};

use crate::harness::{
    eventually::{PATIENCE, eventually},
    redis::{Redis, Reply},
    server::tokenward,
    stack::{self, Behind, Stack, With},
};

/// A Django project with django-rest-knox-redis, and us beside it.
struct Project {
    stack: Stack,
    redis: Behind<Redis>,
}

// === impl Project ===

impl Project {
    async fn start() -> Self {
        let redis = stack::redis().await;
        let url = format!("redis://{}", redis.relay.address());
        let settings = [("TOKENWARD_KNOX_REDIS__URL", url.as_str())];
        Self { stack: Stack::start_beside_django_with(With::Memory, &settings).await, redis }
    }

    /// Django issues a token to user 1, and its cache holds it.
    async fn issue(&mut self, token: &str) {
        let insert = format!(
            "INSERT INTO knox_authtoken VALUES ('{}', now(), NULL, 1, '{}')",
            hex::encode(Sha512::digest(token)),
            &token[..15]
        );
        self.stack.postgres().server.execute_as_owner(&insert).await;
        self.redis.server.command(&["SET", &format!("knox:token:{}", &token[..15]), "{}"]).await;
        self.redis.server.command(&["SADD", "knox:user:1:tokens", &token[..15]]).await;
    }

    async fn is_cached(&self, token: &str) -> (bool, bool) {
        let yes = Reply::Text("1".to_owned());
        let key = format!("knox:token:{}", &token[..15]);
        let member = self.redis.server.command(&["SISMEMBER", "knox:user:1:tokens", &token[..15]]).await;
        (self.redis.server.command(&["EXISTS", &key]).await == yes, member == yes)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn django_s_cache_forgets_what_we_revoke() {
    let mut project = Project::start().await;
    let (ended, other) = ("1".repeat(64), "2".repeat(64));
    project.issue(&ended).await;
    project.issue(&other).await;
    assert!(project.stack.client().revoke(&ended).await.revoked);
    eventually("the key is gone", async || (project.is_cached(&ended).await == (false, false)).then_some(())).await;
    assert_eq!(project.is_cached(&other).await, (true, true));
}

/// Its Redis dies before the revocation, and we die right after the commit.
#[tokio::test(flavor = "multi_thread")]
async fn no_outage_and_no_crash_keeps_a_revoked_token_in_django_s_cache() {
    let mut project = Project::start().await;
    let (ended, other) = ("1".repeat(64), "2".repeat(64));
    project.issue(&ended).await;
    project.issue(&other).await;
    project.redis.server.command(&["SAVE"]).await;
    project.redis.server.kill();
    assert!(project.stack.client().revoke(&ended).await.revoked, "Revoke does not wait for it");
    project.stack.server.signal(Signal::SIGKILL);
    project.stack.server.exit(PATIENCE).await;
    // With what it had saved.
    project.redis.server.restart().await;
    assert_eq!(project.is_cached(&ended).await, (true, true), "nobody has told it");

    let server = project.stack.another_server().await;
    eventually("the key is gone", async || (project.is_cached(&ended).await == (false, false)).then_some(())).await;
    assert_eq!(project.is_cached(&other).await, (true, true));
    let emptied = "DO $$ BEGIN ASSERT (SELECT count(*) = 0 FROM tokenward_outbox); END $$";
    let postgres = &project.stack.postgres().server;
    eventually("the outbox is empty", async || postgres.try_execute_as_owner(emptied).await.ok()).await;
    assert!(!server.output().contains(&ended[..15]), "a key is half a secret");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_tokens_cost_django_s_redis_a_few_commands() {
    let mut project = Project::start().await;
    let fill = "INSERT INTO knox_authtoken SELECT encode(sha512(i::text::bytea), 'hex'), now(), NULL, 1, 'key' || i \
        FROM generate_series(1, 1000) i";
    project.stack.postgres().server.execute_as_owner(fill).await;
    let script = "for i = 1, 1000 do redis.call('SET', 'knox:token:key' .. i, '{}') \
        redis.call('SADD', 'knox:user:1:tokens', 'key' .. i) end";
    let redis = &project.redis.server;
    redis.command(&["EVAL", script, "0"]).await;
    redis.reset_calls().await;
    let request = RevokeAllRequest { user_id: "1".to_owned(), ..RevokeAllRequest::default() };
    let ended = project.stack.client().tokens.revoke_all(request).await.expect("revoked").into_inner();
    assert_eq!(ended.revoked_count, 1000);
    eventually("all keys are gone", async || {
        (redis.command(&["DBSIZE"]).await == Reply::Text("0".to_owned())).then_some(())
    })
    .await;
    let calls = redis.calls().await;
    for command in ["multi", "del", "srem", "exec"] {
        assert!((1..=4).contains(&calls[command]), "{calls:?}");
    }
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Keys of Django REST framework, and what one of them is.
const DRF: &str = "CREATE TABLE authtoken_token (key varchar(40) PRIMARY KEY, created timestamptz NOT NULL, \
    user_id integer NOT NULL REFERENCES auth_user (id) DEFERRABLE INITIALLY DEFERRED); \
    INSERT INTO authtoken_token SELECT left(encode(sha512(i::text::bytea), 'hex'), 40), now(), 1 + i % 2 \
    FROM generate_series(1, 8000) i";

fn drf_key(number: u32) -> String {
    hex::encode(Sha512::digest(number.to_string()))[..40].to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_django_rest_framework_go_on_working_and_a_killed_import_is_run_again() {
    let kept = [("TOKENWARD_AUDIT__TABLE", "true")];
    let mut stack = Stack::start_beside_django_with(With::Memory, &kept).await;
    stack.postgres().server.execute_as_owner(DRF).await;
    let command = |stack: &Stack, args: &[&str]| {
        let mut command = tokenward(stack.server.dir(), stack.settings());
        command.args(["import", "drf-authtoken"]).args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let dry = command(&stack, &["--dry-run"]).output().expect("it runs");
    assert!(dry.status.success() && said(&dry).contains("8000 imported"), "{}", said(&dry));
    let nothing = "DO $$ BEGIN ASSERT (SELECT count(*) = 0 FROM knox_authtoken); END $$";
    stack.postgres().server.execute_as_owner(nothing).await;

    let mut killed = command(&stack, &[]).spawn().expect("it starts");
    let some = "DO $$ BEGIN ASSERT (SELECT count(*) > 0 FROM knox_authtoken); END $$";
    let server = &stack.postgres().server;
    eventually("some are imported", async || server.try_execute_as_owner(some).await.ok()).await;
    killed.kill().expect("it can be killed");
    assert!(!killed.wait().expect("it ends").success(), "it was killed before its end");
    let part = "DO $$ BEGIN ASSERT (SELECT count(*) % 500 = 0 AND count(*) < 8000 FROM knox_authtoken); END $$";
    eventually("whole batches are there", async || server.try_execute_as_owner(part).await.ok()).await;

    let rest = command(&stack, &[]).output().expect("it runs");
    assert!(rest.status.success(), "{}", said(&rest));
    assert!(!said(&rest).contains("\n0 already there"), "{}", said(&rest));
    assert!(!said(&rest).contains(&drf_key(1)[..15]));
    // Who made them good is recorded, each by its name and its owner.
    let (records, count) = (String::from_utf8_lossy(&rest.stderr), String::from_utf8_lossy(&rest.stdout));
    let of_import = records.lines().filter(|line| line.contains("tokenward::audit") && line.contains("ImportToken"));
    let new: usize = count.split_once(" imported").expect("it says how many").0.trim().parse().expect("a number");
    assert_eq!(of_import.count(), new, "{}", &records[..records.len().min(2_000)]);
    let id = &hex::encode(Sha512::digest(drf_key(8_000)))[..32];
    let one = records.lines().find(|line| line.contains(id)).map(str::to_owned);
    let named = |line: &String| line.contains("user_id=\"1\"") && line.contains("peer=\"cli:uid=");
    assert!(one.as_ref().is_none_or(named), "{one:?}");
    let in_table = format!(
        "DO $$ BEGIN ASSERT (SELECT count(*) >= {new} FROM tokenward_audit WHERE event = 'ImportToken' \
        AND code = 'OK' AND token_id IS NOT NULL AND user_id IS NOT NULL); END $$"
    );
    stack.postgres().server.execute_as_owner(&in_table).await;
    let every_one = "DO $$ BEGIN ASSERT (SELECT count(*) = 8000 FROM knox_authtoken k JOIN authtoken_token a ON \
        k.digest = encode(sha512(a.key::bytea), 'hex') AND k.token_key = left(a.key, 15) AND k.user_id = a.user_id \
        AND k.created = a.created AND k.expiry IS NULL); END $$";
    stack.postgres().server.execute_as_owner(every_one).await;
    let answer = stack.client().authenticate(&drf_key(2)).await;
    assert_eq!((answer.active, answer.user.map(|user| user.user_id)), (true, Some("1".to_owned())));
    assert_eq!(stack.client().reason(&drf_key(1)).await, InactiveReason::UserDisabled);

    let refused = command(&stack, &["--table", "a\"; DROP TABLE knox_authtoken"]).output().expect("it runs");
    assert!(refused.status.code() == Some(2) && said(&refused).contains("table name"), "{}", said(&refused));
    let missing = command(&stack, &["--table", "nothing"]).output().expect("it runs");
    assert!(missing.status.code() == Some(1) && said(&missing).contains("nothing"), "{}", said(&missing));
}

#[tokio::test(flavor = "multi_thread")]
async fn prune_says_what_it_deleted_and_a_dry_run_what_it_would() {
    let mut stack = Stack::start_beside_django_with(With::Memory, &[]).await;
    let fill = "INSERT INTO knox_authtoken SELECT encode(sha512(i::text::bytea), 'hex'), now() - interval '99 days', \
        now() - i * interval '1 day', 1, 'key' || i FROM generate_series(1, 50) i";
    stack.postgres().server.execute_as_owner(fill).await;
    let prune = |stack: &Stack, args: &[&str]| {
        let mut command = tokenward(stack.server.dir(), stack.settings());
        command.arg("prune").args(args).output().expect("it runs")
    };
    let dry = prune(&stack, &["--dry-run"]);
    assert!(dry.status.success() && said(&dry).contains("would delete 21 expired tokens"), "{}", said(&dry));
    assert!(!said(&dry).contains('\u{1b}') && !said(&dry).contains('%'), "no bar where there is no terminal");
    let done = prune(&stack, &[]);
    assert!(done.status.success() && said(&done).contains("deleted 21 expired tokens"), "{}", said(&done));
    let week = prune(&stack, &["--keep-expired", "7d"]);
    assert!(week.status.success() && said(&week).contains("deleted 23 expired tokens"), "{}", said(&week));
    let left = "DO $$ BEGIN ASSERT (SELECT count(*) = 6 FROM knox_authtoken); END $$";
    stack.postgres().server.execute_as_owner(left).await;
    let refused = prune(&stack, &["--keep-expired", "1m"]);
    assert!(refused.status.code() == Some(1) && said(&refused).contains("prune.keep_expired"), "{}", said(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_service_prunes_by_itself() {
    let settings = [("TOKENWARD_PRUNE__INTERVAL", "1s")];
    let mut stack = Stack::start_beside_django_with(With::Memory, &settings).await;
    let fill = "INSERT INTO knox_authtoken VALUES ('x', now(), now() - interval '99 days', 1, 'key'), \
        ('y', now(), now() - interval '1 day', 1, 'key')";
    stack.postgres().server.execute_as_owner(fill).await;
    let left = "DO $$ BEGIN ASSERT (SELECT array_agg(digest::text) = '{y}' FROM knox_authtoken); END $$";
    let server = &stack.postgres().server;
    eventually("it is pruned", async || server.try_execute_as_owner(left).await.ok()).await;
}
