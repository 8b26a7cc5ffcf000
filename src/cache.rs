//! A store with a cache in front of it: [`Cached`] wraps any [`TokenStore`] and is one.
//!
//! A look-up asks, in this order: the memo of unknown digests (`negative`), the backend
//! (Redis in `shared`, or `memory`), the store. Reads of the store are shared (`flight`).
//! Only what is live now is cached, as a fact with its age (`entry`), for at most a
//! minute; a cached fact that would be refused is asked again, so that nothing is called
//! inactive because of the cache.
//!
//! A revocation is committed by the store first. Then each ended token gets a tombstone,
//! which no fill replaces; what could not be told is retried (`backlog`) and reported as
//! pending.
//!
//! Neighbours: `domain` defines the port, `store` is what is wrapped. The cache knows no
//! database, and decides nothing about a token.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::time::{Instant, sleep};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

mod backlog;
mod breaker;
mod entry;
mod flight;
mod flush;
mod key;
mod memory;
mod negative;
mod shared;
mod spread;
#[cfg(test)]
mod tests;

use self::{
    backlog::Backlog,
    entry::{Fact, NoFact},
    flight::{Boarding, Flight, Flights, Ticket},
    negative::{NegativeMemo, Verdict},
};
pub use self::{
    breaker::{Breaker, BreakerState, BreakerStatus, Rejected},
    memory::MemoryCache,
    shared::{CacheError, Code, SharedCache, StartError},
};
use crate::{
    config,
    domain::{Clock, Digest, Error, Found, Freshness, Position, Reading, Source, Timestamp, TokenStore},
    journal::{self, Confirmed, DatabaseClock, Terms},
};

/// The longest life of an entry, whatever is configured.
const MAX_ENTRY_TTL: Duration = Duration::from_mins(1);
/// How long a flight stays known after it has settled, for callers who looked into the
/// cache before its fill and arrive after it.
const LINGER: Duration = Duration::from_millis(100);

/// A store behind a cache.
#[derive(Debug)]
pub struct Cached<S, C = DatabaseClock> {
    inner: Arc<Inner<S, C>>,
}

/// Where facts are kept.
#[derive(Clone, Debug)]
pub enum Backend {
    /// In a Redis that replicas share.
    Redis(SharedCache),
    /// In this process; for one replica only.
    Memory(MemoryCache),
    /// Nowhere.
    Off,
}

#[derive(Debug)]
struct Inner<S, C> {
    store: Arc<S>,
    backend: Backend,
    clock: C,
    entry_ttl: Duration,
    flights: Arc<Flights>,
    negative: NegativeMemo,
    backlog: Arc<Backlog>,
    epoch: Epoch,
    /// Changes under way, whether or not their callers still wait.
    changes: TaskTracker,
    proof: Option<Proof>,
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

// === impl Backend ===

impl Backend {
    /// Its name: `redis`, `memory` or `off`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Redis(_) => "redis",
            Self::Memory(_) => "memory",
            Self::Off => "off",
        }
    }
}

// === impl Cached ===

impl<S: TokenStore> Cached<S> {
    /// Puts a backend in front of a store; what it holds is believed as far as `proof` goes.
    #[must_use]
    pub fn new(store: Arc<S>, backend: Backend, proof: Proof, config: &config::Cache) -> Self {
        let clock = proof.journal.clock();
        Self::assemble(store, backend, Some(proof), config, clock)
    }
}

impl<S: TokenStore, C: Clock> Cached<S, C> {
    /// Without a journal: a fact is believed for `cache.entry_ttl`, whatever happened since.
    #[cfg(test)]
    fn with_clock(store: Arc<S>, backend: Backend, config: &config::Cache, clock: C) -> Self {
        Self::assemble(store, backend, None, config, clock)
    }

