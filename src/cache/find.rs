//! A look-up: the memo, this process's memory, Redis, and then the database, whose answer is kept.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use super::{
    CacheError, Inner, SharedCache,
    entry::{Fact, NoFact},
    flight::{Boarding, Flight, Stamp, Ticket},
    negative::Verdict,
    shared::Put,
};
use crate::{
    domain::{Clock, Digest, Digests, Error, Found, Freshness, Look, Reading, Source, Timestamp, TokenStore},
    journal::Confirmed,
};

/// How long a flight stays known after it has settled, for callers who looked into the
/// cache before its fill and arrive after it.
const LINGER: Duration = Duration::from_millis(100);

// === impl Inner ===

impl<S: TokenStore, C: Clock> Inner<S, C> {
    /// Cache, memo and flights know a token by its current digest alone.
    pub(super) async fn find(self: &Arc<Self>, digests: Digests, look: Look) -> Result<Reading, Error> {
        let (digest, freshness) = (digests.current, look.freshness);
        let began = self.flights.begin();
        let mut waited: Option<Arc<Flight>> = None;
        loop {
            if let Some(reading) = self.look_up(digest, freshness).await {
                return Ok(reading);
            }
            if let Some(retry_after) = look.quota.as_ref().and_then(|quota| quota.exhausted()) {
                self.counters.rate_limited.inc();
                return Err(Error::RateLimited { retry_after });
            }
            let Some(flight) = self.board(digests, began, &mut waited).await else { continue };
            if freshness != Freshness::Primary {
                self.counters.misses.inc();
            }
            let outcome = flight.outcome().await;
            if let (Some(quota), Ok(reading)) = (&look.quota, &outcome)
                && !self.is_active(&reading.found)
            {
                quota.charge();
            }
            return outcome;
        }
    }

    fn is_active(&self, found: &Found) -> bool {
        matches!(found, Found::Token(record) if record.admit(self.clock.now(), &[]).is_ok())
    }

    /// Reads the database after this call began, and returns once what was read is kept.
    pub(super) async fn renew(self: &Arc<Self>, digests: Digests) {
        let (began, mut waited) = (self.flights.begin(), None);
        loop {
            if let Some(flight) = self.board(digests, began, &mut waited).await {
                return flight.settled().await;
            }
        }
    }

    /// A flight to share; `None` once one that left before the call began has been waited for.
    async fn board(
        self: &Arc<Self>,
        digests: Digests,
        began: Stamp,
        waited: &mut Option<Arc<Flight>>,
    ) -> Option<Arc<Flight>> {
        match self.flights.board(digests.current, began, waited.as_deref()) {
            Boarding::Join(flight) => Some(flight),
            Boarding::Lead(ticket) => Some(self.fly(ticket, digests)),
            Boarding::Late(flight) => {
                flight.settled().await;
                *waited = Some(flight);
                None
            }
        }
    }

    /// What a cache of this freshness answers; `None` is for the database to answer.
    async fn look_up(self: &Arc<Self>, digest: Digest, freshness: Freshness) -> Option<Reading> {
        match freshness {
            Freshness::Primary => None,
            Freshness::Shared => self.shared_hit(digest).await,
            Freshness::Any => match self.own_hit(digest).await {
                Some(reading) => Some(reading),
                None => self.shared_hit(digest).await,
            },
        }
    }

    /// What this process's memory answers.
    async fn own_hit(self: &Arc<Self>, digest: Digest) -> Option<Reading> {
        if let Some(reading) = self.negative.get(digest) {
            self.counters.hits.memo.inc();
            return Some(reading);
        }
        let fact = self.tiers.near.as_ref()?.get(digest)?;
        if self.proof.as_ref().is_some_and(|proof| !proof.covers_memory()) {
            return None;
        }
        let reading = self.answer(&fact, Source::LocalCache).await?;
        self.counters.hits.memory.inc();
        Some(reading)
    }

