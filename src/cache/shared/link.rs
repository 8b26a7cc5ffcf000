//! One connection to Redis (to each server of a cluster), kept up for ever.
//!
//! fred reconnects by itself after most losses. It gives up when the first connection
//! fails, on errors that it takes for faults of configuration, and when a write blocks
//! for ever; then another client takes its place. A client is not used again once its
//! task has ended: fred 10.1 counts the commands that were still queued for that task as
//! queued for ever, and then flushes nothing.

use std::{
    convert::Infallible,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use fred::{
    clients::{Client, WithOptions},
    interfaces::ClientLike as _,
    types::{ConnectHandle, config::ReconnectPolicy},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::client::{Blueprint, reconnect_policy};
use crate::cache::breaker::{Breaker, BreakerState};

/// A connection that lasted this long was a good one: the next attempt comes soon.
const SETTLED: Duration = Duration::from_secs(2);
/// A connection over which nothing succeeds for this long is replaced.
const WEDGED: Duration = Duration::from_secs(3);
/// The least time between two reconnects to a server that has become read-only.
const REJOIN_EVERY: Duration = Duration::from_secs(10);

/// The client in use now.
#[derive(Debug)]
pub(super) struct Link {
    blueprint: Blueprint,
    current: RwLock<WithOptions<Client>>,
}

/// The task of a client; it ends when this is dropped.
struct Connection(ConnectHandle);

// === impl Link ===

impl Link {
    /// A link that [`Self::keep_up`] has yet to connect.
    pub(super) fn new(blueprint: Blueprint) -> Self {
        let current = RwLock::new(blueprint.client());
        Self { blueprint, current }
    }

    /// The client to send a command with.
    pub(super) fn client(&self) -> WithOptions<Client> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connects, and connects again, for ever.
    pub(super) async fn keep_up(self: Arc<Self>, breaker: Arc<Breaker>, demoted: Arc<Notify>) {
        let mut pause = reconnect_policy();
        loop {
            let started = Instant::now();
            self.connect(&breaker, &demoted).await;
            if started.elapsed() > SETTLED {
                pause = reconnect_policy();
            }
            wait(&mut pause).await;
            *self.current.write().unwrap_or_else(PoisonError::into_inner) = self.blueprint.client();
        }
    }

    /// Runs the current client to its end.
    async fn connect(&self, breaker: &Breaker, demoted: &Notify) {
        let client = self.client();
        let mut connection = Connection(client.connect());
        tokio::select! {
            ended = &mut connection.0 => log_end(ended),
            () = wedged(&client, breaker) => tracing::warn!("nothing succeeds over the connection to Redis: replaced"),
            never = rejoin(&client, demoted) => match never {},
        }
    }
}

async fn wait(pause: &mut ReconnectPolicy) {
    sleep(Duration::from_millis(pause.next_delay().unwrap_or_default())).await;
}

fn log_end(ended: <ConnectHandle as Future>::Output) {
    match ended {
        Ok(Ok(())) => tracing::debug!("the connection to Redis was closed"),
        Ok(Err(error)) => tracing::debug!(%error, "no connection to Redis"),
        Err(error) => tracing::warn!(%error, "the Redis client failed"),
    }
}

/// Returns when the client believes in a connection over which nothing is answered.
///
/// fred looks for unresponsive connections only between two writes: a write that blocks
/// on a full socket, to a host that has vanished, holds it until TCP gives up.
async fn wedged(client: &WithOptions<Client>, breaker: &Breaker) {
    let mut since = Instant::now();
    loop {
        if breaker.status().state == BreakerState::Closed || !client.is_connected() {
            since = Instant::now();
        }
        if since.elapsed() >= WEDGED {
            return;
        }
        sleep(WEDGED / 6).await;
    }
}

/// Looks for the new primary when the server that we talk to has become a replica.
async fn rejoin(client: &WithOptions<Client>, demoted: &Notify) -> Infallible {
    loop {
        demoted.notified().await;
        tracing::warn!("Redis has become read-only: reconnecting, in case that another is the primary now");
        let _outcome = timeout(WEDGED, client.force_reconnection()).await;
        sleep(REJOIN_EVERY).await;
    }
}

// === impl Connection ===

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}
