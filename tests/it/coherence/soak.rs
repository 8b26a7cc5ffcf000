//! A long mixed load while Redis and PostgreSQL are killed and started again at random: `make soak`.
//!
//! The judge is the one of every other run: no accept after the end was promised, no refusal of what is valid. Beside
//! it, nothing may pile up: memory, connections, descriptors, tombstones that Redis was not told.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use sea_orm::{ConnectionTrait as _, Statement};
use tokenward::proto::{BatchAuthenticateRequest, GetStatusRequest, ListTokensRequest};
use tokio::{task::JoinSet, time::sleep};

use super::{
    clients,
    cluster::{Cluster, Setup, Shape},
    history::locked,
    judge::{Bounds, Verdict, judge},
    run::LEASE,
    sql::Schema,
    world::World,
    writers,
};
use crate::harness::{
    client::about,
    eventually::{report, within},
    redis::Reply,
    relay::Fills,
    sql,
    stack::{On, With},
};

/// `coherence.outage_grace`: short, so that another program's commit has a bound that a run can see.
const GRACE: Duration = Duration::from_secs(2);
/// Fills are late by up to this, all the time.
const LATE: Duration = Duration::from_millis(300);
/// What a replica's memory may gain after the warm-up, in MiB: the journal's view and the client's history of nothing else.
const GAIN: u64 = 48;
/// Descriptors over all replicas that are no connection to the database, which may come and go.
const SLACK: usize = 3;
/// A replica's connections to the database: its pool, and those of probes, journal, listener and upkeep.
const CONNECTIONS: usize = 10 + 6;
/// Longest until everything is as it was.
const RECOVERY: Duration = Duration::from_mins(1);

/// What a process and its servers hold.
#[derive(Clone, Debug)]
struct Holdings {
    /// In MiB, by replica.
    resident: Vec<u64>,
    descriptors: usize,
    database: usize,
    redis: usize,
}

/// What was killed.
#[derive(Clone, Copy, Debug, Default)]
struct Killed {
    redis: usize,
    database: usize,
}

// === impl Holdings ===

impl Holdings {
    async fn of(cluster: &Cluster) -> Self {
        let servers = || cluster.replicas.iter().map(|replica| &replica.server);
        Self {
            resident: servers().map(super::super::harness::server::Server::resident).collect(),
            descriptors: servers().map(super::super::harness::server::Server::descriptors).sum(),
            database: database_connections(cluster).await,
            redis: redis_connections(cluster).await,
        }
    }

    /// What there is more of than before, memory apart; a pool may have been smaller then.
    fn left_behind(&self, before: &Self) -> Option<&'static str> {
        let others = |of: &Self| of.descriptors.saturating_sub(of.database);
        let more = [
            (self.redis > before.redis, "connections to Redis"),
            (self.database > self.resident.len() * CONNECTIONS, "connections to PostgreSQL"),
            (others(self) > others(before) + SLACK, "descriptors"),
        ];
        more.into_iter().find_map(|(more, what)| more.then_some(what))
    }
}

async fn database_connections(cluster: &Cluster) -> usize {
    let connection = sql::connect(&cluster.sql().url()).await.expect("the administrator may connect");
    let count = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'tokenward'";
    let statement = Statement::from_string(connection.get_database_backend(), count);
    let row = connection.query_one_raw(statement).await.expect("the administrator may look").expect("a count is a row");
    usize::try_from(row.try_get_by_index::<i64>(0).expect("a count")).expect("it is not negative")
}

async fn redis_connections(cluster: &Cluster) -> usize {
    let redis = cluster.redis.as_ref().expect("the cluster has Redis");
    let Reply::Text(list) = redis.command(&["CLIENT", "LIST"]).await else { panic!("CLIENT LIST answers with text") };
    list.lines().count()
}