    async fn shared_hit(self: &Arc<Self>, digest: Digest) -> Option<Reading> {
        let fact = Arc::new(self.shared_fact(digest).await?);
        let reading = self.answer(&fact, Source::SharedCache).await?;
        self.counters.hits.redis.inc();
        if let (Some(near), Some(life)) = (&self.tiers.near, fact.life(self.clock.now(), self.entry_ttl)) {
            near.put(fact, life);
        }
        Some(reading)
    }

    async fn shared_fact(&self, digest: Digest) -> Option<Fact> {
        let (shared, id) = (self.tiers.shared.as_ref()?, digest.token_id());
        if self.backlog.owes(id) {
            return None;
        }
        match shared.get(digest).await {
            Ok(Ok(fact)) => return Some(fact),
            Ok(Err(NoFact::Refused(refusal))) => self.refusals.note(&self.counters, id, refusal),
            Ok(Err(NoFact::Absent | NoFact::Tombstone)) | Err(CacheError::Rejected(_)) => {}
            Err(error) => tracing::debug!(token_id = %id, %error, "a cache entry could not be read"),
        }
        None
    }

    /// Answers from a fact, when it still may be answered from.
    async fn answer(self: &Arc<Self>, fact: &Arc<Fact>, source: Source) -> Option<Reading> {
        if !self.is_current(fact).await {
            return None;
        }
        let now = self.clock.now();
        fact.life(now, self.entry_ttl)?;
        self.reprove_sometimes(fact);
        Some(fact.reading(source, now))
    }

    /// Whether nothing has ended the token or changed its user since the fact was read.
    async fn is_current(&self, fact: &Fact) -> bool {
        let counter = match self.confirm(fact).await {
            Confirmed::Current => return true,
            Confirmed::Outdated => &self.counters.facts_refuted,
            Confirmed::Unproven => &self.counters.facts_unproven,
        };
        counter.inc();
        tracing::debug!(token_id = %fact.record.digest.token_id(), "a fact is proved again");
        false
    }

    pub(super) async fn confirm(&self, fact: &Fact) -> Confirmed {
        match &self.proof {
            _ if !self.epoch.is_of(fact.position) => Confirmed::Unproven,
            Some(proof) => proof.journal.confirm(fact.position, fact.record.digest, &fact.record.user.id).await,
            None => Confirmed::Current,
        }
    }

    /// Reads the database in a task of its own, and shares the result.
    fn fly(self: &Arc<Self>, ticket: Ticket, digests: Digests) -> Arc<Flight> {
        let (inner, flight) = (Arc::clone(self), Arc::clone(ticket.flight()));
        let read = async move {
            let (read_at, sent) = (inner.clock.now(), Instant::now());
            let outcome = inner.store.find(digests, Freshness::Primary).await.map_err(Arc::new);
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
            // The journal and tombstones name the row by another digest: it is read each time.
            Found::Token(record) if record.digest != ticket.digest() => return,
            Found::Token(record) => {
                let fact = Arc::new(Fact { position: reading.position, read_at, record });
                return self.fill(ticket.flight(), &fact).await;
            }
        };
        let note = || self.negative.note(ticket.digest(), verdict, reading.position, sent);
        ticket.flight().unless_outdated(note);
    }

    async fn fill(&self, flight: &Flight, fact: &Arc<Fact>) {
        let Some(life) = fact.life(self.clock.now(), self.entry_ttl) else { return };
        if let Some(near) = &self.tiers.near {
            flight.unless_outdated(|| near.put(Arc::clone(fact), life));
        }
        match &self.tiers.shared {
            Some(shared) if !flight.is_outdated() => self.fill_shared(shared, fact, life).await,
            Some(_) | None => {}
        }
    }

    async fn fill_shared(&self, shared: &SharedCache, fact: &Fact, life: Duration) {
        let id = fact.record.digest.token_id();
        let Some(entry) = shared.encode(fact) else {
            tracing::debug!(token_id = %id, "too large to be cached");
            return;
        };
        match shared.put(id, entry, life).await {
            Ok(Put::Tombstoned) => self.counters.fills_tombstoned.inc(),
            Ok(Put::Stored) | Err(CacheError::Rejected(_)) => {}
            Err(error) => tracing::debug!(token_id = %id, %error, "a fact was not cached"),
        }
    }
}
