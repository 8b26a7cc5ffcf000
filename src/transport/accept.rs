//! From a listener to connections: the bound on their number, the TLS handshake, the drain.

use std::{convert::Infallible, future::Future, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::body::Body;
use tower::Service;

use super::{
    Socket,
    activity::{Connections, Place},
    caller::Peer,
    connection::Terms,
    listener::{Accepted, Origin, Stream},
    tls,
};
use crate::{config, open_files, reload::Live, threads::Load};

/// Pause after the operating system had no connection to give, for want of descriptors or memory.
const PAUSE: Duration = Duration::from_millis(50);
/// Descriptors besides the connections': databases, Redis, files.
const OTHER_FILES: u64 = 256;

/// What every connection is served with.
struct Server<S> {
    services: S,
    tls: Option<Live<tls::Config>>,
    terms: Terms,
    stop: CancellationToken,
}

/// Lets this process open as many files as it may, and warns where `connections` need more.
pub fn raise_open_files(connections: u32) {
    let needed = u64::from(connections) + OTHER_FILES;
    if let Some(most) = open_files::raise().filter(|most| *most < needed) {
        tracing::warn!(most, needed, "server.max_connections is more than this process may open files (ulimit -n)");
    }
}

/// Serves until `stop`, then lets requests under way finish, and after them `changes`, for at most
/// `server.drain_timeout` in all.
pub(super) async fn serve<S, F>(
    socket: Socket<'_>,
    settings: &config::Server,
    services: S,
    stop: CancellationToken,
    changes: impl Future<Output = ()>,
) where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future = F>
        + Clone
        + Send
        + Sync
        + 'static,
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin + Send + 'static,
{
    let Socket { listener, tls, threads } = socket;
    let server = Arc::new(Server { services, tls, terms: Terms::new(settings), stop: stop.clone() });
    let (connections, tasks) = (Connections::new(settings.max_connections), TaskTracker::new());
    while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok(stream) => {
                if let Some(place) = connections.admit() {
                    let (seat, load) = threads.seat();
                    tasks.spawn_on(Arc::clone(&server).connection(stream, place, load), &seat.runtime);
                } else {
                    tracing::debug!("a connection is closed: server.max_connections are busy");
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "no connection can be accepted; the longest idle one is closed");
                connections.evict();
                sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    tasks.close();
    let drained = async {
        tasks.wait().await;
        changes.await;
    };
    if timeout(settings.drain_timeout, drained).await.is_err() {
        tracing::warn!("requests or changes under way did not finish within server.drain_timeout");
    }
}

// === impl Server ===

impl<S, F> Server<S>
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible, Future = F>
        + Clone
        + Send
        + Sync
        + 'static,
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin + Send + 'static,
{
    async fn connection(self: Arc<Self>, stream: Accepted, place: Place, _load: Load) {
        let activity = &place.activity;
        let served = async {
            match stream.register() {
                Ok((Stream::Tcp(stream), origin)) => self.secured(stream, origin, &place).await,
                Ok((Stream::Unix(stream), origin)) => self.secured(stream, origin, &place).await,
                Err(error) => tracing::warn!(%error, "a connection cannot be served"),
            }
        };
        tokio::select! {
            () = served => {}
            () = activity.evicted() => tracing::debug!("an idle connection makes room for another"),
        }
    }

    async fn secured<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, io: I, origin: Origin, place: &Place) {
        let peer = |certificate| Peer { origin, certificate };
        let Some(tls) = &self.tls else { return self.speak(io, peer(None), place).await };
        match self.stop.run_until_cancelled(tls::accept(tls, io)).await {
            Some(Ok((io, shown))) => self.speak(io, peer(shown.map(Arc::new)), place).await,
            Some(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "a TLS handshake failed");
            }
            None => {}
        }
    }

    async fn speak<I: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, io: I, peer: Peer, place: &Place) {
        self.terms.serve(io, self.services.clone(), peer, &place.activity, &self.stop).await;
    }
}
