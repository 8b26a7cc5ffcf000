//! The second listener, from its setting to its end.

use std::sync::Arc;

use axum::Router;
use tokio::task::JoinSet;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Error, Store, authenticator, door, form, hashing};
use crate::{
    config::{Config, Http},
    domain::Revoker,
    http::{
        self,
        oauth::{self, OAuth},
    },
    journal::DatabaseClock,
    transport::{Address, Door, Listener},
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
pub(super) fn doors(config: &Config, door: &Door, store: &Arc<Store>, clock: &DatabaseClock) -> Router {
    if !config.introspection.enabled {
        return Router::new();
    }
    let authenticator = authenticator(config, store, clock.clone());
    let revoker = Revoker::new(Arc::clone(store), clock.clone(), hashing(config), form(&config.tokens));
    oauth::routes(OAuth::new(door.clone(), authenticator, revoker, &config.introspection))
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
