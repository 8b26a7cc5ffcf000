//! A store with a cache in front of it: [`Cached`] wraps any [`TokenStore`] and is one.
//!
//! A look-up (`find`) asks, in this order: the memo of unknown digests (`negative`), this
//! process's memory (`memory`), Redis (`shared`), the store. Reads of the store are shared
//! (`flight`). Only what is live now is cached, as a fact with its place in the journal
//! (`entry`) and a MAC (`mac`); a cached fact that would be refused is asked again, so
//! that nothing is called inactive because of the cache. Some hits are compared with the
//! store afterwards (`reproof`).
//!
//! A revocation is committed by the store first. Then each ended token gets a tombstone,
//! which no fill replaces; what could not be told is retried (`backlog`) and reported as
//! pending (`spread`). So do other changes of tokens (`administration`). A token that is used may get a
//! later expiry (`extend`), and its last use is written behind (`usage`).
//!
//! Neighbours: `domain` defines the port, `store` is what is wrapped. The cache knows no
//! database, and decides nothing about a token.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio_util::task::TaskTracker;

mod administration;
mod backlog;
mod breaker;
mod counters;
mod entry;
mod extend;
mod find;
mod find_all;
mod flight;
mod flush;
mod fly;
mod gathering;
mod inspect;
#[cfg(feature = "internals")]
#[doc(hidden)]
pub mod internals;
mod key;
mod mac;
mod memory;
mod negative;
mod refusals;
mod reproof;
mod shared;
mod spread;
#[cfg(test)]
mod tests;
mod usage;

use self::{
    backlog::Backlog, extend::Extensions, flight::Flights, fly::Departing, gathering::Gathering,
    negative::NegativeMemo, refusals::Refusals, reproof::Reproofs, usage::Usage,
};
pub use self::{
    breaker::{Breaker, BreakerState, BreakerStatus, Rejected},
    counters::Counters,
    mac::{MacKeyError, MacKeys},
    memory::MemoryCache,
    reproof::ReproofShare,
    shared::{CacheError, Code, SharedCache, StartError},
};
use crate::{
    config,
    domain::{Clock, Digest, Error, Freshness, Position, TokenStore},
    journal::{self, DatabaseClock, Terms},
};

/// A store behind a cache.
#[derive(Debug)]
pub struct Cached<S, C = DatabaseClock> {
    inner: Arc<Inner<S, C>>,
}

/// Where facts are kept; in neither, when the cache is off.
#[derive(Clone, Debug, Default)]
pub struct Tiers {
    /// In this process.
    pub near: Option<MemoryCache>,
    /// In a Redis that replicas share.
    pub shared: Option<SharedCache>,
}

#[derive(Debug)]
struct Inner<S, C> {
    store: Arc<S>,
    tiers: Tiers,
    clock: C,
    entry_ttl: Duration,
    flights: Arc<Flights>,
    departing: Arc<Gathering<Departing>>,
    negative: NegativeMemo,
    backlog: Arc<Backlog>,
    epoch: Epoch,
    /// Changes under way, whether or not their callers still wait.
    changes: TaskTracker,
    proof: Option<Proof>,
    reproofs: Reproofs,
    extensions: Arc<Extensions>,
    /// `None`: last uses are not kept.
    usage: Option<Usage>,
    refusals: Refusals,
    counters: Counters,
}

/// What a cached fact has to withstand beside its age, and what was promised about it.
#[derive(Clone, Debug)]
pub struct Proof {
    /// Knows what has ended since the fact was read.
    pub journal: journal::Handle,
    /// The bounds that the journal is read under.
    pub terms: Terms,
    /// What a revocation waits for.
    pub ack: Ack,
    /// Which hits are compared with the database afterwards.
    pub reproofs: ReproofShare,
}

/// What a revocation waits for before it is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// The shared cache has taken every tombstone.
    Cache,
    /// Every lease from before the revocation has lapsed.
    Lease,
}

