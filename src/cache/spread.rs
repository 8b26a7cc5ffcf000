//! The port, and how a committed change reaches the caches.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::{Ack, Cached, Inner, backlog::bury_all};
use crate::{
    domain::{
        Clock, Digests, Ending, Error, Extended, Extension, Inserted, Look, NewToken, Position, Propagation, Reading,
        Revocation, Target, Timestamp, TokenId, TokenQuery, TokenRecord, TokenStore, User, UserChange, UserId,
    },
    journal::Terms,
    metrics::{Reach, Scope},
    mutant::{self, Mutant},
    request::carried,
};

/// How much longer a tombstone lives than any replica can take a fact from before it for
/// current. A fill that comes later still leaves a fact that every view outdates.
const TOMBSTONE_SLACK: Duration = Duration::from_secs(10);
/// How long a call waits for the view to come to its revision before it asks the primary. Several
/// polls fit in; a revision that was never given costs no more.
const REVISION_WAIT: Duration = Duration::from_millis(250);

// === impl Cached ===

impl<S: TokenStore, C: Clock> TokenStore for Cached<S, C> {
    async fn find(&self, digests: impl Into<Digests> + Send, look: impl Into<Look> + Send) -> Result<Reading, Error> {
        self.inner.find(digests.into(), look.into()).await
    }

    async fn find_all(&self, batch: Vec<(Digests, Look)>) -> Vec<Result<Reading, Error>> {
        self.inner.find_all(batch).await
    }

    async fn reflects(&self, position: Position) -> bool {
        let Some(proof) = &self.inner.proof else { return false };
        let covered = timeout(REVISION_WAIT, proof.journal.revision_covered(position)).await;
        covered.is_ok_and(|covered| covered.is_ok())
    }

    fn used(&self, record: &TokenRecord, now: Timestamp) {
        if let Some(usage) = &self.inner.usage {
            usage.note(record, now);
        }
    }

    async fn insert(&self, token: NewToken) -> Result<Inserted, Error> {
        let digest = token.digest;
        let inserted = self.inner.store.insert(token).await;
        let mut ids = vec![digest.token_id()];
        if let Ok(Inserted::Repeated(first, _)) = &inserted {
            ids.push(first.digest.token_id());
        }
        self.inner.forget(&ids);
        inserted
    }

    /// Answers at once.
    async fn extend(&self, extension: Extension) -> Result<Extended, Error> {
        self.inner.begin_to_extend(extension);
        Ok(Extended::Deferred)
    }

    async fn revoke(&self, target: Target, ending: Ending) -> Result<Revocation, Error> {
        let inner = self.inner.clone();
        to_its_end(&self.inner.changes, async move {
            let revocation = inner.store.revoke(target, ending).await?;
            inner.counters.revocations.of(Scope::Token).inc_by(revocation.count);
            Ok(inner.spread(revocation, target.token_ids()).await)
        })
        .await
    }

    async fn revoke_all(&self, user: UserId, except: Option<Target>, ending: Ending) -> Result<Revocation, Error> {
        let inner = self.inner.clone();
        to_its_end(&self.inner.changes, async move {
            let revocation = inner.store.revoke_all(user, except, ending).await?;
            inner.counters.revocations.of(Scope::UserTokens).inc_by(revocation.count);
            Ok(inner.spread(revocation, vec![]).await)
        })
        .await
    }

    async fn get(&self, token_id: TokenId) -> Result<TokenRecord, Error> {
        self.inner.store.get(token_id).await
    }

    async fn list(&self, query: TokenQuery) -> Result<Vec<TokenRecord>, Error> {
        self.inner.store.list(query).await
    }

    async fn user(&self, user: UserId) -> Result<User, Error> {
        self.inner.store.user(user).await
    }

    async fn upsert_user(&self, change: UserChange) -> Result<(User, Revocation), Error> {
        let inner = self.inner.clone();
        to_its_end(&self.inner.changes, async move {
            let disables = change.active == Some(false);
            let (user, revocation) = inner.store.upsert_user(change).await?;
            if disables {
                inner.counters.revocations.of(Scope::UserDisabled).inc_by(revocation.ended.len() as u64);
            }
            Ok((user, inner.spread(revocation, vec![]).await))
        })
        .await
    }

    async fn delete_user(&self, user: UserId, ending: Ending) -> Result<Revocation, Error> {
        let inner = self.inner.clone();
        to_its_end(&self.inner.changes, async move {
            let revocation = inner.store.delete_user(user, ending).await?;
            inner.counters.revocations.of(Scope::UserDeleted).inc_by(revocation.count);
            Ok(inner.spread(revocation, vec![]).await)
        })
        .await
    }
}

