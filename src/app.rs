//! The composition root: the only place that knows every concrete type.
//!
//! Builds the parts from the bottom up, binds the listener before any work starts, and
//! owns the two task sets: what serves, and what works in the background. A background
//! task that panics is fatal, because what it kept true would silently stop being true;
//! none returns before the end.

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use crate::{
    cache::{Ack, Cached, MacKeys, MemoryCache, Proof, ReproofShare, SharedCache, Tiers},
    component::{Condition, Watchman},
    config::{self, Config, RevokeAck},
    domain::Clock as _,
    http::{self, Sources},
    journal::{self, DatabaseClock, Terms},
    metrics::rpc::Rpcs,
    reload,
    shutdown::{Shutdown, Signals},
    store::Database,
    telemetry,
    threads::Threads,
    transport::{
        self, Closing, Counts, Door, Exposure, Facts, Replica, Socket, Vitals, Watchers,
        health::{self, Components, Reporter},
    },
};

mod door;
mod error;
mod level;
mod metrics;
mod policy;
mod schema;
mod second;
mod services;
mod upkeep;
mod vitals;

pub use error::Error;
use policy::{health_policy, terms};
pub use schema::{Migrate, check, migrate};
use second::Second;
use services::services;
pub use upkeep::{import, prune};

/// Longest wait for the database's time before the first request is taken.
const CLOCK_LIMIT: Duration = Duration::from_secs(1);
/// Longest time to close connections at the end.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// Longest time at the end for what the audit table has not got yet.
const AUDIT_LIMIT: Duration = Duration::from_secs(5);
/// Time between two looks for `request_id`s that are past their retention.
const PURGE_PERIOD: Duration = Duration::from_mins(1);

type Store = Cached<Database>;

/// Serves until a signal, then drains. On SIGHUP the settings are put together again by `reread`, for `log.level` alone.
///
/// # Errors
/// When a part cannot be built, the listener cannot be bound, or a background task ends.
pub async fn serve(
    config: Config,
    reread: impl Fn() -> Result<Config, config::Faults> + Send + Sync + 'static,
) -> Result<(), Error> {
    let mut signals = Signals::catch()?;
    let mut background = JoinSet::new();
    background.spawn(level::follow(config.log.level.clone(), reread));
    let reloads = reload::Counters::new();
    let (gate, tls) = door::guard(&config, &reloads, &mut background)?;
    let database = open(&config).await?;
    let threads = Threads::start(NonZeroUsize::new(config.server.threads as usize)).await?;
    let tiers = tiers(&config, &database, &threads, &reloads)?;
    let redis = tiers.shared.clone();
    transport::raise_open_files(config.server.max_connections);
    let listener = door::bind("server.listen", &config.server.listen).await?;
    let address = listener.address()?;
    let second = second::bind(&config.http).await?;

    let shutdown = Shutdown::default();
    let components = watch(&config, &database, redis.as_ref(), &mut background);
    let (reporter, probes) = Reporter::new(components.clone(), health_policy(&config), shutdown.draining.clone()).await;
    background.spawn(reporter.run());
    upkeep::start(&config, &database, &mut background)?;
    let proof = proof(&config, &database, &mut background);
    let clock = database_clock(&proof.journal).await;
    background.spawn(purge(database.clone(), config.tokens.request_id_retention, clock.clone()));
    let audit = upkeep::audit(&config.audit, &database, clock.clone(), &mut background);
    let facts = facts(door::exposure(&config, &address), &database, &tiers, &clock);
    let (journal, terms) = (proof.journal.clone(), proof.terms);
    let seen = journal.clone();
    let store = Cached::new(Arc::new(database.clone()), tiers, proof, &config.cache);
    let store = Arc::new(if config.tokens.track_last_used { store.keeping_uses() } else { store });
    background.spawn(keep_writing_used(Arc::clone(&store)));
    let closing = Closing { draining: shutdown.draining.clone(), stop: shutdown.stop.clone() };
    let watchers = Watchers::new(journal.clone(), config.server.max_watchers, closing);
    let vitals = watched(journal, terms, redis.clone(), Arc::clone(&store));
    store.prime().await.map_err(Error::Prime)?;
    let replica = Arc::new(Replica::new(facts, components, vitals, clock.clone()));
    let (rpcs, counts) = (Rpcs::start(), Counts::default());
    let door = Door { gate, audit: audit.clone(), rpcs };
    let gathered = metrics::Gathered {
        rpcs,
        counts: counts.clone(),
        gate: door.gate.clone(),
        store: Arc::clone(&store),
        database: database.clone(),
        redis: redis.clone(),
        journal: seen,
        readiness: probes.readiness(),
        audit: audit.clone(),
        reloads,
    };
    let recent = gathered.recent(&mut background);
    let sources =
        Sources { readiness: probes.readiness(), registry: gathered.registry(), recent, replica: Arc::clone(&replica) };
    let doors = second::doors(&config, &door, &store, &clock, &counts);
    let second = second.map(|second| second.start(http::router(sources, doors), &mut background));
    let services = services(&config, &store, replica, probes, watchers, &clock, counts);

    door::announce(&address, tls.as_ref(), &config.server.listen, second.as_ref().map(Second::address))?;
    let (socket, stop, changes) =
        (Socket { listener, tls, threads: &threads }, shutdown.stop.clone(), store.changes_ended());
    let serving = transport::serve(socket, &config.server, door, services, stop, changes);
    let ending = async {
        let signal = signals.received().await;
        tracing::info!(signal, "draining");
        shutdown.begin(config.server.drain_delay).await;
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        () = serving => Ok(()),
        () = ending => Ok(()),
        Some(Err(ended)) = background.join_next() => Err(Error::Background(ended)),
    };
    if let Some(second) = second {
        second.close().await;
    }
    audit.drain(AUDIT_LIMIT).await;
    ended?;
    background.shutdown().await;
    if timeout(CLOSE_LIMIT, store.write_used()).await.is_err() {
        tracing::debug!("last uses were dropped");
    }
    close(&database, redis.as_ref()).await;
    tracing::info!("stopped");
    telemetry::flush().await;
    Ok(())
}

