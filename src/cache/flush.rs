//! Making every fact worthless, or those of one user, wherever they are kept.

use tokio::time::{Instant, sleep_until};

use super::{
    Cached, Inner,
    spread::{pending_until, to_its_end},
};
use crate::domain::{Clock, Epochs, Error, NewEpoch, Propagation, Revocation, TokenStore, UserId};

// === impl Cached ===

impl<S: TokenStore + Epochs, C: Clock> Epochs for Cached<S, C> {
    async fn new_epoch(&self) -> Result<NewEpoch, Error> {
        let inner = self.inner.clone();
        to_its_end(&self.inner.changes, async move {
            let begun = inner.store.new_epoch().await?;
            let committed = Instant::now();
            inner.epoch.learn(begun.position);
            Ok(NewEpoch { propagation: inner.await_leases(committed).await, ..begun })
        })
        .await
    }

    async fn outdate(&self, user: UserId) -> Result<Revocation, Error> {
        let inner = self.inner.clone();
        to_its_end(&self.inner.changes, async move {
            let outdated = inner.store.outdate(user).await?;
            Ok(inner.spread(outdated, vec![]).await)
        })
        .await
    }
}

// === impl Inner ===

impl<S: TokenStore, C: Clock> Inner<S, C> {
    /// No tombstone can tell of a flush, so it has spread when leases from before it have lapsed.
    async fn await_leases(&self, committed: Instant) -> Propagation {
        match &self.proof {
            Some(proof) => {
                sleep_until(committed + proof.terms.max_staleness).await;
                proof.terms.untold(committed)
            }
            None => pending_until(committed + self.entry_ttl),
        }
    }
}
