//! Those who follow what ends: so many at once, and none longer than the service runs.
//!
//! A stream takes no place among the requests, since it lasts. Nothing is buffered for one who reads slowly
//! but the ring that all read from. Whoever does not read at all is noticed like any other connection whose answers
//! are left unread (`server.delivery_timeout`).

use std::{pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    domain::{Position, Revocations, Watch},
    proto as pb,
};

use super::{convert, status};

/// When one who found no place may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What a follower is sent.
pub(super) type Events = Pin<Box<dyn Stream<Item = Result<pb::WatchRevocationsResponse, Status>> + Send>>;

/// When the service ends.
#[derive(Clone, Debug, Default)]
pub struct Closing {
    /// Nobody is taken any more.
    pub draining: CancellationToken,
    /// Those who follow are sent away.
    pub stop: CancellationToken,
}

/// The places for followers of one source.
#[derive(Debug)]
pub struct Watchers<R> {
    source: R,
    places: Arc<Semaphore>,
    closing: Closing,
}

/// One follower.
struct Following<W> {
    watch: W,
    stop: CancellationToken,
    _place: OwnedSemaphorePermit,
}

// === impl Watchers ===

impl<R: Revocations> Watchers<R> {
    /// At most `places` followers at once.
    pub fn new(source: R, places: u32, closing: Closing) -> Self {
        let places = usize::try_from(places).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
        Self { source, places: Arc::new(Semaphore::new(places)), closing }
    }

    /// Follows from what comes after a place.
    pub(super) async fn follow(&self, start: Option<Position>) -> Result<Events, Status> {
        if self.closing.draining.is_cancelled() {
            return Err(status::draining());
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| status::overloaded(RETRY_AFTER))?;
        let watch = self.source.watch(start).await?;
        let following = Following { watch, stop: self.closing.stop.clone(), _place: place };
        Ok(Box::pin(stream::unfold(Some(following), |following| async {
            let mut following = following?;
            match following.next().await {
                Ok(event) => Some((Ok(event), Some(following))),
                Err(ended) => Some((Err(ended), None)),
            }
        })))
    }
}

// === impl Following ===

impl<W: Watch> Following<W> {
    async fn next(&mut self) -> Result<pb::WatchRevocationsResponse, Status> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(status::draining()),
            event = self.watch.next() => Ok(convert::event(event?)),
        }
    }
}
