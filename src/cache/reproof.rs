//! The shadow re-proof: a share of the hits is compared with the database after the answer.
//!
//! It looks for what the protocol cannot see by itself: a change that left no record in
//! the journal, because a trigger is missing or a writer went around it. A token that the
//! database has ended is no violation as such, since the change may be younger than
//! `coherence.max_staleness`. So the journal is asked for a poll that begins after the
//! database's answer: a change that was recorded is in the view then, and outdates the
//! fact. If the fact is still current, its end went unrecorded, and nothing would ever
//! have refused it: that is counted, logged, and the fact dropped.
//!
//! Nothing waits for a re-proof and it fills no cache. When enough are under way, a hit
//! goes without.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};
use tracing::Instrument as _;

use super::{Inner, Proof, entry::Fact};
use crate::{
    domain::{Clock, Found, Freshness, Timestamp, TokenStore},
    journal::Confirmed,
    request::carried,
};

/// Re-proofs under way at once.
const AT_ONCE: usize = 4;

/// Which hits are compared with the database.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReproofShare {
    /// Share of the hits, 0 to 1.
    pub ratio: f64,
    /// The least time between two.
    pub interval: Duration,
}

/// Chooses hits, and bounds what is under way.
#[derive(Debug)]
pub(super) struct Reproofs {
    share: ReproofShare,
    last: Mutex<Option<Instant>>,
    places: Arc<Semaphore>,
}

// === impl Reproofs ===

impl Reproofs {
    pub(super) fn new(share: ReproofShare) -> Self {
        Self { share, last: Mutex::default(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// A place for this hit, when it is drawn, it is time for one, and a place is free.
    pub(super) fn draw(&self) -> Option<OwnedSemaphorePermit> {
        let ratio = self.share.ratio;
        if !(ratio > 0.0 && rand::random_bool(ratio.min(1.0))) {
            return None;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if last.is_some_and(|last| now - last < self.share.interval) {
            return None;
        }
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        *last = Some(now);
        Some(place)
    }
}

#[cfg(test)]
impl Reproofs {
    pub(super) fn under_way(&self) -> usize {
        AT_ONCE - self.places.available_permits()
    }
}

// === impl Inner ===

impl<S: TokenStore, C: Clock> Inner<S, C> {
    /// Compares the fact behind a hit with the database, now and then.
    pub(super) fn reprove_sometimes(self: &Arc<Self>, fact: &Fact) {
        let Some(place) = self.reproofs.draw() else { return };
        let (inner, fact) = (Arc::clone(self), fact.clone());
        let reproof = async move {
            inner.reprove(&fact).await;
            drop(place);
        };
        tokio::spawn(carried(reproof.in_current_span()));
    }

    async fn reprove(&self, fact: &Fact) {
        let (Some(proof), digest) = (&self.proof, fact.record.digest) else { return };
        let Ok(reading) = self.store.find(digest, Freshness::Primary).await else { return };
        self.counters.reproofs.inc();
        if is_contradicted(fact, &reading.found, self.clock.now()) && proof.is_blind_to(fact).await {
            self.counters.coherence_violations.inc();
            tracing::error!(
                token_id = %digest.token_id(),
                "a token was accepted from the cache that the database has ended without a record in the journal"
            );
            self.bury(vec![digest.token_id()], Instant::now()).await;
        }
    }
}

// === impl Proof ===

impl Proof {
    /// Whether the journal, read after this call, holds nothing against the fact.
    async fn is_blind_to(&self, fact: &Fact) -> bool {
        let (digest, user) = (fact.record.digest, &fact.record.user.id);
        self.journal.covered().await.is_ok()
            && self.journal.confirm(fact.position, digest, user).await == Confirmed::Current
    }
}

/// Whether the database shows the end of a token that its fact does not tell of itself.
/// A fact that has expired says so, and its row may be gone without a record.
fn is_contradicted(fact: &Fact, found: &Found, now: Timestamp) -> bool {
    fact.record.admit(now, &[]).is_ok()
        && match found {
            Found::Unknown | Found::Revoked => true,
            Found::Token(record) => record.admit(now, &[]).is_err(),
        }
}
