//! Checks that ask at once are asked together.
//!
//! A command costs its client far more than the value that it brings. What the tasks of one turn of the runtime ask for
//! goes out as one command, which is sent when they have all run: nobody waits for a timer, and who asks alone pays for
//! one more task.

use std::{mem, sync::PoisonError};

use tokio::sync::oneshot;

use super::{CacheError, SharedCache};
use crate::{
    cache::entry::{Fact, NoFact},
    domain::Digest,
    spans,
};

/// How many reads go out together. With more, servers and clients wait for each other instead of working at once.
const MOST: usize = 32;

/// What stands at a token's key.
type Found = Result<Fact, NoFact>;

/// Reads of one serving thread that are about to be sent.
#[derive(Debug, Default)]
pub(super) struct Gathered(Vec<Read>);

#[derive(Debug)]
struct Read {
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
        self.gather(Read { digest, answer });
        answered.await.unwrap_or(Err(CacheError::Busy))
    }

    fn gather(&self, read: Read) {
        let seat = self.seat();
        let mut gathered = self.inner.gathered[seat].lock().unwrap_or_else(PoisonError::into_inner);
        gathered.0.push(read);
        match gathered.0.len() {
            1 => {
                let shared = self.clone();
                tokio::spawn(async move {
                    let reads =
                        mem::take(&mut *shared.inner.gathered[seat].lock().unwrap_or_else(PoisonError::into_inner));
                    shared.send(reads.0).await;
                });
            }
            MOST => {
                let (shared, reads) = (self.clone(), mem::take(&mut *gathered));
                tokio::spawn(async move { shared.send(reads.0).await });
            }
            _ => {}
        }
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
