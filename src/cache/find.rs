//! A look-up: the memo, this process's memory, Redis, and then the database, whose answer is kept.

use std::sync::Arc;

use super::{
    CacheError, Inner, MemoryCache, SharedCache,
    entry::{Fact, NoFact},
    flight::{Boarding, Flight, Stamp},
};
use crate::{
    domain::{Clock, Digest, Digests, Error, Freshness, Look, Reading, Source, TokenId, TokenStore},
    journal::Confirmed,
    metrics::{RequestResult, Tier},
};

// === impl Inner ===

impl<S: TokenStore, C: Clock> Inner<S, C> {
    /// Cache, memo and flights know a token by its current digest alone.
    pub(super) async fn find(self: &Arc<Self>, digests: Digests, look: Look) -> Result<Reading, Error> {
        let began = self.flights.begin();
        if let Some(reading) = self.look_up(digests.current, look.freshness).await {
            return Ok(reading);
        }
        // Boxed, so that the future of a hit is small: it is moved about.
        Box::pin(self.find_missed(digests, look, began)).await
    }

    async fn find_missed(self: &Arc<Self>, digests: Digests, look: Look, began: Stamp) -> Result<Reading, Error> {
        let mut waited: Option<Arc<Flight>> = None;
        loop {
            self.within_quota(&look)?;
            if let Some(flight) = self.board(digests, &look, began, &mut waited).await {
                if look.freshness != Freshness::Primary {
                    self.counters.misses.inc();
                }
                return flight.outcome().await;
            }
            if let Some(reading) = self.look_up(digests.current, look.freshness).await {
                return Ok(reading);
            }
        }
    }

    /// Whether the database may be asked.
    pub(super) fn within_quota(&self, look: &Look) -> Result<(), Error> {
        let Some(retry_after) = look.quota.as_ref().and_then(|quota| quota.exhausted()) else { return Ok(()) };
        self.counters.rate_limited.inc();
        Err(Error::RateLimited { retry_after })
    }

    /// Reads the database after this call began, and returns once what was read is kept.
    pub(super) async fn renew(self: &Arc<Self>, digests: Digests) {
        let (began, mut waited) = (self.flights.begin(), None);
        let look = Look::from(Freshness::Primary);
        loop {
            if let Some(flight) = self.board(digests, &look, began, &mut waited).await {
                return flight.settled().await;
            }
        }
    }

    /// A flight to share; `None` once one that left before the call began has been waited for.
    async fn board(
        self: &Arc<Self>,
        digests: Digests,
        look: &Look,
        began: Stamp,
        waited: &mut Option<Arc<Flight>>,
    ) -> Option<Arc<Flight>> {
        match self.flights.board(digests.current, began, waited.as_deref()) {
            Boarding::Join(flight) => Some(flight),
            Boarding::Lead(ticket) => {
                let flight = Arc::clone(ticket.flight());
                self.depart(ticket, (digests, look.at_the_primary()));
                Some(flight)
            }
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
    pub(super) async fn own_hit(self: &Arc<Self>, digest: Digest) -> Option<Reading> {
        if let Some(reading) = self.negative.get(digest) {
            self.counters.requests.inc(Tier::Memo, RequestResult::NegativeHit);
            return Some(reading);
        }
        self.counters.requests.inc(Tier::Memo, RequestResult::Miss);
        let reading = self.memory_hit(self.tiers.near.as_ref()?, digest).await;
        let result = if reading.is_some() { RequestResult::Hit } else { RequestResult::Miss };
        self.counters.requests.inc(Tier::Memory, result);
        reading
    }

    async fn memory_hit(self: &Arc<Self>, near: &MemoryCache, digest: Digest) -> Option<Reading> {
        let fact = near.get(digest)?;
        // One that is too old stays until it is replaced; nothing is asked on its behalf.
        fact.life(self.clock.now(), self.entry_ttl)?;
        if self.proof.as_ref().is_some_and(|proof| !proof.covers_memory()) {
            return None;
        }
        self.answer(&fact, Source::LocalCache).await
    }

    async fn shared_hit(self: &Arc<Self>, digest: Digest) -> Option<Reading> {
        match self.shared_fact(self.tiers.shared.as_ref()?, digest).await {
            Ok(fact) => self.believed(fact).await,
            Err(result) => {
                self.counters.requests.inc(Tier::Redis, result);
                None
            }
        }
    }

    /// What a fact of Redis answers.
    pub(super) async fn believed(self: &Arc<Self>, fact: Fact) -> Option<Reading> {
        let answer = self.answer(&fact, Source::SharedCache).await;
        let result = if answer.is_some() { RequestResult::Hit } else { RequestResult::Miss };
        self.counters.requests.inc(Tier::Redis, result);
        let reading = answer?;
        if let Some(near) = &self.tiers.near {
            near.put(fact);
        }
        Some(reading)
    }

    /// What stands in Redis, or what came of the question.
    async fn shared_fact(&self, shared: &SharedCache, digest: Digest) -> Result<Fact, RequestResult> {
        let id = digest.token_id();
        if self.backlog.owes(id) {
            return Err(RequestResult::Bypass);
        }
        match shared.get(digest).await {
            Ok(value) => self.fact(id, value),
            Err(CacheError::Rejected(_)) => Err(RequestResult::Bypass),
            Err(error) => {
                tracing::debug!(token_id = %id, %error, "a cache entry could not be read");
                Err(RequestResult::Unavailable)
            }
        }
    }

    /// The fact that a value is; what is none is noted.
    pub(super) fn fact(&self, id: TokenId, value: Result<Fact, NoFact>) -> Result<Fact, RequestResult> {
        value.map_err(|none| {
            match none {
                NoFact::Refused(refusal) => self.refusals.note(&self.counters, id, refusal),
                NoFact::Absent | NoFact::Tombstone => {}
            }
            RequestResult::Miss
        })
    }

    /// Answers from a fact, when it still may be answered from.
    async fn answer(self: &Arc<Self>, fact: &Fact, source: Source) -> Option<Reading> {
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
}