/// Runs a change in a task of its own: a handler is dropped at its deadline, and a change
/// that is committed but not spread would be the worst of both. A drain waits for `changes`.
pub(super) async fn to_its_end<T: Send + 'static>(
    changes: &TaskTracker,
    change: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let ended = changes.spawn(carried(change.in_current_span())).await;
    ended.unwrap_or_else(|abandoned| Err(Error::Unavailable(Box::new(abandoned))))
}

// === impl Inner ===

impl<S: TokenStore, C: Clock> Inner<S, C> {
    /// Makes what this process remembers of these tokens, or is about to, worthless.
    pub(super) fn forget(&self, ids: &[TokenId]) {
        self.flights.outdate(ids);
        self.negative.forget(ids);
    }

    /// Spreads a change that has just been committed, and says how far it came.
    ///
    /// The tokens `named` are told of even when nothing was ended now: a retry finds the token
    /// ended already, while the first attempt may not have come as far as this.
    pub(super) async fn spread(&self, mut revocation: Revocation, named: Vec<TokenId>) -> Revocation {
        let mut ids = revocation.ended.clone();
        ids.extend(named.into_iter().filter(|id| !revocation.ended.contains(id)));
        revocation.propagation = later(revocation.propagation, self.tell(ids).await);
        revocation
    }

    async fn tell(&self, ids: Vec<TokenId>) -> Propagation {
        let (committed, any) = (Instant::now(), !ids.is_empty());
        if let Some(proof) = self.proof.as_ref().filter(|_| any) {
            // Followers are told by what is polled.
            proof.journal.announce();
        }
        let propagation = self.told(ids, committed).await;
        // What ended nothing would make the times of what did look short.
        if any {
            self.counters.propagation.of(reach(&propagation)).observe(committed.elapsed().as_secs_f64());
        }
        propagation
    }

    async fn told(&self, ids: Vec<TokenId>, committed: Instant) -> Propagation {
        let told = self.bury(ids, committed).await || mutant::is(Mutant::Barrier);
        match &self.proof {
            Some(proof) if !told || proof.ack == Ack::Lease => {
                // Every lease that a view from before the commit could have is over then. With
                // `lease`, that Redis was told counts for nothing: it may lose what it took.
                sleep_until(committed + proof.terms.max_staleness).await;
                proof.terms.untold(committed)
            }
            None if !told => pending_until(committed + self.reach()),
            Some(_) | None => Propagation::Complete,
        }
    }

    /// Replaces the facts of these tokens with tombstones; whether all of them were taken.
    /// What was not is tried again in the background.
    pub(super) async fn bury(&self, ids: Vec<TokenId>, committed: Instant) -> bool {
        self.forget(&ids);
        let life = self.reach() + TOMBSTONE_SLACK;
        if let Some(near) = &self.tiers.near {
            for id in &ids {
                near.bury(*id, life);
            }
        }
        let Some(shared) = &self.tiers.shared else { return true };
        let owed = bury_all(shared, ids, life).await;
        let told = owed.is_empty();
        self.counters.tombstones_owed.inc_by(owed.len() as u64);
        self.backlog.owe(shared, owed, life, committed + self.reach());
        told
    }

    /// How long after a commit a fact from before it can be taken for current, wherever:
    /// that is how old a view may be, however long entries live.
    fn reach(&self) -> Duration {
        self.proof.as_ref().map_or(self.entry_ttl, |proof| proof.terms.max_staleness + proof.terms.outage_grace)
    }
}

// === impl Terms ===

impl Terms {
    /// How far a change has come of which Redis could not be told, once leases have lapsed:
    /// a replica that is cut from the database may go on for the grace.
    pub(super) fn untold(self, committed: Instant) -> Propagation {
        match self.outage_grace {
            Duration::ZERO => Propagation::Complete,
            grace => pending_until(committed + self.max_staleness + grace),
        }
    }
}

fn reach(propagation: &Propagation) -> Reach {
    match propagation {
        Propagation::Complete => Reach::Complete,
        Propagation::Pending { .. } => Reach::Pending,
    }
}

pub(super) fn pending_until(end: Instant) -> Propagation {
    Propagation::Pending { max_staleness: end.saturating_duration_since(Instant::now()) }
}

/// The one that is complete later.
fn later(one: Propagation, other: Propagation) -> Propagation {
    match (one, other) {
        (Propagation::Complete, rest) | (rest, Propagation::Complete) => rest,
        (Propagation::Pending { max_staleness: a }, Propagation::Pending { max_staleness: b }) => {
            Propagation::Pending { max_staleness: a.max(b) }
        }
    }
}
