//! One run: load before, during and after a fault, then the judgement.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use tokio::{task::JoinSet, time::sleep};

use super::{
    clients,
    cluster::{Cluster, REPLICAS, Setup, Topology},
    faults::Fault,
    history::locked,
    judge::{Bounds, judge},
    report::{Row, Spread},
    sql::Schema,
    world::{Known, Sight, Sighting, World},
    writers,
};
use crate::harness::{
    eventually::{report, within},
    redis::RedisCluster,
    relay::Fills,
    stack::{On, With},
};

/// The default of `coherence.max_staleness`.
pub(super) const LEASE: Duration = Duration::from_secs(1);
/// A failover on a busy machine takes no longer, until every replica has answers from Redis again.
const LONG: Duration = Duration::from_mins(1);
/// Fills are late by up to this, all the time.
const LATE: Duration = Duration::from_millis(300);

/// What is run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) fault: Fault,
    pub(super) on: On,
    pub(super) with: With,
    pub(super) schema: Schema,
    /// `coherence.max_staleness`.
    pub(super) lease: Duration,
    /// `coherence.outage_grace`.
    pub(super) grace: Duration,
    /// `coherence.revoke_ack`.
    pub(super) ack: &'static str,
    /// `cache.near`.
    pub(super) near: bool,
    pub(super) pace: Pace,
}

/// How long each part takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) before: Duration,
    pub(super) during: Duration,
    pub(super) after: Duration,
}

impl Pace {
    /// For the suite.
    pub(super) const SHORT: Self = Self::of(1, 3, 2);
    /// For faults that say themselves when they are over.
    pub(super) const BRIEF: Self = Self::of(1, 1, 2);
    /// For the whole matrix.
    pub(super) const FULL: Self = Self::of(1, 5, 4);

    const fn of(before: u64, during: u64, after: u64) -> Self {
        Self {
            before: Duration::from_secs(before),
            during: Duration::from_secs(during),
            after: Duration::from_secs(after),
        }
    }
}

// === impl Plan ===

impl Plan {
    /// A fault on PostgreSQL with Redis, no grace.
    pub(super) fn new(fault: Fault, pace: Pace) -> Self {
        Self {
            fault,
            on: On::Postgres,
            with: With::Redis,
            schema: Schema::Native,
            lease: LEASE,
            grace: fault.grace(),
            ack: "cache",
            near: false,
            pace,
        }
    }

    pub(super) fn on(self, on: On) -> Self {
        Self { on, ..self }
    }

    /// SQLite knows no server: facts are in each process's memory, and strictly proved.
    pub(super) fn embedded(self) -> Self {
        Self { on: On::Sqlite, with: With::Memory, ..self }.strict()
    }

    /// `max_staleness = 0`: another program's commit holds at once.
    pub(super) fn strict(self) -> Self {
        Self { lease: Duration::ZERO, ..self }
    }

    /// Beside Django.
    pub(super) fn knox(self) -> Self {
        Self { schema: Schema::Knox, ..self }
    }

    /// `revoke_ack = lease`.
    pub(super) fn trustless(self) -> Self {
        Self { ack: "lease", ..self }
    }

    /// Each process's memory in front of Redis, which needs `revoke_ack = lease`.
    pub(super) fn near(self) -> Self {
        Self { near: true, ..self }.trustless()
    }

    fn setup(&self) -> Setup {
        let mut settings = vec![
            ("TOKENWARD_COHERENCE__MAX_STALENESS", format!("{}s", self.lease.as_secs())),
            ("TOKENWARD_COHERENCE__OUTAGE_GRACE", format!("{}s", self.grace.as_secs())),
            ("TOKENWARD_COHERENCE__REVOKE_ACK", self.ack.to_owned()),
            ("TOKENWARD_CACHE__NEAR", self.near.to_string()),
        ];
        if self.fault == Fault::None {
            // Nothing is refused because a shared machine is slow.
            settings.push(("TOKENWARD_DATABASE__ACQUIRE_TIMEOUT", "5s".to_owned()));
            settings.push(("TOKENWARD_DATABASE__STATEMENT_TIMEOUT", "5s".to_owned()));
        }
        Setup { on: self.on, with: self.with, shape: self.fault.shape(), schema: self.schema, settings }
    }

    fn bounds(&self) -> Bounds {
        let lease = self.lease;
        let commit = (0..REPLICAS).map(|replica| if self.fault.cuts(replica) { lease + self.grace } else { lease });
        let trusting = self.ack == "cache";
        let promise = if trusting { self.fault.slack_of_trust() } else { Duration::ZERO };
        Bounds { promise, commit: commit.collect() }
    }

