//! From a listener to HTTP/1.1 connections, their number and their sizes bounded.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, Response},
};
use hyper::{body::Incoming, server::conn::http1::Builder, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, MissedTickBehavior, interval_at, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use crate::transport::{
    Listener, Peer,
    activity::{Activity, Connections, Place},
    connection::Delivery,
    listener::{Accepted, Origin, Stream},
};

/// Longest time until the head of a request has come, the silence before it included.
const HEAD_LIMIT: Duration = Duration::from_secs(75);
/// Largest head of a request, in bytes, and the most headers in it.
const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
/// Time that a peer may leave an answer unread; after up to twice as long its connection is closed.
const DELIVERY_LIMIT: Duration = Duration::from_secs(10);
/// Longest time for answers under way once the listener is to close.
const DRAIN_LIMIT: Duration = Duration::from_secs(1);
/// Pause after the operating system had no connection to give.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves at most so many `connections` until `stop`, then lets answers under way go out, for a second at most.
pub async fn serve(listener: Listener, connections: u32, router: Router, stop: CancellationToken) {
    let (connections, tasks) = (Connections::new(connections), TaskTracker::new());
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok(stream) => {
                if let Some(place) = connections.admit() {
                    tasks.spawn(connection(stream, router.clone(), place, stop.clone()));
                } else {
                    tracing::debug!("a connection is closed: http.max_connections are busy");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "no HTTP connection can be accepted; the longest idle one is closed");
                connections.evict();
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    if timeout(DRAIN_LIMIT, tasks.wait()).await.is_err() {
        tracing::debug!("HTTP connections were dropped");
    }
}

async fn connection(stream: Accepted, router: Router, place: Place, stop: CancellationToken) {
    let served = async {
        match stream.register() {
            Ok((Stream::Tcp(stream), origin)) => speak(stream, origin, router, &place.activity, &stop).await,
            Ok((Stream::Unix(stream), origin)) => speak(stream, origin, router, &place.activity, &stop).await,
            Err(error) => tracing::warn!(%error, "an HTTP connection cannot be served"),
        }
    };
    tokio::select! {
        () = served => {}
        () = place.activity.evicted() => tracing::debug!("an idle HTTP connection makes room for another"),
    }
}

async fn speak<I>(io: I, origin: Origin, router: Router, activity: &Arc<Activity>, stop: &CancellationToken)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer { origin, certificate: None });
        answer(&router, activity, request)
    });
    let mut connection = std::pin::pin!(builder().serve_connection(TokioIo::new(io), service));
    let mut turns = interval_at(Instant::now() + DELIVERY_LIMIT, DELIVERY_LIMIT);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leaving = false;
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(error = &error as &dyn std::error::Error, "an HTTP connection failed");
                }
                return;
            }
            _ = turns.tick() => if activity.turn() {
                tracing::debug!("an HTTP connection is closed: its peer does not read its answers");
                return;
            },
            () = stop.cancelled(), if !leaving => {
                connection.as_mut().graceful_shutdown();
                leaving = true;
            }
        }
    }
}

fn builder() -> Builder {
    let mut http = Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT).max_buf_size(MAX_HEAD_BYTES).max_headers(MAX_HEADERS);
    http
}

fn answer(
    router: &Router,
    activity: &Arc<Activity>,
    request: Request<Incoming>,
) -> impl Future<Output = Result<Response<Delivery>, Infallible>> + use<> {
    let (stream, router) = (activity.begin(), router.clone());
    async move {
        let answer = router.oneshot(request.map(Body::new)).await?;
        Ok(answer.map(|body| Delivery::new(tonic::body::Body::new(body), stream)))
    }
}
