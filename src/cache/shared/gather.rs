//! Checks that ask at once are asked together, with one command.

use tokio::sync::oneshot;

use super::{CacheError, SharedCache};
use crate::{
    cache::entry::{Fact, NoFact},
    domain::Digest,
    spans,
};

/// How many reads go out together. With more, servers and clients wait for each other instead of working at once.
pub(super) const MOST: usize = 32;

/// What stands at a token's key.
type Found = Result<Fact, NoFact>;

/// A read that is about to be sent, and who waits for it.
#[derive(Debug)]
pub(super) struct Read {
    digest: Digest,
    answer: oneshot::Sender<Result<Found, CacheError>>,
}

// === impl SharedCache ===

impl SharedCache {
    /// Reads the fact of a token.
    pub(in crate::cache) async fn get(&self, digest: Digest) -> Result<Found, CacheError> {
        // A call that is traced shows its own command. Of those that come while the breaker is not closed one is let
        // through to try Redis, and the others are not to wait for it.
        if !self.gathers() || !self.inner.breaker.is_closed() || spans::within_a_call() {
            return Box::pin(self.get_alone(digest)).await;
        }
        let (answer, answered) = oneshot::channel();
        let shared = self.clone();
        self.inner.gatherings[self.seat()].add(Read { digest, answer }, async move |reads| shared.send(reads).await);
        answered.await.unwrap_or(Err(CacheError::Busy))
    }

    async fn send(&self, reads: Vec<Read>) {
        let digests: Vec<_> = reads.iter().map(|read| read.digest).collect();
        match self.get_all(&digests).await {
            Ok(found) => reads.into_iter().zip(found).for_each(|(read, found)| read.tell(Ok(found))),
            Err(error) => reads.into_iter().for_each(|read| read.tell(Err(error.clone()))),
        }
    }
}

// === impl Read ===

impl Read {
    fn tell(self, found: Result<Found, CacheError>) {
        // Whoever asked may have gone.
        let _gone = self.answer.send(found);
    }
}