    pub(super) fn name(&self) -> String {
        let mut name = format!("{:?}", self.fault);
        let variants = [
            (self.schema == Schema::Knox, "knox"),
            (self.lease.is_zero(), "strict"),
            (self.ack == "lease", "ack = lease"),
            (self.near, "near"),
        ];
        for (_, variant) in variants.into_iter().filter(|(is, _)| *is) {
            name.push_str(", ");
            name.push_str(variant);
        }
        name
    }
}

/// Runs a plan and judges what was answered.
pub(super) async fn run(plan: Plan) -> Row {
    let mut cluster = Cluster::start(&plan.setup()).await;
    let world = Arc::new(World::of(&cluster));
    let lookups = cluster.lookups();
    let lasting = lasting(&cluster, &world).await;
    for relay in cluster.ways_to_redis() {
        relay.fills(Fills::Late(LATE));
    }
    let mut tasks = JoinSet::new();
    clients::start(&world, &lasting, &mut tasks);
    writers::start(&world, &mut tasks);

    sleep(plan.pace.before).await;
    let injected = Instant::now();
    plan.fault.inject(&mut cluster, &world).await;
    let broken = Instant::now();
    sleep(plan.pace.during).await;
    plan.fault.heal(&mut cluster).await;
    // What heals by itself began to when it was broken.
    let healed = if plan.fault.heals_itself() { broken } else { Instant::now() };
    if plan.fault.heals_itself() {
        let back = async || last_of_firsts(&locked(&world.seen.sightings), healed, Sight::Cache);
        within("every replica has answers from Redis again", LONG, back).await;
    }
    sleep(plan.pace.after).await;
    world.stop();
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a client has no fault of its own");
    }
    for replica in &cluster.replicas {
        assert!(!replica.server.output().contains("panicked"), "{}", replica.server.output());
    }
    row(&plan, &world, &cluster, lookups, injected, healed)
}

/// A token that no writer ends. In a cluster, one of the master that is lost or gives its slots away: of the others'
/// tokens Redis answers all the time.
async fn lasting(cluster: &Cluster, world: &World) -> Known {
    loop {
        let known = writers::lasting(world).await;
        let Some(Topology::Cluster(redis)) = &cluster.topology else { return known };
        let slot = redis.slot_of(&format!("tokenward:token:{}", known.token.token_id)).await;
        if RedisCluster::had(0, &slot) {
            return known;
        }
    }
}

fn row(plan: &Plan, world: &World, cluster: &Cluster, lookups: usize, injected: Instant, healed: Instant) -> Row {
    let (lives, checks) = world.history.all();
    let bounds = plan.bounds();
    let verdict = judge(&lives, &checks, &bounds);
    let at_once = judge(&lives, &checks, &Bounds { promise: Duration::ZERO, ..bounds });
    for example in verdict.examples.iter().chain(locked(&world.seen.odd).iter()) {
        report(&format!("  {example}"));
    }
    let seen = &world.seen;
    let sightings = locked(&seen.sightings).clone();
    let consistent = seen.consistent.load(Ordering::Relaxed);
    let cached = verdict.checks.saturating_sub(consistent).max(1);
    Row {
        name: plan.name(),
        on: plan.on,
        tokens: lives.len(),
        ends: [&seen.complete, &seen.pending, &seen.unanswered].map(|count| count.load(Ordering::Relaxed)),
        revoked: Spread::of(&mut locked(&seen.revoked)),
        committed: Spread::of(&mut locked(&seen.committed)),
        detected: first(&sightings, injected, |sight| sight == Sight::Lost),
        cache_back: last_of_firsts(&sightings, healed, Sight::Cache),
        database_back: last_of_firsts(&sightings, healed, Sight::Database),
        sql: cluster.lookups().checked_sub(lookups + consistent).map(|count| count * 1000 / cached),
        allowed: at_once.after_promise.violations - verdict.after_promise.violations,
        verdict,
    }
}

/// How long after `from` it was first seen.
fn first(sightings: &[Sighting], from: Instant, what: impl Fn(Sight) -> bool) -> Option<Duration> {
    let seen = sightings.iter().filter(|sighting| sighting.at >= from && what(sighting.what));
    seen.map(|sighting| sighting.at - from).min()
}

/// How long after `from` every replica had seen it.
fn last_of_firsts(sightings: &[Sighting], from: Instant, what: Sight) -> Option<Duration> {
    let on = |replica| {
        let its: Vec<_> = sightings.iter().filter(|sighting| sighting.replica == replica).copied().collect();
        first(&its, from, |sight| sight == what)
    };
    (0..REPLICAS).map(on).collect::<Option<Vec<_>>>()?.into_iter().max()
}
