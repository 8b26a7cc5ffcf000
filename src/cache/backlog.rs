//! Tombstones that Redis has not acknowledged yet.
//!
//! They are tried again until it has, or until no fact from before the revocation can be
//! alive any more. While a token's tombstone is owed, this process does not read its
//! entry: another replica may still be answered from it, and is why the revocation said
//! PENDING, but we know better.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};

use super::shared::SharedCache;
use crate::domain::TokenId;

/// Time between two attempts. While the breaker is open, an attempt costs nothing.
const RETRY_EVERY: Duration = Duration::from_millis(100);
/// Tombstones under way at once: all of an ordinary user's tokens, so that ending them
/// takes one round trip. Well below what the client admits, to leave room for look-ups.
const CONCURRENCY: usize = 1024;

/// The tombstones owed, and the task that writes them while there are any.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Number of those owed, so that the hit path takes no lock while there are none.
    count: AtomicUsize,
    owed: Mutex<Owed>,
}

#[derive(Debug, Default)]
struct Owed {
    /// By when each is to be written, and since when it has been owed.
    until: HashMap<TokenId, (Instant, Instant)>,
    worker: Worker,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Worker {
    #[default]
    Idle,
    Busy,
}

/// Writes tombstones, each acknowledged by itself, and gives back those that were not.
///
/// No pipeline: fred replays a pipeline after a reconnect, whatever its settings.
pub(super) async fn bury_all(shared: &SharedCache, ids: Vec<TokenId>, life: Duration) -> Vec<TokenId> {
    stream::iter(ids)
        .map(|id| async move { shared.bury(id, life).await.err().map(|error| (id, error)) })
        .buffer_unordered(CONCURRENCY)
        .filter_map(|failed| async move { failed })
        .map(|(id, error)| {
            tracing::debug!(token_id = %id, %error, "a tombstone was not acknowledged");
            id
        })
        .collect()
        .await
}

// === impl Backlog ===

impl Backlog {
    /// Whether this token's entry must not be believed.
    pub(super) fn owes(&self, id: TokenId) -> bool {
        self.count.load(Ordering::Acquire) > 0
            && self.lock().until.get(&id).is_some_and(|(until, _)| *until > Instant::now())
    }

    /// How many are owed.
    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How long the oldest has been owed.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.lock().until.values().map(|(_, since)| since.elapsed()).max()
    }

    /// Takes over tombstones of this `life`, to be written by `until`.
    pub(super) fn owe(self: &Arc<Self>, shared: &SharedCache, ids: Vec<TokenId>, life: Duration, until: Instant) {
        if ids.is_empty() {
            return;
        }
        let mut owed = self.lock();
        let since = Instant::now();
        for id in ids {
            owed.until.entry(id).and_modify(|of| of.0 = until).or_insert((until, since));
        }
        self.count.store(owed.until.len(), Ordering::Release);
        if owed.worker == Worker::Idle {
            owed.worker = Worker::Busy;
            tokio::spawn(Arc::clone(self).work(shared.clone(), life));
        }
    }

    async fn work(self: Arc<Self>, shared: SharedCache, life: Duration) {
        loop {
            sleep(RETRY_EVERY).await;
            let Some(ids) = self.due() else { return };
            let failed = bury_all(&shared, ids.clone(), life).await.into_iter().collect();
            self.settle(&ids, &failed);
        }
    }

    /// What is still worth writing; `None` ends the worker.
    fn due(&self) -> Option<Vec<TokenId>> {
        let (mut owed, now) = (self.lock(), Instant::now());
        owed.until.retain(|_, (until, _)| *until > now);
        self.count.store(owed.until.len(), Ordering::Release);
        if owed.until.is_empty() {
            owed.worker = Worker::Idle;
            return None;
        }
        Some(owed.until.keys().copied().collect())
    }

    fn settle(&self, tried: &[TokenId], failed: &HashSet<TokenId>) {
        let mut owed = self.lock();
        for id in tried.iter().filter(|id| !failed.contains(id)) {
            owed.until.remove(id);
        }
        self.count.store(owed.until.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Owed> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
