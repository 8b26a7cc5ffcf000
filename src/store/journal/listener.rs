//! Hears from PostgreSQL that a record was committed.
//!
//! Only a hint that makes a poll come sooner: nothing depends on it, so it is lost without a word
//! while the connection is down, and behind a PgBouncer that pools transactions it never comes.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use sea_orm::{SqlxError, sqlx::postgres::PgListener};
use tokenward_migrations::CHANNEL;
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    config::Coherence,
    store::{
        connect::{Connector, Limits},
        dialect::Dialect,
    },
};

/// Pause before the first attempt to connect again; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Silence after which the connection is made anew, since a peer that vanished is silent too. Each
/// replica makes some noise every minute, to try the triggers.
const SILENCE: Duration = Duration::from_mins(3);

/// A connection of its own, made when it is first waited for.
pub(in crate::store) struct Listener {
    /// `None` where nothing is announced, or is not to be listened to.
    connector: Option<Connector>,
    limits: Limits,
    heard: Arc<Notify>,
    task: OnceLock<Task>,
}

/// Ends with its owner.
struct Task(JoinHandle<()>);

// === impl Listener ===

impl Listener {
    pub(in crate::store) fn new(connector: &Connector, limits: Limits, config: &Coherence) -> Self {
        let announces = match connector.dialect() {
            Dialect::Postgres => config.listen,
            Dialect::Sqlite | Dialect::Mysql => false,
        };
        Self {
            connector: announces.then(|| connector.clone()),
            limits: Limits { connections: 1, ..limits },
            heard: Arc::default(),
            task: OnceLock::new(),
        }
    }

    /// Waits until something was heard that no such wait was told before, by one caller at a time.
    pub(in crate::store) async fn heard(&self) {
        if let Some(connector) = &self.connector {
            let listen = || tokio::spawn(listen(connector.clone(), self.limits, Arc::clone(&self.heard)));
            self.task.get_or_init(|| Task(listen()));
        }
        self.heard.notified().await;
    }

    pub(in crate::store) fn close(&self) {
        if let Some(task) = self.task.get() {
            task.0.abort();
        }
    }
}

// === impl Task ===

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// === the task ===

async fn listen(connector: Connector, limits: Limits, heard: Arc<Notify>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let outcome = async {
            let listener = connect(&connector, limits).await?;
            pause = FIRST_PAUSE;
            hear(listener, &heard).await
        };
        if let Err(error) = outcome.await {
            tracing::debug!(%error, "the journal is not listened to; polls find what is new");
        }
        sleep(pause.mul_f64(0.5 + rand::random::<f64>())).await;
        pause = LONGEST_PAUSE.min(2 * pause);
    }
}

async fn connect(connector: &Connector, limits: Limits) -> Result<PgListener, SqlxError> {
    let pool = connector.pool(limits);
    let listening = async {
        let mut listener = PgListener::connect_with(pool.get_postgres_connection_pool()).await?;
        listener.eager_reconnect(false);
        listener.listen(CHANNEL).await?;
        Ok(listener)
    };
    timeout(limits.acquire + limits.statement, listening).await.unwrap_or(Err(SqlxError::PoolTimedOut))
}

/// Until the connection is lost, or silent for long.
async fn hear(mut listener: PgListener, heard: &Notify) -> Result<(), SqlxError> {
    // What was announced before is missed.
    heard.notify_one();
    while let Ok(message) = timeout(SILENCE, listener.try_recv()).await {
        let Some(_) = message? else { break };
        heard.notify_one();
    }
    Ok(())
}
