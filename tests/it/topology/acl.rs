//! A Redis user with the commands that docs/operations.md lists, and no others, is enough for everything.

use std::time::Duration;

use tokenward::proto::{
    AnswerSource, BatchAuthenticateRequest, FlushCacheRequest, GetCacheStatsRequest, InactiveReason,
    InspectCacheRequest, inspect_cache_request,
};

use crate::harness::{
    client::{Client, about},
    eventually::eventually,
    redis::{Redis, RedisCluster, Reply, Sentinel},
    server::{Server, Settings, setting},
};

const GUIDE: &str = include_str!("../../../docs/operations.md");
const USER: &str = "tokenward:secret@";
/// Longer than the time in which an expiry is moved again.
const SLIDING: Duration = Duration::from_millis(1_100);

/// The commands of a line of the guide, `ACL SETUSER NAME ...`, with a password that tests know.
fn documented(name: &str) -> Vec<&'static str> {
    let head = format!("ACL SETUSER {name} ");
    let line = GUIDE.lines().find(|line| line.starts_with(&head)).expect("the guide has the user");
    line.split(' ').map(|word| if word.starts_with('>') { ">secret" } else { word }).collect()
}

async fn provide(redis: &Redis) {
    redis.command(&documented("tokenward")).await;
    redis.command(&["ACL", "LOG", "RESET"]).await;
}

/// Nothing was refused here.
async fn content(redis: &Redis) {
    let log = redis.command(&["ACL", "LOG"]).await;
    assert_eq!(log, Reply::Array(vec![]), "a command or key that the guide does not allow");
}

async fn serve(url: String) -> Server {
    let settings: Settings = vec![
        setting("TOKENWARD_REDIS__URL", url),
        setting("TOKENWARD_TOKENS__AUTO_REFRESH", "true"),
        setting("TOKENWARD_TOKENS__REFRESH_INTERVAL", "1s"),
        // A busy machine is no reason to leave Redis out.
        setting("TOKENWARD_REDIS__COMMAND_TIMEOUT", "2s"),
        setting("TOKENWARD_REDIS__CONNECT_TIMEOUT", "5s"),
    ];
    let server = Server::start(&settings).await;
    let client = server.client();
    eventually("Redis is reached", async || client.serving("redis").await.then_some(())).await;
    server
}

async fn hits(client: &Client, secret: &str) {
    let hit = async || {
        let answer = client.authenticate(secret).await;
        assert!(answer.active, "{answer:?}");
        (answer.source() == AnswerSource::SharedCache).then_some(())
    };
    eventually("a check is answered from Redis", hit).await;
}

/// One check of a token whose slot stays.
async fn is_cached(client: &Client, secret: &str) {
    let answer = client.authenticate(secret).await;
    assert_eq!((answer.active, answer.source()), (true, AnswerSource::SharedCache), "Redis is left out");
}

/// Everything that the service has Redis for. Gives a token that lives on.
async fn everything(client: &Client) -> String {
    let kept = client.issue("alice").await.secret;
    for _ in 0..5 {
        let issued = client.issue("bob").await;
        hits(client, &issued.secret).await;
        client.revoke(&issued.secret).await;
        assert_eq!(client.reason(&issued.secret).await, InactiveReason::Revoked);
    }
    hits(client, &kept).await;
    for _ in 0..2 {
        let both = BatchAuthenticateRequest { requests: vec![about(&kept), about(&client.issue("eve").await.secret)] };
        client.tokens.clone().batch_authenticate(both).await.expect("a batch is answered");
    }
    let target = Some(inspect_cache_request::Target::Token(kept.clone()));
    client.cache.clone().inspect_cache(InspectCacheRequest { target }).await.expect("an entry is shown");
    client.cache.clone().get_cache_stats(GetCacheStatsRequest {}).await.expect("there are figures");
    client.cache.clone().flush_cache(FlushCacheRequest::default()).await.expect("a flush is answered");
    hits(client, &kept).await;
    // Leaves tombstones, so that hers are not cached again for a while.
    let one = FlushCacheRequest { user_id: "eve".to_owned() };
    client.cache.clone().flush_cache(one).await.expect("a flush of one user is answered");
    hits(client, &kept).await;
    // A use after the interval moves the expiry, and the fact is written again.
    tokio::time::sleep(SLIDING).await;
    hits(client, &kept).await;
    hits(client, &kept).await;
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_listed_commands_is_enough_for_one_redis() {
    let redis = Redis::start().await;
    provide(&redis).await;
    let socket = redis.socket();
    // A Unix socket's URL has credentials only with a host, which nobody looks at.
    let server = serve(format!("redis+unix://{USER}local{}", socket.display())).await;
    let client = server.client();
    let kept = everything(&client).await;
    // Scripts that Redis has forgotten are sent whole; where it has no memory left, entries are at least deleted.
    redis.command(&["SCRIPT", "FLUSH"]).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    client.revoke(&kept).await;
    redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    hits(&client, &client.issue("alice").await.secret).await;
    let Reply::Text(clients) = redis.command(&["CLIENT", "LIST"]).await else { panic!("it is text") };
    assert!(clients.contains("user=tokenward"), "{clients}");
    content(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn users_with_the_listed_commands_are_enough_behind_sentinels() {
    let sentinel = Sentinel::start().await;
    for server in &sentinel.servers {
        provide(server).await;
    }
    for number in 0..3 {
        let answer = sentinel.try_command(number, &documented("tokenward-discovery")).await;
        assert_eq!(answer, Some(Reply::Text("OK".to_owned())));
    }
    let url = sentinel.url(USER) + "&sentinelUsername=tokenward-discovery&sentinelPassword=secret";
    let server = serve(url).await;
    everything(&server.client()).await;
    for server in &sentinel.servers {
        content(server).await;
    }
    for number in 0..3 {
        let log = sentinel.try_command(number, &["ACL", "LOG"]).await;
        assert_eq!(log, Some(Reply::Array(vec![])));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_listed_commands_is_enough_for_a_cluster_whose_slots_move() {
    let cluster = RedisCluster::start().await;
    for node in &cluster.nodes {
        provide(node).await;
    }
    let server = serve(cluster.url(USER)).await;
    let client = server.client();
    let other = everything(&client).await;
    // Tokens whose slot is on its way, and of which no node has an entry yet.
    let (issued, slot) = loop {
        let issued = client.issue("carol").await;
        let slot = cluster.slot_of(&format!("tokenward:token:{}", issued.token_id)).await;
        if RedisCluster::had(0, &slot) {
            break (issued, slot);
        }
    };
    cluster.open(&slot, 0, 1).await;
    for _ in 0..20 {
        let answer = client.authenticate(&issued.secret).await;
        assert_eq!((answer.active, answer.source()), (true, AnswerSource::Database));
        is_cached(&client, &other).await;
    }
    cluster.hand_over(&slot, 0, 1).await;
    hits(&client, &issued.secret).await;
    client.revoke(&issued.secret).await;
    for node in &cluster.nodes {
        content(node).await;
    }
}
