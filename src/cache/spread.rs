//! The port, and how a committed change reaches the caches.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

use super::{Ack, Backend, Cached, Inner, SharedCache, backlog::bury_all};
use crate::{
    domain::{
        Clock, Digest, Ending, Error, Freshness, Inserted, NewToken, Propagation, Reading, Revocation, Target, TokenId,
        TokenQuery, TokenRecord, TokenStore, User, UserChange, UserId,
    },
    journal::Terms,
    mutant::{self, Mutant},
};

/// How much longer a tombstone lives than any entry that a fill could leave: the time
/// that the slowest database read and the write after it can take.
const TOMBSTONE_SLACK: Duration = Duration::from_secs(10);

// === impl Cached ===

impl<S: TokenStore, C: Clock> TokenStore for Cached<S, C> {
    async fn find(&self, digest: Digest, freshness: Freshness) -> Result<Reading, Error> {
        self.inner.find(digest, freshness).await
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

    async fn revoke(&self, target: Target, ending: Ending) -> Result<Revocation, Error> {
        let inner = self.inner.clone();
        to_its_end(async move {
            let revocation = inner.store.revoke(target, ending).await?;
            Ok(inner.spread(revocation, Some(id(target))).await)
        })
        .await
    }

    async fn revoke_all(&self, user: UserId, except: Option<Target>, ending: Ending) -> Result<Revocation, Error> {
        let inner = self.inner.clone();
        to_its_end(async move {
            let revocation = inner.store.revoke_all(user, except, ending).await?;
            Ok(inner.spread(revocation, None).await)
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
        to_its_end(async move {
            let (user, revocation) = inner.store.upsert_user(change).await?;
            Ok((user, inner.spread(revocation, None).await))
        })
        .await
    }

    async fn delete_user(&self, user: UserId, ending: Ending) -> Result<Revocation, Error> {
        let inner = self.inner.clone();
        to_its_end(async move {
            let revocation = inner.store.delete_user(user, ending).await?;
            Ok(inner.spread(revocation, None).await)
        })
        .await
    }
}

/// Runs a change in a task of its own: a handler is dropped at its deadline, and a change
/// that is committed but not spread would be the worst of both.
async fn to_its_end<T: Send + 'static>(
    change: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let ended = tokio::spawn(change.in_current_span()).await;
    ended.unwrap_or_else(|abandoned| Err(Error::Unavailable(Box::new(abandoned))))
}

fn id(target: Target) -> TokenId {
    match target {
        Target::Digest(digest) => digest.token_id(),
        Target::Id(id) => id,
    }
}

// === impl Inner ===

impl<S: TokenStore, C: Clock> Inner<S, C> {
    /// Makes what this process remembers of these tokens, or is about to, worthless.
    fn forget(&self, ids: &[TokenId]) {
        self.flights.outdate(ids);
        self.negative.forget(ids);
    }

    /// Spreads a change that has just been committed, and says how far it came.
    ///
    /// `target` is told even when nothing was ended now: a retry finds the token ended
    /// already, while the first attempt may not have come as far as this.
    async fn spread(&self, mut revocation: Revocation, target: Option<TokenId>) -> Revocation {
        let mut ids = revocation.ended.clone();
        ids.extend(target.filter(|id| !revocation.ended.contains(id)));
        revocation.propagation = later(revocation.propagation, self.tell(ids).await);
        revocation
    }

    async fn tell(&self, ids: Vec<TokenId>) -> Propagation {
        let committed = Instant::now();
        self.forget(&ids);
        match &self.backend {
            Backend::Off => Propagation::Complete,
            Backend::Memory(memory) => {
                for id in &ids {
                    memory.bury(*id, self.tombstone_life());
                }
                Propagation::Complete
            }
            Backend::Redis(shared) => self.tell_shared(shared, ids, committed).await,
        }
    }

    async fn tell_shared(&self, shared: &SharedCache, ids: Vec<TokenId>, committed: Instant) -> Propagation {
        let owed = bury_all(shared, ids, self.tombstone_life()).await;
        let told = owed.is_empty() || mutant::is(Mutant::Barrier);
        self.backlog.owe(shared, owed, self.tombstone_life(), committed + self.entry_ttl);
        match &self.proof {
            Some(proof) if told && proof.ack == Ack::Cache => Propagation::Complete,
            Some(proof) => {
                // Every lease that a view from before the commit could have is over then.
                sleep_until(committed + proof.terms.max_staleness).await;
                if told { Propagation::Complete } else { proof.terms.untold(committed) }
            }
            None if told => Propagation::Complete,
            None => pending_until(committed + self.entry_ttl),
        }
    }

    /// No fact that a tombstone must keep out may outlive it.
    fn tombstone_life(&self) -> Duration {
        let bound = self.proof.as_ref().map(|proof| proof.terms.max_staleness + proof.terms.outage_grace);
        self.entry_ttl.max(bound.unwrap_or_default()) + TOMBSTONE_SLACK
    }
}

// === impl Terms ===

impl Terms {
    /// How far a change has come of which Redis could not be told, once leases have lapsed:
    /// a replica that is cut from the database may go on for the grace.
    fn untold(self, committed: Instant) -> Propagation {
        match self.outage_grace {
            Duration::ZERO => Propagation::Complete,
            grace => pending_until(committed + self.max_staleness + grace),
        }
    }
}

fn pending_until(end: Instant) -> Propagation {
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