/// Closes connections; one to a server that does not answer is dropped.
async fn close(database: &Database, redis: Option<&SharedCache>) {
    let closing = async {
        if let Some(redis) = redis {
            redis.close().await;
        }
        database.close().await;
    };
    if timeout(CLOSE_LIMIT, closing).await.is_err() {
        tracing::debug!("connections were dropped");
    }
}

/// The embedded default brings its own schema up to date; a shared database is changed by an operator.
async fn open(config: &Config) -> Result<Database, Error> {
    let database = Database::open(config).await?;
    if database.kind() == "sqlite" {
        for name in database.migrate_up().await? {
            tracing::info!(name, "schema change applied");
        }
    }
    database.require_current_schema().await?;
    Ok(database)
}

fn tiers(config: &Config, database: &Database, threads: &Threads, reloads: &reload::Counters) -> Result<Tiers, Error> {
    let near = config.uses_memory().then(|| MemoryCache::new(&config.cache));
    let shared = if config.uses_redis() {
        let keys = MacKeys::load(&config.cache, database.file())?;
        Some(SharedCache::start(&config.redis, &config.breaker, keys, threads, reloads)?)
    } else {
        None
    };
    Ok(Tiers { near, shared })
}

/// Starts looking after each component.
fn watch(
    config: &Config,
    database: &Database,
    redis: Option<&SharedCache>,
    background: &mut JoinSet<()>,
) -> Components {
    let period = config.health.interval;
    let (watchman, condition) = Watchman::new(health::DATABASE, Condition::serving());
    let looked_at = database.clone();
    background.spawn(async move { watchman.run(period, || looked_at.ping()).await });
    let redis = redis.cloned().map(|redis| {
        let (watchman, condition) = Watchman::new(health::REDIS, Condition::unseen());
        background.spawn(async move { watchman.run(period, || redis.ping()).await });
        condition
    });
    Components { database: condition, redis }
}

/// Starts reading the database's journal.
fn proof(config: &Config, database: &Database, background: &mut JoinSet<()>) -> Proof {
    let ack = match config.coherence.revoke_ack {
        RevokeAck::Cache => Ack::Cache,
        RevokeAck::Lease => Ack::Lease,
    };
    let terms = terms(config, ack);
    let (reader, journal) = journal::reader(Arc::new(database.clone()), terms);
    background.spawn(reader.run());
    let (ratio, interval) = (config.coherence.reproof_ratio, config.coherence.reproof_interval);
    Proof { journal, terms, ack, reproofs: ReproofShare { ratio, interval } }
}

/// The clock that answers are judged by. It shows this machine's time until a poll has told the
/// database's, so that is waited for.
async fn database_clock(journal: &journal::Handle) -> DatabaseClock {
    let mut rounds = journal.rounds();
    let told = rounds.wait_for(|_| journal.database_now().is_some());
    if !matches!(timeout(CLOCK_LIMIT, told).await, Ok(Ok(_))) {
        tracing::warn!("the database's time is not known yet; this machine's is used");
    }
    journal.clock()
}

/// Writes behind when tokens were last accepted.
async fn keep_writing_used(store: Arc<Store>) {
    store.keep_writing_used().await;
}

/// Forgets `request_id`s that are past their retention, with the secrets sealed under them.
async fn purge(database: Database, retention: Duration, clock: DatabaseClock) {
    let mut tick = interval_at(Instant::now() + PURGE_PERIOD, PURGE_PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let before = clock.now() - retention;
        match database.purge_requests(before).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "request_ids purged"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "request_ids could not be purged"),
        }
    }
}

fn facts(exposure: Exposure, database: &Database, tiers: &Tiers, clock: &DatabaseClock) -> Facts {
    Facts { start: clock.now(), exposure, database_kind: database.kind(), cache_kind: tiers.kind() }
}

/// What `GetStatus` tells of this moment.
fn watched(
    journal: journal::Handle,
    terms: Terms,
    redis: Option<SharedCache>,
    store: Arc<Store>,
) -> impl Fn() -> Vitals + Send + Sync + 'static {
    move || Vitals {
        circuit_breaker: redis.as_ref().map(|redis| vitals::breaker(redis, &journal.clock())),
        coherence: vitals::coherence(&journal, terms, &store),
        transitions: redis.as_ref().map(|redis| vitals::transitions(redis, &journal.clock())).unwrap_or_default(),
        lease_age: journal.health().lease_age,
        oldest_owed: store.oldest_owed(),
    }
}