    fn assemble(store: Arc<S>, backend: Backend, proof: Option<Proof>, config: &config::Cache, clock: C) -> Self {
        let inner = Inner {
            store,
            backend,
            clock,
            entry_ttl: config.entry_ttl.min(MAX_ENTRY_TTL),
            flights: Arc::default(),
            negative: NegativeMemo::new(config),
            backlog: Arc::default(),
            epoch: Epoch::default(),
            changes: TaskTracker::new(),
            proof,
        };
        Self { inner: Arc::new(inner) }
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

// === impl Inner ===

impl<S: TokenStore, C: Clock> Inner<S, C> {
    async fn find(self: &Arc<Self>, digest: Digest, freshness: Freshness) -> Result<Reading, Error> {
        let began = self.flights.begin();
        let mut waited: Option<Arc<Flight>> = None;
        loop {
            if let Some(reading) = self.look_up(digest, freshness).await {
                return Ok(reading);
            }
            match self.flights.board(digest, began, waited.as_deref()) {
                Boarding::Join(flight) => return flight.outcome().await,
                Boarding::Lead(ticket) => return self.fly(ticket).outcome().await,
                Boarding::Late(flight) => {
                    flight.settled().await;
                    waited = Some(flight);
                }
            }
        }
    }

    /// What a cache of this freshness answers; `None` is for the database to answer.
    async fn look_up(&self, digest: Digest, freshness: Freshness) -> Option<Reading> {
        match freshness {
            Freshness::Primary => None,
            Freshness::Shared => self.shared_hit(digest).await,
            Freshness::Any => match self.negative.get(digest) {
                Some(reading) => Some(reading),
                None => match self.local_hit(digest).await {
                    Some(reading) => Some(reading),
                    None => self.shared_hit(digest).await,
                },
            },
        }
    }

    async fn local_hit(&self, digest: Digest) -> Option<Reading> {
        match &self.backend {
            Backend::Memory(memory) => self.answer(&*memory.get(digest)?, Source::LocalCache).await,
            Backend::Redis(_) | Backend::Off => None,
        }
    }

    async fn shared_hit(&self, digest: Digest) -> Option<Reading> {
        let Backend::Redis(shared) = &self.backend else { return None };
        if self.backlog.owes(digest.token_id()) {
            return None;
        }
        match shared.get(digest).await {
            Ok(Ok(fact)) => self.answer(&fact, Source::SharedCache).await,
            Ok(Err(NoFact::Absent | NoFact::Tombstone)) | Err(CacheError::Rejected(_)) => None,
            Ok(Err(reason)) => {
                tracing::debug!(token_id = %digest.token_id(), %reason, "a cache entry is no fact");
                None
            }
            Err(error) => {
                tracing::debug!(token_id = %digest.token_id(), %error, "a cache entry could not be read");
                None
            }
        }
    }

    /// Answers from a fact, when it still may be answered from.
    async fn answer(&self, fact: &Fact, source: Source) -> Option<Reading> {
        if !self.epoch.is_of(fact.position) || !self.is_current(fact).await {
            return None;
        }
        let now = self.clock.now();
        fact.life(now, self.entry_ttl).map(|_| fact.reading(source, now))
    }

    /// Whether nothing has ended the token or changed its user since the fact was read.
    async fn is_current(&self, fact: &Fact) -> bool {
        let Some(proof) = &self.proof else { return true };
        let (digest, user) = (fact.record.digest, &fact.record.user.id);
        match proof.journal.confirm(fact.position, digest, user).await {
            Confirmed::Current => true,
            Confirmed::Outdated | Confirmed::Unproven => {
                tracing::debug!(token_id = %digest.token_id(), "a fact is proved again");
                false
            }
        }
    }

    /// Reads the database in a task of its own, and shares the result.
    fn fly(self: &Arc<Self>, ticket: Ticket) -> Arc<Flight> {
        let (inner, flight) = (Arc::clone(self), Arc::clone(ticket.flight()));
        let read = async move {
            let (read_at, sent) = (inner.clock.now(), Instant::now());
            let outcome = inner.store.find(ticket.digest(), Freshness::Primary).await.map_err(Arc::new);
            if let Ok(reading) = &outcome {
                inner.epoch.learn(reading.position);
            }
            ticket.answer(outcome.clone());
            if let Ok(reading) = outcome {
                inner.keep(&ticket, reading, read_at, sent).await;
            }
            ticket.settle();
            sleep(LINGER).await;
        };
        tokio::spawn(read.in_current_span());
        flight
    }

    async fn keep(&self, ticket: &Ticket, reading: Reading, read_at: Timestamp, sent: Instant) {
        let verdict = match reading.found {
            Found::Unknown => Verdict::Unknown,
            Found::Revoked => Verdict::Revoked,
            Found::Token(record) => {
                return self.fill(ticket.flight(), Fact { position: reading.position, read_at, record }).await;
            }
        };
        let note = || self.negative.note(ticket.digest(), verdict, reading.position, sent);
        ticket.flight().unless_outdated(note);
    }

    async fn fill(&self, flight: &Flight, fact: Fact) {
        let Some(life) = fact.life(self.clock.now(), self.entry_ttl) else { return };
        match &self.backend {
            Backend::Memory(memory) => flight.unless_outdated(|| memory.put(fact, life)),
            Backend::Redis(shared) if !flight.is_outdated() => fill_shared(shared, &fact, life).await,
            Backend::Redis(_) | Backend::Off => {}
        }
    }
}

async fn fill_shared(shared: &SharedCache, fact: &Fact, life: Duration) {
    let id = fact.record.digest.token_id();
    let Some(entry) = fact.encode() else {
        tracing::debug!(token_id = %id, "too large to be cached");
        return;
    };
    match shared.put(id, entry, life).await {
        Ok(_) | Err(CacheError::Rejected(_)) => {}
        Err(error) => tracing::debug!(token_id = %id, %error, "a fact was not cached"),
    }
}
