//! Courtesy to django-rest-knox-redis: what we end is deleted from its Redis too.
//!
//! Its version 0.1.3 trusts what it finds there without looking at the token's row. So
//! each revocation leaves notices in the outbox, in its own transaction; a [`Courier`]
//! on every replica takes the oldest, deletes the keys, and forgets what Redis acknowledged.
//! A notice is delivered at least once, whatever crashes: two couriers on the same one do no
//! harm. No caller waits for it, and no answer says how far it has come.
//!
//! It cannot undo a fill of django-rest-knox-redis that read the row before the revocation
//! and writes after the delivery.

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};

use crate::{
    config,
    domain::{self, Notice, Outbox},
};

mod client;
mod keys;
#[cfg(test)]
mod tests;

use client::{Blueprint, Connection};
pub use client::{DeliveryError, StartError};
use keys::Keys;

/// Notices that are delivered at once.
const BATCH: u32 = 500;
/// Time between two looks for what another replica has left.
const POLL: Duration = Duration::from_secs(1);
/// First pause after a failure; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Delivers the outbox.
#[derive(Debug)]
pub struct Courier<O> {
    outbox: Arc<O>,
    blueprint: Blueprint,
    keys: Keys,
    /// Replaced whole after a failure.
    connection: Option<Connection>,
}

/// Why a round ended early.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("the outbox cannot be read or emptied")]
    Outbox(#[from] domain::Error),
    #[error("the Redis of knox_redis.url does not take what it is told")]
    Delivery(#[from] DeliveryError),
}

// === impl Courier ===

impl<O: Outbox> Courier<O> {
    /// A courier for the Redis of `knox_redis.url`. No I/O.
    ///
    /// # Errors
    /// [`StartError`] when that is not a Redis URL.
    pub fn new(outbox: Arc<O>, config: &config::KnoxRedis) -> Result<Self, StartError> {
        let (blueprint, keys) = (Blueprint::new(config)?, Keys::new(&config.prefix));
        Ok(Self { outbox, blueprint, keys, connection: None })
    }

    /// Delivers for ever: at once what this process writes, and by looking what others left. Run it in a task of its own.
    ///
    /// # Cancel safety
    /// What was not acknowledged is delivered again by the next one.
    pub async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.round().await {
                Ok(()) => {
                    if pause > FIRST_PAUSE {
                        tracing::info!("the Redis of knox_redis.url is told of revocations again");
                    }
                    pause = FIRST_PAUSE;
                    let _either = timeout(POLL, self.outbox.written()).await;
                }
                Err(failure) => {
                    if pause == FIRST_PAUSE {
                        let error = &failure as &dyn std::error::Error;
                        tracing::warn!(error, "revocations wait to be told to the Redis of knox_redis.url");
                    }
                    sleep(pause).await;
                    pause = (2 * pause).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Delivers all that there is.
    async fn round(&mut self) -> Result<(), Failure> {
        loop {
            let notices = self.outbox.oldest(BATCH).await?;
            if notices.is_empty() {
                return Ok(());
            }
            self.deliver(&notices).await?;
            let is_last = notices.len() < BATCH as usize;
            self.outbox.delivered(notices).await?;
            if is_last {
                return Ok(());
            }
        }
    }

    async fn deliver(&mut self, notices: &[Notice]) -> Result<(), DeliveryError> {
        // Taken out, so that a connection that fails is not used again.
        let connection = match self.connection.take() {
            Some(connection) if connection.is_open() => connection,
            Some(_) | None => self.blueprint.connect().await?,
        };
        connection.delete(&self.keys, notices).await?;
        self.connection = Some(connection);
        Ok(())
    }
}
