//! The streams of Watch: so many at once.
//!
//! Nobody needs a credential for one, and each lasts. One more ends the one that has been open for longest, so that
//! whoever opens many keeps nobody from watching who sends its calls where the service is well.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic_health::pb::HealthCheckResponse;

use super::super::status;

/// When one that has made room may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What one who watches is sent.
pub(crate) type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

/// The streams that are open.
#[derive(Debug)]
pub(super) struct Watches {
    most: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// What ends each, in the order in which they began.
    ends: BTreeMap<u64, CancellationToken>,
}

/// A stream's place among them, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    watches: Arc<Watches>,
    id: u64,
    /// Its place was given to another.
    end: CancellationToken,
}

// === impl Watches ===

impl Watches {
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, open: Mutex::default() })
    }

    /// A place for one more, if need be that of the oldest.
    pub(super) fn admit(self: &Arc<Self>) -> Place {
        let mut open = self.lock();
        if open.ends.len() >= self.most
            && let Some((_, oldest)) = open.ends.pop_first()
        {
            oldest.cancel();
        }
        let (id, end) = (open.next, CancellationToken::new());
        open.next += 1;
        open.ends.insert(id, end.clone());
        Place { watches: Arc::clone(self), id, end }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        // Nothing panics while it is held.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Place ===

impl Place {
    /// The stream, for as long as it has the place.
    pub(super) fn keep(self, stream: WatchStream) -> WatchStream {
        Box::pin(stream::unfold(Some((self, stream)), |kept| async {
            let (place, mut stream) = kept?;
            tokio::select! {
                biased;
                () = place.end.cancelled() => Some((Err(status::overloaded(RETRY_AFTER)), None)),
                next = stream.next() => Some((next?, Some((place, stream)))),
            }
        }))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.watches.lock().ends.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tonic::Code;

    use super::*;

    fn endless() -> WatchStream {
        Box::pin(stream::pending())
    }

    #[test]
    fn one_more_ends_the_oldest_and_one_that_ended_leaves_room() {
        let watches = Watches::new(2);
        let [mut first, second] = [(); 2].map(|()| watches.admit().keep(endless()));
        assert!(first.next().now_or_never().is_none(), "both have a place");
        let mut third = watches.admit().keep(endless());
        let ended = first.next().now_or_never().flatten().expect("it is told").expect_err("it made room");
        assert_eq!(ended.code(), Code::Unavailable);
        assert!(first.next().now_or_never().expect("nothing comes after a status").is_none());

        drop(second);
        let mut fourth = watches.admit().keep(endless());
        assert!(third.next().now_or_never().is_none() && fourth.next().now_or_never().is_none());
    }

    #[test]
    fn a_stream_that_ends_by_itself_has_no_status_of_ours() {
        let watches = Watches::new(1);
        let mut drained = watches.admit().keep(Box::pin(stream::empty()));
        assert!(drained.next().now_or_never().expect("it has ended").is_none());
        assert!(watches.lock().ends.is_empty(), "its place is free");
    }
}
