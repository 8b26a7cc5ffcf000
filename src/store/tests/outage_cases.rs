//! A database that is busy, restarts, hangs, or vanishes without a word.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{UnixListener, UnixStream},
};

use super::{
    server::Server,
    world::{World, ending, find, find_token, issue, token, user},
};
use crate::{
    config::SecretText,
    domain::{Error, Found, Freshness, Target, TokenStore as _},
    store::{Database, OpenError},
};

/// Above what connecting takes on a machine that is busy with other tests.
const ACQUIRE: Duration = Duration::from_millis(750);
const STATEMENT: Duration = Duration::from_millis(500);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_millis(500);
/// What a call may take: acquire and statement timeout.
const BOUND: Duration = Duration::from_millis(750 + 500 + 500);
/// Silence that makes a pool suspect, then one more wait for it, then a connection.
const RECOVERY: Duration = Duration::from_millis(2 * (750 + 500) + 1000);

pub(super) async fn ping_does_not_wait_for_the_pool(world: World) {
    let store = quick(&world, |config| config.database.max_connections = 2).await;
    let pool = &store.0.pool;
    let held = match world.kind {
        super::server::Kind::Sqlite => vec![pool.begin().await.expect("a connection")],
        super::server::Kind::Postgres | super::server::Kind::Mariadb => {
            vec![pool.begin().await.expect("a connection"), pool.begin().await.expect("a connection")]
        }
    };
    store.ping().await.expect("a sign of life");
    let begun = Instant::now();
    let refused = store.revoke(Target::Digest(token("ada").digest), ending()).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(begun.elapsed() < BOUND, "{:?}", begun.elapsed());
    drop(held);
    assert_eq!(find(&store, token("ada").digest).await, Found::Unknown);
}

/// One after the other on one server, since each needs it to itself.
pub(super) async fn restart_hang_and_black_hole(mut server: Server) {
    let world = World::native(&server).await;
    let store = quick(&world, |_| {}).await;
    a_restart_costs_no_look_up(&mut server, &world.store).await;
    a_dead_server_costs_a_bounded_wait(&mut server, &world, &store).await;
    a_hung_server_costs_a_bounded_wait(&server, &store).await;
    a_black_hole_does_not_exhaust_the_pool(&server, &world).await;
    a_slow_lock_costs_no_connections(&store).await;
}

async fn a_restart_costs_no_look_up(server: &mut Server, store: &Database) {
    let record = issue(store, token("ada")).await;
    use_whole_pool(store).await;
    server.crash();
    server.start().await;
    // Every idle connection is dead, and nobody notices.
    for _ in 0..12 {
        assert_eq!(find_token(store, record.digest).await, record);
    }
    store.revoke(Target::Digest(record.digest), ending()).await.expect("revoked");
}

async fn a_dead_server_costs_a_bounded_wait(server: &mut Server, world: &World, store: &Database) {
    server.crash();
    fails_in_time(store).await;
    let mut config = world.config.clone();
    config.database.acquire_timeout = ACQUIRE;
    let refused = Database::open(&config).await.err().expect("nobody listens");
    assert!(matches!(refused, OpenError::Connect { .. }));
    let shown = format!("{refused} {refused:?}");
    assert!(shown.contains("database.url") && !shown.contains("swordfish"), "{shown}");
    server.start().await;
    recovers(store).await;
}

async fn a_hung_server_costs_a_bounded_wait(server: &Server, store: &Database) {
    let record = issue(store, token("ada")).await;
    use_whole_pool(store).await;
    server.hang();
    for _ in 0..3 {
        fails_in_time(store).await;
    }
    server.resume();
    recovers(store).await;
    assert_eq!(find_token(store, record.digest).await, record);
    store.revoke(Target::Digest(record.digest), ending()).await.expect("revoked");
}

/// The peer of every connection is gone and says nothing for ever; new ones work.
async fn a_black_hole_does_not_exhaust_the_pool(server: &Server, world: &World) {
    let relay = Relay::to(server.socket());
    let url = server.url_at(&relay.socket, world.config.database.url.expose());
    let store = quick(world, |config| config.database.url = SecretText::new(url)).await;
    let record = issue(&store, token("ada")).await;
    use_whole_pool(&store).await;
    for _ in 0..2 {
        relay.swallow();
        recovers(&store).await;
        for _ in 0..20 {
            assert_eq!(find_token(&store, record.digest).await, record);
        }
    }
    // Callers that give up before any limit of ours leave their connections in the dark.
    use_whole_pool(&store).await;
    relay.swallow();
    for _ in 0..20 {
        let hasty = tokio::time::timeout(Duration::from_millis(5), store.find(record.digest, Freshness::Any));
        assert!(hasty.await.is_err(), "nobody answers");
    }
    recovers(&store).await;
}

