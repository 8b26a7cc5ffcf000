//! The composition root: the only place that knows every concrete type.
//!
//! Builds the parts from the bottom up, binds the listener before any work starts, and
//! owns the two task sets: what serves, and what works in the background. A background
//! task that panics is fatal, because what it kept true would silently stop being true;
//! none returns before the end.

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};

use crate::{
    cache::{self, Ack, Backend, Cached, MemoryCache, Proof, SharedCache},
    callers,
    component::{Condition, Watchman},
    config::{self, CacheBackend, Config, RevokeAck},
    domain::{Authenticator, Clock as _, IssuePolicy, Issuer, NeverExpires, Revoker, SystemClock, TokenPrefix, Users},
    journal::{self, Terms},
    proto as pb,
    reload::{Files, Live, Reload},
    shutdown::{Shutdown, Signals},
    store::{self, Database},
    transport::{
        self, Address, Exposure, Facts, Gate, Listener, Owners, Replica, Services, Socket, TokenAdmin, Tokens,
        health::{self, Components, RedisLoss, Reporter},
        tls::{self, Pem},
    },
};

/// Longest time to close connections at the end.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
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
    /// The database stopped answering.
    #[error("the database stopped answering while the service started")]
    Prime(#[source] crate::domain::Error),
    /// The cache's settings are wrong.
    #[error(transparent)]
    Cache(#[from] cache::StartError),
    /// The address cannot be listened on.
    #[error("server.listen: cannot listen on {address}")]
    Listen {
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

/// Serves until a signal, then drains.
///
/// # Errors
/// When a part cannot be built, the listener cannot be bound, or a background task ends.
pub async fn serve(config: Config) -> Result<(), Error> {
    let mut signals = Signals::catch()?;
    let mut background = JoinSet::new();
    let (gate, tls) = guard(&config, &mut background)?;
    let database = open(&config).await?;
    let backend = backend(&config)?;
    let redis = match &backend {
        Backend::Redis(redis) => Some(redis.clone()),
        Backend::Memory(_) | Backend::Off => None,
    };
    transport::raise_open_files(config.server.max_connections);
    let listener = bind(&config.server.listen).await?;
    let address = listener.address()?;

    let shutdown = Shutdown::default();
    let components = watch(&config, &database, redis.as_ref(), &mut background);
    let (reporter, probes) = Reporter::new(components.clone(), health_policy(&config), shutdown.draining.clone()).await;
    background.spawn(reporter.run());
    background.spawn(purge(database.clone(), config.tokens.request_id_retention));
    let facts = facts(&config, &address, &database, &backend);
    let proof = proof(&config, &database, &backend, &mut background);
    let store = Arc::new(Cached::new(Arc::new(database.clone()), backend, proof, &config.cache));
    store.prime().await.map_err(Error::Prime)?;
    let services = services(&config, &store, facts, components, redis.clone(), probes);

    announce(&address, tls.as_ref(), &config.server.listen)?;
    let socket = Socket { listener, tls };
    let serving = transport::serve(socket, &config.server, gate, services, shutdown.stop.clone());
    let ending = async {
        let signal = signals.received().await;
        tracing::info!(signal, "draining");
        shutdown.begin(config.server.drain_delay).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = serving => {}
        () = ending => {}
        Some(Err(ended)) = background.join_next() => return Err(Error::Background(ended)),
    }
    background.shutdown().await;
    close(&database, redis.as_ref()).await;
    tracing::info!("stopped");
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

fn backend(config: &Config) -> Result<Backend, Error> {
    let shared = || SharedCache::start(&config.redis, &config.breaker).map(Backend::Redis);
    let memory = || Backend::Memory(MemoryCache::new(&config.cache));
    Ok(match config.cache.backend {
        CacheBackend::Off => Backend::Off,
        CacheBackend::Memory => memory(),
        CacheBackend::Auto if config.redis.url.is_empty() => memory(),
        CacheBackend::Auto | CacheBackend::Redis => shared()?,
    })
}

/// Reads the callers and the files for TLS, as [`serve`] does first.
///
/// # Errors
/// Everything that is wrong with the callers, or what is wrong with the files for TLS.
pub fn check(config: &Config) -> Result<(), Error> {
    let mut files = Files::default();
    if let Some(path) = &config.callers.file {
        callers::load(path, &config.server, &mut files)?;
    }
    if let Some(pem) = Pem::new(&config.server) {
        pem.load(&mut files)?;
    }
    Ok(())
}

/// Who is let through, and TLS; both follow their files.
fn guard(config: &Config, background: &mut JoinSet<()>) -> Result<(Gate, Option<Live<tls::Config>>), Error> {
    let mut gate = Gate::Open;
    if let Some(path) = config.callers.file.clone() {
        let server = config.server.clone();
        let load = move |files: &mut Files| callers::load(&path, &server, files);
        let (callers, reload) = Reload::start("callers", load)?;
        background.spawn(reload.run());
        gate = Gate::Callers(callers);
    }
    let Some(pem) = Pem::new(&config.server) else { return Ok((gate, None)) };
    let (tls, reload) = Reload::start("certificates", move |files: &mut Files| pem.load(files))?;
    background.spawn(reload.run());
    Ok((gate, Some(tls)))
}

async fn bind(address: &str) -> Result<Listener, Error> {
    Listener::bind(address).await.map_err(|source| Error::Listen { address: address.to_owned(), source })
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

/// Starts reading the database's journal. Facts in this process's memory are not in reach
/// of another process's tombstones, so they are proved by a poll each time (strict).
fn proof(config: &Config, database: &Database, backend: &Backend, background: &mut JoinSet<()>) -> Proof {
    let coherence = &config.coherence;
    let max_staleness = match backend {
        Backend::Memory(_) => Duration::ZERO,
        Backend::Redis(_) | Backend::Off => coherence.max_staleness,
    };
    let outage_grace = if max_staleness.is_zero() { Duration::ZERO } else { coherence.outage_grace };
    let terms = Terms { max_staleness, outage_grace, poll_interval: coherence.poll_interval };
    let (reader, journal) = journal::reader(Arc::new(database.clone()), terms);
    background.spawn(reader.run());
    let ack = match coherence.revoke_ack {
        RevokeAck::Cache => Ack::Cache,
        RevokeAck::Lease => Ack::Lease,
    };
    Proof { journal, terms, ack }
}

/// Forgets `request_id`s that are past their retention, with the secrets sealed under them.
async fn purge(database: Database, retention: Duration) {
    let mut tick = interval_at(Instant::now() + PURGE_PERIOD, PURGE_PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let before = SystemClock.now() - retention;
        match database.purge_requests(before).await {
            Ok(0) => {}
            Ok(count) => tracing::debug!(count, "request_ids purged"),
            Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "request_ids could not be purged"),
        }
    }
}

fn health_policy(config: &Config) -> health::Policy {
    let redis = if config.health.redis_required { RedisLoss::Fatal } else { RedisLoss::Tolerated };
    health::Policy { database_grace: config.health.database_grace, redis }
}

fn facts(config: &Config, address: &Address, database: &Database, backend: &Backend) -> Facts {
    let exposure = exposure(config, address);
    if exposure == Exposure::Insecure {
        let what = match config.callers.file {
            Some(_) => "callers' keys are not encrypted: whoever is on their way may take them",
            None => "callers are not authenticated: whoever can reach this address may issue tokens",
        };
        tracing::warn!(%address, "{what}");
    }
    Facts { start: SystemClock.now(), exposure, database_kind: database.kind(), cache_kind: backend.kind() }
}

fn exposure(config: &Config, address: &Address) -> Exposure {
    let guarded = config.callers.file.is_some() && config.server.tls_cert.is_some();
    match (address.is_local(), guarded) {
        (true, _) => Exposure::Loopback,
        (false, true) => Exposure::Guarded,
        (false, false) => Exposure::Insecure,
    }
}

fn services(
    config: &Config,
    store: &Arc<Store>,
    facts: Facts,
    components: Components,
    redis: Option<SharedCache>,
    probes: health::Probes,
) -> Services<Store, SystemClock, impl Fn() -> Option<pb::CircuitBreaker> + Send + Sync + 'static> {
    let users = Arc::new(Users::new(Arc::clone(store), SystemClock));
    Services {
        tokens: Tokens::new(
            Authenticator::new(Arc::clone(store), SystemClock),
            Issuer::new(Arc::clone(store), SystemClock, issue_policy(config)),
            Revoker::new(Arc::clone(store), SystemClock),
        ),
        admin: TokenAdmin::new(Arc::clone(&users), SystemClock),
        owners: Owners::new(users),
        replica: Replica::new(facts, components, move || redis.as_ref().map(breaker), SystemClock),
        probes,
    }
}

fn issue_policy(config: &Config) -> IssuePolicy {
    let tokens = &config.tokens;
    IssuePolicy {
        ttl: tokens.ttl,
        max_ttl: Some(tokens.max_ttl).filter(|limit| !limit.is_zero()),
        never_expires: if tokens.allow_never_expires { NeverExpires::Allowed } else { NeverExpires::Refused },
        prefix: tokens.prefix.parse::<TokenPrefix>().expect("the configuration was validated"),
    }
}

fn breaker(redis: &SharedCache) -> pb::CircuitBreaker {
    let status = redis.breaker().status();
    let state = match status.state {
        cache::BreakerState::Closed => pb::CircuitBreakerState::Closed,
        cache::BreakerState::Open => pb::CircuitBreakerState::Open,
        cache::BreakerState::HalfOpen => pb::CircuitBreakerState::HalfOpen,
    };
    pb::CircuitBreaker {
        state: state.into(),
        transition_time: Some(transport::since(status.since, SystemClock.now())),
        cause: status.cause,
        opened_count: i64::try_from(status.opened_count).unwrap_or(i64::MAX),
    }
}

/// Says where the service listens, and what to try next.
fn announce(address: &Address, tls: Option<&Live<tls::Config>>, configured: &str) -> io::Result<()> {
    tracing::info!(%address, "listening");
    let program = std::env::args().next().unwrap_or_else(|| "tokenward".to_owned());
    let url = match address {
        Address::Tcp(address) if tls.is_some() => format!("https://{address}"),
        Address::Tcp(address) => format!("http://{address}"),
        Address::Unix(_) => address.to_string(),
    };
    let at = if configured == config::Server::default().listen && tls.is_none() {
        String::new()
    } else {
        format!(" --address {url}")
    };
    let mut out = io::stdout().lock();
    writeln!(out, "tokenward listening on {url}")?;
    writeln!(out, "\nTry, in another terminal:")?;
    for (verb, remark) in [
        ("token issue --user alice", ""),
        ("token authenticate", "   # asks for the token"),
        ("token revoke", "   # likewise"),
        ("status", ""),
    ] {
        writeln!(out, "  {program} {verb}{at}{remark}")?;
    }
    out.flush()
}
