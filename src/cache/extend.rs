//! Moving the expiry of a token that is used, in the background of its check.
//!
//! No answer waits for it or fails with it. A few are under way at once, one of a token; what is not begun now
//! is begun at a later check. Afterwards the row is read and kept as after a miss: the next hit
//! sees the new expiry, whoever wrote it, and has no reason to write again. Until that
//! is kept the token stays marked. A later end needs no record in the journal and no tombstone,
//! since what the facts tell stays true.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tracing::Instrument as _;

use super::Inner;
use crate::{
    domain::{Clock, Digest, Extended, Extension, TokenStore},
    request::carried,
};

/// Extensions under way at once; they take connections from look-ups.
const AT_ONCE: usize = 4;
/// Rest of a token whose row was left alone, and after a failure, which is likely to be met again.
const REST: Duration = Duration::from_secs(1);

/// What is under way.
#[derive(Debug)]
pub(super) struct Extensions {
    tokens: Mutex<BTreeSet<Digest>>,
    places: Arc<Semaphore>,
}

/// Keeps further extensions of a token away.
struct Mark {
    digest: Digest,
    extensions: Arc<Extensions>,
}

// === impl Extensions ===

impl Default for Extensions {
    fn default() -> Self {
        Self { tokens: Mutex::default(), places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Extensions {
    /// A place for this token, when one is free and the token is not marked.
    fn take(self: &Arc<Self>, digest: Digest) -> Option<(Mark, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.tokens().insert(digest).then(|| (Mark { digest, extensions: Arc::clone(self) }, place))
    }

    fn tokens(&self) -> MutexGuard<'_, BTreeSet<Digest>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Extensions {
    pub(super) fn are_over(&self) -> bool {
        self.tokens().is_empty()
    }
}

// === impl Mark ===

impl Drop for Mark {
    fn drop(&mut self) {
        self.extensions.tokens().remove(&self.digest);
    }
}

// === impl Inner ===

impl<S: TokenStore, C: Clock> Inner<S, C> {
    /// Moves an expiry in a task of its own, if there is a place for it.
    pub(super) fn begin_to_extend(self: &Arc<Self>, extension: Extension) {
        let Some((mark, place)) = self.extensions.take(extension.token.current) else { return };
        let inner = Arc::clone(self);
        let work = async move {
            inner.extend(extension, place).await;
            drop(mark);
        };
        tokio::spawn(carried(work.in_current_span()));
    }

    async fn extend(self: &Arc<Self>, extension: Extension, place: OwnedSemaphorePermit) {
        let token = extension.token;
        match self.store.extend(extension).await {
            Ok(extended) => {
                self.renew(token).await;
                drop(place);
                if extended != Extended::Moved {
                    sleep(REST).await;
                }
            }
            Err(error) => {
                let token_id = token.current.token_id();
                tracing::warn!(%token_id, error = &error as &dyn std::error::Error, "an expiry was not moved");
                sleep(REST).await;
            }
        }
    }
}
