//! So many at once of what costs its peer nothing and may last: one more sends the oldest away, so that whoever brings
//! many keeps nobody out.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Those who are there.
#[derive(Debug)]
pub(super) struct Crowd {
    most: usize,
    present: Mutex<Present>,
}

#[derive(Debug, Default)]
struct Present {
    next: u64,
    /// What sends each away, in the order in which they came.
    ends: BTreeMap<u64, CancellationToken>,
}

/// A place among them, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    crowd: Arc<Crowd>,
    id: u64,
    /// It was given to another.
    end: CancellationToken,
}

// === impl Crowd ===

impl Crowd {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, present: Mutex::default() })
    }

    /// A place for one more, if need be that of the oldest.
    pub(super) fn admit(self: &Arc<Self>) -> Place {
        let mut present = self.lock();
        if present.ends.len() >= self.most
            && let Some((_, oldest)) = present.ends.pop_first()
        {
            oldest.cancel();
        }
        let (id, end) = (present.next, CancellationToken::new());
        present.next += 1;
        present.ends.insert(id, end.clone());
        Place { crowd: Arc::clone(self), id, end }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.lock().ends.len()
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        // Nothing panics while it is held.
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Place ===

impl Place {
    /// Waits until it is given to another.
    pub(super) fn given_away(&self) -> WaitForCancellationFuture<'_> {
        self.end.cancelled()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.lock().ends.remove(&self.id);
    }
}
