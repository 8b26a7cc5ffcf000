//! One connection: HTTP/2 with its limits, and the reasons for which it is closed.
//!
//! tonic's own server cannot do this: with `max_connection_age_grace` it closes connections without a word (0.14.9),
//! and it knows nothing of idle ones or of answers that are not read.

use std::{
    convert::Infallible,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures::future::OptionFuture;
use http::{Request, Response};
use hyper::{
    body::{Frame, Incoming, SizeHint},
    server::conn::http2::Builder,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, MissedTickBehavior, interval_at, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use tower::Service;

use super::{
    activity::{Activity, Chunk, Stream},
    caller::Peer,
};
use crate::config;

/// What hyper limits only when told to: resets that a peer may cause, before its connection is closed
/// (CVE-2023-44487 and its kin).
const MAX_LOCAL_ERROR_RESETS: usize = 1024;
const MAX_PENDING_ACCEPT_RESETS: usize = 20;
/// Largest header list of a request, in bytes.
const MAX_HEADER_BYTES: u32 = 8 * 1024;
/// Bytes of requests that a peer may send before they are read: on one stream, and on all of a connection.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// How connections are served.
#[derive(Clone, Debug)]
pub(super) struct Terms {
    http: Builder<TokioExecutor>,
    age: Duration,
    grace: Duration,
    idle: Duration,
    delivery: Duration,
    drain: Duration,
}

/// The services as one connection's peer sees them.
struct Peered<S> {
    services: S,
    peer: Peer,
    activity: Arc<Activity>,
}

/// An answer that is being made.
struct Answering<F> {
    answer: F,
    stream: Option<Arc<Stream>>,
}

/// An answer's body; its connection is not idle until it has been written.
pub(crate) struct Delivery {
    body: Body,
    stream: Arc<Stream>,
}

// === impl Terms ===

impl Terms {
    pub(super) fn new(settings: &config::Server) -> Self {
        let mut http = Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(settings.max_concurrent_streams)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(settings.keepalive_interval)
            .keep_alive_timeout(settings.keepalive_timeout)
            .max_local_error_reset_streams(MAX_LOCAL_ERROR_RESETS)
            .max_pending_accept_reset_streams(MAX_PENDING_ACCEPT_RESETS)
            .max_header_list_size(MAX_HEADER_BYTES)
            // No client of gRPC asks for it.
            .auto_date_header(false);
        Self {
            http,
            age: settings.max_connection_age,
            grace: settings.max_connection_age_grace,
            idle: settings.max_connection_idle,
            delivery: settings.delivery_timeout,
            drain: settings.drain_timeout,
        }
    }

    /// Serves until the peer leaves or there is a reason to close: age, idleness, `stop` (each with the grace for
    /// requests under way), or answers that the peer does not read.
    pub(super) async fn serve<I, S, F>(
        &self,
        io: I,
        services: S,
        peer: Peer,
        activity: &Arc<Activity>,
        stop: &CancellationToken,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future = F>
            + Clone
            + Send
            + 'static,
        F: Future<Output = Result<Response<Body>, Infallible>> + Unpin + Send + 'static,
    {
        let service = Peered { services, peer, activity: Arc::clone(activity) };
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(io), service));
        let start = Instant::now();
        let retire_at = start + spread(self.age);
        let mut turns = interval_at(start + self.delivery, self.delivery);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // Once the peer has been told to go away.
        let mut leave_by = None;
        loop {
            let idle_at = activity.idle_since().unwrap_or_else(Instant::now) + self.idle;
            let grace = tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(error = &error as &dyn std::error::Error, "a connection failed");
                    }
                    return;
                }
                _ = turns.tick() => if activity.turn() {
                    tracing::debug!("a connection is closed: its peer does not read its answers");
                    return;
                } else {
                    continue;
                },
                Some(()) = OptionFuture::from(leave_by.map(sleep_until)) => return,
                () = stop.cancelled(), if leave_by.is_none() => self.drain,
                () = sleep_until(retire_at), if leave_by.is_none() => self.grace,
                () = sleep_until(idle_at), if leave_by.is_none() => if self.is_idle(activity) {
                    self.grace
                } else {
                    continue;
                },
            };
            connection.as_mut().graceful_shutdown();
            leave_by = Some(Instant::now() + grace);
        }
    }

    fn is_idle(&self, activity: &Activity) -> bool {
        activity.idle_since().is_some_and(|since| since.elapsed() >= self.idle)
    }
}

/// Up to a tenth less or more, so that connections made together do not end together (gRPC proposal A9).
fn spread(age: Duration) -> Duration {
    age.mul_f64(rand::random_range(0.9..1.1))
}

// === impl Peered ===

impl<S, F> hyper::service::Service<Request<Incoming>> for Peered<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future = F> + Clone,
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Response = Response<Delivery>;
    type Error = Infallible;
    type Future = Answering<F>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let stream = Some(self.activity.begin());
        request.extensions_mut().insert(self.peer.clone());
        // The services are always ready: what bounds them is the edge, and it refuses.
        Answering { answer: self.services.clone().call(request), stream }
    }
}

// === impl Answering ===

impl<F> Future for Answering<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = Result<Response<Delivery>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(answer) = ready!(Pin::new(&mut self.answer).poll(cx));
        let stream = self.stream.take().expect("an answer is made once");
        Poll::Ready(Ok(answer.map(|body| Delivery::new(body, stream))))
    }
}

// === impl Delivery ===

impl Delivery {
    pub(crate) fn new(body: Body, stream: Arc<Stream>) -> Self {
        Self { body, stream }
    }
}

impl hyper::body::Body for Delivery {
    type Data = Chunk;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Chunk>, Status>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|bytes| self.stream.chunk(bytes)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
