//! The composition root: the only place that knows every concrete type.
//!
//! Builds the parts from the bottom up, binds the listener before any work starts, and
//! owns the two task sets: what serves, and what works in the background. A background
//! task that panics is fatal, because what it kept true would silently stop being true;
//! none returns before the end.

use std::{io, num::NonZeroUsize, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use crate::{
    cache::{self, Ack, Cached, MacKeys, MemoryCache, Proof, ReproofShare, SharedCache, Tiers},
    component::{Condition, Watchman},
    config::{self, Config, DigestForm, RevokeAck, SchemaPreset, TokenHash},
    domain::{
        Administrator, Authenticator, Clock as _, HashFunction, Hashing, IssuePolicy, Issuer, Knox4, NeverExpires,
        Revoker, Sliding, TokenForm, Users,
    },
    http::{self, Sources},
    journal::{self, DatabaseClock, Terms},
    metrics::rpc::Rpcs,
    reload,
    shutdown::{Shutdown, Signals},
    store::{self, Database, Finding, Severity},
    telemetry,
    threads::Threads,
    transport::{
        self, Caches, Closing, Counts, Door, Exposure, ExtAuthz, Facts, Owners, Replica, Services, Socket, TokenAdmin,
        Tokens, Vitals, Watchers,
        health::{self, Components, RedisLoss, Reporter},
        tls,
    },
};

mod door;
mod level;
mod metrics;
mod second;
mod upkeep;
mod vitals;

use second::Second;
pub use upkeep::{import, prune};

/// Longest wait for the database's time before the first request is taken.
const CLOCK_LIMIT: Duration = Duration::from_secs(1);
/// Longest time for a look into the catalog, which nobody waits for as for an answer.
const CATALOG_LIMIT: Duration = Duration::from_secs(10);
/// Longest time to close connections at the end.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// Longest time at the end for what the audit table has not got yet.
const AUDIT_LIMIT: Duration = Duration::from_secs(5);
/// Time between two looks for `request_id`s that are past their retention.
const PURGE_PERIOD: Duration = Duration::from_mins(1);

type Store = Cached<Database>;

/// Why the program ends.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database cannot be reached.
    #[error(transparent)]
    Open(#[from] store::OpenError),
    /// The database's schema is not what this version needs, or could not be changed.
    #[error(transparent)]
    Schema(#[from] store::SchemaError),
    /// The database is not as the settings say.
    #[error("the database is not as the settings say:\n{0}")]
    Unfit(String),
    /// The database stopped answering.
    #[error("the database stopped answering while the service started")]
    Prime(#[source] crate::domain::Error),
    /// The cache's settings are wrong.
    #[error(transparent)]
    Cache(#[from] cache::StartError),
    /// There is no key to authenticate cache entries with.
    #[error(transparent)]
    MacKey(#[from] cache::MacKeyError),
    /// The settings of django-rest-knox-redis's Redis are wrong.
    #[error(transparent)]
    KnoxRedis(#[from] crate::knox_redis::StartError),
    /// A pruning was broken off.
    #[error("pruning was broken off; what was deleted stays deleted, run it again")]
    Prune(#[source] crate::domain::Error),
    /// Another process is at it.
    #[error("another process is pruning: try again in a minute")]
    PruneBusy,
    /// An import was broken off.
    #[error("the import was broken off; what was imported stays, run it again")]
    Import(#[source] crate::domain::Error),
    /// The address cannot be listened on.
    #[error("{setting}: cannot listen on {address}")]
    Listen {
        /// The setting that names it.
        setting: &'static str,
        /// As configured.
        address: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The callers file, or one that it names, is faulty.
    #[error(transparent)]
    Callers(#[from] config::Faults),
    /// The files for TLS are faulty.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// A task that must run as long as the process ended.
    #[error("a background task ended")]
    Background(#[source] tokio::task::JoinError),
    /// Signals or standard output could not be used.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// What to do with the schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Migrate {
    /// Apply what is pending.
    Up,
    /// Take back the newest changes.
    Down {
        /// How many.
        steps: u32,
    },
    /// Only look.
    Status,
}

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

/// Changes or shows the schema; the text is for people.
///
/// # Errors
/// When the database cannot be reached, or a change fails; the changes before it stay.
pub async fn migrate(config: Config, verb: Migrate) -> Result<String, Error> {
    let database = Database::open(&config).await?;
    let lines = match verb {
        Migrate::Up => changed("applied", "the schema is up to date", &database.migrate_up().await?),
        Migrate::Down { steps } => changed("taken back", "nothing to take back", &database.migrate_down(steps).await?),
        Migrate::Status => {
            database.schema_status().await?.iter().map(|change| format!("{} {}", change.state, change.name)).collect()
        }
    };
    database.close().await;
    Ok(lines.join("\n"))
}

/// Reads the callers and the files for TLS, and compares the settings with the database; the text is for people.
///
/// # Errors
/// Everything that is wrong with the callers, or with the files for TLS; [`Error::Unfit`] with everything that does not fit; when the database cannot be reached.
pub async fn check(mut config: Config) -> Result<String, Error> {
    door::check(&config)?;
    config.database.statement_timeout = config.database.statement_timeout.max(CATALOG_LIMIT);
    let mut lines = vec!["configuration is valid".to_owned()];
    if Database::is_yet_to_be_created(&config) {
        let absent = Finding::fault("database.url", "the file is not there", "name the file that Django uses");
        return match config.database.schema {
            SchemaPreset::Knox => Err(Error::Unfit(absent.to_string())),
            SchemaPreset::Native => Ok(format!("{}\nthe database file is not there yet: `serve` creates it", lines[0])),
        };
    }
    let database = Database::open(&config).await?;
    let findings = database.check().await?;
    database.close().await;
    let fits = findings.iter().all(|finding| finding.severity == Severity::Warning);
    lines.extend(findings.iter().map(Finding::to_string));
    if fits { Ok(lines.join("\n")) } else { Err(Error::Unfit(lines[1..].join("\n"))) }
}

fn changed(verb: &str, nothing: &str, names: &[String]) -> Vec<String> {
    if names.is_empty() {
        vec![nothing.to_owned()]
    } else {
        names.iter().map(|name| format!("{verb} {name}")).collect()
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

/// Facts in this process's memory are out of reach of another replica's tombstones. Unless
/// a revocation waits for the leases, they are proved by a poll each time (strict); and a
/// grace, which is for facts that a tombstone can end, needs facts in Redis.
fn terms(config: &Config, ack: Ack) -> Terms {
    let coherence = &config.coherence;
    let max_staleness = if config.uses_redis() || ack == Ack::Lease { coherence.max_staleness } else { Duration::ZERO };
    let graced = config.uses_redis() && !max_staleness.is_zero();
    let outage_grace = if graced { coherence.outage_grace } else { Duration::ZERO };
    // A poll that fails can be made good before the lease lapses.
    let longest = if max_staleness.is_zero() { Duration::MAX } else { max_staleness / 4 };
    Terms { max_staleness, outage_grace, poll_interval: coherence.poll_interval.min(longest) }
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

fn health_policy(config: &Config) -> health::Policy {
    let redis = if config.health.redis_required { RedisLoss::Fatal } else { RedisLoss::Tolerated };
    let others = if config.ext_authz.enabled { &[transport::EXT_AUTHZ][..] } else { &[] };
    health::Policy { database_grace: config.health.database_grace, redis, others }
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
        lease_age: journal.health().lease_age.filter(|_| !terms.max_staleness.is_zero()),
        oldest_owed: store.oldest_owed(),
    }
}

fn services<V>(
    config: &Config,
    store: &Arc<Store>,
    replica: Arc<Replica<DatabaseClock, V>>,
    probes: health::Probes,
    watchers: Watchers<journal::Handle>,
    clock: &DatabaseClock,
    counts: Counts,
) -> Services<Store, DatabaseClock, V, journal::Handle> {
    let clock = || clock.clone();
    let users = Arc::new(Users::new(Arc::clone(store), clock()));
    let administrator = Arc::new(Administrator::new(Arc::clone(store), clock(), issue_policy(config)));
    Services {
        tokens: Tokens::new(
            authenticator(config, store, clock()),
            Issuer::new(Arc::clone(store), clock(), issue_policy(config)),
            Revoker::new(Arc::clone(store), clock(), hashing(config), form(&config.tokens)),
            counts.clone(),
        ),
        admin: TokenAdmin::new(Arc::clone(&users), Arc::clone(&administrator), watchers, clock()),
        owners: Owners::new(users, administrator),
        caches: Caches::new(Arc::clone(store), hashing(config), clock().now()),
        replica,
        ext_authz: config
            .ext_authz
            .enabled
            .then(|| ExtAuthz::new(authenticator(config, store, clock()), counts, &config.ext_authz)),
        probes,
    }
}

fn authenticator(config: &Config, store: &Arc<Store>, clock: DatabaseClock) -> Authenticator<Store, DatabaseClock> {
    let (form, sliding) = (form(&config.tokens), sliding(&config.tokens));
    Authenticator::new(Arc::clone(store), clock, hashing(config), form, sliding)
        .reusable_for(config.tokens.client_cache_ttl)
}

fn issue_policy(config: &Config) -> IssuePolicy {
    let tokens = &config.tokens;
    IssuePolicy {
        ttl: tokens.ttl,
        max_ttl: Some(tokens.max_ttl).filter(|limit| !limit.is_zero()),
        never_expires: if tokens.allow_never_expires { NeverExpires::Allowed } else { NeverExpires::Refused },
        sliding: sliding(tokens),
        form: form(tokens),
        hashing: hashing(config),
    }
}

fn form(tokens: &config::Tokens) -> TokenForm {
    tokens.form().expect("the configuration was validated")
}

fn sliding(tokens: &config::Tokens) -> Option<Sliding> {
    let max_ttl = Some(tokens.refresh_max_ttl).filter(|limit| !limit.is_zero());
    tokens.auto_refresh.then_some(Sliding { ttl: tokens.ttl, interval: tokens.refresh_interval, max_ttl })
}

fn hashing(config: &Config) -> Hashing {
    let function = match config.tokens.hash {
        TokenHash::Sha512 => HashFunction::Sha512,
        TokenHash::Sha256 => HashFunction::Sha256,
        TokenHash::Sha3 => HashFunction::Sha3,
        TokenHash::Blake2b => HashFunction::Blake2b,
    };
    let accepts_knox4 = match &config.tokens.accept_digests {
        Some(forms) => forms.contains(&DigestForm::Knox4),
        None => config.database.schema == SchemaPreset::Knox,
    };
    Hashing { function, knox4: if accepts_knox4 { Knox4::Accepted } else { Knox4::Unknown } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(toml: &str) -> (Duration, Duration) {
        let config: Config = toml::from_str(toml).expect("settings");
        let ack = if config.coherence.revoke_ack == RevokeAck::Lease { Ack::Lease } else { Ack::Cache };
        let terms = terms(&config, ack);
        (terms.max_staleness, terms.outage_grace)
    }

    #[test]
    fn a_poll_that_fails_can_be_made_good_before_the_lease_lapses() {
        let interval = |bound: &str| {
            let toml = format!("redis.url = \"redis://r\"\ncoherence.max_staleness = \"{bound}\"");
            terms(&toml::from_str(&toml).expect("settings"), Ack::Cache).poll_interval
        };
        let [usual, short, strict] = ["1s", "400ms", "0s"].map(interval);
        assert_eq!((usual, short, strict), (strict, Duration::from_millis(100), usual));
    }

    #[test]
    fn memory_alone_is_strict_unless_a_revocation_waits_and_never_has_a_grace() {
        const LEASE: &str = "coherence.revoke_ack = \"lease\"\n";
        const REDIS: &str = "redis.url = \"redis://r\"\n";
        let (second, grace) = (Duration::from_secs(1), Duration::from_secs(30));
        assert_eq!(of(""), (Duration::ZERO, Duration::ZERO));
        assert_eq!(of(LEASE), (second, Duration::ZERO));
        assert_eq!(of(REDIS), (second, grace));
        assert_eq!(of(&format!("{REDIS}{LEASE}cache.near = true")), (second, grace));
        assert_eq!(of(&format!("{REDIS}coherence.max_staleness = \"0s\"")), (Duration::ZERO, Duration::ZERO));
    }
}