/// What waits for a lock is ended by the server; the pool keeps its connections.
async fn a_slow_lock_costs_no_connections(store: &Database) {
    issue(store, token("eve")).await;
    let generation = store.0.pool.generation();
    let holder = store.0.pool.begin().await.expect("a connection");
    holder.row(&store.0.statements.user_held, vec!["eve".into()]).await.expect("held");
    let begun = Instant::now();
    let refused = store.revoke_all(user("eve"), None, ending()).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert!(begun.elapsed() < BOUND * 2, "{:?}", begun.elapsed());
    assert_eq!(store.0.pool.generation(), generation);
    drop(holder);
    recovers(store).await;
    assert_eq!(store.revoke_all(user("eve"), None, ending()).await.expect("revoked").count, 1);
}

/// The timeouts of a deployment, more or less.
async fn quick(world: &World, change: impl FnOnce(&mut crate::config::Config)) -> Database {
    world
        .reopen(|config| {
            config.database.acquire_timeout = ACQUIRE;
            config.database.statement_timeout = STATEMENT;
            change(config);
        })
        .await
}

/// Opens as many connections as there may be, and gives them back.
async fn use_whole_pool(store: &Database) {
    let finds = (0..40).map(|_| {
        tokio::spawn({
            let store = store.clone();
            async move { store.find(token("x").digest, Freshness::Any).await.is_ok() }
        })
    });
    for find in finds.collect::<Vec<_>>() {
        find.await.expect("no panic");
    }
}

async fn fails_in_time(store: &Database) {
    let digest = token("ada").digest;
    let begun = Instant::now();
    let calls = (0..20).map(|index| {
        let store = store.clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            let outcome = match index % 4 {
                0 => store.revoke(Target::Digest(digest), ending()).await.map(drop),
                1 => store.insert(token("ada")).await.map(drop),
                _ => store.find(digest, Freshness::Any).await.map(drop),
            };
            (outcome, begun.elapsed())
        })
    });
    for call in calls.collect::<Vec<_>>() {
        let (outcome, elapsed) = call.await.expect("no panic");
        assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
        assert!(elapsed < BOUND, "{elapsed:?}");
    }
    assert!(begun.elapsed() < BOUND);
    let begun = Instant::now();
    assert!(store.ping().await.is_err());
    assert!(begun.elapsed() < STATEMENT + SLACK, "{:?}", begun.elapsed());
}

async fn recovers(store: &Database) {
    let begun = Instant::now();
    while store.find(token("ada").digest, Freshness::Any).await.is_err()
        || store.ping().await.is_err()
        || store.insert(token("ada")).await.is_err()
    {
        assert!(begun.elapsed() < RECOVERY, "{:?}", begun.elapsed());
    }
}

/// Forwards a Unix socket, and can swallow what its connections say.
struct Relay {
    socket: PathBuf,
    swallow: tokio::sync::watch::Sender<u32>,
    _directory: TempDir,
    stopped: Arc<AtomicBool>,
}

impl Relay {
    fn to(server: PathBuf) -> Self {
        let directory = TempDir::with_prefix("twr").expect("a temporary directory");
        let socket = directory.path().join(server.file_name().expect("a socket"));
        let listener = UnixListener::bind(&socket).expect("a socket");
        let (swallow, _) = tokio::sync::watch::channel(0);
        let stopped = Arc::new(AtomicBool::new(false));
        tokio::spawn(accept(listener, server, swallow.clone(), stopped.clone()));
        Self { socket, swallow, _directory: directory, stopped }
    }

    /// From here on the connections that there are stay open and silent.
    fn swallow(&self) {
        self.swallow.send_modify(|round| *round += 1);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

async fn accept(
    listener: UnixListener,
    server: PathBuf,
    swallow: tokio::sync::watch::Sender<u32>,
    stopped: Arc<AtomicBool>,
) {
    while !stopped.load(Ordering::Relaxed) {
        let (client, _) = listener.accept().await.expect("a connection");
        tokio::spawn(forward(client, server.clone(), swallow.subscribe()));
    }
}

async fn forward(mut client: UnixStream, server: impl AsRef<Path>, mut swallow: tokio::sync::watch::Receiver<u32>) {
    let mut server = UnixStream::connect(server).await.expect("the server");
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => return,
        changed = swallow.changed() => drop(changed),
    }
    std::future::pending::<()>().await;
}
