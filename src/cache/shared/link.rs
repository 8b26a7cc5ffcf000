//! One connection to Redis (to each server of a cluster), kept up for ever.
//!
//! fred reconnects by itself after most losses. It gives up when the first connection
//! fails, on errors that it takes for faults of configuration, and when a write blocks
//! for ever; then another client takes its place. A client is not used again once its
//! task has ended: fred 10.1 counts the commands that were still queued for that task as
//! queued for ever, and then flushes nothing.

use std::{
    convert::Infallible,
    future::pending,
    mem,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use fred::{
    clients::{Client, WithOptions},
    error::Error as FredError,
    interfaces::{ClientLike as _, EventInterface as _},
    types::{ConnectHandle, config::ReconnectPolicy},
};
use tokio::{
    sync::{Notify, broadcast::error::RecvError},
    time::{Instant, sleep, timeout},
};

use super::client::{Blueprint, reconnect_policy};
use crate::cache::breaker::{Breaker, BreakerState};

/// A connection that lasted this long was a good one: the next attempt comes soon.
const SETTLED: Duration = Duration::from_secs(2);
/// A connection over which nothing succeeds for this long is replaced.
const WEDGED: Duration = Duration::from_secs(3);
/// Between two looks for a connection, while the breaker is not closed.
const GLANCE: Duration = Duration::from_millis(25);
/// The least time between two reconnects to a server that has become read-only.
const REJOIN_EVERY: Duration = Duration::from_secs(10);

/// A reason why there is no TLS is told again after this.
const TELL_AGAIN: Duration = Duration::from_mins(1);
/// What rustls's errors are called, of which fred keeps the text alone.
const TLS_FAILURES: [&str; 6] = [
    "InvalidCertificate",
    "AlertReceived",
    "NoCertificatesPresented",
    "PeerIncompatible",
    "PeerMisbehaved",
    "InvalidMessage",
];

/// What fred says when there is no connection to a Sentinel, for whatever reason, TLS among them.
const NO_SENTINEL: &str = "Failed to connect to all sentinel nodes";

/// The client in use now.
#[derive(Debug)]
pub(super) struct Link {
    blueprint: Blueprint,
    current: RwLock<WithOptions<Client>>,
    /// Why there was no TLS, when that was last told.
    told: Mutex<Option<(Instant, String)>>,
}

/// The task of a client; it ends when this is dropped.
struct Connection(ConnectHandle);

// === impl Link ===

impl Link {
    /// A link that [`Self::keep_up`] has yet to connect.
    pub(super) fn new(blueprint: Blueprint) -> Self {
        let current = RwLock::new(blueprint.client());
        Self { blueprint, current, told: Mutex::default() }
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
            never = hurry(&client, breaker) => match never {},
            never = self.listen(&client) => match never {},
        }
    }

    /// Hears of every connection that could not be made.
    async fn listen(&self, client: &WithOptions<Client>) -> Infallible {
        let mut errors = client.error_rx();
        loop {
            match errors.recv().await {
                Ok((error, _)) => self.tell(&error),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return pending().await,
            }
        }
    }

    /// Says what is an operator's to mend, such as TLS; everyone else only says that there is no connection.
    fn tell(&self, error: &FredError) {
        let reason = error.details();
        let Some(advice) = advice(reason) else { return };
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.as_ref().is_none_or(|(when, what)| what != reason || when.elapsed() >= TELL_AGAIN) {
            tracing::warn!(%error, "{advice}");
            *told = Some((Instant::now(), reason.to_owned()));
        }
    }
}

/// What to do about a connection that could not be made; `None` where only waiting helps.
fn advice(reason: &str) -> Option<&'static str> {
    if TLS_FAILURES.iter().any(|failure| reason.contains(failure)) {
        Some("no TLS with Redis: look at its certificate, redis.tls_ca and redis.tls_cert")
    } else if reason.contains(NO_SENTINEL) {
        Some("no Sentinel can be asked: look at redis.url and, with TLS, at their certificates and redis.tls_ca")
    } else {
        None
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

/// Has an open breaker probe as soon as there is a connection again. Without one each probe fails at once,
/// and the next may be seconds away: longer than Sentinels and clusters take for a failover.
async fn hurry(client: &WithOptions<Client>, breaker: &Breaker) -> Infallible {
    let mut status = breaker.watch();
    loop {
        // The sender is the breaker's, which lives on.
        let _status = status.wait_for(|status| status.state != BreakerState::Closed).await.is_ok();
        let mut connected = client.is_connected();
        while status.borrow().state != BreakerState::Closed {
            sleep(GLANCE).await;
            let before = mem::replace(&mut connected, client.is_connected());
            if connected && !before {
                breaker.connected();
            }
        }
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
