//! The second listener, from its setting to its end.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    http::Method,
    middleware::{Next, from_fn},
    response::Response,
};
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::Instrument as _;

use super::{
    Error, Store, door,
    policy::{form, hashing},
    services::authenticator,
};
use crate::{
    config::{Config, Http},
    domain::Revoker,
    http::{
        self,
        oauth::{self, OAuth},
    },
    journal::DatabaseClock,
    spans,
    transport::{Address, Counts, Door, Listener},
};

/// The listener, bound and not served yet.
pub(super) struct Bound {
    listener: Listener,
    address: Address,
    connections: u32,
}

/// The listener while it is served.
pub(super) struct Second {
    address: Address,
    stop: CancellationToken,
    served: TaskTracker,
}

/// Binds it, where there is to be one.
pub(super) async fn bind(settings: &Http) -> Result<Option<Bound>, Error> {
    if settings.listen.is_empty() {
        return Ok(None);
    }
    let listener = door::bind("http.listen", &settings.listen).await?;
    let address = listener.address()?;
    Ok(Some(Bound { listener, address, connections: settings.max_connections }))
}

/// The routes that ask for a credential, where there are to be any.
pub(super) fn doors(
    config: &Config,
    door: &Door,
    store: &Arc<Store>,
    clock: &DatabaseClock,
    counts: &Counts,
) -> Router {
    if !config.introspection.enabled {
        return Router::new();
    }
    let authenticator = authenticator(config, store, clock.clone());
    let revoker = Revoker::new(Arc::clone(store), clock.clone(), hashing(config), form(&config.tokens));
    let oauth = OAuth::new(door.clone(), authenticator, revoker, counts.clone(), &config.introspection);
    oauth::routes(oauth).route_layer(from_fn(traced))
}

/// With a span around it, as a call has.
async fn traced(request: Request, next: Next) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let span = spans::post(request.uri().path(), request.headers());
    let mut answer = next.run(request).instrument(span.clone()).await;
    let status = answer.status().as_u16();
    spans::answered(&span, status, answer.headers_mut());
    answer
}

// === impl Bound ===

impl Bound {
    pub(super) fn start(self, router: Router, background: &mut JoinSet<()>) -> Second {
        let (stop, served) = (CancellationToken::new(), TaskTracker::new());
        let serving = http::serve(self.listener, self.connections, router, stop.clone());
        background.spawn(served.track_future(serving));
        served.close();
        tracing::info!(address = %self.address, "HTTP listening");
        Second { address: self.address, stop, served }
    }
}

// === impl Second ===

impl Second {
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Answers what is under way and closes it: the last thing that a drained process does.
    pub(super) async fn close(self) {
        self.stop.cancel();
        self.served.wait().await;
    }
}