/// Which incarnation of the database this process reads. Facts of another one, and of
/// another deployment that shares the Redis, are not believed; before the first read none is.
#[derive(Debug, Default)]
struct Epoch(RwLock<Option<u128>>);

// === impl Tiers ===

impl Tiers {
    /// The farthest of them: `redis`, `memory` or `off`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match (&self.near, &self.shared) {
            (_, Some(_)) => "redis",
            (Some(_), None) => "memory",
            (None, None) => "off",
        }
    }
}

// === impl Proof ===

impl Proof {
    /// Whether facts of this process's memory may be judged now. They know no grace: a
    /// replica that is cut from the database learns of a revocation from Redis at most.
    fn covers_memory(&self) -> bool {
        self.terms.outage_grace.is_zero() || self.journal.has_lease()
    }
}

// === impl Cached ===

impl<S: TokenStore> Cached<S> {
    /// Puts caches in front of a store; what they hold is believed as far as `proof` goes.
    #[must_use]
    pub fn new(store: Arc<S>, tiers: Tiers, proof: Proof, config: &config::Cache) -> Self {
        let clock = proof.journal.clock();
        Self::assemble(store, tiers, Some(proof), config, clock)
    }
}

impl<S: TokenStore, C: Clock> Cached<S, C> {
    /// Without a journal: a fact is believed for `cache.entry_ttl`, whatever happened since.
    #[cfg(test)]
    fn with_clock(store: Arc<S>, tiers: Tiers, config: &config::Cache, clock: C) -> Self {
        Self::assemble(store, tiers, None, config, clock)
    }

    fn assemble(store: Arc<S>, tiers: Tiers, proof: Option<Proof>, config: &config::Cache, clock: C) -> Self {
        let inner = Inner {
            store,
            tiers,
            clock,
            entry_ttl: config.entry_ttl,
            flights: Arc::default(),
            departing: Gathering::of(fly::MOST),
            negative: NegativeMemo::new(config),
            backlog: Arc::default(),
            epoch: Epoch::default(),
            reproofs: Reproofs::new(proof.as_ref().map(|proof| proof.reproofs).unwrap_or_default()),
            extensions: Arc::default(),
            usage: None,
            changes: TaskTracker::new(),
            proof,
            refusals: Refusals::default(),
            counters: Counters::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Keeps the time of each token's last use, for [`Self::write_used`] to write.
    #[must_use]
    pub fn keeping_uses(mut self) -> Self {
        let inner = Arc::get_mut(&mut self.inner).expect("nobody shares it before it is made");
        inner.usage = Some(Usage::default());
        self
    }

    /// What it counts.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.inner.counters
    }

    /// Tombstones that Redis has not acknowledged yet.
    #[must_use]
    pub fn tombstones_owed(&self) -> usize {
        self.inner.backlog.len()
    }

    /// How long the oldest of them has been owed; `None` when none is.
    #[must_use]
    pub fn oldest_owed(&self) -> Option<Duration> {
        self.inner.backlog.oldest()
    }

    /// Waits for the changes that are under way although their callers have gone.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing; they go on.
    pub async fn changes_ended(&self) {
        let changes = &self.inner.changes;
        if !changes.is_empty() {
            tracing::info!(count = changes.len(), "changes under way are awaited");
        }
        changes.close();
        changes.wait().await;
    }

    /// Asks the database which incarnation it is, so that the first hit can be believed.
    ///
    /// # Errors
    /// As [`TokenStore::find`].
    pub async fn prime(&self) -> Result<(), Error> {
        let nobodys = Digest::from_bytes([0; 64]);
        let reading = self.inner.store.find(nobodys, Freshness::Primary).await?;
        self.inner.epoch.learn(reading.position);
        Ok(())
    }
}

// === impl Epoch ===

impl Epoch {
    fn learn(&self, position: Position) {
        if !self.is_of(position) {
            *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(position.epoch);
        }
    }

    fn is_of(&self, position: Position) -> bool {
        *self.0.read().unwrap_or_else(PoisonError::into_inner) == Some(position.epoch)
    }
}
