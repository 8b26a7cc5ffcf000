//! Changes to tokens, spread as revocations are: what answers carry has changed, so every fact from before is outdated.

use super::{Cached, spread::to_its_end};
use crate::{
    domain::{
        Administration, Clock, Error, Revocation, Rotated, Rotation, TokenChange, TokenRecord, TokenStore, Used, User,
        UserQuery,
    },
    metrics::Scope,
};

// === impl Cached ===

impl<S: TokenStore + Administration, C: Clock> Administration for Cached<S, C> {
    async fn update(&self, change: TokenChange) -> Result<(TokenRecord, Revocation), Error> {
        let (inner, named) = (self.inner.clone(), vec![change.token]);
        to_its_end(&self.inner.changes, async move {
            let (record, revocation) = inner.store.update(change).await?;
            inner.counters.revocations.of(Scope::Replaced).inc_by(revocation.count);
            Ok((record, inner.spread(revocation, named).await))
        })
        .await
    }

    async fn rotate(&self, rotation: Rotation) -> Result<Rotated, Error> {
        let (inner, named) = (self.inner.clone(), vec![rotation.token]);
        to_its_end(&self.inner.changes, async move {
            let rotated = inner.store.rotate(rotation).await?;
            inner.counters.revocations.of(Scope::Replaced).inc_by(rotated.revocation.count);
            inner.forget(&[rotated.successor.digest.token_id()]);
            Ok(Rotated { revocation: inner.spread(rotated.revocation, named).await, ..rotated })
        })
        .await
    }

    async fn users(&self, query: UserQuery) -> Result<Vec<User>, Error> {
        self.inner.store.users(query).await
    }

    async fn note_used(&self, used: Vec<Used>) -> Result<u64, Error> {
        self.inner.store.note_used(used).await
    }
}
