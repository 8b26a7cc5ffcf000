//! What the database is asked for after a miss, in a task of its own: the read, and the fills that follow it.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tracing::Instrument as _;

use super::{
    CacheError, Inner, SharedCache,
    entry::Fact,
    flight::{Outcome, Ticket},
    negative::Verdict,
    shared::Put,
};
use crate::{
    domain::{Clock, Digests, Found, Look, Quota, Reading, Timestamp, TokenStore},
    metrics::FillRejection,
    request::carried,
    spans,
};

/// How long a flight stays known after it has settled, for callers who looked into the
/// cache before its fill and arrive after it.
const LINGER: Duration = Duration::from_millis(100);
/// How many tokens of different calls are read together.
pub(super) const MOST: usize = 16;

/// A token that is to be read, and who asked for it.
pub(super) type Departing = (Ticket, (Digests, Look));

// === impl Inner ===

impl<S: TokenStore, C: Clock> Inner<S, C> {
    /// Has a token read, together with those of other calls that miss in the same turn of the runtime.
    pub(super) fn depart(self: &Arc<Self>, ticket: Ticket, asked: (Digests, Look)) {
        // A call that is traced shows its own statement.
        if spans::within_a_call() {
            return self.fly(vec![ticket], vec![asked]);
        }
        let inner = Arc::clone(self);
        self.departing.add((ticket, asked), async move |party| {
            let (tickets, batch) = party.into_iter().unzip();
            inner.read_and_keep(tickets, batch).await;
        });
    }

    /// Reads the database in a task of its own, and shares the results.
    pub(super) fn fly(self: &Arc<Self>, tickets: Vec<Ticket>, batch: Vec<(Digests, Look)>) {
        let inner = Arc::clone(self);
        let read = async move { inner.read_and_keep(tickets, batch).await };
        tokio::spawn(carried(read.in_current_span()));
    }

    /// Whoever has it read is charged here, since a caller may hang up.
    async fn read_and_keep(&self, tickets: Vec<Ticket>, batch: Vec<(Digests, Look)>) {
        if tickets.is_empty() {
            return;
        }
        let (read_at, sent) = (self.clock.now(), Instant::now());
        let payers: Vec<_> = batch.iter().map(|(_, look)| look.quota.clone()).collect();
        let outcomes = self.read(batch).await;
        self.charge(payers, &outcomes);
        self.keep_all(&tickets, outcomes, read_at, sent).await;
        tickets.iter().for_each(Ticket::settle);
        sleep(LINGER).await;
    }

    async fn read(&self, mut batch: Vec<(Digests, Look)>) -> Vec<Outcome> {
        let outcomes = match batch.pop() {
            Some((digests, look)) if batch.is_empty() => vec![self.store.find(digests, look).await],
            last => {
                batch.extend(last);
                self.store.find_all(batch).await
            }
        };
        outcomes.into_iter().map(|outcome| outcome.map_err(Arc::new)).collect()
    }

    fn charge(&self, payers: Vec<Option<Arc<Quota>>>, outcomes: &[Outcome]) {
        for (payer, outcome) in payers.into_iter().zip(outcomes) {
            if let (Some(quota), Ok(reading)) = (payer, outcome)
                && !self.is_active(&reading.found)
            {
                quota.charge();
            }
        }
    }

    fn is_active(&self, found: &Found) -> bool {
        matches!(found, Found::Token(record) if record.admit(self.clock.now(), &[]).is_ok())
    }

    async fn keep_all(&self, tickets: &[Ticket], outcomes: Vec<Outcome>, read_at: Timestamp, sent: Instant) {
        let mut fills = Vec::new();
        for (ticket, outcome) in tickets.iter().zip(outcomes) {
            if let Ok(reading) = &outcome {
                self.epoch.learn(reading.position);
            }
            ticket.answer(outcome.clone());
            if let Ok(reading) = outcome {
                fills.extend(self.keep(ticket, reading, read_at, sent));
            }
        }
        if let Some(shared) = &self.tiers.shared {
            self.fill(shared, fills).await;
        }
    }

    /// Keeps what was read in this process; a fact of it is for Redis, too.
    fn keep(&self, ticket: &Ticket, reading: Reading, read_at: Timestamp, sent: Instant) -> Option<(Fact, Duration)> {
        let verdict = match reading.found {
            Found::Unknown => Verdict::Unknown,
            Found::Revoked => Verdict::Revoked,
            // The journal and tombstones name the row by another digest: it is read each time.
            Found::Token(record) if record.digest != ticket.digest() => return None,
            Found::Token(record) => {
                return self.keep_near(ticket, Fact { position: reading.position, read_at, record });
            }
        };
        let note = || self.negative.note(ticket.digest(), verdict, reading.position, sent);
        ticket.flight().unless_outdated(note);
        None
    }

    fn keep_near(&self, ticket: &Ticket, fact: Fact) -> Option<(Fact, Duration)> {
        let (life, flight) = (fact.life(self.clock.now(), self.entry_ttl)?, ticket.flight());
        if let Some(near) = &self.tiers.near {
            flight.unless_outdated(|| near.put(fact.clone()));
        }
        self.tiers.shared.as_ref()?;
        if flight.is_outdated() {
            self.counters.fills_rejected.of(FillRejection::Outdated).inc();
            return None;
        }
        Some((fact, life))
    }

    async fn fill(&self, shared: &SharedCache, facts: Vec<(Fact, Duration)>) {
        let mut fills = Vec::with_capacity(facts.len());
        for (fact, life) in facts {
            let id = fact.record.digest.token_id();
            if let Some(entry) = shared.encode(&fact) {
                fills.push((id, entry, life));
            } else {
                tracing::debug!(token_id = %id, "too large to be cached");
                self.counters.fills_rejected.of(FillRejection::TooLarge).inc();
            }
        }
        for outcome in shared.put_all(fills).await {
            let rejection = match outcome {
                Ok(Put::Stored) => continue,
                Ok(Put::Tombstoned) => FillRejection::Tombstone,
                Err(CacheError::Rejected(_)) => FillRejection::Bypass,
                Err(error) => {
                    tracing::debug!(%error, "a fact was not cached");
                    FillRejection::Unavailable
                }
            };
            self.counters.fills_rejected.of(rejection).inc();
        }
    }
}