/// Asks what nobody else asks: unknown tokens, batches, lists.
async fn wander(world: Arc<World>, replica: usize) {
    while !world.is_over() {
        let client = world.client(replica);
        let unknown = about(&hex::encode(rand::random::<[u8; 32]>()));
        if let Ok(answer) = client.try_authenticate(unknown.clone()).await {
            assert!(!answer.active, "nobody issued it: {answer:?}");
        }
        if let Some(known) = world.any_token() {
            let requests = vec![unknown, about(&known.token.secret)];
            let batch = client.tokens.clone().batch_authenticate(BatchAuthenticateRequest { requests }).await;
            if let Ok(batch) = batch {
                assert!(!batch.into_inner().responses[0].active, "nobody issued it");
            }
            let list = ListTokensRequest { user_id: "user-1000".to_owned(), ..ListTokensRequest::default() };
            let _whatever_it_says = client.admin.clone().list_tokens(list).await;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Kills and starts again until the time is over.
async fn strike(cluster: &mut Cluster, rng: &mut StdRng, until: Instant) -> Killed {
    let mut killed = Killed::default();
    while Instant::now() < until {
        // 1, 2 or both of them.
        let whom = rng.random_range(1..=3_u8);
        if whom & 1 != 0 {
            cluster.redis().kill();
            killed.redis += 1;
        }
        if whom & 2 != 0 {
            cluster.postgres().kill();
            killed.database += 1;
        }
        sleep(Duration::from_millis(rng.random_range(100..3_000))).await;
        if whom & 2 != 0 {
            cluster.postgres().restart().await;
        }
        if whom & 1 != 0 {
            cluster.redis().restart().await;
        }
        sleep(Duration::from_millis(rng.random_range(500..5_000))).await;
    }
    killed
}

/// Waits until every replica has what it needs and owes nothing, and a while for what it holds to be as it was.
async fn recovers(cluster: &Cluster, world: &World, before: &Holdings) -> Holdings {
    for replica in 0..world.replicas() {
        let whole = async || {
            let client = world.client(replica);
            let status = client.status.clone().get_status(GetStatusRequest {}).await.ok()?.into_inner();
            let serving = status.components.iter().all(|component| component.serving);
            (serving && status.coherence?.tombstones_owed == 0).then_some(())
        };
        within("the replica is whole and owes nothing", RECOVERY, whole).await;
    }
    let since = Instant::now();
    loop {
        let now = Holdings::of(cluster).await;
        if now.left_behind(before).is_none() || since.elapsed() > RECOVERY {
            return now;
        }
        sleep(Duration::from_millis(500)).await;
    }
}

fn table(verdict: &Verdict, killed: Killed, allowed: usize, before: &Holdings, after: &Holdings) -> String {
    let of = |tally: &super::judge::Tally| format!("{} of {}", tally.violations, tally.of);
    let rows = [
        ("Redis killed, PostgreSQL killed", format!("{}, {}", killed.redis, killed.database)),
        ("checks", verdict.checks.to_string()),
        ("wrong accepts after a promise", of(&verdict.after_promise)),
        ("and within a lease after Redis forgot, as documented", allowed.to_string()),
        ("wrong accepts after another program's commit", of(&verdict.after_commit)),
        ("wrong refusals", of(&verdict.refusals)),
        ("statuses that no fault excuses", verdict.broken.to_string()),
        ("UNAVAILABLE, no answer", format!("{}, {}", verdict.unavailable, verdict.lost)),
        ("MiB by replica, after the warm-up and at the end", format!("{:?}, {:?}", before.resident, after.resident)),
        ("descriptors", format!("{}, {}", before.descriptors, after.descriptors)),
        ("connections to PostgreSQL", format!("{}, {}", before.database, after.database)),
        ("connections to Redis", format!("{}, {}", before.redis, after.redis)),
    ];
    rows.iter().map(|(what, figure)| format!("| {what} | {figure} |\n")).collect::<Vec<_>>().concat()
}

/// Runs for so long, a fifth of it without faults.
async fn soak(lasting: Duration, seed: u64) {
    report(&format!("soak of {lasting:?}, SEED={seed}"));
    let settings = vec![
        ("TOKENWARD_COHERENCE__MAX_STALENESS", format!("{}s", LEASE.as_secs())),
        ("TOKENWARD_COHERENCE__OUTAGE_GRACE", format!("{}s", GRACE.as_secs())),
    ];
    let setup = Setup { on: On::Postgres, with: With::Redis, shape: Shape::Alone, schema: Schema::Native, settings };
    let mut cluster = Cluster::start(&setup).await;
    // Half an hour of statements is no use to anybody.
    cluster.postgres().execute("ALTER ROLE tokenward SET log_statement = 'none'").await;
    let world = Arc::new(World::of(&cluster));
    let lasting_token = writers::lasting(&world).await;
    cluster.ways_to_redis().for_each(|relay| relay.fills(Fills::Late(LATE)));
    let mut tasks = JoinSet::new();
    clients::start(&world, &lasting_token, &mut tasks);
    writers::start(&world, &mut tasks);
    (0..world.replicas()).for_each(|replica| drop(tasks.spawn(wander(Arc::clone(&world), replica))));

    let (begin, warm_up) = (Instant::now(), lasting / 5);
    sleep(warm_up).await;
    let before = Holdings::of(&cluster).await;
    let killed = strike(&mut cluster, &mut StdRng::seed_from_u64(seed), begin + lasting).await;
    // A last while without faults.
    sleep(Duration::from_secs(2)).await;
    world.stop();
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a client has no fault of its own");
    }
    let after = recovers(&cluster, &world, &before).await;

    let (lives, checks) = world.history.all();
    let commit = vec![LEASE + GRACE; world.replicas()];
    let verdict = judge(&lives, &checks, &Bounds { promise: LEASE, commit: commit.clone() });
    let at_once = judge(&lives, &checks, &Bounds { promise: Duration::ZERO, commit });
    let allowed = at_once.after_promise.violations - verdict.after_promise.violations;
    report(&table(&verdict, killed, allowed, &before, &after));
    locked(&world.seen.odd).iter().for_each(|odd| report(&format!("  {odd}")));
    assert_eq!(verdict.violations(), 0, "{:#?}", verdict.examples);
    let chances = [verdict.after_promise.of, verdict.after_commit.of, verdict.refusals.of];
    assert!(chances.iter().all(|of| *of > 0), "nothing was tried: {chances:?}");
    assert_eq!(after.left_behind(&before), None);
    for (before, after) in before.resident.iter().zip(&after.resident) {
        assert!(*after <= before + GAIN, "memory: {before} MiB after the warm-up, {after} MiB at the end");
    }
    for replica in &mut cluster.replicas {
        assert!(!replica.server.output().contains("panicked"), "{}", replica.server.output());
        // Whatever still runs is waited for.
        replica.server.signal(nix::sys::signal::Signal::SIGTERM);
        let (status, took) = replica.server.exit(RECOVERY).await;
        assert!(status.success(), "{status} after {took:?}");
    }
}

fn seed() -> u64 {
    std::env::var("SEED").map_or_else(|_| rand::random(), |seed| seed.parse().expect("SEED is a number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_wrong_or_left_behind_when_servers_are_killed_at_random() {
    soak(Duration::from_secs(15), seed()).await;
}

#[ignore = "takes half an hour, or SOAK: make soak"]
#[tokio::test(flavor = "multi_thread")]
async fn a_long_soak() {
    let wanted = std::env::var("SOAK").unwrap_or_else(|_| "30m".to_owned());
    soak(humantime::parse_duration(&wanted).expect("SOAK is a time, such as 5m"), seed()).await;
}
