//! The streams of Watch: so many at once.
//!
//! Nobody needs a credential for one, and each lasts. One more ends the one that has been open for longest, so that
//! whoever opens many keeps nobody from watching who sends its calls where the service is well.

use std::{pin::Pin, time::Duration};

use futures::{Stream, StreamExt as _, stream};
use tonic::Status;
use tonic_health::pb::HealthCheckResponse;

use super::super::{crowd::Place, status};

/// When one that has made room may come again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What one who watches is sent.
pub(crate) type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

// === impl Place ===

impl Place {
    /// The stream, for as long as it has the place.
    pub(super) fn keep(self, stream: WatchStream) -> WatchStream {
        Box::pin(stream::unfold(Some((self, stream)), |kept| async {
            let (place, mut stream) = kept?;
            tokio::select! {
                biased;
                () = place.given_away() => Some((Err(status::overloaded(RETRY_AFTER)), None)),
                next = stream.next() => Some((next?, Some((place, stream)))),
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use tonic::Code;

    use super::*;
    use crate::transport::crowd::Crowd;

    fn endless() -> WatchStream {
        Box::pin(stream::pending())
    }

    #[test]
    fn one_more_ends_the_oldest_and_one_that_ended_leaves_room() {
        let watches = Crowd::new(2);
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
        let watches = Crowd::new(1);
        let mut drained = watches.admit().keep(Box::pin(stream::empty()));
        assert!(drained.next().now_or_never().expect("it has ended").is_none());
        assert!(watches.len() == 0, "its place is free");
    }
}
